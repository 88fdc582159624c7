"""Prediction of tile mode 3: four taps of the plane, and up to five of two reference planes.

    ( bias + cW*W + cN*N + cNW*NW + cNE*NE
      + c0*g(r,x) + c1*g(r,x-1) + c2*g(r-1,x)     of the plane coded just before
      + c3*f(r,x) + c4*f(r-1,x)                   of the one before that ) >> 12

in 32-bit arithmetic that wraps. Runs, first rows and samples beside a row are those of
`codec.kernels.predict`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.jit import inlined, kernel
from codec.kernels.packing import PAD
from codec.kernels.predict import FRACTION, ROUND

TAPS = (4, 7, 9)
"""Stored taps of the first, second, and every later plane coded."""
COEFFICIENTS = 10
BIAS = COEFFICIENTS - 1
REFERENCES = 2


@inlined
def _own(above: Any, x: Any, north: Any, north_west: Any, north_east: Any) -> Any:
    """The taps of the row above, at column x."""
    return (
        north * np.int32(above[PAD + x])
        + north_west * np.int32(above[PAD + x - 1])
        + north_east * np.int32(above[PAD + x + 1])
    )


@inlined
def _unfold(v: Any) -> Any:
    """A residual of its folded value (int32), shifted by `FRACTION`."""
    return np.int32(((v >> np.int32(1)) ^ -(v & np.int32(1))) << np.int32(FRACTION))


@kernel
def _base0(base: Any, above: Any, c: Any, z: Any, width: int) -> None:
    bias, n, nw, ne = np.int32(c[BIAS]), np.int32(c[1]), np.int32(c[2]), np.int32(c[3])
    for x in range(width):
        base[x] = bias + _own(above, x, n, nw, ne) + _unfold(np.int32(z[PAD + x]))


@kernel
def _base1(base: Any, above: Any, g: Any, g_above: Any, c: Any, z: Any, width: int) -> None:
    bias, n, nw, ne = np.int32(c[BIAS]), np.int32(c[1]), np.int32(c[2]), np.int32(c[3])
    c0, c1, c2 = np.int32(c[4]), np.int32(c[5]), np.int32(c[6])
    for x in range(width):
        total = bias + _own(above, x, n, nw, ne) + _unfold(np.int32(z[PAD + x]))
        total += c0 * np.int32(g[PAD + x]) + c1 * np.int32(g[PAD + x - 1])
        base[x] = total + c2 * np.int32(g_above[PAD + x])


@kernel
def _base2(
    base: Any,
    above: Any,
    g: Any,
    g_above: Any,
    f: Any,
    f_above: Any,
    c: Any,
    z: Any,
    width: int,
) -> None:
    bias, n, nw, ne = np.int32(c[BIAS]), np.int32(c[1]), np.int32(c[2]), np.int32(c[3])
    c0, c1, c2 = np.int32(c[4]), np.int32(c[5]), np.int32(c[6])
    c3, c4 = np.int32(c[7]), np.int32(c[8])
    for x in range(width):
        total = bias + _own(above, x, n, nw, ne) + _unfold(np.int32(z[PAD + x]))
        total += c0 * np.int32(g[PAD + x]) + c1 * np.int32(g[PAD + x - 1])
        total += c2 * np.int32(g_above[PAD + x])
        base[x] = total + c3 * np.int32(f[PAD + x]) + c4 * np.int32(f_above[PAD + x])


@kernel
def quick_base(
    base: Any, planes: Any, order: Any, p: int, now: int, before: int, c: Any, z: Any, width: int
) -> None:
    """``base`` (int32) of the p-th plane coded: its residuals and all taps but W.

    ``planes[component, now]`` and ``planes[component, before]`` are the planes' rows.
    """
    above = planes[order[p], before]
    if p == 0:
        _base0(base, above, c, z, width)
        return
    g = planes[order[p - 1]]
    if p == 1:
        _base1(base, above, g[now], g[before], c, z, width)
        return
    f = planes[order[p - 2]]
    _base2(base, above, g[now], g[before], f[now], f[before], c, z, width)


@kernel
def quick_first_coefficients(c: Any, p: int) -> None:
    """Fill ``c`` for a tile's first row: W, and the step of the plane coded just before."""
    c[:] = 0
    c[0] = 1 << FRACTION
    c[BIAS] = ROUND
    if p > 0:
        c[4] = 1 << FRACTION
        c[5] = -(1 << FRACTION)
