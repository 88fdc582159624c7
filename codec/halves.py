"""Tile mode 5: quads and raw lanes of even and odd columns, for the level that is to be fast.

The layout is in docs/format/container-v1.md, "Mode 5". Nothing is searched for: taps are fitted,
a plane's classes follow from the sums of its residuals, and its codes are fixed.
"""

from __future__ import annotations

import math
import mmap
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from codec import quads
from codec.kernels import (
    half_heads,
    half_plan,
    half_rows,
    half_tile,
    heads,
    quick_code,
    quick_groups,
    quick_rows,
)
from codec.kernels.half_fit import TAPS
from codec.kernels.half_lanes import LANES
from codec.kernels.quick_lanes import GROUP, QUADS
from codec.quads import QuadHeads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from codec.types import Element
    from codec.values import Values
    from codec.workspace import Workspace

_VERDICTS = {
    heads.CUT_SHORT: "the heads of its planes are cut short",
    heads.OUT_OF_RANGE: "a plane's head is out of range",
    heads.TOO_MANY_RAW_BITS: "a plane's head has too many raw bits",
    heads.TOO_LONG: "the heads of its planes are too long",
    half_heads.UNKNOWN_CODE: "a plane's head names an unknown code",
}


@dataclass(slots=True, eq=False)
class HalfArrays:
    """Arrays for tiles of one shape besides the workspace's own. Contents are undefined."""

    coded: NDArray[np.uint8]
    heads: NDArray[np.uint8]
    quads: NDArray[np.uint8]
    lanes: NDArray[np.uint8]
    escapes: NDArray[np.uint8]
    ring: NDArray[np.uint16]
    z: NDArray[np.uint16]


def _pages(*shape: int) -> NDArray[np.uint8]:
    """Zeros that begin at a page, of which only what is written takes memory.

    Where numpy makes large arrays, the system is asked for huge pages, and gives 2 MiB at a touch.
    """
    # Private: shared memory would be the same in a forked process.
    held = mmap.mmap(-1, math.prod(shape), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(held, np.uint8).reshape(shape)


def _arrays(shape: tuple[int, int, int]) -> HalfArrays:
    planes, rows, width = shape
    groups = half_tile.group_count(width)
    samples = rows * groups * GROUP
    blocks = half_tile.block_count(width)
    room = rows * groups * quick_code.MAX_LENGTH // 8 + 16
    return HalfArrays(
        coded=np.zeros((planes, rows, blocks), np.uint8),
        heads=np.zeros(planes * half_heads.head_room(rows * blocks), np.uint8),
        quads=np.zeros((planes, QUADS, room), np.uint8),
        lanes=_pages(planes, 2 * samples + 4 * GROUP),
        escapes=_pages(planes, samples * quick_code.MAX_ESCAPE_BITS // 8 + 16),
        # Vectors are loaded from it all the time: at lines of the cache, where they can be.
        ring=_pages(half_plan.ROWS * half_rows.ring_size(planes, width) * 2).view(np.uint16),
        z=np.zeros(groups * GROUP, np.uint16),
    )


def encode_halves(
    work: Workspace, order: NDArray[np.int64], bits: NDArray[np.int64]
) -> tuple[memoryview, list[memoryview]] | None:
    """Plane heads and streams, both in coding order, of a tile; all are the workspace's.

    The samples are ``work.planes``; ``bits`` those of each component. None where no taps can be
    fitted, as in a few samples of planes that are all but sums of one another.
    """
    if work.halves is None:
        work.halves = _arrays(work.shape)
    arrays = work.halves
    _, rows, width = work.shape
    n = order.size
    edges, starts = np.zeros((2, n), np.int64)
    taps = np.zeros((n, 2, TAPS, LANES), np.int16)
    thresholds = np.zeros((n, quick_groups.THRESHOLDS), np.int32)
    k, codes = np.zeros((2, n, quick_groups.CLASSES), np.int64)
    ends = np.zeros((n, quick_rows.STREAMS), np.int64)
    tile = (work.planes, order, rows, width, bits)
    plan = (edges, taps, thresholds, k, codes)
    try:
        half_plan.plan_planes(*tile, *plan, arrays.ring, arrays.z)
    except ZeroDivisionError:
        return None
    outs = (arrays.coded, arrays.quads, arrays.lanes, arrays.escapes, ends)
    half_tile.encode_planes(*tile, *plan, starts, *outs, arrays.ring, arrays.z)
    head = half_heads.put_heads(
        edges, starts, taps, thresholds, k, codes, ends, arrays.coded, arrays.heads
    )
    streams: list[memoryview] = []
    for p, lengths in enumerate(ends.tolist()):
        outs_of_plane = (*arrays.quads[p], arrays.lanes[p], arrays.escapes[p])
        streams += [out[:end].data for out, end in zip(outs_of_plane, lengths, strict=True)]
    return arrays.heads[:head].data, streams


def unevenness(planes: NDArray[np.uint16], rows: int, width: int) -> float:
    """How much residuals differ within their groups, from some of them: about 0.6 in photographs.

    It is how much the logarithm, to base 2, of the mean of differences to the sample above
    exceeds the mean of their logarithms. Much of it tells of sharp edges on calm ground, for
    which mode 1, with a context for each sample, takes less room.
    """
    if rows < 2 or width < GROUP:
        return 0.0
    return float(half_plan.unevenness(planes, rows, width))


def flat_share(work: Workspace) -> float:
    """The share of blocks of the first plane that `encode_halves`, just called, had not to code.

    Later planes have them wherever planes are equal, as in black and white kept as RGB.
    """
    if work.halves is None:
        return 0.0
    coded = work.halves.coded[0]
    return float(1.0 - np.count_nonzero(coded) / coded.size)


class HalfHeads(QuadHeads):
    """Parsed plane heads of a tile of mode 5; raises ValueError on anything that does not fit."""

    def __init__(self, raw: memoryview, rows: int, e: Element, bits: NDArray[np.int64]) -> None:
        """``bits`` are each component's."""
        n = e.components
        super().__init__(n, rows, half_tile.block_count(e.width))
        self.edges = np.zeros(n, np.int64)
        self.taps = np.zeros((n, 2, TAPS, LANES), np.int16)
        verdict = half_heads.parse_heads(
            np.frombuffer(raw, np.uint8),
            np.array(e.order, np.int64),
            bits,
            self.edges,
            self.starts,
            self.taps,
            self.thresholds,
            self.k,
            self.codes,
            self.ends,
            self.coded,
        )
        if verdict != heads.SOUND:
            raise ValueError(_VERDICTS[verdict])


def slack_bytes(width: int) -> int:
    """Bytes that `decode_halves` wants after a tile's streams."""
    return int(quick_rows.slack_bytes(half_tile.group_count(width)))


def decode_halves(
    data: NDArray[np.uint8],
    size: int,
    parsed: HalfHeads,
    values: Values,
    rows: int,
    e: Element,
    out: NDArray[np.uint8],
) -> None:
    """Decode all planes from the ``size`` bytes of streams in ``data`` and pack them into ``out``.

    ``data`` goes on for `slack_bytes` more. Raises ValueError where the streams are damaged.
    """
    foretelling = (parsed.edges, parsed.taps)
    quads.decode(half_tile.decode_planes, data, size, foretelling, parsed, values, rows, e, out)
