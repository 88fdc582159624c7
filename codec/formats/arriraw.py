"""ARRIRAW ``.ari`` (SMPTE RDD 30), one frame a file.

Facts, from published descriptions and open-source readers; no real file was at hand
    Magic ``ARRI``, then a byte-order mark, seen as ``12 34 56 78`` and allowed as ``78 56 34 12``;
    all numbers are little-endian either way. Offsets: 0x08 length of the header (4096, where the
    picture begins), 0x14 and 0x18 width and height in photosites, 0x48 bytes of image data.
    12-bit codes of a Bayer mosaic without row padding: little-endian 32-bit words, taken from the
    high end, the second of each two codes first. Known widths are multiples of 8, so rows begin
    at words. The upper left of each four sites is green (G R, B G in ALEXA, XT and SXT; G B, R G
    in ALEXA 65 and LF).

Liars met
    None yet. An image data size that is not that of 12-bit codes is believed unless the file is
    exactly as long as those.

What stays verbatim
    ``.arx`` and whatever else is not 12-bit codes: Codex HDE is compressed already. Widths that
    are no multiples of 8, data cut short, headers that name no place inside the file.
"""

from __future__ import annotations

import struct

from codec.formats.base import NotUnderstood
from codec.formats.bayer import Mosaic
from codec.types import Layout, Packing, Segment

HEADER_SIZE = 4096
_FIELDS_SIZE = 0x4C
_MARKS = (b"\x12\x34\x56\x78", b"\x78\x56\x34\x12")
_MAX_SIDE = 1 << 16
_CODES = Segment(2, 12, Packing.PACKED_HIGH, reverse=True)


def recognises(head: bytes) -> bool:
    """Whether the magic and the byte-order mark stand there."""
    return head[:4] == b"ARRI" and head[4:8] in _MARKS


def probe(head: bytes, size: int) -> str:
    """See `codec.formats.base.Format.probe`."""
    return _parse(head, size)[0]


def layout(file: memoryview) -> Layout:
    """See `codec.formats.base.Format.layout`."""
    name, mosaic = _parse(bytes(file[:HEADER_SIZE]), len(file))
    return Layout(name, (mosaic.element(),))


def _parse(head: bytes, size: int) -> tuple[str, Mosaic]:
    if len(head) < _FIELDS_SIZE:
        raise NotUnderstood("unsupported: ARRIRAW header is cut short", "arriraw")
    (offset,) = struct.unpack_from("<I", head, 0x08)
    width, height = struct.unpack_from("<II", head, 0x14)
    (declared,) = struct.unpack_from("<I", head, 0x48)
    if not (2 <= width <= _MAX_SIDE and 2 <= height <= _MAX_SIDE):
        raise NotUnderstood(f"unsupported: ARRIRAW of {width}x{height} photosites", "arriraw")
    name = f"arriraw {width}x{height} bayer 12-bit"
    if not _FIELDS_SIZE <= offset < size:
        raise NotUnderstood("unsupported: ARRIRAW image data begins outside the file", name)
    if width % 8:
        raise NotUnderstood("unsupported: ARRIRAW rows that do not begin at words", name)
    mosaic = Mosaic(offset, width, height, width * 3 // 2, _CODES)
    length = mosaic.end - offset
    if declared not in (0, length) and mosaic.end != size:
        raise NotUnderstood("unsupported: ARRIRAW image data is not 12-bit codes", name)
    if mosaic.end > size:
        raise NotUnderstood("unsupported: ARRIRAW image data is cut short", name)
    return name, mosaic
