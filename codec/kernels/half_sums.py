"""Sixteen samples at once: the sums of products that a fit is made of."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

LANES = 16
ABREAST = 4
_F = ir.FloatType()
_I16 = ir.IntType(16)
_I32 = ir.IntType(32)
_I64 = ir.IntType(64)
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
def mean_difference_lanes(
    typing_context: Any, ring: Any, at: Any, edge: Any, out: Any, place: Any
) -> Any:
    """`difference_lanes` of the means, rounded up, of ``ring[at + i]`` and ``ring[at + i + 1]``."""
    i64 = types.int64
    signature = types.void(ring, i64, i64, out, i64)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        wide = ir.VectorType(_I32, LANES)
        after = builder.add(args[1], ir.Constant(args[1].type, 1))
        a, b, edge = (
            builder.zext(
                builder.load(_vector(context, builder, kinds[0], args[0], index, _I16), align=2),
                wide,
            )
            for index in (args[1], after, args[2])
        )
        ones = ir.Constant(wide, [1] * LANES)
        mean = builder.lshr(builder.add(builder.add(a, b), ones), ones)
        target = _vector(context, builder, kinds[3], args[3], args[4], _F)
        builder.store(builder.sitofp(builder.sub(mean, edge), _VF), target, align=4)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def product_lanes(
    typing_context: Any, out: Any, place: Any, a: Any, ai: Any, b: Any, bi: Any
) -> Any:
    """``out[place + i] = a[ai + i] * b[bi + i]`` of contiguous float32 arrays."""
    i64 = types.int64
    signature = types.void(out, i64, a, i64, b, i64)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        target, x, y = (
            _vector(context, builder, kinds[i], args[i], args[i + 1], _F) for i in (0, 2, 4)
        )
        product = builder.fmul(builder.load(x, align=4), builder.load(y, align=4))
        builder.store(product, target, align=4)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def add_scaled_lanes(typing_context: Any, out: Any, place: Any, a: Any, ai: Any, scale: Any) -> Any:
    """``out[place + i] += scale * a[ai + i]`` of contiguous float32 arrays."""
    i64 = types.int64
    signature = types.void(out, i64, a, i64, types.float32)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        target = _vector(context, builder, kinds[0], args[0], args[1], _F)
        x = builder.load(_vector(context, builder, kinds[2], args[2], args[3], _F), align=4)
        undefined = ir.Constant(_VF, ir.Undefined)
        first = builder.insert_element(undefined, args[4], _I32(0))
        zeros = ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES)
        splat = builder.shuffle_vector(first, undefined, zeros)
        total = builder.fadd(builder.load(target, align=4), builder.fmul(x, splat))
        builder.store(total, target, align=4)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def absolute_lanes(typing_context: Any, out: Any, place: Any, sums: Any) -> Any:
    """Drop the signs of ``out[place : place + 16]``, and add them to ``sums[:16]`` (float32)."""
    signature = types.void(out, types.int64, sums)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        wide = ir.VectorType(_I32, LANES)
        target = _vector(context, builder, kinds[0], args[0], args[1], _F)
        total = _vector(context, builder, kinds[2], args[2], ir.Constant(_I64, 0), _F)
        mask = ir.Constant(wide, [0x7FFFFFFF] * LANES)
        bits = builder.and_(builder.bitcast(builder.load(target, align=4), wide), mask)
        size = builder.bitcast(bits, _VF)
        builder.store(size, target, align=4)
        builder.store(builder.fadd(builder.load(total, align=4), size), total, align=4)
        return context.get_dummy_value()

    return signature, generate


def _total(builder: Any, vector: Any) -> Any:
    """Sum of a vector's lanes."""
    lanes = vector.type.count
    while lanes > 1:
        lanes //= 2
        undefined = ir.Constant(vector.type, ir.Undefined)
        low, high = (
            builder.shuffle_vector(
                vector,
                undefined,
                ir.Constant(ir.VectorType(_I32, lanes), [first + i for i in range(lanes)]),
            )
            for first in (0, lanes)
        )
        vector = builder.fadd(low, high)
    return builder.extract_element(vector, _I32(0))


@intrinsic
def lane_total(typing_context: Any, sums: Any, place: Any) -> Any:
    """``sums[place] + ... + sums[place + 15]`` (float32)."""
    signature = types.float32(sums, types.int64)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _vector(context, builder, signature.args[0], args[0], args[1], _F)
        return _total(builder, builder.load(pointer, align=4))

    return signature, generate


@intrinsic
def sum_products(typing_context: Any, x: Any, a: Any, first: Any, step: Any, count: Any) -> Any:
    """Sum (float32) of ``x[16 * t + i] * a[first + step * t + i]`` for all t below ``count``.

    ``count`` is a multiple of `ABREAST`: so many sums grow abreast, since each waits for itself.
    """
    i64 = types.int64
    signature = types.float32(x, a, i64, i64, i64)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        entered = builder.block
        head = builder.append_basic_block("runs.head")
        body = builder.append_basic_block("runs.body")
        done = builder.append_basic_block("runs.done")
        builder.branch(head)

        builder.position_at_end(head)
        t, xi, ai = (builder.phi(_I64) for _ in range(3))
        sums = [builder.phi(_VF) for _ in range(ABREAST)]
        builder.cbranch(builder.icmp_signed("<", t, args[4]), body, done)

        builder.position_at_end(body)
        x_at, a_at = xi, ai
        grown = []
        for total in sums:
            u = builder.load(_vector(context, builder, kinds[0], args[0], x_at, _F), align=4)
            v = builder.load(_vector(context, builder, kinds[1], args[1], a_at, _F), align=4)
            product = builder.fmul(u, v, flags=("contract",))
            grown.append(builder.fadd(total, product, flags=("contract",)))
            x_at = builder.add(x_at, ir.Constant(_I64, LANES))
            a_at = builder.add(a_at, args[3])
        following = builder.add(t, ir.Constant(_I64, ABREAST))
        builder.branch(head)

        t.add_incoming(ir.Constant(_I64, 0), entered)
        t.add_incoming(following, body)
        xi.add_incoming(ir.Constant(_I64, 0), entered)
        xi.add_incoming(x_at, body)
        ai.add_incoming(args[2], entered)
        ai.add_incoming(a_at, body)
        for total, after in zip(sums, grown, strict=True):
            total.add_incoming(ir.Constant(_VF, [0.0] * LANES), entered)
            total.add_incoming(after, body)

        builder.position_at_end(done)
        while len(sums) > 1:
            sums = [builder.fadd(*sums[i : i + 2]) for i in range(0, len(sums), 2)]
        return _total(builder, sums[0])

    return signature, generate
