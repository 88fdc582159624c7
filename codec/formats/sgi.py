"""Silicon Graphics images (SGI, RGB, BW; the SGI Image File Format, version 1.00).

Facts
    Magic ``01 DA``, big-endian throughout. Offsets: 2 storage (0 verbatim, 1 run lengths), 3 bytes
    a sample (1 or 2), 4 dimensions (1 one row, 2 one plane, 3 several), 6 width, 8 height,
    10 planes, 104 kind of colour map. The header is 512 bytes.
    Verbatim: the planes one after another, each from the bottom row up.
    Run lengths: from 512 on a table of where each row begins, then one of their lengths, in bytes,
    each with a 32-bit entry for every row of the first plane, of the second, and so on. Rows may
    lie anywhere: writers put plane after plane, or the planes of each row side by side, from the
    bottom up or from the top down, and may let equal rows share their bytes.

Liars met
    Planes named where one dimension says that there are none (the dimensions are believed), wrong
    least and greatest values (ignored), trailing bytes and unused ones after the last row (kept).

What stays verbatim
    Data cut short, row tables that point outside the image data, more than 16 planes. Of run
    lengths: rows in no order or sharing their bytes, more than 2^18 rows in all planes, and rows
    that redoing does not reproduce (`codec.redo`), be it for the holes between them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from codec import redo
from codec.formats.base import NotUnderstood
from codec.types import Chunk, Element, Layout, Packing, Region, Segment

if TYPE_CHECKING:
    from numpy.typing import NDArray

HEADER_SIZE = 512
_VERBATIM, _RUN_LENGTHS = 0, 1
_MAX_PLANES = 16
_MAX_ROWS = 1 << 18
_METHODS = {1: redo.SGI_RLE8, 2: redo.SGI_RLE16}
_COLOURS = {
    1: ("luma", (0,)),
    2: ("luma and alpha", (0, 1)),
    3: ("rgb", (1, 0, 2)),
    4: ("rgba", (1, 0, 2, 3)),
}


@dataclass(frozen=True, slots=True)
class _Header:
    storage: int
    sample_bytes: int
    width: int
    height: int
    planes: int
    name: str

    @property
    def line(self) -> int:
        """Bytes of one row of one plane."""
        return self.width * self.sample_bytes

    @property
    def order(self) -> tuple[int, ...]:
        return _COLOURS.get(self.planes, ("", tuple(range(self.planes))))[1]


def recognises(head: bytes) -> bool:
    """Whether the magic stands there with a storage, sample size and dimension that exist."""
    if len(head) < 12 or head[:2] != b"\x01\xda":
        return False
    return head[2] <= 1 and head[3] in (1, 2) and head[4] == 0 and 1 <= head[5] <= 3


def probe(head: bytes, size: int) -> str:
    """See `codec.formats.base.Format.probe`."""
    header = _parse(head)
    _check_length(header, size)
    return header.name


def layout(file: memoryview) -> Layout:
    """See `codec.formats.base.Format.layout`."""
    header = _parse(bytes(file[:HEADER_SIZE]))
    _check_length(header, len(file))
    if header.storage == _VERBATIM:
        return Layout(header.name, (_verbatim(header),))
    return Layout(header.name, (_run_lengths(header, file),))


def _parse(head: bytes) -> _Header:
    storage, sample_bytes, dimensions, width, height, planes = struct.unpack_from(
        ">BBHHHH", head, 2
    )
    height = 1 if dimensions == 1 else height
    planes = planes if dimensions == 3 else 1
    colour = _COLOURS.get(planes, (f"{planes} planes", ()))[0]
    coding = " rle" if storage == _RUN_LENGTHS else ""
    name = f"sgi {width}x{height} {colour} {8 * sample_bytes}-bit{coding}"
    if len(head) < HEADER_SIZE:
        raise NotUnderstood("unsupported: SGI header is cut short", "sgi")
    if not (width and height):
        raise NotUnderstood(f"unsupported: SGI of {width}x{height} pixels", "sgi")
    if not 1 <= planes <= _MAX_PLANES:
        raise NotUnderstood(f"unsupported: SGI with {planes} planes", "sgi")
    return _Header(storage, sample_bytes, width, height, planes, name)


def _check_length(h: _Header, size: int) -> None:
    rows = h.planes * h.height
    length = rows * (h.line if h.storage == _VERBATIM else 8)
    if HEADER_SIZE + length > size:
        what = "image data" if h.storage == _VERBATIM else "row table"
        raise NotUnderstood(f"unsupported: SGI {what} is cut short", h.name)


def _segment(h: _Header, *, start: int = 0, region: int = 0) -> Segment:
    packing = Packing.BYTE if h.sample_bytes == 1 else Packing.WORD
    bits = 8 * h.sample_bytes
    return Segment(1, bits, packing, big_endian=bits == 16, start=start, region=region)


def _verbatim(h: _Header) -> Element:
    plane = h.height * h.line
    regions = tuple(Region(HEADER_SIZE + i * plane, h.line) for i in range(h.planes))
    segments = tuple(_segment(h, region=i) for i in range(h.planes))
    return Element(h.width, h.height, regions, segments, h.order)


def _run_lengths(h: _Header, file: memoryview) -> Element:
    """The picture with its rows as they are stored, in the order they are stored in."""
    starts, ends = _row_places(h, file)
    stored = np.argsort(starts)
    rows, planes = stored % h.height, stored // h.height
    apart = planes.reshape(h.planes, h.height)
    if (apart == apart[:, :1]).all() and (rows.reshape(apart.shape) == rows[: h.height]).all():
        return _planes_apart(h, stored, starts, ends)
    together = planes.reshape(h.height, h.planes)
    same_row = (rows.reshape(together.shape) == rows[:: h.planes, None]).all()
    if same_row and (together == together[0]).all():
        return _planes_together(h, together[0].tolist(), stored, starts, ends)
    raise NotUnderstood("unsupported: SGI rows are stored in no order", h.name)


def _row_places(h: _Header, file: memoryview) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each row begins and ends in the file, plane after plane."""
    count = h.planes * h.height
    if count > _MAX_ROWS:
        raise NotUnderstood(f"unsupported: SGI with {count} rows in run lengths", h.name)
    table = np.frombuffer(file, ">u4", 2 * count, HEADER_SIZE).astype(np.int64)
    starts, lengths = table[:count], table[count:]
    ends = starts + lengths
    if starts.min() < HEADER_SIZE + 8 * count or ends.max() > len(file) or not lengths.min():
        raise NotUnderstood("unsupported: SGI row table points outside the image data", h.name)
    stored = np.argsort(starts)
    if (starts[stored[1:]] < ends[stored[:-1]]).any():
        raise NotUnderstood("unsupported: SGI rows share their bytes", h.name)
    return starts, ends


def _chunks(
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> tuple[Chunk, ...]:
    """A chunk for each row of a region, from the table's entry ``first`` to ``last``.

    What stands between two rows belongs to the chunk before it.
    """
    begins = starts[first].tolist()
    stops = [*begins[1:], int(ends[last[-1]])]
    return tuple(Chunk(start, stop - start, 1) for start, stop in zip(begins, stops, strict=True))


def _planes_apart(
    h: _Header, stored: NDArray[np.int64], starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> Element:
    """Plane after plane: a region for each."""
    chunks: list[tuple[Chunk, ...]] = [()] * h.planes
    for entries in stored.reshape(h.planes, h.height):
        chunks[int(entries[0]) // h.height] = _chunks(entries, entries, starts, ends)
    return Element(
        h.width,
        h.height,
        tuple(Region(0, h.line) for _ in range(h.planes)),
        tuple(_segment(h, region=i) for i in range(h.planes)),
        h.order,
        method=_METHODS[h.sample_bytes],
        detail=h.line.to_bytes(4, "little"),
        chunks=tuple(chunks),
    )


def _planes_together(
    h: _Header,
    side_by_side: list[int],
    stored: NDArray[np.int64],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> Element:
    """The planes of each row after one another: one region, whose rows hold them all."""
    entries = stored.reshape(h.height, h.planes)
    return Element(
        h.width,
        h.height,
        (Region(0, h.planes * h.line),),
        tuple(_segment(h, start=side_by_side.index(i) * h.line) for i in range(h.planes)),
        h.order,
        method=_METHODS[h.sample_bytes],
        detail=h.line.to_bytes(4, "little"),
        chunks=(_chunks(entries[:, 0], entries[:, -1], starts, ends),),
    )
