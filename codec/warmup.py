"""Compile every kernel once, so that no reader or writer ever waits for the compiler."""

from __future__ import annotations

from codec.encode import decompress, encode
from codec.errors import VerifyError
from codec.redo.warm import warm as warm_redo
from codec.synthetic import Descriptor, Packing, dpx_frame

_FLAVORS: tuple[tuple[Descriptor, int, Packing], ...] = (
    ("rgb", 10, "filled-a"),
    ("luma", 10, "filled-b"),
    ("rgba", 12, "packed"),
    ("rgb", 16, "packed"),
    ("rgb", 8, "packed"),
)


def warmup() -> int:
    """Encode and decode a small frame of each kind; the number of frames done.

    Takes about two minutes on a new machine and next to nothing once the kernels are cached.
    Raises VerifyError if a kernel does not do what it should.
    """
    for descriptor, bits, packing in _FLAVORS:
        frame = dpx_frame(
            96,
            70,
            bits=bits,
            packing=packing,
            descriptor=descriptor,
            byte_order="be",
            padding_bits="random",
        )
        if bytes(decompress(encode(frame).container)) != frame:
            raise VerifyError(f"{descriptor} {bits}-bit {packing} does not survive")
    warm_redo()
    return len(_FLAVORS)
