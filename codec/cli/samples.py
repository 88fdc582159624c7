"""A frame's samples as pictures, for codecs that take pictures and not files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from codec.encode import find_layout
from codec.formats.base import NotUnderstood
from codec.kernels.packing import PAD, unpack_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from codec.types import Element, Segment


def pictures(file: bytes) -> list[tuple[NDArray[np.uint16], int]]:
    """Every element of a frame: samples of (height, width, components), and their bits.

    Empty where the file holds no samples that are understood, or holds them compressed.
    """
    try:
        layout = find_layout(memoryview(file))
    except NotUnderstood:
        return []
    if any(element.method for element in layout.elements):
        return []
    source = np.frombuffer(file, np.uint8)
    return [
        (_unpack(source, element), max(segment.bits for segment in element.segments))
        for element in layout.elements
    ]


def _unpack(source: NDArray[np.uint8], element: Element) -> NDArray[np.uint16]:
    parts = [_segment(source, element, segment) for segment in element.segments]
    return np.ascontiguousarray(np.concatenate(parts).transpose(1, 2, 0))


def _segment(source: NDArray[np.uint8], element: Element, segment: Segment) -> NDArray[np.uint16]:
    """One segment's planes: (components, height, width)."""
    region = element.regions[segment.region]
    width = element.width
    planes = np.empty((segment.components, element.rows, width), np.uint16)
    row = np.zeros((segment.components, 1, width + 2 * PAD), np.uint16)
    for y in range(element.rows):
        unpack_rows(
            source,
            region.place(y) + region.band_header + segment.start,
            region.row_bytes,
            segment.row_bytes(width),
            1,
            width,
            segment.components,
            int(segment.packing),
            segment.bits,
            segment.shift,
            segment.big_endian,
            segment.reverse,
            row,
        )
        planes[:, y] = row[:, 0, PAD : PAD + width]
    return planes
