"""Strips and tiles that follow one another in a file, gathered into as few regions as will do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from codec.types import Chunk, Region

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from codec.types import Element

MAX_ELEMENTS = 1024
"""A file of more parts than this is coded in its largest."""
_MAX_GAP = 64
"""Bytes that a writer may leave between two strips (alignment) without parting them."""
_WORTHWHILE = 1024
"""Elements of fewer bytes cost more in tables than they save."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole rows that a file stores together, with the header that may stand before them.

    ``length`` counts header and rows. Pieces of one ``group`` have rows of one length and kind.
    """

    offset: int
    length: int
    rows: int
    group: int


@dataclass(frozen=True, slots=True)
class Placed:
    """A piece that overlaps no other, with ``free`` bytes between it and the one before it."""

    offset: int
    length: int
    rows: int
    free: int


@dataclass(frozen=True, slots=True)
class Run:
    """``rows`` rows in one region; the samples of each begin ``start`` bytes into the row.

    With ``chunks`` the rows are compressed, and the region's offset means nothing.
    """

    region: Region
    rows: int
    start: int = 0
    chunks: tuple[Chunk, ...] = ()


def place(pieces: Iterable[Piece], size: int) -> dict[int, list[Placed]]:
    """The pieces of each group in the order of the file of ``size`` bytes.

    Pieces that reach beyond the file or into one before them are left out: their bytes are
    kept beside, or are coded once.
    """
    groups: dict[int, list[Placed]] = {}
    end = 0
    for piece in sorted(pieces, key=lambda p: (p.offset, p.length)):
        if piece.offset < end or piece.offset + piece.length > size:
            continue
        placed = Placed(piece.offset, piece.length, piece.rows, piece.offset - end)
        groups.setdefault(piece.group, []).append(placed)
        end = piece.offset + piece.length
    return groups


def raw_runs(pieces: Sequence[Placed], row_bytes: int, header: int = 0) -> list[Run]:
    """Uncompressed pieces (in the order of the file) as runs.

    Pieces of equal rows at equal distances make one run, whose last piece may be shorter. Gaps
    between them count as headers of the bands that follow.
    """
    found = []
    first = 0
    while first < len(pieces):
        last, gap = _extent(pieces, first)
        found.append(_run(pieces[first : last + 1], row_bytes, header, gap))
        first = last + 1
    return found


def _extent(pieces: Sequence[Placed], first: int) -> tuple[int, int]:
    """The last piece of the run that begins with ``first``, and the gap between its pieces."""
    last = first
    gap = 0
    while last + 1 < len(pieces):
        following = pieces[last + 1]
        if last == first:
            gap = following.free
        adjacent = pieces[last].offset + pieces[last].length + gap == following.offset
        even = pieces[last].rows == pieces[first].rows and following.rows <= pieces[first].rows
        if not (adjacent and even and gap <= _MAX_GAP and pieces[first].free >= gap):
            break
        last += 1
    return last, gap if last > first else 0


def _run(pieces: Sequence[Placed], row_bytes: int, header: int, gap: int) -> Run:
    rows = sum(piece.rows for piece in pieces)
    offset = pieces[0].offset - gap
    band_header = header + gap
    if pieces[0].rows == 1:
        return Run(Region(offset, band_header + row_bytes), rows, band_header)
    if band_header == 0:
        return Run(Region(offset, row_bytes), rows)
    return Run(Region(offset, row_bytes, pieces[0].rows, band_header), rows)


def redo_runs(pieces: Sequence[Placed], row_bytes: int) -> list[Run]:
    """Compressed pieces (in the order of the file) as runs of chunks.

    Small gaps between them belong to the chunk before.
    """
    found: list[list[Chunk]] = []
    end = -1
    for piece in pieces:
        gap = piece.offset - end
        if found and gap == piece.free <= _MAX_GAP:
            last = found[-1][-1]
            found[-1][-1] = Chunk(last.offset, last.length + gap, last.rows)
        else:
            found.append([])
        found[-1].append(Chunk(piece.offset, piece.length, piece.rows))
        end = piece.offset + piece.length
    return [
        Run(Region(0, row_bytes), sum(c.rows for c in chunks), chunks=tuple(chunks))
        for chunks in found
    ]


def largest(elements: Iterable[Element]) -> tuple[Element, ...]:
    """The elements worth coding, at most MAX_ELEMENTS, in the order of the file."""
    by_size = sorted((e for e in elements if _bytes(e) >= _WORTHWHILE), key=_bytes, reverse=True)
    return tuple(sorted(by_size[:MAX_ELEMENTS], key=_begin))


def _bytes(element: Element) -> int:
    return element.rows * sum(region.row_bytes for region in element.regions)


def _begin(element: Element) -> int:
    if element.method:
        return min(chunks[0].offset for chunks in element.chunks)
    return min(region.offset for region in element.regions)
