"""The planes of a tile: their heads and streams, made and parsed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from codec.kernels import context, entropy, heads, plane, predict, statistics

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import NDArray

    from codec.effort import Effort
    from codec.types import Element
    from codec.workspace import Workspace

_VERDICTS = {
    heads.CUT_SHORT: "the heads of its planes are cut short",
    heads.OUT_OF_RANGE: "a plane's head is out of range",
    heads.TOO_MANY_RAW_BITS: "a plane has more raw bits than its samples",
    heads.CODE_TOO_LONG: "a code is too long",
    heads.CODE_OVER_FULL: "a code is over-full",
    heads.TOO_LONG: "the heads of its planes are too long",
}
_LEVELS = statistics.activity_levels()


def encode_planes(
    work: Workspace, order: NDArray[np.int64], bits: NDArray[np.int64], effort: Effort
) -> tuple[memoryview, list[memoryview]]:
    """The heads of a tile's planes, and their streams; both are the workspace's.

    ``bits`` are each component's. The samples are ``work.planes``, with those beside their rows.
    """
    _, rows, width = work.shape
    head = plane.encode_planes(
        work.planes,
        order,
        bits,
        rows,
        width,
        effort.fit_samples,
        effort.fit_rounds,
        effort.step,
        effort.cross_step,
        _LEVELS,
        work.z,
        work.coded,
        work.magnitudes,
        work.histogram,
        work.coefficients,
        work.thresholds,
        work.k,
        work.lengths,
        work.table,
        work.direct,
        work.streams,
        work.ends,
        work.heads,
    )
    streams = [
        stream[:end].data
        for streams, ends in zip(work.streams, work.ends.tolist(), strict=True)
        for stream, end in zip(streams, ends, strict=True)
    ]
    return work.heads[:head].data, streams


class PlaneHeads:
    """Parsed plane heads of a tile; raises ValueError on anything that does not fit."""

    def __init__(self, raw: memoryview, rows: int, e: Element, bits: NDArray[np.int64]) -> None:
        """``bits`` are each component's."""
        self._allocate(rows, e, bits)
        verdict = heads.parse_heads(
            np.frombuffer(raw, np.uint8),
            np.array(e.order, np.int64),
            bits,
            self.magnitude_shifts,
            self.crosses,
            self.predictors,
            self.starts,
            self.coefficients,
            self.thresholds,
            self.tables,
            self.coded,
            self.ends,
        )
        if verdict != heads.SOUND:
            raise ValueError(_VERDICTS[verdict])

    @classmethod
    def of_packed(cls, rows: int, e: Element, bits: NDArray[np.int64]) -> Self:
        """The heads of a tile whose residuals are packed: median predictors and no streams."""
        made = cls.__new__(cls)
        made._allocate(rows, e, bits)
        made.predictors[:] = predict.MEDIAN
        return made

    def _allocate(self, rows: int, e: Element, bits: NDArray[np.int64]) -> None:
        n = e.components
        blocks = -(-e.width // entropy.BLOCK)
        self.coefficients = np.zeros((n, predict.COEFFICIENTS), np.int32)
        self.thresholds = np.zeros((n, context.THRESHOLDS), np.int16)
        self.tables = np.zeros((n, context.CONTEXTS << entropy.MAX_LENGTH), np.uint16)
        self.coded = np.zeros((n, rows, blocks), np.uint8)
        self.ends = np.zeros((n, entropy.STREAMS), np.int64)
        self.magnitude_shifts = np.zeros(n, np.int64)
        self.crosses = np.zeros(n, np.int64)
        self.predictors = np.zeros(n, np.int64)
        self.starts = np.zeros(n, np.int64)
