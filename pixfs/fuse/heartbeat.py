"""A pulse through the request loop, and the watchdog's sign of life made from it.

The kernel can withdraw a request between the moment the loop learns that one is there and the
moment it reads it (the process that asked was killed). The read then blocks the whole loop until
the next request. The heartbeat is that next request, often enough that nobody notices the stall.
It asks for an attribute the loop answers by itself, so hung storage does not stop the pulse.

The thread keeps no descriptor of this process. It waits in the kernel for an answer of its own
process; were that killed meanwhile, a descriptor of /dev/fuse held by the waiting thread would
keep the connection alive that nobody serves any more, and every user of the mount would hang.
"""

from __future__ import annotations

import ctypes
import logging
import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pixfs.fuse.sdnotify import ServiceManager

log = logging.getLogger(__name__)

INTERVAL_S = 2.0
_CLONE_FILES = 0x400
_libc = ctypes.CDLL(None, use_errno=True)


class Heartbeat:
    """A thread that asks the mount for its pid until stopped; the session owns it."""

    def __init__(
        self,
        mountpoint: str,
        attribute: bytes,
        manager: ServiceManager,
        watchdog_s: float | None,
    ) -> None:
        self._mountpoint = mountpoint
        self._attribute = attribute
        self._manager = manager
        self._watchdog = watchdog_s is not None
        self._interval_s = min(INTERVAL_S, watchdog_s) if watchdog_s else INTERVAL_S
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pixfs-heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ask_to_stop(self) -> None:
        """No further pulse; one that waits for an answer returns when the mount is gone."""
        self._stopping.set()

    def join(self) -> None:
        """Wait for the thread; call after the mount is gone."""
        self._thread.join()

    def _run(self) -> None:
        _leave_descriptors()
        while not self._stopping.wait(self._interval_s):
            self._pulse()
            if self._watchdog:
                self._manager.notify("WATCHDOG=1")

    def _pulse(self) -> None:
        try:
            os.getxattr(self._mountpoint, self._attribute)
        except OSError:
            # Any answer will do, also that of the directory underneath once the mount has
            # been detached while files are open: the loop is then served by their requests.
            return


def _leave_descriptors() -> None:
    """Gives the calling thread a table of descriptors of its own, with standard error only."""
    if _libc.unshare(_CLONE_FILES):
        code = ctypes.get_errno()
        log.warning("the heartbeat keeps the daemon's descriptors: %s", os.strerror(code))
        return
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
