"""One plane of a tile: what the encoder chooses for it, its head and its streams."""

from __future__ import annotations

import struct
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from codec.kernels import context, entropy, fit, heads, predict, statistics
from codec.kernels import tile as drivers
from codec.kernels.packing import PAD

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import NDArray

    from codec.effort import Effort
    from codec.types import Element

_PLANE = struct.Struct("<BBBBHi")
_VERDICTS = {
    heads.CUT_SHORT: "the heads of its planes are cut short",
    heads.OUT_OF_RANGE: "a plane's head is out of range",
    heads.TOO_MANY_RAW_BITS: "a plane has more raw bits than its samples",
    heads.CODE_TOO_LONG: "a code is too long",
    heads.CODE_OVER_FULL: "a code is over-full",
    heads.TOO_LONG: "the heads of its planes are too long",
}
_KEPT_WORKSPACES = 2
"""A frame's tiles have one shape, but for the last."""
_PREDICTOR_ROWS = 4
_MEDIAN_GAIN = 0.98


@dataclass(slots=True)
class Workspace:
    """Arrays of one thread, kept between tiles of one shape."""

    shape: tuple[int, int, int]
    planes: NDArray[np.uint16]
    z: NDArray[np.uint16]
    magnitudes: NDArray[np.int16]
    coded: NDArray[np.uint8]
    streams: NDArray[np.uint8]
    histogram: NDArray[np.int64]
    direct: NDArray[np.uint32]


_local = threading.local()
_LEVELS = statistics.activity_levels()


def workspace(components: int, rows: int, width: int) -> Workspace:
    """This thread's arrays for tiles of one shape; contents are undefined."""
    shape = (components, rows, width)
    kept: dict[tuple[int, int, int], Workspace] = _local.__dict__.setdefault("workspaces", {})
    if shape in kept:
        return kept[shape]
    while len(kept) >= _KEPT_WORKSPACES:
        del kept[next(iter(kept))]
    padded = width + 2 * PAD
    blocks = -(-width // entropy.BLOCK)
    capacity = rows * (width // entropy.STREAMS + 1) * entropy.MAX_SAMPLE_BITS // 8 + 16
    made = Workspace(
        shape=shape,
        planes=np.zeros((components, rows, padded), np.uint16),
        z=np.zeros((rows, padded), np.uint16),
        magnitudes=np.zeros((components, rows + 2, padded), np.int16),
        coded=np.zeros((rows, blocks), np.uint8),
        streams=np.zeros((components, entropy.STREAMS, capacity), np.uint8),
        histogram=np.zeros((2, context.MAX_ACTIVITY), np.int64),
        direct=np.zeros(context.CONTEXTS << entropy.DIRECT_BITS, np.uint32),
    )
    kept[shape] = made
    return made


def encode_plane(
    work: Workspace,
    order: NDArray[np.int64],
    p: int,
    rows: int,
    width: int,
    bits: int,
    effort: Effort,
) -> tuple[bytes, list[memoryview]]:
    """Head and streams of the p-th plane coded; the streams are the workspace's."""
    component = int(order[p])
    coefficients = np.zeros(predict.COEFFICIENTS, np.int32)
    predictor, mean = predict.LINEAR, 0.0
    if rows > 1:
        fit.fit_plane(
            work.planes, order, p, rows, width, effort.fit_samples, effort.fit_rounds, coefficients
        )
        predictor, mean = _choose_predictor(work, order, p, rows, width, bits, coefficients)
    drivers.first_residuals(work.planes, order, p, width, bits, work.z[0])
    first = statistics.mean_residual(work.z[0], width)
    if rows == 1:
        mean = first
    magnitude_shift = (int(mean) // 64).bit_length()
    start = min(int(first) >> magnitude_shift, context.MAX_MAGNITUDE)
    drivers.plane_residuals(
        work.planes,
        order,
        p,
        rows,
        width,
        bits,
        coefficients,
        predictor,
        magnitude_shift,
        start,
        work.z,
        work.coded,
        work.magnitudes[component],
    )
    place = (work.magnitudes, order, p)
    cross = 0
    if p:
        cross = statistics.choose_cross(work.z, *place, rows, width, effort.cross_step, _LEVELS)
    thresholds = np.zeros(context.THRESHOLDS, np.int16)
    k = np.zeros(context.CONTEXTS, np.uint8)
    sampled = (work.coded, rows, width, cross, bits, effort.step)
    statistics.choose_contexts(work.z, *place, *sampled, work.histogram, thresholds, k)
    counts = np.zeros((context.CONTEXTS, entropy.SYMBOLS), np.int64)
    statistics.count_symbols(work.z, *place, *sampled, thresholds, k, counts)
    lengths = np.zeros((context.CONTEXTS, entropy.SYMBOLS), np.uint8)
    entropy.all_code_lengths(counts, lengths)
    table = np.zeros(context.CONTEXTS * entropy.SYMBOLS, np.uint32)
    entropy.encoding_table(lengths, k, bits, table)
    entropy.direct_table(table, k, bits, work.direct)
    ends = np.zeros(entropy.STREAMS, np.int64)
    drivers.emit_plane(
        work.z,
        *place,
        rows,
        width,
        cross,
        thresholds,
        work.coded,
        k,
        table,
        work.direct,
        work.streams[p],
        ends,
    )
    whole = bool(work.coded.all())
    head = b"".join(
        [
            _PLANE.pack(
                int(whole),
                magnitude_shift,
                cross,
                predictor,
                start,
                int(coefficients[predict.BIAS]),
            ),
            coefficients[: _taps(p)].astype("<i2").tobytes(),
            thresholds.astype("<i2").tobytes(),
            k.tobytes(),
            (lengths[:, 0::2] | (lengths[:, 1::2] << 4)).tobytes(),
            ends.astype("<u4").tobytes(),
            b"" if whole else np.packbits(work.coded, bitorder="little").tobytes(),
        ]
    )
    return head, [work.streams[p, s, : ends[s]].data for s in range(entropy.STREAMS)]


def _choose_predictor(
    work: Workspace,
    order: NDArray[np.int64],
    p: int,
    rows: int,
    width: int,
    bits: int,
    coefficients: NDArray[np.int32],
) -> tuple[int, float]:
    """The predictor whose residuals look cheaper on a few rows, and their mean.

    Linear prediction averages noise away but blurs the peaks of planes that take few values,
    or are clipped; the median keeps those.
    """
    step = max(rows // _PREDICTOR_ROWS, 1)
    moments = np.zeros((2, 2), np.float64)
    for predictor in (predict.LINEAR, predict.MEDIAN):
        sampled = (rows, width, bits, coefficients, predictor, step)
        drivers.sampled_residuals(work.planes, order, p, *sampled, work.z)
        statistics.sampled_cost(work.z, rows, width, step, moments[predictor])
    chosen = predict.LINEAR
    if moments[predict.MEDIAN, 0] < moments[predict.LINEAR, 0] * _MEDIAN_GAIN:
        chosen = predict.MEDIAN
    return chosen, float(moments[chosen, 1])


def _taps(p: int) -> int:
    """Stored taps of the p-th plane coded."""
    return predict.OWN_TAPS + predict.REFERENCE_TAPS * min(p, predict.MAX_REFERENCES)


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
