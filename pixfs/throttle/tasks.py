"""Waiting for a limit in a trio task."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import trio

from pixfs.throttle.limiter import Limiter, Priority, Ticket

if TYPE_CHECKING:
    from collections.abc import Hashable


async def acquire(
    limiter: Limiter, flow: Hashable, size: int, priority: Priority = Priority.REQUEST
) -> None:
    """Returns when the bytes may be moved; cancelled, it leaves nothing behind.

    A checkpoint only if it has to wait.
    """
    if limiter.try_acquire(flow, size, priority):
        return
    bell = _Bell()
    ticket = Ticket(flow, size, priority, bell.ring)
    limiter.enter(ticket)
    try:
        while True:
            bell.reset()
            wait_s = limiter.dispatch(ticket)
            if ticket.granted:
                return
            with trio.move_on_after(wait_s):
                await bell.rung()
    except BaseException:
        limiter.withdraw(ticket)
        raise


class _Bell:
    """Wakes the task that made it, from any thread."""

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._thread = threading.get_ident()
        self._event = trio.Event()

    def reset(self) -> None:
        self._event = trio.Event()

    def ring(self) -> None:
        if threading.get_ident() == self._thread:
            self._set()
        else:
            # The loop may have ended, and its tasks with it.
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._set)

    def _set(self) -> None:
        self._event.set()

    async def rung(self) -> None:
        await self._event.wait()
