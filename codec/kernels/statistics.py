"""What the encoder chooses for a plane of a tile, from a sample of its rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.context import (
    CONTEXTS,
    MAX_ACTIVITY,
    THRESHOLDS,
    activity_row,
    quantise,
)
from codec.kernels.entropy import BLOCK, ESCAPE, SYMBOLS
from codec.kernels.jit import kernel
from codec.kernels.memory import load64
from codec.kernels.packing import PAD

MAX_CROSS = 2
_LEVELS = 64
_LIKELY = 6
_ENTROPY_RANGE = 1 << 10
_LEVEL_RANGE = 1 << 11
_ONE_SEEN = 1 << 40
"""A histogram's place holds this for each residual, and their sum."""
_MOST_SEEN = 1 << 22
"""Residuals after which `choose_contexts` looks at no more, so that no sum reaches `_ONE_SEEN`."""


@kernel
def mark_blocks(z: Any, width: int, coded: Any) -> None:
    """``coded[b]`` = 1 where a block of columns holds a residual that is not zero."""
    whole = width // BLOCK
    for b in range(whole):
        x = PAD + b * BLOCK
        coded[b] = 1 if load64(z, x) | load64(z, x + BLOCK // 2) else 0
    if whole < coded.size:
        joined = np.uint16(0)
        for x in range(whole * BLOCK, width):
            joined = np.uint16(joined | z[PAD + x])
        coded[whole] = 1 if joined else 0


@kernel
def sampled_cost(z: Any, rows: int, width: int, step: int, moments: Any) -> None:
    """What rows ``1, 1 + step, ...`` of ``z`` (uint16[rows, PAD + width + PAD]) are like.

    ``moments`` (float64[2]) gets the bits they would take without contexts, and their mean.
    """
    histogram = np.zeros(_ENTROPY_RANGE, np.int64)
    count = np.int64(0)
    total = np.int64(0)
    for r in range(1, rows, step):
        row = z[r]
        for x in range(width):
            v = np.int64(row[PAD + x])
            total += v
            histogram[min(v, _ENTROPY_RANGE - 1)] += 1
        count += width
    bits = 0.0
    for i in range(_ENTROPY_RANGE):
        if histogram[i]:
            bits -= histogram[i] * np.log2(histogram[i] / count)
    moments[0] = bits
    moments[1] = total / max(count, 1)


@kernel
def mean_residual(z: Any, width: int) -> float:
    """Mean of one row's folded residuals."""
    total = np.int64(0)
    for x in range(width):
        total += np.int64(z[PAD + x])
    return total / width


def activity_levels() -> Any:
    """A table (uint8) of an activity's level: about four levels an octave."""
    table = np.zeros(_LEVEL_RANGE, np.uint8)
    for s in range(_LEVEL_RANGE):
        octave = max(s.bit_length() - 3, 0)
        table[s] = min(4 * octave + (s >> octave), _LEVELS - 1)
    return table


@kernel
def choose_cross(
    z: Any, magnitudes: Any, order: Any, p: int, rows: int, width: int, step: int, level: Any
) -> int:
    """The cross-plane weight in 0..MAX_CROSS under which contexts foretell ``z`` best.

    ``magnitudes`` int16[components, rows + 2, PAD + width + PAD] are those of all planes coded
    so far and of this one, ``level`` what `activity_levels` gives.
    """
    best = 0
    best_cost = np.inf
    activity = np.empty(width, np.int16)
    count = np.empty(_LEVELS, np.int64)
    total = np.empty(_LEVELS, np.int64)
    for cross in range(MAX_CROSS + 1):
        count[:] = 0
        total[:] = 0
        for r in range(min(step // 2, rows - 1), rows, step):
            activity_row(magnitudes, order, p, r, cross, activity, width)
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
def choose_contexts(
    z: Any,
    magnitudes: Any,
    order: Any,
    p: int,
    coded: Any,
    rows: int,
    width: int,
    cross: int,
    bits: int,
    step: int,
    histogram: Any,
    thresholds: Any,
    k: Any,
) -> None:
    """Thresholds (int16) that share the sampled residuals evenly among contexts, and each k.

    Every ``step``-th row is looked at. ``histogram`` is int64[2, MAX_ACTIVITY] scratch, all zero
    before and after. ``k`` is uint8[CONTEXTS].
    """
    activity = np.empty(width, np.int16)
    count = 0
    top = np.int16(0)
    for r in range(min(step // 2, rows - 1), rows, step):
        activity_row(magnitudes, order, p, r, cross, activity, width)
        row = z[r]
        for b in range(coded.shape[1]):
            if coded[r, b] == 0 or count > _MOST_SEEN:
                continue
            first = np.uint64(b * BLOCK)
            last = np.uint64(min((b + 1) * BLOCK, width))
            count += np.int64(last - first)
            x = first
            # Neighbours often fall into one place: by turns, they need not wait for each other.
            while x < last:
                s = activity[x]
                top = max(top, s)
                turn = x & np.uint64(1)
                histogram[turn, np.uint64(np.uint16(s))] += _ONE_SEEN + np.int64(
                    row[np.uint64(PAD) + x]
                )
                x += np.uint64(1)
    below = 0
    t = 0
    number = 0
    total = 0
    for s in range(np.int64(top) + 1):
        seen = histogram[0, s] + histogram[1, s]
        below += seen // _ONE_SEEN
        number += seen // _ONE_SEEN
        total += seen % _ONE_SEEN
        histogram[0, s] = 0
        histogram[1, s] = 0
        while t < THRESHOLDS and below * CONTEXTS > count * (t + 1):
            thresholds[t] = s + 1
            k[t] = _raw_bits(number, total, bits)
            number = 0
            total = 0
            t += 1
    k[t] = _raw_bits(number, total, bits)
    for i in range(t, THRESHOLDS):
        thresholds[i] = MAX_ACTIVITY - 1
        k[i + 1] = k[t]


@kernel
def _raw_bits(number: int, total: int, bits: int) -> int:
    """Low bits to write raw where ``number`` residuals add up to ``total``."""
    k = 0
    if number:
        mean = total // number
        while (mean >> (k + 2)) > 1 and k < bits:
            k += 1
    return k


@kernel
def count_symbols(
    z: Any,
    magnitudes: Any,
    order: Any,
    p: int,
    coded: Any,
    rows: int,
    width: int,
    cross: int,
    bits: int,
    step: int,
    thresholds: Any,
    k: Any,
    counts: Any,
) -> None:
    """Count symbols (int64[CONTEXTS, SYMBOLS]) in every ``step``-th row.

    The escape keeps a count of at least one: it stands for symbols that only the rows not
    looked at hold.
    """
    activity = np.empty(width, np.int16)
    context = np.empty(width, np.int16)
    # By turns, as in `choose_contexts`.
    seen = np.zeros((2, CONTEXTS * SYMBOLS), np.int64)
    for r in range(0, rows, step):
        activity_row(magnitudes, order, p, r, cross, activity, width)
        quantise(activity, thresholds, SYMBOLS, context, width)
        row = z[r]
        for b in range(coded.shape[1]):
            if coded[r, b] == 0:
                continue
            x = np.uint64(b * BLOCK)
            last = np.uint64(min((b + 1) * BLOCK, width))
            while x < last:
                at = np.uint64(np.uint16(context[x]))
                symbol = np.uint64(row[np.uint64(PAD) + x]) >> np.uint64(
                    k[at // np.uint64(SYMBOLS)]
                )
                seen[x & np.uint64(1), at + min(symbol, np.uint64(ESCAPE))] += 2
                x += np.uint64(1)
    flat = counts.reshape(CONTEXTS * SYMBOLS)
    for i in range(flat.size):
        flat[i] = seen[0, i] + seen[1, i]
    for c in range(CONTEXTS):
        counts[c, ESCAPE] += 1
        before = np.int64(0)
        for s in range(ESCAPE):
            here = counts[c, s]
            if here == 0 and before + counts[c, s + 1] >= _LIKELY:
                counts[c, s] = 1
            before = here
