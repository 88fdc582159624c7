"""Tiles in modes 4 and 6, decoded. See `codec.deep`, which makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from codec.deep_layout import (
    MAPPED,
    MAX_SHIFT,
    PLANE_HEAD,
    Cut,
    blocks_of,
    level_table,
    magnitude_bases,
    ranks_of,
    taps_of,
    weights_of,
)
from codec.kernels import class_predict, deep_tile, deep_tokens, serial_context, tans

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from codec.types import Element
    from codec.values import Values


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

    def __init__(
        self, raw: memoryview, rows: int, e: Element, bits: NDArray[np.int64], cut: Cut
    ) -> None:
        n = e.components
        self._held = _Bytes(raw)
        self._cut = cut
        self._blocks = blocks_of(rows, e.width)
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
        self.ends = np.zeros((n, cut.streams), np.int64)
        self.flat = np.zeros(n, np.bool_)
        used = [self._plane(p, int(bits[e.order[p]])) for p in range(n)]
        if self._held.at != len(raw):
            raise ValueError("the heads of its planes are too long")
        self._set_maps(used)

    def _plane(self, p: int, bits: int) -> NDArray[np.bool_] | None:
        """Parse the p-th head; which values occur, where it says that."""
        held = self._held
        fixed = PLANE_HEAD.unpack(held.take(PLANE_HEAD.size).tobytes())
        count, flags, shift, activity_shift, start, tokens, zero = fixed
        if not 1 <= count <= class_predict.MAX_CLASSES or flags > MAPPED or zero:
            raise ValueError("a plane's head is out of range")
        if max(shift, activity_shift) > MAX_SHIFT or tokens > tans.TOKENS:
            raise ValueError("a plane's head is out of range")
        self.activity_shifts[p] = activity_shift
        self.starts[p] = min(start, serial_context.MAX_MAGNITUDE)
        self.weights[p, : weights_of(p)] = held.take(weights_of(p))
        self.bases[p] = magnitude_bases(shift, int(self.weights[p, serial_context.WEST]))
        thresholds = held.take(serial_context.THRESHOLDS, "<u2").astype(np.uint16)
        self.of_levels[p] = level_table(thresholds)
        taps = held.take(count * taps_of(p), "<i2").reshape(count, -1)
        self.coefficients[p, :count, : taps_of(p)] = taps
        codes = np.zeros((tans.CONTEXTS, tans.TOKENS), np.uint8)
        codes[:, :tokens] = held.take(tans.CONTEXTS * tokens).reshape(tans.CONTEXTS, tokens)
        if codes.max() > tans.MAX_WEIGHT_CODE:
            raise ValueError("a token's weight is out of range")
        tans.decoding_tables(codes, self.tables[p])
        self.ends[p] = held.take(self._cut.streams, "<u4")
        self.flat[p] = self._cut.flat_planes and tokens == 0
        used = None
        if flags & MAPPED:
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
                self.ranks[p, : flags.size] = ranks_of(flags)
                self.values[p, : occurring.size] = occurring
                self.lasts[p] = occurring.size - 1


def decode_planes(
    raw: memoryview,
    streams: memoryview,
    cut: Cut,
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
    heads = _Heads(raw, rows, e, values.bits, cut)
    size = len(streams)
    stops = np.cumsum(heads.ends.reshape(-1))
    if int(stops[-1]) != size:
        raise ValueError("its streams do not fill it")
    data = np.zeros(size + deep_tokens.row_slack_bits(e.width) // 8 + 16, np.uint8)
    data[:size] = np.frombuffer(streams, np.uint8)
    positions = ((stops - heads.ends.reshape(-1)) * 8).reshape(heads.ends.shape)
    states = np.zeros(positions.shape, np.uint64)
    _first_states(data, heads, positions, states)
    sound = deep_tile.decode_rows(
        data,
        cut.runs,
        positions,
        states,
        heads.flat,
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
    heads: _Heads,
    positions: NDArray[np.int64],
    states: NDArray[np.uint64],
) -> None:
    """Take the state that each stream begins with; ``positions`` are moved on."""
    for p, s in np.ndindex(*positions.shape):
        if heads.flat[p]:
            if heads.ends[p, s]:
                raise ValueError("a plane without tokens has a stream")
            continue
        if heads.ends[p, s] * 8 < tans.LOG_SIZE:
            raise ValueError("a stream has no state to begin with")
        at = int(positions[p, s]) // 8
        states[p, s] = (int(data[at]) | int(data[at + 1]) << 8) & (tans.SIZE - 1)
        positions[p, s] += tans.LOG_SIZE
