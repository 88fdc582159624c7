"""Camera-raw files around a Bayer mosaic in memory, written from published descriptions.

No file of a real camera was at hand to check these against: what they say of the formats is
what `codec.formats.arriraw`, `codec.formats.c500` and `codec.formats.varicam` say.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from codec.synthetic.packing import (
    check_samples,
    dense_bytes,
    dense_words,
    filled_words,
    pairs_exchanged,
)
from codec.synthetic.picture import image

if TYPE_CHECKING:
    from numpy.typing import NDArray

VaricamPacking = Literal[
    "10-filled-a", "10-filled-b", "10-high", "10-low", "12-high", "12-low", "16"
]
VARICAM_PACKINGS: Final[tuple[VaricamPacking, ...]] = (
    "10-filled-a",
    "10-filled-b",
    "10-high",
    "10-low",
    "12-high",
    "12-low",
    "16",
)
_PHASES: Final = {"grbg": (1, 0, 2, 1), "gbrg": (1, 2, 0, 1), "rggb": (0, 1, 1, 2)}


def mosaic(
    width: int, height: int, *, bits: int = 12, pattern: str = "grbg", seed: int = 0, frame: int = 0
) -> NDArray[np.uint16]:
    """The picture of `image` as a sensor behind colour filters sees it: (height, width).

    Codes are log-like, with red and blue below green as a sensor under daylight has them.

    Raises:
        ValueError: a pattern that is not grbg, gbrg or rggb, or what `image` refuses.
    """
    if pattern not in _PHASES:
        raise ValueError(f"unknown pattern {pattern!r}")
    picture = image(width, height, bits=bits, seed=seed, frame=frame)
    offsets = ((1 << bits) // 12, 0, (1 << bits) // 9)
    out = np.empty((height, width), np.uint16)
    for site, colour in enumerate(_PHASES[pattern]):
        rows, columns = slice(site // 2, None, 2), slice(site % 2, None, 2)
        values = picture[rows, columns, colour].astype(np.int32) - offsets[colour]
        out[rows, columns] = np.maximum(values, 0)
    return out


def arriraw_file(codes: NDArray[np.uint16], *, trailing: bytes = b"") -> bytes:
    """Make an ARRIRAW file of 12-bit codes of (height, width), the width a multiple of 8.

    Raises:
        ValueError: another width, or a code that does not fit.
    """
    check_samples(codes, 12)
    height, width = codes.shape
    if width % 8:
        raise ValueError(f"the width must be a multiple of 8, not {width}")
    payload = dense_words(pairs_exchanged(codes), 12, high=True).astype("<u4").tobytes()
    header = bytearray(4096)
    struct.pack_into("<4s4sIII", header, 0, b"ARRI", b"\x12\x34\x56\x78", 4096, 3, 0x3C)
    struct.pack_into("<IIII", header, 0x14, width, height, 0, 0)
    struct.pack_into("<IIII", header, 0x24, 0, 0, width, height)
    struct.pack_into("<II", header, 0x3C, width, height)
    struct.pack_into("<I", header, 0x48, len(payload))
    return b"".join((bytes(header), payload, trailing))


def c500_file(codes: NDArray[np.uint16], *, spare_bits: int = 0, trailing: bytes = b"") -> bytes:
    """Make a Canon C500 raw file of 10-bit codes of (height, width); ``spare_bits`` is 0 to 3.

    Only the first ``width // 3 * 3`` codes of a row are written, as the format has it.

    Raises:
        ValueError: a code that does not fit.
    """
    check_samples(codes, 10)
    height, width = codes.shape
    words = filled_words(codes[:, : width // 3 * 3], shift=2, lowest_first=True)
    words |= np.uint32(spare_bits & 3)
    header = bytearray(0x10000)
    struct.pack_into("<4sI8s", header, 0, b"XPDS", 0x10000, b"V1.0")
    struct.pack_into("<41sHH", header, 0x800, b"Canon", height, width)
    struct.pack_into("<30s", header, 0x865, b"EOS C500")
    return b"".join((bytes(header), words.astype("<u4").tobytes(), trailing))


def varicam_file(
    codes: NDArray[np.uint16],
    *,
    packing: VaricamPacking = "12-high",
    byte_order: Literal["be", "le"] = "le",
    header: bytes = bytes(4096),
) -> bytes:
    """Make a file as a VariCam Raw file may be: some header, then codes of (height, width).

    Raises:
        ValueError: an unknown packing, or a code that does not fit.
    """
    if packing not in VARICAM_PACKINGS:
        raise ValueError(f"unknown packing {packing!r}")
    bits = int(packing[:2])
    check_samples(codes, bits)
    order = ">" if byte_order == "be" else "<"
    payload: NDArray[Any]
    if bits == 16:
        payload = codes.astype(order + "u2")
    elif packing.startswith("10-filled"):
        payload = filled_words(codes, shift=2 if packing.endswith("a") else 0).astype(order + "u4")
    elif packing.endswith("high") and byte_order == "be":
        payload = dense_bytes(codes, bits)
    else:
        payload = dense_words(codes, bits, high=packing.endswith("high")).astype(order + "u4")
    return header + payload.tobytes()
