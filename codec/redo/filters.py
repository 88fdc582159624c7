"""What stands between a file's rows and its compressor, by the method's ``detail``.

``detail`` is what a format knows of its chunks beyond their places. Missing bytes are zeros.

=============== =========================================================================
SGI_RLE8, 16    u32: bytes coded on their own (a row of one plane), or 0: row_bytes
TIFF_PACKBITS   none
EXR_RLE, ZIP    u8: bytes of a chunk before its data, the last four of which are the data's
                length (8: scan lines, 20: tiles; 4 more in a file of several parts)
TIFF_DEFLATE    u8 predictor (0 or 1 none, 2 horizontal, 3 floating point), u8 bytes of a
                sample, u8 samples from one pixel of a row to the next, u8 1: big-endian
=============== =========================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from codec.kernels import filters as kernels

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXR_PREFIXES = (8, 12, 20, 24)


class BadDetailError(ValueError):
    """A ``detail`` that says nothing a method knows."""


@dataclass(frozen=True, slots=True)
class Plain:
    """Bytes as they are."""

    def forward(self, rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What the compressor was given for ``rows`` (uint8, one-dimensional)."""
        return rows

    def backward(self, data: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The inverse of `forward`."""
        return data


@dataclass(frozen=True, slots=True)
class ExrSplit:
    """OpenEXR's order of bytes and its differences."""

    def forward(self, rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What the compressor was given for ``rows`` (uint8, one-dimensional)."""
        data = np.empty_like(rows)
        kernels.exr_split(rows, data)
        return data

    def backward(self, data: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The inverse of `forward`."""
        rows = np.empty_like(data)
        kernels.exr_join(data, rows)
        return rows


@dataclass(frozen=True, slots=True)
class Horizontal:
    """TIFF predictor 2: differences of samples in each row of ``row`` bytes."""

    row: int
    sample: int
    stride: int
    big_endian: bool

    def _words(self, data: NDArray[np.uint8]) -> NDArray[np.unsignedinteger]:
        kind = np.dtype(f"{'>' if self.big_endian else '<'}u{self.sample}")
        return data.view(kind).astype(kind.newbyteorder("="), copy=False)

    def _bytes(self, words: NDArray[np.unsignedinteger]) -> NDArray[np.uint8]:
        kind = np.dtype(f"{'>' if self.big_endian else '<'}u{self.sample}")
        return words.astype(kind, copy=False).view(np.uint8)

    def forward(self, rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What the compressor was given for ``rows`` (uint8, one-dimensional)."""
        words = self._words(rows)
        out = np.empty_like(words)
        kernels.difference(words, self.row // self.sample, self.stride, out)
        return self._bytes(out)

    def backward(self, data: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The inverse of `forward`."""
        words = self._words(data)
        out = np.empty_like(words)
        kernels.accumulate(words, self.row // self.sample, self.stride, out)
        return self._bytes(out)


@dataclass(frozen=True, slots=True)
class FloatingPoint:
    """TIFF predictor 3: bytes of equal weight together, then differences of bytes."""

    row: int
    sample: int
    stride: int
    big_endian: bool

    def forward(self, rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What the compressor was given for ``rows`` (uint8, one-dimensional)."""
        planes = np.empty_like(rows)
        kernels.byte_planes(rows, self.row, self.sample, self.big_endian, planes)
        data = np.empty_like(rows)
        kernels.difference(planes, self.row, self.stride, data)
        return data

    def backward(self, data: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The inverse of `forward`."""
        planes = np.empty_like(data)
        kernels.accumulate(data, self.row, self.stride, planes)
        rows = np.empty_like(data)
        kernels.from_byte_planes(planes, self.row, self.sample, self.big_endian, rows)
        return rows


Filter = Plain | ExrSplit | Horizontal | FloatingPoint


def exr_prefix(detail: bytes) -> int:
    """Bytes before the data of each chunk of an OpenEXR file. Raises BadDetailError."""
    prefix = detail[0] if len(detail) == 1 else 0
    if prefix not in EXR_PREFIXES:
        raise BadDetailError(f"no OpenEXR chunk has {prefix} bytes before its data")
    return prefix


def sgi_piece(detail: bytes, row_bytes: int) -> int:
    """Bytes of a row of one plane of an SGI file. Raises BadDetailError."""
    piece = int.from_bytes(detail, "little") or row_bytes
    if len(detail) > 4 or row_bytes % piece:
        raise BadDetailError(f"rows of {row_bytes} bytes are no pieces of {piece}")
    return piece


def tiff_filter(detail: bytes, row_bytes: int) -> Filter:
    """The predictor of a TIFF file. Raises BadDetailError."""
    if len(detail) > 4:
        raise BadDetailError("too much detail")
    predictor, sample, stride, big_endian = detail.ljust(4, b"\0")
    if predictor in (0, 1):
        return Plain()
    if predictor not in (2, 3) or not stride or sample not in (1, 2, 3, 4, 8):
        raise BadDetailError(f"no predictor {predictor} of {stride} samples of {sample} bytes")
    if row_bytes % sample or big_endian > 1:
        raise BadDetailError(f"rows of {row_bytes} bytes have no whole samples of {sample}")
    if predictor == 3:
        return FloatingPoint(row_bytes, sample, stride, bool(big_endian))
    if sample == 3:
        raise BadDetailError("no horizontal predictor for samples of 3 bytes")
    return Horizontal(row_bytes, sample, stride, bool(big_endian))
