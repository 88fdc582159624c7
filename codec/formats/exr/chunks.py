"""Where an OpenEXR file's chunks lie: its offset tables, levels and tiles."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from codec.formats.base import NotUnderstood
from codec.formats.runs import Piece
from codec.redo import EXR_RLE, EXR_ZIP

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from codec.formats.exr.header import Header, Part

MAX_CHUNKS = 1 << 18
"""Chunks of a file that are looked at; no camera or renderer comes near."""
METHODS = {"none": 0, "rle": EXR_RLE, "zips": EXR_ZIP, "zip": EXR_ZIP}
"""How to undo each compression that can be redone."""
_LINES = {
    "none": 1,
    "rle": 1,
    "zips": 1,
    "zip": 16,
    "piz": 32,
    "pxr24": 16,
    "b44": 32,
    "b44a": 32,
    "dwaa": 32,
    "dwab": 256,
}
"""Lines a chunk of a scanline part holds, by compression."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What the chunks of one group have in common: ``width`` pixels a row of ``part``.

    ``header`` bytes stand before the pixels of each chunk.
    """

    part: int
    width: int
    header: int


@dataclass(frozen=True, slots=True)
class _Level:
    """One resolution of a tiled part, in pixels."""

    width: int
    height: int


def find_chunks(file: memoryview, header: Header) -> tuple[list[Shape], list[Piece]]:
    """The chunks whose headers agree with the parts they belong to, and the groups they form.

    Parts with a compression that is not in `METHODS`, deep parts and subsampled ones have none.
    Raises NotUnderstood where the offset tables do not fit into the file.
    """
    shapes: dict[Shape, int] = {}
    pieces: list[Piece] = []
    looked_at = 0
    at = header.end
    for index, part in enumerate(header.parts):
        count = _claimed(part)
        table = _table(file, at, count)
        at += 8 * count
        if part.deep or part.compression not in METHODS or _subsampled(part):
            continue
        looked_at += len(table)
        if looked_at > MAX_CHUNKS:
            raise NotUnderstood(f"unsupported: EXR with more than {MAX_CHUNKS} chunks", "exr")
        of_part = _tiles if part.tiles else _scanlines
        for shape, offset, length, rows in of_part(file, header, index, table):
            group = shapes.setdefault(shape, len(shapes))
            pieces.append(Piece(offset, length, rows, group))
    return list(shapes), pieces


def _subsampled(part: Part) -> bool:
    return any((c.x_sampling, c.y_sampling) != (1, 1) for c in part.channels)


def _claimed(part: Part) -> int:
    """How many offsets the part's table holds."""
    if part.chunks is not None:
        return max(part.chunks, 0)
    if part.tiles is None:
        return -(-part.height // _lines(part))
    across, down = part.tiles.width, part.tiles.height
    return sum(
        -(-level.width // across) * -(-level.height // down) for level in _levels(part).values()
    )


def _lines(part: Part) -> int:
    lines = _LINES.get(part.compression)
    if lines is None:
        raise NotUnderstood(f"unsupported: EXR compression {part.compression}", "exr")
    return lines


def _levels(part: Part) -> dict[tuple[int, int], _Level]:
    """All levels of a tiled part by level number in x and y."""
    assert part.tiles is not None
    sizes = [_halvings(n, part.tiles.round_up) for n in (part.width, part.height)]
    if part.tiles.mode == 0:
        return {(0, 0): _Level(part.width, part.height)}
    if part.tiles.mode == 1:
        # Both sides are halved until the longer one is 1.
        deepest = max(map(len, sizes))
        across, down = (n + [1] * (deepest - len(n)) for n in sizes)
        return {(i, i): _Level(across[i], down[i]) for i in range(deepest)}
    return {
        (x, y): _Level(width, height)
        for y, height in enumerate(sizes[1])
        for x, width in enumerate(sizes[0])
    }


def _halvings(side: int, round_up: bool) -> list[int]:
    found = [side]
    while found[-1] > 1:
        found.append((found[-1] + round_up) // 2)
    return found


def _table(file: memoryview, at: int, count: int) -> NDArray[np.uint64]:
    """An offset table without the offsets that cannot be (zeros: never written)."""
    if at + 8 * count > len(file):
        raise NotUnderstood("unsupported: EXR offset table is cut short", "exr")
    table = np.frombuffer(file, "<u8", count, at)
    return np.unique(table[(table > 0) & (table < len(file))])


def _prefix(
    file: memoryview, header: Header, part: int, offset: int, fields: int
) -> tuple[int, ...]:
    """The ``fields`` numbers before a chunk's data, or none if it is not ``part``'s chunk."""
    numbers = fields + header.multi_part
    if offset + 4 * numbers > len(file):
        return ()
    values = struct.unpack_from(f"<{numbers}i", file, offset)
    if header.multi_part:
        return values[1:] if values[0] == part else ()
    return values


def _scanlines(
    file: memoryview, header: Header, index: int, table: NDArray[np.uint64]
) -> Iterator[tuple[Shape, int, int, int]]:
    """Shape, offset, length and rows of each chunk of a scanline part."""
    part = header.parts[index]
    lines = _lines(part)
    prefix = 8 + 4 * header.multi_part
    shape = Shape(index, part.width, prefix)
    for offset in table.tolist():
        values = _prefix(file, header, index, offset, 2)
        if not values:
            continue
        line, length = values[0] - part.first_line, values[1]
        if not 0 <= line < part.height or line % lines:
            continue
        rows = min(lines, part.height - line)
        if _fits(part, length, rows * part.width * part.pixel_bytes):
            yield shape, offset, prefix + length, rows


def _tiles(
    file: memoryview, header: Header, index: int, table: NDArray[np.uint64]
) -> Iterator[tuple[Shape, int, int, int]]:
    """Shape, offset, length and rows of each chunk of a tiled part."""
    part = header.parts[index]
    assert part.tiles is not None
    levels = _levels(part)
    prefix = 20 + 4 * header.multi_part
    for offset in table.tolist():
        values = _prefix(file, header, index, offset, 5)
        level = levels.get((values[2], values[3])) if values else None
        if level is None:
            continue
        x, y, length = values[0] * part.tiles.width, values[1] * part.tiles.height, values[4]
        if not (0 <= x < level.width and 0 <= y < level.height):
            continue
        width = min(part.tiles.width, level.width - x)
        rows = min(part.tiles.height, level.height - y)
        if _fits(part, length, rows * width * part.pixel_bytes):
            yield Shape(index, width, prefix), offset, prefix + length, rows


def _fits(part: Part, length: int, raw: int) -> bool:
    """Whether a chunk of ``length`` bytes can hold ``raw`` bytes of pixels."""
    return length == raw if part.compression == "none" else 0 < length <= raw
