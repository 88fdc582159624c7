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

from codec.kernels.quick_lanes import pair_sums, pick

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


def _scope(builder: Any) -> Any:
    """The alias scope of taps, which what a step stores is never part of.

    So the compiler may load them once for a whole row, and keep them in registers.
    """
    domain = builder.module.add_metadata(["codec.kernels.half_lanes"])
    return builder.module.add_metadata([builder.module.add_metadata(["taps", domain])])


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

    def load_tap(self, i: int) -> Any:
        """The i-th vector, which is one of taps."""
        tap = self.load(_I64(LANES * i))
        tap.set_metadata("alias.scope", _scope(self._builder))
        return tap

    def store(self, index: Any, vector: Any) -> None:
        stored = self._builder.store(vector, self._place(index, vector.type), align=2)
        stored.set_metadata("noalias", _scope(self._builder))


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
        product = _high_product(builder, builder.sub(value, edge), taps.load_tap(i))
        if total is None:
            total = product
        else:
            total = (builder.sub if i & 1 else builder.add)(total, product)
    return builder.add(base, builder.shl(total, _same(2)))


def _two_sums(builder: Any, first: Any, second: Any) -> Any:
    """Sums of the lanes of two vectors of unsigned 16-bit numbers, as a vector of two (int32)."""
    quarters = []
    for vector in (first, second):
        sums = pair_sums(builder, vector)
        parts = [pick(builder, sums, sums, lanes) for lanes in ([0, 1, 2, 3], [4, 5, 6, 7])]
        quarters.append(builder.add(*parts))
    halves = [pick(builder, *quarters, lanes) for lanes in ([0, 1, 4, 5], [2, 3, 6, 7])]
    sums = builder.add(*halves)
    return builder.add(*(pick(builder, sums, sums, lanes) for lanes in ([0, 2], [1, 3])))


class _Scale:
    """How samples of some bits are shifted up, in a ring, to vectors' 16."""

    def __init__(self, builder: Any, bits: Any) -> None:
        self._builder = builder
        self._bits = bits
        self._deep = builder.icmp_signed(">", bits, _I64(15))
        self._up = builder.select(self._deep, _I64(0), builder.sub(_I64(15), bits))
        self._one = builder.shl(_I64(1), self._up)

    def round(self, p: Any) -> Any:
        """A prediction cut to whole samples."""
        builder = self._builder
        half = _splat(builder, builder.lshr(self._one, _I64(1)))
        return builder.and_(builder.add(p, half), _splat(builder, builder.neg(self._one)))

    def fold(self, sample: Any, p: Any) -> Any:
        """The folded residual of a sample."""
        builder = self._builder
        d = builder.sub(sample, p)
        d = builder.shl(d, _splat(builder, builder.select(self._deep, _I64(0), _I64(1))))
        d = builder.ashr(d, _splat(builder, builder.sub(_I64(16), self._bits)))
        return builder.xor(builder.shl(d, _same(1)), builder.ashr(d, _same(15)))

    def unfold(self, v: Any, p: Any) -> Any:
        """The sample of a folded residual."""
        builder = self._builder
        sign = builder.neg(builder.and_(v, _same(1)))
        d = builder.xor(builder.lshr(v, _same(1)), sign)
        sample = builder.add(p, builder.shl(d, _splat(builder, self._up)))
        top = builder.select(self._deep, _I64(0xFFFF), _I64(0x7FFF))
        return builder.and_(sample, _splat(builder, builder.and_(top, builder.neg(self._one))))


def _rows(builder: Any, offsets: Any, j: Any, references: int) -> list[Any]:
    """Where the halves of `_predicted` have their j-th columns."""
    count = _PLACES[references]
    return [builder.add(builder.extract_value(offsets, i), j) for i in range(count)]


def _residual_step(references: int) -> Any:
    """The residuals of sixteen even and sixteen odd columns of a plane with so many to refer to.

    ``z[at : at + 32]`` (uint16) gets folded residuals, even columns first, of the samples at
    ``ring[even + j]`` and ``ring[odd + j]`` (uint16), ``sums[place]`` and the one after it (int32)
    their sums. ``evens`` and ``odds`` are where the halves of `_predicted` begin in ``ring``,
    ``taps`` and ``odd_taps`` int16[taps, LANES] the coefficients, each in all lanes, ``bits`` those
    of a sample. Nothing is checked: all vectors must lie in their arrays.

    Both parities look at the same halves; nothing is stored before all is loaded, so that they
    share what they load.
    """

    def step(
        typing_context: Any,
        ring: Any,
        even: Any,
        odd: Any,
        evens: Any,
        odds: Any,
        j: Any,
        taps: Any,
        odd_taps: Any,
        bits: Any,
        z: Any,
        at: Any,
        sums: Any,
        place: Any,
    ) -> Any:
        i64 = types.int64
        signature = types.void(
            ring, i64, i64, evens, odds, i64, taps, odd_taps, i64, z, i64, sums, i64
        )

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kinds = signature.args
            array = _Array(context, builder, kinds[0], args[0])
            scale = _Scale(builder, args[8])
            folded = []
            for parity in range(2):
                taps = _Array(context, builder, kinds[6 + parity], args[6 + parity])
                rows = _rows(builder, args[3 + parity], args[5], references)
                p = scale.round(_predicted(builder, array, rows, bool(parity), taps))
                sample = array.load(builder.add(args[1 + parity], args[5]))
                folded.append(scale.fold(sample, p))
            z_array = _Array(context, builder, kinds[9], args[9])
            z_array.store(args[10], folded[0])
            z_array.store(builder.add(args[10], _I64(LANES)), folded[1])
            totals = _two_sums(builder, *folded)
            data = context.make_array(kinds[11])(context, builder, args[11]).data
            target = builder.bitcast(builder.gep(data, [args[12]]), totals.type.as_pointer())
            builder.store(totals, target, align=4).set_metadata("noalias", _scope(builder))
            return context.get_dummy_value()

        return signature, generate

    return intrinsic(step)


def _rebuild_step(odd: bool, references: int) -> Any:
    """The inverse of `_residual_step` for the columns of one parity; it wants no sums.

    Even columns of a whole row come first: odd ones look at those on either side.
    """

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
        signature = types.void(ring, i64, offsets, i64, taps, i64, z, i64)

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kinds = signature.args
            array = _Array(context, builder, kinds[0], args[0])
            taps = _Array(context, builder, kinds[4], args[4])
            scale = _Scale(builder, args[5])
            rows = _rows(builder, args[2], args[3], references)
            p = scale.round(_predicted(builder, array, rows, odd, taps))
            v = _Array(context, builder, kinds[6], args[6]).load(args[7])
            array.store(builder.add(args[1], args[3]), scale.unfold(v, p))
            return context.get_dummy_value()

        return signature, generate

    return intrinsic(step)


residual0, residual1, residual2 = (_residual_step(n) for n in range(3))
rebuild_even0, rebuild_even1, rebuild_even2 = (_rebuild_step(False, n) for n in range(3))
rebuild_odd0, rebuild_odd1, rebuild_odd2 = (_rebuild_step(True, n) for n in range(3))


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
