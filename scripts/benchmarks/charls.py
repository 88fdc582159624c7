"""JPEG-LS at its true bit depth: the CharLS that imagecodecs carries, called by its C interface.

imagecodecs itself declares every uint16 picture as 16 bits deep, whose default thresholds and
escape lengths are wrong for 10-bit film; through the C interface the depth is what it is.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np

from benchmarks.errors import BenchError, MissingToolError

if TYPE_CHECKING:
    from numpy.typing import NDArray

PLANAR = 0
BY_SAMPLE = 2


class _FrameInfo(ctypes.Structure):
    _fields_ = (
        ("width", ctypes.c_uint32),
        ("height", ctypes.c_uint32),
        ("bits_per_sample", ctypes.c_int32),
        ("component_count", ctypes.c_int32),
    )


@cache
def _library() -> ctypes.CDLL:
    folder = Path(imagecodecs.__file__).parent.parent / "imagecodecs.libs"
    found = sorted(folder.glob("libcharls*"))
    if not found:
        raise MissingToolError(
            "the installed imagecodecs carries no libcharls: pip install --force-reinstall "
            "--only-binary imagecodecs imagecodecs"
        )
    library = ctypes.CDLL(str(found[0]))
    for role in ("encoder", "decoder"):
        create = getattr(library, f"charls_jpegls_{role}_create")
        create.restype = ctypes.c_void_p
        getattr(library, f"charls_jpegls_{role}_destroy").argtypes = [ctypes.c_void_p]
    library.charls_get_version_string.restype = ctypes.c_char_p
    return library


def version() -> str:
    """CharLS's own version, such as 2.4.3."""
    return bytes(_library().charls_get_version_string()).decode()


def _check(code: int) -> None:
    if code:
        raise BenchError(f"CharLS failed with error {code}")


def _address(array: NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def encode(samples: NDArray[np.uint16], bits: int, interleave: int) -> NDArray[np.uint8]:
    """Encode (height, width, channels) of BY_SAMPLE order, or of one channel for PLANAR.

    Raises:
        BenchError: CharLS refused.
    """
    library = _library()
    height, width, channels = samples.shape
    source = np.ascontiguousarray(samples, np.uint8 if bits == 8 else np.uint16)
    out = np.empty(samples.size * 3 + 4096, np.uint8)
    written = ctypes.c_size_t()
    encoder = ctypes.c_void_p(library.charls_jpegls_encoder_create())
    try:
        info = _FrameInfo(width, height, bits, channels)
        _check(library.charls_jpegls_encoder_set_frame_info(encoder, ctypes.byref(info)))
        _check(library.charls_jpegls_encoder_set_interleave_mode(encoder, interleave))
        room = ctypes.c_size_t(out.nbytes)
        _check(library.charls_jpegls_encoder_set_destination_buffer(encoder, _address(out), room))
        size = ctypes.c_size_t(source.nbytes)
        _check(
            library.charls_jpegls_encoder_encode_from_buffer(
                encoder, _address(source), size, ctypes.c_uint32(0)
            )
        )
        _check(library.charls_jpegls_encoder_get_bytes_written(encoder, ctypes.byref(written)))
    finally:
        library.charls_jpegls_encoder_destroy(encoder)
    return out[: written.value]


def decode(
    stored: NDArray[np.uint8], shape: tuple[int, int, int], bits: int
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Decode a picture of a known shape.

    Raises:
        BenchError: CharLS refused.
    """
    library = _library()
    out = np.empty(shape, np.uint8 if bits == 8 else np.uint16)
    decoder = ctypes.c_void_p(library.charls_jpegls_decoder_create())
    try:
        _check(
            library.charls_jpegls_decoder_set_source_buffer(
                decoder, _address(stored), ctypes.c_size_t(stored.nbytes)
            )
        )
        _check(library.charls_jpegls_decoder_read_header(decoder))
        size = ctypes.c_size_t(out.nbytes)
        _check(
            library.charls_jpegls_decoder_decode_to_buffer(
                decoder, _address(out), size, ctypes.c_uint32(0)
            )
        )
    finally:
        library.charls_jpegls_decoder_destroy(decoder)
    return out
