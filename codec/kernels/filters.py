"""What OpenEXR and TIFF do to bytes before they compress them, and the way back.

Each has a naive counterpart in ``tests/oracle``. Arrays are contiguous uint8; ``source`` and
``target`` have the same size and never overlap.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.jit import kernel

_HALF = np.uint8(128)


@kernel
def exr_split(source: Any, target: Any) -> None:
    """OpenEXR: bytes at even places, then those at odd ones; each byte less the one before, + 128.

    The first byte stays as it is.
    """
    size = np.uint64(source.size)
    half = (size + np.uint64(1)) // np.uint64(2)
    if source.size == 0:
        return
    target[0] = source[0]
    for i in range(np.uint64(1), half):
        place = np.uint64(i) * np.uint64(2)
        target[i] = np.uint8(source[place] - source[place - np.uint64(2)] + _HALF)
    if size > np.uint64(1):
        last = source[(half - np.uint64(1)) * np.uint64(2)]
        target[half] = np.uint8(source[1] - last + _HALF)
    for i in range(half + np.uint64(1), size):
        place = (np.uint64(i) - half) * np.uint64(2) + np.uint64(1)
        target[i] = np.uint8(source[place] - source[place - np.uint64(2)] + _HALF)


@kernel
def exr_join(source: Any, target: Any) -> None:
    """The inverse of `exr_split`."""
    size = np.uint64(source.size)
    half = (size + np.uint64(1)) // np.uint64(2)
    if source.size == 0:
        return
    value = np.uint8(source[0])
    target[0] = value
    for i in range(np.uint64(1), half):
        value = np.uint8(value + source[i] - _HALF)
        target[np.uint64(i) * np.uint64(2)] = value
    for i in range(half, size):
        value = np.uint8(value + source[i] - _HALF)
        target[(np.uint64(i) - half) * np.uint64(2) + np.uint64(1)] = value


@kernel
def difference(source: Any, row: int, stride: int, target: Any) -> None:
    """TIFF predictor 2: in rows of ``row`` elements, each less the one ``stride`` before it.

    Both arrays hold unsigned integers of the samples' width; ``row`` divides their size.
    """
    for start in range(0, source.size, row):
        for x in range(start, start + min(stride, row)):
            target[x] = source[x]
        for x in range(start + stride, start + row):
            target[x] = source[x] - source[x - stride]


@kernel
def accumulate(source: Any, row: int, stride: int, target: Any) -> None:
    """The inverse of `difference`."""
    for start in range(0, source.size, row):
        for x in range(start, start + min(stride, row)):
            target[x] = source[x]
        for x in range(start + stride, start + row):
            target[x] = source[x] + target[x - stride]


@kernel
def byte_planes(source: Any, row: int, sample: int, big_endian: bool, target: Any) -> None:
    """In rows of ``row`` bytes: the highest byte of each ``sample`` bytes, then the next ..."""
    count = row // sample
    for start in range(0, source.size, row):
        for byte in range(sample):
            place = byte if big_endian else sample - 1 - byte
            for i in range(count):
                target[start + byte * count + i] = source[start + i * sample + place]


@kernel
def from_byte_planes(source: Any, row: int, sample: int, big_endian: bool, target: Any) -> None:
    """The inverse of `byte_planes`."""
    count = row // sample
    for start in range(0, source.size, row):
        for byte in range(sample):
            place = byte if big_endian else sample - 1 - byte
            for i in range(count):
                target[start + i * sample + place] = source[start + byte * count + i]
