"""The drivers of tile mode 3: residuals, classes and streams of a plane, and a tile back."""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.jit import kernel
from codec.kernels.packing import PAD
from codec.kernels.predict import (
    FRACTION,
    LINEAR,
    MEDIAN,
    RUNS,
    median_rebuild_row,
    median_residual_row,
    pad_row,
    rebuild_row,
    run_starts,
    unfold_row,
)
from codec.kernels.quick_code import (
    BLOCK,
    DECODING,
    ENCODING,
    MAX_LENGTH,
    SYMBOLS,
    add_escapes,
    emit_escapes,
    emit_quads,
    take_quads,
)
from codec.kernels.quick_fit import quick_fit
from codec.kernels.quick_groups import (
    choose_classes,
    classify,
    look_up,
    mark_blocks,
    row_activities,
    sampled_cost,
    sum_groups,
)
from codec.kernels.quick_lanes import GROUP, QUADS, merge_group, split_group
from codec.kernels.quick_predict import (
    COEFFICIENTS,
    quick_base,
    quick_first_coefficients,
    quick_residual,
)
from codec.kernels.segments import pack_segments
from codec.kernels.values import finish_row

STREAMS = 6
"""Of each plane: four of quads, the raw lanes, the escapes."""
RAW = 4
ESCAPES = 5
_FIT_SAMPLES = 512
_FIT_ROUNDS = 2
_PREDICTOR_ROWS = 4
_CLASS_ROWS = 6
_GAIN = 0.98
"""Each predictor tried after the fitted one must cost this much less than the best before."""


@kernel
def residual_row(
    planes: Any,
    order: Any,
    p: int,
    r: int,
    bits: int,
    c: Any,
    predictor: int,
    starts: Any,
    z: Any,
    width: int,
) -> None:
    """Folded residuals ``z`` (uint16[PAD + width + PAD]) of row r > 0 of the p-th plane coded."""
    plane = planes[order[p]]
    run_starts(plane[r - 1], False, bits, width, starts)
    if predictor == MEDIAN:
        median_residual_row(plane[r], plane[r - 1], starts, bits, z, width)
    else:
        quick_residual(planes, order, p, r, bits, c, starts, z, width)


@kernel
def _choose_predictor(
    planes: Any, order: Any, p: int, rows: int, width: int, bits: int, c: Any, z: Any
) -> int:
    """The predictor whose residuals look cheapest on a few rows; ``c`` gets its coefficients.

    Fitted taps average noise away but blur the peaks of planes that are clipped or take few
    values; the sample beside or above, or the median, keeps those.
    """
    starts = np.empty(RUNS, np.int32)
    groups = (width + GROUP - 1) // GROUP
    step = max(rows // _PREDICTOR_ROWS, 1)
    candidates = np.zeros((4, COEFFICIENTS), np.int32)
    quick_fit(planes, order, p, rows, width, _FIT_SAMPLES, _FIT_ROUNDS, candidates[0])
    candidates[1, 0] = 1 << FRACTION
    candidates[2:, 1] = 1 << FRACTION
    best = 0
    least = 0.0
    for i in range(4):
        predictor = MEDIAN if i == 3 else LINEAR
        cost = np.int64(0)
        for r in range(1, rows, step):
            residual_row(planes, order, p, r, bits, candidates[i], predictor, starts, z, width)
            cost += sampled_cost(z, groups)
        if i == 0 or cost < least * _GAIN:
            least = np.float64(cost)
            best = i
    c[:] = candidates[best]
    return MEDIAN if best == 3 else LINEAR


@kernel
def plan_planes(
    planes: Any,
    order: Any,
    rows: int,
    width: int,
    bits: Any,
    predictors: Any,
    coefficients: Any,
    thresholds: Any,
    k: Any,
    codes: Any,
) -> None:
    """Choose all planes' ``predictors``, ``coefficients``, ``thresholds``, ``k`` and ``codes``.

    They are as in `decode_quick`, and zero before. ``planes`` uint16[components, rows, PAD + width
    + PAD] have their side samples filled, ``bits`` are each component's.
    """
    count = order.size
    groups = (width + GROUP - 1) // GROUP
    z = np.zeros(GROUP * groups + 2 * PAD, np.uint16)
    starts = np.empty(RUNS, np.int32)
    first = np.empty(COEFFICIENTS, np.int32)
    samples = min(_CLASS_ROWS, max(rows - 2, 1))
    sums = np.empty((count, samples, 2, groups + 2), np.int32)
    for p in range(count):
        depth = bits[order[p]]
        if rows > 1:
            predictors[p] = _choose_predictor(
                planes, order, p, rows, width, depth, coefficients[p], z
            )
        quick_first_coefficients(first, p)
        for i in range(samples):
            for j in range(2):
                r = min(1 + (2 * i + 1) * (rows - 2) // (2 * samples) + j, rows - 1)
                if r == 0:
                    run_starts(planes[order[p], 0], True, depth, width, starts)
                    quick_residual(planes, order, p, 0, depth, first, starts, z, width)
                else:
                    c = coefficients[p]
                    residual_row(planes, order, p, r, depth, c, predictors[p], starts, z, width)
                sum_groups(z, groups, sums[p, i, j])
        choose_classes(sums, p, groups, depth, thresholds[p], k[p], codes[p])


@kernel
def _emit_row(
    z: Any,
    low: Any,
    codes: Any,
    coded: Any,
    groups: int,
    quads: Any,
    escapes: Any,
    raw: int,
    quad_streams: Any,
    lanes: Any,
    escape_stream: Any,
    state: Any,
    escape_state: Any,
) -> int:
    """Write one row of residuals into a plane's streams; the bits that a lane then has.

    It had ``raw`` before. See `emit_quads` and `emit_escapes` for what else there is.
    """
    for b in range(coded.size):
        if coded[b] == 0:
            continue
        for g in range(b * BLOCK, min((b + 1) * BLOCK, groups)):
            byte = (raw >> 4) * 2 * GROUP
            split_group(z, PAD + GROUP * g, low[g], quads, QUADS * g, lanes, byte, raw & 15)
            raw += low[g]
    count = emit_quads(quads, codes, coded, groups, ENCODING, quad_streams, state, escapes)
    if count:
        emit_escapes(z, PAD, low, escapes, count, escape_stream, escape_state)
    return raw


@kernel
def _finish_stream(out: Any, position: Any, acc: Any, filled: Any) -> int:
    """Write the bits that wait, less than eight; the stream's length."""
    at = np.int64(position)
    if filled == np.uint64(0):
        return at
    out[at] = np.uint8(acc & np.uint64(0xFF))
    return at + 1


@kernel
def encode_planes(
    planes: Any,
    order: Any,
    rows: int,
    width: int,
    bits: Any,
    predictors: Any,
    coefficients: Any,
    thresholds: Any,
    k: Any,
    codes: Any,
    start_sums: Any,
    coded: Any,
    quad_streams: Any,
    lanes: Any,
    escape_streams: Any,
    ends: Any,
) -> None:
    """Write all planes' residuals, under what `plan_planes` chose, into their streams.

    Per plane in coding order: ``start_sums`` (int64) and ``coded`` (uint8[planes, rows, blocks])
    are found on the way, ``quad_streams`` uint8[planes, 4, ...], ``lanes`` and ``escape_streams``
    uint8[planes, ...] have room for all there may be, ``ends`` (int64[planes, STREAMS]) gets
    their lengths.
    """
    count = order.size
    groups = (width + GROUP - 1) // GROUP
    z = np.zeros(GROUP * groups + 2 * PAD, np.uint16)
    sums = np.zeros((count, 3, groups + 2), np.int32)
    activity = np.empty(groups, np.int32)
    number = np.empty(groups, np.int32)
    low = np.empty(groups, np.int64)
    first = np.empty(groups, np.int64)
    quads = np.empty(QUADS * groups, np.uint8)
    escapes = np.empty(QUADS * groups + 1, np.int64)
    state = np.zeros((count, 3, QUADS), np.uint64)
    escape_state = np.zeros((count, 3), np.uint64)
    starts = np.empty(RUNS, np.int32)
    first_c = np.empty(COEFFICIENTS, np.int32)
    offsets = codes * SYMBOLS
    lanes[:, : 2 * GROUP] = 0
    for r in range(rows):
        for p in range(count):
            depth = bits[order[p]]
            own = sums[p, r % 3]
            if r == 0:
                quick_first_coefficients(first_c, p)
                run_starts(planes[order[p], 0], True, depth, width, starts)
                quick_residual(planes, order, p, 0, depth, first_c, starts, z, width)
                sum_groups(z, groups, own)
                start_sums[p] = np.sum(own[1:-1]) // groups
                sums[p, 1:] = start_sums[p]
            else:
                c = coefficients[p]
                residual_row(planes, order, p, r, depth, c, predictors[p], starts, z, width)
                sum_groups(z, groups, own)
            mark_blocks(own, groups, coded[p, r])
            row_activities(sums, p, (r + 2) % 3, (r + 1) % 3, r % 3, activity, groups)
            classify(activity, thresholds[p], number, groups)
            look_up(number, k[p], offsets[p], low, first, groups)
            ends[p, RAW] = _emit_row(
                z,
                low,
                first,
                coded[p, r],
                groups,
                quads,
                escapes,
                ends[p, RAW],
                quad_streams[p],
                lanes[p],
                escape_streams[p],
                state[p],
                escape_state[p],
            )
    for p in range(count):
        for s in range(QUADS):
            ends[p, s] = _finish_stream(
                quad_streams[p, s], state[p, 0, s], state[p, 1, s], state[p, 2, s]
            )
        ends[p, RAW] = ((ends[p, RAW] + 15) >> 4) * 2 * GROUP
        ends[p, ESCAPES] = _finish_stream(
            escape_streams[p], escape_state[p, 0], escape_state[p, 1], escape_state[p, 2]
        )


@kernel
def _take_row(
    data: Any,
    positions: Any,
    limit: int,
    low: Any,
    codes: Any,
    coded: Any,
    groups: int,
    quads: Any,
    escapes: Any,
    z: Any,
) -> bool:
    """Residuals ``z`` of one row of a plane; False if a stream ran past ``limit`` (in bits).

    ``positions`` int64[STREAMS] are in bits, but for the lanes': those are 256 times the bits
    that one lane has had, and where in the data they begin is ``positions[STREAMS]``, in bytes.
    """
    for s in range(QUADS):
        if positions[s] > limit:
            return False
    raw = positions[RAW]
    origin = positions[STREAMS]
    if (origin << 3) + raw * GROUP > limit:
        return False
    count = take_quads(data, positions, codes, coded, groups, DECODING, quads, escapes)
    for b in range(coded.size):
        stop = min((b + 1) * BLOCK, groups)
        if coded[b] == 0:
            for x in range(PAD + GROUP * BLOCK * b, PAD + GROUP * stop):
                z[x] = 0
            continue
        for g in range(b * BLOCK, stop):
            byte = origin + (raw >> 4) * 2 * GROUP
            merge_group(quads, QUADS * g, low[g], data, byte, raw & 15, z, PAD + GROUP * g)
            raw += low[g]
    positions[RAW] = raw
    if count:
        at = add_escapes(data, positions[ESCAPES], limit, z, PAD, low, quads, escapes, count)
        if at < 0:
            return False
        positions[ESCAPES] = at
    return True


@kernel
def decode_quick(
    data: Any,
    positions: Any,
    limit: int,
    predictors: Any,
    coefficients: Any,
    start_sums: Any,
    thresholds: Any,
    k: Any,
    codes: Any,
    coded: Any,
    order: Any,
    rows: int,
    width: int,
    bits: Any,
    shifts: Any,
    signed: Any,
    mapped: Any,
    maps: Any,
    segments: Any,
    out: Any,
) -> bool:
    """Decode a tile's samples into ``out`` (uint8), which holds its regions one after another.

    Per plane in coding order: ``positions`` int64[planes, STREAMS + 1] (see `_take_row`),
    ``predictors``, ``coefficients`` int32, ``start_sums``, ``thresholds`` int32, ``k`` and
    ``codes`` int64[planes, CLASSES], ``coded`` uint8[planes, rows, blocks]. Per component:
    ``bits``, ``shifts``, ``signed``, ``mapped`` and ``maps``; ``segments`` as in
    `codec.kernels.segments`.

    ``limit`` is the last bit position at which a row may start; ``data`` must go on for
    `slack_bytes` after it. False if a stream ran past ``limit``, which only damaged data does.
    """
    count = order.size
    groups = (width + GROUP - 1) // GROUP
    ring = np.zeros((count, 2, width + 2 * PAD), np.uint16)
    sums = np.zeros((count, 3, groups + 2), np.int32)
    z = np.zeros(GROUP * groups + 2 * PAD, np.uint16)
    base = np.empty(width, np.int32)
    residual = np.empty(width, np.int16)
    activity = np.empty(groups, np.int32)
    number = np.empty(groups, np.int32)
    low = np.empty(groups, np.int64)
    first = np.empty(groups, np.int64)
    quads = np.empty(QUADS * groups, np.uint8)
    escapes = np.empty(QUADS * groups + 1, np.int64)
    starts = np.empty(RUNS, np.int32)
    first_c = np.empty(COEFFICIENTS, np.int32)
    linear = np.empty(width * count + 3, np.uint16)
    words = np.zeros(2 * width * count + 32, np.uint8)
    finished = np.zeros((count, 1, width + 2 * PAD), np.uint16)
    offsets = codes << MAX_LENGTH
    finish = False
    for p in range(count):
        finish = finish or shifts[p] > 0 or signed[p] != 0 or mapped[p] != 0
        sums[p] = start_sums[p]
    for r in range(rows):
        now = r & 1
        before = 1 - now
        for p in range(count):
            component = order[p]
            row_activities(sums, p, (r + 2) % 3, (r + 1) % 3, r % 3, activity, groups)
            classify(activity, thresholds[p], number, groups)
            look_up(number, k[p], offsets[p], low, first, groups)
            if not _take_row(
                data, positions[p], limit, low, first, coded[p, r], groups, quads, escapes, z
            ):
                return False
            for x in range(PAD + width, PAD + GROUP * groups):
                z[x] = 0
            sum_groups(z, groups, sums[p, r % 3])
            row = ring[component, now]
            above = ring[component, before]
            run_starts(above, r == 0, bits[component], width, starts)
            if r > 0 and predictors[p] == MEDIAN:
                unfold_row(z, residual, width)
                median_rebuild_row(above, residual, starts, bits[component], row, width)
            else:
                if r == 0:
                    quick_first_coefficients(first_c, p)
                use = first_c if r == 0 else coefficients[p]
                quick_base(base, ring, order, p, now, before, use, z, width)
                rebuild_row(base, use[0], starts, bits[component], row, width)
            pad_row(row, above, r == 0, bits[component], width)
        if finish:
            for c in range(count):
                finish_row(
                    ring[c, now], finished[c, 0], mapped[c], maps[c], shifts[c], signed[c], width
                )
            pack_segments(finished, 0, r, width, segments, words, linear, out)
        else:
            pack_segments(ring, now, r, width, segments, words, linear, out)
    return True


def slack_bytes(width: int) -> int:
    """Bytes of data that one row of one plane may read past where it began, at the most."""
    groups = (width + GROUP - 1) // GROUP
    return groups * 2 * GROUP + 6 * GROUP
