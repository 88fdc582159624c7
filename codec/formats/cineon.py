"""Kodak Cineon 4.5.

Facts
    Magic ``80 2A 5F D7`` (big-endian file) or ``D7 5F 2A 80`` (little-endian); all fields follow
    it. Offsets: 4 image data, 8, 12 and 16 lengths of the generic, industry and user headers,
    20 file size, 24 version, 193 channels (1 to 8), then eight channel records of 28 bytes from
    196: +2 bits, +4 width, +8 height. 680 interleave (0 by pixel, 1 by line, 2 by channel),
    681 packing, 684 line padding, 688 channel padding.
    Packing, without its high bit ("as many as possible in a cell"): 0 samples run together,
    1 and 2 bytes, 3 and 4 words of 16 bits, 5 and 6 words of 32 bits; the odd ones are filled
    from the left (padding lowest), the even ones from the right. Film scans are packing 5 with
    10 bits: three samples a word, the first highest.

Liars met
    Image data offsets of 0 or all ones (the header lengths are used). File sizes and versions
    (ignored). Line padding of all ones (none), or given although the rows are as long without:
    of the row lengths that fit, the one that ends the file with the picture is taken.
    Padding bits that are not zero, trailing bytes, user headers (kept).

What stays verbatim
    Channels of different sizes or depths, depths other than 8, 10, 12 and 16 bits, 8- and 12-bit
    samples in 32-bit words, samples that run together over the end of a row, data cut short.
    Samples that run together are taken from the high end on; no real file of them was found.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from codec.formats.base import NotUnderstood
from codec.types import Element, Layout, Packing, Region, Segment

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER_SIZE = 1024
_MAGIC = {b"\x80\x2a\x5f\xd7": ">", b"\xd7\x5f\x2a\x80": "<"}
_UNDEFINED = 0xFFFFFFFF
_MAX_CHANNELS = 8
_MAX_SIDE = 1 << 20
_AS_MANY_AS_POSSIBLE = 0x80
_COLOURS = {1: ("luma", (0,)), 3: ("rgb", (1, 0, 2)), 4: ("rgba", (1, 0, 2, 3))}
_BY_PIXEL, _BY_LINE, _BY_CHANNEL = range(3)
_PACKINGS: dict[tuple[int, int], tuple[Packing, int, str]] = {
    (8, 0): (Packing.BYTE, 0, "packed"),
    (8, 1): (Packing.BYTE, 0, "packed"),
    (8, 2): (Packing.BYTE, 0, "packed"),
    (8, 3): (Packing.WORD, 8, "word left"),
    (8, 4): (Packing.WORD, 0, "word right"),
    (10, 0): (Packing.PACKED_HIGH, 0, "packed"),
    (10, 3): (Packing.WORD, 6, "word left"),
    (10, 4): (Packing.WORD, 0, "word right"),
    (10, 5): (Packing.FILLED, 2, "filled-a"),
    (10, 6): (Packing.FILLED, 0, "filled-b"),
    (12, 0): (Packing.PACKED_HIGH, 0, "packed"),
    (12, 3): (Packing.WORD, 4, "filled-a"),
    (12, 4): (Packing.WORD, 0, "filled-b"),
    (16, 0): (Packing.WORD, 0, "packed"),
    (16, 3): (Packing.WORD, 0, "packed"),
    (16, 4): (Packing.WORD, 0, "packed"),
    (16, 5): (Packing.WORD, 0, "packed"),
    (16, 6): (Packing.WORD, 0, "packed"),
}
"""(bits, packing field) to how the samples lie: packing, shift, name."""


@dataclass(frozen=True, slots=True)
class _Header:
    """What the header says, checked for sense but not against the file."""

    order: str
    offset: int
    width: int
    height: int
    channels: int
    bits: int
    interleave: int
    packing: Packing
    shift: int
    line_padding: int
    channel_padding: int
    name: str


def recognises(head: bytes) -> bool:
    """Whether the magic stands there."""
    return head[:4] in _MAGIC


def probe(head: bytes, size: int) -> str:
    """See `codec.formats.base.Format.probe`."""
    header = _parse(head)
    _elements(header, size)
    return header.name


def layout(file: memoryview) -> Layout:
    """See `codec.formats.base.Format.layout`."""
    header = _parse(bytes(file[:HEADER_SIZE]))
    return Layout(header.name, (_elements(header, len(file)),))


def _parse(head: bytes) -> _Header:
    if len(head) < HEADER_SIZE:
        raise NotUnderstood("unsupported: Cineon header is cut short", "cineon")
    order = _MAGIC[head[:4]]
    channels = head[193]
    if not 1 <= channels <= _MAX_CHANNELS:
        raise NotUnderstood(f"unsupported: Cineon with {channels} channels", "cineon")
    records = [struct.unpack_from(order + "2xBxII", head, 196 + 28 * i) for i in range(channels)]
    bits, width, height = records[0]
    if not (1 <= width <= _MAX_SIDE and 1 <= height <= _MAX_SIDE):
        raise NotUnderstood(f"unsupported: Cineon of {width}x{height} pixels", "cineon")
    interleave, field = head[680], head[681] & ~_AS_MANY_AS_POSSIBLE
    colour = _COLOURS.get(channels, (f"{channels} channels", ()))[0]
    packing, shift, said = _PACKINGS.get((bits, field), (None, 0, f"packing {field}"))
    endian = "be" if order == ">" else "le"
    name = f"cineon {width}x{height} {colour} {bits}-bit {said} {endian}"
    if any(record != records[0] for record in records):
        raise NotUnderstood("unsupported: Cineon channels of different sizes or depths", name)
    if packing is None:
        raise NotUnderstood(f"unsupported: Cineon packing {field} of {bits}-bit samples", name)
    if interleave not in (_BY_PIXEL, _BY_LINE, _BY_CHANNEL):
        raise NotUnderstood(f"unsupported: Cineon interleave {interleave}", name)
    return _Header(
        order=order,
        offset=_data_offset(head, order),
        width=width,
        height=height,
        channels=channels,
        bits=bits,
        interleave=interleave,
        packing=packing,
        shift=shift,
        line_padding=_padding(head, order, 684),
        channel_padding=_padding(head, order, 688),
        name=name,
    )


def _data_offset(head: bytes, order: str) -> int:
    offset, *lengths = struct.unpack_from(order + "4I", head, 4)
    return sum(lengths) if offset in (0, _UNDEFINED) else offset


def _padding(head: bytes, order: str, at: int) -> int:
    """A padding field; what no writer can mean counts as none."""
    value: int = struct.unpack_from(order + "I", head, at)[0]
    return value if value < _MAX_SIDE else 0


def _elements(h: _Header, size: int) -> Element:
    """The picture, with the row length that suits a file of ``size`` bytes best."""
    if not HEADER_SIZE <= h.offset < size:
        raise NotUnderstood("unsupported: Cineon image data begins outside the file", h.name)
    fitting = [e for e in _candidates(h) if _end(e) <= size]
    if not fitting:
        raise NotUnderstood("unsupported: Cineon image data is cut short", h.name)
    return next((element for element in fitting if _end(element) == size), fitting[0])


def _end(element: Element) -> int:
    return element.regions[-1].end(element.rows)


def _candidates(h: _Header) -> Iterator[Element]:
    """The picture with each row length it may have, likeliest first."""
    in_line = h.channels if h.interleave == _BY_PIXEL else 1
    lines = h.channels if h.interleave == _BY_LINE else 1
    planes = h.channels if h.interleave == _BY_CHANNEL else 1
    order = _COLOURS.get(h.channels, ("", tuple(range(h.channels))))[1]
    for line in _line_lengths(h, h.width * in_line):
        plane = h.height * lines * line + h.channel_padding
        segments = tuple(
            Segment(
                components=in_line,
                bits=h.bits,
                packing=h.packing,
                shift=h.shift,
                big_endian=h.order == ">",
                start=number * line if lines > 1 else 0,
                region=number if planes > 1 else 0,
            )
            for number in range(h.channels // in_line)
        )
        regions = tuple(Region(h.offset + i * plane, lines * line) for i in range(planes))
        yield Element(h.width, h.height, regions, segments, order)


def _line_lengths(h: _Header, samples: int) -> Iterator[int]:
    """Bytes a line may take: padded as declared, to whole words of 32 bits, not at all."""
    if h.packing is Packing.BYTE:
        used = samples
    elif h.packing is Packing.WORD:
        used = 2 * samples
    elif h.packing is Packing.FILLED:
        used = -(-samples // 3) * 4
    else:
        used = -(-samples * h.bits // 8)
        if samples * h.bits % 8:
            raise NotUnderstood("unsupported: Cineon rows that share a byte", h.name)
    aligned = -(-used // 4) * 4
    words_only = h.packing is Packing.PACKED_HIGH and h.order == "<"
    for length in dict.fromkeys((used + h.line_padding, aligned + h.line_padding, aligned, used)):
        if length % 4 == 0 or not words_only:
            yield length
