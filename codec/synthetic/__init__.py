"""Small, deterministic, photographic-looking frames with film grain, and files of every format.

For the kernels' warm-up, the demonstration, tests and benchmarks: places that need a frame which
compresses as a scanned 10-bit log frame does, without shipping one. Everything is computed from
the seed by IEEE additions, multiplications, divisions and square roots alone, so the same
arguments give the same bytes on every machine. Pure functions; any thread may call them.
"""

from __future__ import annotations

from codec.synthetic.camera import (
    VARICAM_PACKINGS,
    VaricamPacking,
    arriraw_file,
    c500_file,
    mosaic,
    varicam_file,
)
from codec.synthetic.cineon import CINEON_PACKINGS, CineonInterleave, cineon_file
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
from codec.synthetic.pnm import pfm_file, pnm_file
from codec.synthetic.sgi import SgiRows, sgi_file

__all__ = [
    "BITS",
    "CINEON_PACKINGS",
    "VARICAM_PACKINGS",
    "ByteOrder",
    "CineonInterleave",
    "Descriptor",
    "Packing",
    "PaddingBits",
    "SgiRows",
    "VaricamPacking",
    "arriraw_file",
    "c500_file",
    "cineon_file",
    "dpx_file",
    "dpx_frame",
    "image",
    "mosaic",
    "pfm_file",
    "pnm_file",
    "sgi_file",
    "varicam_file",
]
