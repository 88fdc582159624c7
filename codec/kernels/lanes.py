"""Eight columns of eight runs at once: a recursion along rows, in vector registers.

The runs are transposed in registers, so that the lanes of a vector hold the same column of all
runs, the recursion steps through the columns, and the result is transposed back.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

LANES = 8
_I16 = ir.IntType(16)
_I32 = ir.IntType(32)
_LANE_BITS = 32
_FRACTION = 12


def _splat(builder: Any, scalar: Any) -> Any:
    vector = ir.VectorType(_I32, LANES)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, _I32(0))
    zeros = ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros)


def _exchange(stride: int) -> tuple[Any, Any]:
    """Shuffles of two vectors that exchange their off-diagonal blocks of ``stride`` lanes."""
    kind = ir.VectorType(_I32, LANES)
    low = [lane if not lane & stride else lane - stride + LANES for lane in range(LANES)]
    high = [lane + stride if not lane & stride else lane + LANES for lane in range(LANES)]
    return ir.Constant(kind, low), ir.Constant(kind, high)


def _transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """Vector c of the result holds lane c of each of the eight vectors."""
    for stride in (4, 2, 1):
        merged = list(rows)
        for i in range(LANES):
            if i & stride:
                continue
            a, b = rows[i], rows[i + stride]
            first, second = _exchange(stride)
            merged[i] = builder.shuffle_vector(a, b, first)
            merged[i + stride] = builder.shuffle_vector(a, b, second)
        rows = merged
    return rows


def _array_pointer(context: Any, builder: Any, kind: Any, array: Any, item: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(data, item.as_pointer())


@intrinsic
def step_lanes(
    typing_context: Any,
    base: Any,
    row: Any,
    row_start: Any,
    at: Any,
    run: Any,
    state: Any,
    west: Any,
    bits: Any,
) -> Any:
    """Samples of columns ``at .. at + 7`` of eight runs: bits 12 to ``12 + bits - 1`` of
    ``base + west * v`` where v is the sample before; ``bits`` is at most 16.

    Run s has its columns at ``s * run + at`` of ``base`` (int32) and at ``row_start`` more of
    ``row`` (uint16); ``state`` (int32[8]) holds each run's last sample before and after. The
    caller guarantees that all of them lie in their arrays; nothing is checked.
    """
    signature = types.void(
        base, row, types.int64, types.int64, types.int64, state, types.int32, types.int32
    )

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector32 = ir.VectorType(_I32, LANES)
        vector16 = ir.VectorType(_I16, LANES)
        base_data = _array_pointer(context, builder, signature.args[0], args[0], _I32)
        row_data = _array_pointer(context, builder, signature.args[1], args[1], _I16)
        state_data = _array_pointer(context, builder, signature.args[5], args[5], _I32)
        row_start, at, run = args[2], args[3], args[4]
        places = []
        place = at
        for _ in range(LANES):
            places.append(place)
            place = builder.add(place, run)

        def vector(data: Any, index: Any, kind: Any) -> Any:
            return builder.bitcast(builder.gep(data, [index]), kind.as_pointer())

        rows = [builder.load(vector(base_data, i, vector32), align=4) for i in places]
        columns = _transposed(builder, rows)
        # With the sample's bits at the top of the lane, dropping those above costs nothing.
        bits = args[7]
        up = _splat(builder, builder.sub(_I32(_LANE_BITS - _FRACTION), bits))
        weight = builder.shl(_splat(builder, args[6]), up)
        down = _splat(builder, builder.sub(_I32(_LANE_BITS), bits))
        state_vector = builder.bitcast(state_data, vector32.as_pointer())
        value = builder.load(state_vector, align=4)
        samples = []
        for column in columns:
            value = builder.add(builder.shl(column, up), builder.mul(weight, value))
            value = builder.lshr(value, down)
            samples.append(builder.trunc(value, vector16))
        builder.store(value, state_vector, align=4)
        for place, samples_of_run in zip(places, _transposed(builder, samples), strict=True):
            index = builder.add(place, row_start)
            builder.store(samples_of_run, vector(row_data, index, vector16), align=2)
        return context.get_dummy_value()

    return signature, generate
