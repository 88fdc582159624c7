"""The stored bytes of a container's blocks, put one behind another as they are made."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Memory = Callable[[int], NDArray[np.uint8]]


def fresh(size: int) -> NDArray[np.uint8]:
    """So many bytes of new memory."""
    return np.empty(size, np.uint8)


class Assembly:
    """A container that grows while threads encode its blocks, in any order.

    Blocks cover the original in order, so the next to be stored is the one that starts where the
    last one stopped. A thread that brings it copies it to its place, straight from where it was
    encoded, and what came too early behind it; one that brings a later block, or comes while
    another is at it, leaves a copy to that one. So no thread waits, and nothing is left to be
    joined in the end. What comes before the blocks, whose length is known last, goes into
    ``room`` left free for it.

    Memory: pages that are never written to are not taken from the system.
    """

    def __init__(self, room: int, most: int, memory: Memory = fresh) -> None:
        """``room`` bytes before the blocks, and ``most`` for them, are never exceeded.

        ``memory`` gives so many bytes to put them in, whatever is in those.
        """
        self._whole = memory(room + most)
        self._view = self._whole.data
        self._first = room
        self._stop = room
        self._lock = threading.Lock()
        self._early: dict[int, tuple[int, bytes]] = {}
        self._next = 0
        self._busy = False

    @property
    def length(self) -> int:
        """Bytes of all blocks so far."""
        return self._stop - self._first

    def put(self, start: int, stop: int, parts: Sequence[memoryview | bytes]) -> None:
        """Store a block of the original's bytes ``start`` to ``stop`` as ``parts``, joined.

        Any thread may call this; ``parts`` may be changed once it returns.
        """
        with self._lock:
            is_next = start == self._next and not self._busy
            self._busy |= is_next
        if is_next:
            self._append(stop, parts)
        else:
            joined = b"".join(parts)
            with self._lock:
                self._early[start] = stop, joined
                if self._busy:
                    return
                self._busy = True
        while (following := self._following()) is not None:
            stop, joined = following
            self._append(stop, [joined])

    def _append(self, stop: int, parts: Sequence[memoryview | bytes]) -> None:
        """Copy the next block to its place; the caller is the busy one."""
        at = self._stop
        for part in parts:
            self._view[at : at + len(part)] = part
            at += len(part)
        self._stop = at
        self._next = stop

    def _following(self) -> tuple[int, bytes] | None:
        """The next block, if it came early; None, with nobody busy any more, if not."""
        with self._lock:
            found = self._early.pop(self._next, None)
            self._busy = found is not None
            return found

    def finish(self, head: bytes) -> memoryview:
        """The whole, read-only: ``head``, then all blocks."""
        begin = self._first - len(head)
        self._view[begin : self._first] = head
        return self._view[begin : self._stop].toreadonly()
