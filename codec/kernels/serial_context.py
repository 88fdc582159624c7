"""Contexts that know the residuals to the left: a row's are found while it is decoded.

Each residual leaves a magnitude m (see `codec.kernels.tans.token_bases`). With weights w of the
plane, and m of the row above, of two rows above, of this row, and of up to two planes coded
before,

    S = w0*N + w1*(NW + NE) + w2*(NWW + NEE) + w3*NN + w4*W + w5*WW
      + for each of those planes, the nearest first, wa*g(x) + wb*(g(x-1) + g(x+1))

and the context is how many of the plane's 15 thresholds are ``<= min(S >> shift, 2047)``. All
but W and WW is known before the row starts, and computed for all of it at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.fit import solve
from codec.kernels.jit import inlined, kernel
from codec.kernels.packing import PAD
from codec.kernels.tans import CONTEXTS

THRESHOLDS = CONTEXTS - 1
LEVELS = 1 << 11
MAX_MAGNITUDE = 900
CROSS_PLANES = 2
OWN_WEIGHTS = 6
CROSS_WEIGHTS = 2
MAX_WEIGHTS = OWN_WEIGHTS + CROSS_WEIGHTS * CROSS_PLANES
WEST = 4
WEST_WEST = 5
_UNIT = 64
"""The weight of a magnitude that is to count once."""
_WEIGHED_STEP = 16


@kernel
def activity_above(north: Any, north2: Any, weights: Any, activity: Any, width: int) -> None:
    """``activity`` (int32[width]): what magnitudes (int16) one and two rows above add to S."""
    w0 = np.int32(weights[0])
    w1 = np.int32(weights[1])
    w2 = np.int32(weights[2])
    w3 = np.int32(weights[3])
    for x in range(width):
        activity[x] = (
            w0 * np.int32(north[PAD + x])
            + w1 * np.int32(north[PAD + x - 1] + north[PAD + x + 1])
            + w2 * np.int32(north[PAD + x - 2] + north[PAD + x + 2])
            + w3 * np.int32(north2[PAD + x])
        )


@kernel
def activity_beside(m: Any, here: int, next_to: int, activity: Any, width: int) -> None:
    """Add the magnitudes (int16) of a plane coded before, same row."""
    a = np.int32(here)
    b = np.int32(next_to)
    for x in range(width):
        activity[x] = np.int32(activity[x]) + (
            a * np.int32(m[PAD + x]) + b * np.int32(m[PAD + x - 1] + m[PAD + x + 1])
        )


@inlined
def level(activity: Any, shift: Any) -> Any:
    """The level of a whole activity."""
    return min(np.uint64(np.int64(activity)) >> shift, np.uint64(LEVELS - 1))


@kernel
def context_table(thresholds: Any, table: Any) -> None:
    """The context (uint8[LEVELS]) of each level."""
    for s in range(LEVELS):
        context = 0
        for t in range(THRESHOLDS):
            if thresholds[t] <= s:
                context += 1
        table[s] = context


@kernel
def _features(magnitudes: Any, p: int, r: int, x: int, first: bool, f: Any) -> int:
    """The sums of magnitudes that S weighs, at one place; how many there are.

    ``magnitudes`` int16[planes, rows + 2, PAD + width + PAD], in coding order, two rows above the
    first. ``first``: a run of columns begins here.
    """
    own = magnitudes[p]
    at = PAD + x
    f[0] = own[r + 1, at]
    f[1] = own[r + 1, at - 1] + own[r + 1, at + 1]
    f[2] = own[r + 1, at - 2] + own[r + 1, at + 2]
    f[3] = own[r, at]
    f[WEST] = own[r + 1, at] if first else own[r + 2, at - 1]
    f[WEST_WEST] = own[r + 1, at] if first else own[r + 2, at - 2]
    n = OWN_WEIGHTS
    for q in range(p - 1, max(p - 1 - CROSS_PLANES, -1), -1):
        f[n] = magnitudes[q, r + 2, at]
        f[n + 1] = magnitudes[q, r + 2, at - 1] + magnitudes[q, r + 2, at + 1]
        n += CROSS_WEIGHTS
    return n


@kernel
def fit_weights(magnitudes: Any, p: int, rows: int, width: int, weights: Any) -> None:
    """Weights (uint8[MAX_WEIGHTS]) under which S foretells the p-th plane's magnitudes best.

    Least squares of relative errors over every 16th row; for ``magnitudes`` see `_features`.
    """
    f = np.zeros(MAX_WEIGHTS, np.int64)
    m = np.zeros((MAX_WEIGHTS, MAX_WEIGHTS), np.float64)
    y = np.zeros(MAX_WEIGHTS, np.float64)
    w = np.zeros(MAX_WEIGHTS, np.float64)
    n = 0
    for r in range(min(_WEIGHED_STEP // 2, rows - 1), rows, _WEIGHED_STEP):
        for x in range(2, width):
            n = _features(magnitudes, p, r, x, False, f)
            total = np.int64(0)
            for i in range(n):
                total += f[i]
            trust = total / n + 0.5
            trust = 1.0 / (trust * trust)
            target = np.float64(magnitudes[p, r + 2, PAD + x])
            for i in range(n):
                a = trust * f[i]
                y[i] += a * target
                for j in range(i + 1):
                    m[i, j] += a * f[j]
    weights[:] = 0
    if n == 0:
        weights[0] = _UNIT
        return
    diagonal = 0.0
    for i in range(n):
        diagonal += m[i, i]
    for i in range(n):
        m[i, i] += 1e-3 * diagonal / n + 1e-9
    solve(m, y, n, w)
    for i in range(n):
        weights[i] = np.int64(np.round(min(max(w[i] * _UNIT, 0.0), 255.0)))


@kernel
def plane_levels(
    magnitudes: Any,
    p: int,
    rows: int,
    width: int,
    run: int,
    weights: Any,
    shift: int,
    levels: Any,
    histogram: Any,
) -> None:
    """``levels`` (uint16[rows, width]) of the p-th plane, and how often each occurs (int64)."""
    own = magnitudes[p]
    activity = np.empty(width, np.int32)
    w4 = np.int64(weights[WEST])
    w5 = np.int64(weights[WEST_WEST])
    histogram[:] = 0
    for r in range(rows):
        activity_above(own[r + 1], own[r], weights, activity, width)
        n = OWN_WEIGHTS
        for q in range(p - 1, max(p - 1 - CROSS_PLANES, -1), -1):
            beside = magnitudes[q, r + 2]
            activity_beside(beside, weights[n], weights[n + 1], activity, width)
            n += CROSS_WEIGHTS
        west = np.int64(0)
        west2 = np.int64(0)
        for x in range(width):
            if x % run == 0:
                west = np.int64(own[r + 1, PAD + x])
                west2 = west
            s = level(np.int64(activity[x]) + w4 * west + w5 * west2, np.uint64(shift))
            levels[r, x] = s
            histogram[s] += 1
            west2 = west
            west = np.int64(own[r + 2, PAD + x])


@kernel
def share_levels(histogram: Any, thresholds: Any) -> None:
    """Thresholds (uint16) that share the residuals evenly among contexts."""
    left = np.int64(0)
    for s in range(LEVELS):
        left += histogram[s]
    held = np.int64(0)
    t = 0
    for s in range(LEVELS):
        held += histogram[s]
        # A level that many residuals share is a context of its own; the others share the rest.
        if t < THRESHOLDS and held > 0 and held * (CONTEXTS - t) >= left:
            thresholds[t] = s + 1
            left -= held
            held = 0
            t += 1
    for i in range(t, THRESHOLDS):
        thresholds[i] = LEVELS
