"""Deflate blocks (RFC 1951, section 3.2), their kinds chosen as zlib chooses them.

The format leaves open which of three kinds a block is; docs/format/redo-v1.md says what zlib does.

A symbol is uint32: ``byte``, or ``distance << 16 | length - 3`` with ``distance`` > 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.deflate_codes import (
    CODE_EXTRA,
    DISTANCE_BASE,
    DISTANCE_EXTRA,
    DISTANCES,
    END,
    FIXED_DISTANCE,
    FIXED_LITERAL,
    FIXED_LITERALS,
    LENGTH_BASE,
    LENGTH_CODE,
    LENGTH_CODES,
    LENGTH_EXTRA,
    LITERAL_EXTRA,
    LITERALS,
    MAX_BITS,
    MAX_LENGTH_BITS,
    NODES,
    ORDER,
    ROOM,
    canonical,
    cost,
    describe_lengths,
    distance_code,
    huffman_lengths,
)
from codec.kernels.jit import inlined, kernel
from codec.kernels.memory import store64

FULL = -1
DIFFERENT = -2


@kernel
def _put_word(out: Any, at: Any, bits: Any, value: Any, count: Any) -> Any:
    """Append ``count`` <= 56 bits; ``bits`` is what is not written yet and how much that is."""
    word = bits[0] | (value << bits[1])
    total = bits[1] + count
    store64(out, at, word)
    bits[0] = word >> (total & np.uint64(~np.uint64(7)))
    bits[1] = total & np.uint64(7)
    return at + np.int64(total >> np.uint64(3))


@inlined
def put(out: Any, at: Any, bits: Any, value: Any, count: Any) -> Any:
    return _put_word(out, at, bits, np.uint64(value), np.uint64(count))


@kernel
def put_symbols(
    symbols: Any, n: int, literal: Any, distance: Any, out: Any, start: int, bits: Any
) -> Any:
    """Append all symbols and the end of the block in the given codes."""
    word = bits[0]
    count = bits[1]
    at = np.int64(start)
    for i in range(np.uint64(n)):
        symbol = np.uint64(symbols[i])
        far = symbol >> np.uint64(16)
        value = symbol & np.uint64(0xFFFF)
        if far == np.uint64(0):
            code = np.uint64(literal[value])
            word |= (code & np.uint64(0xFFFF)) << count
            count += code >> np.uint64(16)
        else:
            place = np.uint64(LENGTH_CODE[value])
            code = np.uint64(literal[place + np.uint64(257)])
            word |= (code & np.uint64(0xFFFF)) << count
            count += code >> np.uint64(16)
            word |= (value - np.uint64(LENGTH_BASE[place])) << count
            count += np.uint64(LENGTH_EXTRA[place])
            far -= np.uint64(1)
            place = distance_code(far)
            code = np.uint64(distance[place])
            word |= (code & np.uint64(0xFFFF)) << count
            count += code >> np.uint64(16)
            word |= (far - np.uint64(DISTANCE_BASE[place])) << count
            count += np.uint64(DISTANCE_EXTRA[place])
        store64(out, at, word)
        at += np.int64(count >> np.uint64(3))
        word >>= count & np.uint64(~np.uint64(7))
        count &= np.uint64(7)
    bits[0] = word
    bits[1] = count
    code = np.uint64(literal[END])
    return put(out, at, bits, code & np.uint64(0xFFFF), code >> np.uint64(16))


@kernel
def put_fixed(symbols: Any, n: int, last: bool, out: Any, start: int, bits: Any) -> Any:
    """Append a block in the codes that need no description; the position after it."""
    literal = np.zeros(FIXED_LITERALS, np.uint32)
    distance = np.zeros(DISTANCES, np.uint32)
    canonical(FIXED_LITERAL, FIXED_LITERALS, literal)
    canonical(FIXED_DISTANCE, DISTANCES, distance)
    at = put(out, start, bits, 3 if last else 2, 3)
    return put_symbols(symbols, n, literal, distance, out, at, bits)


@kernel
def put_dynamic(
    symbols: Any,
    n: int,
    lengths: Any,
    tail: Any,
    told: Any,
    extra: Any,
    tells: int,
    last: bool,
    out: Any,
    start: int,
    bits: Any,
) -> Any:
    """Append a block with its codes described; the position after it.

    ``lengths`` are of the codes of literals, of distances, and of those that describe the other
    two; ``tail`` the last place of each that is told. ``told[:tells]`` and ``extra`` are the
    description.
    """
    literal_lengths, distance_lengths, code_lengths = lengths
    last_literal, last_distance, last_code = tail
    at = put(out, start, bits, 5 if last else 4, 3)
    at = put(out, at, bits, last_literal - 256, 5)
    at = put(out, at, bits, last_distance, 5)
    at = put(out, at, bits, last_code - 3, 4)
    for i in range(last_code + 1):
        at = put(out, at, bits, code_lengths[ORDER[i]], 3)
    codes = np.empty(LENGTH_CODES, np.uint32)
    canonical(code_lengths, LENGTH_CODES, codes)
    for i in range(tells):
        code = codes[told[i]]
        at = put(out, at, bits, code & np.uint32(0xFFFF), code >> np.uint32(16))
        if told[i] >= 16:
            at = put(out, at, bits, extra[i], CODE_EXTRA[told[i]])
    literal = np.zeros(LITERALS, np.uint32)
    distance = np.zeros(DISTANCES, np.uint32)
    canonical(literal_lengths, LITERALS, literal)
    canonical(distance_lengths, DISTANCES, distance)
    return put_symbols(symbols, n, literal, distance, out, at, bits)


@kernel
def put_stored(
    data: Any, start: int, stop: int, last: bool, out: Any, place: int, bits: Any
) -> Any:
    """Append ``data[start:stop]`` as it is."""
    at = put(out, place, bits, 1 if last else 0, 3)
    if bits[1] > np.uint64(0):
        at = put(out, at, bits, 0, np.uint64(8) - bits[1])
    size = stop - start
    at = put(out, at, bits, size | ((size ^ 0xFFFF) << 16), 32)
    for i in range(size):
        out[at + i] = data[start + i]
    return at + size


@kernel
def put_block(
    symbols: Any,
    n: int,
    literal_counts: Any,
    distance_counts: Any,
    data: Any,
    start: int,
    stop: int,
    storable: bool,
    last: bool,
    out: Any,
    place: int,
    capacity: int,
    bits: Any,
) -> Any:
    """Append the block of ``symbols[:n]``, which say ``data[start:stop]``; the position after it.

    The counts (int64, room for every node of a tree) are of the symbols without the end of the
    block, and are zeroed. FULL where more than ``capacity`` bytes of ``out`` would be needed;
    ``out`` has 16 bytes more. ``storable``: whether the writer still has the bytes themselves.
    """
    literal_lengths = np.zeros(NODES, np.int64)
    distance_lengths = np.zeros(NODES, np.int64)
    code_counts = np.zeros(NODES, np.int64)
    code_lengths = np.zeros(NODES, np.int64)
    told = np.empty(ROOM, np.int64)
    extra = np.empty(ROOM, np.int64)
    literal_counts[END] = 1
    fixed = cost(literal_counts, FIXED_LITERAL, LITERAL_EXTRA, LITERALS)
    fixed += cost(distance_counts, FIXED_DISTANCE, DISTANCE_EXTRA, DISTANCES)
    last_literal = huffman_lengths(literal_counts, LITERALS, MAX_BITS, literal_lengths)
    last_distance = huffman_lengths(distance_counts, DISTANCES, MAX_BITS, distance_lengths)
    used = cost(literal_counts, literal_lengths, LITERAL_EXTRA, LITERALS)
    used += cost(distance_counts, distance_lengths, DISTANCE_EXTRA, DISTANCES)
    tells = describe_lengths(literal_lengths, last_literal, told, extra, np.int64(0))
    tells = describe_lengths(distance_lengths, last_distance, told, extra, tells)
    for i in range(tells):
        code_counts[told[i]] += 1
    huffman_lengths(code_counts, LENGTH_CODES, MAX_LENGTH_BITS, code_lengths)
    last_code = LENGTH_CODES - 1
    while last_code > 3 and code_lengths[ORDER[last_code]] == 0:
        last_code -= 1
    used += cost(code_counts, code_lengths, CODE_EXTRA, LENGTH_CODES)
    used += 3 * (last_code + 1) + 14
    literal_counts[:] = 0
    distance_counts[:] = 0
    fixed_bytes = (fixed + 10) >> 3
    best = min(fixed_bytes, (used + 10) >> 3)
    size = stop - start
    if storable and size + 4 <= best and size <= 0xFFFF:
        if place + ((np.int64(bits[1]) + 10) >> 3) + 4 + size > capacity:
            return FULL
        return put_stored(data, start, stop, last, out, place, bits)
    need = fixed if fixed_bytes == best else used
    if place + ((np.int64(bits[1]) + 10 + need) >> 3) > capacity:
        return FULL
    if fixed_bytes == best:
        return put_fixed(symbols, n, last, out, place, bits)
    lengths = (literal_lengths, distance_lengths, code_lengths)
    tail = (last_literal, last_distance, last_code)
    return put_dynamic(symbols, n, lengths, tail, told, extra, tells, last, out, place, bits)
