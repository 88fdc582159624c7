"""Tiles in modes 4 and 6, decoded one sample at a time from the specification alone."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

DECODED = list[list[int]]


@dataclass
class Plane:
    """A plane's head, and what is decoded of it."""

    bits: int
    magnitude_shift: int
    activity_shift: int
    start: int
    weights: list[int]
    thresholds: list[int]
    sets: list[list[int]]
    tables: list[list[tuple[int, int, int]]]
    occurring: list[int] | None
    classes: list[int]
    streams: list[Stream]
    x: DECODED = field(default_factory=list)
    m: DECODED = field(default_factory=list)


class Stream:
    """Bits that fill bytes from the low end, and the state of a decoder."""

    def __init__(self, data: bytes) -> None:
        self.left = [byte >> i & 1 for byte in data for i in range(8)][::-1]
        self.state = self.number(10)

    def number(self, count: int) -> int:
        return sum(self.left.pop() << i for i in range(count))

    def end(self) -> None:
        assert self.state == 0
        assert len(self.left) < 8
        assert not any(self.left)


def frequencies(codes: list[int]) -> list[int]:
    weights = [0 if q == 0 else (8 + (q - 1) % 8) << (q - 1) // 8 for q in codes]
    total = sum(weights)
    if total == 0:
        return [1024]
    f = [max(w * 1024 // total, 1) if w else 0 for w in weights]
    while sum(f) > 1024:
        f[f.index(max(f))] -= 1
    f[f.index(max(f))] += 1024 - sum(f)
    return f


def decoding_table(codes: list[int]) -> list[tuple[int, int, int]]:
    """(token, new bits, next state but for them) of each state."""
    places: list[int] = [0] * 1024
    at = 0
    f = frequencies(codes)
    for token, count in enumerate(f):
        for _ in range(count):
            places[at] = token
            at = (at + 643) % 1024
    table = []
    for token in places:
        x = f[token]
        f[token] += 1
        new = 0
        while x << new < 1024:
            new += 1
        table.append((token, new, (x << new) - 1024))
    return table


def lowest(token: int) -> tuple[int, int]:
    """The lowest z of a token, and how many bits follow."""
    if token < 16:
        return token, 0
    e = 4 + (token - 16) // 4
    return (4 + token % 4) << (e - 2), e - 2


@dataclass
class Cut:
    """How rows are cut, and what else tells mode 6 from mode 4."""

    streams: int
    runs: int
    fifth: bool


CUTS = {4: Cut(4, 4, False), 6: Cut(8, 16, True)}


def parse(
    raw: bytes, body: bytes, cut: Cut, rows: int, width: int, depths: list[int]
) -> list[Plane]:
    """The planes of a tile, from their heads and streams; ``depths`` are bits in coding order."""
    at = place = 0
    planes = []
    for p, bits in enumerate(depths):
        count, flags, shift, activity_shift, start, tokens, zero = struct.unpack_from(
            "<BBBBHBB", raw, at
        )
        at += 8
        assert 1 <= count <= 8
        assert zero == 0
        n = 6 + 2 * min(p, 2)
        weights = list(raw[at : at + n])
        at += n
        thresholds = list(struct.unpack_from("<15H", raw, at))
        at += 30
        taps = 7 + 6 * min(p, 3)
        sets = [list(struct.unpack_from(f"<{taps}h", raw, at + 2 * taps * k)) for k in range(count)]
        at += 2 * taps * count
        tables = [
            decoding_table(list(raw[at + tokens * c : at + tokens * (c + 1)])) for c in range(16)
        ]
        at += 16 * tokens
        lengths = struct.unpack_from(f"<{cut.streams}I", raw, at)
        at += 4 * cut.streams
        streams = []
        for length in lengths:
            if cut.fifth and tokens == 0:
                assert length == 0
                continue
            streams.append(Stream(body[place : place + length]))
            place += length
        occurring = None
        if flags & 1:
            size = max(2**bits // 8, 1)
            bitmap = raw[at : at + size]
            at += size
            occurring = [v for v in range(2**bits) if bitmap[v // 8] >> v % 8 & 1]
        classes = []
        if count > 1:
            size = -(-rows // 16) * -(-width // 16)
            classes = list(raw[at : at + size])
            at += size
        planes.append(
            Plane(
                bits, shift, activity_shift, min(start, 900), weights, thresholds, sets, tables,
                occurring, classes, streams,
            )
        )  # fmt: skip
    assert at == len(raw)
    assert place == len(body)
    return planes


def decode(
    raw: bytes, body: bytes, mode: int, rows: int, width: int, depths: list[int]
) -> list[list[list[int]]]:
    """Coded samples [plane][row][x]."""
    cut = CUTS[mode]
    planes = parse(raw, body, cut, rows, width, depths)
    run = -(-width // cut.runs)
    part = run * (cut.runs // cut.streams)
    for r in range(rows):
        for p, plane in enumerate(planes):
            plane.x.append([0] * width)
            plane.m.append([0] * width)
            # The streams are independent of one another within a row.
            for c in range(width):
                z = 0
                if plane.streams:
                    activity = level(planes, p, r, c, part, width)
                    context = sum(t <= activity for t in plane.thresholds)
                    z = take(plane, context, plane.streams[c // part], r, c)
                guess = prediction(planes, p, r, c, run, width, cut.fifth)
                plane.x[r][c] = sample(plane, guess, z)
    for plane in planes:
        for stream in plane.streams:
            stream.end()
    return [plane.x for plane in planes]


def take(plane: Plane, context: int, stream: Stream, r: int, c: int) -> int:
    token, new, state = plane.tables[context][stream.state]
    stream.state = state + stream.number(new)
    low, extra = lowest(token)
    plane.m[r][c] = min(low >> plane.magnitude_shift, 900)
    return low + stream.number(extra)


def level(planes: list[Plane], p: int, r: int, c: int, run: int, width: int) -> int:
    plane = planes[p]

    def m(q: int, row: int, column: int) -> int:
        if not 0 <= column < width:
            return 0
        return planes[q].start if row < 0 else planes[q].m[row][column]

    north = m(p, r - 1, c)
    first = c % run == 0
    west = north if first else m(p, r, c - 1)
    west2 = west if first else m(p, r - 1, c - 1) if c % run == 1 else m(p, r, c - 2)
    w = plane.weights
    s = w[0] * north + w[1] * (m(p, r - 1, c - 1) + m(p, r - 1, c + 1))
    s += w[2] * (m(p, r - 1, c - 2) + m(p, r - 1, c + 2)) + w[3] * m(p, r - 2, c)
    s += w[4] * west + w[5] * west2
    for i, q in enumerate(range(p - 1, max(p - 3, -1), -1)):
        beside = m(q, r, c - 1) + m(q, r, c + 1)
        s += w[6 + 2 * i] * m(q, r, c) + w[7 + 2 * i] * beside
    return min(s >> plane.activity_shift, 2047)


def sample(plane: Plane, guess: int, z: int) -> int:
    guess = max(0, min(guess, 2**plane.bits - 1))
    occurring = plane.occurring
    last = 2**plane.bits - 1 if occurring is None else len(occurring) - 1
    rank = guess if occurring is None else min(sum(v < guess for v in occurring), last)
    room = last - rank
    least = min(rank, room)
    if z <= 2 * least:
        rank += z // 2 if z % 2 == 0 else -(z + 1) // 2
    elif rank < room:
        rank += z - least
    else:
        rank -= z - least
    return rank if occurring is None else occurring[rank]


def prediction(
    planes: list[Plane], p: int, r: int, c: int, run: int, width: int, fifth: bool
) -> int:
    plane = planes[p]

    def g(q: int, row: int, column: int) -> int:
        """A sample that may be beside its row."""
        held = planes[q]
        if column < 0:
            return 2 ** (held.bits - 1) if row == 0 else held.x[row - 1][0]
        return held.x[row][min(column, width - 1)]

    if r == 0:
        if fifth and p and c % run == 0:
            return g(p - 1, 0, c)
        west = 2 ** (plane.bits - 1) if c % run == 0 else g(p, 0, c - 1)
        return west + (g(p - 1, 0, c) - g(p - 1, 0, c - 1) if p else 0)
    north = g(p, r - 1, c)
    west = north if c % run == 0 else g(p, r, c - 1)
    west2 = g(p, r, c - 2) if c % run > 1 else g(p, r - 1, c - c % run)
    k = plane.classes[(r // 16) * -(-width // 16) + c // 16] if plane.classes else 0
    t = plane.sets[k]
    near = [west, west2, north, g(p, r - 1, c - 1), g(p, r - 1, c + 1)]
    near += [g(p, max(r - 2, 0), c), g(p, r - 1, c + 2)]
    for q in range(p - 1, max(p - 4, -1), -1):
        near += [g(q, r, c), g(q, r, c - 1), g(q, r, c + 1)]
        near += [g(q, r - 1, c), g(q, r - 1, c - 1), g(q, r - 1, c + 1)]
    total = (2048 + sum(a * b for a, b in zip(t, near, strict=True))) & 0xFFFFFFFF
    return (total - (1 << 32) if total >> 31 else total) >> 12
