"""Bayer mosaics of real sensors, and the raw frame files made from them.

No ARRIRAW or Canon C500 frame could be had: these are the published layouts around another
camera's noise, and are called synthetic wherever they are shown.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_BLACK_14 = 600
_BLACK_12 = 256


def read_nikon(source: Path) -> NDArray[np.uint16]:
    """14-bit sensor codes (512, 768) of a headless little-endian file."""
    return np.fromfile(source, "<u2").reshape(512, 768).astype(np.uint16)


def read_cine(source: Path) -> NDArray[np.uint16]:
    """10-bit sensor codes (height, width) of the first frame of a packed Phantom .cine file."""
    data = source.read_bytes()
    picture_header, _, offsets = struct.unpack_from("<III", data, 24)
    width, height = struct.unpack_from("<ii", data, picture_header + 4)
    (frame,) = struct.unpack_from("<q", data, offsets)
    (annotation,) = struct.unpack_from("<I", data, frame)
    size = width * height * 5 // 4
    packed = np.frombuffer(data, np.uint8, size, frame + annotation).reshape(-1, 5).astype(np.int64)
    word = packed @ np.array([1 << 32, 1 << 24, 1 << 16, 1 << 8, 1])
    codes = np.stack([(word >> shift) & 0x3FF for shift in (30, 20, 10, 0)], axis=1)
    return codes.reshape(height, width).astype(np.uint16)


def log_12(codes: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """14-bit linear sensor codes as 12-bit logarithmic ones, black at 256."""
    light = (codes.astype(np.float64) - _BLACK_14) / (16383 - _BLACK_14)
    curve = np.log2(1 + 255 * light.clip(-1 / 512, 1)) / 8
    return np.rint(_BLACK_12 + (4095 - _BLACK_12) * curve).clip(0, 4095).astype(np.uint16)


def ari_file(codes: NDArray[np.uint16]) -> bytes:
    """An ARRIRAW frame of 12-bit codes (height, width a multiple of 8).

    4 KiB of header, then little-endian words with bits taken from the top, the second sample of
    each pair first.
    """
    height, width = codes.shape
    header = bytearray(4096)
    struct.pack_into("<4s4sIIIII", header, 0, b"ARRI", b"\x12\x34\x56\x78", 4096, 3, 60, width, 0)
    struct.pack_into("<I", header, 24, height)
    struct.pack_into("<4I", header, 36, 0, 0, width, height)
    struct.pack_into("<2I", header, 60, width, height)
    struct.pack_into("<I", header, 72, width * height * 3 // 2)
    swapped = codes.reshape(-1, 2)[:, ::-1].reshape(-1, 8).astype(np.uint64)
    bits = [(swapped >> np.uint64(shift)) & np.uint64(15) for shift in (8, 4, 0)]
    nibbles = np.stack(bits, axis=2).reshape(-1, 8)
    places = np.uint64(28) - np.arange(8, dtype=np.uint64) * np.uint64(4)
    words = (nibbles << places).sum(axis=1, dtype=np.uint64)
    return bytes(header) + words.astype("<u4").tobytes()


def rmf_file(codes: NDArray[np.uint16]) -> bytes:
    """A Canon C500 frame of 10-bit codes (height, width a multiple of 3).

    64 KiB of header that begins as a little-endian DPX does, then three samples a word, the
    first lowest, above two unused bits.
    """
    height, width = codes.shape
    header = bytearray(65536)
    header[:4] = b"XPDS"
    header[2048 : 2048 + 5] = b"Canon"
    struct.pack_into("<HH", header, 0x829, height, width)
    header[0x865 : 0x865 + 8] = b"EOS C500"
    three = codes.reshape(-1, 3).astype(np.uint32)
    words = three[:, 0] << 2 | three[:, 1] << 12 | three[:, 2] << 22
    return bytes(header) + words.astype("<u4").tobytes()
