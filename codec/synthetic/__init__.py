"""Small, deterministic, photographic-looking frames with film grain, and the DPX files they make.

For the kernels' warm-up, the demonstration, tests and benchmarks: places that need a frame which
compresses as a scanned 10-bit log frame does, without shipping one. Everything is computed from
the seed by IEEE additions, multiplications, divisions and square roots alone, so the same
arguments give the same bytes on every machine. Pure functions; any thread may call them.
"""

from __future__ import annotations

from codec.synthetic.dpx import (
    BITS,
    ByteOrder,
    Descriptor,
    Packing,
    PaddingBits,
    dpx_file,
    dpx_frame,
)
from codec.synthetic.picture import image

__all__ = [
    "BITS",
    "ByteOrder",
    "Descriptor",
    "Packing",
    "PaddingBits",
    "dpx_file",
    "dpx_frame",
    "image",
]
