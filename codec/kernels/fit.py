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
LANES = 32
RUN = 16


@kernel
def _gather(planes: Any, order: Any, p: int, rows: int, width: int, a: Any, b: Any) -> int:
    """Sample features ``a`` (float32[features, n]) and targets ``b``; the feature count.

    Samples come in runs of `RUN` neighbours, which share cache lines.
    """
    n = b.size
    step = 1 if width >= RUN else 0
    columns = max(width - RUN + 1, 1) if step else width
    plane = planes[order[p]]
    references = min(p, MAX_REFERENCES)
    features = 3 + 4 * references
    state = np.uint64(0x9E3779B97F4A7C15 + 2 * p)
    r = 1
    x = 0
    for i in range(n):
        if i % RUN == 0:
            state ^= state << np.uint64(13)
            state ^= state >> np.uint64(7)
            state ^= state << np.uint64(17)
            r = 1 + np.int64(((state >> np.uint64(32)) * np.uint64(rows - 1)) >> np.uint64(32))
            x = np.int64(((state & np.uint64(0xFFFFFFFF)) * np.uint64(columns)) >> np.uint64(32))
            x += PAD - step
        x += step
        north = np.int32(plane[r - 1, x])
        a[0, i] = np.int32(plane[r, x - 1]) - north
        a[1, i] = np.int32(plane[r - 1, x - 1]) - north
        a[2, i] = np.int32(plane[r - 1, x + 1]) - north
        b[i] = np.int32(plane[r, x]) - north
        for j in range(references):
            other = planes[order[p - 1 - j]]
            above = np.int32(other[r - 1, x])
            a[3 + 4 * j, i] = np.int32(other[r, x]) - above
            a[4 + 4 * j, i] = np.int32(other[r, x - 1]) - above
            a[5 + 4 * j, i] = np.int32(other[r - 1, x - 1]) - above
            a[6 + 4 * j, i] = np.int32(other[r - 1, x + 1]) - above
    return features


@kernel
def _dot(a: Any, b: Any, lanes: Any) -> float:
    """Sum of products of float32 arrays whose length is a multiple of `LANES`.

    ``lanes`` is float32[LANES] scratch: as many sums side by side keep the vector units busy
    without leave to reorder floating-point additions.
    """
    lanes[:] = 0
    for i in range(0, a.size, LANES):
        for j in range(LANES):
            lanes[j] += a[i + j] * b[i + j]
    total = 0.0
    for j in range(LANES):
        total += lanes[j]
    return total


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
def least_squares(a: Any, b: Any, n: int, rounds: int, w: Any) -> None:
    """Weights ``w`` (float64) of the first ``n`` features that foretell ``b`` best.

    ``a`` float32[features, samples] and ``b`` float32[samples], a multiple of `LANES` samples.
    Every round after the first weighs samples by the inverse of their error.
    """
    samples = b.size
    weight = np.ones(samples, np.float32)
    error = np.empty(samples, np.float32)
    weighted = np.empty(samples, np.float32)
    lanes = np.empty(LANES, np.float32)
    m = np.empty((n, n), np.float64)
    y = np.empty(n, np.float64)
    for turn in range(rounds):
        for i in range(n):
            for t in range(samples):
                weighted[t] = a[i, t] * weight[t]
            y[i] = _dot(weighted, b, lanes)
            for j in range(i + 1):
                m[i, j] = _dot(weighted, a[j], lanes)
            m[i, i] += 1e-3 * samples
        solve(m, y, n, w)
        if turn + 1 == rounds:
            break
        for t in range(samples):
            error[t] = b[t]
        for i in range(n):
            tap = np.float32(w[i])
            for t in range(samples):
                error[t] -= tap * a[i, t]
        total = np.float64(0.0)
        for t in range(samples):
            error[t] = abs(error[t])
            total += error[t]
        floor = np.float32(max(0.6 * total / samples, 0.5))
        for t in range(samples):
            weight[t] = np.float32(1.0) / max(error[t], floor)


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
    ``order[p]`` the component coded p-th, ``samples`` a multiple of `LANES`.
    """
    a = np.empty((MAX_FEATURES, samples), np.float32)
    b = np.empty(samples, np.float32)
    n = _gather(planes, order, p, rows, width, a, b)
    w = np.zeros(MAX_FEATURES, np.float64)
    least_squares(a, b, n, rounds, w)
    _store(w, min(p, MAX_REFERENCES), c)
