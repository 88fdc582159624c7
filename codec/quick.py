"""Tile mode 3: quads and raw lanes, which the level `fast` wrote before mode 5.

The layout is in docs/format/container-v1.md, "Mode 3". Such tiles are read for ever.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

from codec.halves import check_positions, stream_positions
from codec.kernels import predict, quick_code, quick_groups, quick_rows, quick_tile
from codec.kernels.quick_lanes import GROUP
from codec.kernels.quick_predict import BIAS, COEFFICIENTS, REFERENCES, TAPS
from codec.rows import segment_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from codec.types import Element
    from codec.values import Values

_HEADS = tuple(
    struct.Struct(
        f"<BBHIi{taps}h{quick_groups.THRESHOLDS}i{2 * quick_groups.CLASSES}B{quick_rows.STREAMS}I"
    )
    for taps in TAPS
)
"""Heads of the first, second, and every later plane coded, up to their flags."""
_COUNTS = (
    quick_groups.THRESHOLDS,
    quick_groups.CLASSES,
    quick_groups.CLASSES,
    quick_rows.STREAMS,
)
_MAX_SUM = GROUP * 0xFFFF


class QuickHeads:
    """Parsed plane heads of a tile of mode 3; raises ValueError on anything that does not fit."""

    def __init__(self, raw: memoryview, rows: int, e: Element) -> None:
        n = e.components
        groups = -(-e.width // GROUP)
        blocks = -(-groups // quick_code.BLOCK)
        self.predictors = np.zeros(n, np.int64)
        self.coefficients = np.zeros((n, COEFFICIENTS), np.int32)
        self.starts = np.zeros(n, np.int32)
        self.thresholds = np.zeros((n, quick_groups.THRESHOLDS), np.int32)
        self.k = np.zeros((n, quick_groups.CLASSES), np.int64)
        self.codes = np.zeros((n, quick_groups.CLASSES), np.int64)
        self.ends = np.zeros((n, quick_rows.STREAMS), np.int64)
        self.coded = np.ones((n, rows, blocks), np.uint8)
        at = 0
        for p in range(n):
            at = self._parse(raw, at, p, rows * blocks)
        if at != len(raw):
            raise ValueError("the heads of its planes are too long")

    def _parse(self, raw: memoryview, at: int, p: int, flags: int) -> int:
        """Fill what belongs to the p-th plane from its head at ``at``; where the next begins."""
        kind = _HEADS[min(p, REFERENCES)]
        whole, predictor, zero, start, bias, *numbers = kind.unpack_from(raw, at)
        at += kind.size
        if whole > 1 or predictor > predict.MEDIAN or zero:
            raise ValueError("a plane's head is out of range")
        self.predictors[p] = predictor
        self.starts[p] = min(start, _MAX_SUM)
        self.coefficients[p, BIAS] = bias
        found = np.array(numbers, np.int64)
        parts = (self.coefficients[p], self.thresholds[p], self.k[p], self.codes[p], self.ends[p])
        first = 0
        for part, count in zip(parts, (TAPS[min(p, REFERENCES)], *_COUNTS), strict=True):
            part[:count] = found[first : first + count]
            first += count
        if max(self.k[p].tolist()) > quick_groups.MAX_RAW:
            raise ValueError("a plane's head has too many raw bits")
        if max(self.codes[p].tolist()) >= quick_code.MODE3_CODES:
            raise ValueError("a plane's head names an unknown code")
        if not whole:
            if at + (flags + 7) // 8 > len(raw):
                raise ValueError("the heads of its planes are cut short")
            packed = np.frombuffer(raw, np.uint8, (flags + 7) // 8, at)
            at += packed.size
            bits = np.unpackbits(packed, count=flags, bitorder="little")
            self.coded[p] = bits.reshape(self.coded[p].shape)
        return at


def slack_bytes(width: int) -> int:
    """Bytes that `decode_quick` wants after a tile's streams."""
    return int(quick_rows.slack_bytes(-(-width // GROUP)))


def decode_quick(
    data: NDArray[np.uint8],
    size: int,
    heads: QuickHeads,
    values: Values,
    rows: int,
    e: Element,
    out: NDArray[np.uint8],
) -> None:
    """Decode all planes from the ``size`` bytes of streams in ``data`` and pack them into ``out``.

    ``data`` goes on for `slack_bytes` more. Raises ValueError where the streams are damaged.
    """
    positions, stops = stream_positions(heads.ends, size)
    signed = np.zeros(e.components, np.int64)
    signed[list(e.signed)] = 1
    sound = quick_tile.decode_quick(
        data,
        positions,
        size * 8,
        heads.predictors,
        heads.coefficients,
        heads.starts,
        heads.thresholds,
        heads.k,
        heads.codes,
        heads.coded,
        np.array(e.order, np.int64),
        rows,
        e.width,
        values.bits,
        values.shifts,
        signed,
        values.mapped,
        values.maps,
        segment_table(e, rows),
        out,
    )
    check_positions(sound, positions, stops)
