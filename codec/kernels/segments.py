"""Segments as the kernels know them, and a row of samples packed into all of them."""

from __future__ import annotations

from typing import Any

from codec.kernels.jit import kernel
from codec.kernels.packing import pack_row

OFFSET = 0
STRIDE = 1
ROW_BYTES = 2
BAND_ROWS = 3
BAND_HEADER = 4
FIRST_COMPONENT = 5
COMPONENTS = 6
PACKING = 7
BITS = 8
SHIFT = 9
BIG = 10
REVERSE = 11
SEGMENT_FIELDS = 12
"""What the kernels know of a segment, as one row of an int64 array.

`OFFSET` is where the samples of its first row begin in the tile's bytes; `STRIDE` leads to the
next row, besides `BAND_HEADER` bytes at every `BAND_ROWS`-th row (0: none).
"""


@kernel
def pack_segments(
    source: Any, at: int, r: int, width: int, segments: Any, words: Any, linear: Any, out: Any
) -> None:
    """Pack row r, which stands at ``source[component, at]``, into every segment of ``out`` (uint8).

    ``segments`` int64[segments, SEGMENT_FIELDS]; scratch: ``words`` uint8[2 * width * components
    + 32], ``linear`` uint16[width * components + 3].
    """
    for s in range(segments.shape[0]):
        held = segments[s]
        first = held[FIRST_COMPONENT]
        place = held[OFFSET] + r * held[STRIDE]
        if held[BAND_ROWS]:
            place += (r // held[BAND_ROWS]) * held[BAND_HEADER]
        pack_row(
            out,
            place,
            held[ROW_BYTES],
            width,
            held[COMPONENTS],
            held[PACKING],
            held[BITS],
            held[SHIFT],
            held[BIG] != 0,
            held[REVERSE] != 0,
            source[first : first + held[COMPONENTS]],
            at,
            words,
            linear,
        )
