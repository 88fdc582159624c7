"""Tile mode 3: quads and raw lanes, for the level that is to be fast.

The layout is in docs/format/container-v1.md, "Mode 3". Nothing is searched for: a plane's classes
follow from the sums of its residuals, and its codes are fixed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from codec.kernels import predict, quick_code, quick_groups, quick_tile
from codec.kernels.packing import PAD
from codec.kernels.quick_lanes import GROUP, QUADS
from codec.kernels.quick_predict import BIAS, COEFFICIENTS, REFERENCES, TAPS
from codec.rows import segment_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from codec.types import Element
    from codec.values import Values
    from codec.workspace import Workspace

_HEADS = tuple(
    struct.Struct(
        f"<BBHIi{taps}h{quick_groups.THRESHOLDS}i{2 * quick_groups.CLASSES}B{quick_tile.STREAMS}I"
    )
    for taps in TAPS
)
"""Heads of the first, second, and every later plane coded, up to their flags."""
_COUNTS = (
    quick_groups.THRESHOLDS,
    quick_groups.CLASSES,
    quick_groups.CLASSES,
    quick_tile.STREAMS,
)
_UNEVEN_ROWS = 4
_UNEVEN_GROUPS = 4
"""Every so many groups of so many rows are looked at for how uneven they are."""
_MAX_SUM = GROUP * 0xFFFF


@dataclass(slots=True, eq=False)
class QuickArrays:
    """Arrays for tiles of one shape besides the workspace's own. Contents are undefined."""

    coded: NDArray[np.uint8]
    quads: NDArray[np.uint8]
    lanes: NDArray[np.uint8]
    escapes: NDArray[np.uint8]


def _arrays(shape: tuple[int, int, int]) -> QuickArrays:
    planes, rows, width = shape
    groups = -(-width // GROUP)
    samples = rows * groups * GROUP
    room = rows * groups * quick_code.MAX_LENGTH // 8 + 16
    return QuickArrays(
        coded=np.zeros((planes, rows, -(-groups // quick_code.BLOCK)), np.uint8),
        quads=np.zeros((planes, QUADS, room), np.uint8),
        lanes=np.zeros((planes, 2 * samples + 4 * GROUP), np.uint8),
        escapes=np.zeros((planes, samples * quick_code.MAX_ESCAPE_BITS // 8 + 16), np.uint8),
    )


def encode_quick(
    work: Workspace, order: NDArray[np.int64], bits: NDArray[np.int64]
) -> tuple[list[memoryview | bytes], list[memoryview]]:
    """Plane heads and streams, both in coding order, of a tile; the streams are the workspace's.

    The samples are ``work.planes``, with those beside their rows; ``bits`` those of each component.
    """
    if work.quick is None:
        work.quick = _arrays(work.shape)
    planes, arrays = work.planes, work.quick
    _, rows, width = work.shape
    n = order.size
    predictors, starts = np.zeros((2, n), np.int64)
    c = np.zeros((n, COEFFICIENTS), np.int32)
    thresholds = np.zeros((n, quick_groups.THRESHOLDS), np.int32)
    k, codes = np.zeros((2, n, quick_groups.CLASSES), np.int64)
    ends = np.zeros((n, quick_tile.STREAMS), np.int64)
    plan = (predictors, c, thresholds, k, codes)
    quick_tile.plan_planes(planes, order, rows, width, bits, *plan)
    outs = (arrays.coded, arrays.quads, arrays.lanes, arrays.escapes, ends)
    quick_tile.encode_planes(planes, order, rows, width, bits, *plan, starts, *outs)
    heads: list[memoryview | bytes] = []
    streams: list[memoryview] = []
    for p in range(n):
        whole = bool(arrays.coded[p].all())
        numbers = (c[p, : TAPS[min(p, REFERENCES)]], thresholds[p], k[p], codes[p], ends[p])
        heads.append(
            _HEADS[min(p, REFERENCES)].pack(
                *(whole, predictors[p], 0, starts[p], c[p, BIAS]),
                *(number for array in numbers for number in array.tolist()),
            )
        )
        if not whole:
            heads.append(np.packbits(arrays.coded[p], bitorder="little").tobytes())
        outs_of_plane = (*arrays.quads[p], arrays.lanes[p], arrays.escapes[p])
        streams += [o[:end].data for o, end in zip(outs_of_plane, ends[p].tolist(), strict=True)]
    return heads, streams


def unevenness(planes: NDArray[np.uint16], rows: int, width: int) -> float:
    """How much residuals differ within their groups, from some of them: about 0.6 in photographs.

    It is how much the logarithm, to base 2, of the mean of differences to the sample above
    exceeds the mean of their logarithms. Much of it tells of sharp edges on calm ground, for
    which mode 1, with a context for each sample, takes less room.
    """
    groups = width // GROUP
    if rows < 2 or not groups:
        return 0.0
    sampled = 1 + (2 * np.arange(_UNEVEN_ROWS) + 1) * (rows - 1) // (2 * _UNEVEN_ROWS)
    shape = (planes.shape[0], _UNEVEN_ROWS, groups, GROUP)
    inside = slice(PAD, PAD + groups * GROUP)
    now, above = (
        planes[:, r, inside].reshape(shape)[:, :, ::_UNEVEN_GROUPS].astype(np.float32)
        for r in (sampled, sampled - 1)
    )
    differences = 2 * abs(now - above)
    of_means = np.log2(differences.mean(-1) + 1).mean()
    return float(of_means - np.log2(differences + 1).mean())


def has_flat_blocks(heads: list[memoryview | bytes]) -> bool:
    """Whether the first plane has blocks that are not coded, given what `encode_quick` made.

    Later planes have them wherever planes are equal, as in black and white kept as RGB.
    """
    return heads[0][0] == 0


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
        self.ends = np.zeros((n, quick_tile.STREAMS), np.int64)
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
        if max(self.codes[p].tolist()) >= len(quick_code.CODES):
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
    return quick_tile.slack_bytes(width)


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
    ends = heads.ends
    stops = np.cumsum(ends.reshape(-1)).reshape(ends.shape)
    if int(stops[-1, -1]) != size:
        raise ValueError("its streams do not fill it")
    raw, escapes = quick_tile.RAW, quick_tile.ESCAPES
    begins = stops - ends
    positions = np.zeros((e.components, quick_tile.STREAMS + 1), np.int64)
    positions[:, : quick_tile.STREAMS] = begins * 8
    positions[:, raw] = 0
    positions[:, quick_tile.STREAMS] = begins[:, raw]
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
    ended = (positions[:, : quick_tile.STREAMS] + 7) // 8
    ended[:, raw] = begins[:, raw] + (positions[:, raw] + 15) // 16 * 2 * GROUP
    if not sound or not np.array_equal(ended[:, : escapes + 1], stops):
        raise ValueError("its streams do not end where they should")
