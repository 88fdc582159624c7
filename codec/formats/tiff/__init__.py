"""TIFF 6.0 and BigTIFF, and what is built on them (DNG).

Facts
    II (little-endian) or MM (big-endian), then 42 and a 4-byte offset, or 43, 8, 0 and an 8-byte
    offset (BigTIFF). A directory is a count of fields and, for each, tag, type, count and
    values, or their offset where they take more than 4 (8) bytes; then the offset of the next
    directory. Sub-directories (tag 330) hold the raw picture of a DNG.
    Pictures are cut into strips of whole rows, of which the last may be shorter, or into tiles,
    which are always whole. Planar configuration 2 keeps samples apart: all strips of the first
    plane, of the second ... Rows begin at a byte. Samples of 16, 32 and 64 bits are in the file's
    byte order; those of other depths than 8 stand one after another from the high end of each
    byte, in either kind of file.

Liars met
    Byte counts of uncompressed strips (not looked at: rows and their length say it), rows per
    strip of 2^32 - 1 (all), offset fields with too few or too many values, strips that two
    directories share or that overlap (coded once), directories that form a ring, later
    directories that cannot be read.

What is coded
    Strips or tiles that follow one another, with equal gaps of at most 64 bytes, become one
    element: a tile below another is coded as if it were the same column of pixels. Planes apart
    go together. Colour filter arrays are coded by pairs of rows. Samples of 24 bits are three
    components, of 32 bits two, of 64 bits four; at most 16 components of a pixel.
    Pictures of 1 or 2 bits a sample and with a palette are plain bytes: deflate does as well.
    PackBits and Deflate (with predictors) are undone where redoing them gives the same bytes.

What stays verbatim
    Other compression, Deflate streams that classic zlib would not write, fill order 2,
    subsampled YCbCr, samples of several depths or of more than 64 bits, complex samples, more
    than 16 components together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from codec.formats.base import NotUnderstood
from codec.formats.runs import Piece, largest, place, raw_runs, redo_runs
from codec.formats.tiff.elements import MAX_COMPONENTS, METHODS, interleaved, parts, planes_apart
from codec.formats.tiff.ifd import (
    BIG_MAGICS,
    MAGICS,
    MAX_VALUES,
    SUB_DIRECTORIES,
    BeyondEnd,
    byte_order,
    directories,
    first_directory,
)
from codec.formats.tiff.page import (
    PALETTE,
    STRIP_COUNTS,
    STRIP_OFFSETS,
    TILE_COUNTS,
    TILE_OFFSETS,
    read_page,
)
from codec.types import Element, Layout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from codec.formats.runs import Placed
    from codec.formats.tiff.ifd import Directory
    from codec.formats.tiff.page import Page

_PLAIN_BITS = 2


def recognises(head: bytes) -> bool:
    """Whether a file begins like a TIFF or BigTIFF file."""
    return head[:4] in MAGICS or head[:4] in BIG_MAGICS


def probe(head: bytes, size: int) -> str:
    """The format's name, from the first bytes of a file of ``size`` bytes. See `Format`."""
    try:
        directory = first_directory(memoryview(head))
        page = read_page(directory)
    except BeyondEnd:
        if len(head) >= size:
            raise
        return "bigtiff" if head[:4] in BIG_MAGICS else "tiff"
    name = _format_name(head, page)
    alone = directory.following == 0 and SUB_DIRECTORIES not in directory.entries
    if alone and (reason := _reason(page)):
        raise NotUnderstood(f"unsupported: TIFF {reason}", name)
    return name


def layout(file: memoryview) -> Layout:
    """The layout of a whole file. See `Format`."""
    pages, name, reason = _pages(file)
    pieces: list[Piece] = []
    groups: list[tuple[int, int]] = []
    looked_at = 0
    for index, (page, directory) in enumerate(pages):
        offsets = directory.values(TILE_OFFSETS if page.tiled else STRIP_OFFSETS)
        looked_at += offsets.size
        if looked_at > MAX_VALUES:
            raise NotUnderstood(f"unsupported: TIFF with more than {MAX_VALUES} strips", name)
        for plane, strips in enumerate(_planes(page, directory, offsets.tolist())):
            pieces += [Piece(offset, n, rows, len(groups)) for offset, n, rows in strips]
            groups.append((index, plane))
    placed = place(pieces, len(file))
    planes: dict[int, list[list[Placed]]] = {}
    for group, (index, _) in enumerate(groups):
        planes.setdefault(index, []).append(placed.get(group, []))
    elements: list[Element] = []
    big_endian = byte_order(bytes(file[:4]))[0] == ">"
    for index, of_page in planes.items():
        elements += _elements(pages[index][0], of_page, big_endian)
    if not elements and reason:
        raise NotUnderstood(f"unsupported: TIFF {reason}", name)
    if not elements and pages:
        raise NotUnderstood("unsupported: TIFF image data is cut short", name)
    return Layout(name, largest(elements))


def _pages(file: memoryview) -> tuple[list[tuple[Page, Directory]], str, str]:
    """The pictures that can be coded, the format's name, and why the first other one cannot.

    Pictures that are only worth deflating count neither way.
    """
    found: list[tuple[Page, Directory]] = []
    name = reason = ""
    count = 0
    for directory in directories(file):
        count += 1
        try:
            page = read_page(directory)
        except NotUnderstood:
            if count == 1:
                raise
            continue
        name = name or _format_name(file, page)
        why_not = _reason(page)
        reason = reason or why_not
        if not why_not and not _plain(page):
            found.append((page, directory))
    return found, name + (f" {count} directories" if count > 1 else ""), reason


def _reason(page: Page) -> str:
    """Why a picture stays as it is, or nothing."""
    if page.compression not in METHODS or (_plain(page) and page.compression != "none"):
        return f"compression {page.compression}"
    if page.obstacle:
        return page.obstacle
    if page.plane_samples * parts(page) > MAX_COMPONENTS:
        return f"{page.plane_samples} samples a pixel"
    if page.compression == "Deflate" and not _predictable(page):
        return f"predictor {page.predictor} of {page.bits}-bit samples"
    return ""


def _predictable(page: Page) -> bool:
    """Whether the predictor is one that can be undone."""
    widths = {1: (page.bits,), 2: (8, 16, 32, 64), 3: (16, 24, 32, 64)}
    return page.bits in widths.get(page.predictor, ())


def _plain(page: Page) -> bool:
    """Whether deflate does as well on the bytes."""
    return page.bits <= _PLAIN_BITS or page.photometric == PALETTE


def _format_name(head: bytes | memoryview, page: Page) -> str:
    order, big = byte_order(bytes(head[:4]))
    return f"{'bigtiff' if big else 'tiff'} {page.name} {'be' if order == '>' else 'le'}"


def _planes(
    page: Page, directory: Directory, offsets: list[int]
) -> Iterator[list[tuple[int, int, int]]]:
    """Offset, length and rows of each strip or tile of each plane."""
    counts = []
    if page.compression != "none":
        counts = directory.values(TILE_COUNTS if page.tiled else STRIP_COUNTS).tolist()
        offsets = offsets[: len(counts)]
    columns = -(-page.width // page.across)
    strips = columns * -(-page.height // page.down)
    for plane in range(page.planes):
        found = []
        first = plane * strips
        for index, offset in enumerate(offsets[first : first + strips]):
            rows = page.down if page.tiled else min(page.down, page.height - index * page.down)
            length = counts[first + index] if counts else rows * page.row_bytes
            if offset and length:
                found.append((offset, length, rows))
        yield found


def _elements(page: Page, planes: list[list[Placed]], big_endian: bool) -> Iterator[Element]:
    """The elements of a picture."""
    to_runs = redo_runs if METHODS[page.compression] else raw_runs
    runs = [to_runs(strips, page.row_bytes) for strips in planes]
    if len(runs) > 1 and len(runs) * parts(page) <= MAX_COMPONENTS:
        together = planes_apart(page, runs, big_endian)
        if together is not None:
            yield together
            return
    if len(runs) > 1:
        # Planes in turn, strip by strip: one component, in the order of the file.
        strips = sorted((s for plane in planes for s in plane), key=lambda s: s.offset)
        runs = [to_runs(strips, page.row_bytes)]
    for run in (run for of_plane in runs for run in of_plane):
        yield interleaved(page, run, big_endian)
