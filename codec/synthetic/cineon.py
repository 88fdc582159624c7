"""Cineon files (Kodak Cineon 4.5) around pixels in memory.

Header of 2048 bytes: generic and industry parts of 1024 each, no user part. Film scans are
10-bit RGB by pixel, filled A; the other interleaves and packings are what the header's fields
say they are, checked against OpenImageIO where it reads them.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from codec.synthetic.packing import check_samples, dense_bytes, filled_words

if TYPE_CHECKING:
    from numpy.typing import NDArray

CineonInterleave = Literal["pixel", "line", "channel"]

HEADER_SIZE: Final = 2048
CINEON_PACKINGS: Final = (
    (8, 0),
    (8, 1),
    (8, 3),
    (8, 4),
    (10, 0),
    (10, 3),
    (10, 4),
    (10, 5),
    (10, 6),
    (12, 0),
    (12, 3),
    (12, 4),
    (16, 0),
    (16, 3),
)
"""Bits and packing fields that can be written; see `codec.formats.cineon`."""
_INTERLEAVES: Final = {"pixel": 0, "line": 1, "channel": 2}


def cineon_file(
    pixels: NDArray[np.uint16],
    *,
    bits: int = 10,
    packing: int = 5,
    interleave: CineonInterleave = "pixel",
    byte_order: Literal["be", "le"] = "be",
    line_padding: int = 0,
    channel_padding: int = 0,
    trailing: bytes = b"",
) -> bytes:
    """Make a complete Cineon file of pixels of (height, width, channels), samples below 2**bits.

    ``packing`` is the header's field, ``line_padding`` and ``channel_padding`` are bytes.

    Raises:
        ValueError: a combination of bits and packing that is not in `CINEON_PACKINGS`, packed
            samples in little-endian order, or a sample that does not fit.
    """
    if (bits, packing) not in CINEON_PACKINGS:
        raise ValueError(f"unknown packing {packing} of {bits} bits")
    if byte_order == "le" and packing == 0 and bits in (10, 12):
        raise ValueError("samples that run together must be big-endian")
    check_samples(pixels, bits)
    height, width, channels = pixels.shape
    order = ">" if byte_order == "be" else "<"
    samples = {
        "pixel": pixels.reshape(height, width * channels),
        "line": pixels.transpose(0, 2, 1).reshape(height * channels, width),
        "channel": pixels.transpose(2, 0, 1).reshape(channels * height, width),
    }[interleave]
    lines = _lines(np.ascontiguousarray(samples), bits, packing, order)
    padded = np.pad(lines, ((0, 0), (0, line_padding)), constant_values=0x5A)
    parts = np.split(padded, channels) if interleave == "channel" else [padded]
    payload = (b"\xa5" * channel_padding).join(part.tobytes() for part in parts)
    length = HEADER_SIZE + len(payload) + len(trailing)
    header = bytearray(HEADER_SIZE)

    def put(offset: int, fields: str, *values: object) -> None:
        struct.pack_into(order + fields, header, offset, *values)

    put(0, "I5I", 0x802A5FD7, HEADER_SIZE, 1024, 1024, 0, length)
    put(24, "8s100s12s12s", b"V4.5", b"synthetic.cin", b"2024:02:29", b"12:00:00")
    put(192, "BB", 0, channels)
    for channel in range(channels):
        put(196 + 28 * channel, "BBBx", 0, channel + 1 if channels > 1 else 0, bits)
        put(200 + 28 * channel, "IIffff", width, height, 0.0, 0.0, float((1 << bits) - 1), 2.046)
    put(680, "BBBBII", _INTERLEAVES[interleave], packing, 0, 0, line_padding, channel_padding)
    return b"".join((bytes(header), payload, trailing))


def _lines(samples: NDArray[np.uint16], bits: int, packing: int, order: str) -> NDArray[np.uint8]:
    """Lines of bytes, without line padding."""
    lines: NDArray[Any]
    if packing in (5, 6):
        lines = filled_words(samples, shift=2 if packing == 5 else 0).astype(order + "u4")
    elif packing in (3, 4) or bits == 16:
        shift = 16 - bits if packing == 3 else 0
        lines = (samples << np.uint16(shift)).astype(order + "u2")
    elif bits == 8:
        lines = samples.astype(np.uint8)
    else:
        lines = dense_bytes(samples, bits)
    return np.ascontiguousarray(lines).view(np.uint8)
