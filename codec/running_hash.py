"""The hash of a whole whose parts become known in any order, on any threads."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import xxhash

if TYPE_CHECKING:
    from typing_extensions import Buffer


class RunningHash:
    """XXH3-128 of a whole, taken part by part while its bytes are still in the caches.

    A hash is taken from the front on. A thread that reports the part to come takes it, and what
    was reported behind it; one that reports a later part, or comes while another is at it, leaves
    its part to that one. So hashing is spread over the threads that make the parts, and none waits.
    """

    def __init__(self, whole: Buffer) -> None:
        self._whole = memoryview(whole).cast("B")
        self._hash = xxhash.xxh3_128()
        self._lock = threading.Lock()
        self._stops: dict[int, int] = {}
        self._taken = 0
        self._busy = False

    def known(self, start: int, stop: int) -> None:
        """Bytes ``start`` to ``stop`` have their final values; parts must not overlap.

        Any thread may call this. It returns once the part is hashed or left to another thread.
        """
        if stop <= start:
            return
        with self._lock:
            self._stops[start] = stop
            if self._busy:
                return
            self._busy = True
        while (part := self._next()) is not None:
            self._hash.update(self._whole[part])

    def _next(self) -> slice | None:
        """The run of parts to take now; None, with nobody busy any more, if there is none."""
        with self._lock:
            first = self._taken
            while (stop := self._stops.pop(self._taken, None)) is not None:
                self._taken = stop
            if self._taken > first:
                return slice(first, self._taken)
            self._busy = False
            return None

    def digest(self) -> bytes:
        """The hash of the whole, to be asked for once all threads are done with their parts.

        What was never reported is taken here.
        """
        self.known(self._taken, len(self._whole))
        return self._hash.digest()
