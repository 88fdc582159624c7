"""PixFS and its in-process peers: one thread each, every result checked.

PixFS takes and gives back the file; a peer takes samples in the form that suits it best and gives
back samples. The peers are thereby spared the work of unpacking DPX words, packing them again and
keeping the header; the figures favour them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np

import codec
from benchmarks import charls
from benchmarks.errors import NotLosslessError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchmarks.frames import Frame

# A smaller result must be this much smaller before it is chosen over a faster one.
_WORTH = 0.995


class Contender(ABC):
    """One codec at one setting. Instances belong to the thread that runs the benchmark."""

    name: str
    method: str

    def prepare(self, frame: Frame) -> Any:  # noqa: ANN401 - each contender has its own form
        """The frame in the form that `encode` takes; not timed."""
        return frame.picture.samples

    @abstractmethod
    def encode(self, source: Any) -> Any:  # noqa: ANN401
        """Encode what `prepare` made."""

    @abstractmethod
    def decode(self, stored: Any) -> Any:  # noqa: ANN401
        """Decode what `encode` made."""

    def stored_size(self, stored: Any) -> int:  # noqa: ANN401
        """Bytes of what `encode` made."""
        return len(stored)

    def check(self, source: Any, decoded: Any) -> None:  # noqa: ANN401
        """Raise NotLosslessError unless the decoded form equals the prepared one; not timed."""
        if not np.array_equal(np.asarray(source), np.asarray(decoded).reshape(source.shape)):
            raise NotLosslessError(f"{self.name} is not lossless")


class _OfFile(Contender):
    """A contender that takes the DPX file's bytes."""

    def prepare(self, frame: Frame) -> bytes:
        return frame.file

    def check(self, source: bytes, decoded: bytes | bytearray) -> None:
        if decoded != source:
            raise NotLosslessError(f"{self.name} is not lossless")


class PixFS(_OfFile):
    """The codec under test, from DPX bytes to a container and back."""

    def __init__(self, level: codec.Level, *, verify: bool) -> None:
        self._level = level
        self._verify = verify
        self.name = f"PixFS {level}" + (" + verify" if verify else "")
        self.method = "codec.encode / codec.decompress of the whole file, threads=1" + (
            "; the encoder also decodes its result and compares, as a mount always does"
            if verify
            else "; without the encoder's own decode-verify, which no peer does either"
        )

    def encode(self, source: bytes) -> bytes:
        return codec.encode(source, level=self._level, threads=1, verify=self._verify).container

    def decode(self, stored: bytes) -> bytearray:
        return codec.decompress(stored, threads=1)


class JpegLs(Contender):
    """ISO 14495-1 by CharLS: each plane alone, or sample-interleaved where that is smaller."""

    name = "JPEG-LS"

    def __init__(self) -> None:
        self.method = (
            f"CharLS {charls.version()} at the samples' true depth; planes, or sample-interleaved "
            "where that is at least 0.5 % smaller"
        )
        self._interleaved: dict[str, bool] = {}

    def prepare(self, frame: Frame) -> list[tuple[NDArray[Any], int, int]]:
        samples, bits = frame.picture.samples, frame.picture.bits
        item: type[np.unsignedinteger[Any]] = np.uint8 if bits == 8 else np.uint16
        planes = [
            (np.ascontiguousarray(samples[:, :, channel : channel + 1], item), bits, charls.PLANAR)
            for channel in range(samples.shape[2])
        ]
        whole = [(np.ascontiguousarray(samples, item), bits, charls.BY_SAMPLE)]
        if samples.shape[2] == 1:
            return planes
        if frame.name not in self._interleaved:
            small = self.stored_size(self.encode(whole))
            apart = self.stored_size(self.encode(planes))
            self._interleaved[frame.name] = small < apart * _WORTH
        return whole if self._interleaved[frame.name] else planes

    def encode(self, source: list[tuple[Any, int, int]]) -> list[tuple[Any, Any, int]]:
        return [
            (charls.encode(samples, bits, mode), samples.shape, bits)
            for samples, bits, mode in source
        ]

    def decode(self, stored: list[tuple[Any, Any, int]]) -> list[Any]:
        return [charls.decode(data, shape, bits) for data, shape, bits in stored]

    def stored_size(self, stored: list[tuple[Any, Any, int]]) -> int:
        return sum(len(data) for data, _, _ in stored)

    def check(self, source: list[tuple[Any, int, int]], decoded: list[Any]) -> None:
        for (samples, _, _), result in zip(source, decoded, strict=True):
            super().check(samples, result)


class JpegXl(Contender):
    """ISO 18181 lossless (modular) by libjxl, interleaved samples of the true depth."""

    def __init__(self, effort: int) -> None:
        self._effort = effort
        self.name = f"JPEG XL e{effort}"
        self.method = f"libjxl lossless, effort {effort}, bits per sample as they are, one thread"

    def prepare(self, frame: Frame) -> tuple[NDArray[Any], int]:
        bits = frame.picture.bits
        samples = frame.picture.samples
        if samples.shape[2] == 1:
            samples = samples[:, :, 0]
        return np.ascontiguousarray(samples, np.uint8 if bits == 8 else np.uint16), bits

    def encode(self, source: tuple[NDArray[Any], int]) -> bytes | bytearray:
        samples, bits = source
        return imagecodecs.jpegxl_encode(
            samples, effort=self._effort, lossless=True, bitspersample=bits, numthreads=1
        )

    def decode(self, stored: bytes) -> NDArray[Any]:
        return imagecodecs.jpegxl_decode(stored, numthreads=1)

    def check(self, source: tuple[NDArray[Any], int], decoded: NDArray[Any]) -> None:
        super().check(source[0], decoded)


class HtJ2k(Contender):
    """ISO 15444-15 reversible by OpenJPH, with its reversible colour transform."""

    name = "HTJ2K"
    method = "OpenJPH reversible (5/3, colour transform), samples centred on zero, whole picture"

    def prepare(self, frame: Frame) -> NDArray[Any]:
        samples, bits = frame.picture.samples, frame.picture.bits
        if samples.shape[2] == 1:
            samples = samples[:, :, 0]
        if bits == 16:
            return np.ascontiguousarray(samples)
        # The wrapper declares 16 bits: unsigned samples would then sit far from the middle.
        return np.ascontiguousarray(samples.astype(np.int16) - np.int16(1 << (bits - 1)))

    def encode(self, source: NDArray[Any]) -> bytes | bytearray:
        return imagecodecs.htj2k_encode(source, reversible=True)

    def decode(self, stored: bytes) -> NDArray[Any]:
        return imagecodecs.htj2k_decode(stored)


class Zstd(_OfFile):
    """What a general-purpose compressing file system does."""

    def __init__(self, level: int) -> None:
        self._level = level
        self.name = f"zstd-{level}"
        self.method = f"zstd level {level} on the DPX file's bytes"

    def encode(self, source: bytes) -> bytes | bytearray:
        return imagecodecs.zstd_encode(source, level=self._level)

    def decode(self, stored: bytes) -> bytes | bytearray:
        return imagecodecs.zstd_decode(stored)
