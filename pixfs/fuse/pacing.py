"""Requests that a limit holds back, and those of them that have to be given up."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import trio

from pixfs.fuse.openers import Openers
from pixfs.throttle.tasks import acquire

if TYPE_CHECKING:
    from pixfs.fuse.handles import OpenFile
    from pixfs.throttle import Limiter


class Pacing:
    """Where reads and writes wait for their turn; for the trio thread only.

    A flow is an open file, so readers share a limit evenly.
    """

    def __init__(self) -> None:
        self._openers = Openers()
        self._held: dict[trio.CancelScope, OpenFile] = {}

    async def admit(self, limiter: Limiter, file: OpenFile, size: int) -> None:
        """Returns when the bytes may be moved. OSError(EINTR) when who asked is being killed."""
        if limiter.try_acquire(file, size):
            return
        with trio.CancelScope() as scope:
            self._held[scope] = file
            try:
                await acquire(limiter, file, size)
                return
            finally:
                del self._held[scope]
        raise OSError(errno.EINTR, os.strerror(errno.EINTR))

    async def give_up_killed(self) -> None:
        """Lets go of what processes wait for that are being killed."""
        openers = {file.opener for file in self._held.values()}
        if not openers:
            return
        killed = await trio.to_thread.run_sync(self._openers.killed, openers)
        for scope, file in list(self._held.items()):
            if file.opener in killed:
                scope.cancel()
