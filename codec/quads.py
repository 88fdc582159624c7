"""What tile modes 3 and 5 have in common: planes whose residuals are quads and raw lanes.

The layout is in docs/format/container-v1.md, "Mode 3" and "Mode 5".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from codec.kernels import quick_groups, quick_rows
from codec.kernels.quick_lanes import GROUP
from codec.rows import segment_table

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from codec.types import Element
    from codec.values import Values

_MAX_SUM = GROUP * 0xFFFF


class QuadHeads:
    """Parsed plane heads, but for what foretells samples, which each mode has in its own form.

    Per plane in coding order: ``starts`` (int64), the sums above a tile; ``thresholds`` (int32),
    ``k`` and ``codes`` (int64) of classes; ``ends`` (int64), the lengths of the streams; ``coded``
    (uint8[planes, rows, blocks]).
    """

    def __init__(self, planes: int, rows: int, blocks: int) -> None:
        self.starts = np.zeros(planes, np.int64)
        self.thresholds = np.zeros((planes, quick_groups.THRESHOLDS), np.int32)
        self.k = np.zeros((planes, quick_groups.CLASSES), np.int64)
        self.codes = np.zeros((planes, quick_groups.CLASSES), np.int64)
        self.ends = np.zeros((planes, quick_rows.STREAMS), np.int64)
        self.coded = np.ones((planes, rows, blocks), np.uint8)

    def set_start(self, p: int, start: int) -> None:
        """Take the p-th plane's sum above the tile."""
        self.starts[p] = min(start, _MAX_SUM)

    def parse_classes(self, raw: memoryview, at: int, p: int, known: int) -> int:
        """Fill classes and lengths of the p-th plane from ``at`` on; what comes after them.

        Raises ValueError where they make no sense, or name another than the first ``known`` codes.
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
        if max(self.codes[p].tolist()) >= known:
            raise ValueError("a plane's head names an unknown code")
        return at

    def parse_flags(self, raw: memoryview, at: int, p: int) -> int:
        """Fill which blocks of the p-th plane are coded, from ``at`` on; what comes after them."""
        coded = self.coded[p]
        packed = np.frombuffer(raw, np.uint8, (coded.size + 7) // 8, at)
        flags = np.unpackbits(packed, count=coded.size, bitorder="little")
        self.coded[p] = flags.reshape(coded.shape)
        return at + packed.size


def decode(
    driver: Any,  # noqa: ANN401 - a compiled kernel
    data: NDArray[np.uint8],
    size: int,
    foretelling: tuple[NDArray[Any], NDArray[Any]],
    heads: QuadHeads,
    values: Values,
    rows: int,
    e: Element,
    out: NDArray[np.uint8],
) -> None:
    """Have a mode's ``driver`` decode all planes, and pack them into ``out``.

    ``data`` begins with ``size`` bytes of streams and goes on for `slack_bytes` more;
    ``foretelling`` is what the driver wants besides the ``heads``. Raises ValueError where the
    streams are damaged.
    """
    positions, stops = _stream_positions(heads.ends, size)
    signed = np.zeros(e.components, np.int64)
    signed[list(e.signed)] = 1
    sound = driver(
        data,
        positions,
        size * 8,
        *foretelling,
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
    if not sound or not np.array_equal(_ended(positions), stops):
        raise ValueError("its streams do not end where they should")


def _stream_positions(
    ends: NDArray[np.int64], size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the streams begin, as `quick_rows.take_row` wants it, and where they stop.

    ``ends`` int64[planes, STREAMS] are their lengths, ``size`` what they must add up to.
    """
    stops = np.cumsum(ends.reshape(-1)).reshape(ends.shape)
    if int(stops[-1, -1]) != size:
        raise ValueError("its streams do not fill it")
    begins = stops - ends
    positions = np.zeros((ends.shape[0], quick_rows.STREAMS + 1), np.int64)
    positions[:, : quick_rows.STREAMS] = begins * 8
    positions[:, quick_rows.RAW] = 0
    positions[:, quick_rows.STREAMS] = begins[:, quick_rows.RAW]
    return positions, stops


def _ended(positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """The bytes at which the streams have been read to, of the kernels' positions."""
    raw = quick_rows.RAW
    ended = (positions[:, : quick_rows.STREAMS] + 7) // 8
    ended[:, raw] = positions[:, quick_rows.STREAMS] + (positions[:, raw] + 15) // 16 * 2 * GROUP
    return ended
