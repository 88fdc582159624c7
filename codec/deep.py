"""Tiles in modes 4 and 6, "deep": the smallest that the codec knows, and slower than the others.

Every block of 16 by 16 pixels has one of up to eight sets of prediction coefficients; planes that
take few values are coded as ranks; contexts know the residuals to the left; and tANS spends
fractions of bits. The layout is in docs/format/container-v1.md, "Mode 4". Mode 6 cuts rows into
more pieces, so that more of them are decoded abreast; mode 4 is read, but no longer written.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
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
from codec.halves import unevenness
from codec.kernels import class_fit, class_predict, deep_tile, serial_context, tans
from codec.kernels.packing import PAD
from codec.kernels.values import has_equal_planes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from codec.effort import Effort
    from codec.types import Element
    from codec.workspace import Workspace

_SPARSE = 0.95
"""A plane is coded as ranks where at most this share of the values one would expect occurs."""
_BLOCKS_A_CLASS = 64
_DEEP_BITS = 12
"""Planes of more bits than this have much to gain from what mode 6 knows."""
_UNEVEN = 1.4
"""So have tiles that are more uneven than this: edges on calm ground."""
_LOOKED_ROWS = 8
"""So many rows tell whether planes are equal to one another."""
_ENOUGH_LEVELS = 16
"""Levels of activity reach this many times the mean."""
_TOKENS: NDArray[np.uint8] = tans.token_table()


@dataclass(slots=True, eq=False)
class DeepArrays:
    """Arrays for tiles of one shape besides the workspace's own. Contents are undefined.

    One piece of memory holds in turn the samples of a plane's fit, its levels of activity, and its
    codes and streams, none of which outlives the next.
    """

    memory: NDArray[np.uint8]
    contexts: NDArray[np.uint8]
    shape: tuple[int, int]

    def samples(self, shape: tuple[int, int, int]) -> NDArray[np.float32]:
        """Room for the samples of a fit."""
        return self.memory[: 4 * math.prod(shape)].view(np.float32).reshape(shape)

    def levels(self) -> NDArray[np.uint16]:
        """Room for the levels of a plane, uint16[rows, width]."""
        return self.memory[: 2 * math.prod(self.shape)].view(np.uint16).reshape(self.shape)

    def codes(self) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
        """Room for what residuals write, and for the streams: uint32 and uint8[streams, n]."""
        of_stream, room = _stream_room(*self.shape)
        size = 4 * CUT.streams * of_stream
        codes = self.memory[:size].view(np.uint32).reshape(CUT.streams, of_stream)
        return codes, self.memory[size : size + CUT.streams * room].reshape(CUT.streams, room)


def _stream_room(rows: int, width: int) -> tuple[int, int]:
    """The most residuals of a stream, and the most bytes."""
    residuals = rows * CUT.stream_length(width)
    return residuals, residuals * tans.MAX_TOKEN_BITS // 8 + 24


def _arrays(work: Workspace, effort: Effort) -> DeepArrays:
    """The workspace's arrays for a tile at this effort."""
    components, rows, width = work.shape
    down, across = blocks_of(rows, width)
    blocks = down * across
    few = -(-blocks // class_fit.parts(blocks, effort.deep_rows))
    most = class_fit.features(components - 1) + 1
    samples = few * most * effort.deep_rows * class_predict.SIDE
    residuals, room = _stream_room(rows, width)
    size = max(4 * samples, CUT.streams * (4 * residuals + room))
    if work.deep is None or work.deep.memory.size < size:
        contexts = np.empty((rows, width), np.uint8)
        work.deep = DeepArrays(np.empty(size, np.uint8), contexts, (rows, width))
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
    """Whether mode 6 may well take a few per cent less than mode 1, from a cheap look.

    So it does with deep samples, with mosaics, whose planes share no sites and foretell one
    another poorly with few taps, with sharp edges on calm ground, and with planes that are equal
    to others. What it gains on photographs of few bits is not worth the time at most levels.
    """
    return (
        e.is_mosaic
        or max(bits.tolist()) > _DEEP_BITS
        or unevenness(planes, rows, e.width) > _UNEVEN
        or bool(has_equal_planes(planes, rows, e.width, max(rows // _LOOKED_ROWS, 1)))
    )


def encode_planes(
    work: Workspace, order: NDArray[np.int64], bits: NDArray[np.int64], effort: Effort
) -> tuple[list[bytes], list[bytes]]:
    """Heads and streams of all planes, in coding order, in mode 6.

    The samples are ``work.planes``, with those beside their rows; ``bits`` those of each
    component. ``work.magnitudes`` and ``work.z`` are overwritten. Any thread may call this.
    """
    arrays = _arrays(work, effort)
    heads: list[bytes] = []
    streams: list[bytes] = []
    for p in range(order.size):
        head, body = _encode_plane(work, arrays, order, p, int(bits[order[p]]), effort)
        heads.append(head)
        streams += body
    return heads, streams


def _residuals(work: Workspace) -> NDArray[np.uint16]:
    """Room for the residuals of a plane, uint16[rows, width], without anything beside."""
    _, rows, width = work.shape
    return work.z.reshape(-1)[: rows * width].reshape(rows, width)


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
    z = _residuals(work)
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
    """Contexts and codes for the p-th plane's residuals, and its streams."""
    _, rows, width = work.shape
    weights = np.zeros(serial_context.MAX_WEIGHTS, np.int64)
    serial_context.fit_weights(work.magnitudes, p, rows, width, weights)
    z, levels = _residuals(work), arrays.levels()
    shift, thresholds = _levels(work, levels, p, weights)
    counts = np.zeros((tans.CONTEXTS, tans.TOKENS), np.int64)
    table = level_table(thresholds)
    deep_tile.count_tokens(z, levels, table, _TOKENS, arrays.contexts, counts)
    codes = np.zeros((tans.CONTEXTS, tans.TOKENS), np.uint8)
    for c in range(tans.CONTEXTS):
        tans.weight_codes(counts[c], codes[c])
    streams = _streams(z, arrays, codes)
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
    samples = arrays.samples(shape)
    coefficients = np.zeros((count, class_predict.MAX_TAPS), np.int32)
    classes = np.zeros(blocks, np.uint8)
    fitted = (effort.deep_rounds, samples, coefficients, classes)
    class_fit.fit_classes(work.planes, order, p, rows, width, *fitted)
    return coefficients, classes.reshape(down, across)


def _levels(
    work: Workspace, levels: NDArray[np.uint16], p: int, weights: NDArray[np.int64]
) -> tuple[int, NDArray[np.uint16]]:
    """Activity shift and thresholds of the p-th plane; its ``levels`` are filled."""
    _, rows, width = work.shape
    magnitudes = work.magnitudes
    mean = float(magnitudes[p, 2:, PAD : PAD + width].mean())
    reach = int(mean * float(weights.sum()) * _ENOUGH_LEVELS)
    shift = min((reach // serial_context.LEVELS).bit_length(), MAX_SHIFT)
    histogram = np.zeros(serial_context.LEVELS, np.int64)
    run = CUT.stream_length(width)
    serial_context.plane_levels(magnitudes, p, rows, width, run, weights, shift, levels, histogram)
    thresholds = np.zeros(serial_context.THRESHOLDS, np.uint16)
    serial_context.share_levels(histogram, thresholds)
    return shift, thresholds


def _streams(z: NDArray[np.uint16], arrays: DeepArrays, codes: NDArray[np.uint8]) -> list[bytes]:
    """The streams of residuals in their contexts, ``arrays.contexts``."""
    first = np.zeros((tans.CONTEXTS, tans.TOKENS), np.int64)
    steps = np.zeros((tans.CONTEXTS, tans.TOKENS), np.int64)
    states = np.zeros((tans.CONTEXTS, tans.SIZE), np.uint16)
    tans.encoding_tables(codes, first, steps, states)
    room, out = arrays.codes()
    ends = np.zeros(CUT.streams, np.int64)
    length = CUT.stream_length(z.shape[1])
    tables = (_TOKENS, first, steps, states)
    tans.encode_streams(z, arrays.contexts, length, *tables, room, out, ends)
    return [stream[:end].tobytes() for stream, end in zip(out, ends.tolist(), strict=True)]
