"""The codes of Deflate (RFC 1951, section 3.2), and those that zlib chooses.

The format leaves open how long each code is where several choices are equally good, and how code
lengths are told. zlib's choices are made here, bit for bit; docs/format/redo-v1.md spells them out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.jit import inlined, kernel

# Typed, because a plain integer that is an argument would have the callee compiled once more.
LITERALS = np.int64(286)
DISTANCES = np.int64(30)
LENGTH_CODES = np.int64(19)
FIXED_LITERALS = np.int64(288)
END = 256
MAX_BITS = np.int64(15)
MAX_LENGTH_BITS = np.int64(7)

NODES = 2 * LITERALS + 1
ROOM = 2 * LITERALS + 8

_FIRST = np.int64(1)
ORDER = np.array([16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15], np.int64)


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


LENGTH_CODE, LENGTH_EXTRA, LENGTH_BASE = _length_tables()
_DISTANCE_CODE, DISTANCE_EXTRA, DISTANCE_BASE = _distance_tables()
LITERAL_EXTRA = np.concatenate((np.zeros(257, np.int64), LENGTH_EXTRA))
CODE_EXTRA = np.array([0] * 16 + [2, 3, 7], np.int64)
FIXED_LITERAL = np.array([8] * 144 + [9] * 112 + [7] * 24 + [8] * 8, np.int64)
FIXED_DISTANCE = np.full(30, 5, np.int64)


@inlined
def length_code(length: Any) -> Any:
    """Place among the literals' codes of a match's ``length`` - 3 (uint64)."""
    return np.uint64(LENGTH_CODE[length]) + np.uint64(257)


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
    place = NODES
    for bits in range(most, 0, -1):
        left = at[bits]
        while left > 0 and place > first:
            place -= 1
            node = sorted_nodes[place]
            if node < symbols:
                lengths[node] = bits
                left -= 1


@kernel
def huffman_lengths(counts: Any, symbols: int, most: int, lengths: Any) -> int:
    """Huffman code lengths as zlib gives them; the last symbol that has a code.

    ``counts`` and ``lengths`` have room for `NODES` nodes. At least two symbols get a code:
    where fewer occur, symbols from the first ones fill the tree up (and cost nothing).
    """
    heap = np.empty(NODES + 1, np.int64)
    parent = np.empty(NODES, np.int64)
    depth = np.zeros(NODES, np.int64)
    size = np.int64(0)
    last = np.int64(-1)
    for s in range(symbols):
        lengths[s] = 0
        if counts[s] > 0:
            size += 1
            heap[size] = s
            last = s
    fillers = 2 - size
    first_filler = np.int64(0)
    second_filler = np.int64(0)
    while size < 2:
        filler = np.int64(0)
        if last < 2:
            last += 1
            filler = last
        size += 1
        heap[size] = filler
        counts[filler] = 1
        first_filler = second_filler
        second_filler = filler
    for place in range(size // 2, 0, -1):
        _sift(heap, size, place, counts, depth)
    made = symbols
    first = NODES
    nodes = np.empty(NODES, np.int64)
    while size >= 2:
        a = heap[1]
        heap[1] = heap[size]
        size -= 1
        _sift(heap, size, _FIRST, counts, depth)
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
        _sift(heap, size, _FIRST, counts, depth)
    first -= 1
    nodes[first] = heap[1]
    lengths[heap[1]] = 0
    at = np.zeros(MAX_BITS + 1, np.int64)
    over = np.int64(0)
    for place in range(first + 1, NODES):
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
    if fillers > 0:
        counts[second_filler] = 0
    if fillers > 1:
        counts[first_filler] = 0
    return last


@kernel
def canonical(lengths: Any, symbols: int, codes: Any) -> None:
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
def cost(counts: Any, lengths: Any, extra: Any, symbols: int) -> int:
    """Bits that all symbols take, those after codes included."""
    total = np.int64(0)
    for s in range(symbols):
        total += counts[s] * (lengths[s] + extra[s])
    return total


@kernel
def describe_lengths(lengths: Any, last: int, told: Any, extra: Any, n: int) -> int:
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
