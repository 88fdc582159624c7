"""Prefix codes with raw low bits, one code a context, four streams a plane.

A folded residual z in context c is a symbol ``h = z >> k[c]`` in a canonical prefix code of at
most `MAX_LENGTH` bits, then the low ``k[c]`` bits of z. Symbols from `ESCAPE` on are all written
as `ESCAPE` followed by z in ``bits`` bits. Codes are written from their most significant bit on,
everything else from the least; bits fill bytes from the low end. Column x of a row goes to
stream ``x % STREAMS``.

A table entry for decoding, indexed by context and the next `MAX_LENGTH` bits, is uint16:
``length + k | symbol << 6 | length << 11`` (for an escape k is ``bits``). An entry for encoding,
indexed by context and symbol, is uint32: ``code | length << 16 | k << 24``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.context import CONTEXTS
from codec.kernels.jit import inlined, kernel
from codec.kernels.memory import load64, store64
from codec.kernels.packing import PAD

MAX_LENGTH = 9
SYMBOLS = 32
ESCAPE = SYMBOLS - 1
STREAMS = 4
BLOCK = 8
DIRECT_BITS = 8
MAX_SAMPLE_BITS = MAX_LENGTH + 16
_TO_SYMBOL = np.uint64(3)
assert SYMBOLS << 3 == 1 << DIRECT_BITS
_CODE_MASK = np.uint64((1 << MAX_LENGTH) - 1)
_USED = np.uint64(63)
_LOW32 = np.uint64(0xFFFFFFFF)


@kernel
def code_lengths(counts: Any, lengths: Any) -> None:
    """Lengths (uint8, 0 = no code) of a prefix code of at most `MAX_LENGTH` bits.

    ``counts`` is int64[SYMBOLS]; symbols with count 0 get no code. Huffman's algorithm with two
    queues; codes that are too deep are cut to `MAX_LENGTH`, and the likeliest of the longest
    codes that are shorter are lengthened until all fit.
    """
    order = np.empty(SYMBOLS, np.int64)
    n = 0
    for s in range(SYMBOLS - 1, -1, -1):
        lengths[s] = 0
        if counts[s] > 0:
            j = n - 1
            while j >= 0 and counts[order[j]] > counts[s]:
                order[j + 1] = order[j]
                j -= 1
            order[j + 1] = s
            n += 1
    if n == 0:
        return
    if n == 1:
        lengths[order[0]] = 1
        return
    weight = np.empty(2 * SYMBOLS, np.int64)
    parent = np.empty(2 * SYMBOLS, np.int64)
    for i in range(n):
        weight[i] = counts[order[i]]
    leaf = 0
    node = n
    for made in range(n, 2 * n - 1):
        total = np.int64(0)
        for _ in range(2):
            if leaf < n and (node >= made or weight[leaf] <= weight[node]):
                pick = leaf
                leaf += 1
            else:
                pick = node
                node += 1
            total += weight[pick]
            parent[pick] = made
        weight[made] = total
    root = 2 * n - 2
    weight[root] = 0
    of_length = np.zeros(MAX_LENGTH + 1, np.int64)
    for i in range(root - 1, -1, -1):
        weight[i] = weight[parent[i]] + 1
        if i < n:
            of_length[min(weight[i], MAX_LENGTH)] += 1
    excess = -(1 << MAX_LENGTH)
    for length in range(1, MAX_LENGTH + 1):
        excess += of_length[length] << (MAX_LENGTH - length)
    while excess > 0:
        # One of the longest codes takes the place beside a shorter one, which grows by a bit.
        length = MAX_LENGTH - 1
        while of_length[length] == 0:
            length -= 1
        of_length[MAX_LENGTH] -= 1
        of_length[length] -= 1
        of_length[length + 1] += 2
        excess -= 1
    i = 0
    for length in range(MAX_LENGTH, 0, -1):
        for _ in range(of_length[length]):
            lengths[order[i]] = length
            i += 1


@kernel
def all_code_lengths(counts: Any, lengths: Any) -> None:
    """`code_lengths` of each context."""
    for c in range(CONTEXTS):
        code_lengths(counts[c], lengths[c])


@kernel
def canonical_codes(lengths: Any, codes: Any) -> int:
    """Codes (uint32, bit-reversed for writing) of ``lengths``.

    The Kraft sum, times ``1 << MAX_LENGTH``.
    """
    code = 0
    kraft = 0
    for length in range(1, MAX_LENGTH + 1):
        code <<= 1
        for s in range(SYMBOLS):
            if lengths[s] == length:
                reverse = 0
                for i in range(length):
                    reverse |= ((code >> i) & 1) << (length - 1 - i)
                codes[s] = reverse
                code += 1
                kraft += 1 << (MAX_LENGTH - length)
    return kraft


@kernel
def decoding_table(lengths: Any, k: Any, bits: int, table: Any) -> bool:
    """Fill ``table`` (uint16[CONTEXTS << MAX_LENGTH]); False if a code over-fills its tree."""
    codes = np.empty(SYMBOLS, np.uint32)
    table[:] = 0
    for c in range(CONTEXTS):
        if canonical_codes(lengths[c], codes) > 1 << MAX_LENGTH:
            return False
        first = c << MAX_LENGTH
        for s in range(SYMBOLS):
            length = np.int64(lengths[c, s])
            if length == 0:
                continue
            low = bits if s == ESCAPE else np.int64(k[c])
            entry = np.uint16((length + low) | (s << 6) | (length << 11))
            for i in range(np.int64(codes[s]), 1 << MAX_LENGTH, 1 << length):
                table[first + i] = entry
    return True


@kernel
def encoding_table(lengths: Any, k: Any, bits: int, table: Any) -> None:
    """Fill ``table`` (uint32[CONTEXTS * SYMBOLS]); symbols without a code are escapes."""
    codes = np.empty(SYMBOLS, np.uint32)
    for c in range(CONTEXTS):
        codes[:] = 0
        canonical_codes(lengths[c], codes)
        for symbol in range(SYMBOLS):
            s = symbol if lengths[c, symbol] else ESCAPE
            low = bits if s == ESCAPE else np.int64(k[c])
            table[c * SYMBOLS + symbol] = (
                np.int64(codes[s]) | (np.int64(lengths[c, s]) << 16) | (low << 24)
            )


@kernel
def direct_table(table: Any, k: Any, bits: int, direct: Any) -> None:
    """Whole codes of small residuals: ``direct`` (uint32[CONTEXTS << DIRECT_BITS]).

    An entry is ``code and low bits | length << 27``, ready to be written.
    """
    for c in range(CONTEXTS):
        shift = np.int64(k[c])
        for z in range(1 << min(bits, DIRECT_BITS)):
            symbol = min(z >> shift, ESCAPE)
            entry = np.int64(table[c * SYMBOLS + symbol])
            length = (entry >> 16) & 0xFF
            low = entry >> 24
            field = (entry & 0xFFFF) | ((z & ((1 << low) - 1)) << length)
            direct[(c << DIRECT_BITS) + z] = field | ((length + low) << 27)


@inlined
def _put_direct(z: Any, c: Any, direct: Any, acc: Any, filled: Any) -> Any:
    """``acc`` and ``filled`` after one more residual below ``1 << DIRECT_BITS``."""
    entry = np.uint64(direct[np.uint64(np.uint16(c)) | np.uint64(z)])
    field = entry & np.uint64(0x7FFFFFF)
    return acc | (field << filled), filled + (entry >> np.uint64(27))


@inlined
def _put(z: Any, c: Any, k: Any, table: Any, acc: Any, filled: Any) -> Any:
    """``acc`` and ``filled`` after one more residual."""
    value = np.uint64(z)
    of = np.uint64(np.uint16(c))
    symbol = value >> np.uint64(k[of >> np.uint64(DIRECT_BITS)])
    if symbol > np.uint64(ESCAPE):
        symbol = np.uint64(ESCAPE)
    entry = np.uint64(table[(of >> _TO_SYMBOL) + symbol])
    length = (entry >> np.uint64(16)) & np.uint64(0xFF)
    low = entry >> np.uint64(24)
    code = entry & np.uint64(0xFFFF)
    field = code | ((value & ((np.uint64(1) << low) - np.uint64(1))) << length)
    return acc | (field << filled), filled + length + low


@inlined
def _flush(out: Any, position: Any, acc: Any, filled: Any) -> Any:
    """Write whole bytes of ``acc``; what remains is less than a byte."""
    store64(out, position, acc)
    whole = filled >> np.uint64(3)
    shifted = acc >> (whole << np.uint64(3))
    return position + np.int64(whole), shifted, filled & np.uint64(7)


@kernel
def emit_row(
    z: Any,
    context: Any,
    coded: Any,
    k: Any,
    table: Any,
    direct: Any,
    out: Any,
    state: Any,
    filled: Any,
    width: int,
) -> None:
    """Write one row of a plane's residuals into its four streams.

    ``z`` uint16[PAD + width + PAD], ``context`` int16[width] times ``1 << DIRECT_BITS``, ``coded``
    uint8[blocks] (0: the block of `BLOCK` columns is all zero and not written), ``table`` and
    ``direct`` from `encoding_table` and `direct_table`. ``out`` uint8[STREAMS, capacity] where
    capacity is at least ``rows * (width // STREAMS + 1) * MAX_SAMPLE_BITS / 8 + 16``. ``state``
    uint64[2, STREAMS] holds each stream's position in bytes and the bits that wait, ``filled``
    uint64[STREAMS] how many those are.
    """
    o0 = out[0]
    o1 = out[1]
    o2 = out[2]
    o3 = out[3]
    p0 = np.int64(state[0, 0])
    p1 = np.int64(state[0, 1])
    p2 = np.int64(state[0, 2])
    p3 = np.int64(state[0, 3])
    a0 = state[1, 0]
    a1 = state[1, 1]
    a2 = state[1, 2]
    a3 = state[1, 3]
    f0 = filled[0]
    f1 = filled[1]
    f2 = filled[2]
    f3 = filled[3]
    zr = z[PAD : PAD + width]
    one = np.uint64(1)
    two = np.uint64(2)
    three = np.uint64(3)
    four = np.uint64(4)
    five = np.uint64(5)
    six = np.uint64(6)
    seven = np.uint64(7)
    small = np.uint16(1 << DIRECT_BITS)
    b = 0
    while b < coded.size:
        start = b * BLOCK
        is_coded = coded[b]
        while b < coded.size and coded[b] == is_coded:
            b += 1
        if is_coded == 0:
            continue
        stop = min(b * BLOCK, width)
        pairs = (stop - start) >> 3
        x = np.uint64(start)
        for _ in range(pairs):
            joined = np.uint16(zr[x] | zr[x + one] | zr[x + two] | zr[x + three])
            joined |= np.uint16(zr[x + four] | zr[x + five] | zr[x + six] | zr[x + seven])
            if joined < small:
                a0, f0 = _put_direct(zr[x], context[x], direct, a0, f0)
                a1, f1 = _put_direct(zr[x + one], context[x + one], direct, a1, f1)
                a2, f2 = _put_direct(zr[x + two], context[x + two], direct, a2, f2)
                a3, f3 = _put_direct(zr[x + three], context[x + three], direct, a3, f3)
                a0, f0 = _put_direct(zr[x + four], context[x + four], direct, a0, f0)
                a1, f1 = _put_direct(zr[x + five], context[x + five], direct, a1, f1)
                a2, f2 = _put_direct(zr[x + six], context[x + six], direct, a2, f2)
                a3, f3 = _put_direct(zr[x + seven], context[x + seven], direct, a3, f3)
            else:
                a0, f0 = _put(zr[x], context[x], k, table, a0, f0)
                a1, f1 = _put(zr[x + one], context[x + one], k, table, a1, f1)
                a2, f2 = _put(zr[x + two], context[x + two], k, table, a2, f2)
                a3, f3 = _put(zr[x + three], context[x + three], k, table, a3, f3)
                a0, f0 = _put(zr[x + four], context[x + four], k, table, a0, f0)
                a1, f1 = _put(zr[x + five], context[x + five], k, table, a1, f1)
                a2, f2 = _put(zr[x + six], context[x + six], k, table, a2, f2)
                a3, f3 = _put(zr[x + seven], context[x + seven], k, table, a3, f3)
            p0, a0, f0 = _flush(o0, p0, a0, f0)
            p1, a1, f1 = _flush(o1, p1, a1, f1)
            p2, a2, f2 = _flush(o2, p2, a2, f2)
            p3, a3, f3 = _flush(o3, p3, a3, f3)
            x += np.uint64(8)
        while x < np.uint64(stop):
            s = x & three
            if s == np.uint64(0):
                a0, f0 = _put(zr[x], context[x], k, table, a0, f0)
                p0, a0, f0 = _flush(o0, p0, a0, f0)
            elif s == one:
                a1, f1 = _put(zr[x], context[x], k, table, a1, f1)
                p1, a1, f1 = _flush(o1, p1, a1, f1)
            elif s == two:
                a2, f2 = _put(zr[x], context[x], k, table, a2, f2)
                p2, a2, f2 = _flush(o2, p2, a2, f2)
            else:
                a3, f3 = _put(zr[x], context[x], k, table, a3, f3)
                p3, a3, f3 = _flush(o3, p3, a3, f3)
            x += one
    state[0, 0] = p0
    state[0, 1] = p1
    state[0, 2] = p2
    state[0, 3] = p3
    state[1, 0] = a0
    state[1, 1] = a1
    state[1, 2] = a2
    state[1, 3] = a3
    filled[0] = f0
    filled[1] = f1
    filled[2] = f2
    filled[3] = f3


@kernel
def finish_streams(out: Any, state: Any, filled: Any, ends: Any) -> None:
    """Write the bits that wait; ``ends`` (int64[STREAMS]) gets each stream's length in bytes."""
    for s in range(STREAMS):
        position = np.int64(state[0, s])
        store64(out[s], position, state[1, s])
        ends[s] = position + np.int64((filled[s] + np.uint64(7)) >> np.uint64(3))


@inlined
def _take(word: Any, table: Any, context: Any, entries: Any, taken: Any, x: Any) -> Any:
    """Find the code of column x in the low bits of ``word``; the table's entry."""
    entry = table[np.uint64(np.uint16(context[x])) | (word & _CODE_MASK)]
    entries[x] = entry
    taken[x] = np.uint32(word & _LOW32)
    return np.uint64(entry) & _USED


@inlined
def _take2(
    data: Any, position: Any, table: Any, context: Any, entries: Any, taken: Any, x: Any
) -> Any:
    """Take columns x and x + 4 from one word; the position in bits after them."""
    word = load64(data, np.int64(position >> np.uint64(3))) >> (position & np.uint64(7))
    first = _take(word, table, context, entries, taken, x)
    second = _take(word >> first, table, context, entries, taken, x + np.uint64(STREAMS))
    return position + first + second


@inlined
def _take1(
    data: Any, position: Any, table: Any, context: Any, entries: Any, taken: Any, x: Any
) -> Any:
    """Take column x; the position in bits after it."""
    word = load64(data, np.int64(position >> np.uint64(3))) >> (position & np.uint64(7))
    return position + _take(word, table, context, entries, taken, x)


@kernel
def take_row(
    data: Any,
    positions: Any,
    table: Any,
    context: Any,
    coded: Any,
    entries: Any,
    taken: Any,
    width: int,
) -> None:
    """Find one row's codes in a plane's four streams.

    ``context`` is int16[width] times ``1 << MAX_LENGTH``. ``entries`` (uint16[width]) gets each
    column's entry of the table, 0 in blocks that are not coded, and ``taken`` (uint32[width])
    the bits its code begins with; `split_row` makes residuals of them.

    ``positions`` int64[STREAMS] are bit positions in ``data`` and are moved on. The caller
    guarantees that each has at least ``(width // STREAMS + 1) * MAX_SAMPLE_BITS + 64`` bits of
    ``data`` after it, which bounds every load whatever the bits are.
    """
    # Unsigned indices spare numba's test for negative ones.
    p0 = np.uint64(positions[0])
    p1 = np.uint64(positions[1])
    p2 = np.uint64(positions[2])
    p3 = np.uint64(positions[3])
    one = np.uint64(1)
    two = np.uint64(2)
    three = np.uint64(3)
    blocks = (width + BLOCK - 1) // BLOCK
    b = 0
    while b < blocks:
        start = b * BLOCK
        is_coded = coded[b]
        while b < blocks and coded[b] == is_coded:
            b += 1
        stop = min(b * BLOCK, width)
        if is_coded == 0:
            for i in range(start, stop):
                entries[i] = 0
            continue
        pairs = (stop - start) >> 3
        x = np.uint64(start)
        for _ in range(pairs):
            p0 = _take2(data, p0, table, context, entries, taken, x)
            p1 = _take2(data, p1, table, context, entries, taken, x + one)
            p2 = _take2(data, p2, table, context, entries, taken, x + two)
            p3 = _take2(data, p3, table, context, entries, taken, x + three)
            x += np.uint64(2 * STREAMS)
        while x < np.uint64(stop):
            s = x & three
            if s == np.uint64(0):
                p0 = _take1(data, p0, table, context, entries, taken, x)
            elif s == one:
                p1 = _take1(data, p1, table, context, entries, taken, x)
            elif s == two:
                p2 = _take1(data, p2, table, context, entries, taken, x)
            else:
                p3 = _take1(data, p3, table, context, entries, taken, x)
            x += one
    positions[0] = p0
    positions[1] = p1
    positions[2] = p2
    positions[3] = p3


@kernel
def split_row(entries: Any, taken: Any, bits: int, z: Any, width: int) -> None:
    """Folded residuals ``z`` (uint16[PAD + width + PAD]) of what `take_row` found."""
    limit = np.uint32((1 << bits) - 1)
    ones = np.uint32(0xFFFFFFFF)
    for x in range(width):
        entry = np.uint32(entries[x])
        used = np.uint32(entry & np.uint32(31))
        symbol = np.uint32(np.uint32(entry >> np.uint32(6)) & np.uint32(31))
        raw = np.uint32(taken[x] & np.uint32(ones ^ np.uint32(ones << used)))
        value = np.uint32(np.uint32(symbol << used) | raw)
        length = np.uint32(np.uint32(entry >> np.uint32(11)) & np.uint32(31))
        z[PAD + x] = np.uint32(np.uint32(value >> length) & limit)
