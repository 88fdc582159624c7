"""Sixteen columns of one parity at once: the prediction of tile mode 5, in vector registers.

Rows are held as *halves*, their even columns and their odd ones, each contiguous. Even columns are
predicted from the rows above and from planes coded before; odd columns also from the even ones on
either side. So no sample waits for its left neighbour, and every step is a vector's. Neighbours to
the left and to the right have one tap in common, that of their mean.

Samples are held shifted up, so that those of less than 16 bits use 15 bits and their differences
16. A tap's product keeps the high half, as ``mulhi`` of 16-bit lanes does; products of taps with
odd numbers are subtracted, which makes up for all being rounded down.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from codec.kernels.quick_lanes import lane_sum

LANES = 16
_I16 = ir.IntType(16)
_I32 = ir.IntType(32)
_I64 = ir.IntType(64)
_V = ir.VectorType(_I16, LANES)
_WIDE = ir.VectorType(_I32, LANES)
_PLACES = (4, 8, 12)
"""Halves that a step looks at, by how many planes it refers to."""


def _same(value: int, kind: Any = _V) -> Any:
    return ir.Constant(kind, [value] * kind.count)


def _splat(builder: Any, scalar: Any) -> Any:
    undefined = ir.Constant(_V, ir.Undefined)
    first = builder.insert_element(undefined, builder.trunc(scalar, _I16), _I32(0))
    zeros = ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES)
    return builder.shuffle_vector(first, undefined, zeros)


class _Array:
    """Vectors of a contiguous array of 16-bit numbers."""

    def __init__(self, context: Any, builder: Any, kind: Any, array: Any) -> None:
        data = context.make_array(kind)(context, builder, array).data
        self._data = builder.bitcast(data, _I16.as_pointer())
        self._builder = builder

    def _place(self, index: Any, kind: Any) -> Any:
        return self._builder.bitcast(self._builder.gep(self._data, [index]), kind.as_pointer())

    def load(self, index: Any, offset: int = 0, kind: Any = _V) -> Any:
        if offset:
            index = self._builder.add(index, _I64(offset))
        return self._builder.load(self._place(index, kind), align=2)

    def store(self, index: Any, vector: Any) -> None:
        self._builder.store(vector, self._place(index, vector.type), align=2)


def _high_product(builder: Any, a: Any, b: Any) -> Any:
    product = builder.mul(builder.sext(a, _WIDE), builder.sext(b, _WIDE))
    return builder.trunc(builder.lshr(product, _same(16, _WIDE)), _V)


def _average(builder: Any, a: Any, b: Any) -> Any:
    """Halves of sums of two unsigned numbers, rounded up."""
    total = builder.add(builder.zext(a, _WIDE), builder.zext(b, _WIDE))
    return builder.trunc(builder.lshr(builder.add(total, _same(1, _WIDE)), _same(1, _WIDE)), _V)


def _predicted(builder: Any, ring: Any, places: list[Any], odd: bool, taps: Any) -> Any:
    """The prediction (not yet cut to whole samples) of the columns that ``places`` lead to.

    ``places`` are, of the plane itself, the two halves of the row above, that of two rows above,
    and the even half of the row; of each plane coded before, both halves of the row and both of
    the row above. The half of the columns' own parity comes first.
    """
    west, east = (0, 1) if odd else (-1, 0)
    north, north_other, north2, other = places[:4]
    base = ring.load(north)

    def pair(half: Any) -> Any:
        return _average(builder, ring.load(half, west), ring.load(half, east))

    terms = [(pair(north_other), base), (ring.load(north2), base)]
    for first in range(4, len(places), 4):
        same, cross, above, cross_above = places[first : first + 4]
        edge = ring.load(above)
        terms += [(ring.load(same), edge), (pair(cross), edge), (pair(cross_above), edge)]
    if odd:
        terms.append((pair(other), base))
    total = None
    for i, (value, edge) in enumerate(terms):
        tap = taps.load(_I64(LANES * i))
        product = _high_product(builder, builder.sub(value, edge), tap)
        if total is None:
            total = product
        else:
            total = (builder.sub if i & 1 else builder.add)(total, product)
    return builder.add(base, builder.shl(total, _same(2)))


def _step(odd: bool, references: int, decode: bool) -> Any:
    """The step of sixteen columns of one parity, of a plane with so many to refer to.

    A residual step writes folded residuals ``z[at : at + 16]`` (uint16) of the samples at
    ``ring[own + j]`` (uint16) and returns their sum (int32); a rebuilding one is its inverse, and
    returns nothing. ``offsets`` are where the halves of `_predicted` begin in ``ring``, ``taps``
    int16[taps, LANES] the coefficients, each in all lanes, ``bits`` those of a sample. Nothing is
    checked: all vectors must lie in their arrays.
    """
    places = _PLACES[references]

    def step(
        typing_context: Any,
        ring: Any,
        own: Any,
        offsets: Any,
        j: Any,
        taps: Any,
        bits: Any,
        z: Any,
        at: Any,
    ) -> Any:
        i64 = types.int64
        result = types.void if decode else types.int32
        signature = result(ring, i64, offsets, i64, taps, i64, z, i64)

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kinds = signature.args
            array = _Array(context, builder, kinds[0], args[0])
            tap_array = _Array(context, builder, kinds[4], args[4])
            z_array = _Array(context, builder, kinds[6], args[6])
            own = builder.add(args[1], args[3])
            rows = [builder.add(builder.extract_value(args[2], i), args[3]) for i in range(places)]
            bits = args[5]
            deep = builder.icmp_signed(">", bits, _I64(15))
            up = builder.select(deep, _I64(0), builder.sub(_I64(15), bits))
            one = builder.shl(_I64(1), up)
            keep = _splat(builder, builder.neg(one))
            half = _splat(builder, builder.lshr(one, _I64(1)))
            p = _predicted(builder, array, rows, odd, tap_array)
            p = builder.and_(builder.add(p, half), keep)
            if decode:
                v = z_array.load(args[7])
                sign = builder.neg(builder.and_(v, _same(1)))
                d = builder.xor(builder.lshr(v, _same(1)), sign)
                sample = builder.add(p, builder.shl(d, _splat(builder, up)))
                top = builder.select(deep, _I64(0xFFFF), _I64(0x7FFF))
                mask = _splat(builder, builder.and_(top, builder.neg(one)))
                array.store(own, builder.and_(sample, mask))
                return context.get_dummy_value()
            d = builder.sub(array.load(own), p)
            d = builder.shl(d, _splat(builder, builder.select(deep, _I64(0), _I64(1))))
            d = builder.ashr(d, _splat(builder, builder.sub(_I64(16), bits)))
            v = builder.xor(builder.shl(d, _same(1)), builder.ashr(d, _same(15)))
            z_array.store(args[7], v)
            return lane_sum(builder, v)

        return signature, generate

    return intrinsic(step)


residual_even0, residual_even1, residual_even2 = (_step(False, n, False) for n in range(3))
residual_odd0, residual_odd1, residual_odd2 = (_step(True, n, False) for n in range(3))
rebuild_even0, rebuild_even1, rebuild_even2 = (_step(False, n, True) for n in range(3))
rebuild_odd0, rebuild_odd1, rebuild_odd2 = (_step(True, n, True) for n in range(3))


@intrinsic
def part_columns(
    typing_context: Any, row: Any, at: Any, ring: Any, even: Any, odd: Any, up: Any
) -> Any:
    """Shift ``row[at : at + 32]`` (uint16) up, its halves to ``ring[even]`` and ``ring[odd]``."""
    i64 = types.int64
    signature = types.void(row, i64, ring, i64, i64, i64)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source = _Array(context, builder, signature.args[0], args[0])
        target = _Array(context, builder, signature.args[2], args[2])
        low = source.load(args[1])
        high = source.load(args[1], LANES)
        up = _splat(builder, args[5])
        for parity in range(2):
            pick = ir.Constant(ir.VectorType(_I32, LANES), [2 * i + parity for i in range(LANES)])
            half = builder.shuffle_vector(low, high, pick)
            target.store(args[3 + parity], builder.shl(half, up))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def join_columns(
    typing_context: Any, ring: Any, even: Any, odd: Any, row: Any, at: Any, down: Any
) -> Any:
    """The inverse of `part_columns`."""
    i64 = types.int64
    signature = types.void(ring, i64, i64, row, i64, i64)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source = _Array(context, builder, signature.args[0], args[0])
        target = _Array(context, builder, signature.args[3], args[3])
        down = _splat(builder, args[5])
        halves = [builder.lshr(source.load(args[i]), down) for i in (1, 2)]
        order = [i // 2 + (i & 1) * LANES for i in range(2 * LANES)]
        pick = ir.Constant(ir.VectorType(_I32, 2 * LANES), order)
        target.store(args[4], builder.shuffle_vector(*halves, pick))
        return context.get_dummy_value()

    return signature, generate
