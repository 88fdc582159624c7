"""Takes the samples out of a file by its layout: slow, obvious, from the definitions alone.

`codec.types` says what a layout means and `docs/format` how each packing lays samples in bytes;
this module says it once more, a bit at a time, and shares nothing with the kernels.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Protocol

import numpy as np

from codec.types import Packing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from codec.types import Chunk, Element, Layout, Region, Segment

MAX_COMPONENTS = 16


class Undo(Protocol):
    """Undoes the compression of the chunks of one region: its rows, one after another."""

    def __call__(self, file: bytes, element: Element, chunks: Sequence[Chunk]) -> bytes: ...


def take(file: bytes, layout: Layout, undo: Undo | None = None) -> list[NDArray[np.uint16]]:
    """The samples of each element, as (rows, width, components).

    ``undo`` is needed where an element's rows are compressed.
    """
    return [_take_element(file, element, undo) for element in layout.elements]


def _take_element(file: bytes, element: Element, undo: Undo | None) -> NDArray[np.uint16]:
    out = np.zeros((element.rows, element.width, element.components), np.uint16)
    first = 0
    for segment in element.segments:
        region = element.regions[segment.region]
        rows = _rows(file, element, segment.region, region, undo)
        for number, row in enumerate(rows):
            values = row_samples(row, element.width * segment.components, segment)
            pixels = np.array(values, np.uint16).reshape(element.width, segment.components)
            out[number, :, first : first + segment.components] = pixels
        first += segment.components
    return out


def _rows(
    file: bytes, element: Element, number: int, region: Region, undo: Undo | None
) -> list[bytes]:
    """The bytes of each row of a region, without the headers of bands."""
    size = region.row_bytes
    if element.method:
        assert undo is not None, "the element's rows are compressed"
        rows = undo(file, element, element.chunks[number])
        assert len(rows) == element.rows * size
        return [rows[r * size : (r + 1) * size] for r in range(element.rows)]
    starts = []
    at = region.offset
    for row in range(element.rows):
        if region.band_rows and row % region.band_rows == 0:
            at += region.band_header
        starts.append(at)
        at += size
    assert at <= len(file), "the region leaves the file"
    return [file[start : start + size] for start in starts]


def row_samples(row: bytes, count: int, segment: Segment) -> list[int]:
    """The ``count`` samples of a segment in one row of its region."""
    data = row[segment.start :]
    return [_sample(data, index, count, segment) for index in range(count)]


def _word(data: bytes, number: int, size: int, segment: Segment) -> int:
    part = data[number * size : (number + 1) * size]
    assert len(part) == size, "the row is too short for its samples"
    return int.from_bytes(part, "big" if segment.big_endian else "little")


def _sample(data: bytes, index: int, count: int, segment: Segment) -> int:
    mask = (1 << segment.bits) - 1
    if segment.packing is Packing.BYTE:
        return data[index]
    if segment.packing is Packing.WORD:
        return _word(data, index, 2, segment) >> segment.shift & mask
    if segment.packing is Packing.FILLED:
        place = index % 3 if segment.reverse else 2 - index % 3
        return _word(data, index // 3, 4, segment) >> (segment.shift + 10 * place) & 1023
    if segment.packing is Packing.PACKED_HIGH and segment.reverse and index ^ 1 < count:
        index ^= 1
    bits = [_stream_bit(data, index * segment.bits + n, segment) for n in range(segment.bits)]
    if segment.packing is Packing.PACKED_HIGH:
        bits.reverse()
    return sum(bit << n for n, bit in enumerate(bits))


def _stream_bit(data: bytes, position: int, segment: Segment) -> int:
    """Bit number ``position`` of packed samples."""
    if segment.packing is Packing.PACKED:
        return _word(data, position // 32, 4, segment) >> position % 32 & 1
    if segment.big_endian:
        return data[position // 8] >> (7 - position % 8) & 1
    return _word(data, position // 32, 4, segment) >> (31 - position % 32) & 1


def faults(layout: Layout, size: int) -> list[str]:
    """What is wrong with a layout of a file of ``size`` bytes; empty if it may be coded."""
    found = []
    spans: list[tuple[int, int]] = []
    for number, element in enumerate(layout.elements):
        own = _spans(element)
        found += [f"element {number}: {fault}" for fault in _element_faults(element, own, size)]
        spans += own
    spans.sort()
    for (_, stop), (start, _) in itertools.pairwise(spans):
        if start < stop:
            found.append(f"two spans overlap at {start}")
    return found


def _spans(element: Element) -> list[tuple[int, int]]:
    """The runs of the file that an element's rows take."""
    if element.method:
        return [(c.offset, c.offset + c.length) for chunks in element.chunks for c in chunks]
    return [(region.place(0), region.end(element.rows)) for region in element.regions]


def _element_faults(element: Element, spans: list[tuple[int, int]], size: int) -> list[str]:
    found = []
    if element.width < 1 or element.rows < 1:
        found.append("no pixels")
    if not 1 <= element.components <= MAX_COMPONENTS:
        found.append(f"{element.components} components")
    if sorted(element.order) != list(range(element.components)):
        found.append("the order is no permutation of the components")
    if any(not 0 <= component < element.components for component in element.signed):
        found.append("a signed component does not exist")
    found += [f"{a} to {b} is outside the file" for a, b in spans if not 0 <= a <= b <= size]
    for segment in element.segments:
        if not 0 <= segment.region < len(element.regions):
            found.append("a segment's region does not exist")
        elif not _fits(segment, element.width, element.regions[segment.region].row_bytes):
            found.append(f"{segment} does not fit its row")
    return found + (_chunk_faults(element) if element.method else [])


def _fits(segment: Segment, width: int, row_bytes: int) -> bool:
    count = width * segment.components
    if segment.start < 0 or segment.components < 1 or not 1 <= segment.bits <= 16:
        return False
    if segment.packing is Packing.BYTE:
        need, sound = count, segment.bits == 8
    elif segment.packing is Packing.WORD:
        need, sound = 2 * count, segment.shift >= 0 and segment.shift + segment.bits <= 16
    elif segment.packing is Packing.FILLED:
        need, sound = -(-count // 3) * 4, segment.bits == 10 and 0 <= segment.shift <= 2
    elif segment.packing is Packing.PACKED_HIGH and segment.big_endian:
        need, sound = -(-count * segment.bits // 8), True
    else:
        need = -(-count * segment.bits // 32) * 4
        sound = row_bytes % 4 == 0 and segment.start % 4 == 0
    return sound and segment.start + need <= row_bytes


def _chunk_faults(element: Element) -> list[str]:
    found = []
    if len(element.chunks) != len(element.regions):
        found.append("not every region has its chunks")
    for chunks in element.chunks:
        if sum(chunk.rows for chunk in chunks) != element.rows:
            found.append("chunks do not add up to the rows")
        for one, following in itertools.pairwise(chunks):
            if one.offset + one.length != following.offset:
                found.append(f"a hole between chunks at {following.offset}")
    return found
