"""The PXF container: its header, its directory and its blocks.

The byte layout is specified in docs/format/container-v1.md; names here follow it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import xxhash

from codec.errors import (
    DamagedError,
    NotAContainerError,
    UnsupportedFeatureError,
    UnsupportedVersionError,
)
from codec.types import Block, BlockKind, Element, Packing

if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC = b"\x89PXF\r\n\x1a\n"
VERSION = 1
HEAD_SIZE = 64
WRAP_SIZE = 4096
FEATURES = frozenset({"tile-predicted-1"})

_HEADER = struct.Struct("<8sHHIQQ16s8s8s")
_SECTION = struct.Struct("<4sI")
_ELEMENT = struct.Struct("<QIIIBBBBBB16s")
_BLOCK = struct.Struct("<IIBBHI8s")
_KIND_CONTAINER = 0
_KIND_WRAP = 1
_MAX_COMPONENTS = 8
_MAX_WIDTH = 1 << 20
MAX_BLOCK = 1 << 25


def checksum(data: bytes | memoryview) -> bytes:
    """XXH3-64 in canonical (big-endian) form."""
    return xxhash.xxh3_64_digest(data)


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
    if len(head) < HEAD_SIZE or checksum(head[:56]) != head[56:]:
        raise DamagedError("header", "its checksum does not hold", 0)
    _, version, kind, directory, original, length, digest, summed, _ = _HEADER.unpack(head)
    if version != VERSION:
        raise UnsupportedVersionError(version)
    if kind not in (_KIND_CONTAINER, _KIND_WRAP):
        raise UnsupportedFeatureError([f"header kind {kind}"])
    return Header(
        kind="wrap" if kind == _KIND_WRAP else "container",
        original_length=original,
        container_length=length,
        directory_length=directory,
        hash=digest,
        directory_checksum=summed,
    )


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


def _pack_element(e: Element) -> bytes:
    return _ELEMENT.pack(
        e.offset,
        e.width,
        e.rows,
        e.row_bytes,
        e.components,
        e.bits,
        int(e.packing),
        e.shift,
        (1 if e.big_endian else 0) | (2 if e.reverse else 0),
        0,
        bytes(e.order).ljust(16, b"\xff"),
    )


def _pack_block(b: Block) -> bytes:
    return _BLOCK.pack(
        b.stop - b.start,
        b.stored_stop - b.stored_start,
        int(b.kind),
        b.element,
        b.rows,
        b.row,
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
        elements = [_parse_element(*e) for e in _ELEMENT.iter_unpack(sections[b"ELEM"])]
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


def _parse_element(
    offset: int,
    width: int,
    rows: int,
    row_bytes: int,
    components: int,
    bits: int,
    packing: int,
    shift: int,
    flags: int,
    _reserved: int,
    order: bytes,
) -> Element:
    if not (1 <= components <= _MAX_COMPONENTS and 1 <= bits <= 16 and 1 <= width <= _MAX_WIDTH):
        raise ValueError("an element is out of range")
    element = Element(
        offset=offset,
        width=width,
        rows=rows,
        row_bytes=row_bytes,
        components=components,
        bits=bits,
        packing=Packing(packing),
        shift=shift,
        big_endian=bool(flags & 1),
        reverse=bool(flags & 2),
        order=tuple(order[:components]),
    )
    check_element(element)
    return element


def check_element(e: Element) -> None:
    """Raise ValueError unless the kernels can be trusted with this element."""
    if sorted(e.order) != list(range(e.components)):
        raise ValueError("an element's order is no permutation")
    if e.rows < 1 or e.row_bytes < e.samples_bytes:
        raise ValueError("an element's rows are too short")
    fits = {
        Packing.BYTE: e.bits == 8 and e.shift == 0,
        Packing.WORD: e.bits + e.shift <= 16,
        Packing.FILLED: e.bits == 10 and e.shift <= 2,
        Packing.PACKED: e.shift == 0 and e.row_bytes % 4 == 0,
    }
    if not fits[e.packing]:
        raise ValueError("an element's bits do not fit its packing")


def _parse_blocks(raw: bytes, header: Header, elements: list[Element]) -> Iterator[Block]:
    start = 0
    stored = HEAD_SIZE + header.directory_length
    for length, stored_length, kind, element, rows, row, summed in _BLOCK.iter_unpack(raw):
        block = Block(
            BlockKind(kind),
            start,
            start + length,
            stored,
            stored + stored_length,
            summed,
            element,
            row,
            rows,
        )
        if not 0 < length <= MAX_BLOCK:
            raise ValueError("a block is empty or too long")
        if block.kind is BlockKind.TILE:
            _check_tile(block, elements)
        elif block.kind is BlockKind.STORED and stored_length != length:
            raise ValueError("a stored block has two lengths")
        elif block.kind is BlockKind.FILL and stored_length != 1:
            raise ValueError("a fill block is not one byte")
        start = block.stop
        stored = block.stored_stop
        yield block
    if start != header.original_length or stored != header.container_length:
        raise ValueError("the blocks do not add up to the file")


def _check_tile(block: Block, elements: list[Element]) -> None:
    if block.element >= len(elements):
        raise ValueError("a tile belongs to no element")
    e = elements[block.element]
    if (
        block.rows < 1
        or block.row + block.rows > e.rows
        or block.start != e.offset + block.row * e.row_bytes
        or block.stop - block.start != block.rows * e.row_bytes
    ):
        raise ValueError("a tile's rows are not its bytes")
