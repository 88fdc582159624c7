"""Tile mode 3: quads and raw lanes, which the level `fast` wrote before mode 5.

The layout is in docs/format/container-v1.md, "Mode 3". Such tiles are read for ever.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

from codec import quads
from codec.kernels import predict, quick_code, quick_groups, quick_rows, quick_tile
from codec.kernels.quick_lanes import GROUP
from codec.kernels.quick_predict import BIAS, COEFFICIENTS, REFERENCES, TAPS
from codec.quads import QuadHeads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from codec.types import Element
    from codec.values import Values

_FIXED = struct.Struct("<BBHIi")


class QuickHeads(QuadHeads):
    """Parsed plane heads of a tile of mode 3; raises ValueError on anything that does not fit."""

    def __init__(self, raw: memoryview, rows: int, e: Element) -> None:
        n = e.components
        groups = -(-e.width // GROUP)
        super().__init__(n, rows, -(-groups // quick_code.BLOCK))
        self.predictors = np.zeros(n, np.int64)
        self.coefficients = np.zeros((n, COEFFICIENTS), np.int32)
        at = 0
        for p in range(n):
            at = self._parse(raw, at, p)
        if at != len(raw):
            raise ValueError("the heads of its planes are too long")

    def _parse(self, raw: memoryview, at: int, p: int) -> int:
        """Fill what belongs to the p-th plane from its head at ``at``; where the next begins."""
        whole, predictor, zero, start, bias = _FIXED.unpack_from(raw, at)
        at += _FIXED.size
        if whole > 1 or predictor > predict.MEDIAN or zero:
            raise ValueError("a plane's head is out of range")
        self.predictors[p] = predictor
        self.starts[p] = min(start, quick_groups.MAX_SUM)
        count = TAPS[min(p, REFERENCES)]
        self.coefficients[p, :count] = np.frombuffer(raw, "<i2", count, at)
        self.coefficients[p, BIAS] = bias
        at = self._parse_classes(raw, at + 2 * count, p)
        return at if whole else self._parse_flags(raw, at, p)

    def _parse_classes(self, raw: memoryview, at: int, p: int) -> int:
        """Fill classes and lengths of the p-th plane from ``at`` on; what comes after them.

        Raises ValueError where they make no sense.
        """
        self.thresholds[p] = np.frombuffer(raw, "<i4", quick_groups.THRESHOLDS, at)
        at += 4 * quick_groups.THRESHOLDS
        classes = quick_groups.CLASSES
        self.k[p] = np.frombuffer(raw, np.uint8, classes, at)
        self.codes[p] = np.frombuffer(raw, np.uint8, classes, at + classes)
        at += 2 * classes
        self.ends[p] = np.frombuffer(raw, "<u4", quick_rows.STREAMS, at)
        at += 4 * quick_rows.STREAMS
        if max(self.k[p].tolist()) > quick_groups.MAX_RAW:
            raise ValueError("a plane's head has too many raw bits")
        if max(self.codes[p].tolist()) >= quick_code.MODE3_CODES:
            raise ValueError("a plane's head names an unknown code")
        return at

    def _parse_flags(self, raw: memoryview, at: int, p: int) -> int:
        """Fill which blocks of the p-th plane are coded, from ``at`` on; what comes after them."""
        coded = self.coded[p]
        packed = np.frombuffer(raw, np.uint8, (coded.size + 7) // 8, at)
        flags = np.unpackbits(packed, count=coded.size, bitorder="little")
        self.coded[p] = flags.reshape(coded.shape)
        return at + packed.size


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
    foretelling = (heads.predictors, heads.coefficients)
    quads.decode(quick_tile.decode_quick, data, size, foretelling, heads, values, rows, e, out)
