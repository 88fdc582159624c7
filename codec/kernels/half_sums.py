"""Sixteen samples at once: the sums of products that a fit is made of."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

LANES = 16
_F = ir.FloatType()
_I16 = ir.IntType(16)
_I32 = ir.IntType(32)
_VF = ir.VectorType(_F, LANES)
_VI = ir.VectorType(_I16, LANES)


def _vector(context: Any, builder: Any, kind: Any, array: Any, index: Any, item: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    place = builder.gep(builder.bitcast(data, item.as_pointer()), [index])
    return builder.bitcast(place, ir.VectorType(item, LANES).as_pointer())


@intrinsic
def difference_lanes(
    typing_context: Any, ring: Any, at: Any, edge: Any, out: Any, place: Any
) -> Any:
    """``out[place + i] = ring[at + i] - ring[edge + i]`` (float32) of 16-bit numbers."""
    i64 = types.int64
    signature = types.void(ring, i64, i64, out, i64)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        a, b = (
            builder.load(_vector(context, builder, kinds[0], args[0], index, _I16), align=2)
            for index in (args[1], args[2])
        )
        wide = ir.VectorType(_I32, LANES)
        d = builder.sub(builder.zext(a, wide), builder.zext(b, wide))
        target = _vector(context, builder, kinds[3], args[3], args[4], _F)
        builder.store(builder.sitofp(d, _VF), target, align=4)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def add_product(
    typing_context: Any, sums: Any, place: Any, a: Any, ai: Any, b: Any, bi: Any
) -> Any:
    """``sums[place + i] += a[ai + i] * b[bi + i]`` of contiguous float32 arrays."""
    i64 = types.int64
    signature = types.void(sums, i64, a, i64, b, i64)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        pointers = [
            _vector(context, builder, kinds[i], args[i], args[i + 1], _F) for i in (0, 2, 4)
        ]
        held, x, y = (builder.load(pointer, align=4) for pointer in pointers)
        builder.store(builder.fadd(held, builder.fmul(x, y)), pointers[0], align=4)
        return context.get_dummy_value()

    return signature, generate
