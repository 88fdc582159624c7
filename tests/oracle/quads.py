"""Residuals of tile modes 3 and 5, from docs/format/container-v1.md alone, one at a time."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

KINDS = (
    "0000 1000 1100 1110 1111 2000 2100 2110 2111 2200 2210 2211 2220 2221 2222 "
    "3000 3100 3110 3111 3200 3210 3211 3220 3221 3222 3300 3310 3311 3320 3321 "
    "3322 3330 3331 3332 3333"
)
LENGTHS = (
    "2467778899AAAA9 89AAAAAAAAAAAAA AAAA9",
    "25677778989AAA9 79999AAAAA9AAAA A9AA8",
    "35678679A8AAAA8 689999AAAA8999A A8998",
    "34689679A9AAAA9 789A9AAAAA89AAA A9AA9",
    "24688689A9AAAA9 79AAAAAAAAAAAAA AAAA9",
    "1579869AAAAAAAA 8AAAAAAAAAAAAAA AAAAA",
    "24678689A9AAAA9 89AAAAAAAAAAAAA AAAA9",
    "2567767899AAAA9 78AAAAAAAA9AAAA AAAA8",
    "3567767888999A8 789999AAAA89AAA A9AA7",
)


class Stream(Protocol):
    """Bits that fill bytes from the low end."""

    def one(self) -> int: ...

    def number(self, count: int) -> int: ...


@dataclass
class Head:
    """One plane's head."""

    predictor: int
    start: int
    bias: int
    taps: list[int]
    thresholds: list[int]
    k: list[int]
    codes: list[int]
    lengths: list[int]
    coded: list[int]


def parse_heads(raw: bytes, planes: int, rows: int, width: int) -> list[Head]:
    heads = []
    at = 0
    blocks = -(-width // 64)
    for p in range(planes):
        whole, predictor, zero, start, bias = struct.unpack_from("<BBHIi", raw, at)
        assert zero == 0
        at += 12
        count = (4, 7, 9)[min(p, 2)]
        taps = list(struct.unpack_from(f"<{count}h", raw, at))
        at += 2 * count
        thresholds = list(struct.unpack_from("<15i", raw, at))
        at += 60
        k, codes = list(raw[at : at + 16]), list(raw[at + 16 : at + 32])
        lengths = list(struct.unpack_from("<6I", raw, at + 32))
        at += 56
        coded = [1] * (rows * blocks)
        if not whole:
            size = -(-rows * blocks // 8)
            coded = [raw[at + i // 8] >> i % 8 & 1 for i in range(rows * blocks)]
            at += size
        start = min(start, 16 * 65535)
        heads.append(Head(predictor, start, bias, taps, thresholds, k, codes, lengths, coded))
    assert at == len(raw)
    return heads


def code_book(number: int) -> dict[tuple[int, int], tuple[int, ...]]:
    """(length, code) to four high parts, the leftmost first."""
    digits = dict(zip(KINDS.split(" "), LENGTHS[number].replace(" ", ""), strict=True))
    of_length: dict[int, list[tuple[int, ...]]] = {}
    for h3, h2, h1, h0 in product(range(4), repeat=4):
        kind = "".join(map(str, sorted((h0, h1, h2, h3), reverse=True)))
        of_length.setdefault(int(digits[kind], 16), []).append((h0, h1, h2, h3))
    book = {}
    code = 0
    for length in range(1, 11):
        code <<= 1
        for quad in of_length.get(length, []):
            book[length, code] = quad
            code += 1
    return book


def residuals(
    heads: Sequence[Head],
    streams: list[list[Stream]],
    lanes: list[bytes],
    rows: int,
    groups: int,
    reach: int,
) -> list[list[list[int]]]:
    """Folded residuals [plane][row][16 * group + place in the group].

    ``reach`` is how many groups further the next one beside stands. ``streams`` are each plane's
    four of quads and its escapes, ``lanes`` the bytes of its lanes.
    """
    books = [code_book(number) for number in range(len(LENGTHS))]
    sums = [[[0] * groups for _ in range(rows)] for _ in heads]
    z = [[[0] * (16 * groups) for _ in range(rows)] for _ in heads]
    lane_bits = [0] * len(heads)

    def total(p: int, r: int, g: int) -> int:
        if g < 0 or g >= groups:
            g += reach if g < 0 else -reach
        return heads[p].start if r < 0 else sums[p][r][g]

    for r, p, g in product(range(rows), range(len(heads)), range(groups)):
        head = heads[p]
        if not head.coded[r * -(-groups // 4) + g // 4]:
            continue
        activity = 8 * total(p, r - 1, g) + total(p, r - 1, g - reach)
        activity += total(p, r - 1, g + reach)
        activity += 2 * total(p, r - 2, g)
        activity += 4 * sum(total(q, r, g) for q in range(max(p - 2, 0), p))
        number = sum(t <= activity for t in head.thresholds)
        k = head.k[number]
        *quads, escapes = streams[p]
        high = [h for stream in quads for h in take(stream, books[head.codes[number]])]
        for i, h in enumerate(high):
            low = 0
            for bit in range(k):
                place = lane_bits[p] + bit
                at = 32 * (place // 16) + 2 * i + place % 16 // 8
                low |= (lanes[p][at] >> place % 8 & 1) << bit
            z[p][r][16 * g + i] = (h + more(escapes) if h == 3 else h) << k | low
        lane_bits[p] += k
        sums[p][r][g] = sum(z[p][r][16 * g : 16 * g + 16])
    for p, bits in enumerate(lane_bits):
        assert len(lanes[p]) == 32 * -(-bits // 16)
    return z


def take(stream: Stream, book: dict[tuple[int, int], tuple[int, ...]]) -> tuple[int, ...]:
    """The four high parts of one quad."""
    code = length = 0
    while (length, code) not in book:
        code = code << 1 | stream.one()
        length += 1
        assert length <= 10
    return book[length, code]


def more(escapes: Stream) -> int:
    """What an escaped high part has beyond 3."""
    n = 0
    while not escapes.one():
        n += 1
    return (1 << n | escapes.number(n)) + 2 - 3
