"""The elements that runs of a TIFF picture's rows make."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codec.formats.tiff.page import CFA, FLOAT, LINEAR_RAW, RGB
from codec.redo import TIFF_DEFLATE, TIFF_PACKBITS
from codec.types import Element, Packing, Region, Segment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codec.formats.runs import Run
    from codec.formats.tiff.page import Page

MAX_COMPONENTS = 16
METHODS = {"none": 0, "Deflate": TIFF_DEFLATE, "PackBits": TIFF_PACKBITS}
"""How to undo each compression that can be redone."""
_PARTS = {24: 3, 32: 2, 64: 4}


def parts(page: Page) -> int:
    """Components that make one sample."""
    return _PARTS.get(page.bits, 1)


def interleaved(page: Page, run: Run, big_endian: bool) -> Element:
    """The element of rows whose pixels hold all samples, or those of one plane."""
    if page.photometric == CFA and page.samples == 1 and _pairs(page, run):
        return _bayer(page, run, big_endian)
    count = page.plane_samples
    segment = _segment(page, count * parts(page), big_endian, run.start, 0)
    return _element(page, [run], (segment,), count, big_endian)


def planes_apart(page: Page, runs: Sequence[Sequence[Run]], big_endian: bool) -> Element | None:
    """The element of planes that each lie in one run, or None if they do not match."""
    if any(len(of_plane) != 1 for of_plane in runs):
        return None
    planes = [run for (run,) in runs]
    cuts = [(run.rows, [chunk.rows for chunk in run.chunks]) for run in planes]
    if any(cut != cuts[0] for cut in cuts):
        return None
    segments = tuple(
        _segment(page, parts(page), big_endian, run.start, plane)
        for plane, run in enumerate(planes)
    )
    return _element(page, planes, segments, len(planes), big_endian)


def _element(
    page: Page,
    runs: Sequence[Run],
    segments: tuple[Segment, ...],
    samples: int,
    big_endian: bool,
) -> Element:
    each = parts(page)
    # The parts of a sample from the high end: the file's byte order is theirs too.
    falling = range(each) if big_endian else range(each - 1, -1, -1)
    colours = list(range(samples))
    if page.photometric in (RGB, LINEAR_RAW) and samples >= 3:
        colours[:2] = 1, 0
    order = tuple(each * sample + part for part in falling for sample in colours)
    signed = page.kind == FLOAT and page.bits in (16, 32, 64)
    return Element(
        width=page.across,
        rows=runs[0].rows,
        regions=tuple(run.region for run in runs),
        segments=segments,
        order=order,
        signed=tuple(sorted(order[:samples])) if signed else (),
        method=METHODS[page.compression],
        detail=_detail(page, big_endian),
        chunks=tuple(run.chunks for run in runs) if runs[0].chunks else (),
    )


def _detail(page: Page, big_endian: bool) -> bytes:
    """What undoing must know of a Deflate stream's predictor."""
    if METHODS[page.compression] != TIFF_DEFLATE or page.predictor == 1:
        return b""
    return bytes([page.predictor, page.bits // 8, page.plane_samples, big_endian])


def _segment(page: Page, components: int, big_endian: bool, start: int, region: int) -> Segment:
    if page.bits in (8, 24):
        return Segment(components, 8, Packing.BYTE, start=start, region=region)
    if page.bits in (16, 32, 64):
        return Segment(
            components, 16, Packing.WORD, big_endian=big_endian, start=start, region=region
        )
    return Segment(
        components, page.bits, Packing.PACKED_HIGH, big_endian=True, start=start, region=region
    )


def _pairs(page: Page, run: Run) -> bool:
    """Whether the rows of a colour filter array go in pairs, but for the last of all."""
    return (
        page.across % 2 == 0 and parts(page) == 1 and run.rows > 1 and run.region.band_rows % 2 == 0
    )


def _bayer(page: Page, run: Run, big_endian: bool) -> Element:
    """Pairs of rows as rows of four components; green is at the same place in most cameras."""
    region = run.region
    pairs = Region(region.offset, 2 * region.row_bytes, region.band_rows // 2, region.band_header)
    starts = (run.start, run.start + region.row_bytes)
    return Element(
        width=page.across // 2,
        rows=run.rows // 2,
        regions=(pairs,),
        segments=tuple(_segment(page, 2, big_endian, start, 0) for start in starts),
        order=(1, 2, 0, 3),
    )
