"""Between a tile's bytes and its planes: which segment lies where, and padding that is not zero."""

from __future__ import annotations

import functools
import zlib
from typing import TYPE_CHECKING

import numpy as np

from codec.kernels import segments as fields
from codec.kernels.packing import pack_row, unpack_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from typing_extensions import Buffer

    from codec.types import Element, Region, Segment

REMEMBERED = 64
"""Of how many elements, which come again and again, what is made for a tile is remembered."""


def component_bits(e: Element) -> NDArray[np.int64]:
    """Bits of each component's samples."""
    return np.array([s.bits for s in e.segments for _ in range(s.components)], np.int64)


def region_starts(e: Element, rows: int) -> list[int]:
    """Where each region begins in a tile's bytes, and where the last one ends."""
    starts = [0]
    for region in e.regions:
        starts.append(starts[-1] + region.length(rows))
    return starts


def segment_table(e: Element, rows: int) -> NDArray[np.int64]:
    """The element's segments as the kernels take them: int64[segments, SEGMENT_FIELDS].

    Each caller gets the same one, and only reads it.
    """
    return _segment_table(e.width, e.regions, e.segments, tuple(region_starts(e, rows)))


@functools.lru_cache(REMEMBERED)
def _segment_table(
    width: int,
    regions: tuple[Region, ...],
    segments: tuple[Segment, ...],
    starts: tuple[int, ...],
) -> NDArray[np.int64]:
    table = np.zeros((len(segments), fields.SEGMENT_FIELDS), np.int64)
    component = 0
    for held, s in zip(table, segments, strict=True):
        region = regions[s.region]
        held[fields.OFFSET] = starts[s.region] + region.band_header + s.start
        held[fields.STRIDE] = region.row_bytes
        held[fields.ROW_BYTES] = s.row_bytes(width)
        held[fields.BAND_ROWS] = region.band_rows
        held[fields.BAND_HEADER] = region.band_header
        held[fields.FIRST_COMPONENT] = component
        held[fields.COMPONENTS] = s.components
        held[fields.PACKING] = int(s.packing)
        held[fields.BITS] = s.bits
        held[fields.SHIFT] = s.shift
        held[fields.BIG] = s.big_endian
        held[fields.REVERSE] = s.reverse
        component += s.components
    return table


def unpack_segment(
    source: NDArray[np.uint8],
    start: int,
    rows: int,
    e: Element,
    held: NDArray[np.int64],
    planes: NDArray[np.uint16],
) -> int:
    """Unpack a segment's samples; nonzero if padding bits are set.

    ``source`` is the region that begins at ``start`` of the tile.
    """
    band = int(held[fields.BAND_ROWS]) or rows
    first = int(held[fields.FIRST_COMPONENT])
    planes = planes[first : first + int(held[fields.COMPONENTS])]
    offset = int(held[fields.OFFSET]) - start
    stray = 0
    for row in range(0, rows, band):
        stray |= unpack_rows(
            source,
            offset,
            int(held[fields.STRIDE]),
            int(held[fields.ROW_BYTES]),
            min(band, rows - row),
            e.width,
            int(held[fields.COMPONENTS]),
            int(held[fields.PACKING]),
            int(held[fields.BITS]),
            int(held[fields.SHIFT]),
            bool(held[fields.BIG]),
            bool(held[fields.REVERSE]),
            planes[:, row:],
        )
        offset += band * int(held[fields.STRIDE]) + int(held[fields.BAND_HEADER])
    return stray


def residue_of(
    regions: Sequence[NDArray[np.uint8]],
    rows: int,
    e: Element,
    segments: NDArray[np.int64],
    planes: NDArray[np.uint16],
) -> bytes:
    """What must be XORed onto the repacked rows to give the file's own, deflated.

    Gaps between segments are not looked at: the residue is zero there.
    """
    parts = []
    linear = np.zeros(e.width * e.components + 3, np.uint16)
    for segment, held in zip(e.segments, segments, strict=True):
        region = e.regions[segment.region]
        first = int(held[fields.FIRST_COMPONENT])
        row_bytes = int(held[fields.ROW_BYTES])
        words = np.zeros(row_bytes + 16, np.uint8)
        packed = np.zeros((rows, row_bytes), np.uint8)
        for r in range(rows):
            pack_row(
                packed[r],
                0,
                row_bytes,
                e.width,
                segment.components,
                int(segment.packing),
                segment.bits,
                segment.shift,
                segment.big_endian,
                segment.reverse,
                planes[first : first + segment.components],
                r,
                words,
                linear,
            )
            at = region.length(r + 1) - region.row_bytes + segment.start
            packed[r] ^= regions[segment.region][at : at + row_bytes]
        parts.append(packed.tobytes())
    return zlib.compress(b"".join(parts), 1)


def add_residue(
    deflated: Buffer,
    regions: Sequence[NDArray[np.uint8]],
    rows: int,
    e: Element,
) -> None:
    """XOR a tile's residue onto its repacked rows. Raises ValueError where it misfits."""
    total = rows * sum(s.row_bytes(e.width) for s in e.segments)
    raw = np.frombuffer(inflate(deflated, total), np.uint8)
    if raw.size != total:
        raise ValueError("its residue has another length")
    at = 0
    for segment in e.segments:
        region = e.regions[segment.region]
        row_bytes = segment.row_bytes(e.width)
        for r in range(rows):
            start = region.length(r + 1) - region.row_bytes + segment.start
            regions[segment.region][start : start + row_bytes] ^= raw[at : at + row_bytes]
            at += row_bytes


def inflate(data: Buffer, limit: int) -> bytes:
    """Inflate a whole zlib stream to at most ``limit`` bytes; ValueError if it is not one."""
    inflater = zlib.decompressobj()
    raw = inflater.decompress(data, limit + 1)
    if len(raw) > limit or not inflater.eof or inflater.unused_data:
        raise ValueError("a deflated part is cut short or too long")
    return raw
