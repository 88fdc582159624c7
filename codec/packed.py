"""Residuals of clean pictures, packed by a general-purpose compressor.

Computer graphics, titles and mattes repeat themselves in ways that no context foresees. Their
residuals under the median predictor go through DEFLATE or LZMA where that is smaller than the
tile's own streams.
"""

from __future__ import annotations

import lzma
import zlib
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from codec.kernels import predict
from codec.kernels import tile as drivers
from codec.kernels.packing import PAD
from codec.rows import inflate

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Buffer

    from codec.effort import Effort
    from codec.workspace import Workspace

_DICTIONARY = 1 << 22
_WORTH_LZMA = 1 / 24
"""Deflated to less than this, residuals are so repetitive that LZMA pays."""


_SHARE = 8
"""One in so many rows, from the top, is looked at first."""
_SURE = 1 / 32
"""Tiles coded to fewer bytes a sample are always tried: that takes no time."""
_HOPE = 1.3
"""All rows pack this much better, and at a better preset, than a few."""


class Packer(IntEnum):
    """How residuals are packed; the values are those of the container format."""

    DEFLATE = 1
    LZMA = 2


def looks_clean(
    work: Workspace,
    order: NDArray[np.int64],
    rows: int,
    width: int,
    bits: NDArray[np.int64],
    coded: int,
) -> bool:
    """Whether `pack_residuals` may well take less than ``coded`` bytes; overwrites ``work.z``."""
    few = rows // _SHARE
    if few < 2 or coded < rows * width * order.size * _SURE:
        return True
    small = bool((bits <= 8).all())
    sample = _to_bytes(_residuals(work, order, few, width, bits), Packer.DEFLATE, small)
    return len(zlib.compress(sample, 1)) * rows < coded * few * _HOPE


def pack_residuals(
    work: Workspace,
    order: NDArray[np.int64],
    rows: int,
    width: int,
    bits: NDArray[np.int64],
    effort: Effort,
) -> tuple[Packer, bytes]:
    """All planes' residuals under the median predictor, packed; overwrites ``work.z``."""
    residuals = _residuals(work, order, rows, width, bits)
    small = bool((bits <= 8).all())
    raw = _to_bytes(residuals, Packer.DEFLATE, small)
    deflated = zlib.compress(raw, effort.deflate)
    if len(deflated) > len(raw) * _WORTH_LZMA:
        return Packer.DEFLATE, deflated
    filters = _filters(small, effort.lzma)
    words = _to_bytes(residuals, Packer.LZMA, small)
    packed = lzma.compress(words, format=lzma.FORMAT_RAW, filters=filters)
    if len(packed) < len(deflated):
        return Packer.LZMA, packed
    return Packer.DEFLATE, deflated


def _residuals(
    work: Workspace,
    order: NDArray[np.int64],
    rows: int,
    width: int,
    bits: NDArray[np.int64],
) -> NDArray[np.uint16]:
    """Residuals uint16[planes, rows, width] of the tile's first ``rows`` rows."""
    planes = order.size
    residuals = np.empty((planes, rows, width), np.uint16)
    coefficients = np.zeros(predict.COEFFICIENTS, np.int32)
    for p in range(planes):
        depth = int(bits[order[p]])
        drivers.first_residuals(work.planes, order, p, width, depth, work.z[0])
        sampled = (rows, width, depth, coefficients, predict.MEDIAN, 1)
        drivers.sampled_residuals(work.planes, order, p, *sampled, work.z)
        residuals[p] = work.z[:rows, PAD : PAD + width]
    return residuals


def unpack_residuals(
    packer: int, stored: Buffer, planes: int, rows: int, width: int, bits: NDArray[np.int64]
) -> NDArray[np.uint16]:
    """Residuals uint16[planes, rows, width]. Raises ValueError or zlib.error on damage."""
    small = bool((bits <= 8).all())
    shape = (planes, rows, width)
    samples = planes * rows * width
    size = samples if small else 2 * samples
    if packer == Packer.DEFLATE:
        raw = np.frombuffer(inflate(stored, size), np.uint8)
    elif packer == Packer.LZMA:
        raw = np.frombuffer(_expand(stored, size, small), np.uint8)
    else:
        raise ValueError("its residuals are packed in an unknown way")
    if raw.size != size:
        raise ValueError("its residuals have another length")
    if small:
        return raw.reshape(shape).astype(np.uint16)
    if packer == Packer.LZMA:
        return raw.view("<u2").reshape(shape).astype(np.uint16)
    halves = raw.reshape(2, *shape).astype(np.uint16)
    joined: NDArray[np.uint16] = halves[0] | (halves[1] << 8)
    return joined


def _to_bytes(residuals: NDArray[np.uint16], packer: Packer, small: bool) -> bytes:
    if small:
        return residuals.astype(np.uint8).tobytes()
    if packer is Packer.LZMA:
        return residuals.astype("<u2").tobytes()
    low = (residuals & 0xFF).astype(np.uint8)
    high = (residuals >> 8).astype(np.uint8)
    return low.tobytes() + high.tobytes()


def _filters(small: bool, preset: int) -> list[dict[str, int]]:
    """The raw LZMA2 filter of the format; ``preset`` is the encoder's alone."""
    position = 0 if small else 1
    return [
        {
            "id": lzma.FILTER_LZMA2,
            "preset": preset,
            "dict_size": _DICTIONARY,
            "lc": 0,
            "lp": position,
            "pb": position,
        }
    ]


def _expand(stored: Buffer, size: int, small: bool) -> bytes:
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_filters(small, 0))
    try:
        raw = decompressor.decompress(bytes(memoryview(stored)), size + 1)
    except lzma.LZMAError as error:
        raise ValueError("its residuals do not expand") from error
    if len(raw) > size or not decompressor.eof:
        raise ValueError("its residuals have another length")
    return raw
