"""What the encoder chooses for a plane, the plane's head, and all planes of a tile in one call.

One, since between calls a thread has to take the GIL back from the others.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.context import CONTEXTS, MAX_MAGNITUDE, THRESHOLDS
from codec.kernels.entropy import (
    STREAMS,
    SYMBOLS,
    all_code_lengths,
    direct_table,
    encoding_table,
)
from codec.kernels.fit import fit_plane
from codec.kernels.heads import FIXED
from codec.kernels.jit import kernel
from codec.kernels.memory import load64
from codec.kernels.predict import (
    BIAS,
    LINEAR,
    MAX_REFERENCES,
    MEDIAN,
    OWN_TAPS,
    REFERENCE_TAPS,
)
from codec.kernels.statistics import (
    choose_contexts,
    choose_cross,
    count_symbols,
    mean_residual,
    sampled_cost,
)
from codec.kernels.tile import (
    emit_plane,
    first_residuals,
    plane_residuals,
    sampled_residuals,
)

_PREDICTOR_ROWS = 4
_MEDIAN_GAIN = 0.98
_GATHER = np.uint64(0x0102040810204080)
MOST_TAPS = OWN_TAPS + REFERENCE_TAPS * MAX_REFERENCES


def head_room(rows: int, blocks: int) -> int:
    """Bytes that a plane's head takes at the most."""
    longest = FIXED + 2 * MOST_TAPS + 2 * THRESHOLDS + CONTEXTS
    return longest + CONTEXTS * SYMBOLS // 2 + 4 * STREAMS + (rows * blocks + 7) // 8


@kernel
def _cheaper_predictor(
    planes: Any, order: Any, p: int, rows: int, width: int, bits: int, c: Any, z: Any
) -> tuple[int, float]:
    """The predictor whose residuals look cheaper on a few rows, and their mean.

    Linear prediction averages noise away but blurs the peaks of planes that take few values,
    or are clipped; the median keeps those.
    """
    step = max(rows // _PREDICTOR_ROWS, 1)
    moments = np.empty((2, 2), np.float64)
    for predictor in range(2):
        sampled_residuals(planes, order, p, rows, width, bits, c, predictor, step, z)
        sampled_cost(z, rows, width, step, moments[predictor])
    if moments[MEDIAN, 0] < moments[LINEAR, 0] * _MEDIAN_GAIN:
        return MEDIAN, moments[MEDIAN, 1]
    return LINEAR, moments[LINEAR, 1]


@kernel
def _put16(head: Any, at: Any, value: Any) -> Any:
    head[at] = value & 0xFF
    head[at + 1] = (value >> 8) & 0xFF
    return at + 2


@kernel
def _put32(head: Any, at: Any, value: Any) -> Any:
    return _put16(head, _put16(head, at, value), value >> 16)


@kernel
def _put_flags(head: Any, at: Any, flags: Any) -> Any:
    """Flags (uint8, 0 or 1), from the low bit of each byte on."""
    whole = flags.size // 8
    for i in range(whole):
        head[at + i] = (load64(flags, 8 * i) * _GATHER) >> np.uint64(56)
    at += whole
    if whole * 8 < flags.size:
        byte = 0
        for i in range(whole * 8, flags.size):
            byte |= np.int64(flags[i]) << (i & 7)
        head[at] = byte
        at += 1
    return at


@kernel
def choose_prediction(
    planes: Any,
    order: Any,
    p: int,
    rows: int,
    width: int,
    bits: int,
    fit_samples: int,
    fit_rounds: int,
    z: Any,
    c: Any,
) -> tuple[int, int, int]:
    """Predictor, magnitude shift and start magnitude of the p-th plane coded.

    ``planes`` uint16[components, rows, PAD + width + PAD] with the samples beside their rows.
    ``c`` (int32[COEFFICIENTS]) gets the coefficients, ``z[0]`` the first row's residuals; the
    other rows of ``z`` (uint16[rows, PAD + width + PAD]) are scratch.
    """
    c[:] = 0
    predictor = LINEAR
    mean = 0.0
    if rows > 1:
        fit_plane(planes, order, p, rows, width, fit_samples, fit_rounds, c)
        predictor, mean = _cheaper_predictor(planes, order, p, rows, width, bits, c, z)
    first_residuals(planes, order, p, width, bits, z[0])
    first = mean_residual(z[0], width)
    if rows == 1:
        mean = first
    shift = 0
    while np.int64(mean) >> (6 + shift):
        shift += 1
    return predictor, shift, min(np.int64(first) >> shift, MAX_MAGNITUDE)


@kernel
def choose_codes(
    z: Any,
    magnitudes: Any,
    order: Any,
    p: int,
    coded: Any,
    rows: int,
    width: int,
    bits: int,
    step: int,
    cross_step: int,
    levels: Any,
    histogram: Any,
    thresholds: Any,
    k: Any,
    lengths: Any,
    table: Any,
    direct: Any,
) -> int:
    """The cross weight of the p-th plane coded, and in the arrays after ``histogram`` its codes.

    ``step`` and ``cross_step`` are the level's (see `codec.effort.Effort`), ``levels`` what
    `activity_levels` gives; for the others see `choose_contexts`, `code_lengths`,
    `encoding_table` and `direct_table`.
    """
    cross = 0
    if p:
        cross = choose_cross(z, magnitudes, order, p, rows, width, cross_step, levels)
    how = (rows, width, cross, bits, step)
    choose_contexts(z, magnitudes, order, p, coded, *how, histogram, thresholds, k)
    counts = np.empty((CONTEXTS, SYMBOLS), np.int64)
    count_symbols(z, magnitudes, order, p, coded, *how, thresholds, k, counts)
    all_code_lengths(counts, lengths)
    encoding_table(lengths, k, bits, table)
    direct_table(table, k, bits, direct)
    return cross


@kernel
def write_head(
    head: Any,
    at: int,
    p: int,
    predictor: int,
    shift: int,
    start: int,
    cross: int,
    c: Any,
    thresholds: Any,
    k: Any,
    lengths: Any,
    ends: Any,
    coded: Any,
) -> int:
    """Write the head of the p-th plane coded into ``head`` (uint8) at ``at``; where it ends.

    There is `head_room` for it.
    """
    whole = coded.min() == 1
    head[at] = np.uint8(whole)
    head[at + 1] = shift
    head[at + 2] = cross
    head[at + 3] = predictor
    at = _put16(head, at + 4, start)
    at = _put32(head, at, np.int64(c[BIAS]))
    for i in range(OWN_TAPS + REFERENCE_TAPS * min(p, MAX_REFERENCES)):
        at = _put16(head, at, np.int64(c[i]))
    for i in range(THRESHOLDS):
        at = _put16(head, at, np.int64(thresholds[i]))
    for i in range(CONTEXTS):
        head[at] = k[i]
        at += 1
    for i in range(CONTEXTS):
        for s in range(0, SYMBOLS, 2):
            head[at] = lengths[i, s] | (lengths[i, s + 1] << np.uint8(4))
            at += 1
    for s in range(STREAMS):
        at = _put32(head, at, ends[s])
    if not whole:
        at = _put_flags(head, at, coded.reshape(coded.size))
    return at


@kernel
def encode_planes(
    planes: Any,
    order: Any,
    bits: Any,
    rows: int,
    width: int,
    fit_samples: int,
    fit_rounds: int,
    step: int,
    cross_step: int,
    levels: Any,
    z: Any,
    coded: Any,
    magnitudes: Any,
    histogram: Any,
    c: Any,
    thresholds: Any,
    k: Any,
    lengths: Any,
    table: Any,
    direct: Any,
    streams: Any,
    ends: Any,
    head: Any,
) -> int:
    """Code the planes of a tile one after another; the length of their heads.

    ``bits`` (int64) are each component's, ``fit_samples`` to ``cross_step`` the level's. The p-th
    plane coded leaves its streams in ``streams[p]``, which end at ``ends[p]``, and its head in
    ``head``. The arrays from ``z`` to ``direct`` are `codec.workspace.Workspace`'s, and scratch.
    """
    at = 0
    for p in range(order.size):
        component = order[p]
        depth = bits[component]
        predictor, shift, start = choose_prediction(
            planes, order, p, rows, width, depth, fit_samples, fit_rounds, z, c
        )
        samples = (planes, order, p, rows, width, depth)
        plane_residuals(*samples, c, predictor, shift, start, z, coded, magnitudes[component])
        place = (z, magnitudes, order, p)
        shape = (coded, rows, width, depth, step, cross_step, levels, histogram)
        cross = choose_codes(*place, *shape, thresholds, k, lengths, table, direct)
        codes = (thresholds, coded, k, table, direct)
        emit_plane(*place, rows, width, cross, *codes, streams[p], ends[p])
        chosen = (predictor, shift, start, cross, c, thresholds, k, lengths)
        at = write_head(head, at, p, *chosen, ends[p], coded)
    return at
