"""A pulse through the request loop, and the watchdog's sign of life made from it.

The kernel can withdraw a request between the moment the loop learns that one is there and the
moment it reads it (the process that asked was killed). The read then blocks the whole loop until
the next request. The heartbeat is that next request, often enough that nobody notices the stall.
It asks for an attribute the loop answers by itself, so hung storage does not stop the pulse.

The requests are made by a process of their own (`pixfs.fuse.pulse`, which tells why); the thread
here hands on what it reports.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

from pixfs.fuse import pulse

if TYPE_CHECKING:
    from pixfs.fuse.sdnotify import ServiceManager

log = logging.getLogger(__name__)

INTERVAL_S = 2.0
# Between a pulse's process that ended by itself and the next one.
_RESTART_S = 1.0


class Heartbeat:
    """A process that asks the mount for its pid until stopped; the session owns it."""

    def __init__(
        self,
        mountpoint: str,
        attribute: bytes,
        manager: ServiceManager,
        watchdog_s: float | None,
    ) -> None:
        """``watchdog_s``: how often the service manager wants a sign of life, if at all."""
        self._manager = manager
        self._watchdog = watchdog_s is not None
        interval_s = min(INTERVAL_S, watchdog_s) if watchdog_s else INTERVAL_S
        asked = [mountpoint, attribute.decode(), str(interval_s), str(os.getpid())]
        self._command = [sys.executable, "-I", "-S", pulse.__file__, *asked]
        # Guards the process against being started after it was stopped.
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._begun = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="pixfs-heartbeat", daemon=True)

    def start(self) -> None:
        """Begin; once. Returns when the process runs, or could not be started.

        Until it runs its own program, a new process holds every descriptor of ours, with their
        locks: a file closed meanwhile would still count as open for writing.
        """
        self._thread.start()
        self._begun.wait()

    def ask_to_stop(self) -> None:
        """No further pulse; one that waits for an answer ends when the mount is gone."""
        with self._lock:
            self._stopping.set()
            if self._process is not None:
                self._process.terminate()

    def join(self) -> None:
        """Wait for the process's end; call after the mount is gone. Nothing to do if it was
        never started."""
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        # This thread starts the process: the kernel tells the process of the daemon's death by
        # the end of the thread that started it, and this one lives as long as the mount does.
        while (process := self._started()) is not None:
            with process:
                self._hand_on(process)
            if self._stopping.is_set():
                return
            log.warning(
                "the heartbeat's process (pid %d) was ended by %s; starting another",
                process.pid,
                _cause(process.returncode),
            )
            self._stopping.wait(_RESTART_S)

    def _started(self) -> subprocess.Popen[bytes] | None:
        with self._lock:
            if self._stopping.is_set():
                self._begun.set()
                return None
            try:
                self._process = subprocess.Popen(
                    self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
                )
            finally:
                self._begun.set()
            return self._process

    def _hand_on(self, process: subprocess.Popen[bytes]) -> None:
        """Return when the process has ended."""
        assert process.stdout is not None
        while os.read(process.stdout.fileno(), 64):
            if self._watchdog and not self._stopping.is_set():
                self._manager.notify("WATCHDOG=1")


def _cause(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"its own exit ({status})"
