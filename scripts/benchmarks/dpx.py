"""Samples of a DPX file, for peers that take pictures and not files.

Written apart from the codec's own reader on purpose: a benchmark that fed its peers through the
code it measures could not notice when that code is wrong.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.errors import UnreadableFrameError
from benchmarks.pictures import Picture

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CHANNELS = {50: 3, 51: 4, 52: 4, 6: 1, 4: 1}
_PACKED = 0
_FILLED_A = 1


def read_picture(file: bytes) -> Picture:
    """Read the first image element.

    Raises:
        UnreadableFrameError: not a DPX file, a layout this reader does not know, or one whose
            header promises more than the file holds.
    """
    order = {b"SDPX": ">", b"XPDS": "<"}.get(file[:4])
    if order is None or len(file) < 2048:
        raise UnreadableFrameError("not a DPX file")
    elements, width, height = struct.unpack_from(order + "HII", file, 770)
    descriptor, bits = file[800], file[803]
    packing, encoding, offset = struct.unpack_from(order + "HHI", file, 804)
    channels = _CHANNELS.get(descriptor)
    if elements != 1 or channels is None or encoding not in (0, 0xFFFF):
        raise UnreadableFrameError(f"{elements} elements, descriptor {descriptor}, rle {encoding}")
    if bits not in (8, 10, 12, 16) or (bits in (10, 12) and packing not in (0, 1, 2)):
        raise UnreadableFrameError(f"{bits} bits, packing {packing}")
    if not 0 < width <= 65536 or not 0 < height <= 65536:
        raise UnreadableFrameError(f"{width}x{height} pixels")
    if offset == 0xFFFFFFFF:
        (offset,) = struct.unpack_from(order + "I", file, 4)
    size = _line_size(width * channels, bits, packing)
    if offset + size * height > len(file):
        raise UnreadableFrameError("shorter than its header says")
    lines = np.frombuffer(file, np.uint8, size * height, offset).reshape(height, size)
    samples = _unpack(lines, width * channels, bits, packing, order, luma=channels == 1)
    return Picture(samples.reshape(height, width, channels), bits, size * height)


def _line_size(samples: int, bits: int, packing: int) -> int:
    if bits in (8, 16) or packing == _PACKED:
        return -(-samples * bits // 32) * 4
    return -(-samples // 3) * 4 if bits == 10 else -(-samples // 2) * 4


def _unpack(
    lines: NDArray[np.uint8], samples: int, bits: int, packing: int, order: str, *, luma: bool
) -> NDArray[np.uint16]:
    if bits == 8:
        return np.ascontiguousarray(lines[:, :samples]).astype(np.uint16)
    if bits == 16:
        return np.ascontiguousarray(lines.view(order + "u2")[:, :samples]).astype(np.uint16)
    if packing == _PACKED:
        return _unpack_dense(lines.view(order + "u4"), samples, bits)
    if bits == 12:
        items = lines.view(order + "u2")[:, :samples].astype(np.uint16)
        return (items >> np.uint16(4 if packing == _FILLED_A else 0)) & np.uint16(0xFFF)
    words = lines.view(order + "u4").astype(np.uint32)
    if packing == _FILLED_A:
        words >>= np.uint32(2)
    shifts = (0, 10, 20) if luma else (20, 10, 0)
    parts = [(words >> np.uint32(shift) & np.uint32(0x3FF)).astype(np.uint16) for shift in shifts]
    return np.ascontiguousarray(np.stack(parts, axis=2).reshape(len(lines), -1)[:, :samples])


def _unpack_dense(words: NDArray[np.uint32], samples: int, bits: int) -> NDArray[np.uint16]:
    """Samples without gaps, lowest bits of each word first."""
    first = np.arange(samples, dtype=np.int64) * bits
    word, shift = first // 32, (first % 32).astype(np.uint64)
    wide = np.pad(words.astype(np.uint64), ((0, 0), (0, 1)))
    pairs = wide[:, word] | wide[:, word + 1] << np.uint64(32)
    return ((pairs >> shift) & np.uint64((1 << bits) - 1)).astype(np.uint16)
