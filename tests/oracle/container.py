"""A decoder written from docs/format/container-v1.md alone: one sample at a time, no numpy.

It shares nothing with the codec, so where both agree, the specification is enough to write a
decoder. It assumes a sound container: an index out of range is a failed test.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import xxhash

from tests.oracle import deep, halves, quads

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAGIC = bytes.fromhex("89 50 58 46 0D 0A 1A 0A")


@dataclass
class Segment:
    region: int
    components: int
    bits: int
    packing: int
    shift: int
    flags: int
    start: int


@dataclass
class Element:
    width: int
    rows: int
    method: int
    signed: int
    order: list[int]
    regions: list[tuple[int, int, int, int]]
    segments: list[Segment]

    @property
    def components(self) -> int:
        return len(self.order)

    def bits(self, component: int) -> int:
        return [s.bits for s in self.segments for _ in range(s.components)][component]


@dataclass
class Plane:
    """One plane's head and streams, or the residuals that stand for them."""

    magnitude_shift: int
    cross: int
    predictor: int
    start: int
    bias: int
    taps: list[int]
    thresholds: list[int]
    k: list[int]
    codes: list[dict[tuple[int, int], int]]
    lengths: list[int]
    coded: list[int]
    bits: int
    streams: list[Bits] = field(default_factory=list)
    residuals: list[list[int]] = field(default_factory=list)


@dataclass
class Values:
    """What a tile says of one component's values."""

    shift: int
    bits: int
    values: list[int] | None = None


class Bits:
    """A stream of bits that fill bytes from the low end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def one(self) -> int:
        bit = self.data[self.at >> 3] >> (self.at & 7) & 1
        self.at += 1
        return bit

    def number(self, count: int) -> int:
        return sum(self.one() << i for i in range(count))


def decode(container: bytes) -> bytes:
    """The original."""
    magic, version, kind, length, original, total, digest, summed = struct.unpack_from(
        "<8sHHIQQ16s8s", container
    )
    assert (magic, version, kind) == (MAGIC, 1, 0)
    assert total == len(container)
    assert xxhash.xxh3_64_digest(container[:56]) == container[56:64]
    directory = container[64 : 64 + length]
    assert xxhash.xxh3_64_digest(directory) == summed
    sections = {}
    at = 0
    while at < len(directory):
        tag, size = struct.unpack_from("<4sI", directory, at)
        sections[tag] = directory[at + 8 : at + 8 + size]
        at += 8 + size
    elements = list(parse_elements(sections[b"ELEM"]))
    records = list(struct.iter_unpack("<IIBBHII8s", sections[b"BLKS"]))
    payloads = []
    at = 64 + length
    for _, stored, *_, check in records:
        payloads.append(container[at : at + stored])
        assert xxhash.xxh3_64_digest(payloads[-1]) == check
        at += stored
    tiles = {}
    for (_, _, kind, _, element, row, rows, _), payload in zip(records, payloads, strict=True):
        if kind == 3:
            assert elements[element].method == 0, "redone tiles are beyond this oracle"
            tiles[element, row] = decode_tile(payload, rows, elements[element])
    out = b""
    for (size, _, kind, region, element, row, _, _), payload in zip(records, payloads, strict=True):
        if kind == 0:
            block = payload
        elif kind == 1:
            block = zlib.decompress(payload)
        elif kind == 2:
            block = payload * size
        else:
            block = tiles[element, row][region]
        assert len(block) == size
        out += block
    assert len(out) == original
    assert xxhash.xxh3_128_digest(out) == digest
    return out


def parse_elements(raw: bytes) -> Iterator[Element]:
    at = 0
    while at < len(raw):
        width, rows, components, segments, regions, method, signed, _ = struct.unpack_from(
            "<IIBBBBHH", raw, at
        )
        at += 16
        order = list(raw[at : at + components])
        at += components
        placed = [struct.unpack_from("<QIII", raw, at + 20 * i) for i in range(regions)]
        at += 20 * regions
        held = []
        for _ in range(segments):
            *numbers, _, start = struct.unpack_from("<BBBBBBHI", raw, at)
            held.append(Segment(*numbers, start))
            at += 12
        yield Element(width, rows, method, signed, order, placed, held)


def decode_tile(payload: bytes, rows: int, e: Element) -> list[bytes]:
    """The bytes of a tile's rows in each region."""
    mode, packer, head_length, gap_length, residue_length = struct.unpack_from("<BBxxIII", payload)
    at = 16 + head_length
    head = zlib.decompress(payload[16:at])
    values, head_at = parse_values(head, e)
    gaps = iter(zlib.decompress(payload[at : at + gap_length]) if gap_length else b"")
    at += gap_length
    stop = len(payload) - residue_length
    if mode == 1:
        planes = parse_heads(head[head_at:], rows, e, values)
        for plane in planes:
            for length in plane.lengths:
                plane.streams.append(Bits(payload[at : at + length]))
                at += length
        assert at == stop
    elif mode == 3:
        planes = quad_planes(head[head_at:], payload[at:stop], rows, e, values)
    elif mode == 5:
        depths = [values[c].bits for c in e.order]
        coded = half_planes(head[head_at:], payload[at:stop], rows, e.width, depths)
        samples = as_filed(coded, e, values)
    elif mode in (4, 6):
        depths = [values[c].bits for c in e.order]
        coded = deep.decode(head[head_at:], payload[at:stop], mode, rows, e.width, depths)
        samples = as_filed(coded, e, values)
    else:
        assert mode == 2
        assert head_at == len(head)
        planes = packed_planes(packer, payload[at:stop], rows, e, values)
    if mode < 4:
        samples = rebuild(planes, rows, e, values)
    residue = iter(zlib.decompress(payload[stop:]) if residue_length else b"")
    rows_of = [[bytearray(row_bytes) for _ in range(rows)] for _, row_bytes, _, _ in e.regions]
    covered = [set() for _ in e.regions]
    first = 0
    for s in e.segments:
        for r in range(rows):
            planes_of = [samples[c][r] for c in range(first, first + s.components)]
            packed = bytearray(pack_row(planes_of, s, e.width))
            if residue_length:
                packed = bytearray(a ^ b for a, b in zip(packed, residue, strict=False))
            rows_of[s.region][r][s.start : s.start + len(packed)] = packed
            covered[s.region].update(range(s.start, s.start + len(packed)))
        first += s.components
    out = []
    for region, (_, row_bytes, band_rows, band_header) in enumerate(e.regions):
        headers = []
        for band in range(-(-rows // band_rows) if band_rows else 0):
            above = headers[-1] if band else bytes(band_header)
            headers.append(bytes((a + next(gaps)) & 255 for a in above))
        for r, row in enumerate(rows_of[region]):
            for i in sorted(set(range(row_bytes)) - covered[region]):
                row[i] = ((rows_of[region][r - 1][i] if r else 0) + next(gaps)) & 255
        parts = []
        for r, row in enumerate(rows_of[region]):
            if band_rows and r % band_rows == 0:
                parts.append(headers[r // band_rows])
            parts.append(bytes(row))
        out.append(b"".join(parts))
    assert not list(gaps)
    assert not list(residue)
    return out


def parse_values(head: bytes, e: Element) -> tuple[list[Values], int]:
    """Each component's, and where the heads of the planes begin."""
    n = e.components
    values = [Values(head[c], e.bits(c) - head[c]) for c in range(n)]
    at = n + 1
    for _ in range(head[n]):
        mask, depth = struct.unpack_from("<HB", head, at)
        at += 3
        flags = Bits(head[at : at + max(2**depth // 8, 1)])
        at += len(flags.data)
        occurring = [v for v in range(2**depth) if flags.one()]
        for c in range(n):
            if mask >> c & 1:
                assert values[c].bits == depth
                ranks = max((len(occurring) - 1).bit_length(), 1)
                values[c] = Values(values[c].shift, ranks, occurring)
    return values, at


def packed_planes(
    packer: int, packed: bytes, rows: int, e: Element, values: list[Values]
) -> list[Plane]:
    """The planes of a tile of mode 2."""
    small = all(v.bits <= 8 for v in values)
    count = e.components * rows * e.width
    if packer == 1:
        raw = zlib.decompress(packed)
        assert len(raw) == count * (1 if small else 2)
        high = bytes(count) if small else raw[count:]
        residuals = [low | top << 8 for low, top in zip(raw[:count], high, strict=True)]
    else:
        assert packer == 2
        p = 0 if small else 1
        chain = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 22, "lc": 0, "lp": p, "pb": p}]
        raw = lzma.decompress(packed, lzma.FORMAT_RAW, filters=chain)
        residuals = list(raw) if small else [v for (v,) in struct.iter_unpack("<H", raw)]
        assert len(residuals) == count
    planes = []
    for p in range(e.components):
        plane = Plane(0, 0, 1, 0, 0, [], [], [], [], [], [], values[e.order[p]].bits)
        first = p * rows * e.width
        for r in range(rows):
            plane.residuals.append(residuals[first + r * e.width : first + (r + 1) * e.width])
        planes.append(plane)
    return planes


def quad_planes(
    raw: bytes, body: bytes, rows: int, e: Element, values: list[Values]
) -> list[Plane]:
    """The planes of a tile of mode 3, with the taps of mode 1 that theirs are."""
    heads = quads.parse_heads(raw, e.components, rows, e.width)
    z = quad_residuals(heads, body, rows, -(-e.width // 16), 1)
    planes = []
    for p, head in enumerate(heads):
        own, g, f = head.taps[:4], head.taps[4:7], head.taps[7:]
        taps = [*own, *(g or [0, 0, 0]), 0, 0, *(f[:1] or [0]), 0, *(f[1:] or [0]), 0, 0]
        taps += [0] * 5
        bits = values[e.order[p]].bits
        plane = Plane(0, 0, head.predictor, 0, head.bias, taps, [], [], [], [], [], bits)
        plane.residuals = [row[: e.width] for row in z[p]]
        planes.append(plane)
    return planes


def quad_residuals(
    heads: Sequence[quads.Head], body: bytes, rows: int, groups: int, reach: int
) -> list[list[list[int]]]:
    """Residuals of a tile of mode 3 or 5, all of whose streams must end where they should."""
    streams: list[list[Bits]] = []
    lanes = []
    at = 0
    for head in heads:
        parts = []
        for length in head.lengths:
            parts.append(body[at : at + length])
            at += length
        streams.append([Bits(part) for part in (*parts[:4], parts[5])])
        lanes.append(parts[4])
    assert at == len(body)
    z = quads.residuals(heads, [list(own) for own in streams], lanes, rows, groups, reach)
    for own in streams:
        for stream in own:
            assert (stream.at + 7) // 8 == len(stream.data)
    return z


def half_planes(
    raw: bytes, body: bytes, rows: int, width: int, depths: list[int]
) -> list[list[list[int]]]:
    """Coded samples [plane][row][column] of a tile of mode 5."""
    heads = halves.parse_heads(raw, len(depths), rows, width)
    z = quad_residuals(heads, body, rows, -(-width // 32) * 2, 2)
    return halves.rebuild(heads, z, depths, width)


def parse_heads(raw: bytes, rows: int, e: Element, values: list[Values]) -> list[Plane]:
    planes = []
    blocks = -(-e.width // 8)
    at = 0
    for p in range(e.components):
        count = 4 + 5 * min(p, 3)
        whole, magnitude_shift, cross, predictor, start, bias = struct.unpack_from(
            "<BBBBHi", raw, at
        )
        start = min(start, 900)
        at += 10
        taps = list(struct.unpack_from(f"<{count}h", raw, at))
        at += 2 * count
        thresholds = list(struct.unpack_from("<15h", raw, at))
        at += 30
        k = list(raw[at : at + 16])
        at += 16
        codes = []
        for _ in range(16):
            pairs = raw[at : at + 16]
            at += 16
            codes.append(canonical([n for byte in pairs for n in (byte & 15, byte >> 4)]))
        lengths = list(struct.unpack_from("<4I", raw, at))
        at += 16
        coded = [1] * (rows * blocks)
        if not whole:
            flag_bytes = -(-rows * blocks // 8)
            flags = Bits(raw[at : at + flag_bytes])
            at += flag_bytes
            coded = [flags.one() for _ in range(rows * blocks)]
        planes.append(
            Plane(
                magnitude_shift,
                cross,
                predictor,
                start,
                bias,
                taps,
                thresholds,
                k,
                codes,
                lengths,
                coded,
                values[e.order[p]].bits,
            )
        )
    assert at == len(raw)
    return planes


def canonical(lengths: list[int]) -> dict[tuple[int, int], int]:
    """(length, code) to symbol."""
    codes = {}
    code = 0
    for length in range(1, 10):
        code <<= 1
        for symbol, of_symbol in enumerate(lengths):
            if of_symbol == length:
                codes[length, code] = symbol
                code += 1
    return codes


def rebuild(
    planes: list[Plane], rows: int, e: Element, values: list[Values]
) -> list[list[list[int]]]:
    """Samples [component][row][x], as the file has them."""
    width = e.width
    x = [[[0] * width for _ in range(rows)] for _ in planes]
    m = [[[0] * width for _ in range(rows)] for _ in planes]

    def sample(p: int, r: int, column: int) -> int:
        """The sample at a place that may be beside the row."""
        if column < 0:
            return 1 << (planes[p].bits - 1) if r == 0 else x[p][r - 1][0]
        return x[p][r][min(column, width - 1)]

    def magnitude(p: int, r: int, column: int) -> int:
        if not 0 <= column < width:
            return 0
        return planes[p].start if r < 0 else m[p][r][column]

    for r in range(rows):
        for p, plane in enumerate(planes):
            for column in range(width):
                z = 0
                if plane.residuals:
                    z = plane.residuals[r][column]
                elif plane.coded[r * -(-width // 8) + column // 8]:
                    activity = context_activity(magnitude, plane, p, r, column)
                    context = sum(t <= activity for t in plane.thresholds)
                    z = take(plane, context, plane.streams[column % 4])
                m[p][r][column] = min(z >> plane.magnitude_shift, 900)
                d = z >> 1 if z & 1 == 0 else -(z + 1) >> 1
                prediction = predict(sample, plane, p, r, column, width)
                x[p][r][column] = (prediction + d) % (1 << plane.bits)
    return as_filed(x, e, values)


def as_filed(x: list[list[list[int]]], e: Element, values: list[Values]) -> list[list[list[int]]]:
    """Samples [component][row][x] as the file has them, of coded ones [plane][row][x]."""
    by_component: list[list[list[int]]] = [[] for _ in x]
    for p, c in enumerate(e.order):
        held = values[c].values
        by_component[c] = [
            [(v if held is None else held[v]) << values[c].shift for v in row] for row in x[p]
        ]
        if e.signed >> c & 1:
            by_component[c] = [
                [v & 0x7FFF if v >> 15 else v ^ 0xFFFF for v in row] for row in by_component[c]
            ]
    return by_component


def context_activity(magnitude, plane: Plane, p: int, r: int, c: int) -> int:  # noqa: ANN001
    s = 6 * magnitude(p, r - 1, c)
    s += 4 * (magnitude(p, r - 1, c - 1) + magnitude(p, r - 1, c + 1))
    s += 2 * (magnitude(p, r - 1, c - 2) + magnitude(p, r - 1, c + 2) + magnitude(p, r - 2, c))
    for q in range(max(p - 2, 0), p):
        s += plane.cross * (
            magnitude(q, r, c - 1) + 2 * magnitude(q, r, c) + magnitude(q, r, c + 1)
        )
    return s


def take(plane: Plane, context: int, stream: Bits) -> int:
    """One folded residual."""
    code = length = 0
    while (length, code) not in plane.codes[context]:
        code = code << 1 | stream.one()
        length += 1
        assert length <= 9
    symbol = plane.codes[context][length, code]
    if symbol == 31:
        return stream.number(plane.bits)
    return symbol << plane.k[context] | stream.number(plane.k[context])


def predict(sample, plane: Plane, p: int, r: int, c: int, width: int) -> int:  # noqa: ANN001
    run = -(-width // 8)
    begins_run = c % run == 0
    if r == 0:
        west = 1 << (plane.bits - 1) if begins_run else sample(p, 0, c - 1)
        step = sample(p - 1, 0, c) - sample(p - 1, 0, c - 1) if p else 0
        return (2048 + 4096 * (west + step)) >> 12
    north = sample(p, r - 1, c)
    north_west = sample(p, r - 1, c - 1)
    west = north if begins_run else sample(p, r, c - 1)
    if plane.predictor == 1:
        return sorted([west, north, west + north - north_west])[1]
    t = plane.taps
    total = plane.bias + t[0] * west + t[1] * north + t[2] * north_west
    total += t[3] * sample(p, r - 1, c + 1)
    for i, q in enumerate(range(p - 1, max(p - 4, -1), -1)):
        g = t[4 + 5 * i : 9 + 5 * i]
        total += g[0] * sample(q, r, c) + g[1] * sample(q, r, c - 1) + g[2] * sample(q, r - 1, c)
        total += g[3] * sample(q, r - 1, c - 1) + g[4] * sample(q, r - 1, c + 1)
    total &= 0xFFFFFFFF
    return (total - (1 << 32) if total >> 31 else total) >> 12


def pack_row(planes: list[list[int]], s: Segment, width: int) -> bytes:
    samples = [plane[i] for i in range(width) for plane in planes]
    order = "big" if s.flags & 1 else "little"
    if s.packing == 0:
        return bytes(samples)
    if s.packing == 1:
        return b"".join((v << s.shift).to_bytes(2, order) for v in samples)
    if s.packing == 2:
        row = b""
        for i in range(0, len(samples), 3):
            group = [*samples[i : i + 3], 0, 0][:3]
            if s.flags & 2:
                group.reverse()
            word = sum(v << (s.shift + 20 - 10 * n) for n, v in enumerate(group))
            row += word.to_bytes(4, order)
        return row
    if s.packing == 3:
        stream = sum(v << (i * s.bits) for i, v in enumerate(samples))
        words = -(-len(samples) * s.bits // 32)
        return b"".join((stream >> (32 * i) & 0xFFFFFFFF).to_bytes(4, order) for i in range(words))
    if s.flags & 2:
        for i in range(0, len(samples) - 1, 2):
            samples[i], samples[i + 1] = samples[i + 1], samples[i]
    text = "".join(f"{v:0{s.bits}b}" for v in samples)
    unit = 8 if s.flags & 1 else 32
    text = text.ljust(-(-len(text) // unit) * unit, "0")
    return b"".join(
        int(text[i : i + unit], 2).to_bytes(unit // 8, order) for i in range(0, len(text), unit)
    )
