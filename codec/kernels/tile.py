"""The two drivers: residuals, contexts and streams of a tile, and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.context import (
    CROSS_PLANES,
    activity_cross,
    activity_own,
    magnitude_row,
    quantise,
)
from codec.kernels.entropy import MAX_SAMPLE_BITS, STREAMS, take_row
from codec.kernels.jit import kernel
from codec.kernels.packing import PAD, pack_row
from codec.kernels.predict import (
    COEFFICIENTS,
    MAX_REFERENCES,
    MEDIAN,
    OWN_TAPS,
    REFERENCE_TAPS,
    SEGMENTS,
    base_own,
    base_reference,
    first_row_coefficients,
    median_rebuild_row,
    median_residual_row,
    pad_row,
    rebuild_row,
    residual_row,
    segment_starts,
    unfold_row,
)

OFFSET = 0
STRIDE = 1
ROW_BYTES = 2
BAND_ROWS = 3
BAND_HEADER = 4
FIRST_COMPONENT = 5
COMPONENTS = 6
PACKING = 7
BITS = 8
SHIFT = 9
BIG = 10
REVERSE = 11
SEGMENT_FIELDS = 12
"""What the kernels know of a segment, as one row of an int64 array.

`OFFSET` is where the samples of its first row begin in the tile's bytes; `STRIDE` leads to the
next row, besides `BAND_HEADER` bytes at every `BAND_ROWS`-th row (0: none).
"""

_SIGN = np.uint16(0x8000)
_MAGNITUDE = np.uint16(0x7FFF)


@kernel
def fold_signed(planes: Any, component: int, rows: int, width: int) -> None:
    """Order the samples of a sign-and-magnitude component as the numbers they stand for."""
    for r in range(rows):
        row = planes[component, r]
        for x in range(width):
            v = np.uint16(row[PAD + x])
            row[PAD + x] = np.uint16(~v) if v & _SIGN else np.uint16(v | _SIGN)


@kernel
def _finish_row(row: Any, out: Any, shift: int, signed: int, width: int) -> None:
    """Samples as the file has them: low zero bits put back, sign and magnitude restored."""
    up = np.uint16(shift)
    for x in range(width):
        out[PAD + x] = row[PAD + x] << up
    if signed:
        for x in range(width):
            v = np.uint16(out[PAD + x])
            out[PAD + x] = np.uint16(v & _MAGNITUDE) if v & _SIGN else np.uint16(~v)


@kernel
def shift_planes(planes: Any, rows: int, width: int, shifts: Any) -> None:
    """Drop the low bits that are zero in all of a component; ``shifts`` gets how many."""
    for c in range(planes.shape[0]):
        joined = np.uint16(0)
        for r in range(rows):
            row = planes[c, r]
            for x in range(width):
                joined |= row[PAD + x]
        shift = 0
        while shift < 15 and joined and not (joined >> np.uint16(shift)) & 1:
            shift += 1
        shifts[c] = shift
        if shift:
            for r in range(rows):
                row = planes[c, r]
                for x in range(width):
                    row[PAD + x] >>= np.uint16(shift)


@kernel
def pad_planes(planes: Any, rows: int, width: int, bits: Any) -> None:
    """Fill the samples beside each row; ``bits[c]`` is what component c has left."""
    for c in range(planes.shape[0]):
        for r in range(rows):
            pad_row(planes[c, r], planes[c, max(r - 1, 0)], r == 0, bits[c], width)


@kernel
def plane_residuals(
    planes: Any, order: Any, p: int, rows: int, width: int, bits: int, c: Any, z: Any
) -> None:
    """Folded residuals ``z`` (uint16[rows, PAD + width + PAD]) of the p-th plane coded."""
    base = np.empty(width, np.int32)
    starts = np.empty(SEGMENTS, np.int32)
    first = np.empty(COEFFICIENTS, np.int32)
    first_row_coefficients(first, p)
    plane = planes[order[p]]
    for r in range(rows):
        above = max(r - 1, 0)
        use = first if r == 0 else c
        base_own(base, plane[above], use, width)
        for q in range(min(p, MAX_REFERENCES)):
            other = planes[order[p - 1 - q]]
            base_reference(base, other[r], other[above], use, OWN_TAPS + REFERENCE_TAPS * q, width)
        segment_starts(plane[above], r == 0, bits, width, starts)
        residual_row(base, use[0], plane[r], starts, bits, z[r], width)


@kernel
def median_residuals(
    planes: Any, component: int, rows: int, width: int, bits: int, step: int, z: Any
) -> None:
    """Folded residuals under the median predictor of rows ``1, 1 + step, ...``.

    The first row is left alone: every predictor treats it alike.
    """
    starts = np.empty(SEGMENTS, np.int32)
    plane = planes[component]
    for r in range(1, rows, step):
        segment_starts(plane[r - 1], False, bits, width, starts)
        median_residual_row(plane[r], plane[r - 1], starts, bits, z[r], width)


@kernel
def plane_magnitudes(z: Any, rows: int, width: int, shift: int, start: int, m: Any) -> None:
    """Magnitudes ``m`` (int16[rows + 2, PAD + width + PAD]); its first two rows are ``start``."""
    m[:, :PAD] = 0
    m[:, PAD + width :] = 0
    for x in range(width):
        m[0, PAD + x] = start
        m[1, PAD + x] = start
    for r in range(rows):
        magnitude_row(z[r], shift, m[r + 2], width)


@kernel
def plane_activity(m: Any, rows: int, width: int, activity: Any) -> None:
    """``activity`` (int16[rows, width]) from the plane's own magnitudes."""
    for r in range(rows):
        activity_own(m[r + 1], m[r], activity[r], width)


@kernel
def plane_contexts(
    magnitudes: Any,
    order: Any,
    p: int,
    rows: int,
    width: int,
    cross: int,
    activity: Any,
) -> None:
    """Add to ``activity`` what the planes coded before say."""
    if cross == 0:
        return
    for r in range(rows):
        for q in range(max(p - CROSS_PLANES, 0), p):
            activity_cross(magnitudes[order[q], r + 2], cross, activity[r], width)


@kernel
def quantise_rows(activity: Any, thresholds: Any, context: Any, rows: int, width: int) -> None:
    """Contexts of all rows."""
    for r in range(rows):
        quantise(activity[r], thresholds, context[r], width)


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
    segments: Any,
    out: Any,
) -> bool:
    """Decode a tile's samples into ``out`` (uint8), which holds its regions one after another.

    ``segments`` is int64[segments, SEGMENT_FIELDS]: see `SEGMENT_FIELDS`.

    Per plane in coding order: ``positions`` int64[planes, STREAMS] in bits, ``predictors``,
    ``tables``, ``coefficients``, ``thresholds``, ``coded`` uint8[planes, rows, blocks],
    ``crosses``, ``magnitude_shifts`` and ``starts_m``. Per component: ``bits`` and ``shifts``.

    ``limit`` is the last bit position at which a row may start; ``data`` must go on for
    ``(width // STREAMS + 1) * MAX_SAMPLE_BITS + 64`` bits after it. False if a stream ran past
    ``limit``, which only damaged data can cause.
    """
    count = order.size
    ring = np.zeros((2, count, width + 2 * PAD), np.uint16)
    m = np.zeros((count, 2, width + 2 * PAD), np.int16)
    z = np.zeros(width + 2 * PAD, np.uint16)
    base = np.empty(width, np.int32)
    residual = np.empty(width, np.int16)
    activity = np.empty(width, np.int16)
    context = np.empty(width, np.int16)
    starts = np.empty(SEGMENTS, np.int32)
    first = np.empty(COEFFICIENTS, np.int32)
    linear = np.empty(width * count + 3, np.uint16)
    words = np.zeros(2 * width * count + 32, np.uint8)
    finished = np.zeros((count, width + 2 * PAD), np.uint16)
    finish = False
    for p in range(count):
        finish = finish or shifts[p] > 0 or signed[p] != 0
        for x in range(width):
            m[p, 0, PAD + x] = starts_m[p]
            m[p, 1, PAD + x] = starts_m[p]
    for r in range(rows):
        now = r & 1
        before = 1 - now
        for p in range(count):
            component = order[p]
            for s in range(STREAMS):
                if positions[p, s] > limit:
                    return False
            activity_own(m[p, before], m[p, now], activity, width)
            if crosses[p]:
                for q in range(max(p - CROSS_PLANES, 0), p):
                    activity_cross(m[q, now], crosses[p], activity, width)
            quantise(activity, thresholds[p], context, width)
            take_row(data, positions[p], tables[p], context, coded[p, r], z, width)
            magnitude_row(z, magnitude_shifts[p], m[p, now], width)
            unfold_row(z, residual, width)
            if r == 0:
                first_row_coefficients(first, p)
            use = first if r == 0 else coefficients[p]
            row = ring[now, component]
            above = ring[before, component]
            segment_starts(above, r == 0, bits[component], width, starts)
            if r > 0 and predictors[p] == MEDIAN:
                median_rebuild_row(above, residual, starts, bits[component], row, width)
                pad_row(row, above, False, bits[component], width)
                continue
            base_own(base, above, use, width)
            for q in range(min(p, MAX_REFERENCES)):
                other = order[p - 1 - q]
                base_reference(
                    base,
                    ring[now, other],
                    ring[before, other],
                    use,
                    OWN_TAPS + REFERENCE_TAPS * q,
                    width,
                )
            rebuild_row(base, use[0], residual, starts, bits[component], row, width)
            pad_row(row, above, r == 0, bits[component], width)
        rows_now = ring[now]
        if finish:
            for c in range(count):
                _finish_row(rows_now[c], finished[c], shifts[c], signed[c], width)
            rows_now = finished
        for s in range(segments.shape[0]):
            held = segments[s]
            first_component = held[FIRST_COMPONENT]
            at = held[OFFSET] + r * held[STRIDE]
            if held[BAND_ROWS]:
                at += (r // held[BAND_ROWS]) * held[BAND_HEADER]
            pack_row(
                out,
                at,
                held[ROW_BYTES],
                width,
                held[COMPONENTS],
                held[PACKING],
                held[BITS],
                held[SHIFT],
                held[BIG] != 0,
                held[REVERSE] != 0,
                rows_now[first_component : first_component + held[COMPONENTS]],
                words,
                linear,
            )
    return True


def row_slack_bits(width: int) -> int:
    """Bits that one row of one stream may read past where it began, at the most."""
    return (width // STREAMS + 1) * MAX_SAMPLE_BITS + 64
