"""Plane heads of tile mode 5, written and parsed; see docs/format/container-v1.md, "Mode 5"."""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.half_fit import TAPS, tap_count
from codec.kernels.half_rows import REFERENCES
from codec.kernels.heads import (
    CUT_SHORT,
    OUT_OF_RANGE,
    SOUND,
    TOO_LONG,
    TOO_MANY_RAW_BITS,
    take_flags,
)
from codec.kernels.jit import kernel
from codec.kernels.memory import load16, load32, store16, store32
from codec.kernels.quick_code import CODES
from codec.kernels.quick_groups import CLASSES, MAX_RAW, MAX_SUM, THRESHOLDS
from codec.kernels.quick_rows import STREAMS

UNKNOWN_CODE = 7
"""A verdict besides those of `codec.kernels.heads`."""
FIXED = 8
"""Bytes of a head before its taps: two fields of one byte, one of two and one of four."""
_CODES = len(CODES)
_CLASS_BYTES = 4 * THRESHOLDS + 2 * CLASSES


def head_room(flags: int) -> int:
    """Bytes that suffice for the head of a plane of so many blocks."""
    return FIXED + 4 * TAPS + _CLASS_BYTES + 4 * STREAMS + (flags + 7) // 8


@kernel
def put_heads(
    edges: Any,
    starts: Any,
    taps: Any,
    thresholds: Any,
    k: Any,
    codes: Any,
    ends: Any,
    coded: Any,
    raw: Any,
) -> int:
    """Write the heads of all planes, in coding order, to ``raw`` (uint8); their length.

    ``raw`` has `head_room` for each plane; all else is as `codec.kernels.half_tile` made it.
    """
    at = 0
    for p in range(edges.size):
        flags = coded[p].reshape(coded[p].size)
        whole = np.uint8(1)
        for flag in flags:
            whole &= np.uint8(flag)
        raw[at] = whole
        raw[at + 1] = 0
        store16(raw, at + 2, np.uint16(edges[p]))
        store32(raw, at + 4, np.uint32(starts[p]))
        at += FIXED
        for parity in range(2):
            count = tap_count(min(p, REFERENCES), parity)
            for i in range(count):
                store16(raw, at + 2 * i, np.uint16(taps[p, parity, i, 0]))
            at += 2 * count
        at = _put_classes(thresholds[p], k[p], codes[p], raw, at)
        for i in range(STREAMS):
            store32(raw, at + 4 * i, np.uint32(ends[p, i]))
        at += 4 * STREAMS
        if not whole:
            at = _put_flags(flags, raw, at)
    return at


@kernel
def _put_classes(thresholds: Any, k: Any, codes: Any, raw: Any, at: int) -> int:
    """Write a plane's classes to ``raw[at:]``; where they end."""
    for i in range(THRESHOLDS):
        store32(raw, at + 4 * i, np.uint32(thresholds[i]))
    at += 4 * THRESHOLDS
    for i in range(CLASSES):
        raw[at + i] = k[i]
        raw[at + CLASSES + i] = codes[i]
    return at + 2 * CLASSES


@kernel
def _put_flags(flags: Any, raw: Any, at: int) -> int:
    """Write flags (uint8, 0 or 1) to ``raw[at:]``, from the low bit of each byte on; their end."""
    stop: int = at + (flags.size + 7) // 8
    raw[at:stop] = 0
    for i in range(flags.size):
        raw[at + (i >> 3)] |= flags[i] << np.uint8(i & 7)
    return stop


@kernel
def parse_heads(
    raw: Any,
    order: Any,
    bits: Any,
    edges: Any,
    starts: Any,
    taps: Any,
    thresholds: Any,
    k: Any,
    codes: Any,
    ends: Any,
    coded: Any,
) -> int:
    """Parse the heads of all planes, in coding order, from ``raw`` (uint8); `SOUND` or why not.

    ``bits`` are each component's. Everything else is filled, plane by plane: see
    `codec.kernels.half_tile.decode_planes`.
    """
    at = 0
    for p in range(order.size):
        references = min(p, REFERENCES)
        both = tap_count(references, 0) + tap_count(references, 1)
        stop = at + FIXED + 2 * both + _CLASS_BYTES + 4 * STREAMS
        if stop > raw.size:
            return CUT_SHORT
        whole = raw[at] == 1
        edges[p] = load16(raw, at + 2)
        if raw[at] > 1 or raw[at + 1] or edges[p] >> bits[order[p]]:
            return OUT_OF_RANGE
        starts[p] = min(np.int64(load32(raw, at + 4)), MAX_SUM)
        at += FIXED
        for parity in range(2):
            count = tap_count(references, parity)
            for i in range(count):
                taps[p, parity, i] = np.int16(load16(raw, at + 2 * i))
            at += 2 * count
        for i in range(THRESHOLDS):
            thresholds[p, i] = np.int32(load32(raw, at + 4 * i))
        at += 4 * THRESHOLDS
        for i in range(CLASSES):
            k[p, i] = raw[at + i]
            codes[p, i] = raw[at + CLASSES + i]
            if k[p, i] > MAX_RAW:
                return TOO_MANY_RAW_BITS
            if codes[p, i] >= _CODES:
                return UNKNOWN_CODE
        at += 2 * CLASSES
        for i in range(STREAMS):
            ends[p, i] = load32(raw, at + 4 * i)
        at = stop
        if whole:
            coded[p] = 1
            continue
        flags = coded[p].reshape(coded[p].size)
        stop += (flags.size + 7) // 8
        if stop > raw.size:
            return CUT_SHORT
        take_flags(raw, at, flags)
        at = stop
    return SOUND if at == raw.size else TOO_LONG
