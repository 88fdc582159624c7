"""Tiles in modes 4 and 5, "deep": the smallest that the codec knows, and slower than the others.

Every block of 16 by 16 pixels has one of up to eight sets of prediction coefficients; planes that
take few values are coded as ranks; contexts know the residuals to the left; and tANS spends
fractions of bits. The layout is in docs/format/container-v1.md, "Mode 4". Mode 5 cuts rows into
more pieces, so that more of them are decoded abreast; mode 4 is read, but no longer written.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from codec.deep_layout import (
    CUT,
    MAPPED,
    MAX_SHIFT,
    PLANE_HEAD,
    blocks_of,
    level_table,
    magnitude_bases,
    ranks_of,
    taps_of,
    weights_of,
)
from codec.kernels import class_fit, class_predict, deep_tile, serial_context, tans
from codec.kernels.packing import PAD
from codec.quick import unevenness

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from codec.effort import Effort
    from codec.types import Element
    from codec.workspace import Workspace

_SPARSE = 0.95
"""A plane is coded as ranks where at most this share of the values one would expect occurs."""
_BLOCKS_A_CLASS = 64
_DEEP_BITS = 12
"""Planes of more bits than this have much to gain from what mode 5 knows."""
_UNEVEN = 1.4
"""So have tiles that are more uneven than this: edges on calm ground."""
_LOOKED_ROWS = 8
"""So many rows tell whether planes are equal to one another."""
_ENOUGH_LEVELS = 16
"""Levels of activity reach this many times the mean."""
_TOKENS: NDArray[np.uint8] = tans.token_table()


@dataclass(slots=True, eq=False)
class DeepArrays:
    """Arrays for tiles of one shape besides the workspace's own. Contents are undefined."""

    samples: NDArray[np.float32]
    z: NDArray[np.uint16]
    levels: NDArray[np.uint16]
    contexts: NDArray[np.uint8]
    codes: NDArray[np.uint32]
    streams: NDArray[np.uint8]
    ends: NDArray[np.int64]


def _arrays(work: Workspace, effort: Effort) -> DeepArrays:
    """The workspace's arrays for a tile at this effort."""
    components, rows, width = work.shape
    down, across = blocks_of(rows, width)
    blocks = down * across
    few = -(-blocks // class_fit.parts(blocks, effort.deep_rows))
    most = class_fit.features(components - 1) + 1
    samples = few * most * effort.deep_rows * class_predict.SIDE
    if work.deep is None or work.deep.samples.size < samples:
        of_stream = rows * CUT.stream_length(width)
        room = of_stream * tans.MAX_TOKEN_BITS // 8 + 24
        work.deep = DeepArrays(
            samples=np.empty(samples, np.float32),
            z=np.empty((rows, width), np.uint16),
            levels=np.empty((rows, width), np.uint16),
            contexts=np.empty((rows, width), np.uint8),
            codes=np.empty((CUT.streams, of_stream), np.uint32),
            streams=np.empty((CUT.streams, room), np.uint8),
            ends=np.empty(CUT.streams, np.int64),
        )
    return work.deep


@dataclass(frozen=True, slots=True)
class _OwnMap:
    """The values that a plane takes: ranks of all values, and the greatest rank."""

    packed: bytes
    ranks: NDArray[np.uint16]
    last: int


def promises_much(
    planes: NDArray[np.uint16], e: Element, rows: int, bits: NDArray[np.int64]
) -> bool:
    """Whether mode 5 may well take a few per cent less than mode 1, from a cheap look.

    So it does with deep samples, with mosaics, whose planes share no sites and foretell one
    another poorly with few taps, with sharp edges on calm ground, and with planes that are equal
    to others. What it gains on photographs of few bits is not worth the time at most levels.
    """
    if e.is_mosaic or int(bits.max()) > _DEEP_BITS or unevenness(planes, rows, e.width) > _UNEVEN:
        return True
    looked = planes[:, : rows : max(rows // _LOOKED_ROWS, 1), PAD : PAD + e.width]
    pairs = combinations(looked, 2)
    return any(np.array_equal(one, other) for one, other in pairs)


def encode_planes(
    work: Workspace, order: NDArray[np.int64], bits: NDArray[np.int64], effort: Effort
) -> tuple[list[bytes], list[bytes]]:
    """Heads and streams of all planes, in coding order, in mode 5.

    The samples are ``work.planes``, with those beside their rows; ``bits`` those of each
    component. ``work.magnitudes`` are overwritten. Any thread may call this.
    """
    arrays = _arrays(work, effort)
    heads: list[bytes] = []
    streams: list[bytes] = []
    for p in range(order.size):
        head, body = _encode_plane(work, arrays, order, p, int(bits[order[p]]), effort)
        heads.append(head)
        streams += body
    return heads, streams


def _encode_plane(
    work: Workspace,
    arrays: DeepArrays,
    order: NDArray[np.int64],
    p: int,
    bits: int,
    effort: Effort,
) -> tuple[bytes, list[bytes]]:
    """Head and streams of the p-th plane coded; its magnitudes are filled."""
    _, rows, width = work.shape
    own = _own_map(work.planes[order[p], :rows, PAD : PAD + width], bits)
    coefficients, classes = _fit(work, arrays, order, p, effort)
    z = arrays.z
    ranks = own.ranks if own else np.zeros(0, np.uint16)
    last = own.last if own else (1 << bits) - 1
    deep_tile.plane_residuals(
        work.planes, order, p, rows, width, bits, coefficients, classes, ranks, last, z
    )
    shift = (int(z.mean()) // 64).bit_length()
    start = min(int(z[0].mean()) >> shift, serial_context.MAX_MAGNITUDE)
    deep_tile.plane_magnitudes(z, _TOKENS, magnitude_bases(shift, 0), start, work.magnitudes[p])
    coder = _coder(work, arrays, p) if z.any() else _Coder()
    flags = MAPPED if own else 0
    fixed = (len(coefficients), flags, shift, coder.shift, start, coder.codes.shape[1], 0)
    parts = [
        PLANE_HEAD.pack(*fixed),
        coder.weights[: weights_of(p)].astype(np.uint8).tobytes(),
        coder.thresholds.astype("<u2").tobytes(),
        coefficients[:, : taps_of(p)].astype("<i2").tobytes(),
        coder.codes.tobytes(),
        np.array([len(stream) for stream in coder.streams], "<u4").tobytes(),
        own.packed if own else b"",
        classes.tobytes() if len(coefficients) > 1 else b"",
    ]
    return b"".join(parts), coder.streams


@dataclass(frozen=True, slots=True)
class _Coder:
    """How a plane's residuals are coded, and the streams; at first those of residuals all 0."""

    weights: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros(serial_context.MAX_WEIGHTS, np.int64)
    )
    shift: int = 0
    thresholds: NDArray[np.uint16] = field(
        default_factory=lambda: np.zeros(serial_context.THRESHOLDS, np.uint16)
    )
    codes: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((tans.CONTEXTS, 0), np.uint8))
    streams: list[bytes] = field(default_factory=lambda: [b""] * CUT.streams)


def _coder(work: Workspace, arrays: DeepArrays, p: int) -> _Coder:
    """Contexts and codes for the p-th plane's residuals, ``arrays.z``, and its streams."""
    _, rows, width = work.shape
    weights = np.zeros(serial_context.MAX_WEIGHTS, np.int64)
    serial_context.fit_weights(work.magnitudes, p, rows, width, weights)
    shift, thresholds = _levels(work, arrays, p, weights)
    counts = np.zeros((tans.CONTEXTS, tans.TOKENS), np.int64)
    table = level_table(thresholds)
    deep_tile.count_tokens(arrays.z, arrays.levels, table, _TOKENS, arrays.contexts, counts)
    codes = np.zeros((tans.CONTEXTS, tans.TOKENS), np.uint8)
    for c in range(tans.CONTEXTS):
        tans.weight_codes(counts[c], codes[c])
    streams = _streams(arrays, codes)
    tokens = int(np.flatnonzero(counts.any(axis=0))[-1]) + 1
    return _Coder(weights, shift, thresholds, codes[:, :tokens], streams)


def _own_map(plane: NDArray[np.uint16], bits: int) -> _OwnMap | None:
    """The values that occur in a plane, where they are clearly fewer than chance would leave."""
    used = np.zeros(1 << bits, np.bool_)
    deep_tile.mark_values(plane, used)
    occurring = np.flatnonzero(used)
    span = int(occurring[-1]) - int(occurring[0]) + 1
    expected = span * (1.0 - np.exp(-plane.size / span))
    if occurring.size > _SPARSE * expected:
        return None
    last = occurring.size - 1
    packed = np.packbits(used, bitorder="little").tobytes()
    return _OwnMap(packed, ranks_of(used), last)


def _fit(
    work: Workspace, arrays: DeepArrays, order: NDArray[np.int64], p: int, effort: Effort
) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Coefficient sets int32[classes, MAX_TAPS] and each block's, uint8[block rows, columns]."""
    _, rows, width = work.shape
    down, across = blocks_of(rows, width)
    blocks = down * across
    count = max(min(blocks // _BLOCKS_A_CLASS, class_predict.MAX_CLASSES), 1)
    part = class_fit.parts(blocks, effort.deep_rows)
    looked = effort.deep_rows * class_predict.SIDE
    shape = (-(-blocks // part), class_fit.features(p) + 1, looked)
    samples = arrays.samples[: math.prod(shape)].reshape(shape)
    coefficients = np.zeros((count, class_predict.MAX_TAPS), np.int32)
    classes = np.zeros(blocks, np.uint8)
    fitted = (effort.deep_rounds, samples, coefficients, classes)
    class_fit.fit_classes(work.planes, order, p, rows, width, *fitted)
    return coefficients, classes.reshape(down, across)


def _levels(
    work: Workspace, arrays: DeepArrays, p: int, weights: NDArray[np.int64]
) -> tuple[int, NDArray[np.uint16]]:
    """Activity shift and thresholds of the p-th plane; ``arrays.levels`` are filled."""
    _, rows, width = work.shape
    magnitudes = work.magnitudes
    mean = float(magnitudes[p, 2:, PAD : PAD + width].mean())
    reach = int(mean * float(weights.sum()) * _ENOUGH_LEVELS)
    shift = min((reach // serial_context.LEVELS).bit_length(), MAX_SHIFT)
    histogram = np.zeros(serial_context.LEVELS, np.int64)
    run = CUT.stream_length(width)
    levels = arrays.levels
    serial_context.plane_levels(magnitudes, p, rows, width, run, weights, shift, levels, histogram)
    thresholds = np.zeros(serial_context.THRESHOLDS, np.uint16)
    serial_context.share_levels(histogram, thresholds)
    return shift, thresholds


def _streams(arrays: DeepArrays, codes: NDArray[np.uint8]) -> list[bytes]:
    """The streams of residuals ``arrays.z`` in their contexts."""
    first = np.zeros((tans.CONTEXTS, tans.TOKENS), np.int64)
    steps = np.zeros((tans.CONTEXTS, tans.TOKENS), np.int64)
    states = np.zeros((tans.CONTEXTS, tans.SIZE), np.uint16)
    tans.encoding_tables(codes, first, steps, states)
    tans.encode_streams(
        arrays.z,
        arrays.contexts,
        CUT.stream_length(arrays.z.shape[1]),
        _TOKENS,
        first,
        steps,
        states,
        arrays.codes,
        arrays.streams,
        arrays.ends,
    )
    ends = arrays.ends.tolist()
    return [stream[:end].tobytes() for stream, end in zip(arrays.streams, ends, strict=True)]
