"""One tile: rows of an element to a payload, and a payload back to rows.

The payload's layout is in docs/format/container-v1.md, "Tiles".
"""

from __future__ import annotations

import struct
import threading
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from codec.errors import DamagedError
from codec.gaps import put_gaps, take_gaps
from codec.kernels import context, entropy, fit, predict, statistics
from codec.kernels import tile as drivers
from codec.kernels.packing import PAD, pack_row, unpack_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from typing_extensions import Buffer

    from codec.types import Element, Level

MODE_PREDICTED = 1
_FIXED = struct.Struct("<BBHIII")
_PLANE = struct.Struct("<BBBBHi")
_MAX_HEAD = 1 << 24
_PREDICTOR_ROWS = 4
_MEDIAN_GAIN = 0.98


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard the encoder looks: samples and rounds of a fit, rows skipped in statistics."""

    fit_samples: int
    fit_rounds: int
    step: int
    tile_pixels: int


EFFORTS: dict[Level, Effort] = {
    "fast": Effort(fit_samples=512, fit_rounds=1, step=4, tile_pixels=1 << 17),
    "balanced": Effort(fit_samples=2048, fit_rounds=2, step=4, tile_pixels=1 << 17),
    "max": Effort(fit_samples=8192, fit_rounds=4, step=1, tile_pixels=1 << 16),
}


@dataclass(slots=True)
class _Workspace:
    """Arrays of one thread, kept between tiles of one shape."""

    shape: tuple[int, int, int]
    planes: NDArray[np.uint16]
    z: NDArray[np.uint16]
    trial: NDArray[np.uint16]
    magnitudes: NDArray[np.int16]
    activity: NDArray[np.int16]
    contexts: NDArray[np.int16]
    coded: NDArray[np.uint8]
    streams: NDArray[np.uint8]
    histogram: NDArray[np.int32]
    direct: NDArray[np.uint32]


_local = threading.local()
_LEVELS = statistics.activity_levels()


def _workspace(components: int, rows: int, width: int) -> _Workspace:
    """This thread's arrays, made anew when the shape changes; contents are undefined."""
    shape = (components, rows, width)
    kept: _Workspace | None = getattr(_local, "workspace", None)
    if kept is not None and kept.shape == shape:
        return kept
    padded = width + 2 * PAD
    blocks = -(-width // entropy.BLOCK)
    capacity = rows * (width // entropy.STREAMS + 1) * entropy.MAX_SAMPLE_BITS // 8 + 16
    made = _Workspace(
        shape=shape,
        planes=np.zeros((components, rows, padded), np.uint16),
        z=np.zeros((rows, padded), np.uint16),
        trial=np.zeros((rows, padded), np.uint16),
        magnitudes=np.zeros((components, rows + 2, padded), np.int16),
        activity=np.zeros((rows, width), np.int16),
        contexts=np.zeros((rows, width), np.int16),
        coded=np.zeros((rows, blocks), np.uint8),
        streams=np.zeros((entropy.STREAMS, capacity), np.uint8),
        histogram=np.zeros(context.MAX_ACTIVITY, np.int32),
        direct=np.zeros(context.CONTEXTS << entropy.DIRECT_BITS, np.uint32),
    )
    _local.workspace = made
    return made


def encode_tile(
    regions: Sequence[NDArray[np.uint8]], rows: int, element: Element, effort: Effort
) -> bytes:
    """The payload of ``rows`` rows, given the bytes of each of the element's regions.

    The rows begin with a band where regions have any. Any thread may call this; the work is
    done without the GIL.
    """
    e = element
    work = _workspace(e.components, rows, e.width)
    segments = _segment_table(e, rows)
    starts = _region_starts(e, rows)
    stray = 0
    for segment, held in zip(e.segments, segments, strict=True):
        stray |= _unpack(regions[segment.region], starts[segment.region], rows, e, held, work)
    residue = _residue(regions, rows, e, segments, work.planes) if stray else b""
    gaps = take_gaps(regions, rows, e)
    for component in e.signed:
        drivers.fold_signed(work.planes, component, rows, e.width)
    order = np.array(e.order, np.int64)
    shifts = np.zeros(e.components, np.int64)
    drivers.shift_planes(work.planes, rows, e.width, shifts)
    bits = component_bits(e) - shifts
    drivers.pad_planes(work.planes, rows, e.width, bits)
    heads: list[bytes] = []
    streams: list[bytes] = []
    for p in range(e.components):
        component = e.order[p]
        head, body = _encode_plane(
            work, order, p, rows, e.width, int(bits[component]), int(shifts[component]), effort
        )
        heads.append(head)
        streams.append(body)
    head = zlib.compress(b"".join(heads), 6)
    fixed = _FIXED.pack(MODE_PREDICTED, 0, 0, len(head), len(gaps), len(residue))
    return b"".join([fixed, head, gaps, *streams, residue])


def component_bits(e: Element) -> NDArray[np.int64]:
    """Bits of each component's samples."""
    return np.array([s.bits for s in e.segments for _ in range(s.components)], np.int64)


def _region_starts(e: Element, rows: int) -> list[int]:
    """Where each region begins in a tile's bytes, and where the last one ends."""
    starts = [0]
    for region in e.regions:
        starts.append(starts[-1] + region.length(rows))
    return starts


def _segment_table(e: Element, rows: int) -> NDArray[np.int64]:
    """The element's segments as the kernels take them: int64[segments, SEGMENT_FIELDS]."""
    table = np.zeros((len(e.segments), drivers.SEGMENT_FIELDS), np.int64)
    starts = _region_starts(e, rows)
    component = 0
    for held, s in zip(table, e.segments, strict=True):
        region = e.regions[s.region]
        held[drivers.OFFSET] = starts[s.region] + region.band_header + s.start
        held[drivers.STRIDE] = region.row_bytes
        held[drivers.ROW_BYTES] = s.row_bytes(e.width)
        held[drivers.BAND_ROWS] = region.band_rows
        held[drivers.BAND_HEADER] = region.band_header
        held[drivers.FIRST_COMPONENT] = component
        held[drivers.COMPONENTS] = s.components
        held[drivers.PACKING] = int(s.packing)
        held[drivers.BITS] = s.bits
        held[drivers.SHIFT] = s.shift
        held[drivers.BIG] = s.big_endian
        held[drivers.REVERSE] = s.reverse
        component += s.components
    return table


def _unpack(
    source: NDArray[np.uint8],
    start: int,
    rows: int,
    e: Element,
    held: NDArray[np.int64],
    work: _Workspace,
) -> int:
    """Unpack a segment's samples; nonzero if padding bits are set.

    ``source`` is the region that begins at ``start`` of the tile.
    """
    band = int(held[drivers.BAND_ROWS]) or rows
    first = int(held[drivers.FIRST_COMPONENT])
    planes = work.planes[first : first + int(held[drivers.COMPONENTS])]
    offset = int(held[drivers.OFFSET]) - start
    stray = 0
    for row in range(0, rows, band):
        stray |= unpack_rows(
            source,
            offset,
            int(held[drivers.STRIDE]),
            int(held[drivers.ROW_BYTES]),
            min(band, rows - row),
            e.width,
            int(held[drivers.COMPONENTS]),
            int(held[drivers.PACKING]),
            int(held[drivers.BITS]),
            int(held[drivers.SHIFT]),
            bool(held[drivers.BIG]),
            bool(held[drivers.REVERSE]),
            planes[:, row:],
        )
        offset += band * int(held[drivers.STRIDE]) + int(held[drivers.BAND_HEADER])
    return stray


def _encode_plane(
    work: _Workspace,
    order: NDArray[np.int64],
    p: int,
    rows: int,
    width: int,
    bits: int,
    shift: int,
    effort: Effort,
) -> tuple[bytes, bytes]:
    """Head and streams of the p-th plane coded."""
    coefficients = np.zeros(predict.COEFFICIENTS, np.int32)
    if rows > 1:
        fit.fit_plane(
            work.planes, order, p, rows, width, effort.fit_samples, effort.fit_rounds, coefficients
        )
    drivers.plane_residuals(work.planes, order, p, rows, width, bits, coefficients, work.z)
    predictor = _choose_predictor(work, int(order[p]), rows, width, bits)
    statistics.mark_blocks(work.z, rows, width, work.coded)
    mean = statistics.mean_residual(work.z, rows, width, effort.step)
    magnitude_shift = max(int(mean) // 64, 0).bit_length()
    first = int(statistics.mean_residual(work.z, 1, width, 1)) >> magnitude_shift
    start = min(first, context.MAX_MAGNITUDE)
    own = work.magnitudes[int(order[p])]
    drivers.plane_magnitudes(work.z, rows, width, magnitude_shift, start, own)
    drivers.plane_activity(own, rows, width, work.activity)
    cross = 0
    if p:
        cross = statistics.choose_cross(
            work.activity, work.z, work.magnitudes, order, p, rows, width, 16, _LEVELS
        )
    drivers.plane_contexts(work.magnitudes, order, p, rows, width, cross, work.activity)
    thresholds = np.zeros(context.THRESHOLDS, np.int16)
    statistics.choose_thresholds(
        work.activity, work.coded, rows, width, 8, work.histogram, thresholds
    )
    drivers.quantise_rows(work.activity, thresholds, work.contexts, rows, width)
    k = np.zeros(context.CONTEXTS, np.uint8)
    counts = np.zeros((context.CONTEXTS, entropy.SYMBOLS), np.int64)
    statistics.count_symbols(work.z, work.contexts, work.coded, bits, effort.step, k, counts)
    lengths = np.zeros((context.CONTEXTS, entropy.SYMBOLS), np.uint8)
    entropy.all_code_lengths(counts, lengths)
    table = np.zeros(context.CONTEXTS * entropy.SYMBOLS, np.uint32)
    entropy.encoding_table(lengths, k, bits, table)
    ends = np.zeros(entropy.STREAMS, np.int64)
    if bits <= entropy.DIRECT_BITS:
        entropy.direct_table(table, k, bits, work.direct)
        entropy.emit_rows_direct(work.z, work.contexts, work.coded, work.direct, work.streams, ends)
    else:
        entropy.emit_rows(work.z, work.contexts, work.coded, k, table, work.streams, ends)
    head = b"".join(
        [
            _PLANE.pack(
                shift, magnitude_shift, cross, predictor, start, int(coefficients[predict.BIAS])
            ),
            coefficients[: _taps(p)].astype("<i2").tobytes(),
            thresholds.astype("<i2").tobytes(),
            k.tobytes(),
            (lengths[:, 0::2] | (lengths[:, 1::2] << 4)).tobytes(),
            ends.astype("<u4").tobytes(),
            np.packbits(work.coded, bitorder="little").tobytes(),
        ]
    )
    return head, b"".join(work.streams[s, : ends[s]].tobytes() for s in range(entropy.STREAMS))


def _choose_predictor(work: _Workspace, component: int, rows: int, width: int, bits: int) -> int:
    """The predictor whose residuals look cheaper; ``work.z`` becomes that one's.

    Linear prediction averages noise away but blurs the peaks of planes that take few values,
    or are clipped; the median keeps those.
    """
    if rows < 2:
        return predict.LINEAR
    step = max(rows // _PREDICTOR_ROWS, 1)
    linear = statistics.sampled_entropy(work.z, rows, width, step)
    drivers.median_residuals(work.planes, component, rows, width, bits, step, work.trial)
    median = statistics.sampled_entropy(work.trial, rows, width, step)
    if median >= linear * _MEDIAN_GAIN:
        return predict.LINEAR
    drivers.median_residuals(work.planes, component, rows, width, bits, 1, work.z)
    return predict.MEDIAN


def _taps(p: int) -> int:
    """Stored taps of the p-th plane coded."""
    return predict.OWN_TAPS + predict.REFERENCE_TAPS * min(p, predict.MAX_REFERENCES)


def _residue(
    regions: Sequence[NDArray[np.uint8]],
    rows: int,
    e: Element,
    segments: NDArray[np.int64],
    planes: NDArray[np.uint16],
) -> bytes:
    """What must be XORed onto the repacked rows to give the file's own, deflated.

    Gaps between segments are not looked at: the residue is zero there.
    """
    parts = []
    linear = np.zeros(e.width * e.components + 3, np.uint16)
    for segment, held in zip(e.segments, segments, strict=True):
        region = e.regions[segment.region]
        first = int(held[drivers.FIRST_COMPONENT])
        row_bytes = int(held[drivers.ROW_BYTES])
        words = np.zeros(row_bytes + 16, np.uint8)
        packed = np.zeros((rows, row_bytes), np.uint8)
        for r in range(rows):
            pack_row(
                packed[r],
                0,
                row_bytes,
                e.width,
                segment.components,
                int(segment.packing),
                segment.bits,
                segment.shift,
                segment.big_endian,
                segment.reverse,
                planes[first : first + segment.components, r],
                words,
                linear,
            )
            at = region.length(r + 1) - region.row_bytes + segment.start
            packed[r] ^= regions[segment.region][at : at + row_bytes]
        parts.append(packed.tobytes())
    return zlib.compress(b"".join(parts), 1)


def _add_residue(
    deflated: Buffer,
    regions: Sequence[NDArray[np.uint8]],
    rows: int,
    e: Element,
) -> None:
    """XOR a tile's residue onto its repacked rows. Raises ValueError where it misfits."""
    total = rows * sum(s.row_bytes(e.width) for s in e.segments)
    raw = np.frombuffer(_inflate(deflated, total), np.uint8)
    if raw.size != total:
        raise ValueError("its residue has another length")
    at = 0
    for segment in e.segments:
        region = e.regions[segment.region]
        row_bytes = segment.row_bytes(e.width)
        for r in range(rows):
            start = region.length(r + 1) - region.row_bytes + segment.start
            regions[segment.region][start : start + row_bytes] ^= raw[at : at + row_bytes]
            at += row_bytes


class _Heads:
    """Parsed plane heads of a tile; raises ValueError on anything that does not fit."""

    def __init__(self, raw: bytes, rows: int, e: Element) -> None:
        n = e.components
        blocks = -(-e.width // entropy.BLOCK)
        self._element_bits = component_bits(e)
        self.coefficients = np.zeros((n, predict.COEFFICIENTS), np.int32)
        self.thresholds = np.zeros((n, context.THRESHOLDS), np.int16)
        self.tables = np.zeros((n, context.CONTEXTS << entropy.MAX_LENGTH), np.uint32)
        self.coded = np.zeros((n, rows, blocks), np.uint8)
        self.ends = np.zeros((n, entropy.STREAMS), np.int64)
        self.bits = np.zeros(n, np.int64)
        self.shifts = np.zeros(n, np.int64)
        self.magnitude_shifts = np.zeros(n, np.int64)
        self.crosses = np.zeros(n, np.int64)
        self.predictors = np.zeros(n, np.int64)
        self.starts = np.zeros(n, np.int64)
        at = 0
        for p in range(n):
            at = self._plane(raw, at, p, rows, e)
        if at != len(raw):
            raise ValueError("the heads of its planes are too long")

    def _plane(self, raw: bytes, at: int, p: int, rows: int, e: Element) -> int:
        def take(dtype: str, count: int) -> NDArray[Any]:
            nonlocal at
            values = np.frombuffer(raw, dtype, count, at)
            at += values.nbytes
            return values

        blocks = self.coded.shape[2]
        shift, magnitude_shift, cross, predictor, start, bias = _PLANE.unpack_from(raw, at)
        at += _PLANE.size
        component = e.order[p]
        if (
            shift >= int(self._element_bits[component])
            or magnitude_shift > 15
            or cross > statistics.MAX_CROSS
            or predictor > predict.MEDIAN
        ):
            raise ValueError("a plane's head is out of range")
        bits = int(self._element_bits[component]) - shift
        self.shifts[component] = shift
        self.bits[component] = bits
        self.magnitude_shifts[p] = magnitude_shift
        self.crosses[p] = cross
        self.predictors[p] = predictor
        self.starts[p] = min(start, context.MAX_MAGNITUDE)
        taps = _taps(p)
        self.coefficients[p, :taps] = take("<i2", taps)
        self.coefficients[p, predict.BIAS] = bias
        self.thresholds[p] = take("<i2", context.THRESHOLDS)
        k = take("u1", context.CONTEXTS)
        if int(k.max()) > bits:
            raise ValueError("a plane has more raw bits than its samples")
        pairs = take("u1", context.CONTEXTS * entropy.SYMBOLS // 2)
        lengths = np.empty((context.CONTEXTS, entropy.SYMBOLS), np.uint8)
        pairs = pairs.reshape(context.CONTEXTS, -1)
        lengths[:, 0::2] = pairs & 15
        lengths[:, 1::2] = pairs >> 4
        if int(lengths.max()) > entropy.MAX_LENGTH:
            raise ValueError("a code is too long")
        if not entropy.decoding_table(lengths, k.copy(), bits, self.tables[p]):
            raise ValueError("a code is over-full")
        self.ends[p] = take("<u4", entropy.STREAMS)
        flags = take("u1", -(-rows * blocks // 8))
        unpacked = np.unpackbits(flags, count=rows * blocks, bitorder="little")
        self.coded[p] = unpacked.reshape(rows, blocks)
        return at


def decode_tile(payload: Buffer, rows: int, element: Element) -> list[NDArray[np.uint8]]:
    """The bytes of a tile's rows in each of the element's regions, from its payload.

    Any bytes are safe to give: they yield what the element says or a DamagedError, in memory
    bounded by that and the payload. Any thread may call this.
    """
    payload = memoryview(payload).cast("B")
    try:
        return _decode(payload, rows, element)
    except (ValueError, struct.error, zlib.error) as error:
        raise DamagedError("tile", str(error)) from error


def _decode(payload: memoryview, rows: int, e: Element) -> list[NDArray[np.uint8]]:
    mode, _, _, head_length, gap_length, residue_length = _FIXED.unpack_from(payload, 0)
    gaps_at = _FIXED.size + head_length
    streams_at = gaps_at + gap_length
    streams_stop = len(payload) - residue_length
    if mode != MODE_PREDICTED or streams_at > streams_stop:
        raise ValueError("its first bytes make no sense")
    heads = _Heads(_inflate(payload[_FIXED.size : gaps_at], _MAX_HEAD), rows, e)
    if int(heads.ends.sum()) != streams_stop - streams_at:
        raise ValueError("its streams do not fill it")
    starts = _region_starts(e, rows)
    out = np.empty(starts[-1], np.uint8)
    _decode_samples(payload[streams_at:streams_stop], heads, rows, e, out)
    regions = [out[starts[i] : starts[i + 1]] for i in range(len(e.regions))]
    put_gaps(payload[gaps_at:streams_at], regions, rows, e)
    if residue_length:
        _add_residue(payload[streams_stop:], regions, rows, e)
    return regions


def _decode_samples(
    streams: memoryview, heads: _Heads, rows: int, e: Element, out: NDArray[np.uint8]
) -> None:
    """Decode all planes and pack them into ``out``."""
    size = len(streams)
    data = np.zeros(size + drivers.row_slack_bits(e.width) // 8 + 16, np.uint8)
    data[:size] = np.frombuffer(streams, np.uint8)
    stops = np.cumsum(heads.ends.reshape(-1))
    positions = ((stops - heads.ends.reshape(-1)) * 8).reshape(e.components, entropy.STREAMS)
    signed = np.zeros(e.components, np.int64)
    signed[list(e.signed)] = 1
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
        heads.bits,
        heads.shifts,
        heads.magnitude_shifts,
        heads.crosses,
        heads.starts,
        rows,
        e.width,
        signed,
        _segment_table(e, rows),
        out,
    )
    ended = (positions.reshape(-1) + 7) // 8
    if not sound or not np.array_equal(ended, stops):
        raise ValueError("its streams do not end where they should")


def _inflate(data: Buffer, limit: int) -> bytes:
    """Inflate a whole zlib stream to at most ``limit`` bytes; ValueError if it is not one."""
    inflater = zlib.decompressobj()
    raw = inflater.decompress(data, limit + 1)
    if len(raw) > limit or not inflater.eof or inflater.unused_data:
        raise ValueError("a deflated part is cut short or too long")
    return raw
