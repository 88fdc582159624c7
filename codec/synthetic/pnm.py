"""Netpbm files (PGM, PPM, PAM and PFM) around pixels in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from codec.synthetic.packing import check_samples

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def pnm_file(
    pixels: NDArray[np.uint16],
    *,
    maxval: int = 255,
    kind: Literal["pnm", "pam"] = "pnm",
    comment: bytes = b"",
    byte_order: Literal["be", "le"] = "be",
    trailing: bytes = b"",
) -> bytes:
    """Make a PGM, PPM or PAM file of pixels of (height, width, channels).

    The name follows from the channels: 1 and 3 are PGM and PPM unless ``kind`` is "pam".
    ``byte_order`` "le" is what wrong writers make of 16-bit samples.

    Raises:
        ValueError: a greatest value outside 1..65535, samples that do not fit in its bits, or
            channels that only a PAM can have.
    """
    if not 1 <= maxval <= 65535:
        raise ValueError(f"maxval must be 1..65535, not {maxval}")
    check_samples(pixels, 8 if maxval < 256 else maxval.bit_length())
    height, width, channels = pixels.shape
    if kind == "pam":
        names = {1: b"GRAYSCALE", 2: b"GRAYSCALE_ALPHA", 3: b"RGB", 4: b"RGB_ALPHA"}
        header = b"P7\n%sWIDTH %d\nHEIGHT %d\nDEPTH %d\nMAXVAL %d\nTUPLTYPE %s\nENDHDR\n" % (
            b"#%s\n" % comment if comment else b"",
            width,
            height,
            channels,
            maxval,
            names.get(channels, b"SITES"),
        )
    elif channels in (1, 3):
        magic = b"P5" if channels == 1 else b"P6"
        said = b"#%s\n" % comment if comment else b""
        header = b"%s\n%s%d %d\n%d\n" % (magic, said, width, height, maxval)
    else:
        raise ValueError(f"{channels} channels must be a PAM")
    deep = (">" if byte_order == "be" else "<") + "u2"
    return header + pixels.astype("u1" if maxval < 256 else deep).tobytes() + trailing


def pfm_file(pixels: NDArray[np.float32], *, byte_order: Literal["be", "le"] = "le") -> bytes:
    """Make a PFM file of floats of (height, width, 1 or 3), the top row first.

    Raises:
        ValueError: another number of channels.
    """
    height, width, channels = pixels.shape
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 or 3, not {channels}")
    magic = b"Pf" if channels == 1 else b"PF"
    scale = b"1.0" if byte_order == "be" else b"-1.0"
    order = ">" if byte_order == "be" else "<"
    rows = pixels[::-1].astype(order + "f4").tobytes()
    return b"%s\n%d %d\n%s\n" % (magic, width, height, scale) + rows
