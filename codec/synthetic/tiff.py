"""TIFF 6.0 and BigTIFF files around pixels in memory, checked against OpenImageIO.

Both byte orders; strips or tiles; samples together or planes apart; 1 to 16, 24, 32 and 64 bits;
uncompressed, Deflate with the predictors 1 to 3, or PackBits; several pages. Directories follow
the pixels of all pages.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

ByteOrder = Literal["be", "le"]
Compression = Literal["none", "deflate", "packbits"]
_Order = Literal["<", ">"]

CFA: Final = 32803
_COMPRESSIONS: Final = {"none": 1, "deflate": 8, "packbits": 32773}
_FORMATS: Final = {"u": 1, "i": 2, "f": 3}
_SHORT, _LONG, _LONG8 = 3, 4, 16
_SIZES: Final = {_SHORT: 2, _LONG: 4, _LONG8: 8}
_LETTERS: Final = {_SHORT: "H", _LONG: "I", _LONG8: "Q"}


@dataclass(frozen=True)
class TiffPage:
    """A picture of (height, width, samples), integers or floating point.

    ``bits`` is the depth where it is less than the array's type. ``rows`` is the rows of a
    strip (None: all), ``tiles`` the width and height of tiles. ``gap`` bytes are left between
    two strips. ``backwards`` writes the last strip first. ``photometric`` is guessed from the
    samples unless given. ``fields`` are more fields, or other values of these, as unsigned
    integers of 16 bits where they fit and else of 32.
    """

    pixels: NDArray[Any]
    bits: int | None = None
    rows: int | None = None
    tiles: tuple[int, int] | None = None
    planar: bool = False
    photometric: int | None = None
    compression: Compression = "none"
    predictor: int = 1
    gap: int = 0
    backwards: bool = False
    fields: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    @property
    def depth(self) -> int:
        """Bits a sample."""
        return self.bits or 8 * self.pixels.dtype.itemsize


def tiff_file(*pages: TiffPage, byte_order: ByteOrder = "le", big: bool = False) -> bytes:
    """Make a complete TIFF file.

    Raises:
        ValueError: no page, or pixels that are no array of three dimensions.
    """
    if not pages or any(page.pixels.ndim != 3 or not page.pixels.size for page in pages):
        raise ValueError("pixels must be (height, width, samples)")
    order: _Order = ">" if byte_order == "be" else "<"
    out = bytearray(16 if big else 8)
    placed = [_put_strips(out, page, order) for page in pages]
    link = 8 if big else 4
    for page, (offsets, counts) in zip(pages, placed, strict=True):
        out += bytes(-len(out) % 8)
        struct.pack_into(order + ("Q" if big else "I"), out, link, len(out))
        link = _put_directory(out, _fields(page, offsets, counts), order, big)
    magic = b"MM" if order == ">" else b"II"
    out[:4] = magic + struct.pack(order + "H", 43 if big else 42)
    if big:
        out[4:8] = struct.pack(order + "HH", 8, 0)
    return bytes(out)


def _put_strips(out: bytearray, page: TiffPage, order: _Order) -> tuple[list[int], list[int]]:
    """Append all strips or tiles; their offsets and lengths in the order of the picture."""
    strips = list(_strips(page, order))
    offsets = [0] * len(strips)
    places = range(len(strips))
    for place in reversed(places) if page.backwards else places:
        offsets[place] = len(out)
        out += strips[place] + bytes(page.gap)
    return offsets, [len(strip) for strip in strips]


def _strips(page: TiffPage, order: _Order) -> Iterator[bytes]:
    height, width, samples = page.pixels.shape
    across, down = page.tiles or (width, min(page.rows or height, height))
    planes = [page.pixels]
    if page.planar:
        planes = [page.pixels[:, :, i : i + 1] for i in range(samples)]
    for plane in planes:
        for y in range(0, height, down):
            for x in range(0, width, across):
                block = plane[y : y + down, x : x + across]
                if page.tiles:
                    missing = ((0, down - block.shape[0]), (0, across - block.shape[1]), (0, 0))
                    block = np.pad(block, missing)
                yield _strip(block, page, order)


def _strip(block: NDArray[Any], page: TiffPage, order: _Order) -> bytes:
    rows = [_row(row, page, order) for row in _predicted(block, page)]
    if page.predictor == 3:
        rows = [_float_predicted(row, block.shape[2]) for row in block]
    if page.compression == "deflate":
        return zlib.compress(b"".join(rows))
    if page.compression == "packbits":
        return b"".join(map(_pack_bits, rows))
    return b"".join(rows)


def _predicted(block: NDArray[Any], page: TiffPage) -> NDArray[Any]:
    """Predictor 2: each sample less the one to its left, as integers that wrap."""
    if page.predictor != 2:
        return block
    whole = block.view(f"u{block.dtype.itemsize}")
    out = whole.copy()
    out[:, 1:] = whole[:, 1:] - whole[:, :-1]
    return out


def _float_predicted(row: NDArray[Any], samples: int) -> bytes:
    """Predictor 3: the bytes of all samples by significance, each less the one before."""
    size = row.dtype.itemsize
    values = row.reshape(-1).astype(row.dtype.newbyteorder(">")).view(np.uint8)
    apart = values.reshape(-1, size).T.reshape(-1)
    out = apart.copy()
    out[samples:] = apart[samples:] - apart[:-samples]
    return out.tobytes()


def _row(row: NDArray[Any], page: TiffPage, order: _Order) -> bytes:
    values = row.reshape(-1)
    size = values.dtype.itemsize
    if page.depth == 8 * size:
        return values.astype(values.dtype.newbyteorder(order)).tobytes()
    if page.depth == 24:
        words = values.astype(order + "u4").view(np.uint8).reshape(-1, 4)
        return (words[:, 1:] if order == ">" else words[:, :3]).tobytes()
    places = np.arange(page.depth, dtype=np.uint32)[::-1]
    bits = (values.astype(np.uint32)[:, None] >> places) & np.uint32(1)
    return np.packbits(bits.astype(np.uint8)).tobytes()


def _pack_bits(row: bytes) -> bytes:
    """Runs of three or more, literals otherwise."""
    out = bytearray()
    literal = bytearray()

    def flush() -> None:
        if literal:
            out.append(len(literal) - 1)
            out.extend(literal)
            literal.clear()

    at = 0
    while at < len(row):
        run = 1
        while run < 128 and at + run < len(row) and row[at + run] == row[at]:
            run += 1
        if run >= 3:
            flush()
            out += bytes([257 - run, row[at]])
            at += run
            continue
        literal.append(row[at])
        at += 1
        if len(literal) == 128:
            flush()
    flush()
    return bytes(out)


def _fields(page: TiffPage, offsets: list[int], counts: list[int]) -> dict[int, tuple[int, ...]]:
    height, width, samples = page.pixels.shape
    guessed = 2 if samples >= 3 else 1
    colours = 3 if guessed == 2 else 1
    fields: dict[int, tuple[int, ...]] = {
        256: (width,),
        257: (height,),
        258: (page.depth,) * samples,
        259: (_COMPRESSIONS[page.compression],),
        262: (guessed if page.photometric is None else page.photometric,),
        277: (samples,),
        284: (2 if page.planar else 1,),
        317: (page.predictor,),
        339: (_FORMATS[page.pixels.dtype.kind],) * samples,
    }
    if samples > colours:
        fields[338] = (0,) * (samples - colours)
    if page.tiles:
        fields |= {322: (page.tiles[0],), 323: (page.tiles[1],)}
        fields |= {324: tuple(offsets), 325: tuple(counts)}
    else:
        fields |= {273: tuple(offsets), 279: tuple(counts)}
        fields[278] = (min(page.rows or height, height),)
    return dict(sorted((fields | dict(page.fields)).items()))


def _put_directory(
    out: bytearray, fields: dict[int, tuple[int, ...]], order: _Order, big: bool
) -> int:
    """Append a directory and the values that do not fit in it; where its link stands."""
    offset = "Q" if big else "I"
    room = 8 if big else 4
    record = 12 + (8 if big else 0)
    count = struct.pack(order + ("Q" if big else "H"), len(fields))
    start = len(out) + len(count)
    link = start + record * len(fields)
    out += count + bytes(record * len(fields) + room)
    pack: Callable[..., bytes] = struct.pack
    for index, (tag, values) in enumerate(fields.items()):
        kind = _kind(values)
        written = pack(f"{order}{len(values)}{_LETTERS[kind]}", *values)
        if len(written) > room:
            written, at = pack(order + offset, len(out)), written
            out += at + bytes(-len(at) % 2)
        head = pack(order + "HH" + offset, tag, kind, len(values))
        place = start + index * record
        out[place : place + record] = head + written.ljust(room, b"\0")
    return link


def _kind(values: tuple[int, ...]) -> int:
    if max(values) < 1 << 16:
        return _SHORT
    return _LONG if max(values) < 1 << 32 else _LONG8
