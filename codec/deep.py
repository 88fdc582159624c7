"""Tiles in mode 4, "deep": the smallest that the codec knows, and slower than the others.

Every block of 16 by 16 pixels has one of up to eight sets of prediction coefficients; planes that
take few values are coded as ranks; contexts know the residuals to the left; and tANS spends
fractions of bits. The layout is in docs/format/container-v1.md, "Mode 4".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from codec.kernels import class_fit, class_predict, deep_tile, serial_context, tans
from codec.kernels.packing import PAD
from codec.quick import unevenness

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from codec.effort import Effort
    from codec.types import Element
    from codec.values import Values

_PLANE = struct.Struct("<BBBBHBB")
_MAPPED = 1
_MAX_SHIFT = 15
_SPARSE = 0.95
"""A plane is coded as ranks where at most this share of the values one would expect occurs."""
_BLOCKS_A_CLASS = 64
_DEEP_BITS = 12
"""Planes of more bits than this have much to gain from what mode 4 knows."""
_UNEVEN = 1.4
"""So have tiles that are more uneven than this: edges on calm ground."""
_LOOKED_ROWS = 8
"""So many rows tell whether planes are equal to one another."""
_ENOUGH_LEVELS = 16
"""Levels of activity reach this many times the mean."""
_TOKENS: NDArray[np.uint8] = tans.token_table()


@dataclass(frozen=True, slots=True)
class _OwnMap:
    """The values that a plane takes: ranks of all values, and the greatest rank."""

    packed: bytes
    ranks: NDArray[np.uint16]
    last: int


def promises_much(
    planes: NDArray[np.uint16], e: Element, rows: int, bits: NDArray[np.int64]
) -> bool:
    """Whether mode 4 may well take a few per cent less than mode 1, from a cheap look.

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
    planes: NDArray[np.uint16],
    order: NDArray[np.int64],
    rows: int,
    width: int,
    bits: NDArray[np.int64],
    effort: Effort,
) -> tuple[list[bytes], list[bytes]]:
    """Heads and streams of all planes, in coding order.

    ``planes`` uint16[components, rows, PAD + width + PAD] with the samples beside their rows,
    ``bits`` each component's. Any thread may call this.
    """
    count = order.size
    magnitudes = np.zeros((count, rows + 2, width + 2 * PAD), np.int16)
    heads: list[bytes] = []
    streams: list[bytes] = []
    for p in range(count):
        depth = int(bits[order[p]])
        head, body = _encode_plane(planes, order, p, rows, width, depth, effort, magnitudes)
        heads.append(head)
        streams += body
    return heads, streams


def _encode_plane(
    planes: NDArray[np.uint16],
    order: NDArray[np.int64],
    p: int,
    rows: int,
    width: int,
    bits: int,
    effort: Effort,
    magnitudes: NDArray[np.int16],
) -> tuple[bytes, list[bytes]]:
    """Head and streams of the p-th plane coded; its ``magnitudes`` are filled."""
    plane = planes[order[p], :rows, PAD : PAD + width]
    own = _own_map(plane, bits)
    coefficients, classes = _fit(planes, order, p, rows, width, effort)
    z = np.empty((rows, width), np.uint16)
    ranks = own.ranks if own else np.zeros(0, np.uint16)
    last = own.last if own else (1 << bits) - 1
    deep_tile.plane_residuals(
        planes, order, p, rows, width, bits, coefficients, classes, ranks, last, z
    )
    shift = (int(z.mean()) // 64).bit_length()
    start = min(int(z[0].mean()) >> shift, serial_context.MAX_MAGNITUDE)
    bases = _bases(shift, 0)
    deep_tile.plane_magnitudes(z, _TOKENS, bases, start, magnitudes[p])
    weights = np.zeros(serial_context.MAX_WEIGHTS, np.int64)
    serial_context.fit_weights(magnitudes, p, rows, width, weights)
    activity_shift, levels, thresholds = _levels(magnitudes, p, rows, width, weights)
    contexts = np.empty((rows, width), np.uint8)
    counts = np.zeros((tans.CONTEXTS, tans.TOKENS), np.int64)
    table = _level_table(thresholds)
    deep_tile.count_tokens(z, levels, table, _TOKENS, contexts, counts)
    codes = np.zeros((tans.CONTEXTS, tans.TOKENS), np.uint8)
    for c in range(tans.CONTEXTS):
        tans.weight_codes(counts[c], codes[c])
    body = _streams(z, contexts, codes)
    occurring = np.flatnonzero(counts.any(axis=0))
    tokens = int(occurring[-1]) + 1
    flags = _MAPPED if own else 0
    parts = [
        _PLANE.pack(len(coefficients), flags, shift, activity_shift, start, tokens, 0),
        weights[: _weights(p)].astype(np.uint8).tobytes(),
        thresholds.astype("<u2").tobytes(),
        coefficients[:, : _taps(p)].astype("<i2").tobytes(),
        codes[:, :tokens].tobytes(),
        np.array([len(stream) for stream in body], "<u4").tobytes(),
        own.packed if own else b"",
        classes.tobytes() if len(coefficients) > 1 else b"",
    ]
    return b"".join(parts), body


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
    return _OwnMap(packed, _ranks(used), last)


def _ranks(used: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """How many of the values that occur are smaller, at most all but one."""
    smaller: NDArray[np.int64] = np.cumsum(used) - used
    ranks: NDArray[np.uint16] = np.minimum(smaller, int(used.sum()) - 1).astype(np.uint16)
    return ranks


def _fit(
    planes: NDArray[np.uint16],
    order: NDArray[np.int64],
    p: int,
    rows: int,
    width: int,
    effort: Effort,
) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Coefficient sets int32[classes, MAX_TAPS] and each block's, uint8[block rows, columns]."""
    down, across = _blocks(rows, width)
    blocks = down * across
    count = max(min(blocks // _BLOCKS_A_CLASS, class_predict.MAX_CLASSES), 1)
    samples = effort.deep_rows * class_predict.SIDE
    a = np.empty((blocks, class_fit.features(p) + 1, samples), np.float32)
    class_fit.sample_blocks(planes, order, p, rows, width, a)
    coefficients = np.zeros((count, class_predict.MAX_TAPS), np.int32)
    classes = np.zeros(blocks, np.uint8)
    class_fit.fit_classes(a, p, effort.deep_rounds, coefficients, classes)
    return coefficients, classes.reshape(down, across)


def _levels(
    magnitudes: NDArray[np.int16], p: int, rows: int, width: int, weights: NDArray[np.int64]
) -> tuple[int, NDArray[np.uint16], NDArray[np.uint16]]:
    """Activity shift, the level of each residual (uint16[rows, width]), and thresholds."""
    mean = float(magnitudes[p, 2:, PAD : PAD + width].mean())
    reach = int(mean * float(weights.sum()) * _ENOUGH_LEVELS)
    shift = min((reach // serial_context.LEVELS).bit_length(), _MAX_SHIFT)
    levels = np.empty((rows, width), np.uint16)
    histogram = np.zeros(serial_context.LEVELS, np.int64)
    run = class_predict.run_length(width)
    serial_context.plane_levels(magnitudes, p, rows, width, run, weights, shift, levels, histogram)
    thresholds = np.zeros(serial_context.THRESHOLDS, np.uint16)
    serial_context.share_levels(histogram, thresholds)
    return shift, levels, thresholds


def _streams(
    z: NDArray[np.uint16], contexts: NDArray[np.uint8], codes: NDArray[np.uint8]
) -> list[bytes]:
    """The four runs of columns, encoded."""
    rows, width = z.shape
    f = np.zeros((tans.CONTEXTS, tans.TOKENS), np.int64)
    first = np.zeros((tans.CONTEXTS, tans.TOKENS), np.int64)
    states = np.zeros((tans.CONTEXTS, tans.SIZE), np.uint16)
    tans.encoding_tables(codes, f, first, states)
    length = class_predict.run_length(width)
    scratch = np.empty(rows * length, np.uint32)
    out = np.empty(rows * length * tans.MAX_TOKEN_BITS // 8 + 24, np.uint8)
    streams = []
    for s in range(class_predict.RUNS):
        begin = min(s * length, width)
        end = min(begin + length, width)
        tables = (_TOKENS, f, first, states)
        size = tans.encode_run(z, contexts, begin, end, *tables, scratch, out)
        streams.append(out[:size].tobytes())
    return streams


def _bases(shift: int, weight: int) -> NDArray[np.uint64]:
    """`tans.token_bases` of a plane; ``weight`` is that of W's magnitude."""
    bases = np.zeros(tans.TOKENS, np.uint64)
    tans.token_bases(shift, serial_context.MAX_MAGNITUDE, weight, bases)
    return bases


def _level_table(thresholds: NDArray[np.uint16]) -> NDArray[np.uint8]:
    table = np.zeros(serial_context.LEVELS, np.uint8)
    serial_context.context_table(thresholds, table)
    return table


def _taps(p: int) -> int:
    """Stored taps of each coefficient set of the p-th plane coded."""
    references = min(p, class_predict.MAX_REFERENCES)
    return class_predict.OWN_TAPS + class_predict.REFERENCE_TAPS * references


def _weights(p: int) -> int:
    """Stored weights of the p-th plane coded."""
    beside = min(p, serial_context.CROSS_PLANES)
    return serial_context.OWN_WEIGHTS + serial_context.CROSS_WEIGHTS * beside


def _blocks(rows: int, width: int) -> tuple[int, int]:
    """Rows and columns of blocks."""
    side = class_predict.SIDE
    return -(-rows // side), -(-width // side)


class _Bytes:
    """Heads, read from front to back; raises ValueError where they end too soon."""

    def __init__(self, raw: memoryview) -> None:
        self._raw = raw
        self.at = 0

    def take(self, count: int, kind: str = "u1") -> NDArray[np.generic]:
        """The next ``count`` numbers."""
        size = count * np.dtype(kind).itemsize
        if self.at + size > len(self._raw):
            raise ValueError("the heads of its planes are cut short")
        found = np.frombuffer(self._raw, kind, count, self.at)
        self.at += size
        return found


class _Heads:
    """Parsed plane heads of a tile; raises ValueError on anything that does not fit."""

    def __init__(self, raw: memoryview, rows: int, e: Element, bits: NDArray[np.int64]) -> None:
        n = e.components
        self._held = _Bytes(raw)
        self._blocks = _blocks(rows, e.width)
        self.tables = np.zeros((n, tans.CONTEXTS << tans.LOG_SIZE), np.uint32)
        self.bases = np.zeros((n, tans.TOKENS), np.uint64)
        self.of_levels = np.zeros((n, serial_context.LEVELS), np.uint8)
        self.weights = np.zeros((n, serial_context.MAX_WEIGHTS), np.int64)
        self.activity_shifts = np.zeros(n, np.int64)
        self.starts = np.zeros(n, np.int64)
        sets = (n, class_predict.MAX_CLASSES, class_predict.MAX_TAPS)
        self.coefficients = np.zeros(sets, np.int32)
        self.classes = np.zeros((n, *self._blocks), np.uint8)
        self.lasts = np.full(n, -1, np.int64)
        self.ends = np.zeros((n, class_predict.RUNS), np.int64)
        used = [self._plane(p, int(bits[e.order[p]])) for p in range(n)]
        if self._held.at != len(raw):
            raise ValueError("the heads of its planes are too long")
        self._set_maps(used)

    def _plane(self, p: int, bits: int) -> NDArray[np.bool_] | None:
        """Parse the p-th head; which values occur, where it says that."""
        held = self._held
        fixed = _PLANE.unpack(held.take(_PLANE.size).tobytes())
        count, flags, shift, activity_shift, start, tokens, zero = fixed
        if not 1 <= count <= class_predict.MAX_CLASSES or flags > _MAPPED or zero:
            raise ValueError("a plane's head is out of range")
        if max(shift, activity_shift) > _MAX_SHIFT or tokens > tans.TOKENS:
            raise ValueError("a plane's head is out of range")
        self.activity_shifts[p] = activity_shift
        self.starts[p] = min(start, serial_context.MAX_MAGNITUDE)
        self.weights[p, : _weights(p)] = held.take(_weights(p))
        self.bases[p] = _bases(shift, int(self.weights[p, serial_context.WEST]))
        thresholds = held.take(serial_context.THRESHOLDS, "<u2").astype(np.uint16)
        self.of_levels[p] = _level_table(thresholds)
        taps = held.take(count * _taps(p), "<i2").reshape(count, -1)
        self.coefficients[p, :count, : _taps(p)] = taps
        codes = np.zeros((tans.CONTEXTS, tans.TOKENS), np.uint8)
        codes[:, :tokens] = held.take(tans.CONTEXTS * tokens).reshape(tans.CONTEXTS, tokens)
        if codes.max() > tans.MAX_WEIGHT_CODE:
            raise ValueError("a token's weight is out of range")
        tans.decoding_tables(codes, self.tables[p])
        self.ends[p] = held.take(class_predict.RUNS, "<u4")
        used = None
        if flags & _MAPPED:
            packed = held.take(max((1 << bits) // 8, 1)).astype(np.uint8)
            used = np.unpackbits(packed, count=1 << bits, bitorder="little").astype(np.bool_)
            if not used.any():
                raise ValueError("a plane takes no values")
        if count > 1:
            down, across = self._blocks
            classes = held.take(down * across).astype(np.uint8)
            if classes.max() >= count:
                raise ValueError("a block has no coefficients")
            self.classes[p] = classes.reshape(down, across)
        return used

    def _set_maps(self, used: list[NDArray[np.bool_] | None]) -> None:
        """Ranks and values of the planes that take few."""
        size = max((flags.size for flags in used if flags is not None), default=1)
        self.ranks = np.zeros((len(used), size), np.uint16)
        self.values = np.zeros((len(used), size), np.uint16)
        for p, flags in enumerate(used):
            if flags is not None:
                occurring = np.flatnonzero(flags)
                self.ranks[p, : flags.size] = _ranks(flags)
                self.values[p, : occurring.size] = occurring
                self.lasts[p] = occurring.size - 1


def decode_planes(
    raw: memoryview,
    streams: memoryview,
    values: Values,
    rows: int,
    e: Element,
    signed: NDArray[np.int64],
    segments: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> None:
    """Decode the samples of a tile from its plane heads and streams, and pack them into ``out``.

    ``segments`` as the kernels know them, ``signed`` one flag a component. Memory is bounded by
    the tile's shape and the lengths of what is given. Raises ValueError on damage.
    """
    heads = _Heads(raw, rows, e, values.bits)
    size = len(streams)
    stops = np.cumsum(heads.ends.reshape(-1))
    if int(stops[-1]) != size:
        raise ValueError("its streams do not fill it")
    data = np.zeros(size + deep_tile.row_slack_bits(e.width) // 8 + 16, np.uint8)
    data[:size] = np.frombuffer(streams, np.uint8)
    positions = ((stops - heads.ends.reshape(-1)) * 8).reshape(e.components, class_predict.RUNS)
    states = np.zeros(positions.shape, np.uint64)
    _first_states(data, heads.ends, positions, states)
    sound = deep_tile.decode_rows(
        data,
        positions,
        states,
        size * 8,
        heads.tables,
        heads.bases,
        heads.of_levels,
        heads.weights,
        heads.activity_shifts,
        heads.starts,
        heads.coefficients,
        heads.classes,
        (heads.ranks, heads.values, heads.lasts),
        np.array(e.order, np.int64),
        values.bits,
        rows,
        e.width,
        values.shifts,
        signed,
        values.mapped,
        values.maps,
        segments,
        out,
    )
    if not sound or states.any() or not np.array_equal((positions.reshape(-1) + 7) // 8, stops):
        raise ValueError("its streams do not end where they should")


def _first_states(
    data: NDArray[np.uint8],
    ends: NDArray[np.int64],
    positions: NDArray[np.int64],
    states: NDArray[np.uint64],
) -> None:
    """Take the state that each stream begins with; ``positions`` are moved on."""
    for p, s in np.ndindex(*positions.shape):
        if ends[p, s] * 8 < tans.LOG_SIZE:
            raise ValueError("a stream has no state to begin with")
        at = int(positions[p, s]) // 8
        states[p, s] = (int(data[at]) | int(data[at + 1]) << 8) & (tans.SIZE - 1)
        positions[p, s] += tans.LOG_SIZE
