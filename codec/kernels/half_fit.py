"""Fit of the prediction of tile mode 5, by re-weighted least squares, sixteen samples at once.

Features are the differences that taps weigh: see `codec.kernels.half_lanes`. Each further round
weights a sample by the inverse of its error, as in `codec.kernels.fit`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.fit import solve
from codec.kernels.half_lanes import LANES
from codec.kernels.half_sums import add_product, difference_lanes
from codec.kernels.jit import kernel

OWN_TAPS = 3
REFERENCE_TAPS = 5
ODD_TAPS = 2
"""Taps of each half: of the plane, and of each plane it refers to; odd columns have two more."""
TAPS = OWN_TAPS + 2 * REFERENCE_TAPS + ODD_TAPS
ONE = 1 << 14
"""A tap of one."""
RUN = (TAPS + 1) * LANES
"""Numbers of a run of samples: a vector each tap, and what they are to foretell."""
_TARGET = TAPS * LANES
_RIDGE = 1e-3
_FLOOR = 0.6


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
    east = west + 1
    base = places[0] + j
    difference_lanes(ring, places[1] + west, base, a, at)
    difference_lanes(ring, places[1] + east, base, a, at + LANES)
    difference_lanes(ring, places[2] + j, base, a, at + 2 * LANES)
    tap = at + OWN_TAPS * LANES
    for q in range(references):
        i = 4 + 4 * q
        edge = places[i + 2] + j
        difference_lanes(ring, places[i] + j, edge, a, tap)
        difference_lanes(ring, places[i + 1] + west, edge, a, tap + LANES)
        difference_lanes(ring, places[i + 1] + east, edge, a, tap + 2 * LANES)
        difference_lanes(ring, places[i + 3] + west, edge, a, tap + 3 * LANES)
        difference_lanes(ring, places[i + 3] + east, edge, a, tap + 4 * LANES)
        tap += REFERENCE_TAPS * LANES
    if parity:
        difference_lanes(ring, places[3] + west, base, a, tap)
        difference_lanes(ring, places[3] + east, base, a, tap + LANES)
    difference_lanes(ring, own + j, base, a, at + _TARGET)


@kernel
def _lane_total(sums: Any, place: int) -> float:
    total = np.float64(0.0)
    for lane in range(LANES):
        total += np.float64(sums[place + lane])
    return total


@kernel
def _normal_equations(a: Any, runs: int, n: int, weights: Any, sums: Any, m: Any, y: Any) -> None:
    """``m w = y`` for the weights w of the first ``n`` features; ``sums`` is scratch."""
    row = (n + 1) * LANES
    weighted = np.empty(LANES, np.float32)
    sums[: n * row] = 0
    for run in range(runs):
        at = run * RUN
        for i in range(n):
            weighted[:] = 0
            add_product(weighted, 0, a, at + i * LANES, weights, run * LANES)
            for j in range(i + 1):
                add_product(sums, i * row + j * LANES, weighted, 0, a, at + j * LANES)
            add_product(sums, i * row + n * LANES, weighted, 0, a, at + _TARGET)
    for i in range(n):
        for j in range(i + 1):
            m[i, j] = _lane_total(sums, i * row + j * LANES)
        y[i] = _lane_total(sums, i * row + n * LANES)


@kernel
def _weigh(a: Any, runs: int, n: int, w: Any, least: float, weights: Any) -> None:
    """Weights of all samples, from the errors that the features' weights ``w`` leave."""
    taps = np.empty((n, LANES), np.float32)
    for i in range(n):
        taps[i, :] = -w[i]
    flat = taps.reshape(n * LANES)
    error = np.empty(LANES, np.float32)
    total = np.float64(0.0)
    for run in range(runs):
        at = run * RUN
        error[:] = a[at + _TARGET : at + _TARGET + LANES]
        for i in range(n):
            add_product(error, 0, flat, i * LANES, a, at + i * LANES)
        for lane in range(LANES):
            size = abs(error[lane])
            weights[run * LANES + lane] = size
            total += np.float64(size)
    floor = np.float32(max(_FLOOR * total / (runs * LANES), least))
    for i in range(runs * LANES):
        weights[i] = floor / max(weights[i], floor)


@kernel
def fit_runs(a: Any, runs: int, n: int, rounds: int, unit: int, weights: Any, c: Any) -> None:
    """Taps ``c`` (int16[TAPS, LANES]) of ``n`` features from the first ``runs`` runs in ``a``.

    ``a`` float32[runs * RUN], of samples whose values are ``unit`` apart; ``weights``
    float32[runs * LANES] is scratch. Products of odd taps are subtracted: those are negative.
    """
    m = np.empty((n, n), np.float64)
    y = np.empty(n, np.float64)
    w = np.empty(n, np.float64)
    sums = np.empty(TAPS * RUN, np.float32)
    weights[: runs * LANES] = 1
    for turn in range(rounds):
        _normal_equations(a, runs, n, weights, sums, m, y)
        for i in range(n):
            m[i, i] += _RIDGE * (runs * LANES) * unit * unit
        solve(m, y, n, w)
        if turn + 1 < rounds:
            _weigh(a, runs, n, w, 0.5 * unit, weights)
    for i in range(n):
        tap = np.int64(np.round(min(max(w[i] * ONE, -32767.0), 32767.0)))
        c[i, :] = -tap if i & 1 else tap
