"""The drivers of tiles in modes 4 and 6: a plane's residuals and contexts, a tile's samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.class_lanes import to_lanes
from codec.kernels.class_predict import (
    RUNS,
    SIDE,
    base_row,
    fold_row,
    pad_wide,
    padded,
    rebuild,
    rebuild_lanes,
    run_length,
    run_starts,
    run_starts_beside,
)
from codec.kernels.deep_tokens import take_row
from codec.kernels.jit import kernel
from codec.kernels.packing import PAD
from codec.kernels.segments import pack_segments
from codec.kernels.serial_context import (
    CROSS_PLANES,
    CROSS_WEIGHTS,
    OWN_WEIGHTS,
    activity_above,
    activity_beside,
)
from codec.kernels.values import finish_row


@kernel
def mark_values(plane: Any, used: Any) -> None:
    """Set the flag in ``used`` of every value that occurs in ``plane`` (uint16[rows, width])."""
    for r in range(plane.shape[0]):
        for x in range(plane.shape[1]):
            used[plane[r, x]] = True


@kernel
def plane_residuals(
    planes: Any,
    order: Any,
    p: int,
    rows: int,
    width: int,
    bits: int,
    coefficients: Any,
    classes: Any,
    ranks: Any,
    last: int,
    z: Any,
) -> None:
    """Folded residuals ``z`` (uint16[rows, width]) of the p-th plane coded.

    ``planes`` uint16[components, rows, PAD + width + PAD]; ``classes`` uint8[block rows, block
    columns]; for ``ranks`` and ``last`` see `fold_row`.
    """
    size = padded(width)
    count = p + 1
    ring = np.zeros((count, 2, size), np.uint16)
    identity = np.arange(count)
    base = np.empty(size - 2 * PAD, np.int32)
    west = np.empty(size - 2 * PAD, np.int32)
    west2 = np.empty(size - 2 * PAD, np.int32)
    starts = np.empty(RUNS, np.int32)
    for r in range(rows):
        now = r & 1
        for q in range(p):
            plane = planes[order[q]]
            for x in range(width):
                ring[q, now, PAD + x] = plane[r, PAD + x]
            ring[q, now, PAD - 1] = plane[r, PAD - 1]
            for x in range(PAD + width, size):
                ring[q, now, x] = plane[r, PAD + width - 1]
        base_row(base, west, west2, ring, identity, p, r, coefficients, classes)
        own = planes[order[p]]
        above = ring[p, 1 - now]
        run_starts(above, r == 0, bits, width, starts)
        if r == 0 and p > 0:
            run_starts_beside(ring[p - 1, now], width, starts)
        row = ring[p, now]
        for x in range(width):
            row[PAD + x] = own[r, PAD + x]
        pad_wide(row, above, r == 0, bits, width)
        fold_row(base, west, west2, row, starts, bits, ranks, last, z[r], width)


@kernel
def plane_magnitudes(z: Any, tokens: Any, bases: Any, start: int, m: Any) -> None:
    """Magnitudes ``m`` (int16[rows + 2, PAD + width + PAD]) of residuals ``z`` (uint16).

    The two rows above the first hold ``start``; beside the rows they are nought.
    """
    rows, width = z.shape
    m[:] = 0
    for x in range(width):
        m[0, PAD + x] = start
        m[1, PAD + x] = start
    for r in range(rows):
        for x in range(width):
            m[r + 2, PAD + x] = np.int64(bases[np.int64(tokens[z[r, x]])] >> np.uint64(16))


@kernel
def count_tokens(z: Any, levels: Any, table: Any, tokens: Any, contexts: Any, counts: Any) -> None:
    """``contexts`` (uint8[rows, width]) of levels, and how often tokens occur in each (int64)."""
    counts[:] = 0
    for r in range(z.shape[0]):
        for x in range(z.shape[1]):
            c = table[levels[r, x]]
            contexts[r, x] = c
            counts[c, tokens[z[r, x]]] += 1


@kernel
def decode_rows(
    data: Any,
    runs: int,
    positions: Any,
    states: Any,
    flat: Any,
    limit: int,
    tables: Any,
    bases: Any,
    of_levels: Any,
    weights: Any,
    activity_shifts: Any,
    starts_m: Any,
    coefficients: Any,
    classes: Any,
    own_maps: Any,
    order: Any,
    bits: Any,
    rows: int,
    width: int,
    shifts: Any,
    signed: Any,
    mapped: Any,
    maps: Any,
    segments: Any,
    out: Any,
) -> bool:
    """Decode a tile's samples into ``out`` (uint8), which holds its regions one after another.

    A row is cut into ``runs`` runs of columns, and into as many streams as ``positions`` has, of
    one or more runs each. Per plane in coding order: ``positions`` int64[planes, streams] in bits,
    ``states`` uint64[planes, streams], ``flat`` (bool: all residuals are 0 and there are no
    streams), ``tables`` uint32[planes, CONTEXTS << LOG_SIZE], ``bases`` uint64[planes, TOKENS],
    ``of_levels`` uint8[planes, LEVELS], ``weights`` int64[planes, MAX_WEIGHTS],
    ``activity_shifts``, ``starts_m``, ``coefficients`` int32[planes, MAX_CLASSES, MAX_TAPS],
    ``classes`` uint8[planes, block rows, block columns], all below MAX_CLASSES, and ``own_maps``
    (ranks, values, last): uint16[planes, n], uint16[planes, n], int64[planes], where last is -1
    for a plane that has none. The rest as for `codec.kernels.tile.decode_rows`.

    False if a stream ran past ``limit``, which only damaged data can cause.
    """
    count = order.size
    ranks, values, lasts = own_maps
    size = padded(width)
    ring = np.zeros((count, 2, size), np.uint16)
    m = np.zeros((count, 2, width + 2 * PAD), np.int16)
    z = np.zeros(size, np.uint16)
    base = np.empty(size - 2 * PAD, np.int32)
    west = np.empty((count, size - 2 * PAD), np.int32)
    west2 = np.empty((count, size - 2 * PAD), np.int32)
    activity = np.empty(width, np.int32)
    starts = np.empty(runs, np.int32)
    lanes = runs == RUNS
    west_columns = np.empty((count, base.size), np.int32)
    west2_columns = np.empty((count, base.size), np.int32)
    columns = (
        np.empty(base.size, np.int32),
        np.empty(base.size, np.int32),
        np.empty(base.size + 2 * RUNS, np.int32),
    )
    streams = positions.shape[1]
    length = run_length(width, runs) * (runs // streams)
    beside = (np.empty(streams, np.uint64), np.empty(streams, np.int64))
    linear = np.empty(width * count + 3, np.uint16)
    words = np.zeros(2 * width * count + 32, np.uint8)
    finished = np.zeros((count, 1, width + 2 * PAD), np.uint16)
    finish = False
    for p in range(count):
        finish = finish or shifts[p] > 0 or signed[p] != 0 or mapped[p] != 0
        for x in range(width):
            m[p, 0, PAD + x] = starts_m[p]
            m[p, 1, PAD + x] = starts_m[p]
    source = finished if finish else ring
    for r in range(rows):
        now = r & 1
        for p in range(count):
            for s in range(streams):
                if positions[p, s] > limit:
                    return False
            depth = bits[order[p]]
            if flat[p]:
                z[:] = 0
                m[p, now, PAD : PAD + width] = 0
            else:
                weigh = weights[p]
                activity_above(m[p, 1 - now], m[p, now], weigh, activity, width)
                n = OWN_WEIGHTS
                for q in range(p - 1, max(p - 1 - CROSS_PLANES, -1), -1):
                    activity_beside(m[q, now], weigh[n], weigh[n + 1], activity, width)
                    n += CROSS_WEIGHTS
                take_row(
                    data,
                    positions[p],
                    states[p],
                    tables[p],
                    bases[p],
                    of_levels[p],
                    activity,
                    weigh,
                    activity_shifts[p],
                    m[p, 1 - now],
                    z,
                    m[p, now],
                    width,
                    length,
                    beside,
                )
            row = ring[order[p], now]
            above = ring[order[p], 1 - now]
            run_starts(above, r == 0, depth, width, starts)
            if lanes and r == 0 and p > 0:
                run_starts_beside(ring[order[p - 1], now], width, starts)
            base_row(base, west[p], west2[p], ring, order, p, r, coefficients[p], classes[p])
            last = lasts[p]
            if lanes and last < 0:
                if r < 2 or r % SIDE == 0:
                    to_lanes(west[p], 0, west_columns[p])
                    to_lanes(west2[p], 0, west2_columns[p])
                across, across2 = west_columns[p], west2_columns[p]
                rebuild_lanes(base, across, across2, z, starts, depth, row, columns)
            else:
                to_rank, to_value = ranks[p], values[p]
                weigh_w, weigh_ww = west[p], west2[p]
                rebuild(
                    base,
                    weigh_w,
                    weigh_ww,
                    z,
                    starts,
                    depth,
                    to_rank,
                    to_value,
                    last,
                    row,
                    width,
                )
            pad_wide(row, above, r == 0, depth, width)
        if finish:
            for c in range(count):
                out_row = finished[c, 0]
                finish_row(ring[c, now], out_row, mapped[c], maps[c], shifts[c], signed[c], width)
        pack_segments(source, 0 if finish else now, r, width, segments, words, linear, out)
    return True
