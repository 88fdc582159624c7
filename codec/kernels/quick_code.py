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

from codec.kernels.bits import count_bits, highest_bit, lowest_bit, trailing_zeros
from codec.kernels.jit import inlined, kernel
from codec.kernels.memory import load64, lookup16, store64
from codec.kernels.quick_lanes import GROUP, QUAD_SHIFT, QUADS

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
PLACES_SLACK = 8
"""Room that places of escapes want after the last: so many are written at once."""
_WORD = 57
"""Bits that a word holds which is loaded at a byte, and shifted down to a bit of that."""
_SHORT = 256
"""Escapes below this have their codes in a table."""
_MASK = np.uint64((1 << MAX_LENGTH) - 1)
_USED = np.uint64(63)


def _high_parts(symbol: int) -> list[int]:
    return [(symbol >> 2 * i) & 3 for i in range(QUADS)]


def code_lengths(code: str) -> Any:
    """Lengths (int64[SYMBOLS]) of the codes of all quads."""
    kinds = [tuple(sorted(_high_parts(s), reverse=True)) for s in range(SYMBOLS)]
    digits = dict(zip(sorted(set(kinds)), code, strict=True))
    return np.array([int(digits[kind], 16) for kind in kinds])


def _entry(code: int, length: int) -> int:
    """What a table for encoding holds of a code: its bits at the top, its length at the bottom."""
    return code << (64 - length) | length


def _tables() -> tuple[Any, Any]:
    """Tables of all codes for encoding and for decoding.

    For encoding, indexed by code and quad: entries (uint64). For decoding, indexed by code and the
    next `MAX_LENGTH` bits: ``length | quad << QUAD_SHIFT`` (uint16). Shifts take their count from
    the lowest six bits, so that the length has not to be masked there.
    """
    encoding = np.zeros((len(CODES), SYMBOLS), np.uint64)
    decoding = np.zeros((len(CODES), 1 << MAX_LENGTH), np.uint16)
    for number, digits in enumerate(CODES):
        lengths = code_lengths(digits)
        code = 0
        for length in range(1, MAX_LENGTH + 1):
            code <<= 1
            for s in np.flatnonzero(lengths == length).tolist():
                written = int(f"{code:0{length}b}"[::-1], 2)
                encoding[number, s] = _entry(written, length)
                decoding[number, written :: 1 << length] = length | s << QUAD_SHIFT
                code += 1
    return encoding.reshape(-1), decoding.reshape(-1)


def _escape_entries() -> Any:
    """Entries (uint64) of the codes of escapes below `_SHORT`."""
    entries = np.zeros(_SHORT, np.uint64)
    for e in range(1, _SHORT):
        n = e.bit_length() - 1
        entries[e] = _entry((1 | (e ^ 1 << n) << 1) << n, 2 * n + 1)
    return entries


ENCODING, DECODING = _tables()
_ESCAPES = _escape_entries()


@inlined
def _append(entry: Any, acc: Any, filled: Any) -> Any:
    """``acc`` and ``filled`` after one more code.

    The bits that wait are the upper ones of ``acc``, the last at the top. Below them are bits that
    have been written, and lengths, which came in at the bottom and go out there: they never get
    among the upper 58 bits. ``filled`` counts the bits that wait in its lowest six.
    """
    return (acc >> (entry & _USED)) | entry, filled + entry


@inlined
def _flush(out: Any, position: Any, acc: Any, filled: Any) -> Any:
    """Write the bits that wait, 58 at the most; position and what of them is less than a byte."""
    count = filled & _USED
    store64(out, np.int64(position), acc >> ((np.uint64(0) - count) & _USED))
    return position + (count >> np.uint64(3)), count & np.uint64(7)


@inlined
def _put_group(
    quads: Any,
    codes: Any,
    table: Any,
    i: Any,
    a0: Any,
    a1: Any,
    a2: Any,
    a3: Any,
    f0: Any,
    f1: Any,
    f2: Any,
    f3: Any,
) -> Any:
    """The four streams' ``acc`` and ``filled`` after the quads of group i."""
    g = np.uint64(i)
    first = np.uint64(codes[g])
    q = g << np.uint64(2)
    a0, f0 = _append(table[first | np.uint64(quads[q])], a0, f0)
    a1, f1 = _append(table[first | np.uint64(quads[q + np.uint64(1)])], a1, f1)
    a2, f2 = _append(table[first | np.uint64(quads[q + np.uint64(2)])], a2, f2)
    a3, f3 = _append(table[first | np.uint64(quads[q + np.uint64(3)])], a3, f3)
    return a0, a1, a2, a3, f0, f1, f2, f3


@kernel
def put_quads(
    quads: Any, codes: Any, coded: Any, groups: int, table: Any, out: Any, state: Any
) -> None:
    """Write a row's quads (uint8[4 * groups]) into four streams.

    ``codes`` int64[groups] are the groups' codes, times `SYMBOLS`; ``coded`` (uint8) is 0 for
    blocks that are not written. ``out`` uint8[4, capacity] has room for `MAX_LENGTH` bits a quad
    and 16 bytes; ``state`` uint64[3, 4] holds each stream's position in bytes, the bits that wait
    (see `_append`), and how many.
    """
    o0, o1, o2, o3 = out[0], out[1], out[2], out[3]
    p0, p1, p2, p3 = state[0, 0], state[0, 1], state[0, 2], state[0, 3]
    a0, a1, a2, a3 = state[1, 0], state[1, 1], state[1, 2], state[1, 3]
    f0, f1, f2, f3 = state[2, 0], state[2, 1], state[2, 2], state[2, 3]
    for b in range((groups + BLOCK - 1) // BLOCK):
        if coded[b] == 0:
            continue
        g = b * BLOCK
        last = groups - g
        a0, a1, a2, a3, f0, f1, f2, f3 = _put_group(
            quads, codes, table, g, a0, a1, a2, a3, f0, f1, f2, f3
        )
        # Written out, for all but the last block has them all: the compiler would make it a loop.
        if last > 1:
            a0, a1, a2, a3, f0, f1, f2, f3 = _put_group(
                quads, codes, table, g + 1, a0, a1, a2, a3, f0, f1, f2, f3
            )
        if last > 2:
            a0, a1, a2, a3, f0, f1, f2, f3 = _put_group(
                quads, codes, table, g + 2, a0, a1, a2, a3, f0, f1, f2, f3
            )
        if last > 3:
            a0, a1, a2, a3, f0, f1, f2, f3 = _put_group(
                quads, codes, table, g + 3, a0, a1, a2, a3, f0, f1, f2, f3
            )
        p0, f0 = _flush(o0, p0, a0, f0)
        p1, f1 = _flush(o1, p1, a1, f1)
        p2, f2 = _flush(o2, p2, a2, f2)
        p3, f3 = _flush(o3, p3, a3, f3)
    state[0, 0], state[0, 1], state[0, 2], state[0, 3] = p0, p1, p2, p3
    state[1, 0], state[1, 1], state[1, 2], state[1, 3] = a0, a1, a2, a3
    state[2, 0], state[2, 1], state[2, 2], state[2, 3] = f0, f1, f2, f3


@inlined
def _take(word: Any, first: Any, table: Any, entries: Any, q: Any) -> Any:
    """Take quad q from the low bits of ``word``: its entry."""
    entry = lookup16(table, first, word & _MASK)
    entries[q] = entry
    return np.uint64(entry)


@inlined
def _take_group(
    entries: Any,
    codes: Any,
    table: Any,
    i: Any,
    w0: Any,
    w1: Any,
    w2: Any,
    w3: Any,
    s0: Any,
    s1: Any,
    s2: Any,
    s3: Any,
) -> Any:
    """The four streams' words and sums of entries after the quads of group i."""
    g = np.uint64(i)
    first = np.uint64(codes[g])
    q = g << np.uint64(2)
    e0 = _take(w0, first, table, entries, q)
    e1 = _take(w1, first, table, entries, q + np.uint64(1))
    e2 = _take(w2, first, table, entries, q + np.uint64(2))
    e3 = _take(w3, first, table, entries, q + np.uint64(3))
    w0, w1, w2, w3 = w0 >> (e0 & _USED), w1 >> (e1 & _USED), w2 >> (e2 & _USED), w3 >> (e3 & _USED)
    return w0, w1, w2, w3, s0 + e0, s1 + e1, s2 + e2, s3 + e3


@inlined
def _word(data: Any, position: Any) -> Any:
    return load64(data, np.int64(position >> np.uint64(3))) >> (position & np.uint64(7))


@kernel
def take_quads(
    data: Any, positions: Any, codes: Any, coded: Any, groups: int, table: Any, entries: Any
) -> None:
    """The inverse of `put_quads`: entries of ``table`` (uint16[4 * groups]) that hold the quads.

    Those of blocks that are not coded are left as they are. ``positions`` int64[4 or more] are bit
    positions in ``data`` and are moved on. The caller guarantees ``groups * MAX_LENGTH + 64`` bits
    of ``data`` after each, which bounds every load whatever the bits are. ``codes`` are times
    ``1 << MAX_LENGTH``.
    """
    p0, p1 = np.uint64(positions[0]), np.uint64(positions[1])
    p2, p3 = np.uint64(positions[2]), np.uint64(positions[3])
    none = np.uint64(0)
    for b in range((groups + BLOCK - 1) // BLOCK):
        if coded[b] == 0:
            continue
        g = b * BLOCK
        last = groups - g
        w0, w1, w2, w3 = _word(data, p0), _word(data, p1), _word(data, p2), _word(data, p3)
        w0, w1, w2, w3, s0, s1, s2, s3 = _take_group(
            entries, codes, table, g, w0, w1, w2, w3, none, none, none, none
        )
        if last > 1:
            w0, w1, w2, w3, s0, s1, s2, s3 = _take_group(
                entries, codes, table, g + 1, w0, w1, w2, w3, s0, s1, s2, s3
            )
        if last > 2:
            w0, w1, w2, w3, s0, s1, s2, s3 = _take_group(
                entries, codes, table, g + 2, w0, w1, w2, w3, s0, s1, s2, s3
            )
        if last > 3:
            w0, w1, w2, w3, s0, s1, s2, s3 = _take_group(
                entries, codes, table, g + 3, w0, w1, w2, w3, s0, s1, s2, s3
            )
        # Lengths are 40 together at the most: their sum stays in the lowest six bits.
        p0 += s0 & _USED
        p1 += s1 & _USED
        p2 += s2 & _USED
        p3 += s3 & _USED
    positions[0], positions[1], positions[2], positions[3] = p0, p1, p2, p3


@inlined
def _four_places(left: Any, base: Any, places: Any, at: Any) -> Any:
    """Note where the four lowest bits of ``left`` are; those that it has after them."""
    for i in range(4):
        places[at + np.uint64(i)] = base + lowest_bit(left)
        left &= left - np.uint64(1)
    return left


@kernel
def escape_places(marks: Any, places: Any) -> int:
    """Columns (uint32) of a row's escapes, those that bits of ``marks`` stand for; how many.

    ``places`` has room for all there may be and `PLACES_SLACK` more: eight are written whether
    there are as many or not, since a loop that ends after one, or two, or three of them is one
    that the processor cannot foretell.
    """
    count = np.uint64(0)
    for first in range(0, marks.size, BLOCK):
        left = load64(marks, first)
        base = np.uint64(GROUP * first)
        at = count
        count += count_bits(left)
        left = _four_places(left, base, places, at)
        left = _four_places(left, base, places, at + np.uint64(4))
        while left:
            at += np.uint64(8)
            left = _four_places(left, base, places, at)
            left = _four_places(left, base, places, at + np.uint64(4))
    return np.int64(count)


@inlined
def _escape(z: Any, k: Any, place: Any) -> Any:
    """How much more than 2 a high part is."""
    x = np.uint64(place)
    return (np.uint64(z[x]) >> np.uint64(k[x >> np.uint64(4)])) - np.uint64(2)


@inlined
def _put_long(out: Any, e: Any, position: Any, acc: Any, filled: Any) -> Any:
    """``position``, ``acc`` and ``filled`` after an escape of any size."""
    one = np.uint64(1)
    n = highest_bit(e)
    length = n + n + one
    code = (one | (e ^ one << n) << one) << n
    acc, filled = _append(code << (np.uint64(64) - length) | length, acc, filled)
    position, filled = _flush(out, position, acc, filled)
    return position, acc, filled


@kernel
def put_escapes(z: Any, k: Any, marks: Any, places: Any, out: Any, state: Any) -> None:
    """Write the escapes of a row's residuals ``z``, those that bits of ``marks`` stand for.

    ``marks`` uint16[groups], a multiple of `BLOCK` of them, has bit i of mark g for residual
    ``16 * g + i``; ``k`` int64[groups]; ``places`` is scratch as `escape_places` wants it;
    ``state`` uint64[3] as `put_quads` has it for one stream.
    """
    count = escape_places(marks, places)
    position, acc, filled = state[0], state[1], state[2]
    table = _ESCAPES
    for i in range(0, count - 1, 2):
        e, f = _escape(z, k, places[i]), _escape(z, k, places[i + 1])
        if (e | f) < np.uint64(_SHORT):
            acc, filled = _append(table[e], acc, filled)
            acc, filled = _append(table[f], acc, filled)
            position, filled = _flush(out, position, acc, filled)
        else:
            position, acc, filled = _put_long(out, e, position, acc, filled)
            position, acc, filled = _put_long(out, f, position, acc, filled)
    if count & 1:
        e = _escape(z, k, places[count - 1])
        position, acc, filled = _put_long(out, e, position, acc, filled)
    state[0], state[1], state[2] = position, acc, filled


@inlined
def _take_escape(word: Any) -> Any:
    """How much more than 3 the high part is whose escape begins ``word``; the escape's bits."""
    one = np.uint64(1)
    n = trailing_zeros(word | np.uint64(1 << 16))
    rest = (word >> (n + one)) & ((one << n) - one)
    return (one << n) + rest - one, n + n + one


@inlined
def _add_escape(z: Any, k: Any, sums: Any, place: Any, more: Any) -> None:
    """Add ``more`` to the high part of a residual."""
    x = np.uint64(place)
    g = x >> np.uint64(4)
    cut = np.uint64(z[x])
    whole = (cut + (more << np.uint64(k[g]))) & np.uint64(0xFFFF)
    z[x] = np.uint16(whole)
    sums[g] = np.int32(np.int64(sums[g]) + np.int64(whole) - np.int64(cut))


@kernel
def take_escapes(
    data: Any, position: int, limit: int, z: Any, k: Any, marks: Any, places: Any, sums: Any
) -> int:
    """Add a row's escapes onto its residuals and their groups' ``sums`` (int32[groups]).

    The position after them, -1 where more are wanted beyond ``limit``. ``data`` must go on for
    ``MAX_ESCAPE_BITS + 64`` bits after ``limit``; ``places`` is scratch as `escape_places` wants
    it. Four escapes are found in one word if that holds them, as it nearly always does.
    """
    count = escape_places(marks, places)
    at = np.uint64(position)
    i = np.uint64(0)
    while np.int64(i) < count:
        if np.int64(at) > limit:
            return -1
        word = _word(data, at)
        more0, bits0 = _take_escape(word)
        more1, bits1 = _take_escape(word >> bits0)
        bits1 += bits0
        more2, bits2 = _take_escape(word >> (bits1 & _USED))
        bits2 += bits1
        more3, bits3 = _take_escape(word >> (bits2 & _USED))
        bits3 += bits2
        if np.int64(i) + 4 <= count and bits3 <= np.uint64(_WORD):
            _add_escape(z, k, sums, places[i], more0)
            _add_escape(z, k, sums, places[i + np.uint64(1)], more1)
            _add_escape(z, k, sums, places[i + np.uint64(2)], more2)
            _add_escape(z, k, sums, places[i + np.uint64(3)], more3)
            i += np.uint64(4)
            at += bits3
        else:
            _add_escape(z, k, sums, places[i], more0)
            i += np.uint64(1)
            at += bits0
    return np.int64(at)
