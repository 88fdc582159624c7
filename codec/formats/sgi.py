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
    Data cut short, row tables that point outside the file, rows coded in run lengths with holes
    between them, in no order or sharing their bytes, more than 16 planes, little-endian files.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from codec.formats.base import NotUnderstood
from codec.types import Element, Layout, Packing, Region, Segment

HEADER_SIZE = 512
_VERBATIM, _RUN_LENGTHS = 0, 1
_MAX_PLANES = 16
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
    raise NotUnderstood("unsupported: SGI run lengths", h.name)
