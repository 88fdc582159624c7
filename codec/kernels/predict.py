"""Linear prediction of a row from its neighbours and from planes coded before it.

For plane ``p`` at ``(r, x)`` the prediction is ``(sum + 2048) >> 12`` where ``sum`` is, in 32-bit
two's complement arithmetic,

    bias + cW*W + cN*N + cNW*NW + cNE*NE
         + for each reference plane:
           c0*g(r,x) + c1*g(r,x-1) + c2*g(r-1,x) + c3*g(r-1,x-1) + c4*g(r-1,x+1)

Coefficients are 12-bit fixed point. The rounding constant is part of the bias the kernels get.
The other predictor, for flat and sparse planes, is the median of W, N and W + N - NW.

A row is cut into `RUNS` runs of columns. The first sample of each run takes N for W, so
that the runs do not wait for one another when they are decoded. In a tile's first row nothing
stands above: there the first run's first W is the middle of the range, the other runs' is that
too, and fixed coefficients are used (`FIRST_ROW`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.jit import inlined, kernel
from codec.kernels.lanes import LANES, step_lanes
from codec.kernels.packing import PAD

FRACTION = 12
ROUND = 1 << (FRACTION - 1)
OWN_TAPS = 4
REFERENCE_TAPS = 5
MAX_REFERENCES = 3
COEFFICIENTS = OWN_TAPS + REFERENCE_TAPS * MAX_REFERENCES + 1
BIAS = COEFFICIENTS - 1
RUNS = LANES
LINEAR = 0
MEDIAN = 1


@kernel
def base_own(base: Any, above: Any, c: Any, width: int) -> None:
    """``base[x]`` (int32) = bias + the taps of the row above."""
    bias = np.int32(c[BIAS])
    north = np.int32(c[1])
    north_west = np.int32(c[2])
    north_east = np.int32(c[3])
    for x in range(width):
        base[x] = (
            bias
            + north * np.int32(above[PAD + x])
            + north_west * np.int32(above[PAD + x - 1])
            + north_east * np.int32(above[PAD + x + 1])
        )


@kernel
def base_own_and_reference(
    base: Any, above: Any, other: Any, other_above: Any, c: Any, width: int
) -> None:
    """`base_own` and the taps of the first reference plane, in one pass."""
    bias = np.int32(c[BIAS])
    north = np.int32(c[1])
    north_west = np.int32(c[2])
    north_east = np.int32(c[3])
    c0 = np.int32(c[OWN_TAPS])
    c1 = np.int32(c[OWN_TAPS + 1])
    c2 = np.int32(c[OWN_TAPS + 2])
    c3 = np.int32(c[OWN_TAPS + 3])
    c4 = np.int32(c[OWN_TAPS + 4])
    for x in range(width):
        base[x] = (
            bias
            + north * np.int32(above[PAD + x])
            + north_west * np.int32(above[PAD + x - 1])
            + north_east * np.int32(above[PAD + x + 1])
            + c0 * np.int32(other[PAD + x])
            + c1 * np.int32(other[PAD + x - 1])
            + c2 * np.int32(other_above[PAD + x])
            + c3 * np.int32(other_above[PAD + x - 1])
            + c4 * np.int32(other_above[PAD + x + 1])
        )


@kernel
def base_reference(base: Any, row: Any, above: Any, c: Any, first: int, width: int) -> None:
    """Add the five taps of one reference plane, whose coefficients begin at ``c[first]``."""
    c0 = np.int32(c[first])
    c1 = np.int32(c[first + 1])
    c2 = np.int32(c[first + 2])
    c3 = np.int32(c[first + 3])
    c4 = np.int32(c[first + 4])
    for x in range(width):
        base[x] = (
            np.int32(base[x])
            + c0 * np.int32(row[PAD + x])
            + c1 * np.int32(row[PAD + x - 1])
            + c2 * np.int32(above[PAD + x])
            + c3 * np.int32(above[PAD + x - 1])
            + c4 * np.int32(above[PAD + x + 1])
        )


@kernel
def base_row(
    base: Any, planes: Any, order: Any, p: int, r: int, above: int, c: Any, width: int
) -> None:
    """``base`` of the p-th plane coded: all taps but W.

    ``planes[component, r]`` and ``planes[component, above]`` are the planes' rows.
    """
    own = planes[order[p], above]
    if p == 0:
        base_own(base, own, c, width)
        return
    other = order[p - 1]
    base_own_and_reference(base, own, planes[other, r], planes[other, above], c, width)
    for q in range(1, min(p, MAX_REFERENCES)):
        other = order[p - 1 - q]
        first = OWN_TAPS + REFERENCE_TAPS * q
        base_reference(base, planes[other, r], planes[other, above], c, first, width)


@kernel
def first_row_coefficients(c: Any, plane: int) -> None:
    """Fill ``c`` for a tile's first row: W, and the step of the plane coded just before."""
    c[:] = 0
    c[0] = 1 << FRACTION
    c[BIAS] = ROUND
    if plane > 0:
        c[OWN_TAPS] = 1 << FRACTION
        c[OWN_TAPS + 1] = -(1 << FRACTION)


@kernel
def run_length(width: int) -> int:
    """Columns in each run but the last, which has what is left (perhaps none)."""
    return (width + RUNS - 1) // RUNS


@inlined
def _folded(sample: Any, prediction: Any, half: Any, mask: Any) -> Any:
    """The folded residual (uint16) of a sample; ``half`` and ``mask`` are int16 and may wrap.

    Only the low 16 bits matter. Every step says its type: numba widens sums of narrow integers
    to 64 bits, and vectors with them.
    """
    above = np.int16(np.int16(np.int16(sample) - np.int16(prediction)) + half)
    d = np.int16(np.int16(above & mask) - half)
    return np.uint16(np.int16(d << np.int16(1)) ^ np.int16(d >> np.int16(15)))


@kernel
def residual_row(
    base: Any, west: int, row: Any, starts: Any, bits: int, z: Any, width: int
) -> None:
    """Folded residuals ``z`` (uint16) of ``row``; ``starts[s]`` stands for W at run ``s``.

    A residual d in ``[-2^(bits-1), 2^(bits-1))`` is folded to ``2d`` or ``-2d - 1``.
    """
    w = np.int32(west)
    mask = np.int16((1 << bits) - 1)
    half = np.int16(1 << (bits - 1))
    for x in range(width):
        p = np.int32(np.int32(base[x]) + np.int32(w * np.int32(row[PAD + x - 1])))
        z[PAD + x] = _folded(row[PAD + x], np.int32(p >> np.int32(FRACTION)), half, mask)
    length = run_length(width)
    for s in range(RUNS):
        x = s * length
        if x < width:
            p = np.int32(np.int32(base[x]) + np.int32(w * np.int32(starts[s])))
            z[PAD + x] = _folded(row[PAD + x], np.int32(p >> np.int32(FRACTION)), half, mask)


@inlined
def _median(w: Any, n: Any, nw: Any) -> Any:
    """The median of W, N and W + N - NW (int32)."""
    return max(min(np.int32(np.int32(w + n) - nw), max(w, n)), min(w, n))


@kernel
def median_residual_row(row: Any, above: Any, starts: Any, bits: int, z: Any, width: int) -> None:
    """`residual_row` for the median predictor."""
    mask = np.int16((1 << bits) - 1)
    half = np.int16(1 << (bits - 1))
    for x in range(width):
        west = np.int32(row[PAD + x - 1])
        p = _median(west, np.int32(above[PAD + x]), np.int32(above[PAD + x - 1]))
        z[PAD + x] = _folded(row[PAD + x], p, half, mask)
    length = run_length(width)
    for s in range(RUNS):
        x = s * length
        if x < width:
            p = _median(np.int32(starts[s]), np.int32(above[PAD + x]), np.int32(above[PAD + x - 1]))
            z[PAD + x] = _folded(row[PAD + x], p, half, mask)


@inlined
def _median_step(value: Any, above: Any, residual: Any, x: Any, mask: Any) -> Any:
    """The sample at x of a run, from the one before it; ``above`` begins one sample left."""
    north_west = np.int32(above[x])
    north = np.int32(above[x + np.uint64(1)])
    return np.int32((_median(value, north, north_west) + np.int32(residual[x])) & mask)


@kernel
def median_rebuild_row(
    above: Any, residual: Any, starts: Any, bits: int, row: Any, width: int
) -> None:
    """Samples of ``row`` from residuals (int16) under the median predictor, four runs abreast."""
    mask = np.int32((1 << bits) - 1)
    length = run_length(width)
    shortest = max(width - (RUNS - 1) * length, 0)
    for first in range(0, RUNS, 4):
        last = length if first + 4 < RUNS else shortest
        origin = first * length
        a0 = above[PAD - 1 + origin :]
        a1 = above[PAD - 1 + origin + length :]
        a2 = above[PAD - 1 + origin + 2 * length :]
        a3 = above[PAD - 1 + origin + 3 * length :]
        e0 = residual[origin:]
        e1 = residual[origin + length :]
        e2 = residual[origin + 2 * length :]
        e3 = residual[origin + 3 * length :]
        o0 = row[PAD + origin :]
        o1 = row[PAD + origin + length :]
        o2 = row[PAD + origin + 2 * length :]
        o3 = row[PAD + origin + 3 * length :]
        v0 = np.int32(starts[first])
        v1 = np.int32(starts[first + 1])
        v2 = np.int32(starts[first + 2])
        v3 = np.int32(starts[first + 3])
        last = max(min(last, width - origin - 3 * length), 0)
        for i in range(last):
            x = np.uint64(i)
            v0 = _median_step(v0, a0, e0, x, mask)
            v1 = _median_step(v1, a1, e1, x, mask)
            v2 = _median_step(v2, a2, e2, x, mask)
            v3 = _median_step(v3, a3, e3, x, mask)
            o0[x] = v0
            o1[x] = v1
            o2[x] = v2
            o3[x] = v3
        for s in range(4):
            value = v0 if s == 0 else (v1 if s == 1 else (v2 if s == 2 else v3))
            begin = origin + s * length
            for i in range(begin + last, min(begin + length, width)):
                north_west = np.int32(above[PAD + i - 1])
                north = np.int32(above[PAD + i])
                value = np.int32((_median(value, north, north_west) + np.int32(residual[i])) & mask)
                row[PAD + i] = value


@kernel
def unfold_row(z: Any, residual: Any, width: int) -> None:
    """Signed residuals (int16) of folded ones."""
    for x in range(width):
        v = np.int32(z[PAD + x])
        residual[x] = (v >> np.int32(1)) ^ -(v & np.int32(1))


@kernel
def base_residual(base: Any, z: Any, width: int) -> None:
    """Add the folded residuals to ``base``, shifted by `FRACTION`.

    ``(base + west * W) >> FRACTION`` then is the sample itself.
    """
    for x in range(width):
        v = np.int32(z[PAD + x])
        d = (v >> np.int32(1)) ^ -(v & np.int32(1))
        base[x] = np.int32(base[x]) + np.int32(d << np.int32(FRACTION))


@kernel
def rebuild_row(base: Any, west: int, starts: Any, bits: int, row: Any, width: int) -> None:
    """Samples of ``row`` from ``base`` with residuals: the recursion over W, its runs abreast.

    ``starts`` (int32[RUNS]) is overwritten.
    """
    w = np.int32(west)
    mask = np.int32((1 << bits) - 1)
    length = run_length(width)
    whole = max(width - (RUNS - 1) * length, 0) // LANES * LANES
    for at in range(0, whole, LANES):
        step_lanes(base, row, PAD, at, length, starts, w, np.int32(bits))
    for s in range(RUNS):
        value = np.int32(starts[s])
        for x in range(s * length + whole, min((s + 1) * length, width)):
            p = np.int32(np.int32(base[x]) + w * value) >> np.int32(FRACTION)
            value = np.int32(p & mask)
            row[PAD + x] = value


@kernel
def run_starts(above: Any, first_row: bool, bits: int, width: int, starts: Any) -> None:
    """What stands for W at the first sample of each run."""
    length = run_length(width)
    for s in range(RUNS):
        if first_row or s * length >= width:
            starts[s] = 1 << (bits - 1)
        else:
            starts[s] = above[PAD + s * length]


@kernel
def pad_row(row: Any, above: Any, first_row: bool, bits: int, width: int) -> None:
    """Samples beside the row: W of its first column, and its last column repeated."""
    row[PAD - 1] = (1 << (bits - 1)) if first_row else above[PAD]
    row[PAD + width] = row[PAD + width - 1]
