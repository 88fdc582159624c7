"""Which values the samples of a tile take: dead low bits, and codes that never occur.

Archives are full of 12 bits in 16, of 8 bits scaled up, of scans through a lookup table. Low bits
that are zero in all of a component are dropped; where few of the values that are left occur, the
samples become their ranks among those that do.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from codec.kernels import values as kernels

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAP = struct.Struct("<HB")
_SAMPLED_ROWS = (4, 24)
"""Before all rows are looked at, so many are: most pictures show there that they are not sparse."""
_SPARSE = 0.9
_SPARSE_SHALLOW = 0.7
"""Ranks are used where at most this share of the values up to the largest occurs; of up to
`_SHALLOW` bits, where they save little and slow the decoder, only where it is smaller still."""
_SHALLOW = 10
_GAPLESS = 12
"""Values of up to so many bits that follow one another stay what they are."""


@dataclass(frozen=True, slots=True)
class Values:
    """How the samples of a tile became those that are coded.

    ``shifts`` and ``bits`` are int64[components]: low bits dropped, and bits of what is coded.
    ``maps`` is uint16[components, n]: the value (before its shift) that each rank stands for,
    where ``mapped[component]`` is not 0.
    """

    shifts: NDArray[np.int64]
    bits: NDArray[np.int64]
    mapped: NDArray[np.int64]
    maps: NDArray[np.uint16]


def reduce_values(
    planes: NDArray[np.uint16], rows: int, width: int, bits: NDArray[np.int64]
) -> tuple[bytes, NDArray[np.int64]]:
    """Reduce the samples of ``planes`` in place; how, and the bits that each component has left.

    ``planes`` uint16[components, rows, PAD + width + PAD]. Components of one depth share their
    map, so that equal samples stay equal.
    """
    components = planes.shape[0]
    shifts = np.zeros(components, np.int64)
    kernels.shift_planes(planes, rows, width, shifts)
    dropped = shifts.tolist()
    left = [depth - shift for depth, shift in zip(bits.tolist(), dropped, strict=True)]
    maps = []
    for depth in sorted(set(left)):
        members = [component for component in range(components) if left[component] == depth]
        used = np.zeros(1 << depth, np.uint8)
        if not _all_sparse(planes, members, rows, width, used):
            continue
        ranks = (np.cumsum(used, dtype=np.int64) - 1).astype(np.uint16)
        for component in members:
            kernels.map_plane(planes[component], rows, width, ranks)
            left[component] = _rank_bits(int(used.sum()))
        mask = sum(1 << component for component in members)
        maps.append(_MAP.pack(mask, depth) + np.packbits(used, bitorder="little").tobytes())
    return b"".join([bytes(dropped), bytes([len(maps)]), *maps]), _int64(left)


def _all_sparse(
    planes: NDArray[np.uint16],
    members: list[int],
    rows: int,
    width: int,
    used: NDArray[np.uint8],
) -> bool:
    """Mark the values of all rows in ``used``; False, as soon as it shows, if they are many."""
    steps = [max(rows // sampled, 1) for sampled in _SAMPLED_ROWS]
    for step in steps:
        _mark(planes, members, 0, rows, width, step, used)
        if not _sparse(used, len(members) * -(-rows // step) * width):
            return False
    most = _most_share(used) * used.size
    for first in range(1, steps[-1]):
        _mark(planes, members, first, rows, width, steps[-1], used)
        if np.count_nonzero(used) > most:
            return False
    return _sparse(used, len(members) * rows * width)


def _mark(
    planes: NDArray[np.uint16],
    members: list[int],
    first: int,
    rows: int,
    width: int,
    step: int,
    used: NDArray[np.uint8],
) -> None:
    """Mark the values of every ``step``-th row from ``first`` on."""
    for component in members:
        kernels.mark_values(planes[component, first:], rows - first, width, step, used)


def _most_share(used: NDArray[np.uint8]) -> float:
    return _SPARSE_SHALLOW if used.size <= 1 << _SHALLOW else _SPARSE


def _sparse(used: NDArray[np.uint8], looked_at: int) -> bool:
    """Whether the values ``used`` by so many samples are few."""
    occurring = np.flatnonzero(used)
    count, top = occurring.size, int(occurring[-1]) + 1
    share = _most_share(used)
    # What is missing below the least value, or among a few far above the others, makes no sample
    # cheaper to foretell: the next value has to be missing after as many of those that occur. Of
    # deep samples ranks alone make smaller numbers, which modes of few raw bits gain by.
    if used.size <= 1 << _GAPLESS:
        gaps = np.count_nonzero(np.diff(occurring) > 1)
        if gaps < (1.0 - share) * (count - 1):
            return False
    # Of as many random values, some would be missing by chance.
    expected = top * (1.0 - np.exp(-looked_at / top))
    return bool(count <= share * expected)


def _rank_bits(count: int) -> int:
    return max((count - 1).bit_length(), 1)


def parse_values(raw: memoryview, bits: NDArray[np.int64]) -> tuple[Values, int]:
    """What `reduce_values` said, and how many bytes of ``raw`` that took.

    Raises ValueError where it makes no sense for components of ``bits``.
    """
    components = bits.size
    shifts = list(raw[:components])
    if len(shifts) < components:
        raise ValueError("its head is cut short")
    left = [depth - shift for depth, shift in zip(bits.tolist(), shifts, strict=True)]
    if min(left) <= 0:
        raise ValueError("more low bits are dropped than there are")
    mapped = [0] * components
    tables: list[tuple[int, NDArray[np.uint16]]] = []
    at = components
    (count,) = struct.unpack_from("<B", raw, at)
    at += 1
    for _ in range(count):
        mask, depth = _MAP.unpack_from(raw, at)
        at += _MAP.size
        if depth > 16:
            raise ValueError("a map of values is too large")
        size = max((1 << depth) // 8, 1)
        packed = np.frombuffer(raw, np.uint8, size, at)
        at += size
        used = np.unpackbits(packed, count=1 << depth, bitorder="little")
        occurring = np.flatnonzero(used).astype(np.uint16)
        for component in range(16):
            if not mask >> component & 1:
                continue
            if component >= components or mapped[component] or left[component] != depth:
                raise ValueError("a map of values is not its components'")
            if not occurring.size:
                raise ValueError("a map of values is empty")
            mapped[component] = 1
            left[component] = _rank_bits(occurring.size)
            tables.append((component, occurring))
    widest = max((left[component] for component, _ in tables), default=0)
    maps = np.zeros((components, 1 << widest), np.uint16)
    for component, occurring in tables:
        maps[component, : occurring.size] = occurring
    return Values(_int64(shifts), _int64(left), _int64(mapped), maps), at


def _int64(numbers: list[int]) -> NDArray[np.int64]:
    return np.array(numbers, np.int64)
