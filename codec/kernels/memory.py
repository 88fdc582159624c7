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
