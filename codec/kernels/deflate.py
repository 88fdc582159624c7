"""A deflate encoder that makes, bit for bit, what classic zlib (1.2, 1.3) makes.

It cuts data into literals and matches by zlib's hash chains, greedily (levels 1 to 3) or with one
byte of look-ahead (4 to 9). docs/format/redo-v1.md spells out every decision. Positions are those
in the data; zlib's own, which it moves down by half its window now and then, are positions less
``base``. The places where that shows are kept: a position 0 in zlib's window ends a chain.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.bits import trailing_zeros
from codec.kernels.deflate_blocks import DIFFERENT, FULL, put_block
from codec.kernels.deflate_codes import LITERALS, distance_code, length_code
from codec.kernels.jit import inlined, kernel
from codec.kernels.memory import load16, load64

MIN_MATCH = 3
MAX_MATCH = 258
LOOKAHEAD = MAX_MATCH + MIN_MATCH + 1
TOO_FAR = 4096
GREEDY_LEVELS = 3
SPARE = 16
"""Bytes that an output array needs beyond its capacity."""

_TREE_ROOM = 2 * LITERALS + 1
_MIN = np.uint64(MIN_MATCH)
_MAX = np.uint64(MAX_MATCH)
_ONE = np.uint64(1)
_EIGHT = np.uint64(8)

# good, lazy, nice, chain of each level, from 1 on
_LIMITS = np.array(
    [
        [4, 4, 8, 4],
        [4, 5, 16, 8],
        [4, 6, 32, 32],
        [4, 4, 16, 16],
        [8, 16, 32, 32],
        [8, 16, 128, 128],
        [8, 32, 128, 256],
        [32, 128, 258, 1024],
        [32, 258, 258, 4096],
    ],
    np.int64,
)


@inlined
def _hash(data: Any, at: Any, shift: Any, mask: Any) -> Any:
    """zlib's hash of the three bytes from ``at`` on."""
    first = np.uint64(data[at]) << (shift + shift)
    second = np.uint64(data[at + _ONE]) << shift
    return (first ^ second ^ np.uint64(data[at + np.uint64(2)])) & mask


@inlined
def equal_bytes(data: Any, a: Any, b: Any, most: Any) -> Any:
    """How many bytes from ``a`` and ``b`` on are the same, at most ``most``."""
    n = np.uint64(0)
    while n + _EIGHT <= most:
        odd = load64(data, a + n) ^ load64(data, b + n)
        if odd != np.uint64(0):
            break
        n += _EIGHT
    if n + _EIGHT <= most:
        n += np.uint64(trailing_zeros(odd)) >> np.uint64(3)
    else:
        while n < most and data[a + n] == data[b + n]:
            n += _ONE
    return n


@kernel
def _longest(
    data: Any,
    at: Any,
    candidate: Any,
    base: Any,
    previous: Any,
    best: Any,
    chain: Any,
    nice: Any,
    far: Any,
    most: Any,
    wrap: Any,
) -> Any:
    """The longest match at ``at`` along a chain of candidates: ``length << 32 | position``.

    Only matches longer than ``best`` count; the position is 0 where there is none. ``candidate``
    and ``previous`` are in zlib's window; ``most`` is at least 3.
    """
    here = at - base
    limit = here - far if here > far else np.uint64(0)
    found = np.uint64(0)
    if best >= most:
        return most << np.uint64(32)
    if nice > most:
        nice = most
    tail = load16(data, at + best - _ONE)
    head = load16(data, at)
    while True:
        place = candidate + base
        if load16(data, place + best - _ONE) == tail and load16(data, place) == head:
            length = equal_bytes(data, place, at, most)
            if length > best:
                found = place
                best = length
                if length >= nice:
                    break
                tail = load16(data, at + best - _ONE)
        candidate = np.uint64(previous[candidate & wrap])
        chain -= _ONE
        if candidate <= limit or chain == np.uint64(0):
            break
    return (best << np.uint64(32)) | found


@kernel
def _slide(table: Any, amount: Any) -> None:
    """Move positions down by ``amount``; those that fall out become 0."""
    for i in range(table.size):
        value = table[i]
        table[i] = value - amount if value > amount else np.uint16(0)


@kernel
def agreed(out: Any, start: int, stop: int, expected: Any) -> int:
    """Where, from ``start`` on, bytes begin to differ from those expected."""
    at = start
    stop = min(stop, expected.size)
    while at < stop and out[at] == expected[at]:
        at += 1
    return at


@kernel
def deflate(
    data: Any,
    level: int,
    window_bits: int,
    memory_level: int,
    filtered: bool,
    expected: Any,
    out: Any,
    capacity: int,
) -> Any:
    """Write ``data`` as one raw deflate stream (RFC 1951); its length.

    ``data``, ``expected``, ``out`` are uint8, contiguous, ``data`` shorter than 4 GiB; ``level`` 1
    to 9, ``window_bits`` 9 to 15, ``memory_level`` 1 to 9; ``filtered`` is zlib's strategy of that
    name. ``out`` has SPARE bytes beyond ``capacity``; FULL where that is too little. Unless
    ``expected`` is empty, DIFFERENT as soon as the stream is seen to differ from it.
    """
    size = np.uint64(data.size)
    good = np.uint64(_LIMITS[level - 1, 0])
    lazy = np.uint64(_LIMITS[level - 1, 1])
    nice = np.uint64(_LIMITS[level - 1, 2])
    chain = np.uint64(_LIMITS[level - 1, 3])
    greedy = level <= GREEDY_LEVELS
    window = np.uint64(1 << window_bits)
    wrap = window - _ONE
    far = window - np.uint64(LOOKAHEAD)
    hash_bits = memory_level + 7
    shift = np.uint64((hash_bits + 2) // 3)
    mask = np.uint64((1 << hash_bits) - 1)
    heads = np.zeros(1 << hash_bits, np.uint16)
    previous = np.zeros(1 << window_bits, np.uint16)
    most_symbols = np.uint64((1 << (memory_level + 6)) - 1)
    symbols = np.empty(1 << (memory_level + 6), np.uint32)
    literal_counts = np.zeros(_TREE_ROOM, np.int64)
    distance_counts = np.zeros(_TREE_ROOM, np.int64)
    bits = np.zeros(2, np.uint64)
    n = np.uint64(0)
    at = np.uint64(0)
    base = np.uint64(0)
    filled = min(size, window + window)
    start = np.uint64(0)
    written = np.int64(0)
    pending = False
    length = _MIN - _ONE
    match = np.uint64(0)
    while True:
        if filled - at < np.uint64(LOOKAHEAD) and at - base >= window + far:
            _slide(heads, np.uint16(window))
            _slide(previous, np.uint16(window))
            base += window
            filled = min(size, base + window + window)
        done = at >= size
        left = size - at
        candidate = np.uint64(0)
        if left >= _MIN and not done:
            key = _hash(data, at, shift, mask)
            candidate = np.uint64(heads[key])
            here = at - base
            previous[here & wrap] = candidate
            heads[key] = here
        before = length
        before_match = match
        length = _MIN - _ONE
        if candidate != np.uint64(0) and at - base - candidate <= far:
            most = min(left, _MAX)
            if greedy:
                result = _longest(
                    data, at, candidate, base, previous, length, chain, nice, far, most, wrap
                )
                length = result >> np.uint64(32)
                match = result & np.uint64(0xFFFFFFFF)
            elif before < lazy:
                steps = chain >> np.uint64(2) if before >= good else chain
                result = _longest(
                    data, at, candidate, base, previous, before, steps, nice, far, most, wrap
                )
                length = result >> np.uint64(32)
                if result & np.uint64(0xFFFFFFFF) or length > before:
                    match = result & np.uint64(0xFFFFFFFF)
                if length <= np.uint64(5) and (
                    filtered or (length == _MIN and at - match > np.uint64(TOO_FAR))
                ):
                    length = _MIN - _ONE
        flush = False
        stop = at
        if greedy:
            if done:
                flush = True
            elif length >= _MIN:
                distance = at - match
                symbols[n] = (distance << np.uint64(16)) | (length - _MIN)
                literal_counts[length_code(length - _MIN)] += 1
                distance_counts[distance_code(distance - _ONE)] += 1
                n += _ONE
                end = at + length
                if length <= lazy and size - end >= _MIN:
                    at += _ONE
                    while at < end:
                        key = _hash(data, at, shift, mask)
                        here = at - base
                        previous[here & wrap] = heads[key]
                        heads[key] = here
                        at += _ONE
                at = end
            else:
                symbols[n] = data[at]
                literal_counts[data[at]] += 1
                n += _ONE
                at += _ONE
            stop = at
            flush = flush or n == most_symbols
        elif before >= _MIN and length <= before:
            distance = at - _ONE - before_match
            symbols[n] = (distance << np.uint64(16)) | (before - _MIN)
            literal_counts[length_code(before - _MIN)] += 1
            distance_counts[distance_code(distance - _ONE)] += 1
            n += _ONE
            end = at - _ONE + before
            insertable = min(end, size - _MIN + _ONE) if size >= _MIN else np.uint64(0)
            at += _ONE
            while at < insertable:
                key = _hash(data, at, shift, mask)
                here = at - base
                previous[here & wrap] = heads[key]
                heads[key] = here
                at += _ONE
            at = end
            pending = False
            length = _MIN - _ONE
            stop = at
            flush = n == most_symbols
        else:
            if pending:
                value = data[at - _ONE]
                symbols[n] = value
                literal_counts[value] += 1
                n += _ONE
                flush = n == most_symbols
            pending = not done
            if done:
                flush = True
            else:
                at += _ONE
        if flush:
            storable = start >= base
            place = written
            last = done
            written = put_block(
                symbols,
                np.int64(n),
                literal_counts,
                distance_counts,
                data,
                np.int64(start),
                np.int64(stop),
                storable,
                last,
                out,
                place,
                capacity,
                bits,
            )
            if written == FULL:
                return FULL
            if expected.size > 0 and agreed(out, place, written, expected) < written:
                return DIFFERENT
            n = np.uint64(0)
            start = stop
            if last:
                break
    if bits[1] > np.uint64(0):
        if written >= capacity:
            return FULL
        out[written] = np.uint8(bits[0])
        written += 1
    return written
