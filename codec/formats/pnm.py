"""Netpbm's formats: PPM, PGM and PAM, PFM, and the plain-text ones and bitmaps by name.

Facts
    ``P5`` (gray) and ``P6`` (RGB): width, height and greatest value as text, with white space
    or comments (``#`` to the end of the line) between, then one byte of white space, then the
    rows. A sample is a byte where the greatest value is below 256, else a big-endian 16-bit word.
    ``P7`` (PAM): lines ``WIDTH``, ``HEIGHT``, ``DEPTH``, ``MAXVAL``, ``TUPLTYPE``, ended by
    ``ENDHDR``; samples as above, any number a pixel.
    ``Pf`` and ``PF`` (PFM): width, height and a scale whose sign gives the byte order (negative:
    little-endian), then 32-bit floats, the bottom row first.
    Images may follow one another in one file.

Liars met
    Samples above the greatest value, and 16-bit samples in little-endian order: where rows here
    and there show either, the samples are taken as they are. A carriage return and a line feed
    before the first row, where one byte belongs. Trailing bytes (kept).

What stays verbatim
    Pictures that are cut short, greatest values outside 1 to 65535, more than 16 samples a
    pixel, headers longer than 4096 bytes.
    The text formats ``P1`` to ``P3`` and the bitmap ``P4`` are compressed as plain bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np

from codec.formats.base import PROBE_SIZE, NotUnderstood
from codec.types import Element, Layout, Packing, Region, Segment

_MAX_SIDE = 1 << 20
_MAX_COMPONENTS = 16
_MAX_IMAGES = 64
_SAMPLED_ROWS = 16
_GAP = rb"(?:[ \t\n\v\f\r]|#[^\r\n]*[\r\n])+"
_NUMBER = rb"([0-9]{1,10})"
_WHITE = rb"[ \t\n\v\f\r]"
_PLAIN = re.compile(rb"P([1-6])" + 2 * (_GAP + _NUMBER))
_BINARY = re.compile(rb"P[56]" + 3 * (_GAP + _NUMBER) + _WHITE)
_FLOAT = re.compile(
    rb"P[Ff]"
    + 2 * (_GAP + _NUMBER)
    + _GAP
    + rb"([-+]?[0-9.]{1,30}(?:[eE][-+]?[0-9]{1,3})?)"
    + _WHITE
)
_NAMES = {1: "pbm", 2: "pgm", 3: "ppm", 4: "pbm", 5: "pgm", 6: "ppm"}
_ORDERS = {3: (1, 0, 2), 4: (1, 0, 2, 3)}
_COLOURS = {1: "luma", 2: "luma and alpha", 3: "rgb", 4: "rgba"}


@dataclass(frozen=True, slots=True)
class _Header:
    """One image's header; ``offset`` is where its rows begin, seen from the header's start.

    ``top`` is the greatest value of a sample, 0 for floats.
    """

    kind: str
    width: int
    height: int
    components: int
    top: int
    offset: int
    big_endian: bool = True

    @property
    def sample_bytes(self) -> int:
        return 4 if self.top == 0 else 1 if self.top < 256 else 2

    @property
    def row_bytes(self) -> int:
        return self.width * self.components * self.sample_bytes

    @property
    def length(self) -> int:
        return self.height * self.row_bytes

    @property
    def name(self) -> str:
        colour = _COLOURS.get(self.components, f"{self.components} components")
        depth = f"{self.top.bit_length()}-bit"
        if self.top == 0:
            depth = "32-bit float " + ("be" if self.big_endian else "le")
        return f"{self.kind} {self.width}x{self.height} {colour} {depth}"


def recognises(head: bytes) -> bool:
    """Whether a Netpbm magic stands there, with white space or a comment after it."""
    if head[:3] == b"P7\n" or head[:4] == b"P7\r\n":
        return True
    return re.match(rb"P[1-6Ff][ \t\n\v\f\r#]", head) is not None


def probe(head: bytes, size: int) -> str:
    """See `codec.formats.base.Format.probe`."""
    if head[1:2] in b"1234":
        return _plain_name(head)
    header = _parse(head)
    _check_length(header, size)
    return header.name


def layout(file: memoryview) -> Layout:
    """See `codec.formats.base.Format.layout`."""
    head = bytes(file[:PROBE_SIZE])
    if head[1:2] in b"1234":
        return Layout(_plain_name(head), ())
    first = _parse(head)
    _check_length(first, len(file))
    elements: list[Element] = []
    header, at = first, 0
    while True:
        header = _settle(header, file[at:])
        elements.append(_element(header, at + header.offset))
        at += header.offset + header.length
        following = _following(bytes(file[at : at + PROBE_SIZE]), len(file) - at)
        if following is None or len(elements) == _MAX_IMAGES:
            break
        header = following
    count = f" {len(elements)} images" if len(elements) > 1 else ""
    return Layout(first.name + count, tuple(elements))


def _following(head: bytes, size: int) -> _Header | None:
    """The header of an image after another one, or None where there is no whole one."""
    if not recognises(head) or head[1:2] in b"1234":
        return None
    try:
        header = _parse(head)
        _check_length(header, size)
    except NotUnderstood:
        return None
    return header


def _plain_name(head: bytes) -> str:
    kind = _NAMES[int(head[1:2])]
    match = _PLAIN.match(head)
    if match is None:
        raise NotUnderstood(f"unsupported: {kind.upper()} header is not understood", kind)
    how = "bitmap" if head[1:2] == b"4" else "text"
    return f"{kind} {int(match[2])}x{int(match[3])} {how}"


def _parse(head: bytes) -> _Header:
    if head[1:2] == b"7":
        header = _parse_pam(head)
    elif head[1:2] in b"Ff":
        header = _parse_float(head)
    else:
        header = _parse_binary(head)
    kind = header.kind
    if not (1 <= header.width <= _MAX_SIDE and 1 <= header.height <= _MAX_SIDE):
        size = f"{header.width}x{header.height}"
        raise NotUnderstood(f"unsupported: {kind.upper()} of {size} pixels", kind)
    if not 1 <= header.components <= _MAX_COMPONENTS:
        raise NotUnderstood(f"unsupported: PAM with {header.components} samples a pixel", kind)
    return header


def _parse_binary(head: bytes) -> _Header:
    kind = _NAMES[int(head[1:2])]
    match = _BINARY.match(head)
    if match is None:
        raise NotUnderstood(f"unsupported: {kind.upper()} header is not understood", kind)
    width, height, top = (int(number) for number in match.groups())
    _check_top(top, kind)
    return _Header(kind, width, height, 3 if kind == "ppm" else 1, top, match.end())


def _parse_float(head: bytes) -> _Header:
    match = _FLOAT.match(head)
    try:
        scale = float(match[3]) if match is not None else 0.0
    except ValueError:
        scale = 0.0
    if match is None or scale == 0.0:
        raise NotUnderstood("unsupported: PFM header is not understood", "pfm")
    components = 3 if head[1:2] == b"F" else 1
    return _Header(
        "pfm", int(match[1]), int(match[2]), components, 0, match.end(), big_endian=scale > 0
    )


def _parse_pam(head: bytes) -> _Header:
    fields: dict[bytes, int] = {}
    at = head.index(b"\n") + 1
    while (stop := head.find(b"\n", at)) >= 0:
        key, _, value = head[at:stop].strip().partition(b" ")
        at = stop + 1
        if key == b"ENDHDR":
            break
        if re.fullmatch(rb"[0-9]{1,10}", value.strip()):
            fields[key] = int(value)
    else:
        raise NotUnderstood("unsupported: PAM header does not end", "pam")
    try:
        width, height, depth, top = (fields[k] for k in (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL"))
    except KeyError as error:
        missing = error.args[0].decode("ascii")
        raise NotUnderstood(f"unsupported: PAM header without {missing}", "pam") from error
    _check_top(top, "pam")
    return _Header("pam", width, height, depth, top, at)


def _check_top(top: int, kind: str) -> None:
    if not 1 <= top <= 65535:
        raise NotUnderstood(f"unsupported: {kind.upper()} with greatest value {top}", kind)


def _check_length(header: _Header, size: int) -> None:
    if header.offset + header.length > size:
        raise NotUnderstood(f"unsupported: {header.kind.upper()} is cut short", header.name)


def _settle(header: _Header, file: memoryview) -> _Header:
    """The header with what the file, from the header on, shows of its writer's habits."""
    end = header.offset + header.length
    crlf = bytes(file[header.offset - 1 : header.offset + 1]) == b"\r\n"
    if crlf and len(file) == end + 1:
        header = replace(header, offset=header.offset + 1)
    if header.sample_bytes != 2 or header.top == 65535:
        return header
    step = max(header.height // _SAMPLED_ROWS, 1)
    rows = np.frombuffer(file, np.uint8, header.length, header.offset)
    sampled = rows.reshape(header.height, header.row_bytes)[::step][: _SAMPLED_ROWS + 1]
    words = np.ascontiguousarray(sampled)
    if words.view(">u2").max() <= header.top:
        return header
    if words.view("<u2").max() <= header.top:
        return replace(header, big_endian=False)
    return replace(header, top=65535)


def _element(header: _Header, offset: int) -> Element:
    components = header.components
    order = _ORDERS.get(components, tuple(range(components)))
    region = Region(offset, header.row_bytes)
    if header.top == 0:
        return _float_element(header, region, order)
    if header.sample_bytes == 1:
        segment = Segment(components, 8, Packing.BYTE)
    else:
        bits = header.top.bit_length()
        segment = Segment(components, bits, Packing.WORD, big_endian=header.big_endian)
    return Element(header.width, header.height, (region,), (segment,), order)


def _float_element(header: _Header, region: Region, order: tuple[int, ...]) -> Element:
    """Each float as two halves: all high ones, with sign and exponent, are coded first."""
    segment = Segment(2 * header.components, 16, Packing.WORD, big_endian=header.big_endian)
    high = 0 if header.big_endian else 1
    highs = tuple(2 * component + high for component in order)
    lows = tuple(2 * component + 1 - high for component in order)
    return Element(
        header.width,
        header.height,
        (region,),
        (segment,),
        highs + lows,
        signed=tuple(sorted(highs)),
    )
