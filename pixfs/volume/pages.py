"""Memory for what stays a while among what comes and goes."""

from __future__ import annotations

import mmap
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

# Below, the rest of the last page and the call would cost more than they save; and a process may
# have some 65,000 mappings.
_FROM = 64 << 10
_HUGE = 2 << 20


def own_pages(size: int) -> NDArray[np.uint8] | None:
    """``size`` bytes with pages of their own, taken from the system at once and given back to it as
    soon as nobody refers to them; None where that is not worth it. Any thread.

    A decoded block may stay in the cache for hours. In the C library's heap it would stand between
    buffers that live for a request, and each one that is freed would leave a hole of its own.
    """
    if size < _FROM:
        return None
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
    return np.frombuffer(mmap.mmap(-1, size, flags=flags), np.uint8)


class Lender:
    """Large buffers that are used again; any thread.

    What is taken from the system is cleared first, and has perhaps to be found on a host that has
    lent it elsewhere: for a frame that is converted, as much work as a tenth of its coding.
    """

    def __init__(self, most: int) -> None:
        """``most`` buffers are kept while nobody has them."""
        self._most = most
        self._lock = threading.Lock()
        self._kept: list[mmap.mmap] = []
        self._is_used = False

    @contextmanager
    def lending(self) -> Iterator[Loan]:
        """What lends buffers until the end of the block, where nobody may refer to them any more:
        one that somebody does refer to is not lent again."""
        loan = Loan(self)
        try:
            yield loan
        finally:
            loan.end()

    def trim(self) -> None:
        """Gives everything back to the system that nobody has had since the last call."""
        with self._lock:
            if not self._is_used:
                self._kept.clear()
            self._is_used = False

    def take(self, size: int) -> mmap.mmap:
        """A mapping of at least ``size`` bytes, perhaps used before."""
        with self._lock:
            self._is_used = True
            fitting = [pages for pages in self._kept if len(pages) >= size]
            if fitting:
                pages = min(fitting, key=len)
                self._kept.remove(pages)
                return pages
        return _huge_pages(size)

    def give_back(self, pages: mmap.mmap) -> None:
        """Keeps a mapping, in place of a smaller one if there are too many."""
        try:
            # Refused while anything refers to it.
            pages.resize(len(pages))
        except BufferError:
            return
        with self._lock:
            self._is_used = True
            self._kept.append(pages)
            if len(self._kept) > self._most:
                self._kept.remove(min(self._kept, key=len))


class Loan:
    """Buffers of one conversion; one thread."""

    def __init__(self, lender: Lender) -> None:
        self._lender = lender
        self._taken: list[mmap.mmap] = []

    def room(self, size: int) -> NDArray[np.uint8]:
        """So many bytes, whatever is in them."""
        pages = self._lender.take(max(1, size))
        self._taken.append(pages)
        return np.frombuffer(pages, np.uint8)[:size]

    def end(self) -> None:
        """Gives all of them back."""
        while self._taken:
            self._lender.give_back(self._taken.pop())


def _huge_pages(size: int) -> mmap.mmap:
    """A mapping whose pages are few and large where the kernel has them; no bytearray, which would
    be cleared with the interpreter held."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    pages = mmap.mmap(-1, -(-size // _HUGE) * _HUGE, flags=flags)
    with suppress(OSError):
        pages.madvise(mmap.MADV_HUGEPAGE)
    return pages
