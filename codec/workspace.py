"""Arrays that tiles are encoded in, kept from one tile to the next."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from codec.kernels import context, entropy, plane, predict
from codec.kernels.packing import PAD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from codec.deep import DeepArrays
    from codec.halves import HalfArrays

_Shape: TypeAlias = tuple[int, int, int]
_MOST_KEPT = 2 * (os.cpu_count() or 1) + 4
"""Each core works on one; a frame's tiles have one shape, but for the first and the last of them,
and levels cut frames into tiles of their own shapes."""

_KEPT_SCRATCH = 1 << 23
"""Bytes of a thread's scratch memory that are kept at most."""


@dataclass(slots=True, eq=False)
class Workspace:
    """Arrays for tiles of one shape: components, rows, width. Contents are undefined."""

    shape: _Shape
    planes: NDArray[np.uint16]
    z: NDArray[np.uint16]
    magnitudes: NDArray[np.int16]
    coded: NDArray[np.uint8]
    histogram: NDArray[np.int64]
    direct: NDArray[np.uint32]
    streams: NDArray[np.uint8]
    ends: NDArray[np.int64]
    heads: NDArray[np.uint8]
    coefficients: NDArray[np.int32]
    thresholds: NDArray[np.int16]
    k: NDArray[np.uint8]
    lengths: NDArray[np.uint8]
    table: NDArray[np.uint32]
    deep: DeepArrays | None = None
    halves: HalfArrays | None = None


class Scratch(threading.local):
    """Memory of each thread's own that holds something for as long as one tile is worked on."""

    def __init__(self) -> None:
        self._kept = np.empty(0, np.uint8)

    def room(self, size: int) -> NDArray[np.uint8]:
        """So many bytes, whatever is in them; the thread's until it asks again."""
        if size > _KEPT_SCRATCH:
            return np.empty(size, np.uint8)
        if self._kept.size < size:
            self._kept = np.empty(size, np.uint8)
        return self._kept[:size]


_lock = threading.Lock()
_idle: list[Workspace] = []


@contextmanager
def workspace(components: int, rows: int, width: int) -> Iterator[Workspace]:
    """Arrays for a tile of one shape, the caller's alone until it leaves.

    Any thread may call this.
    """
    shape = (components, rows, width)
    work = _idle_one(shape) or _made(shape)
    try:
        yield work
    finally:
        with _lock:
            _idle.append(work)
            del _idle[:-_MOST_KEPT]


def _idle_one(shape: _Shape) -> Workspace | None:
    with _lock:
        for index in reversed(range(len(_idle))):
            if _idle[index].shape == shape:
                return _idle.pop(index)
    return None


def _made(shape: _Shape) -> Workspace:
    components, rows, width = shape
    padded = width + 2 * PAD
    blocks = -(-width // entropy.BLOCK)
    capacity = rows * (width // entropy.STREAMS + 1) * entropy.MAX_SAMPLE_BITS // 8 + 16
    return Workspace(
        shape=shape,
        planes=np.zeros((components, rows, padded), np.uint16),
        z=np.zeros((rows, padded), np.uint16),
        magnitudes=np.zeros((components, rows + 2, padded), np.int16),
        coded=np.zeros((rows, blocks), np.uint8),
        histogram=np.zeros((2, context.MAX_ACTIVITY), np.int64),
        direct=np.zeros(context.CONTEXTS << entropy.DIRECT_BITS, np.uint32),
        streams=np.zeros((components, entropy.STREAMS, capacity), np.uint8),
        ends=np.zeros((components, entropy.STREAMS), np.int64),
        heads=np.zeros(components * plane.head_room(rows, blocks), np.uint8),
        coefficients=np.zeros(predict.COEFFICIENTS, np.int32),
        thresholds=np.zeros(context.THRESHOLDS, np.int16),
        k=np.zeros(context.CONTEXTS, np.uint8),
        lengths=np.zeros((context.CONTEXTS, entropy.SYMBOLS), np.uint8),
        table=np.zeros(context.CONTEXTS * entropy.SYMBOLS, np.uint32),
    )
