"""The two drivers of tiles in mode 4: residuals and contexts of a plane, and a tile's samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.class_predict import (
    RUNS,
    base_row,
    fold_row,
    pad_wide,
    padded,
    rebuild,
    rebuild_mapped,
    run_length,
    run_starts,
)
from codec.kernels.jit import kernel
from codec.kernels.packing import PAD
from codec.kernels.segments import pack_segments
from codec.kernels.serial_context import (
    CROSS_PLANES,
    CROSS_WEIGHTS,
    OWN_WEIGHTS,
    WEST,
    WEST_WEST,
    activity_above,
    activity_beside,
    level,
)
from codec.kernels.tans import MAX_TOKEN_BITS, take_token
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
def take_row(
    data: Any,
    positions: Any,
    states: Any,
    table: Any,
    bases: Any,
    of_level: Any,
    activity: Any,
    weights: Any,
    shift: int,
    north: Any,
    z: Any,
    m: Any,
    width: int,
) -> None:
    """Decode one row of a plane: folded residuals ``z`` (uint16) and magnitudes ``m`` (int16).

    The four runs are decoded abreast. ``positions`` (int64[RUNS], in bits) and ``states``
    (uint64[RUNS]) are moved on. The caller guarantees that ``data`` goes on for `row_slack_bits`
    after each position, which bounds every load whatever the bits are.
    """
    length = run_length(width)
    whole = max(width - (RUNS - 1) * length, 0)
    w4 = np.int64(weights[WEST])
    w5 = np.int64(weights[WEST_WEST])
    by = np.uint64(shift)
    u = np.uint64(length)
    pad = np.uint64(PAD)
    p0 = np.uint64(positions[0])
    p1 = np.uint64(positions[1])
    p2 = np.uint64(positions[2])
    p3 = np.uint64(positions[3])
    s0 = states[0]
    s1 = states[1]
    s2 = states[2]
    s3 = states[3]
    # Of the two samples before: a is W's magnitude by its weight, m its magnitude, b what WW adds.
    a0 = a1 = a2 = a3 = np.int64(0)
    m0 = m1 = m2 = m3 = np.int64(0)
    if whole:
        m0 = np.int64(north[PAD])
        m1 = np.int64(north[PAD + length])
        m2 = np.int64(north[PAD + 2 * length])
        m3 = np.int64(north[PAD + 3 * length])
    a0 = w4 * m0
    a1 = w4 * m1
    a2 = w4 * m2
    a3 = w4 * m3
    b0 = w5 * m0
    b1 = w5 * m1
    b2 = w5 * m2
    b3 = w5 * m3
    low = np.uint64(0xFFFF)
    to_m = np.uint64(16)
    to_a = np.uint64(32)
    for i in range(whole):
        x0 = np.uint64(i)
        x1 = x0 + u
        x2 = x1 + u
        x3 = x2 + u
        c0 = np.uint64(of_level[level(np.int64(activity[x0]) + b0 + a0, by)])
        c1 = np.uint64(of_level[level(np.int64(activity[x1]) + b1 + a1, by)])
        c2 = np.uint64(of_level[level(np.int64(activity[x2]) + b2 + a2, by)])
        c3 = np.uint64(of_level[level(np.int64(activity[x3]) + b3 + a3, by)])
        b0 = w5 * m0
        b1 = w5 * m1
        b2 = w5 * m2
        b3 = w5 * m3
        p0, s0, z0, e0 = take_token(data, p0, s0, table, c0, bases)
        p1, s1, z1, e1 = take_token(data, p1, s1, table, c1, bases)
        p2, s2, z2, e2 = take_token(data, p2, s2, table, c2, bases)
        p3, s3, z3, e3 = take_token(data, p3, s3, table, c3, bases)
        a0 = np.int64(e0 >> to_a)
        a1 = np.int64(e1 >> to_a)
        a2 = np.int64(e2 >> to_a)
        a3 = np.int64(e3 >> to_a)
        m0 = np.int64((e0 >> to_m) & low)
        m1 = np.int64((e1 >> to_m) & low)
        m2 = np.int64((e2 >> to_m) & low)
        m3 = np.int64((e3 >> to_m) & low)
        z[x0 + pad] = z0
        z[x1 + pad] = z1
        z[x2 + pad] = z2
        z[x3 + pad] = z3
        m[x0 + pad] = m0
        m[x1 + pad] = m1
        m[x2 + pad] = m2
        m[x3 + pad] = m3
    positions[0] = p0
    positions[1] = p1
    positions[2] = p2
    positions[3] = p3
    states[0] = s0
    states[1] = s1
    states[2] = s2
    states[3] = s3
    for s in range(RUNS):
        begin = s * length
        end = min(begin + length, width)
        at = begin + whole
        if at >= end:
            continue
        west = np.int64(north[PAD + begin])
        west2 = west
        if whole >= 1:
            west = np.int64(m[PAD + at - 1])
        if whole >= 2:
            west2 = np.int64(m[PAD + at - 2])
        position = np.uint64(positions[s])
        state = states[s]
        for i in range(at, end):
            x = np.uint64(i)
            s_x = np.int64(activity[x]) + w5 * west2 + w4 * west
            c = np.uint64(of_level[level(s_x, by)])
            west2 = west
            position, state, found, entry = take_token(data, position, state, table, c, bases)
            west = np.int64((entry >> to_m) & low)
            z[x + pad] = found
            m[x + pad] = west
        positions[s] = position
        states[s] = state


@kernel
def decode_rows(
    data: Any,
    positions: Any,
    states: Any,
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

    Per plane in coding order: ``positions`` int64[planes, RUNS] in bits, ``states`` uint64[planes,
    RUNS], ``tables`` uint32[planes, CONTEXTS << LOG_SIZE], ``bases`` uint64[planes, TOKENS],
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
    starts = np.empty(RUNS, np.int32)
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
            for s in range(RUNS):
                if positions[p, s] > limit:
                    return False
            depth = bits[order[p]]
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
            )
            row = ring[order[p], now]
            above = ring[order[p], 1 - now]
            run_starts(above, r == 0, depth, width, starts)
            base_row(base, west[p], west2[p], ring, order, p, r, coefficients[p], classes[p])
            if lasts[p] >= 0:
                to_rank = ranks[p]
                to_value = values[p]
                last = lasts[p]
                rebuild_mapped(
                    base,
                    west[p],
                    west2[p],
                    z,
                    starts,
                    depth,
                    to_rank,
                    to_value,
                    last,
                    row,
                    width,
                )
            else:
                rebuild(base, west[p], west2[p], z, starts, depth, row, width)
            pad_wide(row, above, r == 0, depth, width)
        if finish:
            for c in range(count):
                out_row = finished[c, 0]
                finish_row(ring[c, now], out_row, mapped[c], maps[c], shifts[c], signed[c], width)
        pack_segments(source, 0 if finish else now, r, width, segments, words, linear, out)
    return True


def row_slack_bits(width: int) -> int:
    """Bits that one row of one stream may read past where it began, at the most."""
    return int(run_length(width)) * MAX_TOKEN_BITS + 64
