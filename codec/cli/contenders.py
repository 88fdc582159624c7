"""What ``python -m codec bench`` compares: the codec's levels, and other codecs where they are.

The others come with the package imagecodecs, an extra that only measurements need. They are given
samples, or for zstd the file's bytes, and are spared the file around them, which favours them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from codec.cli.samples import pictures
from codec.encode import decompress, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from codec.types import Level

ZSTD_LEVEL = 3
JPEG_XL_EFFORTS = (1, 3)


@dataclass(frozen=True, slots=True)
class Contender:
    """One codec at one setting, on one thread.

    ``prepare`` gives the pieces of a file that are coded apart, none where it has no use for the
    file; ``encode`` takes one, ``decode`` what that made.
    """

    name: str
    prepare: Callable[[bytes], Sequence[Any]]
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]

    def same(self, source: Any, decoded: Any) -> bool:  # noqa: ANN401 - each has its own form
        """Whether what came back is what went in."""
        if isinstance(source, bytes):
            return bool(decoded == source)
        return bool(np.array_equal(source.samples.ravel(), np.asarray(decoded).ravel()))


@dataclass(frozen=True, slots=True)
class Picture:
    """Samples of (height, width) or (height, width, channels), uint8 or uint16, and their bits."""

    samples: NDArray[Any]
    bits: int


def own(level: Level) -> Contender:
    """The codec at a level, without the encoder's own decoding, which no other codec does."""

    def coded(file: bytes) -> memoryview:
        return encode(file, level=level, verify=False).container

    return Contender(f"PixFS {level}", _whole, coded, decompress)


def others() -> list[Contender]:
    """The other codecs; none where imagecodecs is not installed."""
    try:
        import imagecodecs
    except ImportError:
        return []

    def zstd(file: bytes) -> Any:  # noqa: ANN401
        return imagecodecs.zstd_encode(file, level=ZSTD_LEVEL)

    def jpeg_ls(picture: Picture) -> Any:  # noqa: ANN401
        return imagecodecs.jpegls_encode(picture.samples)

    found = [
        Contender(f"zstd -{ZSTD_LEVEL}", _whole, zstd, imagecodecs.zstd_decode),
        Contender("JPEG-LS", _planes, jpeg_ls, imagecodecs.jpegls_decode),
    ]
    for effort in JPEG_XL_EFFORTS:
        found.append(_jpeg_xl(imagecodecs, effort))
    return found


def _jpeg_xl(imagecodecs: Any, effort: int) -> Contender:  # noqa: ANN401 - a module
    def coded(picture: Picture) -> Any:  # noqa: ANN401
        return imagecodecs.jpegxl_encode(
            picture.samples,
            effort=effort,
            lossless=True,
            bitspersample=picture.bits,
            numthreads=1,
        )

    def decoded(stored: bytes) -> Any:  # noqa: ANN401
        return imagecodecs.jpegxl_decode(stored, numthreads=1)

    return Contender(f"JPEG XL e{effort}", _colours, coded, decoded)


def _whole(file: bytes) -> list[bytes]:
    return [file]


def _planes(file: bytes) -> list[Picture]:
    """Each component as a picture of its own."""
    return [
        Picture(np.ascontiguousarray(samples[:, :, c]), bits)
        for samples, bits in _typed(file)
        for c in range(samples.shape[2])
    ]


def _colours(file: bytes) -> list[Picture]:
    """Each element as one picture where it has the channels of one, else its planes."""
    found = []
    for samples, bits in _typed(file):
        if samples.shape[2] in (3, 4):
            found.append(Picture(samples, bits))
        else:
            planes = (samples[:, :, c] for c in range(samples.shape[2]))
            found += [Picture(np.ascontiguousarray(plane), bits) for plane in planes]
    return found


def _typed(file: bytes) -> list[tuple[NDArray[Any], int]]:
    """The file's pictures in the smallest type that holds their samples."""
    return [
        (samples.astype(np.uint8) if bits <= 8 else samples, max(bits, 8))
        for samples, bits in pictures(file)
    ]
