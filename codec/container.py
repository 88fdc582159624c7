"""The PXF container: its header, its directory and its blocks.

The byte layout is specified in docs/format/container-v1.md; names here follow it.
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import xxhash

from codec.errors import (
    DamagedError,
    NotAContainerError,
    UnsupportedFeatureError,
    UnsupportedVersionError,
)
from codec.types import Block, BlockKind, Element, Packing, Region, Segment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAGIC = b"\x89PXF\r\n\x1a\n"
VERSION = 1
HEAD_SIZE = 64
WRAP_SIZE = 4096
FEATURES = frozenset(
    {
        "tile-predicted-1",
        "tile-quads-1",
        "tile-quads-2",
        "tile-deep-1",
        "tile-deep-2",
        "redo-1",
    }
)

_HEADER = struct.Struct("<8sHHIQQ16s8s8s")
_SECTION = struct.Struct("<4sI")
_ELEMENT = struct.Struct("<IIBBBBHH")
_REGION = struct.Struct("<QIII")
_SEGMENT = struct.Struct("<BBBBBBHI")
_BLOCK = struct.Struct("<IIBBHII8s")
_KIND_CONTAINER = 0
_KIND_WRAP = 1
MAX_COMPONENTS = 16
MAX_ELEMENTS = 1 << 16
_MAX_WIDTH = 1 << 20
MAX_BLOCK = 1 << 25
MAX_SAMPLES = 1 << 25
"""Of a tile: those of a few bits take 16 while they are decoded."""


def checksum(data: bytes | memoryview) -> bytes:
    """XXH3-64 in canonical (big-endian) form."""
    return xxhash.xxh3_64_digest(data)


def checksum_of_parts(parts: Iterable[bytes | memoryview]) -> bytes:
    """The `checksum` of ``parts`` joined."""
    running = xxhash.xxh3_64()
    for part in parts:
        running.update(part)
    return running.digest()


@dataclass(frozen=True, slots=True)
class Header:
    """The fixed header. Lengths are in bytes; ``hash`` is the XXH3-128 of the original."""

    kind: Literal["container", "wrap"]
    original_length: int
    container_length: int
    directory_length: int
    hash: bytes
    directory_checksum: bytes

    def pack(self) -> bytes:
        """The 64 bytes of this header."""
        body = _HEADER.pack(
            MAGIC,
            VERSION,
            _KIND_WRAP if self.kind == "wrap" else _KIND_CONTAINER,
            self.directory_length,
            self.original_length,
            self.container_length,
            self.hash,
            self.directory_checksum,
            b"",
        )
        return body[:-8] + checksum(body[:-8])


def is_container_head(head: bytes | memoryview) -> bool:
    """Whether a file's first 64 bytes are a PXF header, or were one before a single bit flipped.

    Either the magic stands there, or the header's checksum holds under a broken magic. A file
    of the user's own for which this is true must never lie bare on the backing file system.
    """
    head = bytes(head[:HEAD_SIZE])
    if len(head) < len(MAGIC):
        return False
    if head.startswith(MAGIC):
        return True
    return len(head) == HEAD_SIZE and checksum(MAGIC + head[8:56]) == head[56:]


def parse_header(head: bytes | memoryview) -> Header:
    """Parse a file's first 64 bytes.

    Raises NotAContainerError where `is_container_head` is false, DamagedError where the header
    fails its checksum, UnsupportedVersionError for a later version.
    """
    head = bytes(head[:HEAD_SIZE])
    if not is_container_head(head):
        raise NotAContainerError("the file does not begin with a PXF header")
    _, _, kind, directory, original, length, digest, summed, _ = _unpack_header(head)
    return Header(
        kind="wrap" if kind == _KIND_WRAP else "container",
        original_length=original,
        container_length=length,
        directory_length=directory,
        hash=digest,
        directory_checksum=summed,
    )


def peek_header(head: bytes) -> tuple[Literal["container", "wrap"], int] | None:
    """Kind and original length of a file that begins with these (up to 64) bytes; None where
    `is_container_head` is false.

    For who looks at many files and keeps no `Header`. Otherwise raises what `parse_header` does.
    """
    if not is_container_head(head):
        return None
    fields = _unpack_header(head)
    return "wrap" if fields[2] == _KIND_WRAP else "container", fields[4]


def _unpack_header(head: bytes) -> tuple[bytes, int, int, int, int, int, bytes, bytes, bytes]:
    """The fields of what `is_container_head` takes for a header. Raises CodecError."""
    if len(head) < HEAD_SIZE or checksum(head[:56]) != head[56:]:
        raise DamagedError("header", "its checksum does not hold", 0)
    fields: tuple[bytes, int, int, int, int, int, bytes, bytes, bytes] = _HEADER.unpack(head)
    if fields[1] != VERSION:
        raise UnsupportedVersionError(fields[1])
    if fields[2] not in (_KIND_CONTAINER, _KIND_WRAP):
        raise UnsupportedFeatureError([f"header kind {fields[2]}"])
    return fields


def make_wrap_header() -> bytes:
    """What stands before the bytes of an open wrap: a header, and zeros up to `WRAP_SIZE`."""
    header = Header("wrap", 0, 0, 0, bytes(16), bytes(8))
    return header.pack().ljust(WRAP_SIZE, b"\0")


@dataclass(slots=True)
class Directory:
    """What a container says of itself, between its header and its first block."""

    features: list[str] = field(default_factory=list)
    info: dict[str, str] = field(default_factory=dict)
    elements: list[Element] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)

    def pack(self) -> bytes:
        """The directory's bytes; block offsets are implied by their order."""
        info = "".join(f"{key}={value}\n" for key, value in self.info.items())
        sections = [
            (b"FEAT", "".join(f"{name}\n" for name in self.features).encode("ascii")),
            (b"INFO", info.encode()),
            (b"ELEM", b"".join(_pack_element(e) for e in self.elements)),
            (b"BLKS", b"".join(_pack_block(b) for b in self.blocks)),
        ]
        return b"".join(_SECTION.pack(tag, len(body)) + body for tag, body in sections)


def directory_room(directory: Directory, blocks: int) -> int:
    """Bytes that suffice for a directory with ``blocks`` more blocks, and with any features."""
    full = replace(directory, features=sorted(FEATURES))
    return len(full.pack()) + blocks * _BLOCK.size


def _pack_element(e: Element) -> bytes:
    signed = sum(1 << component for component in e.signed)
    parts = [
        _ELEMENT.pack(
            e.width, e.rows, e.components, len(e.segments), len(e.regions), e.method, signed, 0
        ),
        bytes(e.order),
    ]
    parts += [_REGION.pack(r.offset, r.row_bytes, r.band_rows, r.band_header) for r in e.regions]
    for s in e.segments:
        flags = (1 if s.big_endian else 0) | (2 if s.reverse else 0)
        parts.append(
            _SEGMENT.pack(
                s.region, s.components, s.bits, int(s.packing), s.shift, flags, 0, s.start
            )
        )
    return b"".join(parts)


def _pack_block(b: Block) -> bytes:
    return _BLOCK.pack(
        b.stop - b.start,
        b.stored_stop - b.stored_start,
        int(b.kind),
        b.region,
        b.element,
        b.row,
        b.rows,
        b.checksum,
    )


def parse_directory(raw: bytes, header: Header) -> Directory:
    """Parse a directory and check that it fits its header.

    Raises DamagedError where its checksum or its structure does not hold, and
    UnsupportedFeatureError with every feature this reader lacks.
    """
    if len(raw) != header.directory_length or checksum(raw) != header.directory_checksum:
        raise DamagedError("directory", "its checksum does not hold", 0)
    sections = dict(_sections(raw))
    try:
        features = sections[b"FEAT"].decode("ascii").split()
        lacking = [name for name in features if name not in FEATURES]
        if lacking:
            raise UnsupportedFeatureError(lacking)
        info = dict(
            line.split("=", 1) for line in sections[b"INFO"].decode().splitlines() if "=" in line
        )
        elements = list(_parse_elements(sections[b"ELEM"]))
        blocks = list(_parse_blocks(sections[b"BLKS"], header, elements))
    except (KeyError, ValueError, struct.error) as error:
        raise DamagedError("directory", f"it makes no sense ({error})", 0) from error
    return Directory(features, info, elements, blocks)


def _sections(raw: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(raw):
        if at + _SECTION.size > len(raw):
            raise DamagedError("directory", "a section is cut short", 0)
        tag, length = _SECTION.unpack_from(raw, at)
        at += _SECTION.size
        if length > len(raw) - at:
            raise DamagedError("directory", "a section is cut short", 0)
        yield tag, raw[at : at + length]
        at += length


def _parse_elements(raw: bytes) -> Iterator[Element]:
    at = 0
    while at < len(raw):
        width, rows, components, segments, regions, method, signed, _ = _ELEMENT.unpack_from(
            raw, at
        )
        at += _ELEMENT.size
        order = tuple(raw[at : at + components])
        at += components
        placed = []
        for _ in range(regions):
            placed.append(Region(*_REGION.unpack_from(raw, at)))
            at += _REGION.size
        held = []
        for _ in range(segments):
            region, count, bits, packing, shift, flags, _, start = _SEGMENT.unpack_from(raw, at)
            at += _SEGMENT.size
            big, reverse = bool(flags & 1), bool(flags & 2)
            held.append(Segment(count, bits, Packing(packing), shift, big, reverse, start, region))
        element = Element(
            width,
            rows,
            tuple(placed),
            tuple(held),
            order,
            tuple(c for c in range(16) if signed >> c & 1),
            method,
        )
        if components != element.components:
            raise ValueError("an element has other components than its segments")
        check_element(element)
        yield element


def check_element(e: Element) -> None:
    """Raise ValueError unless the kernels can be trusted with this element."""
    if not (1 <= e.width <= _MAX_WIDTH and 1 <= e.rows < 1 << 32):
        raise ValueError("an element is out of range")
    if not (1 <= e.components <= MAX_COMPONENTS and 1 <= len(e.regions) <= MAX_COMPONENTS):
        raise ValueError("an element has too many components")
    if sorted(e.order) != list(range(e.components)):
        raise ValueError("an element's order is no permutation")
    if any(not 0 <= component < e.components for component in e.signed):
        raise ValueError("an element has no such component")
    bits = [s.bits for s in e.segments for _ in range(s.components)]
    if any(bits[component] != 16 for component in e.signed):
        raise ValueError("an element's signed component has other than 16 bits")
    for region in e.regions:
        if region.band_header and (not region.band_rows or e.method):
            raise ValueError("an element's bands have no rows")
    if len({region.band_rows for region in e.regions if region.band_rows}) > 1:
        raise ValueError("an element's bands differ from region to region")
    for segment in e.segments:
        _check_segment(segment, e)
    held = sorted((s.region, s.start, s.start + s.row_bytes(e.width)) for s in e.segments)
    for (one, _, stop), (other, start, _) in itertools.pairwise(held):
        if one == other and start < stop:
            raise ValueError("an element's segments overlap")


def _check_segment(s: Segment, e: Element) -> None:
    if s.region >= len(e.regions) or s.components < 1:
        raise ValueError("a segment belongs to no region")
    if s.start + s.row_bytes(e.width) > e.regions[s.region].row_bytes:
        raise ValueError("an element's rows are too short")
    fits = {
        Packing.BYTE: s.bits == 8 and s.shift == 0,
        Packing.WORD: s.bits + s.shift <= 16,
        Packing.FILLED: s.bits == 10 and s.shift <= 2,
        Packing.PACKED: s.shift == 0,
        Packing.PACKED_HIGH: s.shift == 0,
    }
    if not (1 <= s.bits <= 16 and fits[s.packing]):
        raise ValueError("an element's bits do not fit its packing")


def _parse_blocks(raw: bytes, header: Header, elements: list[Element]) -> Iterator[Block]:
    start = 0
    stored = HEAD_SIZE + header.directory_length
    tiles: dict[tuple[int, int], int] = {}
    shared: list[Block] = []
    for length, stored_length, kind, region, element, row, rows, summed in _BLOCK.iter_unpack(raw):
        block = Block(
            BlockKind(kind),
            start,
            start + length,
            stored,
            stored + stored_length,
            summed,
            element,
            region,
            row,
            rows,
        )
        if not 0 < length <= MAX_BLOCK:
            raise ValueError("a block is empty or too long")
        if block.kind in (BlockKind.TILE, BlockKind.SHARED):
            _check_tile(block, elements)
            if block.kind is BlockKind.TILE:
                tiles[block.element, block.row] = block.rows
            else:
                shared.append(block)
        elif block.kind is BlockKind.STORED and stored_length != length:
            raise ValueError("a stored block has two lengths")
        elif block.kind is BlockKind.FILL and stored_length != 1:
            raise ValueError("a fill block is not one byte")
        start = block.stop
        stored = block.stored_stop
        yield block
    if start != header.original_length or stored != header.container_length:
        raise ValueError("the blocks do not add up to the file")
    if any(tiles.get((block.element, block.row)) != block.rows for block in shared):
        raise ValueError("a shared block's tile is missing")


def _check_tile(block: Block, elements: list[Element]) -> None:
    if block.element >= len(elements):
        raise ValueError("a tile belongs to no element")
    e = elements[block.element]
    if (block.region == 0) != (block.kind is BlockKind.TILE) or block.region >= len(e.regions):
        raise ValueError("a tile is in no region")
    if block.rows < 1 or block.row + block.rows > e.rows:
        raise ValueError("a tile's rows are not the element's")
    if sum(region.length(block.rows) for region in e.regions) > MAX_BLOCK:
        raise ValueError("a tile is too large")
    if block.rows * e.width * e.components > MAX_SAMPLES:
        raise ValueError("a tile has too many samples")
    region = e.regions[block.region]
    if e.method:
        return
    if region.band_rows and block.row % region.band_rows:
        raise ValueError("a tile begins inside a band")
    if block.start != region.place(block.row) or block.stop != region.end(block.row + block.rows):
        raise ValueError("a tile's rows are not its bytes")
