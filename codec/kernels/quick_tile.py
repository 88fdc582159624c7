"""The driver of tile mode 3, which is decoded for ever and written no more."""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.jit import kernel
from codec.kernels.packing import PAD
from codec.kernels.predict import (
    MEDIAN,
    RUNS,
    median_rebuild_row,
    pad_row,
    rebuild_row,
    run_starts,
    unfold_row,
)
from codec.kernels.quick_code import BLOCK, MAX_LENGTH, PLACES_SLACK
from codec.kernels.quick_groups import SIDE, classify, look_up, pad_sums, row_activities
from codec.kernels.quick_lanes import GROUP, QUADS
from codec.kernels.quick_predict import COEFFICIENTS, quick_base, quick_first_coefficients
from codec.kernels.quick_rows import STREAMS, begin_streams, streams_ended, take_row
from codec.kernels.segments import pack_segments
from codec.kernels.values import finish_row

_REACH = 1
"""How far beside a group is the next one."""


@kernel
def decode_quick(
    data: Any,
    ends: Any,
    size: int,
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

    Per plane in coding order: ``ends`` int64[planes, STREAMS], the streams' lengths,
    ``predictors``, ``coefficients`` int32, ``start_sums``, ``thresholds`` int32, ``k`` and
    ``codes`` int64[planes, CLASSES], ``coded`` uint8[planes, rows, blocks]. Per component:
    ``bits``, ``shifts``, ``signed``, ``mapped`` and ``maps``; ``segments`` as in
    `codec.kernels.segments`.

    The streams are the first ``size`` bytes of ``data``, which must go on for `slack_bytes` after
    them. False if they do not end where ``ends`` says, which only damaged ones do.
    """
    count = order.size
    limit = 8 * size
    positions = np.empty((count, STREAMS + 1), np.int64)
    if begin_streams(ends, positions) != size:
        return False
    groups = (width + GROUP - 1) // GROUP
    ring = np.zeros((count, 2, width + 2 * PAD), np.uint16)
    sums = np.zeros((count, 3, SIDE + groups + SIDE), np.int32)
    z = np.zeros(GROUP * groups + 2 * PAD, np.uint16)
    base = np.empty(width, np.int32)
    residual = np.empty(width, np.int16)
    activity = np.empty(groups, np.int32)
    number = np.empty(groups, np.int32)
    low = np.empty(groups, np.int64)
    first = np.empty(groups, np.int64)
    entries = np.empty(QUADS * groups, np.uint16)
    marks = np.zeros(BLOCK * coded.shape[2], np.uint16)
    places = np.empty(GROUP * groups + PLACES_SLACK, np.uint32)
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
            own = sums[p, r % 3]
            row_activities(sums, p, (r + 2) % 3, (r + 1) % 3, r % 3, activity, groups, _REACH)
            classify(activity, thresholds[p], number, groups)
            look_up(number, k[p], offsets[p], low, first, groups)
            if not take_row(
                data,
                positions[p],
                limit,
                low,
                first,
                coded[p, r],
                groups,
                entries,
                marks,
                places,
                z[PAD:],
                own,
            ):
                return False
            pad_sums(own, groups, _REACH)
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
    sound: bool = streams_ended(ends, positions)
    return sound
