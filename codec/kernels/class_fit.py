"""Coefficient sets for a plane's blocks, and which block takes which.

Some rows of every block are looked at. Blocks start out in classes by how busy they are and which
way they lean; then coefficients are fitted to each class and blocks go to the class that foretells
them best, in turn. Features are differences to the sample above, as in `codec.kernels.fit`. Only
the encoder runs this, in floating point; what it finds is stored as integers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.class_predict import (
    FRACTION,
    MAX_REFERENCES,
    OWN_TAPS,
    REFERENCE_TAPS,
    SIDE,
)
from codec.kernels.fit import solve
from codec.kernels.jit import kernel
from codec.kernels.packing import PAD

_OWN_FEATURES = OWN_TAPS - 1
_REFERENCE_FEATURES = REFERENCE_TAPS - 1
MAX_FEATURES = _OWN_FEATURES + _REFERENCE_FEATURES * MAX_REFERENCES
ROWS = 8
"""Rows looked at of each block."""
SAMPLES = ROWS * SIDE
_LANES = 8
assert SAMPLES % _LANES == 0
_FLOOR = 0.6
_FEW = 512
"""Samples below which a class keeps the coefficients it has."""


@kernel
def sample_blocks(planes: Any, order: Any, p: int, rows: int, width: int, a: Any, b: Any) -> int:
    """Sample features ``a`` and targets ``b``; how many features there are.

    ``planes`` uint16[components, rows, PAD + width + PAD] with the samples beside the rows.
    ``a`` float32[blocks, MAX_FEATURES, SAMPLES], ``b`` float32[blocks, SAMPLES], blocks row by
    row. Samples beyond the plane, or in its first row, are nought.
    """
    plane = planes[order[p]]
    references = min(p, MAX_REFERENCES)
    across = (width + SIDE - 1) // SIDE
    a[:] = 0
    b[:] = 0
    for block in range(b.shape[0]):
        left = block % across * SIDE
        for j in range(ROWS):
            r = block // across * SIDE + j * (SIDE // ROWS) + SIDE // ROWS // 2
            if r >= rows or r == 0:
                continue
            above2 = max(r - 2, 0)
            for i in range(min(SIDE, width - left)):
                x = PAD + left + i
                t = j * SIDE + i
                f = a[block]
                north = np.int32(plane[r - 1, x])
                f[0, t] = np.int32(plane[r, x - 1]) - north
                west2 = plane[r, x - 2] if left + i > 1 else plane[r, x - 1]
                f[1, t] = np.int32(west2) - north
                f[2, t] = np.int32(plane[r - 1, x - 1]) - north
                f[3, t] = np.int32(plane[r - 1, x + 1]) - north
                f[4, t] = np.int32(plane[above2, x]) - north
                f[5, t] = np.int32(plane[r - 1, x + 2]) - north
                b[block, t] = np.int32(plane[r, x]) - north
                for q in range(references):
                    g = planes[order[p - 1 - q]]
                    k = _OWN_FEATURES + _REFERENCE_FEATURES * q
                    above = np.int32(g[r - 1, x])
                    f[k, t] = np.int32(g[r, x]) - above
                    f[k + 1, t] = np.int32(g[r, x - 1]) - above
                    f[k + 2, t] = np.int32(g[r, x + 1]) - above
                    f[k + 3, t] = np.int32(g[r - 1, x - 1]) - above
                    f[k + 4, t] = np.int32(g[r - 1, x + 1]) - above
    return _OWN_FEATURES + _REFERENCE_FEATURES * references


@kernel
def _first_classes(a: Any, b: Any, p: int, count: int, classes: Any) -> None:
    """Classes (uint8[blocks]) by business and lean, evenly shared out.

    A block of the first plane leans towards W or N, one of the others on the plane before more
    or less.
    """
    blocks = b.shape[0]
    busy = np.empty(blocks, np.float64)
    lean = np.empty(blocks, np.float64)
    for block in range(blocks):
        level = 0.0
        across = 0.0
        with_it = 0.0
        square = 1.0
        for t in range(SAMPLES):
            level += abs(b[block, t])
            across += abs(b[block, t] - a[block, 0, t])
            with_it += b[block, t] * a[block, _OWN_FEATURES, t]
            square += a[block, _OWN_FEATURES, t] * a[block, _OWN_FEATURES, t]
        busy[block] = level
        lean[block] = with_it / square if p else across / (level + 1.0)
    leans = min(count, 4) if p else min(count, 2)
    bands = count // leans
    by_lean = np.argsort(lean)
    by_business = np.argsort(busy)
    for i in range(blocks):
        classes[by_lean[i]] = i * leans // blocks
    for i in range(blocks):
        classes[by_business[i]] += leans * (i * bands // blocks)


@kernel
def _errors(a: Any, b: Any, block: int, w: Any, k: int, n: int, error: Any) -> None:
    """Absolute errors (float32[SAMPLES]) of one block under weights ``w[k]``."""
    at = np.uint64(block)
    for t in range(SAMPLES):
        error[t] = b[at, np.uint64(t)]
    for i in range(n):
        u = np.uint64(i)
        tap = np.float32(w[k, i])
        for t in range(SAMPLES):
            error[t] -= tap * a[at, u, np.uint64(t)]
    for t in range(SAMPLES):
        error[t] = abs(error[t])


@kernel
def _accumulate(a: Any, b: Any, block: int, n: int, weight: Any, sums: Any) -> None:
    """Add one block's products of features, and of features and targets, to ``sums``.

    ``sums`` float32[MAX_FEATURES, MAX_FEATURES + 1, _LANES]: as many sums side by side keep the
    vector units busy without leave to reorder additions; targets come last.
    """
    scaled = np.empty(SAMPLES, np.float32)
    at = np.uint64(block)
    for i in range(n):
        u = np.uint64(i)
        for t in range(SAMPLES):
            scaled[t] = a[at, u, np.uint64(t)] * weight[t]
        for k in range(i + 1):
            v = np.uint64(k)
            for j in range(_LANES):
                x = np.uint64(j)
                total = scaled[x] * a[at, v, x]
                for s in range(1, SAMPLES // _LANES):
                    y = x + np.uint64(s * _LANES)
                    total += scaled[y] * a[at, v, y]
                sums[u, v, x] += total
        for j in range(_LANES):
            x = np.uint64(j)
            total = scaled[x] * b[at, x]
            for s in range(1, SAMPLES // _LANES):
                y = x + np.uint64(s * _LANES)
                total += scaled[y] * b[at, y]
            sums[u, np.uint64(MAX_FEATURES), x] += total


@kernel
def _total(sums: Any, i: int, k: int) -> float:
    total = np.float64(0.0)
    for j in range(_LANES):
        total += np.float64(sums[i, k, j])
    return total


@kernel
def _fit_class(
    a: Any, b: Any, n: int, classes: Any, k: int, weighted: bool, floor: float, w: Any
) -> None:
    """Weights ``w[k]`` (float64) of class k, by least squares.

    ``weighted``: samples count by the inverse of their error under the weights that came in.
    """
    sums = np.zeros((MAX_FEATURES, MAX_FEATURES + 1, _LANES), np.float32)
    error = np.ones(SAMPLES, np.float32)
    low = np.float32(floor)
    count = 0
    for block in range(b.shape[0]):
        if classes[block] != k:
            continue
        count += SAMPLES
        if weighted:
            _errors(a, b, block, w, k, n, error)
            for t in range(SAMPLES):
                error[t] = np.float32(1.0) / max(error[t], low)
        _accumulate(a, b, block, n, error, sums)
    if count < _FEW:
        return
    m = np.zeros((MAX_FEATURES, MAX_FEATURES), np.float64)
    y = np.zeros(MAX_FEATURES, np.float64)
    diagonal = 0.0
    for i in range(n):
        y[i] = _total(sums, i, MAX_FEATURES)
        for j in range(i + 1):
            m[i, j] = _total(sums, i, j)
        diagonal += m[i, i]
    for i in range(n):
        m[i, i] += 1e-6 * diagonal + 1e-3 * count / (low if weighted else 1.0)
    solve(m, y, n, w[k])


@kernel
def _assign(a: Any, b: Any, n: int, w: Any, floor: float, classes: Any) -> float:
    """Put each block in the class that foretells it best; the bits that seem to take."""
    error = np.empty(SAMPLES, np.float32)
    low = np.float32(floor)
    total = 0.0
    for block in range(b.shape[0]):
        best = np.inf
        for k in range(w.shape[0]):
            _errors(a, b, block, w, k, n, error)
            bits = 0.0
            for t in range(0, SAMPLES, 4):
                product = np.float64(error[t] + low) * np.float64(error[t + 1] + low)
                product *= np.float64(error[t + 2] + low) * np.float64(error[t + 3] + low)
                bits += np.log2(product)
            if bits < best:
                best = bits
                classes[block] = k
        total += best
    return total


@kernel
def _store(w: Any, references: int, c: Any) -> None:
    """Round weights ``w`` to the coefficients ``c`` (int32[MAX_TAPS])."""
    scale = 1 << FRACTION
    limit = 32767.0
    c[:] = 0
    rest = scale
    for i in range(_OWN_FEATURES):
        tap = i if i < 2 else i + 1
        c[tap] = np.int32(np.round(min(max(w[i] * scale, -limit), limit)))
        rest -= c[tap]
    c[2] = min(max(rest, -32768), 32767)
    for q in range(references):
        first = OWN_TAPS + REFERENCE_TAPS * q
        rest = 0
        for i in range(_REFERENCE_FEATURES):
            tap = first + (i if i < 3 else i + 1)
            value = w[_OWN_FEATURES + _REFERENCE_FEATURES * q + i]
            c[tap] = np.int32(np.round(min(max(value * scale, -limit), limit)))
            rest -= c[tap]
        c[first + 3] = min(max(rest, -32768), 32767)


@kernel
def fit_classes(
    a: Any, b: Any, n: int, p: int, rounds: int, coefficients: Any, classes: Any
) -> None:
    """Coefficients (int32[classes, MAX_TAPS]) and each block's class (uint8[blocks]).

    ``a``, ``b`` and ``n`` are `sample_blocks`'s for the p-th plane coded. Any number of classes
    from 1 to `MAX_CLASSES`.
    """
    count = coefficients.shape[0]
    w = np.zeros((count, MAX_FEATURES), np.float64)
    everywhere = np.zeros(b.shape[0], np.uint8)
    error = np.empty(SAMPLES, np.float32)
    common = np.zeros((1, MAX_FEATURES), np.float64)
    _fit_class(a, b, n, everywhere, 0, False, 1.0, common)
    mean = 0.0
    for block in range(b.shape[0]):
        _errors(a, b, block, common, 0, n, error)
        mean += error.mean()
    floor = max(_FLOOR * mean / b.shape[0], 0.5)
    _fit_class(a, b, n, everywhere, 0, True, floor, common)
    for k in range(count):
        w[k] = common[0]
    classes[:] = 0
    if count > 1:
        _first_classes(a, b, p, count, classes)
    for turn in range(rounds):
        for k in range(count):
            _fit_class(a, b, n, classes, k, True, floor, w)
        if count > 1 and turn + 1 < rounds:
            _assign(a, b, n, w, min(floor, 0.5), classes)
    for k in range(count):
        _store(w[k], min(p, MAX_REFERENCES), coefficients[k])
