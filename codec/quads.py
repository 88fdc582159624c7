"""What tile modes 3 and 5 have in common: planes whose residuals are quads and raw lanes.

The layout is in docs/format/container-v1.md, "Mode 3" and "Mode 5".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from codec.kernels import quick_groups, quick_rows
from codec.rows import segment_table

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from codec.types import Element
    from codec.values import Values


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
    signed = np.zeros(e.components, np.int64)
    signed[list(e.signed)] = 1
    sound = driver(
        data,
        heads.ends,
        size,
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
    if not sound:
        raise ValueError("its streams do not end where they should")
