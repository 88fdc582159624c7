"""One tile: rows of an element to a payload, and a payload back to rows.

The payload's layout is in docs/format/container-v1.md, "Tiles".
"""

from __future__ import annotations

import functools
import struct
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from codec import deep, deep_reader
from codec.deep_layout import CUT, FIRST_CUT
from codec.errors import DamagedError
from codec.gaps import put_gaps, take_gaps
from codec.halves import HalfHeads, decode_halves, encode_halves, flat_share, unevenness
from codec.halves import slack_bytes as half_slack_bytes
from codec.kernels import entropy
from codec.kernels import tile as drivers
from codec.kernels.values import fold_signed
from codec.packed import looks_clean, pack_residuals, unpack_residuals
from codec.planes import PlaneHeads, encode_planes
from codec.quick import QuickHeads, decode_quick
from codec.quick import slack_bytes as quick_slack_bytes
from codec.rows import (
    REMEMBERED,
    add_residue,
    component_bits,
    inflate,
    region_starts,
    residue_of,
    segment_table,
    unpack_segment,
)
from codec.values import parse_values, reduce_values
from codec.workspace import Scratch, workspace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from typing_extensions import Buffer

    from codec.effort import Effort
    from codec.types import Element
    from codec.values import Values
    from codec.workspace import Workspace

MODE_PREDICTED = 1
MODE_PACKED = 2
MODE_QUICK = 3
MODE_DEEP_1 = 4
"""What `MODE_DEEP` was first; such tiles are read, but no longer written."""
MODE_HALVES = 5
MODE_DEEP = 6
_FEATURES = {
    MODE_QUICK: "tile-quads-1",
    MODE_DEEP_1: "tile-deep-1",
    MODE_HALVES: "tile-quads-2",
    MODE_DEEP: "tile-deep-2",
}
_FIXED = struct.Struct("<BBHIII")
_MAX_HEAD = 1 << 24
_LARGE = 1 << 16
# Payloads that had to be copied.
_payloads = Scratch()
_TINY = 1 / 32
"""Bytes a sample below which the heads of mode 6 cost more than it can gain."""
_CLEAN = 1 / 4
"""Bytes a sample: tiles coded to less are tried with a general-purpose compressor too."""
_FLAT = 1 / 16
"""Tiles of mode 5 with a greater share of flat blocks may be clean pictures."""


def encode_tile(
    regions: Sequence[NDArray[np.uint8]], rows: int, element: Element, effort: Effort
) -> bytes:
    """The payload of ``rows`` rows, given the bytes of each of the element's regions.

    The rows begin with a band where regions have any. Any thread may call this; the work is
    done without the GIL.
    """
    with tile_parts(regions, rows, element, effort) as parts:
        return b"".join(parts)


@contextmanager
def tile_parts(
    regions: Sequence[NDArray[np.uint8]], rows: int, element: Element, effort: Effort
) -> Iterator[list[memoryview | bytes]]:
    """What `encode_tile` joins, where it was coded: to be copied before the context is left."""
    with workspace(element.components, rows, element.width) as work:
        yield _encode(work, regions, rows, element, effort)


def _encode(
    work: Workspace,
    regions: Sequence[NDArray[np.uint8]],
    rows: int,
    e: Element,
    effort: Effort,
) -> list[memoryview | bytes]:
    segments = segment_table(e, rows)
    starts = region_starts(e, rows)
    stray = 0
    for segment, held in zip(e.segments, segments, strict=True):
        source, start = regions[segment.region], starts[segment.region]
        stray |= unpack_segment(source, start, rows, e, held, work.planes)
    residue = residue_of(regions, rows, e, segments, work.planes) if stray else b""
    gaps = take_gaps(regions, rows, e)
    for component in e.signed:
        fold_signed(work.planes[component], rows, e.width)
    values, bits = reduce_values(work.planes, rows, e.width, component_bits(e))
    order = np.array(e.order, np.int64)
    drivers.pad_planes(work.planes, rows, e.width, bits)
    coded = _smallest(work, order, bits, values, e, effort)
    fixed = _FIXED.pack(coded.mode, coded.packer, 0, len(coded.head), len(gaps), len(residue))
    return [fixed + coded.head + gaps, *coded.bodies, residue]


@dataclass(frozen=True, slots=True)
class _Coded:
    """A tile's samples in one of the modes; the bodies may be the workspace's."""

    mode: int
    packer: int
    head: bytes
    bodies: Sequence[memoryview | bytes]

    @property
    def size(self) -> int:
        return len(self.head) + sum(map(len, self.bodies))


def _smallest(
    work: Workspace,
    order: NDArray[np.int64],
    bits: NDArray[np.int64],
    values: bytes,
    e: Element,
    effort: Effort,
) -> _Coded:
    """The samples in the mode that suits them best, of those that the level tries."""
    components, rows, width = work.shape
    shape = (rows, width, bits)
    clean = _CLEAN
    halves = encode_halves(work, order, bits) if _is_quick(work, effort) else None
    if halves is not None:
        head, streams = halves
        best = _Coded(MODE_HALVES, 0, _deflated([values, head], streams), streams)
        # Clean pictures take more room there than in mode 1, and have flat blocks.
        clean = 2 * _CLEAN if flat_share(work) > _FLAT else effort.quick_clean
    else:
        head, streams = encode_planes(work, order, bits, effort)
        best = _Coded(MODE_PREDICTED, 0, _deflated([values, head], streams), streams)
    size = best.size
    if size < clean * rows * width * components and looks_clean(work, order, *shape, size):
        packer, body = pack_residuals(work, order, *shape, effort)
        packed = _Coded(MODE_PACKED, int(packer), zlib.compress(values, 9), [body])
        best = min(best, packed, key=lambda coded: coded.size)
    if effort.deep == "always" or (
        effort.deep == "promising"
        and best.size > _TINY * rows * width * components
        and deep.promises_much(work.planes, e, rows, bits)
    ):
        plane_heads, bodies = deep.encode_planes(work, order, bits, effort)
        found = _Coded(MODE_DEEP, 0, zlib.compress(b"".join([values, *plane_heads]), 9), bodies)
        if found.size < best.size * effort.deep_worth:
            best = found
    return best


def _is_quick(work: Workspace, effort: Effort) -> bool:
    """Whether a tile is for mode 5."""
    _, rows, width = work.shape
    if not 0 < effort.quick_width <= width:
        return False
    return effort.quick_evenness <= unevenness(work.planes, rows, width) <= effort.quick_unevenness


def _deflated(parts: Sequence[Buffer], streams: list[memoryview]) -> bytes:
    """A tile's head, deflated the harder the more of the tile it is."""
    return zlib.compress(b"".join(parts), 1 if sum(map(len, streams)) > _LARGE else 9)


def feature_of(tile: memoryview | bytes) -> str | None:
    """The feature a reader needs for a tile, beyond what all tiles need."""
    return _FEATURES.get(tile[0])


@functools.lru_cache(REMEMBERED)
def slack_bytes(width: int) -> int:
    """How far after a tile's streams the decoder may look, if only to see that they are damaged."""
    predicted = drivers.row_slack_bits(width) // 8 + 16
    return max(predicted, quick_slack_bytes(width), half_slack_bytes(width))


def decode_tile(
    payload: Buffer,
    rows: int,
    element: Element,
    out: NDArray[np.uint8] | None = None,
    length: int | None = None,
) -> list[NDArray[np.uint8]]:
    """The bytes of a tile's rows in each of the element's regions, from its payload.

    They are views of ``out``, the regions' bytes one after another, where that is given. The
    payload is the first ``length`` bytes (default: all); where at least `slack_bytes` more are
    given, whatever they are, its streams are read where they stand instead of from a copy. Any
    bytes are safe to give: they yield what the element says or a DamagedError, in memory bounded
    by that and the payload. Any thread may call this.
    """
    payload = memoryview(payload).cast("B").toreadonly()
    try:
        return _decode(payload, len(payload) if length is None else length, rows, element, out)
    except (ValueError, struct.error, zlib.error) as error:
        raise DamagedError("tile", str(error)) from error


def _decode(
    payload: memoryview, length: int, rows: int, e: Element, out: NDArray[np.uint8] | None
) -> list[NDArray[np.uint8]]:
    mode, packer, _, head_length, gap_length, residue_length = _FIXED.unpack_from(payload, 0)
    gaps_at = _FIXED.size + head_length
    body_at = gaps_at + gap_length
    body_stop = length - residue_length
    if mode not in (MODE_PREDICTED, MODE_PACKED, *_FEATURES) or body_at > body_stop:
        raise ValueError("its first bytes make no sense")
    head = memoryview(inflate(payload[_FIXED.size : gaps_at], _MAX_HEAD))
    values, at = parse_values(head, component_bits(e))
    starts = region_starts(e, rows)
    if out is None:
        out = np.empty(starts[-1], np.uint8)
    elif out.size != starts[-1]:
        raise ValueError("its rows have another length")
    body = payload[body_at:body_stop]
    size = len(body)
    if mode in (MODE_PREDICTED, MODE_QUICK, MODE_HALVES):
        data = _with_slack(payload, body_at, body_stop, slack_bytes(e.width))
    if mode == MODE_PREDICTED:
        heads = PlaneHeads(head[at:], rows, e, values.bits)
        given = np.zeros((0, 0, 0), np.uint16)
        _decode_samples(data, size, heads, values, given, rows, e, out)
    elif mode == MODE_QUICK:
        quick_heads = QuickHeads(head[at:], rows, e)
        decode_quick(data, size, quick_heads, values, rows, e, out)
    elif mode == MODE_HALVES:
        half_heads = HalfHeads(head[at:], rows, e, values.bits)
        decode_halves(data, size, half_heads, values, rows, e, out)
    elif mode in (MODE_DEEP_1, MODE_DEEP):
        cut = CUT if mode == MODE_DEEP else FIRST_CUT
        segments = segment_table(e, rows)
        deep_reader.decode_planes(head[at:], body, cut, values, rows, e, _signed(e), segments, out)
    else:
        if at != len(head):
            raise ValueError("the heads of its planes are too long")
        heads = PlaneHeads.of_packed(rows, e, values.bits)
        given = unpack_residuals(packer, body, e.components, rows, e.width, values.bits)
        data = _with_slack(memoryview(b""), 0, 0, slack_bytes(e.width))
        _decode_samples(data, 0, heads, values, given, rows, e, out)
    regions = [out[starts[i] : starts[i + 1]] for i in range(len(e.regions))]
    put_gaps(payload[gaps_at:body_at], regions, rows, e)
    if residue_length:
        add_residue(payload[body_stop:length], regions, rows, e)
    return regions


def _signed(e: Element) -> NDArray[np.int64]:
    """Which components are sign and magnitude, one flag each."""
    signed = np.zeros(e.components, np.int64)
    signed[list(e.signed)] = 1
    return signed


def _decode_samples(
    data: NDArray[np.uint8],
    size: int,
    heads: PlaneHeads,
    values: Values,
    given: NDArray[np.uint16],
    rows: int,
    e: Element,
    out: NDArray[np.uint8],
) -> None:
    """Decode all planes from the ``size`` bytes of streams in ``data``; pack them into ``out``."""
    # Lists: for so few numbers numpy takes ten times as long, and each tile is decoded so.
    stops = list(accumulate(heads.ends.reshape(-1).tolist()))
    if stops[-1] != size:
        raise ValueError("its streams do not fill it")
    starts = [8 * stop for stop in [0, *stops[:-1]]]
    positions = np.array(starts, np.int64).reshape(e.components, entropy.STREAMS)
    sound = drivers.decode_rows(
        data,
        positions,
        size * 8,
        heads.predictors,
        heads.tables,
        heads.coefficients,
        heads.thresholds,
        heads.coded,
        np.array(e.order, np.int64),
        values.bits,
        values.shifts,
        heads.magnitude_shifts,
        heads.crosses,
        heads.starts,
        rows,
        e.width,
        _signed(e),
        values.mapped,
        values.maps,
        given,
        segment_table(e, rows),
        out,
    )
    ended = [(position + 7) // 8 for position in positions.reshape(-1).tolist()]
    if not sound or ended != stops:
        raise ValueError("its streams do not end where they should")


def _with_slack(payload: memoryview, start: int, stop: int, slack: int) -> NDArray[np.uint8]:
    """Bytes ``start`` to ``stop`` of a read-only payload, and ``slack`` bytes after them.

    They are read where they stand if the payload goes on as far; else they are copied, with zeros
    after them, to an array of this thread's own. Read-only either way: to the compiler, that is a
    part of an array's type.
    """
    size = stop - start
    if stop + slack <= len(payload):
        return np.frombuffer(payload, np.uint8, size + slack, start)
    data = _payloads.room(size + slack)
    data[:size] = np.frombuffer(payload[start:stop], np.uint8)
    data[size:] = 0
    data.setflags(write=False)
    return data
