"""SMPTE ST 268 DPX (1.0 and 2.0).

Facts
    Magic ``SDPX`` (big-endian file) or ``XPDS`` (little-endian); all header fields follow it.
    Offsets: 4 image data, 8 version, 16 file size, 768 orientation, 770 elements (1 to 8),
    772 width, 776 height, then eight element records of 72 bytes from 780: +20 descriptor,
    +23 bit size, +24 packing, +26 encoding, +28 data offset, +32 end-of-line padding,
    +36 end-of-image padding.
    Each row begins at a 32-bit word; words of 32 bits (16 for 16-bit samples) are in the file's
    byte order, 8-bit samples have none. Packing 0 runs samples together from the low end of each
    word, 1 (filled A) leaves the low bits of the word free, 2 (filled B) the high bits.
    10 bits filled: three samples a word; the first is the highest for RGB by custom, the lowest
    in most single-component files. 12 bits filled: a sample in each 16 bits. 32 and 64 bits are
    floating point, in the file's byte order. 4:2:2 rows are Cb Y Cr Y, or with alpha
    Cb Y A Cr Y A, for each two pixels.

Liars met
    "Offset to image data" of 0 or all ones in the element (the file header's is used) or in the
    file header (the element's is used). File size fields that are wrong (ignored: many
    writers leave the old one behind when a frame was cropped or converted). Versions and ditto keys
    out of range (ignored). Padding bits that are not zero, trailing bytes, user data (kept).
    End-of-line padding of all ones (none).

What is coded
    Floating point samples as two or four components of 16 bits, 4:2:2 as half as many pixels of
    four or six components. Samples of 1 bit are plain bytes.

What stays verbatim
    Run-length encoding, 4:2:2 of an odd width, more than 16 components, elements that overlap,
    data that is cut short, and headers that name two different places for the image data.
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass

from codec.formats.base import NotUnderstood
from codec.types import Element, Layout, Packing, Region, Segment

HEADER_SIZE = 1664
_UNDEFINED = 0xFFFFFFFF
_MAX_ELEMENTS = 8
_MAX_SIDE = 1 << 20
_MAX_COMPONENTS = 16
_PARTS = {32: 2, 64: 4}
"""Components that make a sample."""


@dataclass(frozen=True, slots=True)
class _Descriptor:
    """Samples that a row repeats, in coding order, and how many pixels they make."""

    name: str
    order: tuple[int, ...]
    pixels: int = 1


_DESCRIPTORS = {
    0: _Descriptor("one component", (0,)),
    1: _Descriptor("luma", (0,)),
    2: _Descriptor("luma", (0,)),
    3: _Descriptor("luma", (0,)),
    4: _Descriptor("alpha", (0,)),
    6: _Descriptor("luma", (0,)),
    7: _Descriptor("chroma", (0,)),
    8: _Descriptor("depth", (0,)),
    9: _Descriptor("composite", (0,)),
    50: _Descriptor("rgb", (1, 0, 2)),
    51: _Descriptor("rgba", (1, 0, 2, 3)),
    52: _Descriptor("abgr", (2, 3, 1, 0)),
    100: _Descriptor("cbycr 4:2:2", (1, 3, 0, 2), pixels=2),
    101: _Descriptor("cbycra 4:2:2:4", (1, 4, 0, 3, 2, 5), pixels=2),
    102: _Descriptor("cbycr 4:4:4", (1, 0, 2)),
    103: _Descriptor("cbycra 4:4:4", (1, 0, 2, 3)),
    **{148 + n: _Descriptor(f"{n} components", tuple(range(n))) for n in range(2, 9)},
}


@dataclass(frozen=True, slots=True)
class _Record:
    """One image element's record, as written."""

    descriptor: int
    bits: int
    packing: int
    encoding: int
    offset: int
    line_padding: int


def recognises(head: bytes) -> bool:
    """Whether a file begins like a DPX file."""
    return head[:4] in (b"SDPX", b"XPDS")


def probe(head: bytes, size: int) -> str:
    """The name of a DPX file's format. Raises NotUnderstood; the head tells all."""
    return _layout(head, size).format


def layout(file: memoryview) -> Layout:
    """The layout of a DPX file. Raises NotUnderstood."""
    return _layout(bytes(file[:HEADER_SIZE]), len(file))


def _layout(head: bytes, size: int) -> Layout:
    order = ">" if head[:4] == b"SDPX" else "<"
    if len(head) < HEADER_SIZE:
        raise NotUnderstood("unsupported: DPX header is cut short", "dpx")
    data_offset = struct.unpack_from(order + "I", head, 4)[0]
    count = struct.unpack_from(order + "H", head, 770)[0]
    width, height = struct.unpack_from(order + "II", head, 772)
    if not 1 <= count <= _MAX_ELEMENTS:
        raise NotUnderstood(f"unsupported: DPX with {count} image elements", "dpx")
    if not (1 <= width <= _MAX_SIDE and 1 <= height <= _MAX_SIDE):
        raise NotUnderstood(f"unsupported: DPX of {width}x{height} pixels", "dpx")
    records = [_record(head, order, i) for i in range(count)]
    name = _format_name(records[0], width, height, order)
    if count > 1:
        name += f" {count} elements"
    elements = []
    for i, record in enumerate(records):
        if record.bits == 1 and record.encoding != 1:
            continue
        elements.append(_element(record, i, data_offset, width, height, order, size, name))
    elements.sort(key=lambda e: e.regions[0].offset)
    for one, following in itertools.pairwise(elements):
        if one.regions[0].end(height) > following.regions[0].offset:
            raise NotUnderstood("unsupported: DPX image elements overlap", name)
    return Layout(name, tuple(elements))


def _record(head: bytes, order: str, index: int) -> _Record:
    at = 780 + 72 * index
    descriptor, _, _, bits = struct.unpack_from("4B", head, at + 20)
    packing, encoding = struct.unpack_from(order + "HH", head, at + 24)
    offset, line_padding = struct.unpack_from(order + "II", head, at + 28)
    return _Record(descriptor, bits, packing, encoding, offset, line_padding)


def _format_name(r: _Record, width: int, height: int, order: str) -> str:
    descriptor = _DESCRIPTORS.get(r.descriptor)
    what = descriptor.name if descriptor else f"descriptor {r.descriptor}"
    packing = {0: "packed", 1: "filled-a", 2: "filled-b"}.get(r.packing, f"packing {r.packing}")
    if r.bits in (8, 16, 32, 64):
        packing = "packed"
    kind = " float" if r.bits in _PARTS else ""
    endian = "be" if order == ">" else "le"
    return f"dpx {width}x{height} {what} {r.bits}-bit{kind} {packing} {endian}"


def _element(
    r: _Record,
    index: int,
    data_offset: int,
    width: int,
    height: int,
    order: str,
    size: int,
    name: str,
) -> Element:
    if r.encoding == 1:
        raise NotUnderstood("unsupported: DPX run-length encoding", name)
    descriptor = _DESCRIPTORS.get(r.descriptor)
    if descriptor is None:
        raise NotUnderstood(f"unsupported: DPX descriptor {r.descriptor}", name)
    if width % descriptor.pixels:
        raise NotUnderstood("unsupported: DPX 4:2:2 of an odd width", name)
    components = len(descriptor.order) * _PARTS.get(r.bits, 1)
    if components > _MAX_COMPONENTS:
        raise NotUnderstood(f"unsupported: DPX with {components} components of 16 bits", name)
    offset = r.offset
    if index == 0:
        if offset in (0, _UNDEFINED):
            offset = data_offset
        elif data_offset not in (0, _UNDEFINED, offset):
            raise NotUnderstood("unsupported: DPX header names two places for its image data", name)
    if not HEADER_SIZE <= offset < size:
        raise NotUnderstood("unsupported: DPX image data begins outside the file", name)
    padding = 0 if r.line_padding == _UNDEFINED else r.line_padding
    room = (size - offset) // height
    groups = width // descriptor.pixels
    coding, signed = _coding_order(descriptor, _PARTS.get(r.bits, 1), order == ">")
    for packing, shift in _packings(r):
        reverse = packing is Packing.FILLED and components == 1
        segment = Segment(components, min(r.bits, 16), packing, shift, order == ">", reverse)
        for row_bytes in _row_lengths(segment.row_bytes(groups), padding):
            if row_bytes > room:
                continue
            region = Region(offset, row_bytes)
            return Element(groups, height, (region,), (segment,), coding, signed)
    raise NotUnderstood("unsupported: DPX image data is cut short", name)


def _coding_order(
    descriptor: _Descriptor, parts: int, big_endian: bool
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Components in coding order, and those that hold a sign; high parts of samples first."""
    falling = range(parts) if big_endian else range(parts - 1, -1, -1)
    order = tuple(parts * sample + part for part in falling for sample in descriptor.order)
    signed = tuple(sorted(order[: len(descriptor.order)])) if parts > 1 else ()
    return order, signed


def _row_lengths(samples_bytes: int, padding: int) -> list[int]:
    """Row lengths to try: with rows that begin at words, then without (8 and 16 bits)."""
    aligned = -(-samples_bytes // 4) * 4
    lengths = [aligned + padding] if 0 < padding < _MAX_SIDE else []
    lengths.append(aligned)
    if aligned != samples_bytes:
        lengths.append(samples_bytes)
    return lengths


def _packings(r: _Record) -> list[tuple[Packing, int]]:
    """How the samples may lie in words, likeliest first."""
    if r.bits == 8:
        return [(Packing.BYTE, 0)]
    if r.bits in (16, 32, 64):
        return [(Packing.WORD, 0)]
    if r.bits == 10:
        filled = (Packing.FILLED, 0 if r.packing == 2 else 2)
        return [(Packing.PACKED, 0)] if r.packing == 0 else [filled]
    if r.bits == 12:
        filled = (Packing.WORD, 0 if r.packing == 2 else 4)
        return [(Packing.PACKED, 0)] if r.packing == 0 else [filled]
    raise NotUnderstood(f"unsupported: DPX with {r.bits}-bit samples", "dpx")
