"""What the encoder chooses for a plane of a tile, from a sample of its rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.context import (
    CONTEXTS,
    MAX_ACTIVITY,
    THRESHOLDS,
    activity_cross,
)
from codec.kernels.entropy import BLOCK, ESCAPE, MAX_LENGTH, SYMBOLS
from codec.kernels.jit import kernel
from codec.kernels.packing import PAD

MAX_CROSS = 2
_LEVELS = 64
_ENTROPY_RANGE = 1 << 10
_LEVEL_RANGE = 1 << 11


@kernel
def mark_blocks(z: Any, rows: int, width: int, coded: Any) -> None:
    """``coded[r, b]`` = 1 where a block of columns holds a residual that is not zero."""
    whole = width // BLOCK
    for r in range(rows):
        row = z[r, PAD:]
        for b in range(whole):
            joined = np.uint16(0)
            block = row[b * BLOCK : (b + 1) * BLOCK]
            for x in range(BLOCK):
                joined = np.uint16(joined | block[x])
            coded[r, b] = 1 if joined else 0
        if whole < coded.shape[1]:
            joined = np.uint16(0)
            for x in range(whole * BLOCK, width):
                joined = np.uint16(joined | row[x])
            coded[r, whole] = 1 if joined else 0


@kernel
def sampled_entropy(z: Any, rows: int, width: int, step: int) -> float:
    """Bits that rows ``1, 1 + step, ...`` of ``z`` would take without contexts."""
    histogram = np.zeros(_ENTROPY_RANGE, np.int64)
    count = np.int64(0)
    for r in range(1, rows, step):
        row = z[r]
        for x in range(width):
            histogram[min(np.int64(row[PAD + x]), _ENTROPY_RANGE - 1)] += 1
        count += width
    bits = 0.0
    for i in range(_ENTROPY_RANGE):
        if histogram[i]:
            bits -= histogram[i] * np.log2(histogram[i] / count)
    return bits


@kernel
def mean_residual(z: Any, rows: int, width: int, step: int) -> float:
    """Mean folded residual over every ``step``-th row."""
    total = np.int64(0)
    count = np.int64(0)
    for r in range(0, rows, step):
        row = z[r]
        for x in range(width):
            total += np.int64(row[PAD + x])
        count += width
    return total / count


def activity_levels() -> Any:
    """A table (uint8) of an activity's level: about four levels an octave."""
    table = np.zeros(_LEVEL_RANGE, np.uint8)
    for s in range(_LEVEL_RANGE):
        octave = max(s.bit_length() - 3, 0)
        table[s] = min(4 * octave + (s >> octave), _LEVELS - 1)
    return table


@kernel
def choose_cross(
    own: Any,
    z: Any,
    magnitudes: Any,
    order: Any,
    p: int,
    rows: int,
    width: int,
    step: int,
    level: Any,
) -> int:
    """The cross-plane weight in 0..MAX_CROSS under which contexts foretell ``z`` best.

    ``own`` int16[rows, width] is the activity without the other planes; ``magnitudes``
    int16[components, rows + 2, PAD + width + PAD] those of all planes coded so far, ``level``
    what `activity_levels` gives.
    """
    best = 0
    best_cost = np.inf
    activity = np.empty(width, np.int16)
    count = np.empty(_LEVELS, np.int64)
    total = np.empty(_LEVELS, np.int64)
    for cross in range(MAX_CROSS + 1):
        count[:] = 0
        total[:] = 0
        for r in range(step // 2, rows, step):
            activity[:] = own[r]
            if cross:
                for q in range(max(p - 2, 0), p):
                    activity_cross(magnitudes[order[q], r + 2], cross, activity, width)
            row = z[r]
            for x in range(width):
                at = level[min(np.int64(activity[x]), level.size - 1)]
                count[at] += 1
                total[at] += np.int64(row[PAD + x])
        cost = 0.0
        for i in range(_LEVELS):
            if count[i]:
                cost += count[i] * np.log2(total[i] / count[i] + 0.7)
        if cost < best_cost:
            best_cost = cost
            best = cross
    return best


@kernel
def choose_thresholds(
    activity: Any, coded: Any, rows: int, width: int, step: int, histogram: Any, thresholds: Any
) -> None:
    """Thresholds (int16) that share the sampled residuals evenly among the contexts.

    ``histogram`` is int32[MAX_ACTIVITY] scratch, all zero before and after.
    """
    count = 0
    top = 0
    for r in range(step // 2, rows, step):
        for b in range(coded.shape[1]):
            if coded[r, b] == 0:
                continue
            for x in range(b * BLOCK, min((b + 1) * BLOCK, width)):
                s = np.int64(activity[r, x])
                histogram[s] += 1
                top = max(top, s)
                count += 1
    below = 0
    t = 0
    for s in range(top + 1):
        below += histogram[s]
        histogram[s] = 0
        while t < THRESHOLDS and below * CONTEXTS > count * (t + 1):
            thresholds[t] = s + 1
            t += 1
    for i in range(t, THRESHOLDS):
        thresholds[i] = MAX_ACTIVITY - 1


@kernel
def count_symbols(
    z: Any, context: Any, coded: Any, bits: int, step: int, k: Any, counts: Any
) -> None:
    """Choose ``k`` (uint8[CONTEXTS]) and count symbols (int64[CONTEXTS, SYMBOLS]).

    Rows ``0, step, ...`` are looked at. Every symbol that can occur keeps a count of at least
    one: the rows not looked at may hold it.
    """
    rows, width = context.shape
    number = np.zeros(CONTEXTS, np.int64)
    total = np.zeros(CONTEXTS, np.int64)
    for r in range(0, rows, step):
        for b in range(coded.shape[1]):
            if coded[r, b] == 0:
                continue
            for x in range(b * BLOCK, min((b + 1) * BLOCK, width)):
                c = np.uint64(np.uint16(context[r, x])) >> np.uint64(MAX_LENGTH)
                number[c] += 1
                total[c] += np.int64(z[r, PAD + x])
    for c in range(CONTEXTS):
        shift = 0
        if number[c]:
            mean = total[c] // number[c]
            while (mean >> (shift + 2)) > 1 and shift < bits:
                shift += 1
        k[c] = shift
        for s in range(SYMBOLS):
            counts[c, s] = 1 if (s << shift) < (1 << bits) else 0
    for r in range(0, rows, step):
        for b in range(coded.shape[1]):
            if coded[r, b] == 0:
                continue
            for x in range(b * BLOCK, min((b + 1) * BLOCK, width)):
                c = np.uint64(np.uint16(context[r, x])) >> np.uint64(MAX_LENGTH)
                symbol = np.int64(z[r, PAD + x]) >> np.int64(k[c])
                counts[c, min(symbol, ESCAPE)] += 2
