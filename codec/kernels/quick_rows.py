"""A row of a plane's residuals into its streams and back, in tile modes 3 and 5."""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.jit import kernel
from codec.kernels.quick_code import (
    BLOCK,
    DECODING,
    ENCODING,
    put_escapes,
    put_quads,
    take_escapes,
    take_quads,
)
from codec.kernels.quick_groups import SIDE
from codec.kernels.quick_lanes import GROUP, QUADS, merge_group, split_group

STREAMS = 6
"""Of each plane: four of quads, the raw lanes, the escapes."""
RAW = 4
ESCAPES = 5


@kernel
def put_row(
    z: Any,
    low: Any,
    codes: Any,
    coded: Any,
    groups: int,
    quads: Any,
    marks: Any,
    places: Any,
    raw: int,
    quad_streams: Any,
    lanes: Any,
    escape_stream: Any,
    state: Any,
    escape_state: Any,
) -> int:
    """Write one row of residuals into a plane's streams; the bits that a lane then has.

    It had ``raw`` before. ``z`` uint16[GROUP * groups]; scratch: ``quads`` uint8[QUADS * groups],
    ``marks`` uint16[BLOCK * blocks], ``places`` as `escape_places` wants it. See `put_quads` and
    `put_escapes` for what else there is.
    """
    for b in range(coded.size):
        stop = min((b + 1) * BLOCK, groups)
        if coded[b] == 0:
            for g in range(b * BLOCK, stop):
                marks[g] = 0
            continue
        for g in range(b * BLOCK, stop):
            byte = (raw >> 4) * 2 * GROUP
            k = low[np.uint64(g)]
            marks[np.uint64(g)] = split_group(
                z, GROUP * g, k, quads, QUADS * g, lanes, byte, raw & 15
            )
            raw += k
    put_quads(quads, codes, coded, groups, ENCODING, quad_streams, state)
    put_escapes(z, low, marks, places, escape_stream, escape_state)
    return raw


@kernel
def finish_stream(out: Any, position: Any, acc: Any, filled: Any) -> int:
    """Write the bits that wait, less than eight; the stream's length."""
    at = np.int64(position)
    if filled == np.uint64(0):
        return at
    out[at] = np.uint8(acc >> (np.uint64(64) - np.uint64(filled)))
    return at + 1


@kernel
def _take_groups(
    data: Any,
    origin: int,
    raw: int,
    low: Any,
    coded: Any,
    groups: int,
    entries: Any,
    marks: Any,
    z: Any,
    sums: Any,
) -> int:
    """Residuals and sums but for their escapes, of quads and lanes; the bits a lane has had."""
    for b in range(coded.size):
        stop = min((b + 1) * BLOCK, groups)
        if coded[b] == 0:
            for g in range(b * BLOCK, stop):
                marks[g] = 0
                sums[SIDE + g] = 0
            for x in range(GROUP * BLOCK * b, GROUP * stop):
                z[x] = 0
            continue
        for g in range(b * BLOCK, stop):
            byte = origin + (raw >> 4) * 2 * GROUP
            k = low[np.uint64(g)]
            marks[np.uint64(g)] = merge_group(
                entries, QUADS * g, k, data, byte, raw & 15, z, GROUP * g, sums, SIDE + g
            )
            raw += k
    return raw


@kernel
def take_row(
    data: Any,
    positions: Any,
    limit: int,
    low: Any,
    codes: Any,
    coded: Any,
    groups: int,
    entries: Any,
    marks: Any,
    places: Any,
    z: Any,
    sums: Any,
) -> bool:
    """Residuals ``z`` of one row of a plane, and their ``sums`` (int32[SIDE + groups + SIDE]).

    False if a stream ran past ``limit`` (in bits). ``positions`` int64[STREAMS + 1] are in bits,
    but for the lanes': those are the bits that one lane has had, and where in the data they begin
    is ``positions[STREAMS]``, in bytes. Scratch: ``entries`` uint16[QUADS * groups], ``marks``
    uint16[BLOCK * blocks], ``places`` as `escape_places` wants it.
    """
    for s in range(QUADS):
        if positions[s] > limit:
            return False
    raw = positions[RAW]
    origin = positions[STREAMS]
    if (origin << 3) + raw * GROUP > limit:
        return False
    take_quads(data, positions, codes, coded, groups, DECODING, entries)
    positions[RAW] = _take_groups(data, origin, raw, low, coded, groups, entries, marks, z, sums)
    at = take_escapes(data, positions[ESCAPES], limit, z, low, marks, places, sums[SIDE:])
    positions[ESCAPES] = at
    sound: bool = at >= 0
    return sound


@kernel
def begin_streams(ends: Any, positions: Any) -> int:
    """Set ``positions``, as `take_row` wants them, plane by plane to where the streams begin.

    ``ends`` int64[planes, STREAMS] are their lengths; returns what these add up to.
    """
    begin = 0
    for p in range(ends.shape[0]):
        for s in range(STREAMS):
            if s == RAW:
                positions[p, RAW] = 0
                positions[p, STREAMS] = begin
            else:
                positions[p, s] = 8 * begin
            begin += ends[p, s]
    return begin


@kernel
def streams_ended(ends: Any, positions: Any) -> bool:
    """Whether all streams have been read to their ends, but for bits that fill up the last byte."""
    stop = 0
    for p in range(ends.shape[0]):
        for s in range(STREAMS):
            stop += ends[p, s]
            ended = (positions[p, s] + 7) >> 3
            if s == RAW:
                ended = positions[p, STREAMS] + ((positions[p, RAW] + 15) >> 4) * 2 * GROUP
            if ended != stop:
                return False
    return True


@kernel
def slack_bytes(groups: int) -> int:
    """Bytes of data that one row of one plane may read past where it began, at the most."""
    return groups * 2 * GROUP + 6 * GROUP
