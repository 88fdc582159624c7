"""PixFS and its in-process peers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np

import codec
from benchmarks import charls
from benchmarks.contender import OfFile, OfPictures, bits_of, of_depth, split

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchmarks.frames import Frame
    from benchmarks.pictures import Picture

SLOW_EFFORT = 5
"""JPEG XL efforts from here on take seconds a megapixel: once each, and on small frames only."""
SMALL_SAMPLES = 4_300_000


class PixFS(OfFile):
    """The codec under test, from a file's bytes to a container and back."""

    def __init__(self, level: codec.Level, *, verify: bool = False) -> None:
        self._level = level
        self._verify = verify
        self.name = f"PixFS {level}" + (" + verify" if verify else "")
        self.method = "codec.encode / codec.decompress of the whole file, threads=1" + (
            "; the encoder also decodes its result and compares, as a mount always does"
            if verify
            else "; without the encoder's own decode-verify, which no peer does either"
        )

    def encode(self, source: bytes) -> memoryview:
        return codec.encode(source, level=self._level, threads=1, verify=self._verify).container

    def decode(self, stored: bytes) -> bytearray:
        return codec.decompress(stored, threads=1)


class JpegLs(OfPictures):
    """ISO 14495-1 by CharLS: each plane alone, or sample-interleaved where that is smaller."""

    name = "JPEG-LS"

    def __init__(self) -> None:
        super().__init__()
        self.method = (
            f"CharLS {charls.version()} at the samples' true depth; planes, or sample-interleaved "
            "where that is at least 0.5 % smaller"
        )

    def forms(self, picture: Picture) -> list[list[NDArray[Any]]]:
        if picture.samples.shape[2] == 1:
            return super().forms(picture)
        samples = of_depth(picture)
        return [split(samples), [samples]]

    def encode_one(self, samples: NDArray[Any], bits: int) -> NDArray[np.uint8]:
        mode = charls.PLANAR if samples.shape[2] == 1 else charls.BY_SAMPLE
        return charls.encode(samples, bits, mode)

    def decode_one(self, stored: Any, shape: Any, bits: int) -> NDArray[Any]:  # noqa: ANN401
        return charls.decode(stored, shape, bits)


class JpegXl(OfPictures):
    """ISO 18181 lossless (modular) by libjxl, interleaved samples of the true depth."""

    def __init__(self, effort: int) -> None:
        super().__init__()
        self._effort = effort
        self.name = f"JPEG XL e{effort}"
        self.method = (
            f"libjxl lossless, effort {effort}, bits per sample as they are, one thread; half "
            "floats as such where that is lossless and smaller, else their bit patterns"
        )
        if effort >= SLOW_EFFORT - 1:
            self.rounds = 1

    def takes(self, frame: Frame) -> bool:
        return self._effort < SLOW_EFFORT or frame.picture.samples.size <= SMALL_SAMPLES

    def forms(self, picture: Picture) -> list[list[NDArray[Any]]]:
        forms = super().forms(picture)
        if picture.kind == "half" and self._keeps(picture.samples.view(np.float16)):
            forms.append([picture.samples.view(np.float16)])
        return forms

    def _keeps(self, halves: NDArray[np.float16]) -> bool:
        """Whether libjxl gives these half floats back; some values it does not."""
        stored = imagecodecs.jpegxl_encode(halves, effort=1, lossless=True, numthreads=1)
        decoded = imagecodecs.jpegxl_decode(stored, numthreads=1)
        return decoded.dtype == np.float16 and np.array_equal(bits_of(decoded), bits_of(halves))

    def encode_one(self, samples: NDArray[Any], bits: int) -> bytes | bytearray:
        if samples.shape[2] == 1:
            samples = samples[:, :, 0]
        depth = None if samples.dtype == np.float16 else bits
        return imagecodecs.jpegxl_encode(
            samples, effort=self._effort, lossless=True, bitspersample=depth, numthreads=1
        )

    def decode_one(self, stored: Any, shape: Any, bits: int) -> NDArray[Any]:  # noqa: ANN401
        return imagecodecs.jpegxl_decode(stored, numthreads=1)


class HtJ2k(OfPictures):
    """ISO 15444-15 reversible by OpenJPH, with its reversible colour transform."""

    name = "HTJ2K"
    method = "OpenJPH reversible (5/3, colour transform), samples centred on zero, whole picture"

    def encode_one(self, samples: NDArray[Any], bits: int) -> bytes | bytearray:
        if samples.shape[2] == 1:
            samples = samples[:, :, 0]
        return imagecodecs.htj2k_encode(samples, reversible=True)

    def decode_one(self, stored: Any, shape: Any, bits: int) -> NDArray[Any]:  # noqa: ANN401
        return imagecodecs.htj2k_decode(stored)

    def prepare(self, frame: Frame) -> list[tuple[NDArray[Any], int]]:
        # The wrapper declares 8 or 16 bits: unsigned samples would then sit far from the middle.
        return [(_centred(samples, bits), bits) for samples, bits in super().prepare(frame)]


def _centred(samples: NDArray[Any], bits: int) -> NDArray[Any]:
    if bits == 16:
        return samples
    return samples.astype(np.int16) - np.int16(1 << (bits - 1))


class Zstd(OfFile):
    """What a general-purpose compressing file system does."""

    def __init__(self, level: int) -> None:
        self._level = level
        self.name = f"zstd-{level}"
        self.method = f"zstd level {level} on the file's bytes"

    def encode(self, source: bytes) -> bytes | bytearray:
        return imagecodecs.zstd_encode(source, level=self._level)

    def decode(self, stored: bytes) -> bytes | bytearray:
        return imagecodecs.zstd_decode(stored)
