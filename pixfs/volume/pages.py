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

    from pixfs.volume.attributes import Buffer

# Below, the rest of the last page and the call would cost more than they save; and a process may
# have some 65,000 mappings.
_FROM = 64 << 10
# Of blocks that had to go and of whose memory none has been made yet.
_MOST_KEPT = 16 << 20
_HUGE = 2 << 20
# Reads that are being answered at once.
_MOST_JOINED = 4


class BlockMemory:
    """Where decoded blocks stand: pages of their own, which the next ones get when these must go.

    A decoded block may stay in the cache for hours. In the C library's heap it would stand between
    buffers that live for a request, and each one that is freed would leave a hole of its own. And
    to take pages from the system for each block takes as much as a tenth of decoding it. Any
    thread may call anything.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[int, list[mmap.mmap]] = {}
        self._kept_bytes = 0
        self._is_used = False

    def room(self, size: int) -> NDArray[np.uint8] | None:
        """``size`` bytes, whatever is in them; None where pages of their own are not worth it."""
        if size < _FROM:
            return None
        length = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        with self._lock:
            self._is_used = True
            fitting = self._kept.get(length)
            pages = fitting.pop() if fitting else None
            if pages is not None:
                self._kept_bytes -= length
        if pages is None:
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
            pages = mmap.mmap(-1, length, flags=flags)
        return np.frombuffer(pages, np.uint8)[:size]

    def recycle(self, blocks: list[Buffer]) -> None:
        """Takes the memory of blocks that nobody else refers to any more; empties the list. What
        somebody still reads goes back to the system with the last who does."""
        while blocks:
            pages = _mapping_of(blocks.pop())
            if pages is None or _is_referred_to(pages):
                continue
            with self._lock:
                if self._kept_bytes + len(pages) <= _MOST_KEPT:
                    self._kept.setdefault(len(pages), []).append(pages)
                    self._kept_bytes += len(pages)

    def trim(self) -> None:
        """Gives everything back to the system if no block was made since the last call."""
        with self._lock:
            if not self._is_used:
                self._kept.clear()
                self._kept_bytes = 0
            self._is_used = False


def _mapping_of(block: object) -> mmap.mmap | None:
    """The mapping that a block stands in."""
    while isinstance(block, memoryview | np.ndarray):
        block = block.obj if isinstance(block, memoryview) else block.base
    return block if isinstance(block, mmap.mmap) else None


def _is_referred_to(pages: mmap.mmap) -> bool:
    """Whether anything shows what is in a mapping."""
    try:
        # Refused then.
        pages.resize(len(pages))
    except BufferError:
        return True
    return False


class Joiner:
    """Puts pieces of neighbouring blocks together, in memory that is used again as soon as nobody
    refers to what it holds; any thread.

    Nearly every read of a frame that is read through touches two blocks. Fresh memory for each
    would have to be cleared first, which takes longer than the copying.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: list[mmap.mmap] = []
        self._is_used = False

    def join(self, pieces: list[memoryview]) -> Buffer:
        """The pieces, one after the other."""
        if len(pieces) == 1:
            return pieces[0]
        size = sum(map(len, pieces))
        if size < _FROM:
            return b"".join(pieces)
        pages = self._take(size)
        room = np.frombuffer(pages, np.uint8)[:size]
        at = 0
        for piece in pieces:
            # numpy lets the interpreter go meanwhile.
            room[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
            at += len(piece)
        with self._lock:
            self._kept.append(pages)
            # What somebody refers to is his from here on.
            del self._kept[:-_MOST_JOINED]
        return room.data

    def trim(self) -> None:
        """Gives everything back to the system if nothing was joined since the last call."""
        with self._lock:
            if not self._is_used:
                self._kept.clear()
            self._is_used = False

    def _take(self, size: int) -> mmap.mmap:
        with self._lock:
            self._is_used = True
            for pages in self._kept:
                if len(pages) >= size and not _is_referred_to(pages):
                    self._kept.remove(pages)
                    return pages
        return _huge_pages(size)


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
        if _is_referred_to(pages):
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
