"""Fit of the prediction of tile mode 3: few taps, from few samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.fit import RUN, least_squares
from codec.kernels.jit import kernel
from codec.kernels.packing import PAD
from codec.kernels.predict import FRACTION, ROUND
from codec.kernels.quick_predict import BIAS, REFERENCES

_FEATURES = (3, 5, 6)


@kernel
def _gather(planes: Any, order: Any, p: int, rows: int, width: int, a: Any, b: Any) -> None:
    """Sample features ``a`` (float32[features, n]) and targets ``b``, in runs of neighbours.

    Features are differences to the sample above: see `codec.kernels.fit`.
    """
    run = min(RUN, width)
    plane = planes[order[p]]
    state = np.uint64(0x9E3779B97F4A7C15 + 2 * p)
    low = np.uint64(0xFFFFFFFF)
    for first in range(0, b.size, run):
        state ^= state << np.uint64(13)
        state ^= state >> np.uint64(7)
        state ^= state << np.uint64(17)
        r = 1 + np.int64(((state >> np.uint64(32)) * np.uint64(rows - 1)) >> np.uint64(32))
        x = np.int64(((state & low) * np.uint64(width - run + 1)) >> np.uint64(32)) + PAD
        row, above = plane[r], plane[r - 1]
        for i in range(first, min(first + run, b.size)):
            north = np.int32(above[x])
            a[0, i] = np.int32(row[x - 1]) - north
            a[1, i] = np.int32(above[x - 1]) - north
            a[2, i] = np.int32(above[x + 1]) - north
            b[i] = np.int32(row[x]) - north
            if p > 0:
                other = planes[order[p - 1]]
                above_other = np.int32(other[r - 1, x])
                a[3, i] = np.int32(other[r, x]) - above_other
                a[4, i] = np.int32(other[r, x - 1]) - above_other
            if p > 1:
                farther = planes[order[p - 2]]
                a[5, i] = np.int32(farther[r, x]) - np.int32(farther[r - 1, x])
            x += 1


@kernel
def _rounded(weight: float) -> int:
    scaled = np.round(min(max(weight * (1 << FRACTION), -32767.0), 32767.0))
    return np.int64(scaled)


@kernel
def _within(rest: int) -> int:
    return min(max(rest, -32768), 32767)


@kernel
def quick_fit(
    planes: Any, order: Any, p: int, rows: int, width: int, samples: int, rounds: int, c: Any
) -> None:
    """Coefficients ``c`` (int32[COEFFICIENTS]) of the p-th plane coded, for ``rows`` > 1.

    ``planes`` uint16[components, rows, PAD + width + PAD] with their side samples filled,
    ``samples`` a multiple of `codec.kernels.fit.LANES`.
    """
    n = _FEATURES[min(p, REFERENCES)]
    a = np.empty((n, samples), np.float32)
    b = np.empty(samples, np.float32)
    _gather(planes, order, p, rows, width, a, b)
    w = np.zeros(n, np.float64)
    least_squares(a, b, n, rounds, w)
    c[:] = 0
    c[0] = _rounded(w[0])
    c[2] = _rounded(w[1])
    c[3] = _rounded(w[2])
    c[1] = _within((1 << FRACTION) - c[0] - c[2] - c[3])
    if p > 0:
        c[4] = _rounded(w[3])
        c[5] = _rounded(w[4])
        c[6] = _within(-c[4] - c[5])
    if p > 1:
        c[7] = _rounded(w[5])
        c[8] = _within(-c[7])
    c[BIAS] = ROUND
