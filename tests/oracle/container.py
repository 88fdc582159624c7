"""A decoder written from docs/format/container-v1.md alone: one sample at a time, no numpy.

It shares nothing with the codec, so where both agree, the specification is enough to write a
decoder. It assumes a sound container: an index out of range is a failed test.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

import xxhash

MAGIC = bytes.fromhex("89 50 58 46 0D 0A 1A 0A")


@dataclass
class Element:
    offset: int
    width: int
    rows: int
    row_bytes: int
    components: int
    bits: int
    packing: int
    shift: int
    flags: int
    order: list[int]


@dataclass
class Plane:
    """One plane's head and streams."""

    shift: int
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
    elements = []
    for record in struct.iter_unpack("<QIIIBBBBBB16s", sections[b"ELEM"]):
        *numbers, _, order = record
        elements.append(Element(*numbers, order=list(order[: numbers[4]])))
    out = b""
    at = 64 + length
    for size, stored, kind, element, rows, _row, check in struct.iter_unpack(
        "<IIBBHI8s", sections[b"BLKS"]
    ):
        payload = container[at : at + stored]
        at += stored
        assert xxhash.xxh3_64_digest(payload) == check
        if kind == 0:
            block = payload
        elif kind == 1:
            block = zlib.decompress(payload)
        elif kind == 2:
            block = payload * size
        else:
            block = decode_tile(payload, rows, elements[element])
        assert len(block) == size
        out += block
    assert len(out) == original
    assert xxhash.xxh3_128_digest(out) == digest
    return out


def decode_tile(payload: bytes, rows: int, e: Element) -> bytes:
    """The bytes of a tile's rows."""
    mode, head_length, residue_length = struct.unpack_from("<BxxxII", payload)
    assert mode == 1
    planes = parse_heads(zlib.decompress(payload[12 : 12 + head_length]), rows, e)
    at = 12 + head_length
    for plane in planes:
        for length in plane.lengths:
            plane.streams.append(Bits(payload[at : at + length]))
            at += length
    assert at == len(payload) - residue_length
    samples = rebuild(planes, rows, e)
    packed = b"".join(pack_row([plane[r] for plane in samples], e) for r in range(rows))
    if residue_length:
        residue = zlib.decompress(payload[-residue_length:])
        packed = bytes(a ^ b for a, b in zip(packed, residue, strict=True))
    return packed


def parse_heads(raw: bytes, rows: int, e: Element) -> list[Plane]:
    planes = []
    blocks = -(-e.width // 64)
    at = 0
    for p in range(e.components):
        count = 4 + 5 * min(p, 3)
        shift, magnitude_shift, cross, predictor, start, bias = struct.unpack_from(
            "<BBBBHi", raw, at
        )
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
        flag_bytes = -(-rows * blocks // 8)
        flags = Bits(raw[at : at + flag_bytes])
        at += flag_bytes
        coded = [flags.one() for _ in range(rows * blocks)]
        bits = e.bits - shift
        planes.append(
            Plane(
                shift,
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
                bits,
            )
        )
    assert at == len(raw)
    return planes


def canonical(lengths: list[int]) -> dict[tuple[int, int], int]:
    """(length, code) to symbol."""
    codes = {}
    code = 0
    for length in range(1, 11):
        code <<= 1
        for symbol, of_symbol in enumerate(lengths):
            if of_symbol == length:
                codes[length, code] = symbol
                code += 1
    return codes


def rebuild(planes: list[Plane], rows: int, e: Element) -> list[list[list[int]]]:
    """Samples [component][row][x], shifted up."""
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
                if plane.coded[r * -(-width // 64) + column // 64]:
                    activity = context_activity(magnitude, plane, p, r, column)
                    context = sum(t <= activity for t in plane.thresholds)
                    z = take(plane, context, plane.streams[column % 4])
                m[p][r][column] = min(z >> plane.magnitude_shift, 900)
                d = z >> 1 if z & 1 == 0 else -(z + 1) >> 1
                prediction = predict(sample, plane, p, r, column, width)
                x[p][r][column] = (prediction + d) % (1 << plane.bits)
    by_component = [[[0] * width] * rows for _ in planes]
    for p, plane in enumerate(planes):
        by_component[e.order[p]] = [[v << plane.shift for v in row] for row in x[p]]
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
        assert length <= 10
    symbol = plane.codes[context][length, code]
    if symbol == 31:
        return stream.number(plane.bits)
    return symbol << plane.k[context] | stream.number(plane.k[context])


def predict(sample, plane: Plane, p: int, r: int, c: int, width: int) -> int:  # noqa: ANN001
    run = -(-width // 4)
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


def pack_row(planes: list[list[int]], e: Element) -> bytes:
    samples = [planes[c][i] for i in range(e.width) for c in range(e.components)]
    order = "big" if e.flags & 1 else "little"
    if e.packing == 0:
        row = bytes(samples)
    elif e.packing == 1:
        row = b"".join((s << e.shift).to_bytes(2, order) for s in samples)
    elif e.packing == 2:
        row = b""
        for i in range(0, len(samples), 3):
            group = [*samples[i : i + 3], 0, 0][:3]
            if e.flags & 2:
                group.reverse()
            word = sum(s << (e.shift + 20 - 10 * n) for n, s in enumerate(group))
            row += word.to_bytes(4, order)
    else:
        stream = sum(s << (i * e.bits) for i, s in enumerate(samples))
        words = -(-len(samples) * e.bits // 32)
        row = b"".join((stream >> (32 * i) & 0xFFFFFFFF).to_bytes(4, order) for i in range(words))
    return row.ljust(e.row_bytes, b"\0")
