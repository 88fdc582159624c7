"""Plane heads of a tile, parsed: what their bytes say, checked for what the decoder relies on."""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.context import CONTEXTS, MAX_MAGNITUDE, THRESHOLDS
from codec.kernels.entropy import MAX_LENGTH, STREAMS, SYMBOLS, decoding_table
from codec.kernels.jit import inlined, kernel
from codec.kernels.memory import load16, load32, store64
from codec.kernels.predict import BIAS, MAX_REFERENCES, MEDIAN, OWN_TAPS, REFERENCE_TAPS
from codec.kernels.statistics import MAX_CROSS

SOUND = 0
CUT_SHORT = 1
OUT_OF_RANGE = 2
TOO_MANY_RAW_BITS = 3
CODE_TOO_LONG = 4
CODE_OVER_FULL = 5
TOO_LONG = 6
FIXED = 10
"""Bytes of a head before its taps: five fields of one, one and four bytes."""

_EACH_BYTE = np.uint64(0x0101010101010101)
_ONE_BIT_EACH = np.uint64(0x8040201008040201)
_CARRY = np.uint64(0x7F7F7F7F7F7F7F7F)


@inlined
def _signed16(raw: Any, at: Any) -> Any:
    return np.int64(np.int16(load16(raw, at)))


@kernel
def take_flags(raw: Any, at: int, flags: Any) -> None:
    """Flags (uint8, 0 or 1) from the low bit of each byte of ``raw[at:]`` on."""
    whole = flags.size // 8
    for i in range(whole):
        bits = (np.uint64(raw[at + i]) * _EACH_BYTE) & _ONE_BIT_EACH
        store64(flags, 8 * i, ((bits + _CARRY) >> np.uint64(7)) & _EACH_BYTE)
    for i in range(whole * 8, flags.size):
        flags[i] = (raw[at + whole] >> np.uint8(i & 7)) & np.uint8(1)


@kernel
def parse_heads(
    raw: Any,
    order: Any,
    bits: Any,
    magnitude_shifts: Any,
    crosses: Any,
    predictors: Any,
    starts: Any,
    coefficients: Any,
    thresholds: Any,
    tables: Any,
    coded: Any,
    ends: Any,
) -> int:
    """Parse the heads of all planes, in coding order, from ``raw`` (uint8); `SOUND` or why not.

    ``bits`` are each component's. Everything else is filled, plane by plane: see
    `codec.kernels.tile.decode_rows`.
    """
    k = np.empty(CONTEXTS, np.uint8)
    lengths = np.empty((CONTEXTS, SYMBOLS), np.uint8)
    rows, blocks = coded.shape[1:]
    at = 0
    for p in range(order.size):
        taps = OWN_TAPS + REFERENCE_TAPS * min(p, MAX_REFERENCES)
        pairs_at = at + FIXED + 2 * taps + 2 * THRESHOLDS + CONTEXTS
        ends_at = pairs_at + CONTEXTS * SYMBOLS // 2
        flags_at = ends_at + 4 * STREAMS
        if flags_at > raw.size:
            return CUT_SHORT
        whole = raw[at] == 1
        magnitude_shifts[p] = raw[at + 1]
        crosses[p] = raw[at + 2]
        predictors[p] = raw[at + 3]
        starts[p] = min(np.int64(load16(raw, at + 4)), MAX_MAGNITUDE)
        coefficients[p, BIAS] = np.int32(load32(raw, at + 6))
        if raw[at] > 1 or raw[at + 1] > 15 or raw[at + 2] > MAX_CROSS or raw[at + 3] > MEDIAN:
            return OUT_OF_RANGE
        at += FIXED
        for i in range(taps):
            coefficients[p, i] = _signed16(raw, at + 2 * i)
        at += 2 * taps
        for i in range(THRESHOLDS):
            thresholds[p, i] = _signed16(raw, at + 2 * i)
        at += 2 * THRESHOLDS
        for i in range(CONTEXTS):
            k[i] = raw[at + i]
            if k[i] > bits[order[p]]:
                return TOO_MANY_RAW_BITS
        for i in range(CONTEXTS * SYMBOLS // 2):
            pair = raw[pairs_at + i]
            c = 2 * i // SYMBOLS
            s = 2 * i % SYMBOLS
            lengths[c, s] = pair & np.uint8(15)
            lengths[c, s + 1] = pair >> np.uint8(4)
            if lengths[c, s] > MAX_LENGTH or lengths[c, s + 1] > MAX_LENGTH:
                return CODE_TOO_LONG
        if not decoding_table(lengths, k, bits[order[p]], tables[p]):
            return CODE_OVER_FULL
        for i in range(STREAMS):
            ends[p, i] = np.int64(load32(raw, ends_at + 4 * i))
        at = flags_at
        if whole:
            coded[p] = 1
            continue
        if flags_at + (rows * blocks + 7) // 8 > raw.size:
            return CUT_SHORT
        take_flags(raw, at, coded[p].reshape(rows * blocks))
        at += (rows * blocks + 7) // 8
    return SOUND if at == raw.size else TOO_LONG
