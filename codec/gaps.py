"""Bytes of a tile that are no samples: headers of bands, and what rows hold between segments.

They change little from row to row, so each byte is kept as its difference to the byte above:
first the headers of all bands, then the gaps of all rows, of one region after another.
"""

from __future__ import annotations

import functools
import zlib
from typing import TYPE_CHECKING

import numpy as np

from codec.rows import REMEMBERED, inflate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from typing_extensions import Buffer

    from codec.types import Element, Region, Segment


def take_gaps(regions: Sequence[NDArray[np.uint8]], rows: int, element: Element) -> bytes:
    """The deflated gaps of a tile, given the bytes of each of its regions; empty if none."""
    parts = []
    for index, region in enumerate(element.regions):
        runs = _gap_runs(element, index)
        for views in _gap_views(regions[index], region, rows, runs):
            joined = np.concatenate([np.concatenate(view, axis=1) for view in views])
            joined[1:] -= joined[:-1].copy()
            parts.append(joined.tobytes())
    raw = b"".join(parts)
    return zlib.compress(raw, 6) if raw else b""


def put_gaps(
    deflated: Buffer, regions: Sequence[NDArray[np.uint8]], rows: int, element: Element
) -> None:
    """Write a tile's gaps into the bytes of its regions.

    Raises ValueError or zlib.error where they do not fit.
    """
    runs = [_gap_runs(element, index) for index in range(len(element.regions))]
    total = sum(
        _gap_length(region, rows, gaps) for region, gaps in zip(element.regions, runs, strict=True)
    )
    if not total:
        if memoryview(deflated).nbytes:
            raise ValueError("it has gaps that its rows have not")
        return
    raw = np.frombuffer(inflate(deflated, total), np.uint8)
    if raw.size != total:
        raise ValueError("its gaps have another length")
    at = 0
    for index, region in enumerate(element.regions):
        for views in _gap_views(regions[index], region, rows, runs[index]):
            height = sum(view[0].shape[0] for view in views)
            width = sum(part.shape[1] for part in views[0])
            differences = raw[at : at + height * width].reshape(height, width)
            at += height * width
            _fill(views, np.cumsum(differences, axis=0, dtype=np.uint8))


def _fill(views: list[list[NDArray[np.uint8]]], values: NDArray[np.uint8]) -> None:
    row = 0
    for view in views:
        column = 0
        for part in view:
            height, width = part.shape
            part[:] = values[row : row + height, column : column + width]
            column += width
        row += view[0].shape[0]


def _gap_runs(element: Element, index: int) -> Sequence[tuple[int, int]]:
    """Runs of bytes in a row of a region that are in no segment, as (start, stop)."""
    return _runs_between(element.width, element.segments, index, element.regions[index].row_bytes)


@functools.lru_cache(REMEMBERED)
def _runs_between(
    width: int, segments: tuple[Segment, ...], index: int, row_bytes: int
) -> Sequence[tuple[int, int]]:
    covered = sorted(
        (segment.start, segment.start + segment.row_bytes(width))
        for segment in segments
        if segment.region == index
    )
    runs = []
    at = 0
    for start, stop in [*covered, (row_bytes, row_bytes)]:
        if start > at:
            runs.append((at, start))
        at = max(at, stop)
    return tuple(runs)


def _gap_length(region: Region, rows: int, runs: Sequence[tuple[int, int]]) -> int:
    headers = -(-rows // region.band_rows) * region.band_header if region.band_rows else 0
    return headers + rows * sum(stop - start for start, stop in runs)


def _gap_views(
    source: NDArray[np.uint8], region: Region, rows: int, runs: Sequence[tuple[int, int]]
) -> Iterator[list[list[NDArray[np.uint8]]]]:
    """Views of a region's headers, then of its rows' gaps.

    Each is a list of views from the top to the bottom, and each of those a list of (height,
    width) views from left to right.
    """
    bands = list(_bands(source, region, rows))
    if region.band_header:
        yield [[header] for header, _ in bands]
    if runs:
        yield [[band[:, start:stop] for start, stop in runs] for _, band in bands]


def _bands(
    source: NDArray[np.uint8], region: Region, rows: int
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Header (1, bytes) and rows (rows, row bytes) of each band; one without header if none."""
    step = region.band_rows or rows
    at = 0
    for row in range(0, rows, step):
        height = min(step, rows - row)
        stop = at + region.band_header
        end = stop + height * region.row_bytes
        yield source[at:stop].reshape(1, -1), source[stop:end].reshape(height, -1)
        at = end
