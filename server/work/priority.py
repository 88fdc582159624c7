"""A gate that lets a few through at a time, the most important first."""

from __future__ import annotations

import heapq
from contextlib import asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["PriorityGate"]


class PriorityGate:
    """For tasks of one trio thread."""

    def __init__(self, width: int) -> None:
        """``width`` tasks may be inside at a time."""
        self._free = width
        self._order = count()
        self._waiting: list[tuple[int, int, trio.Event]] = []

    @asynccontextmanager
    async def passing(self, priority: int) -> AsyncIterator[None]:
        """Waits to be let in. The highest priority goes first, and of equals who came first."""
        await self._enter(priority)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, priority: int) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._free and not self._waiting:
            self._free -= 1
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        let_in = trio.Event()
        entry = (-priority, next(self._order), let_in)
        heapq.heappush(self._waiting, entry)
        try:
            await let_in.wait()
        except trio.Cancelled:
            if let_in.is_set():
                self._leave()
            else:
                self._waiting.remove(entry)
                heapq.heapify(self._waiting)
            raise

    def _leave(self) -> None:
        """Hands the place to whoever is next."""
        if self._waiting:
            heapq.heappop(self._waiting)[2].set()
        else:
            self._free += 1
