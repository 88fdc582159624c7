"""Rows of tile mode 5, as halves of even and of odd columns: to residuals and back.

A *ring* (uint16) holds three rows of each plane, in coding order, each as two halves of
`half_stride` numbers. Row r stands in slot ``r % SLOTS``. Samples are held shifted up (see
`codec.kernels.half_lanes`). Beside a half, its last sample stands again; left of the first odd
column stands the first even one.
"""

from __future__ import annotations

from typing import Any

from codec.kernels.half_lanes import (
    LANES,
    join_columns,
    part_columns,
    rebuild_even0,
    rebuild_even1,
    rebuild_even2,
    rebuild_odd0,
    rebuild_odd1,
    rebuild_odd2,
    residual0,
    residual1,
    residual2,
)
from codec.kernels.jit import kernel
from codec.kernels.packing import PAD
from codec.kernels.quick_groups import SIDE
from codec.kernels.quick_lanes import group_sum

REFERENCES = 2
SLOTS = 3
COLUMNS = 2 * LANES
"""Columns whose even ones are one group, and whose odd ones the next."""
_MARGIN = 16
_TOP = 15
"""Samples are shifted up to so many bits."""


@kernel
def scale_of(bits: int) -> int:
    """How far samples of ``bits`` are shifted up in a ring."""
    return max(_TOP - bits, 0)


@kernel
def column_blocks(width: int) -> int:
    """Blocks of `COLUMNS` columns in a row, the last perhaps not full."""
    return (width + COLUMNS - 1) // COLUMNS


@kernel
def half_stride(width: int) -> Any:
    """Numbers that a half takes in a ring, with those beside it."""
    return column_blocks(width) * LANES + 2 * _MARGIN


@kernel
def ring_size(planes: int, width: int) -> Any:
    """Numbers in a ring."""
    return planes * SLOTS * 2 * half_stride(width)


@kernel
def half_place(p: int, slot: int, parity: int, stride: int) -> int:
    """Where a half begins in a ring."""
    return ((p * SLOTS + slot) * 2 + parity) * stride + _MARGIN


@kernel
def fill_row(ring: Any, p: int, slot: int, stride: int, value: int) -> None:
    """Have a row hold one number, as rows above a tile do."""
    first = half_place(p, slot, 0, stride) - _MARGIN
    for i in range(first, first + 2 * stride):
        ring[i] = value


@kernel
def _pad_even(ring: Any, even: int, width: int) -> None:
    count = (width + 1) // 2
    ring[even + count] = ring[even + count - 1]


@kernel
def _pad_odd(ring: Any, even: int, odd: int, width: int) -> None:
    count = width // 2
    ring[odd - 1] = ring[even]
    ring[odd + count] = ring[odd + count - 1]


@kernel
def part_row(row: Any, ring: Any, p: int, slot: int, stride: int, width: int, bits: int) -> None:
    """Put ``row`` (uint16[PAD + width + PAD]) into a ring."""
    even = half_place(p, slot, 0, stride)
    odd = half_place(p, slot, 1, stride)
    up = scale_of(bits)
    whole = width // COLUMNS
    for j in range(whole):
        at = LANES * j
        part_columns(row, PAD + COLUMNS * j, ring, even + at, odd + at, up)
    for x in range(COLUMNS * whole, width):
        half = odd if x & 1 else even
        ring[half + (x >> 1)] = row[PAD + x] << up
    _pad_even(ring, even, width)
    _pad_odd(ring, even, odd, width)


@kernel
def join_row(ring: Any, p: int, slot: int, stride: int, width: int, bits: int, row: Any) -> None:
    """The inverse of `part_row`; ``row`` has room for whole blocks of columns after PAD."""
    even = half_place(p, slot, 0, stride)
    odd = half_place(p, slot, 1, stride)
    down = scale_of(bits)
    for j in range(column_blocks(width)):
        at = LANES * j
        join_columns(ring, even + at, odd + at, row, PAD + COLUMNS * j, down)


@kernel
def own_places(
    p: int, now: int, north: int, north2: int, parity: int, stride: int
) -> tuple[int, int, int, int]:
    """The halves of its own plane that a half's prediction looks at; rows are given by slot."""
    return (
        half_place(p, north, parity, stride),
        half_place(p, north, 1 - parity, stride),
        half_place(p, north2, parity, stride),
        half_place(p, now, 0, stride),
    )


@kernel
def reference_places(
    q: int, now: int, north: int, parity: int, stride: int
) -> tuple[int, int, int, int]:
    """The halves of the q-th plane that the prediction of one coded after it looks at."""
    return (
        half_place(q, now, parity, stride),
        half_place(q, now, 1 - parity, stride),
        half_place(q, north, parity, stride),
        half_place(q, north, 1 - parity, stride),
    )


@kernel
def residual_halves(
    ring: Any,
    p: int,
    now: int,
    north: int,
    north2: int,
    stride: int,
    width: int,
    bits: int,
    taps: Any,
    z: Any,
    sums: Any,
) -> None:
    """Folded residuals ``z`` (uint16) of the p-th plane's row in slot ``now``, and their ``sums``.

    ``taps`` int16[2, TAPS, LANES]; ``sums`` int32[SIDE + groups + SIDE], but for those beside.
    Group ``2 * j`` holds even columns, ``2 * j + 1`` the odd ones among them.
    """
    blocks = column_blocks(width)
    even, odd = half_place(p, now, 0, stride), half_place(p, now, 1, stride)
    e = own_places(p, now, north, north2, 0, stride)
    o = own_places(p, now, north, north2, 1, stride)
    c, d = taps[0], taps[1]
    if p == 0:
        for j in range(blocks):
            at, x, g = LANES * j, COLUMNS * j, SIDE + 2 * j
            residual0(ring, even, odd, e, o, at, c, d, bits, z, x, sums, g)
    elif p == 1:
        e1 = e + reference_places(p - 1, now, north, 0, stride)
        o1 = o + reference_places(p - 1, now, north, 1, stride)
        for j in range(blocks):
            at, x, g = LANES * j, COLUMNS * j, SIDE + 2 * j
            residual1(ring, even, odd, e1, o1, at, c, d, bits, z, x, sums, g)
    else:
        e1 = e + reference_places(p - 1, now, north, 0, stride)
        o1 = o + reference_places(p - 1, now, north, 1, stride)
        e2 = e1 + reference_places(p - 2, now, north, 0, stride)
        o2 = o1 + reference_places(p - 2, now, north, 1, stride)
        for j in range(blocks):
            at, x, g = LANES * j, COLUMNS * j, SIDE + 2 * j
            residual2(ring, even, odd, e2, o2, at, c, d, bits, z, x, sums, g)
    if width % COLUMNS:
        _clear_after(z, sums, width)


@kernel
def _clear_after(z: Any, sums: Any, width: int) -> None:
    """Have the columns after a row's last, which fill up its last groups, no residuals."""
    j = column_blocks(width) - 1
    first = COLUMNS * j
    used = width - first
    for i in range((used + 1) // 2, LANES):
        z[first + i] = 0
    for i in range(used // 2, LANES):
        z[first + LANES + i] = 0
    sums[SIDE + 2 * j] = group_sum(z, first)
    sums[SIDE + 2 * j + 1] = group_sum(z, first + LANES)


@kernel
def rebuild_halves(
    ring: Any,
    p: int,
    now: int,
    north: int,
    north2: int,
    stride: int,
    width: int,
    bits: int,
    taps: Any,
    z: Any,
) -> None:
    """The inverse of `residual_halves`: the samples of slot ``now``, from their residuals."""
    blocks = column_blocks(width)
    even, odd = half_place(p, now, 0, stride), half_place(p, now, 1, stride)
    e = own_places(p, now, north, north2, 0, stride)
    o = own_places(p, now, north, north2, 1, stride)
    c, d = taps[0], taps[1]
    if p == 0:
        for j in range(blocks):
            rebuild_even0(ring, even, e, LANES * j, c, bits, z, COLUMNS * j)
        _pad_even(ring, even, width)
        for j in range(blocks):
            rebuild_odd0(ring, odd, o, LANES * j, d, bits, z, COLUMNS * j + LANES)
    elif p == 1:
        e1 = e + reference_places(p - 1, now, north, 0, stride)
        o1 = o + reference_places(p - 1, now, north, 1, stride)
        for j in range(blocks):
            rebuild_even1(ring, even, e1, LANES * j, c, bits, z, COLUMNS * j)
        _pad_even(ring, even, width)
        for j in range(blocks):
            rebuild_odd1(ring, odd, o1, LANES * j, d, bits, z, COLUMNS * j + LANES)
    else:
        e1 = e + reference_places(p - 1, now, north, 0, stride)
        o1 = o + reference_places(p - 1, now, north, 1, stride)
        e2 = e1 + reference_places(p - 2, now, north, 0, stride)
        o2 = o1 + reference_places(p - 2, now, north, 1, stride)
        for j in range(blocks):
            rebuild_even2(ring, even, e2, LANES * j, c, bits, z, COLUMNS * j)
        _pad_even(ring, even, width)
        for j in range(blocks):
            rebuild_odd2(ring, odd, o2, LANES * j, d, bits, z, COLUMNS * j + LANES)
    _pad_odd(ring, even, odd, width)
