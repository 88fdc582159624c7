"""Coefficient sets for a plane's blocks, and which block takes which.

Some rows of every block are looked at. Blocks start out in classes by how busy they are and which
way they lean; then coefficients are fitted to each class and blocks go to the class that foretells
them best, in turn: first with a part of the blocks, in the end with all. A block's residuals take
about as many bits as the logarithm of their mean says, so a sample counts by the inverse of its
own error, and of its block's. Features are differences to the sample above, as in
`codec.kernels.fit`. Only the encoder runs this, in floating point; what it finds is stored as
integers.
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
ROWS_STEP = 4
"""The rows looked at of each block are a multiple of this many."""
_LANES = SIDE
_CHUNK = ROWS_STEP * SIDE
_FLOOR = 0.6
"""No error is taken to be less than this part of its block's mean, ..."""
_LEAST = np.float32(0.5)
"""... which is not taken to be less than this."""
_FEW = 512
"""Samples below which a class keeps the coefficients it has."""
_PART = 4
_ENOUGH = 4096
"""One in `_PART` blocks is looked at, but no fewer samples of a plane."""
_FINE = np.float32(16.0)
"""Errors are compared in parts of so many a step."""


@kernel
def features(p: int) -> int:
    """How many features foretell a sample of the p-th plane coded."""
    return _OWN_FEATURES + _REFERENCE_FEATURES * min(p, MAX_REFERENCES)


@kernel
def _differences(row: Any, shift: int, above: Any, width: int, f: Any) -> None:
    """``f`` (float32): a row's samples ``shift`` columns on, less those above here."""
    at = np.uint64(PAD + shift)
    here = np.uint64(PAD)
    for x in range(width):
        u = np.uint64(x)
        f[u] = np.float32(np.int32(row[u + at]) - np.int32(above[u + here]))


@kernel
def _row_features(planes: Any, order: Any, p: int, r: int, width: int, f: Any) -> None:
    """Features and targets ``f`` (float32[features(p) + 1, width or more]) of row r > 0."""
    row = planes[order[p], r]
    above = planes[order[p], r - 1]
    _differences(row, -1, above, width, f[0])
    _differences(row, -2, above, width, f[1])
    f[1, 0] = f[0, 0]
    if width > 1:
        f[1, 1] = f[0, 1]
    _differences(above, -1, above, width, f[2])
    _differences(above, 1, above, width, f[3])
    _differences(planes[order[p], max(r - 2, 0)], 0, above, width, f[4])
    _differences(above, 2, above, width, f[5])
    for q in range(min(p, MAX_REFERENCES)):
        k = _OWN_FEATURES + _REFERENCE_FEATURES * q
        here = planes[order[p - 1 - q], r]
        over = planes[order[p - 1 - q], r - 1]
        _differences(here, 0, over, width, f[k])
        _differences(here, -1, over, width, f[k + 1])
        _differences(here, 1, over, width, f[k + 2])
        _differences(over, -1, over, width, f[k + 3])
        _differences(over, 1, over, width, f[k + 4])
    _differences(row, 0, above, width, f[features(p)])


@kernel
def _rows_of_blocks(
    planes: Any, order: Any, p: int, rows: int, width: int, down: int, f: Any
) -> None:
    """Features and targets ``f`` (float32[looked, features(p) + 1, columns]) of a row of blocks.

    Those of rows beyond the plane, or of its first, are nought, as are those beside it.
    """
    step = SIDE // f.shape[0]
    for j in range(f.shape[0]):
        r = down * SIDE + j * step + step // 2
        if 0 < r < rows:
            _row_features(planes, order, p, r, width, f[j])
        else:
            f[j] = 0


@kernel
def _take_block(f: Any, b: int, block: Any) -> None:
    """The b-th block of `_rows_of_blocks`' as float32[features + 1, samples]."""
    left = np.uint64(b * SIDE)
    for j in range(f.shape[0]):
        first = np.uint64(j * SIDE)
        for k in range(f.shape[1]):
            v = np.uint64(k)
            for t in range(SIDE):
                u = np.uint64(t)
                block[v, first + u] = f[np.uint64(j), v, left + u]


@kernel
def sample_blocks(
    planes: Any, order: Any, p: int, rows: int, width: int, part: int, f: Any, a: Any
) -> None:
    """Sample features and targets ``a`` of one in ``part`` blocks of the p-th plane coded.

    ``planes`` uint16[components, rows, PAD + width + PAD] with the samples beside the rows.
    ``a`` float32[blocks, features(p) + 1, samples], blocks row by row, the target last. ``f`` is
    `scratch_rows`.
    """
    across = (width + SIDE - 1) // SIDE
    block = 0
    for down in range((rows + SIDE - 1) // SIDE):
        _rows_of_blocks(planes, order, p, rows, width, down, f)
        while block < across * (down + 1):
            _take_block(f, block - across * down, a[block // part])
            block += part


@kernel
def scratch_rows(p: int, width: int, looked: int) -> Any:
    """Room for the rows looked at of a row of blocks."""
    # A power of two between features would put all of them in the same few lines of the cache.
    columns = (width + SIDE - 1) // SIDE * SIDE + SIDE
    return np.zeros((looked, features(p) + 1, columns), np.float32)


@kernel
def _first_classes(a: Any, p: int, count: int, classes: Any) -> None:
    """Classes (uint8[blocks]) by business and lean, evenly shared out.

    A block of the first plane leans towards W or N, one of the others on the plane before more
    or less.
    """
    blocks, last, samples = a.shape
    target = last - 1
    busy = np.empty(blocks, np.float64)
    lean = np.empty(blocks, np.float64)
    for block in range(blocks):
        level = 0.0
        across = 0.0
        with_it = 0.0
        square = 1.0
        for t in range(samples):
            b = a[block, target, t]
            level += abs(b)
            if p:
                with_it += b * a[block, _OWN_FEATURES, t]
                square += a[block, _OWN_FEATURES, t] * a[block, _OWN_FEATURES, t]
            else:
                across += abs(b - a[block, 0, t])
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
def _errors(f: Any, w: Any, error: Any) -> None:
    """Absolute errors (float32[samples]) of one block under weights ``w``."""
    n = w.size
    for t in range(error.size):
        error[t] = f[n, t]
    for i in range(n):
        u = np.uint64(i)
        tap = np.float32(w[i])
        for t in range(error.size):
            error[t] -= tap * f[u, np.uint64(t)]
    for t in range(error.size):
        error[t] = abs(error[t])


@kernel
def _accumulate(f: Any, weight: Any, scaled: Any, sums: Any) -> None:
    """Add one block's products of features, and of features and the target, to ``sums``.

    ``sums`` float32[features + 1, features, _LANES]: as many sums side by side keep the vector
    units busy without leave to reorder additions; the target comes last. ``scaled`` is scratch.
    """
    n = sums.shape[1]
    second = np.uint64(_LANES)
    third = np.uint64(2 * _LANES)
    fourth = np.uint64(3 * _LANES)
    for s in range(0, weight.size, _CHUNK):
        for i in range(n + 1):
            u = np.uint64(i)
            for t in range(_CHUNK):
                scaled[t] = f[u, np.uint64(s + t)] * weight[s + t]
            for k in range(min(i + 1, n)):
                v = np.uint64(k)
                for j in range(_LANES):
                    x = np.uint64(j)
                    y = np.uint64(s + j)
                    sums[u, v, x] += (
                        scaled[x] * f[v, y] + scaled[x + second] * f[v, y + second]
                    ) + (
                        scaled[x + third] * f[v, y + third] + scaled[x + fourth] * f[v, y + fourth]
                    )


@kernel
def _total(sums: Any, i: int, k: int) -> float:
    total = np.float64(0.0)
    for j in range(_LANES):
        total += np.float64(sums[i, k, j])
    return total


@kernel
def _weigh(error: Any) -> None:
    """Turn one block's errors into what its samples count."""
    mean = np.float32(0.0)
    for t in range(error.size):
        mean += error[t]
    mean = max(mean / np.float32(error.size), _LEAST)
    low = np.float32(_FLOOR) * mean
    for t in range(error.size):
        error[t] = np.float32(1.0) / (max(error[t], low) * mean)


@kernel
def _add_block(block: Any, weighted: bool, w: Any, scratch: Any, sums: Any) -> None:
    """Add one block to the ``sums`` of a class with weights ``w`` (see `_accumulate`).

    ``weighted``: samples count by the inverse of their error, and of the block's mean error.
    """
    weight, scaled = scratch
    weight[:] = 1
    if weighted:
        _errors(block, w, weight)
        _weigh(weight)
    _accumulate(block, weight, scaled, sums)


@kernel
def _solve_class(sums: Any, samples: int, w: Any) -> None:
    """Weights ``w`` (float64) that foretell the targets of a class best, by its ``sums``."""
    if samples < _FEW:
        return
    n = w.size
    m = np.zeros((n, n), np.float64)
    y = np.zeros(n, np.float64)
    diagonal = 0.0
    for i in range(n):
        y[i] = _total(sums, n, i)
        for j in range(i + 1):
            m[i, j] = _total(sums, i, j)
        diagonal += m[i, i]
    for i in range(n):
        m[i, i] += 1e-6 * diagonal + 1e-3 * samples
    solve(m, y, n, w)


@kernel
def _scratch(samples: int) -> Any:
    return np.ones(samples, np.float32), np.empty(_CHUNK, np.float32)


@kernel
def _fit_all(a: Any, weighted: bool, classes: Any, w: Any) -> None:
    """Fit the weights ``w`` (float64[count, n]) of all classes to the blocks they have."""
    count, n = w.shape
    sums = np.zeros((count, n + 1, n, _LANES), np.float32)
    scratch = _scratch(a.shape[2])
    held = np.zeros(count, np.int64)
    for block in range(a.shape[0]):
        k = classes[block]
        held[k] += a.shape[2]
        _add_block(a[block], weighted, w[k], scratch, sums[k])
    for k in range(count):
        _solve_class(sums[k], held[k], w[k])


@kernel
def _best_class(block: Any, w: Any, error: Any) -> int:
    """The class that foretells a block with the least errors."""
    best = np.int64(1) << np.int64(62)
    found = 0
    for k in range(w.shape[0]):
        _errors(block, w[k], error)
        total = np.int64(0)
        for t in range(error.size):
            total += np.int64(error[t] * _FINE)
        if total < best:
            best = total
            found = k
    return found


@kernel
def _settle(
    planes: Any, order: Any, p: int, rows: int, width: int, f: Any, classes: Any, w: Any
) -> None:
    """The last round: put every block in its class, and fit classes to all they have."""
    count, n = w.shape
    across = (width + SIDE - 1) // SIDE
    samples = f.shape[0] * SIDE
    block = np.empty((n + 1, samples), np.float32)
    error = np.empty(samples, np.float32)
    sums = np.zeros((count, n + 1, n, _LANES), np.float32)
    scratch = _scratch(samples)
    held = np.zeros(count, np.int64)
    for down in range((rows + SIDE - 1) // SIDE):
        _rows_of_blocks(planes, order, p, rows, width, down, f)
        for b in range(across):
            _take_block(f, b, block)
            k = _best_class(block, w, error) if count > 1 else 0
            classes[down * across + b] = k
            held[k] += samples
            _add_block(block, True, w[k], scratch, sums[k])
    for k in range(count):
        _solve_class(sums[k], held[k], w[k])


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
def parts(blocks: int, looked: int) -> int:
    """All rounds but the last look at one in so many of a plane's blocks."""
    return _PART if blocks * looked * SIDE >= _PART * _ENOUGH else 1


@kernel
def fit_classes(
    planes: Any,
    order: Any,
    p: int,
    rows: int,
    width: int,
    rounds: int,
    a: Any,
    coefficients: Any,
    classes: Any,
) -> None:
    """Coefficients (int32[classes, MAX_TAPS]) and each block's class (uint8[blocks]).

    ``planes`` uint16[components, rows, PAD + width + PAD] with the samples beside the rows; ``p``
    is the plane's number in ``order``, that of coding. ``a`` is scratch, float32[one in `parts`
    blocks, features(p) + 1, samples], with as many samples of each block as are to be looked at, a
    multiple of `ROWS_STEP` rows. Any number of classes from 1 to `MAX_CLASSES`.
    """
    count = coefficients.shape[0]
    n = features(p)
    looked = a.shape[2] // SIDE
    part = parts(classes.size, looked)
    f = scratch_rows(p, width, looked)
    sample_blocks(planes, order, p, rows, width, part, f, a)
    w = np.zeros((count, n), np.float64)
    of_part = np.zeros(a.shape[0], np.uint8)
    _fit_all(a, False, of_part, w[:1])
    _fit_all(a, True, of_part, w[:1])
    for k in range(1, count):
        w[k] = w[0]
    error = np.empty(a.shape[2], np.float32)
    if count > 1:
        _first_classes(a, p, count, of_part)
        for turn in range(rounds - 1):
            _fit_all(a, True, of_part, w)
            if turn + 2 < rounds:
                for block in range(a.shape[0]):
                    of_part[block] = _best_class(a[block], w, error)
    _settle(planes, order, p, rows, width, f, classes, w)
    for k in range(count):
        _store(w[k], min(p, MAX_REFERENCES), coefficients[k])
