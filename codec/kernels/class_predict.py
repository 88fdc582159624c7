"""Linear prediction with several sets of coefficients, one chosen for each block of 16 by 16.

For plane p at ``(r, x)`` the prediction is ``sum >> 12`` where ``sum`` is, in 32-bit two's
complement arithmetic and with the block's coefficients,

    2048 + c0*W + c1*WW + c2*N + c3*NW + c4*NE + c5*NN + c6*NEE
         + for each reference plane: c0*g(r,x) + c1*g(r,x-1) + c2*g(r,x+1)
                                     + c3*g(r-1,x) + c4*g(r-1,x-1) + c5*g(r-1,x+1)

kept within the plane's range. Where a plane takes few values, prediction and sample are counted
by their rank among those that occur. A residual is folded so that every rank that is left has a
number below how many there are.

A row is cut into runs of columns (`RUNS` today, fewer once); the first sample of each takes N for
W and WW, the second N of the first for WW. Rows that kernels read are padded: `PAD` samples left,
and to the right up to a whole block and `PAD` more. So `RUNS` runs, of whole columns, fit in.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.class_lanes import LANES, from_lanes, step_lanes, to_lanes
from codec.kernels.jit import inlined, kernel
from codec.kernels.packing import PAD

FRACTION = 12
ROUND = 1 << (FRACTION - 1)
OWN_TAPS = 7
REFERENCE_TAPS = 6
MAX_REFERENCES = 3
MAX_TAPS = OWN_TAPS + REFERENCE_TAPS * MAX_REFERENCES
WEST = 0
WEST_WEST = 1
SIDE = 16
MAX_CLASSES = 8
RUNS = LANES


@kernel
def padded(width: int) -> int:
    """Length of a row that kernels read."""
    return (width + SIDE - 1) // SIDE * SIDE + 2 * PAD


@kernel
def pad_wide(row: Any, above: Any, first_row: bool, bits: int, width: int) -> None:
    """Samples beside a row: W of its first column, and its last column repeated to the right."""
    row[PAD - 1] = (1 << (bits - 1)) if first_row else above[PAD]
    last = row[PAD + width - 1]
    for x in range(PAD + width, row.size):
        row[x] = last


@kernel
def set_west(coefficients: Any, classes: Any, west: Any, west2: Any) -> None:
    """Spread the coefficients of W and WW over the columns (int32) of a row of blocks."""
    for b in range(classes.size):
        c = coefficients[classes[b]]
        start = np.uint64(b * SIDE)
        for i in range(SIDE):
            west[start + np.uint64(i)] = c[WEST]
            west2[start + np.uint64(i)] = c[WEST_WEST]


@kernel
def base_own(base: Any, above: Any, above2: Any, coefficients: Any, classes: Any) -> None:
    """``base`` (int32) = rounding and the taps of the rows above."""
    for b in range(classes.size):
        c = coefficients[classes[b]]
        north = np.int32(c[2])
        north_west = np.int32(c[3])
        north_east = np.int32(c[4])
        north_north = np.int32(c[5])
        far_east = np.int32(c[6])
        start = np.uint64(b * SIDE)
        for i in range(SIDE):
            x = start + np.uint64(i)
            at = x + np.uint64(PAD)
            base[x] = (
                np.int32(ROUND)
                + north * np.int32(above[at])
                + north_west * np.int32(above[at - np.uint64(1)])
                + north_east * np.int32(above[at + np.uint64(1)])
                + north_north * np.int32(above2[at])
                + far_east * np.int32(above[at + np.uint64(2)])
            )


@kernel
def base_reference(
    base: Any, row: Any, above: Any, coefficients: Any, classes: Any, first: int
) -> None:
    """Add the taps of one reference plane, whose coefficients begin at ``first``."""
    for b in range(classes.size):
        c = coefficients[classes[b], first : first + REFERENCE_TAPS]
        c0 = np.int32(c[0])
        c1 = np.int32(c[1])
        c2 = np.int32(c[2])
        c3 = np.int32(c[3])
        c4 = np.int32(c[4])
        c5 = np.int32(c[5])
        start = np.uint64(b * SIDE)
        for i in range(SIDE):
            x = start + np.uint64(i)
            at = x + np.uint64(PAD)
            base[x] = np.int32(base[x]) + (
                c0 * np.int32(row[at])
                + c1 * np.int32(row[at - np.uint64(1)])
                + c2 * np.int32(row[at + np.uint64(1)])
                + c3 * np.int32(above[at])
                + c4 * np.int32(above[at - np.uint64(1)])
                + c5 * np.int32(above[at + np.uint64(1)])
            )


@kernel
def base_first(base: Any, west: Any, west2: Any, planes: Any, order: Any, p: int) -> None:
    """The first row: W, and the step of the plane coded just before."""
    west[:] = 1 << FRACTION
    west2[:] = 0
    base[:] = ROUND
    if p > 0:
        other = planes[order[p - 1], 0]
        for x in range(base.size):
            step = np.int32(other[PAD + x]) - np.int32(other[PAD + x - 1])
            base[x] += np.int32(step << np.int32(FRACTION))


@kernel
def base_row(
    base: Any,
    west: Any,
    west2: Any,
    planes: Any,
    order: Any,
    p: int,
    r: int,
    coefficients: Any,
    classes: Any,
) -> None:
    """``base`` of row r of the p-th plane coded, and what W and WW weigh in each column.

    ``planes`` uint16[components, 2, padded] hold row r at ``r & 1`` and the row before at the
    other place; the p-th plane holds there the rows before. ``classes`` uint8[block rows, block
    columns]. ``west`` and ``west2`` are kept from row to row.
    """
    if r == 0:
        base_first(base, west, west2, planes, order, p)
        return
    now = r & 1
    of_blocks = classes[r // SIDE]
    if r == 1 or r % SIDE == 0:
        set_west(coefficients, of_blocks, west, west2)
    own = planes[order[p]]
    base_own(base, own[1 - now], own[1 - now] if r == 1 else own[now], coefficients, of_blocks)
    for q in range(min(p, MAX_REFERENCES)):
        other = planes[order[p - 1 - q]]
        first = OWN_TAPS + REFERENCE_TAPS * q
        base_reference(base, other[now], other[1 - now], coefficients, of_blocks, first)


@kernel
def run_length(width: int, runs: int) -> int:
    """Columns in each run but the last ones, which have what is left (perhaps none)."""
    return (width + runs - 1) // runs


@inlined
def _predicted(base: Any, west: Any, west2: Any, w: Any, ww: Any, top: Any) -> Any:
    """The prediction (int32) within ``0 .. top``."""
    p = np.int32(np.int32(base) + np.int32(west) * w + np.int32(west2) * ww) >> np.int32(FRACTION)
    return min(max(np.int32(p), np.int32(0)), top)


@inlined
def _unfolded(z: Any, rank: Any, last: Any) -> Any:
    """The rank that residual z leads to from ``rank``; ``last`` is the greatest (int32).

    It may lie beyond where z does, which only damaged data can cause.
    """
    least = min(rank, last - rank)
    if z > np.int32(least << np.int32(1)):
        # Only near an end of the range: a branch that is foretold costs less than both results.
        far = np.int32(z - least)
        return np.int32(rank + far) if rank < last - rank else np.int32(rank - far)
    return np.int32(rank + (np.int32(z >> np.int32(1)) ^ np.int32(-(z & np.int32(1)))))


@inlined
def _step(base: Any, west: Any, west2: Any, z: Any, x: Any, w: Any, ww: Any, top: Any) -> Any:
    p = _predicted(base[x], west[x], west2[x], w, ww, top)
    return np.int32(_unfolded(np.int32(z[x + np.uint64(PAD)]), p, top) & top)


@inlined
def _step_mapped(
    base: Any,
    west: Any,
    west2: Any,
    z: Any,
    x: Any,
    w: Any,
    ww: Any,
    top: Any,
    last: Any,
    ranks: Any,
    values: Any,
) -> Any:
    p = _predicted(base[x], west[x], west2[x], w, ww, top)
    rank = np.int32(ranks[np.uint64(np.uint32(p))])
    found = np.int32(_unfolded(np.int32(z[x + np.uint64(PAD)]), rank, last))
    found = np.int32(min(max(found, np.int32(0)), last))
    return np.int32(values[np.uint64(np.uint32(found))])


@kernel
def rebuild(
    base: Any,
    west: Any,
    west2: Any,
    z: Any,
    starts: Any,
    bits: int,
    ranks: Any,
    values: Any,
    last_rank: int,
    row: Any,
    width: int,
) -> None:
    """Samples of ``row`` (uint16) from ``base`` and folded residuals, any number of runs abreast.

    A plane that takes few values has ``ranks`` (uint16[1 << bits]: how many of the values that
    occur are smaller, at most ``last_rank``) and ``values`` (uint16[last_rank + 1 or more]);
    ``last_rank`` is below 0 where a plane has none. ``starts`` (int32) has one for each run.
    """
    top = np.int32((1 << bits) - 1)
    last = np.int32(last_rank)
    length = run_length(width, starts.size)
    a = starts.copy()
    b = starts.copy()
    pad = np.uint64(PAD)
    for i in range(length):
        for s in range(starts.size):
            at = s * length + i
            if at >= width:
                break
            x = np.uint64(at)
            u = np.uint64(s)
            if last >= 0:
                v = _step_mapped(base, west, west2, z, x, a[u], b[u], top, last, ranks, values)
            else:
                v = _step(base, west, west2, z, x, a[u], b[u], top)
            row[x + pad] = v
            b[u] = a[u]
            a[u] = v


@kernel
def rebuild_lanes(
    base: Any, west: Any, west2: Any, z: Any, starts: Any, bits: int, row: Any, scratch: Any
) -> None:
    """`rebuild` of a plane that has no map, its `RUNS` runs in the lanes of vectors.

    ``west`` and ``west2`` are transposed (`to_lanes`), ``scratch`` is three int32 arrays: two as
    long as ``base``, and one that has room for two columns of all runs more.
    """
    base_columns, z_columns, columns = scratch
    to_lanes(base, 0, base_columns)
    to_lanes(z, PAD, z_columns)
    for s in range(LANES):
        columns[s] = starts[s]
        columns[LANES + s] = starts[s]
    top = np.int32((1 << bits) - 1)
    for at in range(0, base.size, LANES):
        step_lanes(base_columns, west, west2, z_columns, columns, at, top)
    from_lanes(columns, 2 * LANES, row, PAD, base.size // LANES)


@kernel
def fold_row(
    base: Any,
    west: Any,
    west2: Any,
    row: Any,
    starts: Any,
    bits: int,
    ranks: Any,
    last: int,
    z: Any,
    width: int,
) -> None:
    """Folded residuals ``z`` (uint16[width]) of a row (uint16, padded).

    ``ranks`` (uint16) is empty where ranks are the values themselves.
    """
    top = np.int32((1 << bits) - 1)
    length = run_length(width, starts.size)
    mapped = ranks.size > 0
    w = np.int32(0)
    ww = np.int32(0)
    for x in range(width):
        if x % length == 0:
            w = np.int32(starts[x // length])
            ww = w
        p = np.int64(_predicted(base[x], west[x], west2[x], w, ww, top))
        value = np.int64(row[PAD + x])
        rank = np.int64(ranks[p]) if mapped else p
        d = (np.int64(ranks[value]) if mapped else value) - rank
        least = min(rank, last - rank)
        if abs(d) > least:
            z[x] = least + abs(d)
        else:
            z[x] = 2 * d if d >= 0 else -2 * d - 1
        ww = w
        w = np.int32(value)


@kernel
def run_starts(above: Any, first_row: bool, bits: int, width: int, starts: Any) -> None:
    """What stands for W at the first sample of each run (int32[runs])."""
    length = run_length(width, starts.size)
    for s in range(starts.size):
        at = min(s * length, width - 1)
        starts[s] = (1 << (bits - 1)) if first_row else above[PAD + at]


@kernel
def run_starts_beside(before: Any, width: int, starts: Any) -> None:
    """`run_starts` of the tile's first row, but for the plane coded first.

    ``before`` is the first row of the plane coded just before: what stands left of the run there
    makes its own sample the prediction.
    """
    length = run_length(width, starts.size)
    for s in range(starts.size):
        starts[s] = before[PAD + min(s * length, width - 1) - 1]
