"""The two drivers: residuals, contexts and streams of a tile, and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.context import (
    CROSS_PLANES,
    activity_cross,
    activity_own,
    activity_row,
    magnitude_row,
    quantise,
)
from codec.kernels.entropy import (
    DIRECT_BITS,
    MAX_LENGTH,
    MAX_SAMPLE_BITS,
    STREAMS,
    begin_streams,
    emit_row,
    finish_streams,
    split_row,
    take_row,
)
from codec.kernels.jit import kernel
from codec.kernels.packing import PAD
from codec.kernels.predict import (
    COEFFICIENTS,
    MEDIAN,
    RUNS,
    base_residual,
    base_row,
    first_row_coefficients,
    median_rebuild_row,
    median_residual_row,
    pad_row,
    rebuild_row,
    residual_row,
    run_starts,
    unfold_row,
)
from codec.kernels.segments import pack_segments
from codec.kernels.statistics import mark_blocks
from codec.kernels.streams import GROUP, STATE_ROWS
from codec.kernels.values import finish_row


@kernel
def pad_planes(planes: Any, rows: int, width: int, bits: Any) -> None:
    """Fill the samples beside each row; ``bits[c]`` is what component c has left."""
    for c in range(planes.shape[0]):
        for r in range(rows):
            pad_row(planes[c, r], planes[c, max(r - 1, 0)], r == 0, bits[c], width)


@kernel
def _linear_residual(
    planes: Any, order: Any, p: int, r: int, bits: int, c: Any, base: Any, starts: Any, z: Any
) -> None:
    """Folded residuals ``z`` of row r of the p-th plane coded, under the linear predictor."""
    width = base.size
    above = max(r - 1, 0)
    plane = planes[order[p]]
    base_row(base, planes, order, p, r, above, c, width)
    run_starts(plane[above], r == 0, bits, width, starts)
    residual_row(base, c[0], plane[r], starts, bits, z, width)


@kernel
def sampled_residuals(
    planes: Any,
    order: Any,
    p: int,
    rows: int,
    width: int,
    bits: int,
    c: Any,
    predictor: int,
    step: int,
    z: Any,
) -> None:
    """Folded residuals ``z`` (uint16[rows, PAD + width + PAD]) of rows ``1, 1 + step, ...``."""
    base = np.empty(width, np.int32)
    starts = np.empty(RUNS, np.int32)
    plane = planes[order[p]]
    for r in range(1, rows, step):
        if predictor == MEDIAN:
            run_starts(plane[r - 1], False, bits, width, starts)
            median_residual_row(plane[r], plane[r - 1], starts, bits, z[r], width)
        else:
            _linear_residual(planes, order, p, r, bits, c, base, starts, z[r])


@kernel
def first_residuals(planes: Any, order: Any, p: int, width: int, bits: int, z: Any) -> None:
    """Folded residuals ``z`` (uint16[PAD + width + PAD]) of a tile's first row."""
    base = np.empty(width, np.int32)
    starts = np.empty(RUNS, np.int32)
    first = np.empty(COEFFICIENTS, np.int32)
    first_row_coefficients(first, p)
    _linear_residual(planes, order, p, 0, bits, first, base, starts, z)


@kernel
def plane_residuals(
    planes: Any,
    order: Any,
    p: int,
    rows: int,
    width: int,
    bits: int,
    c: Any,
    predictor: int,
    shift: int,
    start: int,
    z: Any,
    coded: Any,
    m: Any,
) -> None:
    """All that is known of the p-th plane's residuals before they are coded.

    ``z`` (uint16[rows, PAD + width + PAD]) gets them folded, ``m`` (int16[rows + 2, PAD + width
    + PAD]) their magnitudes under two rows of ``start``, ``coded[r, b]`` (uint8) whether a block
    holds one that is not zero. The first row is `first_residuals`'s, and given.
    """
    base = np.empty(width, np.int32)
    starts = np.empty(RUNS, np.int32)
    plane = planes[order[p]]
    m[:, :PAD] = 0
    m[:, PAD + width :] = 0
    for x in range(width):
        m[0, PAD + x] = start
        m[1, PAD + x] = start
    for r in range(rows):
        if r > 0 and predictor == MEDIAN:
            run_starts(plane[r - 1], False, bits, width, starts)
            median_residual_row(plane[r], plane[r - 1], starts, bits, z[r], width)
        elif r > 0:
            _linear_residual(planes, order, p, r, bits, c, base, starts, z[r])
        mark_blocks(z[r], width, coded[r])
        magnitude_row(z[r], shift, m[r + 2], width)


@kernel
def emit_plane(
    z: Any,
    magnitudes: Any,
    order: Any,
    p: int,
    rows: int,
    width: int,
    cross: int,
    thresholds: Any,
    coded: Any,
    k: Any,
    table: Any,
    direct: Any,
    out: Any,
    ends: Any,
) -> None:
    """Write the p-th plane's residuals into four streams (see `emit_row`)."""
    activity = np.empty(width, np.int16)
    context = np.empty(width, np.int16)
    entries = np.empty(width + GROUP, np.uint32)
    state = np.empty((STATE_ROWS, STREAMS), np.uint64)
    begin_streams(out, state)
    for r in range(rows):
        activity_row(magnitudes, order, p, r, cross, activity, width)
        quantise(activity, thresholds, 1 << DIRECT_BITS, context, width)
        emit_row(z[r], context, coded[r], k, table, direct, entries, out, state, width)
    finish_streams(out, state, ends)


@kernel
def decode_rows(
    data: Any,
    positions: Any,
    limit: int,
    predictors: Any,
    tables: Any,
    coefficients: Any,
    thresholds: Any,
    coded: Any,
    order: Any,
    bits: Any,
    shifts: Any,
    magnitude_shifts: Any,
    crosses: Any,
    starts_m: Any,
    rows: int,
    width: int,
    signed: Any,
    mapped: Any,
    maps: Any,
    given: Any,
    segments: Any,
    out: Any,
) -> bool:
    """Decode a tile's samples into ``out`` (uint8), which holds its regions one after another.

    Per component also ``signed``, ``mapped`` and ``maps`` (see `codec.values`). Where ``given``
    (uint16[planes, rows, width]) is not empty it holds the folded residuals, and there are no
    streams.

    ``segments`` is as in `codec.kernels.segments`.

    Per plane in coding order: ``positions`` int64[planes, STREAMS] in bits, ``predictors``,
    ``tables``, ``coefficients``, ``thresholds``, ``coded`` uint8[planes, rows, blocks],
    ``crosses``, ``magnitude_shifts`` and ``starts_m``. Per component: ``bits`` and ``shifts``.

    ``limit`` is the last bit position at which a row may start; ``data`` must go on for
    ``(width // STREAMS + 1) * MAX_SAMPLE_BITS + 64`` bits after it. False if a stream ran past
    ``limit``, which only damaged data can cause.
    """
    count = order.size
    is_given = given.size > 0
    ring = np.zeros((count, 2, width + 2 * PAD), np.uint16)
    m = np.zeros((count, 2, width + 2 * PAD), np.int16)
    z = np.zeros(width + 2 * PAD, np.uint16)
    taken = np.zeros(width, np.uint32)
    base = np.empty(width, np.int32)
    residual = np.empty(width, np.int16)
    activity = np.empty(width, np.int16)
    context = np.empty(width, np.int16)
    starts = np.empty(RUNS, np.int32)
    first = np.empty(COEFFICIENTS, np.int32)
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
        before = 1 - now
        for p in range(count):
            component = order[p]
            if is_given:
                for x in range(width):
                    z[PAD + x] = given[p, r, x]
            else:
                for s in range(STREAMS):
                    if positions[p, s] > limit:
                        return False
                activity_own(m[p, before], m[p, now], activity, width)
                if crosses[p]:
                    for q in range(max(p - CROSS_PLANES, 0), p):
                        activity_cross(m[q, now], crosses[p], activity, width)
                quantise(activity, thresholds[p], 1 << MAX_LENGTH, context, width)
                coded_row = coded[p, r]
                have = bits[component]
                take_row(data, positions[p], tables[p], context, coded_row, taken, have, width)
                split_row(context, taken, have, z, width)
                magnitude_row(z, magnitude_shifts[p], m[p, now], width)
            if r == 0:
                first_row_coefficients(first, p)
            use = first if r == 0 else coefficients[p]
            row = ring[component, now]
            above = ring[component, before]
            run_starts(above, r == 0, bits[component], width, starts)
            if r > 0 and predictors[p] == MEDIAN:
                unfold_row(z, residual, width)
                median_rebuild_row(above, residual, starts, bits[component], row, width)
                pad_row(row, above, False, bits[component], width)
                continue
            base_row(base, ring, order, p, now, before, use, width)
            base_residual(base, z, width)
            rebuild_row(base, use[0], starts, bits[component], row, width)
            pad_row(row, above, r == 0, bits[component], width)
        if finish:
            for c in range(count):
                out_row = finished[c, 0]
                finish_row(ring[c, now], out_row, mapped[c], maps[c], shifts[c], signed[c], width)
        pack_segments(source, 0 if finish else now, r, width, segments, words, linear, out)
    return True


def row_slack_bits(width: int) -> int:
    """Bits that one row of one stream may read past where it began, at the most."""
    return (width // STREAMS + 1) * MAX_SAMPLE_BITS + 64
