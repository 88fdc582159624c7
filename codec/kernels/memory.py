"""Unaligned little-endian loads and stores, which plain array indexing cannot express.

They check nothing: the caller guarantees ``0 <= index`` and ``index + width <= array.size``.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


def _pointer(context: Any, builder: Any, bits: int, array_type: Any, array: Any, index: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), ir.IntType(bits).as_pointer())


def _loader(bits: int, result: Any) -> Any:
    def load(typing_context: Any, array: Any, index: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer = _pointer(context, builder, bits, signature.args[0], args[0], args[1])
            return builder.load(pointer, align=1)

        return result(array, types.int64), generate

    return load


def _storer(bits: int, value_type: Any) -> Any:
    def store(typing_context: Any, array: Any, index: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer = _pointer(context, builder, bits, signature.args[0], args[0], args[1])
            builder.store(args[2], pointer, align=1)
            return context.get_dummy_value()

        return types.void(array, types.int64, value_type), generate

    return store


load16 = intrinsic(_loader(16, types.uint16))
load32 = intrinsic(_loader(32, types.uint32))
load64 = intrinsic(_loader(64, types.uint64))
store16 = intrinsic(_storer(16, types.uint16))
store32 = intrinsic(_storer(32, types.uint32))
store64 = intrinsic(_storer(64, types.uint64))


@intrinsic
def lookup16(typing_context: Any, table: Any, first: Any, index: Any) -> Any:
    """``table[first + index]`` of a uint16 array; both are uint64.

    Where ``index`` is known late, the processor adds it in the load itself, on to an address
    made ready before: one instruction less to wait for than adding the two beforehand.
    """
    signature = types.uint16(table, types.uint64, types.uint64)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        item = builder.gep(builder.gep(data, [args[1]]), [args[2]])
        return builder.load(item, align=2)

    return signature, generate
