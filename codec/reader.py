"""Random access to the original inside a container."""

from __future__ import annotations

import bisect
import functools
import io
import os
import struct
import threading
import zlib
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

import numpy as np
import xxhash

from codec import redo
from codec.container import (
    HEAD_SIZE,
    WRAP_SIZE,
    Directory,
    Header,
    checksum,
    parse_directory,
    parse_header,
)
from codec.errors import DamagedError
from codec.tile import decode_tile, slack_bytes
from codec.types import Block, BlockKind, Element

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from numpy.typing import NDArray
    from typing_extensions import Buffer

Source: TypeAlias = "Buffer | int | BinaryIO"
"""A container in memory, or a descriptor or binary file that stays the caller's to close."""

WRAP_BLOCK = 1 << 20
_MAX_DIRECTORY = 1 << 26
_PARAMETERS = struct.Struct("<I")
# A sequence that is played over and over is opened anew each time: parsing takes most of that. Of
# directories so short, this many parsed ones take some 10 MB at most.
_REMEMBERED_DIRECTORIES = 512
_REMEMBERED_UP_TO = 4096


class ByteSource(Protocol):
    """Where a container's bytes come from; many threads may read at once."""

    def size(self) -> int: ...

    def pread(self, offset: int, size: int) -> memoryview | bytes: ...


class BufferSource:
    """A container in memory."""

    def __init__(self, buffer: Buffer) -> None:
        self._view = memoryview(buffer).cast("B")

    def size(self) -> int:
        return len(self._view)

    def pread(self, offset: int, size: int) -> memoryview | bytes:
        return self._view[offset : offset + size]


class FileSource:
    """A container in a file, by its descriptor, which stays the caller's to close."""

    def __init__(self, fd: int, owner: BinaryIO | None = None) -> None:
        """``owner``, if any, is kept alive: a file nobody refers to closes its descriptor."""
        self._fd = fd
        self._owner = owner

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def pread(self, offset: int, size: int) -> memoryview | bytes:
        parts = []
        while size > 0:
            part = os.pread(self._fd, size, offset)
            if not part:
                break
            parts.append(part)
            offset += len(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def open_source(source: Source) -> ByteSource:
    """A ByteSource of a bytes-like object, a file descriptor or a binary file."""
    if isinstance(source, int):
        return FileSource(source)
    if isinstance(source, io.IOBase):
        return FileSource(source.fileno(), cast("BinaryIO", source))
    return BufferSource(cast("Buffer", source))


@functools.lru_cache(_REMEMBERED_DIRECTORIES)
def _parse_remembered(raw: bytes, header: Header) -> Directory:
    """`parse_directory`, once for the same bytes under the same header; nobody changes it."""
    return parse_directory(raw, header)


class Reader:
    """The original inside a container, decoded where it is touched and nowhere else.

    The original is cut into *blocks*: runs of side data and tiles of samples, contiguous and in
    order. Each is decoded on its own. A Reader keeps no decoded bytes and does not own the file
    it reads; any number of threads may use it at once.

    Raises NotAContainerError, UnsupportedVersionError, UnsupportedFeatureError or DamagedError
    when opened on something else than a sound header and directory.

    Attributes:
        original_length, stored_length: bytes.
        format: the original's format as a person would name it.
        level, codec: how it was encoded.
        hash: XXH3-128 of the original in hex; empty for an open wrap.
        reason: why no samples were coded, or None.
        encoded_at: when it was encoded (ISO 8601), or None.
    """

    def __init__(self, source: Source) -> None:
        self._source = open_source(source)
        self._lock = threading.Lock()
        self._tiles_decoded = 0
        head = self._source.pread(0, HEAD_SIZE)
        self.header = parse_header(head)
        self.stored_length = self._source.size()
        self._directory = self._open_wrap() if self.header.kind == "wrap" else self._open()
        self._starts = [block.start for block in self._directory.blocks]
        self._tiles: dict[tuple[int, int], int] = {}
        self._shared: dict[tuple[int, int], list[int]] = {}
        for index, block in enumerate(self._directory.blocks):
            if block.kind is BlockKind.TILE:
                self._tiles[block.element, block.row] = index
            elif block.kind is BlockKind.SHARED:
                self._shared.setdefault((block.element, block.row), []).append(index)
        info = self._directory.info
        self.format = info.get("format", "unknown")
        self.level = info.get("level", "")
        self.codec = info.get("codec", "")
        self.reason = info.get("reason")
        self.encoded_at = info.get("encoded_at")
        self.hash = self.header.hash.hex() if self.header.kind == "container" else ""

    def _open(self) -> Directory:
        header = self.header
        if self.stored_length < header.container_length:
            missing = header.container_length - self.stored_length
            if HEAD_SIZE + header.directory_length > self.stored_length:
                raise DamagedError("container", f"it is cut short by {missing} bytes", 0)
        if header.directory_length > min(_MAX_DIRECTORY, self.stored_length):
            raise DamagedError("directory", "it is longer than the file", 0)
        raw = bytes(self._source.pread(HEAD_SIZE, header.directory_length))
        parse = _parse_remembered if len(raw) <= _REMEMBERED_UP_TO else parse_directory
        directory = parse(raw, header)
        self.original_length = header.original_length
        return directory

    def _open_wrap(self) -> Directory:
        length = max(self.stored_length - WRAP_SIZE, 0)
        self.original_length = length
        directory = Directory(
            info={"format": "wrapped file", "reason": "unsupported: begins like a PixFS container"}
        )
        for start in range(0, length, WRAP_BLOCK):
            stop = min(start + WRAP_BLOCK, length)
            at = (WRAP_SIZE + start, WRAP_SIZE + stop)
            directory.blocks.append(Block(BlockKind.STORED, start, stop, *at, b""))
        return directory

    @property
    def blocks(self) -> int:
        """How many blocks the original is cut into."""
        return len(self._starts)

    @property
    def tiles(self) -> int:
        """How many of the blocks are tiles of samples."""
        return sum(block.kind is BlockKind.TILE for block in self._directory.blocks)

    @property
    def tiles_decoded(self) -> int:
        """How many times a tile has been decoded so far."""
        return self._tiles_decoded

    @property
    def elements(self) -> tuple[Element, ...]:
        """The image elements whose samples are coded."""
        return tuple(self._directory.elements)

    def block_range(self, index: int) -> tuple[int, int]:
        """Start and end of a block in the original."""
        block = self._directory.blocks[index]
        return block.start, block.stop

    def block_at(self, offset: int) -> int:
        """The block that holds byte ``offset`` of the original, which must be inside it."""
        if not 0 <= offset < self.original_length:
            raise IndexError(f"offset {offset} is outside the file")
        return bisect.bisect_right(self._starts, offset) - 1

    def is_tile(self, index: int) -> bool:
        """Whether decoding this block means decoding samples."""
        return self._directory.blocks[index].kind in (BlockKind.TILE, BlockKind.SHARED)

    @property
    def groups(self) -> list[int]:
        """The blocks to give to `decode_group` to have every block once."""
        blocks = enumerate(self._directory.blocks)
        return [index for index, block in blocks if block.kind is not BlockKind.SHARED]

    def decode_block(self, index: int, out: NDArray[np.uint8] | None = None) -> memoryview | bytes:
        """All bytes of a block (bytes-like). Raises DamagedError that names it.

        It is decoded into ``out``, of the block's length, where that is given and `fills` says so.
        """
        block = self._directory.blocks[index]
        try:
            if self.fills(index):
                return self._decode_tile(block, out)[0].data
            stored = self._stored(block)
            if block.kind in (BlockKind.TILE, BlockKind.SHARED):
                return self._of_tile(block, stored, self._decode_tile(block))
            return self._side(block, stored)
        except DamagedError as error:
            raise DamagedError(self._name(index), error.detail, block.start) from error

    def fills(self, index: int) -> bool:
        """Whether a block is all that is coded in its tile, so that it can be decoded into a
        buffer of the caller's."""
        block = self._directory.blocks[index]
        if block.kind is not BlockKind.TILE:
            return False
        element = self._directory.elements[block.element]
        return not element.method and len(element.regions) == 1

    def decode_group(self, index: int) -> list[tuple[int, memoryview | bytes]]:
        """The bytes of a block, and of all blocks that share its tile, which is decoded once.

        Raises DamagedError that names the first.
        """
        block = self._directory.blocks[index]
        shared = self._shared.get((block.element, block.row), [])
        if block.kind is not BlockKind.TILE or not shared:
            return [(index, self.decode_block(index))]
        try:
            regions = self._decode_tile(block)
            group = []
            for member in (index, *shared):
                one = self._directory.blocks[member]
                group.append((member, self._of_tile(one, self._stored(one), regions)))
            return group
        except DamagedError as error:
            raise DamagedError(self._name(index), error.detail, block.start) from error

    def decode_group_into(self, index: int, original: NDArray[np.uint8]) -> list[tuple[int, int]]:
        """Write what `decode_group` gives to its place in ``original``, the whole of it.

        Returns where the blocks that were written start and stop.
        """
        block = self._directory.blocks[index]
        if not self.fills(index):
            written = []
            for member, decoded in self.decode_group(index):
                start, stop = self.block_range(member)
                original[start:stop] = np.frombuffer(decoded, np.uint8)
                written.append((start, stop))
            return written
        try:
            self._decode_tile(block, original[block.start : block.stop])
        except DamagedError as error:
            raise DamagedError(self._name(index), error.detail, block.start) from error
        return [(block.start, block.stop)]

    def _stored(self, block: Block) -> memoryview | bytes:
        """A block's stored bytes, checked."""
        return self._stored_and_more(block, 0)

    def _stored_and_more(self, block: Block, more: int) -> memoryview | bytes:
        """A block's stored bytes, checked, and up to ``more`` after them, which are not."""
        length = block.stored_stop - block.stored_start
        held = self._source.pread(block.stored_start, length + more)
        if len(held) < length:
            raise DamagedError("block", "it is cut short")
        if block.checksum and checksum(memoryview(held)[:length]) != block.checksum:
            raise DamagedError("block", "its checksum does not hold")
        return held

    def _side(self, block: Block, stored: memoryview | bytes) -> memoryview | bytes:
        if block.kind is BlockKind.STORED:
            return stored
        if block.kind is BlockKind.FILL:
            return bytes(stored) * (block.stop - block.start)
        return _inflate(stored, block.stop - block.start)

    def _decode_tile(
        self, block: Block, out: NDArray[np.uint8] | None = None
    ) -> list[NDArray[np.uint8]]:
        """The rows of a block's tile in each region of its element, in ``out`` where given."""
        main = self._directory.blocks[self._tiles[block.element, block.row]]
        element = self._directory.elements[block.element]
        slack = slack_bytes(element.width)
        held = self._stored_and_more(main, slack)
        length = main.stored_stop - main.stored_start
        if element.method:
            tile = split_redone(memoryview(held)[:length])[1]
            held = memoryview(held)[length - len(tile) :]
            length = len(tile)
        with self._lock:
            self._tiles_decoded += 1
        return decode_tile(held, block.rows, element, out, length)

    def _of_tile(
        self, block: Block, stored: memoryview | bytes, regions: list[NDArray[np.uint8]]
    ) -> memoryview | bytes:
        """A block's bytes, given the rows of its tile."""
        rows = regions[block.region]
        method = self._directory.elements[block.element].method
        if not method:
            return rows.data
        parameters = split_redone(stored)[0] if block.kind is BlockKind.TILE else stored
        length = block.stop - block.start
        made = redo.redo(method, rows, bytes(parameters), length)
        if len(made) != length:
            raise DamagedError("tile", "it is redone to another length")
        return made

    def _name(self, index: int) -> str:
        block = self._directory.blocks[index]
        if block.kind in (BlockKind.TILE, BlockKind.SHARED):
            main = self._tiles[block.element, block.row]
            tile = sum(b.kind is BlockKind.TILE for b in self._directory.blocks[:main])
            last = block.row + block.rows - 1
            part = f"tile {tile} (rows {block.row}-{last}"
            if len(self._directory.elements) > 1:
                part += f" of element {block.element}"
            return part + ")"
        return f"side data (bytes {block.start}-{block.stop - 1})"

    def read(self, offset: int, size: int) -> bytes:
        """Bytes ``offset`` to ``offset + size`` of the original, fewer at its end."""
        stop = min(offset + size, self.original_length)
        if offset < 0 or offset >= stop:
            return b""
        parts = []
        index = self.block_at(offset)
        while index < self.blocks:
            start, end = self.block_range(index)
            if start >= stop:
                break
            decoded = memoryview(self.decode_block(index))
            parts.append(decoded[max(offset - start, 0) : min(stop, end) - start])
            index += 1
        return b"".join(parts)

    def verify(self) -> list[DamagedError]:
        """Everything that is wrong with the container; empty if the original comes out whole."""
        damages: list[DamagedError] = []
        if self.header.kind == "container" and self.stored_length != self.header.container_length:
            difference = self.stored_length - self.header.container_length
            kind = "longer" if difference > 0 else "shorter"
            damages.append(
                DamagedError("container", f"{abs(difference)} bytes {kind} than written")
            )
        digest = xxhash.xxh3_128()
        for decoded in self._sound_blocks(damages):
            digest.update(decoded)
        if not damages and self.hash and digest.hexdigest() != self.hash:
            damages.append(DamagedError("original", "its hash is not that of the file written", 0))
        return damages

    def check_hash(self, original: Buffer) -> None:
        """Raise DamagedError unless ``original`` is the file that was encoded."""
        if self.hash:
            self.check_digest(xxhash.xxh3_128_digest(original))

    def check_digest(self, digest: bytes) -> None:
        """Raise DamagedError unless ``digest`` is the hash of the file that was encoded."""
        if self.hash and digest.hex() != self.hash:
            raise DamagedError("original", "its hash is not that of the file written", 0)

    def stored_payloads(self) -> list[memoryview | bytes]:
        """The stored bytes of each block, unchecked."""
        return [
            self._source.pread(block.stored_start, block.stored_stop - block.stored_start)
            for block in self._directory.blocks
        ]

    def check_stored(self) -> None:
        """Raise DamagedError, naming the part, unless all stored bytes are those that were
        written. Nothing is decoded."""
        for index, block in enumerate(self._directory.blocks):
            try:
                self._stored(block)
            except DamagedError as error:
                raise DamagedError(self._name(index), error.detail, block.start) from error

    def checksums_hold(self) -> bool:
        """Whether the stored bytes of every block are those that were written."""
        try:
            self.check_stored()
        except DamagedError:
            return False
        return True

    def _sound_blocks(self, damages: list[DamagedError]) -> Iterator[memoryview | bytes]:
        for index in range(self.blocks):
            try:
                yield self.decode_block(index)
            except DamagedError as error:
                damages.append(error)


def redone_head(parameters: bytes) -> bytes:
    """What stands before a tile whose rows are redone."""
    return _PARAMETERS.pack(len(parameters)) + parameters


def split_redone(stored: memoryview | bytes) -> tuple[memoryview, memoryview]:
    """Parameters and tile from the stored bytes of a tile whose rows are redone."""
    view = memoryview(stored)
    if len(view) < _PARAMETERS.size:
        raise DamagedError("tile", "it is cut short")
    stop = _PARAMETERS.size + _PARAMETERS.unpack_from(view)[0]
    if stop > len(view):
        raise DamagedError("tile", "it is cut short")
    return view[_PARAMETERS.size : stop], view[stop:]


def _inflate(stored: Buffer, length: int) -> bytes:
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(stored, length + 1)
    except zlib.error as error:
        raise DamagedError("block", f"it does not inflate ({error})") from error
    if len(raw) != length or not inflater.eof:
        raise DamagedError("block", "it inflates to another length")
    return raw


def as_array(buffer: Buffer) -> NDArray[np.uint8]:
    """A read-only uint8 array over a bytes-like object."""
    return np.frombuffer(memoryview(buffer).cast("B").toreadonly(), np.uint8)
