"""The heartbeat: word that the request loop goes round, and what happens when none comes.

The kernel can withdraw a request between the moment the loop learns that one is there and the
moment it reads it (the process that asked was killed). The read then blocks the whole interpreter
until the next request. So a process of its own (`pixfs.fuse.pulse`) is told every half second that
the loop goes round; when that stays out, it makes the next request. It makes none otherwise:
whoever waits for an answer of the mount keeps it busy, and it cannot be unmounted at that moment.

The service manager's watchdog is told at the same time.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from pixfs.fuse import pulse

if TYPE_CHECKING:
    from pixfs.fuse.sdnotify import ServiceManager

log = logging.getLogger(__name__)

# So long without word from the loop, and the process makes a request.
INTERVAL_S = 2.0
# Words in that time: one that is late is not the end yet.
_WORDS = 4
# Between a pulse's process that ended by itself and the next one.
_RESTART_S = 1.0


class Heartbeat:
    """Says that the loop goes round, to a process of its own; the session owns it.

    Attributes:
        every_s: how often `beat` is to be called.
    """

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
        self.every_s = interval_s / _WORDS
        self._asked = [mountpoint, attribute.decode(), str(interval_s), str(os.getpid())]
        # Guards the process: against being started after it was stopped, and its pipe against
        # being written to when it has been closed.
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._begun = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="pixfs-heartbeat", daemon=True)

    def start(self, device: str) -> None:
        """Begin; once. Returns when the process runs, or could not be started.

        ``device`` is the mount's, as major:minor. Until it runs its own program, a new process
        holds every descriptor of ours, with their locks: a file closed meanwhile would still count
        as open for writing.
        """
        self._asked.append(device)
        self._thread.start()
        self._begun.wait()

    def beat(self) -> None:
        """The loop goes round. Never blocks; from the loop's thread."""
        if self._stopping.is_set():
            return
        if self._watchdog:
            self._manager.notify("WATCHDOG=1")
        # Held while a process is being started, or its end noted: there is nobody to tell.
        if self._lock.acquire(blocking=False):
            try:
                if self._process is not None:
                    _tell(self._process)
            finally:
                self._lock.release()

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
            process.wait()
            with self._lock, process:
                self._process = None
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
                command = [sys.executable, "-I", "-S", pulse.__file__, *self._asked]
                process = subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0)
                assert process.stdin is not None
                os.set_blocking(process.stdin.fileno(), False)
                self._process = process
            finally:
                self._begun.set()
            return process


def _tell(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    # It has just ended, or has enough to read: it is waiting for an answer.
    with suppress(BrokenPipeError, BlockingIOError):
        os.write(process.stdin.fileno(), b".")


def _cause(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"its own exit ({status})"
