"""Decoded blocks in memory: one budget for a volume, and no block decoded twice at once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from pixfs.volume.attributes import Buffer


class _Flight:
    """A block that some thread is decoding; the others wait for ``landed``."""

    def __init__(self) -> None:
        self.landed = threading.Event()
        self.block: Buffer | None = None


class BlockCache:
    """Least recently used blocks up to ``budget_bytes``; any thread may call anything.

    A key names a container's identity (inode, size, times, hash of the original) and a block
    in it, so that a block can never be served for other bytes than it was decoded from; a
    container that is gone simply ages out.
    """

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._lock = threading.Lock()
        self._blocks: OrderedDict[Hashable, Buffer] = OrderedDict()
        self._flights: dict[Hashable, _Flight] = {}
        self._bytes = 0
        self._hits = 0
        self._misses = 0

    def get_cached(self, key: Hashable) -> Buffer | None:
        """The block if it is there; never waits."""
        with self._lock:
            block = self._blocks.get(key)
            if block is not None:
                self._blocks.move_to_end(key)
                self._hits += 1
            return block

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
                block = self._blocks.get(key)
                if block is not None:
                    self._blocks.move_to_end(key)
                    self._hits += 1
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
            self._keep(key, block)
        flight.landed.set()
        return block

    def _keep(self, key: Hashable, block: Buffer) -> None:
        size = len(block)
        if size > self._budget_bytes:
            return
        self._blocks[key] = block
        self._bytes += size
        while self._bytes > self._budget_bytes:
            _, oldest = self._blocks.popitem(last=False)
            self._bytes -= len(oldest)

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
