"""Decoded blocks in memory: one budget for a volume, and no block decoded twice at once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from pixfs.volume.pages import BlockMemory

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    import numpy as np
    from numpy.typing import NDArray

    from pixfs.volume.attributes import Buffer

# What was read through in sequence is in the kernel's memory as well.
_MOST_PASSED = 64 << 20


class _Flight:
    """A block that some thread is decoding; the others wait for ``landed``."""

    def __init__(self) -> None:
        self.landed = threading.Event()
        self.block: Buffer | None = None


class BlockCache:
    """Least recently used blocks up to ``budget_bytes``; any thread may call anything.

    A key names a container's identity (inode, size, times, hash of the original) and a block
    in it, so that a block can never be served for other bytes than it was decoded from; a
    container that is gone simply ages out. Of blocks that a reader has passed by few are kept.
    """

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._most_passed = min(_MOST_PASSED, budget_bytes // 2)
        self._memory = BlockMemory()
        self._lock = threading.Lock()
        self._blocks: OrderedDict[Hashable, Buffer] = OrderedDict()
        self._passed: OrderedDict[Hashable, None] = OrderedDict()
        self._passed_bytes = 0
        self._flights: dict[Hashable, _Flight] = {}
        self._bytes = 0
        self._hits = 0
        self._misses = 0

    def get_cached(self, key: Hashable) -> Buffer | None:
        """The block if it is there; never waits."""
        with self._lock:
            return self._found(key)

    def room(self, size: int) -> NDArray[np.uint8] | None:
        """Memory for a block of that size, whatever is in it; None: any will do."""
        return self._memory.room(size)

    def join(self, pieces: list[memoryview]) -> Buffer:
        """Pieces of blocks, one after the other."""
        return self._memory.join(pieces)

    def pass_by(self, keys: Iterable[Hashable]) -> None:
        """A reader has come past these blocks in sequence: they go before all others, the ones
        passed longest ago first."""
        with self._lock:
            for key in keys:
                if key in self._blocks and key not in self._passed:
                    self._passed[key] = None
                    self._passed_bytes += len(self._blocks[key])
            dropped = self._drop()
        self._memory.recycle(dropped)

    def trim(self) -> None:
        """Gives memory back that no block has used since the last call."""
        self._memory.trim()

    def is_missing(self, key: Hashable) -> bool:
        """Whether the block is neither cached nor being decoded."""
        with self._lock:
            return key not in self._blocks and key not in self._flights

    def get(self, key: Hashable, decode: Callable[[], Buffer]) -> Buffer:
        """The block, decoded in this thread unless it is cached or another thread is at it.

        Raises what ``decode`` raises. A thread that waited for another's failed attempt makes
        its own, so that each caller sees its own error.
        """
        while True:
            with self._lock:
                block = self._found(key)
                if block is not None:
                    return block
                flight = self._flights.get(key)
                if flight is None:
                    flight = self._flights[key] = _Flight()
                    self._misses += 1
                    break
            flight.landed.wait()
            if flight.block is not None:
                return flight.block
        return self._decode(key, flight, decode)

    def _decode(self, key: Hashable, flight: _Flight, decode: Callable[[], Buffer]) -> Buffer:
        try:
            block = decode()
        except BaseException:
            with self._lock:
                del self._flights[key]
            flight.landed.set()
            raise
        with self._lock:
            del self._flights[key]
            flight.block = block
            dropped = self._keep(key, block)
        flight.landed.set()
        self._memory.recycle(dropped)
        return block

    def _found(self, key: Hashable) -> Buffer | None:
        block = self._blocks.get(key)
        if block is not None:
            self._blocks.move_to_end(key)
            self._hits += 1
            # Wanted again, after all.
            self._unpass(key, block)
        return block

    def _unpass(self, key: Hashable, block: Buffer) -> None:
        """The block is none of those passed, if it was."""
        if key in self._passed:
            del self._passed[key]
            self._passed_bytes -= len(block)

    def _keep(self, key: Hashable, block: Buffer) -> list[Buffer]:
        """Takes a block in; returns those that have to go for it."""
        size = len(block)
        if size > self._budget_bytes:
            return []
        self._blocks[key] = block
        self._bytes += size
        return self._drop()

    def _drop(self) -> list[Buffer]:
        """Takes out what there is too much of."""
        dropped = []
        while self._passed_bytes > self._most_passed or self._bytes > self._budget_bytes:
            key = next(iter(self._passed or self._blocks))
            block = self._blocks.pop(key)
            self._unpass(key, block)
            self._bytes -= len(block)
            dropped.append(block)
        return dropped

    def snapshot(self) -> dict[str, int]:
        """Budget, bytes held, hits and misses."""
        with self._lock:
            return {
                "budget_bytes": self._budget_bytes,
                "bytes": self._bytes,
                "blocks": len(self._blocks),
                "hits": self._hits,
                "misses": self._misses,
            }

    def clear(self) -> None:
        """Drops every block."""
        with self._lock:
            self._blocks.clear()
            self._bytes = 0
            self._passed.clear()
            self._passed_bytes = 0
