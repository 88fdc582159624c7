"""Deflate blocks (RFC 1951, section 3.2), their codes chosen as libdeflate chooses them.

The counterpart of `codec.kernels.deflate_blocks` for another encoder; docs/format/redo-v1.md spells
the choices out. Symbols are as there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.deflate_blocks import FULL, put_dynamic, put_fixed, put_stored
from codec.kernels.deflate_codes import (
    CODE_EXTRA,
    DISTANCE_EXTRA,
    DISTANCES,
    END,
    FIXED_DISTANCE,
    FIXED_LITERAL,
    LENGTH_CODES,
    LITERAL_EXTRA,
    LITERALS,
    MAX_BITS,
    MAX_LENGTH_BITS,
    NODES,
    ORDER,
    ROOM,
    cost,
)
from codec.kernels.jit import kernel

MAX_LITERAL_BITS = np.int64(14)
_STORED = 65535


@kernel
def _by_count(counts: Any, symbols: int, order: Any) -> int:
    """Fill ``order`` with the symbols that occur, rarest first, then by number; how many."""
    used = 0
    for s in range(symbols):
        if counts[s] > 0:
            order[used] = (counts[s] << 9) | s
            used += 1
    order[:used].sort()
    for i in range(used):
        order[i] &= 511
    return used


@kernel
def _depths(counts: Any, order: Any, used: int, depth: Any) -> None:
    """Depths of the inner nodes of Huffman's tree, in the order they are made; the last is 0.

    Leaves leave first where a leaf and an inner node weigh the same.
    """
    weight = np.empty(used, np.int64)
    parent = np.empty(used, np.int64)
    leaf = 0
    inner = 0
    for made in range(used - 1):
        total = np.int64(0)
        for _ in range(2):
            takes_leaf = leaf < used
            if takes_leaf and inner < made:
                takes_leaf = counts[order[leaf]] <= weight[inner]
            if takes_leaf:
                total += counts[order[leaf]]
                leaf += 1
            else:
                total += weight[inner]
                parent[inner] = made
                inner += 1
        weight[made] = total
    depth[used - 2] = 0
    for node in range(used - 3, -1, -1):
        depth[node] = depth[parent[node]] + 1


@kernel
def _code_lengths(counts: Any, symbols: int, most: int, lengths: Any) -> None:
    """Code lengths of at most ``most`` bits as libdeflate gives them; at least two symbols."""
    order = np.empty(NODES, np.int64)
    depth = np.empty(NODES, np.int64)
    lengths[:symbols] = 0
    used = _by_count(counts, symbols, order)
    if used < 2:
        lengths[0] = 1
        other = order[0] if used == 1 else np.int64(0)
        lengths[max(other, 1)] = 1
        return
    _depths(counts, order, used, depth)
    at = np.zeros(MAX_BITS + 2, np.int64)
    at[1] = 2
    for node in range(used - 3, -1, -1):
        bits = depth[node]
        if bits >= most:
            bits = most - 1
            while at[bits] == 0:
                bits -= 1
        at[bits] -= 1
        at[bits + 1] += 2
    place = 0
    for bits in range(most, 0, -1):
        for _ in range(at[bits]):
            lengths[order[place]] = bits
            place += 1


@kernel
def _describe(lengths: Any, n: int, told: Any, extra: Any) -> int:
    """How libdeflate tells ``lengths[:n]``: symbols and what follows them; their number."""
    tells = 0
    start = 0
    while start < n:
        value = lengths[start]
        run = 1
        while start + run < n and lengths[start + run] == value:
            run += 1
        start += run
        if value == 0:
            while run >= 11:
                part = min(run, 138)
                told[tells] = 18
                extra[tells] = part - 11
                tells += 1
                run -= part
            if run >= 3:
                told[tells] = 17
                extra[tells] = run - 3
                tells += 1
                run = 0
        elif run >= 4:
            told[tells] = value
            extra[tells] = 0
            tells += 1
            run -= 1
            while run >= 3:
                part = min(run, 6)
                told[tells] = 16
                extra[tells] = part - 3
                tells += 1
                run -= part
        for _ in range(run):
            told[tells] = value
            extra[tells] = 0
            tells += 1
    return tells


@kernel
def _put_all_stored(
    data: Any, start: int, stop: int, last: bool, out: Any, place: int, bits: Any
) -> Any:
    """Append ``data[start:stop]`` as it is, in as many blocks as it takes."""
    at = np.int64(place)
    while stop - start > _STORED:
        at = put_stored(data, start, start + _STORED, False, out, at, bits)
        start += _STORED
    return put_stored(data, start, stop, last, out, at, bits)


@kernel
def put_block(
    symbols: Any,
    n: int,
    literal_counts: Any,
    distance_counts: Any,
    data: Any,
    start: int,
    stop: int,
    last: bool,
    out: Any,
    place: int,
    capacity: int,
    bits: Any,
    complete: bool,
) -> Any:
    """Append the block of ``symbols[:n]``, which say ``data[start:stop]``; the position after it.

    The counts (int64[NODES]) are of the symbols without the end of the block, and are zeroed.
    FULL where more than ``capacity`` bytes of ``out`` would be needed; ``out`` has 16 bytes more.
    ``complete``: whether distances have codes even where there are none.
    """
    lengths = np.zeros(NODES, np.int64)
    distance_lengths = np.zeros(NODES, np.int64)
    code_counts = np.zeros(NODES, np.int64)
    code_lengths = np.zeros(NODES, np.int64)
    told = np.empty(ROOM, np.int64)
    extra = np.empty(ROOM, np.int64)
    literal_counts[END] = 1
    fixed = 3 + cost(literal_counts, FIXED_LITERAL, LITERAL_EXTRA, LITERALS)
    fixed += cost(distance_counts, FIXED_DISTANCE, DISTANCE_EXTRA, DISTANCES)
    _code_lengths(literal_counts, LITERALS, MAX_LITERAL_BITS, lengths)
    if complete or distance_counts.sum() > 0:
        _code_lengths(distance_counts, DISTANCES, MAX_BITS, distance_lengths)
    used = 17 + cost(literal_counts, lengths, LITERAL_EXTRA, LITERALS)
    used += cost(distance_counts, distance_lengths, DISTANCE_EXTRA, DISTANCES)
    literals = LITERALS
    while literals > 257 and lengths[literals - 1] == 0:
        literals -= 1
    distances = DISTANCES
    while distances > 1 and distance_lengths[distances - 1] == 0:
        distances -= 1
    together = np.concatenate((lengths[:literals], distance_lengths[:distances]))
    tells = _describe(together, literals + distances, told, extra)
    for i in range(tells):
        code_counts[told[i]] += 1
    _code_lengths(code_counts, LENGTH_CODES, MAX_LENGTH_BITS, code_lengths)
    last_code = LENGTH_CODES - 1
    while last_code > 3 and code_lengths[ORDER[last_code]] == 0:
        last_code -= 1
    used += cost(code_counts, code_lengths, CODE_EXTRA, LENGTH_CODES) + 3 * (last_code + 1)
    literal_counts[:] = 0
    distance_counts[:] = 0
    size = stop - start
    pending = np.int64(bits[1])
    blocks = max((size + _STORED - 1) // _STORED, 1)
    stored = 3 + (-(pending + 3) & 7) + 32 + 40 * (blocks - 1) + 8 * size
    best = min(used, min(fixed, stored))
    if place + ((pending + best + 7) >> 3) > capacity:
        return FULL
    if best == stored:
        return _put_all_stored(data, start, stop, last, out, place, bits)
    if best == fixed:
        return put_fixed(symbols, n, last, out, place, bits)
    all_lengths = (lengths, distance_lengths, code_lengths)
    tail = (literals - 1, distances - 1, last_code)
    return put_dynamic(symbols, n, all_lengths, tail, told, extra, tells, last, out, place, bits)
