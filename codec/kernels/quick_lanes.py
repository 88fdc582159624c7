"""Sixteen residuals at once: the parts that quads and raw lanes are made of, in vector registers.

A group is sixteen columns. Its residuals ``z`` part into high parts ``h = z >> k``, of which four
neighbours, each cut to 3, make a *quad*; and into the low k bits, which go to sixteen lanes of
bits that grow abreast: lane i is made of bit 16 * i and on of vectors of 256 bits.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

GROUP = 16
QUADS = 4
QUAD_SHIFT = 6
"""Where a quad stands in an entry of a table for decoding, after the length of its code."""
_I8 = ir.IntType(8)
_I16 = ir.IntType(16)
_I32 = ir.IntType(32)
_I64 = ir.IntType(64)
_V16 = ir.VectorType(_I16, GROUP)
_V64 = ir.VectorType(_I64, QUADS)
_PLACES = (14, 28, 42)
"""How far the second to fourth two bits of a quad lie from those of 16-bit lanes of 64."""


def _same(kind: Any, value: int) -> Any:
    return ir.Constant(kind, [value] * kind.count)


def _splat(builder: Any, kind: Any, scalar: Any) -> Any:
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, builder.trunc(scalar, kind.element), _I32(0))
    zeros = ir.Constant(ir.VectorType(_I32, kind.count), [0] * kind.count)
    return builder.shuffle_vector(first, undefined, zeros)


def _vector(
    context: Any, builder: Any, array_type: Any, array: Any, index: Any, kind: Any, item: Any
) -> Any:
    """Pointer to a vector that begins at element ``index`` of an array of ``item``."""
    data = context.make_array(array_type)(context, builder, array).data
    place = builder.gep(builder.bitcast(data, item.as_pointer()), [index])
    return builder.bitcast(place, kind.as_pointer())


@intrinsic
def split_group(
    typing_context: Any,
    z: Any,
    at: Any,
    k: Any,
    quads: Any,
    quad_at: Any,
    lanes: Any,
    byte: Any,
    filled: Any,
) -> Any:
    """Part the residuals ``z[at : at + 16]`` (uint16) at bit ``k``, which is at most 15.

    ``quads[quad_at : quad_at + 4]`` (uint8) gets the quads. The low bits are ORed onto the
    vector at ``lanes[byte]`` (uint8), of which each lane holds ``filled`` bits (at most 15); what
    does not fit begins the vector after it, which is overwritten. Nothing is checked.

    Returns a mark (uint16), bit i of which is set where the i-th high part is 3 or more.
    """
    signature = types.uint16(
        z, types.int64, types.int64, quads, types.int64, lanes, types.int64, types.int64
    )

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        source = _vector(context, builder, kinds[0], args[0], args[1], _V16, _I16)
        values = builder.load(source, align=2)
        k = _splat(builder, _V16, args[2])
        high = builder.lshr(values, k)
        three = _same(_V16, 3)
        escaped = builder.icmp_unsigned(">=", high, three)
        high = builder.select(escaped, three, high)
        joined = builder.bitcast(high, _V64)
        quad = joined
        for place in _PLACES:
            quad = builder.or_(quad, builder.lshr(joined, _same(_V64, place)))
        narrow = builder.trunc(quad, ir.VectorType(_I8, QUADS))
        target = _vector(
            context, builder, kinds[3], args[3], args[4], ir.VectorType(_I8, QUADS), _I8
        )
        builder.store(narrow, target, align=1)
        ones = builder.shl(_same(_V16, 1), k)
        low = builder.and_(values, builder.sub(ones, _same(_V16, 1)))
        filled = _splat(builder, _V16, args[7])
        first = _vector(context, builder, kinds[5], args[5], args[6], _V16, _I8)
        after = builder.add(args[6], _I64(2 * GROUP))
        second = _vector(context, builder, kinds[5], args[5], after, _V16, _I8)
        held = builder.or_(builder.load(first, align=1), builder.shl(low, filled))
        builder.store(held, first, align=1)
        rest = builder.sub(_same(_V16, 15), filled)
        over = builder.lshr(builder.lshr(low, _same(_V16, 1)), rest)
        builder.store(over, second, align=1)
        return builder.bitcast(escaped, _I16)

    return signature, generate


@intrinsic
def merge_group(
    typing_context: Any,
    entries: Any,
    quad_at: Any,
    k: Any,
    lanes: Any,
    byte: Any,
    filled: Any,
    z: Any,
    at: Any,
    sums: Any,
    place: Any,
) -> Any:
    """The inverse of `split_group`: residuals ``z[at : at + 16]``, of which h is 3 at the most.

    Their quads stand in ``entries[quad_at : quad_at + 4]`` (uint16), as tables for decoding have
    them. Their low bits stand from bit ``filled`` of the lanes of the vector at ``lanes[byte]`` on,
    and in the vector after it. ``sums[place]`` (int32) gets their sum. Returns a mark (uint16) of
    the high parts that are 3.
    """
    signature = types.uint16(
        entries,
        types.int64,
        types.int64,
        lanes,
        types.int64,
        types.int64,
        z,
        types.int64,
        sums,
        types.int64,
    )

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        source = _vector(
            context, builder, kinds[0], args[0], args[1], ir.VectorType(_I16, QUADS), _I16
        )
        quad = builder.zext(builder.load(source, align=2), _V64)
        quad = builder.lshr(quad, _same(_V64, QUAD_SHIFT))
        joined = quad
        for place in _PLACES:
            joined = builder.or_(joined, builder.shl(quad, _same(_V64, place)))
        joined = builder.and_(joined, _same(_V64, 0x0003000300030003))
        high = builder.bitcast(joined, _V16)
        escaped = builder.icmp_unsigned("==", high, _same(_V16, 3))
        k = _splat(builder, _V16, args[2])
        high = builder.shl(high, k)
        filled = _splat(builder, _V16, args[5])
        first = _vector(context, builder, kinds[3], args[3], args[4], _V16, _I8)
        after = builder.add(args[4], _I64(2 * GROUP))
        second = _vector(context, builder, kinds[3], args[3], after, _V16, _I8)
        low = builder.lshr(builder.load(first, align=1), filled)
        over = builder.load(second, align=1)
        rest = builder.sub(_same(_V16, 15), filled)
        low = builder.or_(low, builder.shl(builder.add(over, over), rest))
        mask = builder.sub(builder.shl(_same(_V16, 1), k), _same(_V16, 1))
        target = _vector(context, builder, kinds[6], args[6], args[7], _V16, _I16)
        values = builder.or_(high, builder.and_(low, mask))
        builder.store(values, target, align=2)
        data = context.make_array(kinds[8])(context, builder, args[8]).data
        builder.store(lane_sum(builder, values), builder.gep(data, [args[9]]))
        return builder.bitcast(escaped, _I16)

    return signature, generate


def pick(builder: Any, a: Any, b: Any, lanes: list[int]) -> Any:
    """Some lanes of ``a`` and of ``b``, which are counted on from those of ``a``."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_I32, len(lanes)), lanes))


def pair_sums(builder: Any, values: Any) -> Any:
    """Sums (int32) of each two lanes of a vector of unsigned 16-bit numbers."""
    kind = ir.VectorType(_I32, GROUP // 2)
    wide = builder.bitcast(values, kind)
    low = builder.and_(wide, _same(kind, 0xFFFF))
    return builder.add(low, builder.lshr(wide, _same(kind, 16)))


def lane_sum(builder: Any, values: Any) -> Any:
    """Sum (int32) of the lanes of a vector of unsigned 16-bit numbers."""
    sums = pair_sums(builder, values)
    lanes = sums.type.count
    while lanes > 1:
        lanes //= 2
        parts = [[first + i for i in range(lanes)] for first in (0, lanes)]
        sums = builder.add(*(pick(builder, sums, sums, part) for part in parts))
    return builder.extract_element(sums, _I32(0))


@intrinsic
def group_sum(typing_context: Any, z: Any, at: Any) -> Any:
    """Sum (int32) of the residuals ``z[at : at + 16]`` (uint16)."""
    signature = types.int32(z, types.int64)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source = _vector(context, builder, signature.args[0], args[0], args[1], _V16, _I16)
        return lane_sum(builder, builder.load(source, align=2))

    return signature, generate
