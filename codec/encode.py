"""A whole file to a container, and back."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import xxhash

from codec import redo
from codec.assembly import Assembly, fresh
from codec.container import (
    HEAD_SIZE,
    Directory,
    Header,
    check_element,
    checksum,
    checksum_of_parts,
    directory_room,
    is_container_head,
)
from codec.effort import EFFORTS, Effort
from codec.errors import VerifyError
from codec.formats import FORMATS
from codec.formats.base import PROBE_SIZE, NotUnderstood
from codec.kernels.equality import are_equal
from codec.parallel import spread
from codec.pieces import SIDE_BLOCK, Extent, Piece, cut, side_pieces
from codec.reader import Reader, as_array, redone_head
from codec.running_hash import RunningHash
from codec.tile import decode_tile, feature_of, slack_bytes, tile_parts
from codec.types import Block, BlockKind, Element, Encoded, Layout, Level, Probe
from codec.workspace import Scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from typing_extensions import Buffer

    from codec.assembly import Memory
    from codec.formats.base import Format

_Parts: TypeAlias = "Sequence[memoryview | bytes]"

# Tiles that are decoded only to be compared.
_decoded = Scratch()

CODEC_NAME = "pxf-1"
TOO_SMALL = 4096
_WORTH = 0.97
_PLAUSIBLE = 64
"""Up to this ratio a container's length is believed; beyond it memory follows what is decoded."""
_TILE_FEATURE = "tile-predicted-1"
_REDO_FEATURE = "redo-1"


def _recognised(head: bytes, size: int) -> Format:
    """The format module for a file. Raises NotUnderstood where there is none."""
    if size == 0:
        raise NotUnderstood("too small: the file is empty")
    if is_container_head(head):
        raise NotUnderstood("unsupported: begins like a PixFS container")
    for module in FORMATS:
        if module.recognises(head):
            return module
    raise NotUnderstood("unsupported: not a frame format that is known")


def find_layout(file: memoryview) -> Layout:
    """The layout of a whole file. Raises NotUnderstood with the reason it stays verbatim."""
    layout = _recognised(bytes(file[:PROBE_SIZE]), len(file)).layout(file)
    if len(file) < TOO_SMALL:
        raise NotUnderstood(f"too small: less than {TOO_SMALL} bytes", layout.format)
    for element in layout.elements:
        try:
            check_element(element)
        except ValueError as error:
            raise NotUnderstood(f"unsupported: {error}", layout.format) from error
    return layout


def probe(head: Buffer, size: int) -> Probe:
    """What a file of ``size`` bytes is, as far as its first `PROBE_SIZE` bytes tell.

    Never raises. A format whose directory lies elsewhere in the file may still turn out to be
    one that stays verbatim.
    """
    start = bytes(memoryview(head)[:PROBE_SIZE])
    try:
        name = _recognised(start, size).probe(start, size)
    except NotUnderstood as verdict:
        return Probe(verdict.format, verdict.reason)
    if size < TOO_SMALL:
        return Probe(name, f"too small: less than {TOO_SMALL} bytes")
    return Probe(name, None)


def encode(
    buffer: Buffer,
    *,
    level: Level = "balanced",
    threads: int = 1,
    verify: bool = True,
    encoded_at: str | None = None,
    before_piece: Callable[[], None] | None = None,
    memory: Memory = fresh,
) -> Encoded:
    """Encode a whole file into a container.

    Always yields one: where the samples are not understood, or coding them is not worth it, the
    file's bytes stand in it as they are and ``reason`` says why. ``encoded_at`` (ISO 8601) is
    recorded when given. With ``verify`` the container is decoded and compared before it is
    returned. ``before_piece`` is called before each tile and each run of other bytes, in the thread
    that is to encode it; what it raises breaks the encoding off and is raised. ``memory`` gives so
    many bytes, whatever is in them, that the container is put into and shares: for who encodes
    one file after another, and has no use for a container once the next is made.

    Any thread may call this; the work is done without the GIL on up to ``threads`` threads.
    Memory: the buffer, the container, and some 20 MB a thread.

    Raises VerifyError if the result does not decode to its input, ValueError for an unknown
    level or a thread count below one.
    """
    if level not in EFFORTS:
        raise ValueError(f"level {level!r} is none of {', '.join(EFFORTS)}")
    if threads < 1:
        raise ValueError("threads must be at least one")
    source = as_array(buffer)
    view = source.data
    info = {"codec": CODEC_NAME, "level": level}
    if encoded_at is not None:
        info["encoded_at"] = encoded_at
    encoder = _Encoder(source, EFFORTS[level], threads, verify, before_piece, memory)
    try:
        layout = find_layout(view)
        container = encoder.coded(info, layout)
    except NotUnderstood as verdict:
        return encoder.verbatim(info, verdict.format or "unknown", verdict.reason, level)
    if len(container) > _WORTH * source.size:
        return encoder.verbatim(info, layout.format, "incompressible", level)
    return Encoded(container, layout.format, None, level, encoder.hash.hex(), source.size)


@dataclass(frozen=True, slots=True)
class _Coded:
    """A block whose stored bytes are in the container."""

    kind: BlockKind
    extent: Extent
    length: int
    checksum: bytes
    feature: str | None = None


class _Encoder:
    """One file on its way into a container."""

    def __init__(
        self,
        source: NDArray[np.uint8],
        effort: Effort,
        threads: int,
        verify: bool,
        before_piece: Callable[[], None] | None,
        memory: Memory,
    ) -> None:
        self._source = source
        self._view = source.data
        self._effort = effort
        self._threads = threads
        self._verify = verify
        self._before_piece = before_piece
        self._refused: list[str] = []
        self._memory = memory
        self._assembly = Assembly(0, 0)
        self.hash = b""

    def verbatim(self, info: dict[str, str], name: str, reason: str, level: str) -> Encoded:
        """The container that holds the file's own bytes."""
        directory = Directory(info={"format": name, **info, "reason": reason})
        pieces = list(side_pieces(0, self._source.size))
        self._begin(directory, pieces)
        for piece in pieces:
            _append(directory, self._stored(piece.extents[0]), piece)
        self.hash = xxhash.xxh3_128_digest(self._view)
        container = self._finish(directory)
        return Encoded(container, name, reason, level, self.hash.hex(), self._source.size)

    def coded(self, info: dict[str, str], layout: Layout) -> memoryview:
        """The container that holds the elements' samples as tiles.

        Raises NotUnderstood where they cannot be coded after all.
        """
        directory = Directory(
            features=[_TILE_FEATURE],
            info={"format": layout.format, **info},
            elements=list(layout.elements),
        )
        if any(element.method for element in layout.elements):
            directory.features.append(_REDO_FEATURE)

        pieces = sorted(self._cut(layout), key=lambda piece: piece.extents[0].start)
        self._begin(directory, pieces)
        running = RunningHash(self._view)

        def one(piece: Piece) -> list[_Coded]:
            if self._before_piece is not None:
                self._before_piece()
            # Before a tile is encoded, which then finds its bytes in the cache.
            for extent in piece.extents:
                running.known(extent.start, extent.stop)
            if not piece.rows:
                return [self._side(piece.extents[0])]
            return self._tile(piece, layout.elements[piece.element])

        blocks: list[tuple[Piece, _Coded]] = []
        for piece, coded in zip(pieces, spread(self._threads, one, pieces), strict=True):
            blocks += [(piece, block) for block in coded]
        if self._refused and not any(block.kind is BlockKind.TILE for _, block in blocks):
            raise NotUnderstood(f"unsupported: {self._refused[0]}", layout.format)
        self.hash = running.digest()
        needed = {block.feature for _, block in blocks if block.feature is not None}
        directory.features += sorted(needed)
        blocks.sort(key=lambda pair: pair[1].extent.start)
        for piece, block in blocks:
            _append(directory, block, piece)
        return self._finish(directory)

    def _begin(self, directory: Directory, pieces: Sequence[Piece]) -> None:
        """Make room for a container of ``pieces``: none takes more than its bytes of the file."""
        blocks = sum(len(piece.extents) for piece in pieces)
        most = self._source.size + blocks * len(redone_head(b""))
        self._assembly = Assembly(HEAD_SIZE + directory_room(directory, blocks), most, self._memory)

    def _put(
        self, kind: BlockKind, extent: Extent, parts: _Parts, feature: str | None = None
    ) -> _Coded:
        """Store a block as ``parts``, joined."""
        self._assembly.put(extent.start, extent.stop, parts)
        return _Coded(kind, extent, sum(map(len, parts)), checksum_of_parts(parts), feature)

    def _cut(self, layout: Layout) -> list[Piece]:
        try:
            return cut(layout.elements, self._source.size, self._effort.tile_pixels)
        except NotUnderstood as verdict:
            raise NotUnderstood(verdict.reason, layout.format) from verdict

    def _tile(self, piece: Piece, element: Element) -> list[_Coded]:
        """A tile's blocks, one for each region; plain bytes where it does not pay.

        So it is where compressed rows cannot be redone: the rest of the file need not suffer.
        """
        originals = [self._source[e.start : e.stop] for e in piece.extents]
        parameters = [b""] * len(originals)
        regions = originals
        if element.method:
            try:
                undone = self._undo(piece, element)
            except redo.CannotRedo as error:
                self._refused.append(str(error))
                return [self._stored(extent) for extent in piece.extents]
            regions = [part.rows.reshape(-1) for part in undone]
            parameters = [part.parameters for part in undone]
        with tile_parts(regions, piece.rows, element, self._effort) as parts:
            length = sum(map(len, parts)) + sum(map(len, parameters))
            if length >= piece.length:
                return [self._side(extent) for extent in piece.extents]
            if self._verify:
                self._check(parts, parameters, piece, element, originals)
            first = [redone_head(parameters[0]), *parts] if element.method else parts
            feature = feature_of(parts[0])
            blocks = [self._put(BlockKind.TILE, piece.extents[0], first, feature)]
        for extent, more in zip(piece.extents[1:], parameters[1:], strict=True):
            blocks.append(self._put(BlockKind.SHARED, extent, [more]))
        return blocks

    def _undo(self, piece: Piece, element: Element) -> list[redo.Undone]:
        """A tile's rows in each region, as they were before the format compressed them."""
        return [
            redo.undo(
                element.method,
                self._view,
                extent.chunks,
                element.regions[extent.region].row_bytes,
                element.detail,
            )
            for extent in piece.extents
        ]

    def _check(
        self,
        parts: _Parts,
        parameters: list[bytes],
        piece: Piece,
        element: Element,
        originals: list[NDArray[np.uint8]],
    ) -> None:
        """Raise VerifyError unless a tile, joined, decodes to the file's own bytes."""
        slack = slack_bytes(element.width)
        tile = b"".join((*parts, bytes(slack)))
        room = None if element.method else _decoded.room(sum(rows.size for rows in originals))
        decoded = decode_tile(tile, piece.rows, element, room, len(tile) - slack)
        for rows, more, original in zip(decoded, parameters, originals, strict=True):
            result = rows
            if element.method:
                made = redo.redo(element.method, rows, more, original.size)
                result = np.frombuffer(made, np.uint8)
            if not are_equal(result, original):
                raise VerifyError(f"rows from {piece.row} of {element} do not decode to themselves")

    def _side(self, extent: Extent) -> _Coded:
        original = bytes(self._view[extent.start : extent.stop])
        if original.count(original[:1]) == len(original):
            return self._put(BlockKind.FILL, extent, [original[:1]])
        deflated = zlib.compress(original, self._effort.side)
        if len(deflated) < len(original):
            if self._verify and zlib.decompress(deflated) != original:
                raise VerifyError(f"side data at {extent.start} does not inflate to itself")
            return self._put(BlockKind.DEFLATE, extent, [deflated])
        return self._stored(extent)

    def _stored(self, extent: Extent) -> _Coded:
        return self._put(BlockKind.STORED, extent, [self._view[extent.start : extent.stop]])

    def _finish(self, directory: Directory) -> memoryview:
        """The container, with all blocks in it listed in ``directory``."""
        packed = directory.pack()
        length = HEAD_SIZE + len(packed) + self._assembly.length
        header = Header(
            "container", self._source.size, length, len(packed), self.hash, checksum(packed)
        )
        container = self._assembly.finish(header.pack() + packed)
        if self._verify:
            self._verify_structure(container)
        return container

    def _verify_structure(self, container: memoryview) -> None:
        """Open the finished container anew: its blocks must be those that were checked."""
        reader = Reader(container)
        if (
            reader.original_length != self._source.size
            or reader.header.container_length != len(container)
            or not reader.checksums_hold()
        ):
            raise VerifyError("the container does not hold the blocks that were encoded")


def _append(directory: Directory, coded: _Coded, piece: Piece) -> None:
    """List a block in the directory, stored after those that are."""
    extent = coded.extent
    stored = directory.blocks[-1].stored_stop if directory.blocks else 0
    stop = stored + coded.length
    place = (extent.start, extent.stop, stored, stop)
    if coded.kind in (BlockKind.TILE, BlockKind.SHARED):
        rows = (piece.element, extent.region, piece.row, piece.rows)
        directory.blocks.append(Block(coded.kind, *place, coded.checksum, *rows))
    else:
        directory.blocks.append(Block(coded.kind, *place, coded.checksum))


def compress(buffer: Buffer, *, level: Level = "balanced", threads: int = 1) -> bytes:
    """The container of a whole file. See `encode`."""
    return bytes(encode(buffer, level=level, threads=threads).container)


def decompress(container: Buffer, *, threads: int = 1) -> memoryview:
    """The original of a whole container (bytes-like).

    Raises what `Reader` raises, and DamagedError where a block or the hash of the whole does
    not hold. Memory grows with what is decoded, never with what the header says.
    """
    reader = Reader(container)
    if reader.original_length > _PLAUSIBLE * reader.stored_length + SIDE_BLOCK:
        return _grow(reader, threads)
    # Not a bytearray: that would be zeroed first, on one thread.
    out = np.empty(reader.original_length, np.uint8)
    running = RunningHash(out.data)

    def one(group: int) -> None:
        for start, stop in reader.decode_group_into(group, out):
            running.known(start, stop)

    spread(threads, one, reader.groups)
    reader.check_digest(running.digest())
    return out.data


def _grow(reader: Reader, threads: int) -> memoryview:
    """The original of a container that claims to hold very much more than its own length."""
    out = bytearray()
    early: dict[int, memoryview | bytes] = {}
    following = 0
    groups = reader.groups
    for first in range(0, len(groups), threads):
        for group in spread(threads, reader.decode_group, groups[first : first + threads]):
            early.update(group)
        while following in early:
            out += early.pop(following)
            following += 1
    reader.check_hash(out)
    return memoryview(out)
