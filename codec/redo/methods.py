"""The methods: which filter, which coder, and what stands before each chunk's data.

The numbers are those of the container format; 0 is no method.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from codec.kernels import rle
from codec.redo.filters import (
    BadDetailError,
    ExrSplit,
    Filter,
    Plain,
    exr_prefix,
    sgi_piece,
    tiff_filter,
)
from codec.redo.runs import RunCoder
from codec.redo.streams import DeflateCoder

if TYPE_CHECKING:
    from codec.redo.coder import Coder

SGI_RLE8 = 1
SGI_RLE16 = 2
TIFF_PACKBITS = 3
EXR_RLE = 4
EXR_ZIP = 5
TIFF_DEFLATE = 6

NAMES = {
    SGI_RLE8: "SGI RLE, 8 bits",
    SGI_RLE16: "SGI RLE, 16 bits",
    TIFF_PACKBITS: "TIFF PackBits",
    EXR_RLE: "OpenEXR RLE",
    EXR_ZIP: "OpenEXR ZIP",
    TIFF_DEFLATE: "TIFF Deflate",
}


@dataclass(frozen=True, slots=True)
class Method:
    """How rows become the bytes of a chunk.

    ``prefix`` bytes, the data (``filter``, then ``coder``), a tail. Where ``raw`` is set, data as
    long as the rows are the rows themselves.
    """

    coder: Coder
    filter: Filter
    prefix: int = 0
    raw: bool = False


def method(number: int, row_bytes: int, detail: bytes) -> Method:
    """Method ``number`` for rows of ``row_bytes`` bytes.

    Raises BadDetailError where there is no such method or ``detail`` is not for it.
    """
    if number in (SGI_RLE8, SGI_RLE16):
        piece = sgi_piece(detail, row_bytes)
        if number == SGI_RLE16 and piece % 2:
            raise BadDetailError("rows of two bytes a sample have an even number of bytes")
        return Method(RunCoder(rle.SGI, piece, number == SGI_RLE16), Plain())
    if number == TIFF_PACKBITS:
        if detail:
            raise BadDetailError("PackBits takes no detail")
        return Method(RunCoder(rle.PACKBITS, row_bytes), Plain())
    if number == EXR_RLE:
        return Method(RunCoder(rle.EXR, row_bytes), ExrSplit(), exr_prefix(detail), raw=True)
    if number == EXR_ZIP:
        return Method(DeflateCoder(), ExrSplit(), exr_prefix(detail), raw=True)
    if number == TIFF_DEFLATE:
        return Method(DeflateCoder(), tiff_filter(detail, row_bytes))
    raise BadDetailError(f"no method {number}")
