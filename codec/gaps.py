"""Bytes of a tile that are no samples: headers of bands, and what rows hold between segments.

They change little from row to row, so each byte is kept as its difference to the byte above:
first the headers of all bands, then the gaps of all rows, of one region after another.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from typing_extensions import Buffer

    from codec.types import Element, Region


def take_gaps(regions: Sequence[NDArray[np.uint8]], rows: int, element: Element) -> bytes:
    """The deflated gaps of a tile, given the bytes of each of its regions; empty if none."""
    parts = []
    for index, region in enumerate(element.regions):
        columns = _gap_columns(element, index)
        for array in _gap_arrays(regions[index], region, rows, columns):
            difference = array.copy()
            difference[1:] -= array[:-1]
            parts.append(difference.tobytes())
    raw = b"".join(parts)
    return zlib.compress(raw, 6) if raw else b""


def put_gaps(
    deflated: Buffer, regions: Sequence[NDArray[np.uint8]], rows: int, element: Element
) -> None:
    """Write a tile's gaps into the bytes of its regions. Raises ValueError where they misfit."""
    columns = [_gap_columns(element, index) for index in range(len(element.regions))]
    lengths = [
        _gap_length(region, rows, gap.size)
        for region, gap in zip(element.regions, columns, strict=True)
    ]
    total = sum(lengths)
    if not total:
        if memoryview(deflated).nbytes:
            raise ValueError("it has gaps that its rows have not")
        return
    inflater = zlib.decompressobj()
    raw = np.frombuffer(inflater.decompress(deflated, total + 1), np.uint8)
    if raw.size != total or not inflater.eof:
        raise ValueError("its gaps have another length")
    at = 0
    for index, region in enumerate(element.regions):
        out = regions[index]
        for place in _gap_places(region, rows, columns[index]):
            part = raw[at : at + place.size].reshape(place.shape)
            out[place] = np.cumsum(part, axis=0, dtype=np.uint8)
            at += place.size


def _gap_columns(element: Element, index: int) -> NDArray[np.int64]:
    """Positions in a row of a region that are in no segment."""
    covered = np.zeros(element.regions[index].row_bytes, np.bool_)
    for segment in element.segments:
        if segment.region == index:
            stop = segment.start + segment.row_bytes(element.width)
            covered[segment.start : stop] = True
    return np.flatnonzero(~covered)


def _gap_length(region: Region, rows: int, columns: int) -> int:
    headers = -(-rows // region.band_rows) * region.band_header if region.band_rows else 0
    return headers + rows * columns


def _gap_places(
    region: Region, rows: int, columns: NDArray[np.int64]
) -> Iterator[NDArray[np.int64]]:
    """Where gaps stand in a region's bytes: (bands, header bytes), then (rows, gap bytes)."""
    if region.band_header:
        bands = np.arange(-(-rows // region.band_rows))
        starts = bands * (region.band_header + region.band_rows * region.row_bytes)
        yield starts[:, None] + np.arange(region.band_header)
    if columns.size:
        row = np.arange(rows)
        starts = row * region.row_bytes
        if region.band_header:
            starts += (row // region.band_rows + 1) * region.band_header
        yield starts[:, None] + columns


def _gap_arrays(
    source: NDArray[np.uint8], region: Region, rows: int, columns: NDArray[np.int64]
) -> Iterator[NDArray[np.uint8]]:
    for place in _gap_places(region, rows, columns):
        yield source[place]
