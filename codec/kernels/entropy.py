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
from codec.kernels.memory import load64, lookup16, store64
from codec.kernels.packing import PAD
from codec.kernels.streams import (
    FILLED,
    GROUP,
    LANES,
    LENGTH_AT,
    POSITION,
    WAITING,
    append_fields,
)

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
_NARROW = (64 - 7) // 3 - MAX_LENGTH
"""Bits of planes whose codes fit three in a word that begins at any bit of a byte."""
_LOW32 = np.uint64(0xFFFFFFFF)
_LARGE = np.uint64(0xFFFF - ((1 << DIRECT_BITS) - 1)) * np.uint64(0x0001000100010001)
"""The bits that are set in none of four residuals that `direct_table` knows."""
assert LANES == STREAMS


@kernel
def _limited_lengths(counts: Any, order: Any, n: int, lengths: Any) -> None:
    """The cheapest ``lengths`` of at most `MAX_LENGTH` bits of symbols ``order[:n]``, rarest first.

    Package-merge (Larmore and Hirschberg 1990): each level's list has all symbols, and pairs of
    the list before, by weight; ``symbols[level, i]`` counts the symbols in its first ``i + 1``.
    """
    symbols = np.empty((MAX_LENGTH, 2 * SYMBOLS), np.int64)
    before = np.empty(2 * SYMBOLS, np.int64)
    merged = np.empty(2 * SYMBOLS, np.int64)
    pairs = 0
    for level in range(MAX_LENGTH):
        single = 0
        pair = 0
        for i in range(n + pairs):
            both = before[2 * pair] + before[2 * pair + 1] if pair < pairs else np.int64(0)
            if single < n and (pair >= pairs or counts[order[single]] <= both):
                merged[i] = counts[order[single]]
                single += 1
            else:
                merged[i] = both
                pair += 1
            symbols[level, i] = single
        before[: n + pairs] = merged[: n + pairs]
        pairs = (n + pairs) // 2
    for i in range(n):
        lengths[order[i]] = 0
    wanted = 2 * n - 2
    for level in range(MAX_LENGTH - 1, -1, -1):
        if wanted == 0:
            break
        single = symbols[level, wanted - 1]
        for i in range(single):
            lengths[order[i]] += 1
        wanted = 2 * (wanted - single)


@kernel
def code_lengths(counts: Any, lengths: Any) -> None:
    """Lengths (uint8, 0 = no code) of a prefix code of at most `MAX_LENGTH` bits.

    ``counts`` is int64[SYMBOLS]; symbols with count 0 get no code. Huffman's algorithm with two
    queues, and `_limited_lengths` where codes come out too long.
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
    deepest = np.int64(0)
    for i in range(root - 1, -1, -1):
        weight[i] = weight[parent[i]] + 1
        if i < n:
            lengths[order[i]] = min(weight[i], MAX_LENGTH)
            deepest = max(deepest, weight[i])
    if deepest > MAX_LENGTH:
        _limited_lengths(counts, order, n, lengths)


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

    An entry is ``code and low bits | length << LENGTH_AT``, ready to be written.
    """
    for c in range(CONTEXTS):
        shift = np.int64(k[c])
        for z in range(1 << min(bits, DIRECT_BITS)):
            symbol = min(z >> shift, ESCAPE)
            entry = np.int64(table[c * SYMBOLS + symbol])
            length = (entry >> 16) & 0xFF
            low = entry >> 24
            field = (entry & 0xFFFF) | ((z & ((1 << low) - 1)) << length)
            direct[(c << DIRECT_BITS) + z] = field | ((length + low) << LENGTH_AT)


@inlined
def _coded_entry(z: Any, c: Any, k: Any, table: Any) -> Any:
    """What is written for one residual, as in `direct_table`."""
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
    return np.uint32(field | ((length + low) << np.uint64(LENGTH_AT)))


@kernel
def _code_columns(
    z: Any, context: Any, start: int, stop: int, k: Any, table: Any, entries: Any, at: int
) -> None:
    """``entries[at:]`` of columns ``start .. stop - 1``, whatever their residuals."""
    for i in range(stop - start):
        x = np.uint64(start + i)
        entries[np.uint64(at + i)] = _coded_entry(z[np.uint64(PAD) + x], context[x], k, table)


@kernel
def code_row(
    z: Any, context: Any, coded: Any, k: Any, table: Any, direct: Any, entries: Any, width: int
) -> int:
    """What is written for one row: ``entries``, of coded blocks alone, and how many they are.

    Entries are those of `codec.kernels.streams.append_fields`, and followed by as many of no
    bits as make up a multiple of its group; ``entries`` (uint32) has room for ``width + GROUP``.
    """
    eight = np.uint64(BLOCK)
    n = np.uint64(0)
    whole = width // BLOCK
    for b in range(whole):
        if coded[b] == 0:
            continue
        x = b * BLOCK
        joined = load64(z, PAD + x) | load64(z, PAD + x + BLOCK // 2)
        if joined & _LARGE == 0:
            first = np.uint64(x)
            for i in range(BLOCK):
                at = first + np.uint64(i)
                place = np.uint64(np.uint16(context[at])) | np.uint64(z[np.uint64(PAD) + at])
                entries[n + np.uint64(i)] = direct[place]
        else:
            _code_columns(z, context, x, x + BLOCK, k, table, entries, np.int64(n))
        n += eight
    if whole < coded.size and coded[whole]:
        _code_columns(z, context, whole * BLOCK, width, k, table, entries, np.int64(n))
        n += np.uint64(width - whole * BLOCK)
    while n % np.uint64(GROUP):
        entries[n] = 0
        n += np.uint64(1)
    return np.int64(n)


@kernel
def begin_streams(out: Any, state: Any) -> None:
    """``state`` (uint64[STATE_ROWS, STREAMS]) of empty streams in ``out`` (uint8[STREAMS, n])."""
    for s in range(STREAMS):
        state[POSITION, s] = s * out.shape[1]
        state[WAITING, s] = 0
        state[FILLED, s] = 0


@kernel
def emit_row(
    z: Any,
    context: Any,
    coded: Any,
    k: Any,
    table: Any,
    direct: Any,
    entries: Any,
    out: Any,
    state: Any,
    width: int,
) -> None:
    """Write one row of a plane's residuals into its four streams.

    ``z`` uint16[PAD + width + PAD], ``context`` int16[width] times ``1 << DIRECT_BITS``, ``coded``
    uint8[blocks] (0: the block of `BLOCK` columns is all zero and not written), ``table`` and
    ``direct`` from `encoding_table` and `direct_table`, ``entries`` uint32[width + GROUP] scratch.
    ``out`` uint8[STREAMS, capacity] where capacity is at least
    ``rows * (width // STREAMS + 1) * MAX_SAMPLE_BITS / 8 + 16``; ``state`` from `begin_streams`.
    """
    count = code_row(z, context, coded, k, table, direct, entries, width)
    append_fields(entries, count, out, state)


@kernel
def finish_streams(out: Any, state: Any, ends: Any) -> None:
    """Write the bits that wait; ``ends`` (int64[STREAMS]) gets each stream's length in bytes."""
    for s in range(STREAMS):
        position = np.int64(state[POSITION, s]) - s * out.shape[1]
        store64(out[s], position, state[WAITING, s])
        ends[s] = position + np.int64((state[FILLED, s] + np.uint64(7)) >> np.uint64(3))


@inlined
def _take(word: Any, table: Any, found: Any, taken: Any, x: Any) -> Any:
    """Find the code of column x in the low bits of ``word``; the bits it takes."""
    entry = lookup16(table, np.uint64(np.uint16(found[x])), word & _CODE_MASK)
    found[x] = entry
    taken[x] = np.uint32(word & _LOW32)
    return np.uint64(entry) & _USED


@inlined
def _take2(data: Any, position: Any, table: Any, found: Any, taken: Any, x: Any) -> Any:
    """Take columns x and x + 4 from one word; the position in bits after them."""
    word = load64(data, np.int64(position >> np.uint64(3))) >> (position & np.uint64(7))
    first = _take(word, table, found, taken, x)
    second = _take(word >> first, table, found, taken, x + np.uint64(STREAMS))
    return position + first + second


@inlined
def _take3(data: Any, position: Any, table: Any, found: Any, taken: Any, x: Any) -> Any:
    """Take columns x, x + 4 and x + 8 from one word, of a plane of `_NARROW` bits at most."""
    word = load64(data, np.int64(position >> np.uint64(3))) >> (position & np.uint64(7))
    first = _take(word, table, found, taken, x)
    word >>= first
    second = _take(word, table, found, taken, x + np.uint64(STREAMS))
    third = _take(word >> second, table, found, taken, x + np.uint64(2 * STREAMS))
    return position + first + second + third


@inlined
def _take1(data: Any, position: Any, table: Any, found: Any, taken: Any, x: Any) -> Any:
    """Take column x; the position in bits after it."""
    word = load64(data, np.int64(position >> np.uint64(3))) >> (position & np.uint64(7))
    return position + _take(word, table, found, taken, x)


@kernel
def take_row(
    data: Any,
    positions: Any,
    table: Any,
    found: Any,
    coded: Any,
    taken: Any,
    bits: int,
    width: int,
) -> None:
    """Find one row's codes in a plane's four streams.

    ``found`` (int16[width]) holds each column's context times ``1 << MAX_LENGTH``, and gets its
    entry of the table, 0 in blocks that are not coded; ``taken`` (uint32[width]) gets the bits
    its code begins with; `split_row` makes residuals of them.

    ``positions`` int64[STREAMS] are bit positions in ``data`` and are moved on. The caller
    guarantees that each has at least ``(width // STREAMS + 1) * MAX_SAMPLE_BITS + 64`` bits of
    ``data`` after it, which bounds every load whatever the bits are.
    """
    # Unsigned indices spare numba's test for negative ones. One array for contexts and entries
    # leaves a register for each stream.
    p0 = np.uint64(positions[0])
    p1 = np.uint64(positions[1])
    p2 = np.uint64(positions[2])
    p3 = np.uint64(positions[3])
    one = np.uint64(1)
    two = np.uint64(2)
    three = np.uint64(3)
    narrow = bits <= _NARROW
    blocks = (width + BLOCK - 1) // BLOCK
    b = 0
    while b < blocks:
        x = np.uint64(b * BLOCK)
        is_coded = coded[b]
        while b < blocks and coded[b] == is_coded:
            b += 1
        stop = np.uint64(min(b * BLOCK, width))
        if is_coded == 0:
            while x < stop:
                found[x] = 0
                x += one
            continue
        while narrow and x + np.uint64(3 * STREAMS) <= stop:
            p0 = _take3(data, p0, table, found, taken, x)
            p1 = _take3(data, p1, table, found, taken, x + one)
            p2 = _take3(data, p2, table, found, taken, x + two)
            p3 = _take3(data, p3, table, found, taken, x + three)
            x += np.uint64(3 * STREAMS)
        while x + np.uint64(2 * STREAMS) <= stop:
            p0 = _take2(data, p0, table, found, taken, x)
            p1 = _take2(data, p1, table, found, taken, x + one)
            p2 = _take2(data, p2, table, found, taken, x + two)
            p3 = _take2(data, p3, table, found, taken, x + three)
            x += np.uint64(2 * STREAMS)
        while x < stop:
            s = x & three
            if s == np.uint64(0):
                p0 = _take1(data, p0, table, found, taken, x)
            elif s == one:
                p1 = _take1(data, p1, table, found, taken, x)
            elif s == two:
                p2 = _take1(data, p2, table, found, taken, x)
            else:
                p3 = _take1(data, p3, table, found, taken, x)
            x += one
    positions[0] = p0
    positions[1] = p1
    positions[2] = p2
    positions[3] = p3


@kernel
def split_row(found: Any, taken: Any, bits: int, z: Any, width: int) -> None:
    """Folded residuals ``z`` (uint16[PAD + width + PAD]) of what `take_row` found."""
    limit = np.uint32((1 << bits) - 1)
    ones = np.uint32(0xFFFFFFFF)
    for x in range(width):
        entry = np.uint32(np.uint16(found[x]))
        used = np.uint32(entry & np.uint32(31))
        symbol = np.uint32(np.uint32(entry >> np.uint32(6)) & np.uint32(31))
        raw = np.uint32(taken[x] & np.uint32(ones ^ np.uint32(ones << used)))
        value = np.uint32(np.uint32(symbol << used) | raw)
        length = np.uint32(np.uint32(entry >> np.uint32(11)) & np.uint32(31))
        z[PAD + x] = np.uint32(np.uint32(value >> length) & limit)
