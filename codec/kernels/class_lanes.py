"""Sixteen runs of columns at once: the recursion of mode 4 in vector registers.

Rows are transposed, so that one column of all runs lies together, and each step takes one column:
what a register of 16 lanes holds is predicted from the two columns before.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from codec.kernels.jit import kernel

LANES = 16
_FRACTION = 12
_I32 = ir.IntType(32)
_VECTOR = ir.VectorType(_I32, LANES)


@kernel
def to_lanes(row: Any, first: int, columns: Any) -> None:
    """``columns`` (int32): a row's `LANES` runs, which begin at ``first``, column by column."""
    length = columns.size // LANES
    for i in range(length):
        at = np.uint64(first + i)
        to = np.uint64(i * LANES)
        for s in range(LANES):
            columns[to + np.uint64(s)] = row[at + np.uint64(s * length)]


@kernel
def from_lanes(columns: Any, start: int, row: Any, first: int, length: int) -> None:
    """The inverse of `to_lanes` for ``length`` columns that begin at ``start``."""
    for i in range(length):
        at = np.uint64(first + i)
        source = np.uint64(start + i * LANES)
        for s in range(LANES):
            row[at + np.uint64(s * length)] = columns[source + np.uint64(s)]


def _splat(builder: Any, scalar: Any) -> Any:
    first = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), scalar, _I32(0))
    return builder.shuffle_vector(
        first, ir.Constant(_VECTOR, ir.Undefined), ir.Constant(_VECTOR, [0] * LANES)
    )


def _least(builder: Any, one: Any, other: Any) -> Any:
    return builder.select(builder.icmp_signed("<", one, other), one, other)


def _most(builder: Any, one: Any, other: Any) -> Any:
    return builder.select(builder.icmp_signed(">", one, other), one, other)


def _unfolded(builder: Any, z: Any, rank: Any, top: Any) -> Any:
    """The samples that residuals make of predictions, see `class_predict`."""

    def constant(value: int) -> Any:
        return ir.Constant(_VECTOR, [value] * LANES)

    room = builder.sub(top, rank)
    least = _least(builder, rank, room)
    sign = builder.sub(constant(0), builder.and_(z, constant(1)))
    near = builder.add(rank, builder.xor(builder.lshr(z, constant(1)), sign))
    beyond = builder.sub(z, least)
    low = builder.icmp_signed("<", rank, room)
    far = builder.select(low, builder.add(rank, beyond), builder.sub(rank, beyond))
    inside = builder.icmp_signed("<=", z, builder.shl(least, constant(1)))
    return builder.and_(builder.select(inside, near, far), top)


@intrinsic
def step_lanes(
    typing_context: Any,
    base: Any,
    west: Any,
    west2: Any,
    z: Any,
    columns: Any,
    at: Any,
    top: Any,
) -> Any:
    """Rebuild one column of all runs, given the two before.

    All arrays are int32 and C-contiguous; ``base``, ``west``, ``west2`` and ``z`` hold the column
    at ``at``, ``columns`` the one two before, and takes the new one at ``at + 2 * LANES``. Nothing
    is checked.
    """
    signature = types.void(base, west, west2, z, columns, types.int64, types.int32)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def pointer(number: int, offset: int) -> Any:
            array = context.make_array(signature.args[number])(context, builder, args[number])
            index = builder.add(args[5], ir.Constant(args[5].type, offset))
            place = builder.gep(array.data, [index])
            return builder.bitcast(place, _VECTOR.as_pointer())

        def vector(number: int, offset: int = 0) -> Any:
            return builder.load(pointer(number, offset), align=4)

        total = builder.add(vector(0), builder.mul(vector(2), vector(4)))
        total = builder.add(total, builder.mul(vector(1), vector(4, LANES)))
        down = ir.Constant(_VECTOR, [_FRACTION] * LANES)
        top = _splat(builder, args[6])
        zero = ir.Constant(_VECTOR, [0] * LANES)
        guess = _least(builder, _most(builder, builder.ashr(total, down), zero), top)
        sample = _unfolded(builder, vector(3), guess, top)
        builder.store(sample, pointer(4, 2 * LANES), align=4)
        return context.get_dummy_value()

    return signature, generate
