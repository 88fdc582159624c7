"""Memory that is used again, for what is large and comes and goes.

What is taken from the system is cleared first, and has perhaps to be found on a host that has lent
it elsewhere: for a frame, as much work as a tenth of its coding. In the C library's heap, what
stays for hours would stand between buffers that live for a request, and each one that is freed
would leave a hole of its own.
"""

from __future__ import annotations

import mmap
import sys
import threading
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
# Of blocks that had to go and of whose memory none has been made yet.
_MOST_BLOCK_BYTES = 16 << 20
# Reads that are being answered at once.
_MOST_JOINED = 4
_HUGE = 2 << 20


class Pool:
    """Memory that is taken again when nobody refers to what is in it; any thread."""

    def __init__(
        self,
        made: Callable[[int], mmap.mmap],
        *,
        most: int = sys.maxsize,
        most_bytes: int = sys.maxsize,
        is_tight: bool = False,
    ) -> None:
        """``made`` makes a mapping of at least so many bytes; ``most`` of them, and ``most_bytes``,
        are kept while nobody has them. With ``is_tight`` one is taken for as many bytes only as it
        has, to the page."""
        self._made = made
        self._most = most
        self._most_bytes = most_bytes
        self._is_tight = is_tight
        self._lock = threading.Lock()
        self._kept: list[mmap.mmap] = []
        self._is_used = False

    def room(self, size: int) -> NDArray[np.uint8]:
        """So many bytes, whatever is in them."""
        return np.frombuffer(self._taken(max(1, size)), np.uint8)[:size]

    def keep(self, room: Buffer | NDArray[np.uint8]) -> None:
        """Takes back what `room` gave, or a part of it; somebody may refer to it still. Anything
        else is left alone."""
        pages = _mapping_of(room)
        if pages is None:
            return
        with self._lock:
            self._is_used = True
            self._kept.append(pages)
            while len(self._kept) > self._most or sum(map(len, self._kept)) > self._most_bytes:
                # A large one does for little as well, unless it has to be tight: then what was
                # taken back first is of frames gone by.
                surplus = self._kept[0] if self._is_tight else min(self._kept, key=len)
                self._kept.remove(surplus)

    def trim(self) -> None:
        """Gives everything back to the system if nothing was taken or kept since the last call."""
        with self._lock:
            if not self._is_used:
                self._kept.clear()
            self._is_used = False

    def _taken(self, size: int) -> mmap.mmap:
        with self._lock:
            self._is_used = True
            fitting = [pages for pages in self._kept if self._fits(len(pages), size)]
            for pages in sorted(fitting, key=len):
                if not _is_referred_to(pages):
                    self._kept.remove(pages)
                    return pages
        return self._made(size)

    def _fits(self, length: int, size: int) -> bool:
        return length >= size and not (self._is_tight and length - size >= mmap.PAGESIZE)


class BlockMemory:
    """Where decoded blocks stand: pages of their own, which the next ones get when these must go.
    Any thread may call anything."""

    def __init__(self) -> None:
        self._blocks = Pool(_present_pages, most_bytes=_MOST_BLOCK_BYTES, is_tight=True)
        self._joined = Pool(_huge_pages, most=_MOST_JOINED)

    def room(self, size: int) -> NDArray[np.uint8] | None:
        """``size`` bytes, whatever is in them; None where pages of their own are not worth it."""
        return self._blocks.room(size) if size >= _FROM else None

    def recycle(self, blocks: Iterable[Buffer]) -> None:
        """Takes the memory of blocks that had to go, for when nobody refers to them any more."""
        for block in blocks:
            self._blocks.keep(block)

    def join(self, pieces: list[memoryview]) -> Buffer:
        """Pieces of neighbouring blocks, one after the other: nearly every read of a frame that is
        read through touches two."""
        if len(pieces) == 1:
            return pieces[0]
        size = sum(map(len, pieces))
        if size < _FROM:
            return b"".join(pieces)
        room = self._joined.room(size)
        at = 0
        for piece in pieces:
            # numpy lets the interpreter go meanwhile.
            room[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
            at += len(piece)
        self._joined.keep(room)
        return room.data

    def trim(self) -> None:
        """Gives back to the system what nothing has used since the last call."""
        self._blocks.trim()
        self._joined.trim()


class Lender:
    """Large buffers for who needs them for a while; any thread."""

    def __init__(self, most: int) -> None:
        """``most`` buffers are kept while nobody has them."""
        self._pool = Pool(_huge_pages, most=most)

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
        self._lent: list[NDArray[np.uint8]] = []

    def room(self, size: int) -> NDArray[np.uint8]:
        """So many bytes, whatever is in them."""
        room = self._pool.room(size)
        self._lent.append(room)
        return room

    def end(self) -> None:
        """Gives all of them back."""
        while self._lent:
            self._pool.keep(self._lent.pop())


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
