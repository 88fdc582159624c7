"""Fit of the prediction of tile mode 5, by re-weighted least squares, sixteen samples at once.

Features are the differences that taps weigh: see `codec.kernels.half_lanes`. Each further round
weights a sample by the inverse of its error, as in `codec.kernels.fit`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.fit import solve
from codec.kernels.half_lanes import LANES
from codec.kernels.half_sums import (
    absolute_lanes,
    add_scaled_lanes,
    difference_lanes,
    lane_total,
    mean_difference_lanes,
    product_lanes,
    sum_products,
)
from codec.kernels.jit import kernel

OWN_TAPS = 2
REFERENCE_TAPS = 3
ODD_TAPS = 1
"""Taps of each half: of the plane, and of each plane it refers to; odd columns have one more."""
TAPS = OWN_TAPS + 2 * REFERENCE_TAPS + ODD_TAPS
ONE = 1 << 14
"""A tap of one."""
RUN = (TAPS + 1) * LANES
"""Numbers of a run of samples: a vector each tap, and what they are to foretell."""
_TARGET = TAPS * LANES
_RIDGE = 1e-3
_FLOOR = 0.6
_CHUNK = 32
"""Runs whose features stay in the first cache."""


@kernel
def tap_count(references: int, parity: int) -> int:
    """Taps of the columns of one parity."""
    return OWN_TAPS + REFERENCE_TAPS * references + ODD_TAPS * parity


@kernel
def gather_run(
    ring: Any, places: Any, references: int, parity: int, own: int, j: int, a: Any, at: int
) -> None:
    """Features of sixteen columns of a half, from its j-th on, into ``a[at : at + RUN]``.

    ``places`` (int64) are those of `codec.kernels.half_rows`, ``own`` the half itself.
    """
    west = j if parity else j - 1
    base = places[0] + j
    mean_difference_lanes(ring, places[1] + west, base, a, at)
    difference_lanes(ring, places[2] + j, base, a, at + LANES)
    tap = at + OWN_TAPS * LANES
    for q in range(references):
        i = 4 + 4 * q
        edge = places[i + 2] + j
        difference_lanes(ring, places[i] + j, edge, a, tap)
        mean_difference_lanes(ring, places[i + 1] + west, edge, a, tap + LANES)
        mean_difference_lanes(ring, places[i + 3] + west, edge, a, tap + 2 * LANES)
        tap += REFERENCE_TAPS * LANES
    if parity:
        mean_difference_lanes(ring, places[3] + west, base, a, tap)
    difference_lanes(ring, own + j, base, a, at + _TARGET)


@kernel
def _normal_equations(
    a: Any, runs: int, n: int, weights: Any, weighted: Any, m: Any, y: Any
) -> None:
    """``m w = y`` for the weights w of the first ``n`` features; ``weighted`` is scratch."""
    m[:] = 0
    y[:] = 0
    for first in range(0, runs, _CHUNK):
        count = min(_CHUNK, runs - first)
        origin = first * RUN
        for i in range(n):
            for t in range(count):
                at = origin + t * RUN + i * LANES
                product_lanes(weighted, t * LANES, a, at, weights, (first + t) * LANES)
            for j in range(i + 1):
                place = origin + j * LANES
                m[i, j] += np.float64(sum_products(weighted, a, place, RUN, count))
            y[i] += np.float64(sum_products(weighted, a, origin + _TARGET, RUN, count))


@kernel
def _weigh(a: Any, runs: int, n: int, w: Any, least: float, ones: Any, weights: Any) -> None:
    """Weights of all samples, from the errors that the features' weights ``w`` leave."""
    totals = np.zeros(LANES, np.float32)
    for run in range(runs):
        place = run * LANES
        at = run * RUN
        product_lanes(weights, place, a, at + _TARGET, ones, 0)
        for i in range(n):
            add_scaled_lanes(weights, place, a, at + i * LANES, np.float32(-w[i]))
        absolute_lanes(weights, place, totals)
    mean = np.float64(lane_total(totals, 0)) / (runs * LANES)
    floor = np.float32(max(_FLOOR * mean, least))
    for i in range(runs * LANES):
        weights[i] = floor / max(weights[i], floor)


@kernel
def fit_runs(a: Any, runs: int, n: int, rounds: int, unit: int, scratch: Any, c: Any) -> None:
    """Taps ``c`` (int16[TAPS, LANES]) of ``n`` features from the first ``runs`` runs in ``a``.

    ``a`` float32[runs * RUN], of samples whose values are ``unit`` apart; ``runs`` is a multiple
    of `ABREAST`; ``scratch`` float32[2, runs * LANES]. Products of odd taps are subtracted: those
    are negative.
    """
    m = np.empty((n, n), np.float64)
    y = np.empty(n, np.float64)
    w = np.empty(n, np.float64)
    ones = np.ones(LANES, np.float32)
    weights, weighted = scratch[0], scratch[1]
    for i in range(runs * LANES):
        weights[i] = 1
    for turn in range(rounds):
        _normal_equations(a, runs, n, weights, weighted, m, y)
        for i in range(n):
            m[i, i] += _RIDGE * (runs * LANES) * unit * unit
        solve(m, y, n, w)
        if turn + 1 < rounds:
            _weigh(a, runs, n, w, 0.5 * unit, ones, weights)
    for i in range(n):
        tap = np.int64(np.round(min(max(w[i] * ONE, -32767.0), 32767.0)))
        for lane in range(LANES):
            c[i, lane] = -tap if i & 1 else tap
