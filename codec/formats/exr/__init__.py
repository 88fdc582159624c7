"""OpenEXR 2 (scanline and tiled images, of one part or several).

Facts
    Little-endian throughout. Magic 76 2F 31 01, then version and flags (0x200 tiles in a file of
    one part, 0x400 names of up to 255 bytes, 0x800 deep data, 0x1000 several parts). Headers are
    lists of attributes: name, type name, length, value; an empty name ends one. Then, for each
    part, a table of 8-byte offsets, one a chunk, in the order of lines or of levels and tiles
    whatever order the chunks have in the file.
    A chunk is [part number, in files of several], y and length for lines, or x, y, level x,
    level y and length for tiles, all of 4 bytes, then pixels: for each line, all samples of the
    first channel, of the second ... Channels are in alphabetical order; half floats take 2
    bytes, floats and uints 4.
    NONE, RLE and ZIPS have one line a chunk, ZIP 16. A chunk that does not get smaller by
    compression holds the pixels as they are. Tiles at the right and lower edge are smaller;
    mip- and rip-maps have levels down to 1 pixel.

Liars met
    Offsets of zero (a file whose writer did not get to its end), the type attribute of a file
    of one part that contradicts its flags (the flags are right), chunks whose y or tile numbers
    are not in the picture (left as they are).

What is coded
    Chunks that follow one another and have rows of one length become one element, wherever they
    belong in the picture. Sixteen components of 16 bits at most: colour first, each layer
    together; further channels are kept beside. Floats and uints are two components.
    RLE, ZIP and ZIPS are undone where redoing them gives the same bytes.

What stays verbatim
    Deep data, subsampled channels, the compressions PIZ, PXR24, B44 and DWA, ZIP streams that
    classic zlib would not write, and files without a single chunk that can be found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from codec.formats.base import NotUnderstood
from codec.formats.exr.chunks import METHODS, find_chunks
from codec.formats.exr.header import MAGIC, HeaderCutShort, read_header
from codec.formats.runs import largest, place, raw_runs, redo_runs
from codec.types import Element, Layout, Packing, Segment

if TYPE_CHECKING:
    from codec.formats.exr.chunks import Shape
    from codec.formats.exr.header import Channel, Header, Part
    from codec.formats.runs import Run

_MAX_COMPONENTS = 16
_KINDS = ("uint", "half", "float")
_COLOURS = {
    name: rank
    for rank, names in enumerate((("G", "Y"), ("R", "RY"), ("B", "BY"), ("A",)))
    for name in names
}


def recognises(head: bytes) -> bool:
    """Whether a file begins like an OpenEXR file."""
    return head[:4] == MAGIC


def probe(head: bytes, size: int) -> str:
    """The format's name, from the first bytes of a file of ``size`` bytes. See `Format`."""
    try:
        header = read_header(memoryview(head))
    except HeaderCutShort:
        if len(head) >= size:
            raise
        return "exr"
    name = _format_name(header)
    _check(header, name)
    return name


def layout(file: memoryview) -> Layout:
    """The layout of a whole file. See `Format`."""
    header = read_header(file)
    name = _format_name(header)
    _check(header, name)
    shapes, pieces = find_chunks(file, header)
    elements: list[Element] = []
    for group, placed in place(pieces, len(file)).items():
        shape = shapes[group]
        part = header.parts[shape.part]
        row_bytes = shape.width * part.pixel_bytes
        if METHODS[part.compression]:
            runs = redo_runs(placed, row_bytes)
        else:
            runs = raw_runs(placed, row_bytes, shape.header)
        elements += [_element(part, shape, run) for run in runs]
    if not elements:
        raise NotUnderstood("unsupported: EXR without a chunk that is whole", name)
    return Layout(name, largest(elements))


def _check(header: Header, name: str) -> None:
    """Raise NotUnderstood if no part can be coded, with the reason for the first."""
    reasons = [_reason(part) for part in header.parts]
    if all(reasons):
        raise NotUnderstood(f"unsupported: EXR {reasons[0]}", name)


def _reason(part: Part) -> str:
    """Why a part stays as it is, or nothing."""
    if part.deep:
        return "deep data"
    if part.compression not in METHODS:
        return f"compression {part.compression.upper()}"
    if any((c.x_sampling, c.y_sampling) != (1, 1) for c in part.channels):
        return "subsampled channels"
    return ""


def _format_name(header: Header) -> str:
    part = header.parts[0]
    names = "".join(channel.name for channel in part.channels)
    what = {"BGR": "rgb", "ABGR": "rgba", "Y": "luma", "AY": "luma-alpha"}.get(
        names, f"{len(part.channels)} channels"
    )
    kinds = "+".join(sorted({_KINDS[channel.kind] for channel in part.channels}))
    parts = f" {len(header.parts)} parts" if header.multi_part else ""
    shape = "tiled" if part.tiles else "scanline"
    return f"exr {part.width}x{part.height} {what} {kinds} {part.compression} {shape}{parts}"


def _element(part: Part, shape: Shape, run: Run) -> Element:
    chosen = _chosen(part.channels)
    segments = []
    places: dict[int, int] = {}
    start = run.start
    components = 0
    for index, channel in enumerate(part.channels):
        if index in chosen:
            places[index] = components
            count = channel.sample_bytes // 2
            segments.append(Segment(count, 16, Packing.WORD, start=start))
            components += count
        start += shape.width * channel.sample_bytes
    # Little-endian: the high half of a sample of 32 bits is the second component.
    high = {i: places[i] + part.channels[i].sample_bytes // 2 - 1 for i in chosen}
    low = [places[i] for i in chosen if high[i] != places[i]]
    return Element(
        width=shape.width,
        rows=run.rows,
        regions=(run.region,),
        segments=tuple(segments),
        order=(*high.values(), *low),
        signed=tuple(sorted(high[i] for i in chosen if part.channels[i].kind != 0)),
        method=METHODS[part.compression],
        detail=bytes([shape.header]) if run.chunks else b"",
        chunks=(run.chunks,) if run.chunks else (),
    )


def _chosen(channels: tuple[Channel, ...]) -> list[int]:
    """Which channels to code, in coding order: colour of each layer first."""
    chosen = []
    room = _MAX_COMPONENTS
    for i in sorted(range(len(channels)), key=lambda i: (*_rank(channels[i].name), i)):
        count = channels[i].sample_bytes // 2
        if count <= room:
            chosen.append(i)
            room -= count
    return chosen


def _rank(name: str) -> tuple[int, str, int]:
    """Where a channel belongs: layers without a name first, then green, red, blue, others."""
    layer, _, channel = name.rpartition(".")
    return (1 if layer else 0, layer, _COLOURS.get(channel, len(_COLOURS)))
