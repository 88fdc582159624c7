"""Contexts of residuals, all known before a row's residuals are.

Each residual leaves a magnitude ``m = min(z >> magnitude_shift, 900)``. The activity at
``(r, x)`` of a plane is, with m of the row above and of the two rows above,

    S = 2 * (3*N + 2*(NW + NE) + NWW + NEE + NN)
      + cross * sum over up to two planes coded before (g(x-1) + 2*g(x) + g(x+1), same row)

and the context is how many of the plane's 15 thresholds are ``<= S``. Magnitudes beside the
image are 0; those above a tile's first row are a constant of the tile.

Contexts are kept times `CONTEXT_STEP`, which makes them the offsets of their tables.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.jit import kernel
from codec.kernels.packing import PAD

CONTEXTS = 16
THRESHOLDS = CONTEXTS - 1
MAX_MAGNITUDE = 900
CONTEXT_STEP = 1 << 9
CROSS_PLANES = 2
MAX_ACTIVITY = 1 << 15


@kernel
def magnitude_row(z: Any, bits: int, shift: int, m: Any, width: int) -> None:
    """Magnitudes (int16) of folded residuals (uint16), of which the low ``bits`` bits count."""
    mask = np.uint16((1 << bits) - 1)
    s = np.uint16(shift)
    limit = np.uint16(MAX_MAGNITUDE)
    for x in range(width):
        v = np.uint16((z[PAD + x] & mask) >> s)
        m[PAD + x] = limit if v > limit else v


@kernel
def activity_own(north: Any, north2: Any, activity: Any, width: int) -> None:
    """``activity[x]`` (int16) from the magnitudes one and two rows above."""
    for x in range(width):
        activity[x] = np.int16(
            np.int16(6) * north[PAD + x]
            + np.int16(4) * (north[PAD + x - 1] + north[PAD + x + 1])
            + np.int16(2) * (north[PAD + x - 2] + north[PAD + x + 2] + north2[PAD + x])
        )


@kernel
def activity_cross(m: Any, cross: int, activity: Any, width: int) -> None:
    """Add the magnitudes of a plane coded before, same row."""
    weight = np.int16(cross)
    for x in range(width):
        activity[x] = np.int16(
            activity[x] + weight * (m[PAD + x - 1] + np.int16(2) * m[PAD + x] + m[PAD + x + 1])
        )


@kernel
def quantise(activity: Any, thresholds: Any, context: Any, width: int) -> None:
    """Contexts (int16, times `CONTEXT_STEP`) of activities (int16); ``thresholds`` are int16."""
    t0 = thresholds[0]
    t1 = thresholds[1]
    t2 = thresholds[2]
    t3 = thresholds[3]
    t4 = thresholds[4]
    t5 = thresholds[5]
    t6 = thresholds[6]
    t7 = thresholds[7]
    t8 = thresholds[8]
    t9 = thresholds[9]
    t10 = thresholds[10]
    t11 = thresholds[11]
    t12 = thresholds[12]
    t13 = thresholds[13]
    t14 = thresholds[14]
    for x in range(width):
        s = activity[x]
        context[x] = np.int16(CONTEXT_STEP) * np.int16(
            np.int16(s >= t0)
            + np.int16(s >= t1)
            + np.int16(s >= t2)
            + np.int16(s >= t3)
            + np.int16(s >= t4)
            + np.int16(s >= t5)
            + np.int16(s >= t6)
            + np.int16(s >= t7)
            + np.int16(s >= t8)
            + np.int16(s >= t9)
            + np.int16(s >= t10)
            + np.int16(s >= t11)
            + np.int16(s >= t12)
            + np.int16(s >= t13)
            + np.int16(s >= t14)
        )


@kernel
def activity_row(
    magnitudes: Any, order: Any, p: int, r: int, cross: int, activity: Any, width: int
) -> None:
    """``activity`` of row r of the p-th plane coded.

    ``magnitudes`` int16[components, rows + 2, PAD + width + PAD], two rows above the first.
    """
    own = magnitudes[order[p]]
    activity_own(own[r + 1], own[r], activity, width)
    if cross:
        for q in range(max(p - CROSS_PLANES, 0), p):
            activity_cross(magnitudes[order[q], r + 2], cross, activity, width)
