"""Tiles in mode 5, decoded one sample at a time from the specification alone."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import product

from tests.oracle import quads

Rows = list[list[int]]


@dataclass
class Head(quads.Head):
    """One plane's head; ``taps`` are those of even columns."""

    edge: int
    odd_taps: list[int]


def parse_heads(raw: bytes, planes: int, rows: int, width: int) -> list[Head]:
    heads = []
    at = 0
    blocks = -(-width // 64)
    for p in range(planes):
        whole, zero, edge, start = struct.unpack_from("<BBHI", raw, at)
        assert zero == 0
        at += 8
        taps = []
        for count in (2 + 3 * min(p, 2), 3 + 3 * min(p, 2)):
            taps.append(list(struct.unpack_from(f"<{count}h", raw, at)))
            at += 2 * count
        thresholds = list(struct.unpack_from("<15i", raw, at))
        at += 60
        k, codes = list(raw[at : at + 16]), list(raw[at + 16 : at + 32])
        lengths = list(struct.unpack_from("<6I", raw, at + 32))
        at += 56
        coded = [1] * (rows * blocks)
        if not whole:
            coded = [raw[at + i // 8] >> i % 8 & 1 for i in range(rows * blocks)]
            at += -(-rows * blocks // 8)
        start = min(start, 16 * 65535)
        same = (0, start, 0, taps[0], thresholds, k, codes, lengths, coded)
        heads.append(Head(*same, edge=edge, odd_taps=taps[1]))
    assert at == len(raw)
    return heads


def signed16(value: int) -> int:
    return (value + 0x8000) % 0x10000 - 0x8000


def rebuild(heads: list[Head], z: list[Rows], depths: list[int], width: int) -> list[Rows]:
    """Samples [plane][row][column], of residuals ``z`` as `quads.residuals` orders them."""
    x: list[Rows] = [[[0] * width for _ in rows] for rows in z]
    for r, p in product(range(len(z[0])), range(len(heads))):
        for c in (*range(0, width, 2), *range(1, width, 2)):
            residual = z[p][r][c // 32 * 32 + c % 2 * 16 + c % 32 // 2]
            x[p][r][c] = sample(heads, x, depths, p, r, c, residual)
    return x


def sample(
    heads: list[Head], x: list[Rows], depths: list[int], p: int, r: int, c: int, residual: int
) -> int:
    """One sample, from those rebuilt before it."""
    scale = max(15 - depths[p], 0)
    total = 0
    for i, (tap, value) in enumerate(terms(heads, x, depths, p, r, c)):
        product_of = signed16(value) * tap >> 16
        total += -product_of if i % 2 else product_of
    base = at(heads, x, depths, p, r - 1, c)
    whole = (base + 4 * total + (1 << scale) // 2) % 0x10000 >> scale
    d = residual // 2 if residual % 2 == 0 else -(residual + 1) // 2
    return (whole + d) % (1 << depths[p])


def at(heads: list[Head], x: list[Rows], depths: list[int], p: int, r: int, c: int) -> int:
    """A sample as the prediction takes it: shifted up, and whatever stands beside a row."""
    up = 1 << max(15 - depths[p], 0)
    if r < 0:
        return heads[p].edge * up
    width = len(x[p][r])
    if c < 0:
        c = 0
    elif c >= width:
        # The last column of the same parity, if there is one.
        c = c - 2 if c >= 2 else 0
    return x[p][r][c] * up


def terms(
    heads: list[Head], x: list[Rows], depths: list[int], p: int, r: int, c: int
) -> list[tuple[int, int]]:
    """Taps of a column, and the differences that they weigh."""

    def value(q: int, row: int, column: int) -> int:
        return at(heads, x, depths, q, row, column)

    def beside(q: int, row: int) -> int:
        return (value(q, row, c - 1) + value(q, row, c + 1) + 1) // 2

    base = value(p, r - 1, c)
    found = [beside(p, r - 1) - base, value(p, r - 2, c) - base]
    for q in range(p - 1, max(p - 3, -1), -1):
        edge = value(q, r - 1, c)
        found += [value(q, r, c) - edge, beside(q, r) - edge, beside(q, r - 1) - edge]
    if c % 2:
        found.append(beside(p, r) - base)
    return list(zip(heads[p].odd_taps if c % 2 else heads[p].taps, found, strict=True))
