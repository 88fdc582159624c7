"""Classes of groups in tile modes 3 and 5: how large residuals will be, known before a row starts.

A group's sum S adds up the folded residuals of its sixteen columns. The activity at row r is

    8 * S(r-1,g) + S(r-1,g-n) + S(r-1,g+n) + 2 * S(r-2,g)
      + 4 * sum over up to two planes coded before of S(r,g)

and the class is how many of the plane's 15 thresholds are ``<=`` it. The *reach* n is 1 in mode 3;
in mode 5, where groups hold even and odd columns by turns, it is 2. Sums are kept as int32 rows of
``SIDE + groups + SIDE``, with the outermost groups' sums repeated beside the row.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.bits import highest_bit
from codec.kernels.jit import inlined, kernel
from codec.kernels.quick_code import BLOCK
from codec.kernels.quick_lanes import GROUP

CLASSES = 16
THRESHOLDS = CLASSES - 1
CROSS_PLANES = 2
MAX_RAW = 15
MAX_SUM = GROUP * 0xFFFF
SIDE = 2
_FINE = 3
"""Activities are counted in levels, ``1 << _FINE`` an octave."""
_LEVELS = 32 << _FINE
_RAW_MEAN = 1.4
"""Residuals keep one more low bit where their mean high part would exceed this."""


@kernel
def pad_sums(sums: Any, groups: int, reach: int) -> None:
    """Repeat the outermost sums beside a row, as far as activities reach."""
    for i in range(reach):
        sums[SIDE - reach + i] = sums[SIDE + i]
        sums[SIDE + groups + i] = sums[SIDE + groups - reach + i]


@kernel
def mark_blocks(sums: Any, groups: int, coded: Any) -> None:
    """``coded[b]`` (uint8) = 1 where a block of `BLOCK` groups has a sum that is not zero."""
    inner = sums[SIDE:]
    whole = groups // BLOCK
    for b in range(whole):
        g = BLOCK * b
        joined = inner[g] | inner[g + 1] | inner[g + 2] | inner[g + 3]
        coded[b] = joined != 0
    if whole < coded.size:
        joined = np.int32(0)
        for g in range(BLOCK * whole, groups):
            joined |= inner[g]
        coded[whole] = joined != 0


@kernel
def activities(north: Any, north2: Any, activity: Any, groups: int, reach: int) -> None:
    """``activity`` (int32[groups]) from the sums one and two rows above."""
    # Views whose indices cannot be negative: else nothing here becomes a vector.
    before, inner, after = north[SIDE - reach :], north[SIDE:], north[SIDE + reach :]
    inner2 = north2[SIDE:]
    for g in range(groups):
        activity[g] = (
            np.int32(8) * np.int32(inner[g])
            + np.int32(before[g])
            + np.int32(after[g])
            + np.int32(2) * np.int32(inner2[g])
        )


@kernel
def cross_activities(sums: Any, activity: Any, groups: int) -> None:
    """Add the sums of a plane coded before, same row."""
    for g in range(groups):
        activity[g] = np.int32(activity[g]) + np.int32(4) * np.int32(sums[SIDE + g])


@kernel
def classify(activity: Any, thresholds: Any, number: Any, groups: int) -> None:
    """Classes (int32[groups]) of activities; ``thresholds`` are int32."""
    t0, t1, t2, t3, t4 = thresholds[0], thresholds[1], thresholds[2], thresholds[3], thresholds[4]
    t5, t6, t7, t8, t9 = thresholds[5], thresholds[6], thresholds[7], thresholds[8], thresholds[9]
    t10, t11, t12 = thresholds[10], thresholds[11], thresholds[12]
    t13, t14 = thresholds[13], thresholds[14]
    for g in range(groups):
        a = activity[g]
        low = np.int32(a >= t0) + np.int32(a >= t1) + np.int32(a >= t2) + np.int32(a >= t3)
        low += np.int32(a >= t4) + np.int32(a >= t5) + np.int32(a >= t6) + np.int32(a >= t7)
        high = np.int32(a >= t8) + np.int32(a >= t9) + np.int32(a >= t10) + np.int32(a >= t11)
        high += np.int32(a >= t12) + np.int32(a >= t13) + np.int32(a >= t14)
        number[g] = np.int32(low + high)


@kernel
def look_up(number: Any, k: Any, codes: Any, low: Any, first: Any, groups: int) -> None:
    """What ``k`` and ``codes`` (int64[CLASSES]) have for each group's class (int64[groups])."""
    for g in range(groups):
        c = np.uint64(np.uint32(number[g]))
        low[g] = k[c]
        first[g] = codes[c]


@inlined
def _level(activity: Any) -> Any:
    a = np.uint64(activity)
    if a < np.uint64(1 << _FINE):
        return np.int64(a)
    octave = highest_bit(a) - np.uint64(_FINE)
    return np.int64((octave << np.uint64(_FINE)) + (a >> octave))


@kernel
def _least(level: int) -> int:
    """The smallest activity of a level."""
    if level < 1 << _FINE:
        return level
    octave = (level >> _FINE) - 1
    return ((level & ((1 << _FINE) - 1)) + (1 << _FINE)) << octave


@kernel
def _shape(number: int, total: int, bits: int, k: Any, codes: Any, c: int) -> None:
    """Low bits and code of a class whose ``number`` residuals add up to ``total``."""
    mean = total / max(number, 1)
    raw = 0
    while mean > _RAW_MEAN and raw < min(bits, MAX_RAW):
        mean *= 0.5
        raw += 1
    k[c] = raw
    if raw:
        codes[c] = 6 + np.int64(mean > _RAW_MEAN * 0.63) + np.int64(mean > _RAW_MEAN * 0.794)
    else:
        codes[c] = 2 + np.int64(mean <= 0.99) + np.int64(mean <= 0.7) + np.int64(mean <= 0.25)


@kernel
def row_activities(
    sums: Any, p: int, north: int, north2: int, now: int, activity: Any, groups: int, reach: int
) -> None:
    """``activity`` of a row of the p-th plane coded, whose own sums are to stand in row ``now``."""
    activities(sums[p, north], sums[p, north2], activity, groups, reach)
    for q in range(max(p - CROSS_PLANES, 0), p):
        cross_activities(sums[q, now], activity, groups)


@kernel
def choose_classes(
    sums: Any, p: int, groups: int, bits: int, reach: int, thresholds: Any, k: Any, codes: Any
) -> None:
    """Thresholds (int32) that share sampled groups evenly among classes; each class's k and code.

    ``sums`` int32[planes, samples, 2, SIDE + groups + SIDE] are those of pairs of rows, one above
    the other, of the planes in coding order up to the p-th. The upper row stands for two. Groups
    whose block is not coded do not count.
    """
    counts = np.zeros(_LEVELS, np.int64)
    totals = np.zeros(_LEVELS, np.int64)
    activity = np.empty(groups, np.int32)
    coded = np.empty((groups + BLOCK - 1) // BLOCK, np.uint8)
    seen = 0
    for i in range(sums.shape[1]):
        row_activities(sums[:, i], p, 0, 0, 1, activity, groups, reach)
        mark_blocks(sums[p, i, 1], groups, coded)
        for g in range(groups):
            if coded[g // BLOCK]:
                level = _level(activity[g])
                counts[level] += 1
                totals[level] += np.int64(sums[p, i, 1, SIDE + g])
                seen += 1
    below = 0
    number = 0
    total = 0
    c = 0
    for level in range(_LEVELS):
        below += counts[level]
        number += counts[level]
        total += totals[level]
        while c < THRESHOLDS and below * CLASSES > seen * (c + 1):
            thresholds[c] = _least(level + 1)
            _shape(number * GROUP, total, bits, k, codes, c)
            c += 1
            # Classes that a level fills besides its first have nothing but it to go by.
            if below * CLASSES <= seen * (c + 1):
                number = 0
                total = 0
    if number or c == 0:
        _shape(number * GROUP, total, bits, k, codes, c)
    else:
        k[c] = k[c - 1]
        codes[c] = codes[c - 1]
    for i in range(c, THRESHOLDS):
        thresholds[i] = 0x7FFFFFFF
        k[i + 1] = k[c]
        codes[i + 1] = codes[c]
