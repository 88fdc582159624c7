"""How a file is cut into blocks: runs of side data, and tiles of an element's rows."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from codec.container import MAX_BLOCK, MAX_SAMPLES
from codec.formats.base import NotUnderstood

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from codec.types import Chunk, Element

SIDE_BLOCK = 1 << 20
HEAD_BLOCK = 1 << 14
"""What a kernel reads at once when a program asks for a header: kept out of the tiles..."""
HEAD_BLOCK_FROM = 1 << 20
"""... of files at least this long, where the rows in it cost next to nothing."""


_LAST_SHORTER = 0.25
"""By this part of a tile an element's last tile is smaller than the others."""


@dataclass(frozen=True, slots=True)
class Extent:
    """A run of the file: the whole of a block of side data, or a tile's rows in one region.

    ``chunks`` are those it consists of where the element's rows are compressed.
    """

    start: int
    stop: int
    region: int = 0
    chunks: tuple[Chunk, ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """What is encoded in one go: one extent of side data, or a tile's in each region."""

    extents: tuple[Extent, ...]
    element: int = 0
    row: int = 0
    rows: int = 0

    @property
    def length(self) -> int:
        """Bytes of the file it covers."""
        return sum(extent.stop - extent.start for extent in self.extents)


def cut(elements: Iterable[Element], size: int, tile_pixels: int) -> list[Piece]:
    """The pieces of a file of ``size`` bytes, covering it without holes.

    Raises NotUnderstood where elements overlap one another or reach outside the file.
    """
    head = HEAD_BLOCK if size >= HEAD_BLOCK_FROM else 0
    tiles = [
        tile
        for index, element in enumerate(elements)
        for tile in _tiles(element, index, head, tile_pixels)
    ]
    covered = sorted((extent.start, extent.stop) for tile in tiles for extent in tile.extents)
    pieces = list(tiles)
    for (_, stop), (start, _) in itertools.pairwise([(0, 0), *covered, (size, size)]):
        if stop > start:
            raise NotUnderstood("unsupported: picture elements overlap or reach outside the file")
        pieces += side_pieces(stop, start)
    return pieces


def side_pieces(start: int, stop: int) -> Iterator[Piece]:
    """Side data from ``start`` to ``stop``."""
    for at in range(start, stop, SIDE_BLOCK):
        yield Piece((Extent(at, min(at + SIDE_BLOCK, stop)),))


def _tiles(element: Element, index: int, head: int, tile_pixels: int) -> Iterator[Piece]:
    """An element's tiles; rows that begin in the first ``head`` bytes of the file are left out."""
    bounds = _row_bounds(element, tile_rows(element, tile_pixels))
    if element.method:
        regions = [_grouped(chunks, bounds) for chunks in element.chunks]
        for first, last, *groups in zip(bounds[:-1], bounds[1:], *regions, strict=True):
            extents = tuple(_chunk_extent(held, number) for number, held in enumerate(groups))
            undone = (last - first) * sum(region.row_bytes for region in element.regions)
            samples = (last - first) * element.width * element.components
            longest = max(extent.stop - extent.start for extent in extents)
            if max(undone, longest) > MAX_BLOCK or samples > MAX_SAMPLES:
                raise NotUnderstood("unsupported: too many rows are compressed together")
            yield Piece(extents, index, first, last - first)
        return
    for first, last in itertools.pairwise(bounds):
        row = first
        while row < last and any(region.place(row) < head for region in element.regions):
            row += element.regions[0].band_rows or 1
        if row >= last:
            continue
        extents = tuple(
            Extent(region.place(row), region.end(last), number)
            for number, region in enumerate(element.regions)
        )
        yield Piece(extents, index, row, last - row)


def _row_bounds(element: Element, step: int) -> list[int]:
    """Where tiles begin and end: every ``step`` rows, and never inside a chunk."""
    if not element.method:
        return [*range(0, element.rows, step), element.rows]
    bounds = [0]
    row = 0
    for chunk in element.chunks[0]:
        if row - bounds[-1] and row + chunk.rows - bounds[-1] > step:
            bounds.append(row)
        row += chunk.rows
    return [*bounds, row]


def _grouped(chunks: tuple[Chunk, ...], bounds: list[int]) -> list[tuple[Chunk, ...]]:
    """Chunks by the tile they are in. Raises NotUnderstood where one is in two."""
    groups: list[list[Chunk]] = []
    row = 0
    for chunk in chunks:
        if len(groups) < len(bounds) and row == bounds[len(groups)]:
            groups.append([])
        groups[-1].append(chunk)
        row += chunk.rows
        if len(groups) == len(bounds) or row > bounds[len(groups)]:
            raise NotUnderstood("unsupported: compressed planes are not cut alike")
    if row != bounds[-1] or len(groups) != len(bounds) - 1:
        raise NotUnderstood("unsupported: compressed planes are not cut alike")
    return [tuple(group) for group in groups]


def _chunk_extent(chunks: tuple[Chunk, ...], region: int) -> Extent:
    return Extent(chunks[0].offset, chunks[-1].offset + chunks[-1].length, region, chunks)


def tile_rows(element: Element, tile_pixels: int) -> int:
    """Rows a tile: about ``tile_pixels`` pixels, whole bands, within what a block may hold.

    An element is cut into an even number of tiles, so that two threads share it evenly. They are
    alike, but the last is smaller: it is the thread that is behind, since it began with the side
    data, that takes it. Raises NotUnderstood where one band is too much.
    """
    band = max((region.band_rows for region in element.regions), default=0) or 1
    row_bytes = sum(region.row_bytes + region.band_header for region in element.regions)
    count = round(element.rows * element.width / tile_pixels / 2) * 2
    rows = round(element.rows / max(count - _LAST_SHORTER, 1))
    rows = max(rows, math.ceil(element.rows / max(count, 1)))
    samples = element.width * element.components
    room = min(MAX_BLOCK // max(row_bytes, 1), MAX_SAMPLES // samples)
    rows = max(min(rows, room) // band * band, band)
    if rows > room:
        raise NotUnderstood("unsupported: rows are too long")
    return rows
