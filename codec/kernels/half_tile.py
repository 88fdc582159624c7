"""The drivers of tile mode 5: the streams of a tile's planes, and a tile back."""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.half_plan import REACH
from codec.kernels.half_rows import (
    COLUMNS,
    SLOTS,
    column_blocks,
    fill_row,
    half_stride,
    join_row,
    part_row,
    rebuild_halves,
    residual_halves,
    ring_size,
    scale_of,
)
from codec.kernels.jit import kernel
from codec.kernels.packing import PAD
from codec.kernels.quick_code import BLOCK, MAX_LENGTH, PLACES_SLACK, SYMBOLS
from codec.kernels.quick_groups import (
    SIDE,
    classify,
    look_up,
    mark_blocks,
    pad_sums,
    row_activities,
)
from codec.kernels.quick_lanes import GROUP, QUADS
from codec.kernels.quick_rows import (
    ESCAPES,
    RAW,
    STREAMS,
    begin_streams,
    finish_stream,
    put_row,
    streams_ended,
    take_row,
)
from codec.kernels.segments import pack_segments
from codec.kernels.values import finish_row


@kernel
def group_count(width: int) -> Any:
    """Groups in a row."""
    return 2 * column_blocks(width)


@kernel
def block_count(width: int) -> Any:
    """Blocks in a row that are coded or not."""
    return (group_count(width) + BLOCK - 1) // BLOCK


@kernel
def _begin(ring: Any, order: Any, bits: Any, edges: Any, width: int) -> None:
    """Fill the rows above a tile."""
    stride = half_stride(width)
    for p in range(order.size):
        for slot in range(1, SLOTS):
            fill_row(ring, p, slot, stride, edges[p] << scale_of(bits[order[p]]))


@kernel
def encode_planes(
    planes: Any,
    order: Any,
    rows: int,
    width: int,
    bits: Any,
    edges: Any,
    taps: Any,
    thresholds: Any,
    k: Any,
    codes: Any,
    start_sums: Any,
    coded: Any,
    quad_streams: Any,
    lanes: Any,
    escape_streams: Any,
    ends: Any,
    ring: Any,
    z: Any,
) -> None:
    """Write all planes' residuals, under what `plan_planes` chose, into their streams.

    Per plane in coding order: ``edges`` (int64), ``taps`` int16[planes, 2, TAPS, LANES],
    ``thresholds`` int32, ``k`` and ``codes`` int64[planes, CLASSES] are given; ``start_sums``
    (int64) and ``coded`` (uint8[planes, rows, blocks]) are found on the way. ``quad_streams``
    uint8[planes, 4, ...], ``lanes`` and ``escape_streams`` uint8[planes, ...] have room for all
    there may be, ``ends`` (int64[planes, STREAMS], zero before) gets their lengths.
    """
    count = order.size
    groups = group_count(width)
    stride = half_stride(width)
    sums = np.zeros((count, SLOTS, SIDE + groups + SIDE), np.int32)
    activity = np.empty(groups, np.int32)
    number = np.empty(groups, np.int32)
    low = np.empty(groups, np.int64)
    first = np.empty(groups, np.int64)
    quads = np.empty(QUADS * groups, np.uint8)
    marks = np.zeros(BLOCK * block_count(width), np.uint16)
    places = np.empty(GROUP * groups + PLACES_SLACK, np.uint32)
    state = np.zeros((count, 3, QUADS), np.uint64)
    escape_state = np.zeros((count, 3), np.uint64)
    offsets = codes * SYMBOLS
    lanes[:, : 2 * GROUP] = 0
    _begin(ring, order, bits, edges, width)
    for r in range(rows):
        now, north, north2 = r % SLOTS, (r + 2) % SLOTS, (r + 1) % SLOTS
        for p in range(count):
            depth = bits[order[p]]
            own = sums[p, now]
            part_row(planes[order[p], r], ring, p, now, stride, width, depth)
            residual_halves(ring, p, now, north, north2, stride, width, depth, taps[p], z, own)
            pad_sums(own, groups, REACH)
            if r == 0:
                start_sums[p] = np.sum(own[SIDE : SIDE + groups]) // groups
                sums[p, 1:] = start_sums[p]
            mark_blocks(own, groups, coded[p, r])
            row_activities(sums, p, north, north2, now, activity, groups, REACH)
            classify(activity, thresholds[p], number, groups)
            look_up(number, k[p], offsets[p], low, first, groups)
            ends[p, RAW] = put_row(
                z,
                low,
                first,
                coded[p, r],
                groups,
                quads,
                marks,
                places,
                ends[p, RAW],
                quad_streams[p],
                lanes[p],
                escape_streams[p],
                state[p],
                escape_state[p],
            )
    for p in range(count):
        for s in range(QUADS):
            ends[p, s] = finish_stream(
                quad_streams[p, s], state[p, 0, s], state[p, 1, s], state[p, 2, s]
            )
        ends[p, RAW] = ((ends[p, RAW] + 15) >> 4) * 2 * GROUP
        ends[p, ESCAPES] = finish_stream(
            escape_streams[p], escape_state[p, 0], escape_state[p, 1], escape_state[p, 2]
        )


@kernel
def decode_planes(
    data: Any,
    ends: Any,
    size: int,
    edges: Any,
    taps: Any,
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

    Per plane in coding order what `encode_planes` has. Per component: ``bits``, ``shifts``,
    ``signed``, ``mapped`` and ``maps``; ``segments`` as in `codec.kernels.segments`.

    The streams are the first ``size`` bytes of ``data``, which must go on for `slack_bytes` after
    them. False if they do not end where ``ends`` says, which only damaged ones do.
    """
    count = order.size
    limit = 8 * size
    positions = np.empty((count, STREAMS + 1), np.int64)
    if begin_streams(ends, positions) != size:
        return False
    groups = group_count(width)
    stride = half_stride(width)
    ring = np.zeros(ring_size(count, width), np.uint16)
    room = column_blocks(width) * COLUMNS
    plain = np.zeros((count, 1, PAD + room + PAD), np.uint16)
    sums = np.zeros((count, SLOTS, SIDE + groups + SIDE), np.int32)
    z = np.zeros(GROUP * groups, np.uint16)
    activity = np.empty(groups, np.int32)
    number = np.empty(groups, np.int32)
    low = np.empty(groups, np.int64)
    first = np.empty(groups, np.int64)
    entries = np.empty(QUADS * groups, np.uint16)
    marks = np.zeros(BLOCK * block_count(width), np.uint16)
    places = np.empty(GROUP * groups + PLACES_SLACK, np.uint32)
    linear = np.empty(width * count + 3, np.uint16)
    words = np.zeros(2 * width * count + 32, np.uint8)
    offsets = codes << MAX_LENGTH
    finish = False
    for p in range(count):
        finish = finish or shifts[p] > 0 or signed[p] != 0 or mapped[p] != 0
        sums[p] = start_sums[p]
    _begin(ring, order, bits, edges, width)
    for r in range(rows):
        now, north, north2 = r % SLOTS, (r + 2) % SLOTS, (r + 1) % SLOTS
        for p in range(count):
            component = order[p]
            depth = bits[component]
            own = sums[p, now]
            row_activities(sums, p, north, north2, now, activity, groups, REACH)
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
                z,
                own,
            ):
                return False
            pad_sums(own, groups, REACH)
            rebuild_halves(ring, p, now, north, north2, stride, width, depth, taps[p], z)
            join_row(ring, p, now, stride, width, depth, plain[component, 0])
        if finish:
            for c in range(count):
                row = plain[c, 0]
                finish_row(row, row, mapped[c], maps[c], shifts[c], signed[c], width)
        pack_segments(plain, 0, r, width, segments, words, linear, out)
    sound: bool = streams_ended(ends, positions)
    return sound
