"""Deflate blocks (RFC 1951, section 3.2), their codes chosen as zlib chooses them.

The format leaves open which of three kinds a block is, how long each code is where several choices
are equally good, and how code lengths are told. This module makes zlib's choices, bit for bit;
docs/format/redo-v1.md spells them out.

A symbol is uint32: ``byte``, or ``distance << 16 | length - 3`` with ``distance`` > 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.jit import inlined, kernel
from codec.kernels.memory import store64

LITERALS = 286
DISTANCES = 30
LENGTH_CODES = 19
END = 256
MAX_BITS = 15
MAX_LENGTH_BITS = 7
FULL = -1
DIFFERENT = -2

_NODES = 2 * LITERALS + 1
_ROOM = 2 * LITERALS + 8
_ORDER = np.array([16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15], np.int64)


def _length_tables() -> tuple[Any, Any, Any]:
    """Code of each length - 3; extra bits and first length - 3 of each code."""
    extra = np.array([0] * 8 + [n for n in range(1, 6) for _ in range(4)] + [0], np.int64)
    base = np.zeros(29, np.int64)
    base[1:28] = np.cumsum(1 << extra[:27])
    code = np.repeat(np.arange(28, dtype=np.uint8), 1 << extra[:28])
    base[28] = 255
    code[255] = 28
    return code, extra, base


def _distance_tables() -> tuple[Any, Any, Any]:
    """Code of each distance - 1 (below 256, then of each 128th); extra bits, first distance - 1."""
    extra = np.array([0, 0] + [n for n in range(14) for _ in range(2)], np.int64)
    base = np.zeros(30, np.int64)
    base[1:] = np.cumsum(1 << extra[:29])
    every = np.repeat(np.arange(30, dtype=np.uint8), 1 << extra)
    return np.concatenate((every[:256], every[::128])), extra, base


_LENGTH_CODE, _LENGTH_EXTRA, _LENGTH_BASE = _length_tables()
_DISTANCE_CODE, _DISTANCE_EXTRA, _DISTANCE_BASE = _distance_tables()
_LITERAL_EXTRA = np.concatenate((np.zeros(257, np.int64), _LENGTH_EXTRA))
_CODE_EXTRA = np.array([0] * 16 + [2, 3, 7], np.int64)
_FIXED_LITERAL = np.array([8] * 144 + [9] * 112 + [7] * 24 + [8] * 8, np.int64)
_FIXED_DISTANCE = np.full(30, 5, np.int64)
_NO_FIXED = np.zeros(19, np.int64)


@inlined
def length_code(length: Any) -> Any:
    """Place among the literals' codes of a match's ``length`` - 3 (uint64)."""
    return np.uint64(_LENGTH_CODE[length]) + np.uint64(257)


@inlined
def distance_code(distance: Any) -> Any:
    """Code of a match's ``distance`` - 1 (uint64)."""
    if distance < np.uint64(256):
        return np.uint64(_DISTANCE_CODE[distance])
    return np.uint64(_DISTANCE_CODE[np.uint64(256) + (distance >> np.uint64(7))])


@inlined
def _before(counts: Any, depth: Any, a: Any, b: Any) -> Any:
    """Whether node ``a`` leaves the heap no later than ``b``: rarer, or as rare and no deeper."""
    return counts[a] < counts[b] or (counts[a] == counts[b] and depth[a] <= depth[b])


@kernel
def _sift(heap: Any, size: int, place: int, counts: Any, depth: Any) -> None:
    """Let the node at ``place`` sink to where it belongs in ``heap[1 : size + 1]``."""
    node = heap[place]
    child = 2 * place
    while child <= size:
        if child < size and _before(counts, depth, heap[child + 1], heap[child]):
            child += 1
        if _before(counts, depth, node, heap[child]):
            break
        heap[place] = heap[child]
        place = child
        child *= 2
    heap[place] = node


@kernel
def _limit_lengths(
    sorted_nodes: Any, first: int, symbols: int, most: int, over: int, at: Any, lengths: Any
) -> None:
    """Shorten codes that are too long: ``over`` nodes had been cut to ``most`` bits.

    ``at[n]`` is how many symbols have n bits. One symbol of the longest shorter length moves down a
    level for every two that were cut; lengths are then given out anew, the longest to the rarest.
    """
    while over > 0:
        bits = most - 1
        while at[bits] == 0:
            bits -= 1
        at[bits] -= 1
        at[bits + 1] += 2
        at[most] -= 1
        over -= 2
    place = _NODES
    for bits in range(most, 0, -1):
        left = at[bits]
        while left > 0 and place > first:
            place -= 1
            node = sorted_nodes[place]
            if node < symbols:
                lengths[node] = bits
                left -= 1


@kernel
def _code_lengths(counts: Any, symbols: int, most: int, lengths: Any) -> int:
    """Huffman code lengths as zlib gives them; the last symbol that has a code.

    ``counts`` and ``lengths`` have room for `_NODES` nodes. At least two symbols get a code:
    where fewer occur, symbols from the first ones fill the tree up (and cost nothing).
    """
    heap = np.empty(_NODES + 1, np.int64)
    parent = np.empty(_NODES, np.int64)
    depth = np.zeros(_NODES, np.int64)
    size = 0
    last = -1
    for s in range(symbols):
        lengths[s] = 0
        if counts[s] > 0:
            size += 1
            heap[size] = s
            last = s
    occurring = size
    while size < 2:
        filler = 0
        if last < 2:
            last += 1
            filler = last
        size += 1
        heap[size] = filler
        counts[filler] = 1
    fillers = heap[occurring + 1 : size + 1].copy()
    for place in range(size // 2, 0, -1):
        _sift(heap, size, place, counts, depth)
    made = symbols
    first = _NODES
    nodes = np.empty(_NODES, np.int64)
    while size >= 2:
        a = heap[1]
        heap[1] = heap[size]
        size -= 1
        _sift(heap, size, 1, counts, depth)
        b = heap[1]
        nodes[first - 1] = a
        nodes[first - 2] = b
        first -= 2
        counts[made] = counts[a] + counts[b]
        depth[made] = max(depth[a], depth[b]) + 1
        parent[a] = made
        parent[b] = made
        heap[1] = made
        made += 1
        _sift(heap, size, 1, counts, depth)
    first -= 1
    nodes[first] = heap[1]
    lengths[heap[1]] = 0
    at = np.zeros(MAX_BITS + 1, np.int64)
    over = 0
    for place in range(first + 1, _NODES):
        node = nodes[place]
        bits = lengths[parent[node]] + 1
        if bits > most:
            bits = most
            over += 1
        lengths[node] = bits
        if node < symbols:
            at[bits] += 1
    if over > 0:
        _limit_lengths(nodes, first, symbols, most, over, at, lengths)
    for filler in fillers:
        counts[filler] = 0
    return last


@kernel
def _canonical(lengths: Any, symbols: int, codes: Any) -> None:
    """Codes (RFC 1951, 3.2.2) bit-reversed for writing, with their length from bit 16 on."""
    at = np.zeros(MAX_BITS + 2, np.int64)
    for s in range(symbols):
        at[lengths[s]] += 1
    following = np.zeros(MAX_BITS + 2, np.int64)
    code = 0
    at[0] = 0
    for bits in range(1, MAX_BITS + 1):
        code = (code + at[bits - 1]) << 1
        following[bits] = code
    for s in range(symbols):
        bits = lengths[s]
        if bits == 0:
            codes[s] = 0
            continue
        value = following[bits]
        following[bits] += 1
        reverse = 0
        for _ in range(bits):
            reverse = (reverse << 1) | (value & 1)
            value >>= 1
        codes[s] = np.uint32(reverse | (bits << 16))


@kernel
def _cost(counts: Any, lengths: Any, extra: Any, symbols: int) -> int:
    """Bits that all symbols take, those after codes included."""
    total = np.int64(0)
    for s in range(symbols):
        total += counts[s] * (lengths[s] + extra[s])
    return total


@kernel
def _describe(lengths: Any, last: int, told: Any, extra: Any, n: int) -> int:
    """How zlib tells code lengths 0 to ``last``: symbols and what follows them; their number."""
    before = -1
    s = 0
    while s <= last:
        value = lengths[s]
        most = 138 if value == 0 else (6 if value == before else 7)
        least = 3 if value == 0 or value == before else 4
        run = 1
        while run < most and s + run <= last and lengths[s + run] == value:
            run += 1
        s += run
        if run < least:
            for _ in range(run):
                told[n] = value
                extra[n] = 0
                n += 1
        elif value != 0:
            if value != before:
                told[n] = value
                extra[n] = 0
                n += 1
                run -= 1
            told[n] = 16
            extra[n] = run - 3
            n += 1
        elif run <= 10:
            told[n] = 17
            extra[n] = run - 3
            n += 1
        else:
            told[n] = 18
            extra[n] = run - 11
            n += 1
        before = value
    return n


@kernel
def _put(out: Any, at: Any, bits: Any, value: Any, count: Any) -> Any:
    """Append ``count`` <= 56 bits; ``bits`` is what is not written yet and how much that is."""
    word = bits[0] | (np.uint64(value) << bits[1])
    total = bits[1] + np.uint64(count)
    store64(out, at, word)
    bits[0] = word >> (total & np.uint64(~np.uint64(7)))
    bits[1] = total & np.uint64(7)
    return at + np.int64(total >> np.uint64(3))


@kernel
def _put_symbols(
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
            place = np.uint64(_LENGTH_CODE[value])
            code = np.uint64(literal[place + np.uint64(257)])
            word |= (code & np.uint64(0xFFFF)) << count
            count += code >> np.uint64(16)
            word |= (value - np.uint64(_LENGTH_BASE[place])) << count
            count += np.uint64(_LENGTH_EXTRA[place])
            far -= np.uint64(1)
            place = distance_code(far)
            code = np.uint64(distance[place])
            word |= (code & np.uint64(0xFFFF)) << count
            count += code >> np.uint64(16)
            word |= (far - np.uint64(_DISTANCE_BASE[place])) << count
            count += np.uint64(_DISTANCE_EXTRA[place])
        store64(out, at, word)
        at += np.int64(count >> np.uint64(3))
        word >>= count & np.uint64(~np.uint64(7))
        count &= np.uint64(7)
    bits[0] = word
    bits[1] = count
    code = np.uint64(literal[END])
    return _put(out, at, bits, code & np.uint64(0xFFFF), code >> np.uint64(16))


@kernel
def _put_trees(
    last_literal: int,
    last_distance: int,
    told: Any,
    extra: Any,
    n: int,
    code_lengths: Any,
    last_code: int,
    out: Any,
    start: int,
    bits: Any,
) -> Any:
    """Append the description of a dynamic block's codes."""
    at = _put(out, start, bits, last_literal - 256, 5)
    at = _put(out, at, bits, last_distance, 5)
    at = _put(out, at, bits, last_code - 3, 4)
    for i in range(last_code + 1):
        at = _put(out, at, bits, code_lengths[_ORDER[i]], 3)
    codes = np.empty(LENGTH_CODES, np.uint32)
    _canonical(code_lengths, LENGTH_CODES, codes)
    for i in range(n):
        code = codes[told[i]]
        at = _put(out, at, bits, code & np.uint32(0xFFFF), code >> np.uint32(16))
        if told[i] >= 16:
            at = _put(out, at, bits, extra[i], _CODE_EXTRA[told[i]])
    return at


@kernel
def _put_stored(
    data: Any, start: int, stop: int, last: bool, out: Any, place: int, bits: Any
) -> Any:
    """Append ``data[start:stop]`` as it is."""
    at = _put(out, place, bits, 1 if last else 0, 3)
    if bits[1] > np.uint64(0):
        at = _put(out, at, bits, 0, np.uint64(8) - bits[1])
    size = stop - start
    at = _put(out, at, bits, size | ((size ^ 0xFFFF) << 16), 32)
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
    literal_lengths = np.zeros(_NODES, np.int64)
    distance_lengths = np.zeros(_NODES, np.int64)
    code_counts = np.zeros(_NODES, np.int64)
    code_lengths = np.zeros(_NODES, np.int64)
    told = np.empty(_ROOM, np.int64)
    extra = np.empty(_ROOM, np.int64)
    literal_counts[END] = 1
    fixed = _cost(literal_counts, _FIXED_LITERAL, _LITERAL_EXTRA, LITERALS)
    fixed += _cost(distance_counts, _FIXED_DISTANCE, _DISTANCE_EXTRA, DISTANCES)
    last_literal = _code_lengths(literal_counts, LITERALS, MAX_BITS, literal_lengths)
    last_distance = _code_lengths(distance_counts, DISTANCES, MAX_BITS, distance_lengths)
    used = _cost(literal_counts, literal_lengths, _LITERAL_EXTRA, LITERALS)
    used += _cost(distance_counts, distance_lengths, _DISTANCE_EXTRA, DISTANCES)
    tells = _describe(literal_lengths, last_literal, told, extra, 0)
    tells = _describe(distance_lengths, last_distance, told, extra, tells)
    for i in range(tells):
        code_counts[told[i]] += 1
    _code_lengths(code_counts, LENGTH_CODES, MAX_LENGTH_BITS, code_lengths)
    last_code = LENGTH_CODES - 1
    while last_code > 3 and code_lengths[_ORDER[last_code]] == 0:
        last_code -= 1
    used += _cost(code_counts, code_lengths, _CODE_EXTRA, LENGTH_CODES)
    used += 3 * (last_code + 1) + 14
    literal_counts[:] = 0
    distance_counts[:] = 0
    fixed_bytes = (fixed + 10) >> 3
    best = min(fixed_bytes, (used + 10) >> 3)
    size = stop - start
    if storable and size + 4 <= best and size <= 0xFFFF:
        if place + ((np.int64(bits[1]) + 10) >> 3) + 4 + size > capacity:
            return FULL
        return _put_stored(data, start, stop, last, out, place, bits)
    need = fixed if fixed_bytes == best else used
    if place + ((np.int64(bits[1]) + 10 + need) >> 3) > capacity:
        return FULL
    literal = np.zeros(288, np.uint32)
    distance = np.zeros(DISTANCES, np.uint32)
    if fixed_bytes == best:
        _canonical(_FIXED_LITERAL, 288, literal)
        _canonical(_FIXED_DISTANCE, DISTANCES, distance)
        at = _put(out, place, bits, 3 if last else 2, 3)
    else:
        _canonical(literal_lengths, LITERALS, literal)
        _canonical(distance_lengths, DISTANCES, distance)
        at = _put(out, place, bits, 5 if last else 4, 3)
        at = _put_trees(
            last_literal,
            last_distance,
            told,
            extra,
            tells,
            code_lengths,
            last_code,
            out,
            at,
            bits,
        )
    return _put_symbols(symbols, n, literal, distance, out, at, bits)
