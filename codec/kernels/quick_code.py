"""Prefix codes of quads, fixed once for all, and their streams.

A quad is four high parts of neighbours, each cut to 3: ``h0 | h1 << 2 | h2 << 4 | h3 << 6``. The
length of its code depends on what the four are, not on their order, so a code is given by a
string of 35 digits (`CODES`). Quad j of a group of sixteen columns stands in stream j.

A high part of 3 is an escape: ``e = h - 2`` follows in a stream of its own as an Exp-Golomb code,
n zeros for ``n = floor(log2(e))``, a one, and the low n bits of e.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.bits import highest_bit, trailing_zeros
from codec.kernels.jit import inlined, kernel
from codec.kernels.memory import load64, store64
from codec.kernels.quick_lanes import GROUP, QUADS

CODES = (
    "2467778899AAAA989AAAAAAAAAAAAAAAAA9",
    "25677778989AAA979999AAAAA9AAAAA9AA8",
    "35678679A8AAAA8689999AAAA8999AA8998",
    "34689679A9AAAA9789A9AAAAA89AAAA9AA9",
    "24688689A9AAAA979AAAAAAAAAAAAAAAAA9",
    "1579869AAAAAAAA8AAAAAAAAAAAAAAAAAAA",
    "24678689A9AAAA989AAAAAAAAAAAAAAAAA9",
    "2567767899AAAA978AAAAAAAA9AAAAAAAA8",
    "3567767888999A8789999AAAA89AAAA9AA7",
)
"""Hexadecimal code lengths of each code's quads: by their four high parts in falling order, in
lexical order of those (0000, 1000, 1100, 1110, 1111, 2000, ... 3333)."""
MODE3_CODES = 6
"""Mode 3 knows the first ones alone; mode 5 has the last three in place of the first two."""
MAX_LENGTH = 10
SYMBOLS = 256
BLOCK = 4
"""Groups that are coded, or not, together: as many codes of a stream fit a 64-bit word."""
MAX_ESCAPE_BITS = 33
_MASK = np.uint64((1 << MAX_LENGTH) - 1)
_USED = np.uint64(63)


def _high_parts(symbol: int) -> list[int]:
    return [(symbol >> 2 * i) & 3 for i in range(QUADS)]


def code_lengths(code: str) -> Any:
    """Lengths (int64[SYMBOLS]) of the codes of all quads."""
    kinds = [tuple(sorted(_high_parts(s), reverse=True)) for s in range(SYMBOLS)]
    digits = dict(zip(sorted(set(kinds)), code, strict=True))
    return np.array([int(digits[kind], 16) for kind in kinds])


def _tables() -> tuple[Any, Any]:
    """Tables of all codes for encoding and for decoding.

    For encoding, indexed by code and quad: ``code | length << 10`` (uint16). For decoding, indexed
    by code and the next `MAX_LENGTH` bits: ``length | quad << 6``. Shifts take their count from
    the lowest six bits, so that the length has not to be masked there.
    """
    encoding = np.zeros((len(CODES), SYMBOLS), np.uint16)
    decoding = np.zeros((len(CODES), 1 << MAX_LENGTH), np.uint16)
    for number, digits in enumerate(CODES):
        lengths = code_lengths(digits)
        code = 0
        for length in range(1, MAX_LENGTH + 1):
            code <<= 1
            for s in np.flatnonzero(lengths == length).tolist():
                written = int(f"{code:0{length}b}"[::-1], 2)
                encoding[number, s] = written | length << 10
                decoding[number, written :: 1 << length] = length | s << 6
                code += 1
    return encoding.reshape(-1), decoding.reshape(-1)


ENCODING, DECODING = _tables()


@inlined
def _put(quads: Any, q: Any, first: Any, table: Any, acc: Any, filled: Any) -> Any:
    """``acc`` and ``filled`` after one more quad."""
    entry = np.uint64(table[first | np.uint64(quads[q])])
    return acc | (entry & _MASK) << filled, filled + (entry >> np.uint64(10))


@inlined
def _flush(out: Any, position: Any, acc: Any, filled: Any) -> Any:
    """Write whole bytes of ``acc``; what remains is less than a byte."""
    store64(out, np.int64(position), acc)
    whole = filled >> np.uint64(3)
    return position + whole, acc >> (whole << np.uint64(3)), filled & np.uint64(7)


@kernel
def put_quads(
    quads: Any, codes: Any, coded: Any, groups: int, table: Any, out: Any, state: Any
) -> None:
    """Write a row's quads (uint8[4 * groups]) into four streams.

    ``codes`` int64[groups] are the groups' codes, times `SYMBOLS`; ``coded`` (uint8) is 0 for
    blocks that are not written. ``out`` uint8[4, capacity] has room for `MAX_LENGTH` bits a quad
    and 16 bytes; ``state`` uint64[3, 4] holds each stream's position in bytes, the bits that wait,
    and how many.
    """
    o0, o1, o2, o3 = out[0], out[1], out[2], out[3]
    p0, p1, p2, p3 = state[0, 0], state[0, 1], state[0, 2], state[0, 3]
    a0, a1, a2, a3 = state[1, 0], state[1, 1], state[1, 2], state[1, 3]
    f0, f1, f2, f3 = state[2, 0], state[2, 1], state[2, 2], state[2, 3]
    one, two, three = np.uint64(1), np.uint64(2), np.uint64(3)
    for b in range((groups + BLOCK - 1) // BLOCK):
        if coded[b] == 0:
            continue
        for i in range(b * BLOCK, min((b + 1) * BLOCK, groups)):
            g = np.uint64(i)
            first = np.uint64(codes[g])
            q = g << two
            a0, f0 = _put(quads, q, first, table, a0, f0)
            a1, f1 = _put(quads, q + one, first, table, a1, f1)
            a2, f2 = _put(quads, q + two, first, table, a2, f2)
            a3, f3 = _put(quads, q + three, first, table, a3, f3)
        p0, a0, f0 = _flush(o0, p0, a0, f0)
        p1, a1, f1 = _flush(o1, p1, a1, f1)
        p2, a2, f2 = _flush(o2, p2, a2, f2)
        p3, a3, f3 = _flush(o3, p3, a3, f3)
    state[0, 0], state[0, 1], state[0, 2], state[0, 3] = p0, p1, p2, p3
    state[1, 0], state[1, 1], state[1, 2], state[1, 3] = a0, a1, a2, a3
    state[2, 0], state[2, 1], state[2, 2], state[2, 3] = f0, f1, f2, f3


@inlined
def _take(word: Any, first: Any, table: Any, quads: Any, q: Any) -> Any:
    """Take quad q from the low bits of ``word``: its entry."""
    entry = np.uint64(table[first | (word & _MASK)])
    quads[q] = np.uint8(entry >> np.uint64(6))
    return entry


@inlined
def _word(data: Any, position: Any) -> Any:
    return load64(data, np.int64(position >> np.uint64(3))) >> (position & np.uint64(7))


@kernel
def take_quads(
    data: Any, positions: Any, codes: Any, coded: Any, groups: int, table: Any, quads: Any
) -> None:
    """The inverse of `put_quads`: quads of blocks that are not coded are left as they are.

    ``positions`` int64[4 or more] are bit positions in ``data`` and are moved on. The caller
    guarantees ``groups * MAX_LENGTH + 64`` bits of ``data`` after each, which bounds every load
    whatever the bits are. ``codes`` are times ``1 << MAX_LENGTH``.
    """
    p0, p1 = np.uint64(positions[0]), np.uint64(positions[1])
    p2, p3 = np.uint64(positions[2]), np.uint64(positions[3])
    one, two, three = np.uint64(1), np.uint64(2), np.uint64(3)
    for b in range((groups + BLOCK - 1) // BLOCK):
        if coded[b] == 0:
            continue
        w0, w1, w2, w3 = _word(data, p0), _word(data, p1), _word(data, p2), _word(data, p3)
        s0, s1, s2, s3 = np.uint64(0), np.uint64(0), np.uint64(0), np.uint64(0)
        for i in range(b * BLOCK, min((b + 1) * BLOCK, groups)):
            g = np.uint64(i)
            first = np.uint64(codes[g])
            q = g << two
            entry = _take(w0, first, table, quads, q)
            w0 >>= entry & _USED
            s0 += entry
            entry = _take(w1, first, table, quads, q + one)
            w1 >>= entry & _USED
            s1 += entry
            entry = _take(w2, first, table, quads, q + two)
            w2 >>= entry & _USED
            s2 += entry
            entry = _take(w3, first, table, quads, q + three)
            w3 >>= entry & _USED
            s3 += entry
        # Lengths are 40 together at the most: their sum stays in the lowest six bits.
        p0 += s0 & _USED
        p1 += s1 & _USED
        p2 += s2 & _USED
        p3 += s3 & _USED
    positions[0], positions[1], positions[2], positions[3] = p0, p1, p2, p3


@kernel
def put_escapes(z: Any, k: Any, marks: Any, out: Any, state: Any) -> None:
    """Write the escapes of a row's residuals ``z``, those that bits of ``marks`` stand for.

    ``marks`` uint16[groups], a multiple of `BLOCK` of them, has bit i of mark g for residual
    ``16 * g + i``; ``k`` int64[groups]; ``state`` uint64[3] as `put_quads` has it for one stream.
    """
    position, acc, filled = state[0], state[1], state[2]
    one = np.uint64(1)
    for first in range(0, marks.size, BLOCK):
        left = load64(marks, first)
        while left:
            lane = trailing_zeros(left)
            left &= left - one
            low = np.uint64(k[np.uint64(first) + (lane >> np.uint64(4))])
            e = (np.uint64(z[np.uint64(GROUP * first) + lane]) >> low) - np.uint64(2)
            n = highest_bit(e)
            rest = e & ((one << n) - one)
            acc |= ((one | (rest << one)) << n) << filled
            filled += n + n + one
            position, acc, filled = _flush(out, position, acc, filled)
    state[0], state[1], state[2] = position, acc, filled


@kernel
def take_escapes(
    data: Any, position: int, limit: int, z: Any, k: Any, marks: Any, sums: Any
) -> int:
    """Add a row's escapes onto its residuals and their groups' ``sums`` (int32[groups]).

    The position after them, -1 beyond ``limit``. ``data`` must go on for ``MAX_ESCAPE_BITS + 64``
    bits after ``limit``.
    """
    at = np.uint64(position)
    one = np.uint64(1)
    for first in range(0, marks.size, BLOCK):
        left = load64(marks, first)
        while left:
            if np.int64(at) > limit:
                return -1
            lane = trailing_zeros(left)
            left &= left - one
            g = np.uint64(first) + (lane >> np.uint64(4))
            word = _word(data, at)
            n = trailing_zeros(word | np.uint64(1 << 16))
            rest = (word >> (n + one)) & ((one << n) - one)
            more = ((one << n) + rest - one) << np.uint64(k[g])
            x = np.uint64(GROUP * first) + lane
            cut = np.uint64(z[x])
            whole = (cut + more) & np.uint64(0xFFFF)
            z[x] = np.uint16(whole)
            sums[g] = np.int32(np.int64(sums[g]) + np.int64(whole) - np.int64(cut))
            at += n + n + one
    return np.int64(at)
