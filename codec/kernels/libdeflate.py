"""A deflate encoder that makes, bit for bit, what libdeflate makes at its levels 2 to 9.

Since 2023 OpenEXR, and builds of libtiff, compress with libdeflate (level 4 and 6 unless told
otherwise). It hashes three and four bytes, cuts data greedily (levels 2 to 4), with one byte of
look-ahead (5 to 7) or two (8, 9), and ends blocks where the mixture of symbols changes.
docs/format/redo-v1.md spells out every decision.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.bits import highest_bit
from codec.kernels.deflate import agreed, equal_bytes
from codec.kernels.deflate_blocks import DIFFERENT, FULL
from codec.kernels.deflate_codes import NODES, distance_code, length_code
from codec.kernels.jit import inlined, kernel
from codec.kernels.libdeflate_blocks import put_block
from codec.kernels.memory import load32

MIN_LEVEL = 2
MAX_LEVEL = 9
REVISIONS = 2
"""Ways of different releases: 0 is 1.19 and later, 1 is before."""

_WINDOW = np.int64(32768)
_MIN_BLOCK = np.int64(5000)
_SOFT_MAX_BLOCK = np.int64(300000)
_MAX_MATCHES = 50000
_MAX_SYMBOLS = _SOFT_MAX_BLOCK + _MIN_BLOCK + 300
_NEVER = np.int32(-(1 << 30))
_MULTIPLIER = np.uint32(0x1E35A7BD)
_MIX = 10
_CHECK_AFTER = 512
_LONG = 9

# nice, depth of each level, from 2 on
_LIMITS = np.array(
    [
        [10, 6],
        [14, 12],
        [30, 16],
        [30, 16],
        [65, 35],
        [130, 100],
        [258, 300],
        [258, 600],
    ],
    np.int64,
)
# Shortest match worth its bits, by how many different literals there are.
_LEAST = np.array([9] * 6 + [8] * 2 + [7] * 2 + [6] * 6 + [5] * 29 + [4] * 35 + [3], np.int64)


@inlined
def _keys(data: Any, at: Any) -> Any:
    """Hashes of the three and the four bytes from ``at`` on; both 0 at the very beginning."""
    word = np.uint32(load32(data, at))
    three = np.uint32((word & np.uint32(0xFFFFFF)) * _MULTIPLIER) >> np.uint32(17)
    four = np.uint32(word * _MULTIPLIER) >> np.uint32(16)
    if at == 0:
        three = np.uint32(0)
        four = np.uint32(0)
    return np.int64(three), np.int64(four)


@inlined
def _insert(data: Any, at: int, count: int, heads: Any, tails: Any, older: Any) -> None:
    """Insert ``count`` positions from ``at`` on, or none if fewer than five bytes would be left."""
    if count + 5 > data.size - at:
        return
    for p in range(at, at + count):
        three, four = _keys(data, p)
        heads[three] = p
        older[p & (_WINDOW - 1)] = tails[four]
        tails[four] = p


@inlined
def _longest(
    data: Any, at: int, best: int, nice: int, depth: int, heads: Any, tails: Any, older: Any
) -> Any:
    """Insert ``at`` and find a match longer than ``best``: ``length << 32 | distance``.

    Without one the length is ``best`` and the distance 0.
    """
    most = min(np.int64(258), np.int64(data.size) - at)
    if most < 5:
        return best << 32
    three, four = _keys(data, at)
    short = np.int64(heads[three])
    place = np.int64(tails[four])
    heads[three] = at
    older[at & (_WINDOW - 1)] = place
    tails[four] = at
    cutoff = at - _WINDOW
    distance = np.int64(0)
    first = load32(data, at)
    left = np.int64(depth)
    if best < 4:
        if short <= cutoff:
            return best << 32
        if best < 3 and (load32(data, short) ^ first) & np.uint32(0xFFFFFF) == 0:
            best = np.int64(3)
            distance = at - short
    elif best >= nice:
        return best << 32
    while place > cutoff:
        if load32(data, place) == first:
            reach = max(best - 3, 0)
            if best < 4 or load32(data, place + reach) == load32(data, at + reach):
                length = np.int64(
                    equal_bytes(data, np.uint64(place), np.uint64(at), np.uint64(most))
                )
                if length > best:
                    best = length
                    distance = at - place
                    if best >= nice:
                        break
        place = np.int64(older[place & (_WINDOW - 1)])
        left -= 1
        if left == 0:
            break
    return (best << 32) | distance


@kernel
def _least_match(literals: int, depth: int) -> Any:
    """The shortest match to take, given how many different literals there are."""
    least = _LEAST[min(literals, _LEAST.size - 1)]
    if depth < 5:
        return min(least, 4)
    if depth < 10:
        return min(least, 5)
    if depth < 16:
        return min(least, 7)
    return least


@kernel
def _least_at_start(data: Any, start: int, stop: int, depth: int, revision: int) -> Any:
    """`_least_match` from the first bytes of a block."""
    if stop - start < 512 and revision == 0:
        return np.int64(3)
    seen = np.zeros(256, np.int64)
    for p in range(start, min(stop, start + 4096)):
        seen[data[p]] = 1
    return _least_match(seen.sum(), depth)


@kernel
def _least_so_far(counts: Any, depth: int) -> Any:
    """`_least_match` from a block's literals so far, rare ones left out."""
    rare = counts[:256].sum() >> 10
    literals = 0
    for s in range(256):
        if counts[s] > rare:
            literals += 1
    return _least_match(literals, depth)


@kernel
def _changes(mix: Any, fresh: Any, length: int) -> bool:
    """Whether the mixture of symbols has changed enough to end a block; if not, join both."""
    before = mix.sum()
    new = fresh.sum()
    if before > 0:
        delta = np.int64(0)
        for i in range(_MIX):
            delta += abs(fresh[i] * before - mix[i] * new)
        cutoff = new * 200 // 512 * before
        if length < 10000 and before + new < 8192:
            cutoff += cutoff * (8192 - (before + new)) // 8192
        if delta + length // 4096 * before >= cutoff:
            return True
    for i in range(_MIX):
        mix[i] += fresh[i]
        fresh[i] = 0
    return False


@kernel
def _cut(
    data: Any,
    start: int,
    level: int,
    revision: int,
    heads: Any,
    tails: Any,
    older: Any,
    symbols: Any,
    literal_counts: Any,
    distance_counts: Any,
) -> Any:
    """Cut one block from ``start`` on: where it ends, and its number of symbols."""
    size = np.int64(data.size)
    nice_limit = _LIMITS[level - MIN_LEVEL, 0]
    depth = _LIMITS[level - MIN_LEVEL, 1]
    ahead = 0 if level < 5 else (1 if level < 8 else 2)
    stop = size if size - start < _SOFT_MAX_BLOCK + _MIN_BLOCK else start + _SOFT_MAX_BLOCK
    least = _least_at_start(data, start, stop, depth, revision)
    renew = start + min(size - start, 10000)
    mix = np.zeros(_MIX, np.int64)
    fresh = np.zeros(_MIX, np.int64)
    observed = 0
    matches = 0
    n = 0
    at = np.int64(start)
    while True:
        if ahead > 0 and at >= renew:
            least = _least_so_far(literal_counts, depth)
            renew += min(size - renew, at - start)
        nice = min(nice_limit, min(np.int64(258), size - at))
        found = _longest(data, at, least - 1, nice, depth, heads, tails, older)
        length = found >> 32
        distance = found & 0xFFFFFFFF
        literals = np.int64(0)
        skip = np.int64(0)
        if length < least or (length == 3 and distance > (4096 if ahead == 0 else 8192)):
            length = np.int64(0)
            literals = np.int64(1)
        # The match begins at ``first``; positions up to ``at`` are inserted already.
        first = at
        inserted = at + 1
        while ahead > 0 and length > 0 and length < nice:
            better = np.int64(-1)
            for step in range(1, ahead + 1):
                here = first + step
                nice = min(nice_limit, min(np.int64(258), size - here))
                found = _longest(data, here, length - 1, nice, depth >> step, heads, tails, older)
                inserted = here + 1
                longer = found >> 32
                if longer >= length:
                    nearer = found & 0xFFFFFFFF
                    gain = 4 * (longer - length)
                    gain += np.int64(highest_bit(np.uint64(distance)))
                    gain -= np.int64(highest_bit(np.uint64(nearer)))
                    if gain > (2 if step == 1 else 6):
                        better = step
                        length = longer
                        distance = nearer
                        break
            if better < 0:
                break
            first += better
        for p in range(at, first + literals):
            value = data[p]
            symbols[n] = value
            n += 1
            literal_counts[value] += 1
            fresh[((value >> 5) & 6) | (value & 1)] += 1
            observed += 1
        at = first + literals
        if length > 0:
            symbols[n] = np.uint32((distance << 16) | (length - 3))
            n += 1
            matches += 1
            literal_counts[length_code(np.uint64(length - 3))] += 1
            distance_counts[distance_code(np.uint64(distance - 1))] += 1
            fresh[8 if length < _LONG else 9] += 1
            observed += 1
            at = first + length
            skip = at - inserted
            if skip > 0:
                _insert(data, inserted, skip, heads, tails, older)
        if at >= stop or matches >= _MAX_MATCHES:
            break
        if observed >= _CHECK_AFTER and at - start >= _MIN_BLOCK and size - at >= _MIN_BLOCK:
            if _changes(mix, fresh, at - start):
                break
            observed = 0
    return at, n


@kernel
def libdeflate(data: Any, level: int, revision: int, expected: Any, out: Any, capacity: int) -> Any:
    """Write ``data`` as one raw deflate stream (RFC 1951); its length.

    As `codec.kernels.deflate.deflate`, with ``level`` 2 to 9 and ``revision`` below REVISIONS.
    """
    size = np.int64(data.size)
    bits = np.zeros(2, np.uint64)
    literal_counts = np.zeros(NODES, np.int64)
    distance_counts = np.zeros(NODES, np.int64)
    symbols = np.empty(min(size, _MAX_SYMBOLS) + 1, np.uint32)
    heads = np.full(1 << 15, _NEVER, np.int32)
    tails = np.full(1 << 16, _NEVER, np.int32)
    older = np.full(_WINDOW, _NEVER, np.int32)
    if size <= 55 - 4 * level:
        if size + 5 > capacity:
            return FULL
        out[0] = 1
        out[1] = size
        out[2] = 0
        out[3] = 255 - size
        out[4] = 255
        for i in range(size):
            out[5 + i] = data[i]
        return size + 5
    written = np.int64(0)
    at = np.int64(0)
    while at < size:
        start = at
        at, n = _cut(
            data,
            start,
            level,
            revision,
            heads,
            tails,
            older,
            symbols,
            literal_counts,
            distance_counts,
        )
        place = written
        last = at == size
        written = put_block(
            symbols,
            n,
            literal_counts,
            distance_counts,
            data,
            start,
            at,
            last,
            out,
            place,
            capacity,
            bits,
            revision == 0,
        )
        if written == FULL:
            return FULL
        if expected.size > 0 and agreed(out, place, written, expected) < written:
            return DIFFERENT
    if bits[1] > np.uint64(0):
        if written >= capacity:
            return FULL
        out[written] = np.uint8(bits[0])
        written += 1
    return written
