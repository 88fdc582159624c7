"""Memory that is used again, for what is large and comes and goes.

What is taken from the system is cleared first, and has perhaps to be found on a host that has lent
it elsewhere: for a frame, as much work as a tenth of its coding. In the C library's heap, what
stays for hours would stand between buffers that live for a request, and each one that is freed
would leave a hole of its own.
"""

from __future__ import annotations

import mmap
import threading
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from pixfs.volume.attributes import Buffer

# Below, the rest of the last page and the call would cost more than they save; and a process may
# have some 65,000 mappings.
_FROM = 64 << 10
# Of blocks, 1 MiB as a rule, that had to go and of whose memory none has been made yet.
_MOST_BLOCKS = 16
# Reads that are being answered at once.
_MOST_JOINED = 4
_HUGE = 2 << 20


class Pool:
    """Mappings that are taken again when nobody refers to what is in them; any thread."""

    def __init__(
        self, most: int, made: Callable[[int], mmap.mmap], *, is_tight: bool = False
    ) -> None:
        """``most`` are kept while nobody has taken them, the latest; ``made`` makes one of at
        least so many bytes. With ``is_tight`` one is taken for as many bytes only as it has, to the
        page."""
        self._made = made
        self._is_tight = is_tight
        self._lock = threading.Lock()
        self._kept: deque[mmap.mmap] = deque(maxlen=most)
        self._is_used = False

    def take(self, size: int) -> mmap.mmap:
        """A mapping of at least ``size`` bytes, whatever is in them."""
        with self._lock:
            self._is_used = True
            fitting = [pages for pages in self._kept if self._fits(len(pages), size)]
            for pages in sorted(fitting, key=len):
                if not _is_referred_to(pages):
                    self._kept.remove(pages)
                    return pages
        return self._made(size)

    def keep(self, pages: mmap.mmap) -> None:
        """Takes back a mapping that was taken. Somebody may refer to it still."""
        with self._lock:
            self._is_used = True
            self._kept.append(pages)

    def trim(self) -> None:
        """Gives everything back to the system if nothing was taken or kept since the last call."""
        with self._lock:
            if not self._is_used:
                self._kept.clear()
            self._is_used = False

    def _fits(self, length: int, size: int) -> bool:
        return length >= size and not (self._is_tight and length - size >= mmap.PAGESIZE)


class BlockMemory:
    """Where decoded blocks stand: pages of their own, which the next ones get when these must go.
    Any thread may call anything."""

    def __init__(self) -> None:
        self._blocks = Pool(_MOST_BLOCKS, _present_pages, is_tight=True)
        self._joined = Pool(_MOST_JOINED, _huge_pages)

    def room(self, size: int) -> NDArray[np.uint8] | None:
        """``size`` bytes, whatever is in them; None where pages of their own are not worth it."""
        if size < _FROM:
            return None
        return np.frombuffer(self._blocks.take(size), np.uint8)[:size]

    def recycle(self, blocks: Iterable[Buffer]) -> None:
        """Takes the memory of blocks that had to go, for when nobody refers to them any more."""
        for block in blocks:
            pages = _mapping_of(block)
            if pages is not None:
                self._blocks.keep(pages)

    def join(self, pieces: list[memoryview]) -> Buffer:
        """Pieces of neighbouring blocks, one after the other: nearly every read of a frame that is
        read through touches two."""
        if len(pieces) == 1:
            return pieces[0]
        size = sum(map(len, pieces))
        if size < _FROM:
            return b"".join(pieces)
        pages = self._joined.take(size)
        room = np.frombuffer(pages, np.uint8)[:size]
        at = 0
        for piece in pieces:
            # numpy lets the interpreter go meanwhile.
            room[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
            at += len(piece)
        self._joined.keep(pages)
        return room.data

    def trim(self) -> None:
        """Gives back to the system what nothing has used since the last call."""
        self._blocks.trim()
        self._joined.trim()


class Lender:
    """Large buffers for who needs them for a while; any thread."""

    def __init__(self, most: int) -> None:
        """``most`` buffers are kept while nobody has them."""
        self._pool = Pool(most, _huge_pages)

    @contextmanager
    def lending(self) -> Iterator[Loan]:
        """What lends buffers until the end of the block, where nobody may refer to them any more:
        one that somebody does refer to is not lent again."""
        loan = Loan(self._pool)
        try:
            yield loan
        finally:
            loan.end()

    def trim(self) -> None:
        """Gives everything back to the system if nobody has had any since the last call."""
        self._pool.trim()


class Loan:
    """Buffers of one conversion; one thread."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._taken: list[mmap.mmap] = []

    def room(self, size: int) -> NDArray[np.uint8]:
        """So many bytes, whatever is in them."""
        pages = self._pool.take(max(1, size))
        self._taken.append(pages)
        return np.frombuffer(pages, np.uint8)[:size]

    def end(self) -> None:
        """Gives all of them back."""
        while self._taken:
            self._pool.keep(self._taken.pop())


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


def _present_pages(size: int) -> mmap.mmap:
    """A mapping to the page, with its pages there."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
    return mmap.mmap(-1, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE, flags=flags)


def _huge_pages(size: int) -> mmap.mmap:
    """A mapping whose pages are few and large where the kernel has them; no bytearray, which would
    be cleared with the interpreter held."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    pages = mmap.mmap(-1, -(-size // _HUGE) * _HUGE, flags=flags)
    with suppress(OSError):
        pages.madvise(mmap.MADV_HUGEPAGE)
    return pages
