"""The values that samples take: which occur, and samples as ranks among them."""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.jit import kernel
from codec.kernels.packing import PAD

_SIGN = np.uint16(0x8000)
_MAGNITUDE = np.uint16(0x7FFF)


@kernel
def fold_signed(plane: Any, rows: int, width: int) -> None:
    """Order sign-and-magnitude samples (uint16[rows, PAD + width + PAD]) as their numbers."""
    for r in range(rows):
        row = plane[r]
        for x in range(width):
            v = np.uint16(row[PAD + x])
            row[PAD + x] = np.uint16(~v) if v & _SIGN else np.uint16(v | _SIGN)


@kernel
def shift_planes(planes: Any, rows: int, width: int, shifts: Any) -> None:
    """Drop the low bits that are zero in all of a component; ``shifts`` gets how many."""
    for c in range(planes.shape[0]):
        joined = np.uint16(0)
        for r in range(rows):
            row = planes[c, r]
            for x in range(width):
                joined |= row[PAD + x]
            if joined & np.uint16(1):
                break
        shift = 0
        while shift < 15 and joined and not (joined >> np.uint16(shift)) & 1:
            shift += 1
        shifts[c] = shift
        if shift:
            for r in range(rows):
                row = planes[c, r]
                for x in range(width):
                    row[PAD + x] >>= np.uint16(shift)


@kernel
def mark_values(plane: Any, rows: int, width: int, step: int, used: Any) -> None:
    """Set ``used[v]`` (uint8) for each value v in every ``step``-th row."""
    for r in range(0, rows, step):
        row = plane[r]
        for x in range(width):
            used[np.uint64(row[PAD + x])] = 1


@kernel
def _are_equal(one: Any, other: Any, rows: int, width: int, step: int) -> bool:
    """Whether two planes have the same samples in every ``step``-th row."""
    for r in range(0, rows, step):
        for x in range(width):
            if one[r, PAD + x] != other[r, PAD + x]:
                return False
    return True


@kernel
def has_equal_planes(planes: Any, rows: int, width: int, step: int) -> bool:
    """Whether any two components have the same samples in every ``step``-th row."""
    for c in range(planes.shape[0]):
        for other in range(c):
            if _are_equal(planes[c], planes[other], rows, width, step):
                return True
    return False


@kernel
def map_plane(plane: Any, rows: int, width: int, table: Any) -> None:
    """Put ``table[v]`` (uint16) in the place of each sample v."""
    for r in range(rows):
        row = plane[r]
        for x in range(width):
            row[PAD + x] = table[np.uint64(row[PAD + x])]


@kernel
def finish_row(
    row: Any, out: Any, mapped: int, values: Any, shift: int, signed: int, width: int
) -> None:
    """Samples as the file has them, of samples as they are coded."""
    up = np.uint16(shift)
    if mapped:
        for x in range(width):
            out[PAD + x] = values[np.uint64(row[PAD + x])] << up
    else:
        for x in range(width):
            out[PAD + x] = row[PAD + x] << up
    if signed:
        for x in range(width):
            v = np.uint16(out[PAD + x])
            out[PAD + x] = np.uint16(v & _MAGNITUDE) if v & _SIGN else np.uint16(~v)
