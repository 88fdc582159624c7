"""Fit of a plane's prediction coefficients to a tile, by re-weighted least squares.

Features are differences to the sample above (of the same plane, and of each reference plane), so
the weights of a plane's own taps add up to one and those of a reference plane to nought: few
samples then suffice, and flat areas are foretold exactly. Each further round weights a sample by
the inverse of its error, which leans towards the least sum of absolute errors, the one that costs
bits. Only the encoder runs this, in floating point; what it finds is stored as integers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.half_sums import (
    LANES,
    absolute_lanes,
    add_scaled_lanes,
    difference_lanes,
    lane_total,
    product_lanes,
    sum_products,
)
from codec.kernels.jit import kernel
from codec.kernels.packing import PAD
from codec.kernels.predict import (
    BIAS,
    FRACTION,
    MAX_REFERENCES,
    OWN_TAPS,
    REFERENCE_TAPS,
    ROUND,
)

MAX_FEATURES = 3 + 4 * MAX_REFERENCES
_CHUNK = 32
"""Runs whose features stay in the first cache."""
_RIDGE = 1e-3
_FLOOR = 0.6
"""No error is taken to be less than this part of their mean, ..."""
_LEAST = 0.5
"""... which is not taken to be less than this."""


@kernel
def _difference(flat: Any, at: int, above: int, wide: bool, a: Any, place: int) -> None:
    """A feature of a run: samples from ``at`` on, less those from ``above`` on.

    Planes too narrow for a run give the first of them in every lane.
    """
    if wide:
        difference_lanes(flat, at, above, a, place)
    else:
        a[place : place + LANES] = np.int32(flat[at]) - np.int32(flat[above])


@kernel
def _gather(planes: Any, order: Any, p: int, rows: int, width: int, runs: int, a: Any) -> int:
    """Features and targets ``a`` (see `normal_equations`) of runs of neighbours; the feature count.

    Neighbours share cache lines.
    """
    wide = width >= LANES
    columns = width - LANES + 1 if wide else width
    flat = planes.reshape(-1)
    stride = planes.shape[2]
    size = planes.shape[1] * stride
    references = min(p, MAX_REFERENCES)
    features = 3 + 4 * references
    state = np.uint64(0x9E3779B97F4A7C15 + 2 * p)
    for run in range(runs):
        state ^= state << np.uint64(13)
        state ^= state >> np.uint64(7)
        state ^= state << np.uint64(17)
        r = 1 + np.int64(((state >> np.uint64(32)) * np.uint64(rows - 1)) >> np.uint64(32))
        x = np.int64(((state & np.uint64(0xFFFFFFFF)) * np.uint64(columns)) >> np.uint64(32))
        inside = r * stride + PAD + x
        here = order[p] * size + inside
        north = here - stride
        place = run * (features + 1) * LANES
        _difference(flat, here - 1, north, wide, a, place)
        _difference(flat, north - 1, north, wide, a, place + LANES)
        _difference(flat, north + 1, north, wide, a, place + 2 * LANES)
        _difference(flat, here, north, wide, a, place + features * LANES)
        for j in range(references):
            other = order[p - 1 - j] * size + inside
            above = other - stride
            tap = place + (3 + 4 * j) * LANES
            _difference(flat, other, above, wide, a, tap)
            _difference(flat, other - 1, above, wide, a, tap + LANES)
            _difference(flat, above - 1, above, wide, a, tap + 2 * LANES)
            _difference(flat, above + 1, above, wide, a, tap + 3 * LANES)
    return features


@kernel
def solve(m: Any, y: Any, n: int, w: Any) -> None:
    """Solve the symmetric positive system ``m w = y`` by Cholesky; ``m`` is overwritten."""
    for i in range(n):
        for j in range(i + 1):
            t = m[i, j]
            for k in range(j):
                t -= m[i, k] * m[j, k]
            if i == j:
                m[i, i] = np.sqrt(max(t, 1e-9))
            else:
                m[i, j] = t / m[j, j]
    for i in range(n):
        t = y[i]
        for k in range(i):
            t -= m[i, k] * w[k]
        w[i] = t / m[i, i]
    for i in range(n - 1, -1, -1):
        t = w[i]
        for k in range(i + 1, n):
            t -= m[k, i] * w[k]
        w[i] = t / m[i, i]


@kernel
def _store(w: Any, references: int, c: Any) -> None:
    """Round weights ``w`` to the coefficients ``c`` (int32[COEFFICIENTS])."""
    scale = 1 << FRACTION
    limit = 32767.0
    c[:] = 0
    rest = scale
    for j in range(3):
        tap = 0 if j == 0 else j + 1
        c[tap] = np.int32(np.round(min(max(w[j] * scale, -limit), limit)))
        rest -= c[tap]
    c[1] = min(max(rest, -32768), 32767)
    for q in range(references):
        first = OWN_TAPS + REFERENCE_TAPS * q
        rest = 0
        for j in range(4):
            tap = first + (j if j < 2 else j + 1)
            c[tap] = np.int32(np.round(min(max(w[3 + 4 * q + j] * scale, -limit), limit)))
            rest -= c[tap]
        c[first + 2] = min(max(rest, -32768), 32767)
    c[BIAS] = ROUND


@kernel
def normal_equations(
    a: Any, runs: int, stride: int, n: int, weights: Any, weighted: Any, m: Any, y: Any
) -> None:
    """``m w = y`` for the weights w with which ``n`` features foretell the targets best.

    ``a`` (float32) holds ``runs`` runs of ``stride`` numbers: a vector of `LANES` samples for each
    feature and, in the end, for the target. ``runs`` is a multiple of `half_sums.ABREAST`.
    ``weights`` (float32) are the samples', ``weighted`` (float32[_CHUNK * LANES]) is scratch.
    """
    target = stride - LANES
    m[:] = 0
    y[:] = 0
    for first in range(0, runs, _CHUNK):
        count = min(_CHUNK, runs - first)
        origin = first * stride
        for i in range(n):
            for t in range(count):
                at = origin + t * stride + i * LANES
                product_lanes(weighted, t * LANES, a, at, weights, (first + t) * LANES)
            for j in range(i + 1):
                place = origin + j * LANES
                m[i, j] += np.float64(sum_products(weighted, a, place, stride, count))
            y[i] += np.float64(sum_products(weighted, a, origin + target, stride, count))


@kernel
def absolute_errors(a: Any, runs: int, stride: int, n: int, w: Any, errors: Any) -> float:
    """The sizes of the ``errors`` (float32) that the features' weights ``w`` leave; their mean."""
    ones = np.ones(LANES, np.float32)
    totals = np.zeros(LANES, np.float32)
    for run in range(runs):
        place = run * LANES
        at = run * stride
        product_lanes(errors, place, a, at + stride - LANES, ones, 0)
        for i in range(n):
            add_scaled_lanes(errors, place, a, at + i * LANES, np.float32(-w[i]))
        absolute_lanes(errors, place, totals)
    return np.float64(lane_total(totals, 0)) / (runs * LANES)


@kernel
def _least_squares(a: Any, runs: int, n: int, rounds: int, w: Any) -> None:
    """Weights ``w`` (float64) of ``n`` features that foretell the targets best.

    Every round after the first weighs samples by the inverse of their error.
    """
    stride = (n + 1) * LANES
    weights = np.ones(runs * LANES, np.float32)
    weighted = np.empty(_CHUNK * LANES, np.float32)
    m = np.empty((n, n), np.float64)
    y = np.empty(n, np.float64)
    for turn in range(rounds):
        normal_equations(a, runs, stride, n, weights, weighted, m, y)
        for i in range(n):
            m[i, i] += _RIDGE * runs * LANES
        solve(m, y, n, w)
        if turn + 1 < rounds:
            mean = absolute_errors(a, runs, stride, n, w, weights)
            floor = np.float32(max(_FLOOR * mean, _LEAST))
            for i in range(runs * LANES):
                weights[i] = np.float32(1.0) / max(weights[i], floor)


@kernel
def fit_plane(
    planes: Any,
    order: Any,
    p: int,
    rows: int,
    width: int,
    samples: int,
    rounds: int,
    c: Any,
) -> None:
    """Coefficients ``c`` of the ``p``-th plane coded, for ``rows`` > 1.

    ``planes`` uint16[components, rows, PAD + width + PAD] with their side samples filled,
    ``order[p]`` the component coded p-th, ``samples`` a multiple of 64.
    """
    runs = samples // LANES
    a = np.empty((MAX_FEATURES + 1) * samples, np.float32)
    n = _gather(planes, order, p, rows, width, runs, a)
    w = np.zeros(MAX_FEATURES, np.float64)
    _least_squares(a, runs, n, rounds, w)
    _store(w, min(p, MAX_REFERENCES), c)
