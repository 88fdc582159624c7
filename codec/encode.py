"""A whole file to a container, and back."""

from __future__ import annotations

import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import xxhash

from codec.container import (
    HEAD_SIZE,
    MAX_BLOCK,
    Directory,
    Header,
    check_element,
    checksum,
    is_container_head,
)
from codec.errors import VerifyError
from codec.formats import dpx
from codec.formats.base import PROBE_SIZE, NotUnderstood
from codec.reader import Reader, as_array
from codec.tile import EFFORTS, Effort, decode_tile, encode_tile
from codec.types import Block, BlockKind, Element, Encoded, Layout, Level, Probe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray
    from typing_extensions import Buffer

CODEC_NAME = "pxf-1"
TOO_SMALL = 4096
SIDE_BLOCK = 1 << 20
HEAD_BLOCK = 1 << 14
"""What a kernel reads at once when a program asks for a header: kept out of the tiles..."""
HEAD_BLOCK_FROM = 1 << 20
"""... of files at least this long, where the rows in it cost next to nothing."""
_WORTH = 0.97
_MIN_TILE_ROWS = 16
_FEATURE = "tile-predicted-1"

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class _Piece:
    """A block before it has a place: its bytes in the original, and the tile's rows."""

    start: int
    stop: int
    element: int = 0
    row: int = 0
    rows: int = 0


def find_layout(head: bytes, size: int) -> Layout:
    """The layout of a file of ``size`` bytes from its first PROBE_SIZE bytes.

    Raises NotUnderstood with the reason it stays verbatim.
    """
    if size == 0:
        raise NotUnderstood("too small: the file is empty")
    if is_container_head(head):
        raise NotUnderstood("unsupported: begins like a PixFS container")
    if head[:4] in (b"SDPX", b"XPDS"):
        layout = dpx.probe(head, size)
    else:
        raise NotUnderstood("unsupported: not a frame format that is known")
    if size < TOO_SMALL:
        raise NotUnderstood(f"too small: less than {TOO_SMALL} bytes", layout.format)
    for element in layout.elements:
        if element.row_bytes > MAX_BLOCK:
            raise NotUnderstood("unsupported: rows are too long", layout.format)
        try:
            check_element(element)
        except ValueError as error:
            raise NotUnderstood(f"unsupported: {error}", layout.format) from error
    return layout


def probe(head: Buffer, size: int) -> Probe:
    """What a file of ``size`` bytes is, from its first `PROBE_SIZE` bytes. Never raises."""
    try:
        return Probe(find_layout(bytes(memoryview(head)[:PROBE_SIZE]), size).format, None)
    except NotUnderstood as verdict:
        return Probe(verdict.format, verdict.reason)


def encode(
    buffer: Buffer,
    *,
    level: Level = "balanced",
    threads: int = 1,
    verify: bool = True,
    encoded_at: str | None = None,
) -> Encoded:
    """Encode a whole file into a container.

    Always yields one: where the samples are not understood, or coding them is not worth it, the
    file's bytes stand in it as they are and ``reason`` says why. ``encoded_at`` (ISO 8601) is
    recorded when given. With ``verify`` the container is decoded and compared before it is
    returned.

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
    encoder = _Encoder(source, EFFORTS[level], threads, verify)
    try:
        layout = find_layout(bytes(view[:PROBE_SIZE]), source.size)
    except NotUnderstood as verdict:
        return encoder.verbatim(info, verdict.format or "unknown", verdict.reason, level)
    container = encoder.coded(info, layout)
    if len(container) > _WORTH * source.size:
        return encoder.verbatim(info, layout.format, "incompressible", level)
    return Encoded(container, layout.format, None, level, encoder.hash.hex(), source.size)


class _Encoder:
    """One file on its way into a container."""

    def __init__(
        self, source: NDArray[np.uint8], effort: Effort, threads: int, verify: bool
    ) -> None:
        self._source = source
        self._view = source.data
        self._effort = effort
        self._threads = threads
        self._verify = verify
        self.hash = xxhash.xxh3_128_digest(self._view)

    def verbatim(self, info: dict[str, str], name: str, reason: str, level: str) -> Encoded:
        """The container that holds the file's own bytes."""
        directory = Directory(info={"format": name, **info, "reason": reason})
        payloads = []
        for piece in _side_pieces(0, self._source.size):
            payloads.append(bytes(self._view[piece.start : piece.stop]))
            _append(directory, BlockKind.STORED, piece, payloads[-1])
        container = self._assemble(directory, payloads)
        return Encoded(container, name, reason, level, self.hash.hex(), self._source.size)

    def coded(self, info: dict[str, str], layout: Layout) -> bytes:
        """The container that holds the elements' samples as tiles."""
        directory = Directory(
            features=[_FEATURE],
            info={"format": layout.format, **info},
            elements=list(layout.elements),
        )
        pieces = list(_pieces(layout.elements, self._source.size, self._effort))

        def one(piece: _Piece) -> tuple[BlockKind, bytes]:
            if piece.rows:
                return self._tile(piece, layout.elements[piece.element])
            return self._side(piece)

        payloads = []
        for piece, (kind, payload) in zip(pieces, _spread(self._threads, one, pieces), strict=True):
            _append(directory, kind, piece, payload)
            payloads.append(payload)
        return self._assemble(directory, payloads)

    def _tile(self, piece: _Piece, element: Element) -> tuple[BlockKind, bytes]:
        payload = encode_tile(self._source, piece.start, piece.rows, element, self._effort)
        original = self._source[piece.start : piece.stop]
        if len(payload) >= piece.stop - piece.start:
            return BlockKind.STORED, original.tobytes()
        if self._verify and not np.array_equal(decode_tile(payload, piece.rows, element), original):
            raise VerifyError(f"rows from {piece.row} of {element} do not decode to themselves")
        return BlockKind.TILE, payload

    def _side(self, piece: _Piece) -> tuple[BlockKind, bytes]:
        original = bytes(self._view[piece.start : piece.stop])
        if original.count(original[:1]) == len(original):
            return BlockKind.FILL, original[:1]
        deflated = zlib.compress(original, 6)
        if len(deflated) < len(original):
            if self._verify and zlib.decompress(deflated) != original:
                raise VerifyError(f"side data at {piece.start} does not inflate to itself")
            return BlockKind.DEFLATE, deflated
        return BlockKind.STORED, original

    def _assemble(self, directory: Directory, payloads: list[bytes]) -> bytes:
        packed = directory.pack()
        length = HEAD_SIZE + len(packed) + sum(map(len, payloads))
        header = Header(
            "container", self._source.size, length, len(packed), self.hash, checksum(packed)
        )
        container = b"".join([header.pack(), packed, *payloads])
        if self._verify:
            self._verify_structure(container, payloads)
        return container

    def _verify_structure(self, container: bytes, payloads: list[bytes]) -> None:
        """Open the finished container anew: its blocks must be the payloads that were checked."""
        reader = Reader(container)
        if reader.original_length != self._source.size or reader.stored_payloads() != payloads:
            raise VerifyError("the container does not hold the blocks that were encoded")


def _append(directory: Directory, kind: BlockKind, piece: _Piece, payload: bytes) -> None:
    stored = directory.blocks[-1].stored_stop if directory.blocks else 0
    is_tile = kind is BlockKind.TILE
    directory.blocks.append(
        Block(
            kind,
            piece.start,
            piece.stop,
            stored,
            stored + len(payload),
            checksum(payload),
            piece.element if is_tile else 0,
            piece.row if is_tile else 0,
            piece.rows if is_tile else 0,
        )
    )


def _side_pieces(start: int, stop: int) -> Iterator[_Piece]:
    for at in range(start, stop, SIDE_BLOCK):
        yield _Piece(at, min(at + SIDE_BLOCK, stop))


def _pieces(elements: Iterable[Element], size: int, effort: Effort) -> Iterator[_Piece]:
    """The file cut into side data and tiles, in order and without holes."""
    at = 0
    head = HEAD_BLOCK if size >= HEAD_BLOCK_FROM else 0
    for index, element in enumerate(elements):
        first = min(max(-(-(head - element.offset) // element.row_bytes), 0), element.rows)
        yield from _side_pieces(at, element.offset + first * element.row_bytes)
        step = tile_rows(element, effort)
        for row in range(first, element.rows, step):
            rows = min(step, element.rows - row)
            start = element.offset + row * element.row_bytes
            yield _Piece(start, start + rows * element.row_bytes, index, row, rows)
        at = element.offset + element.length
    yield from _side_pieces(at, size)


def tile_rows(element: Element, effort: Effort) -> int:
    """Rows a tile: about ``effort.tile_pixels`` pixels, within what a block may hold."""
    rows = max(effort.tile_pixels // element.width // 16 * 16, _MIN_TILE_ROWS)
    return max(min(rows, 256, MAX_BLOCK // element.row_bytes), 1)


def _spread(threads: int, work: Callable[[T], R], items: list[T]) -> Iterator[R]:
    """``map`` on up to ``threads`` threads, in order."""
    if threads == 1 or len(items) < 2:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="pxf") as pool:
        yield from pool.map(work, items)


def compress(buffer: Buffer, *, level: Level = "balanced", threads: int = 1) -> bytes:
    """The container of a whole file. See `encode`."""
    return encode(buffer, level=level, threads=threads).container


def decompress(container: Buffer, *, threads: int = 1) -> bytearray:
    """The original of a whole container (bytes-like).

    Raises what `Reader` raises, and DamagedError where a block or the hash of the whole does
    not hold. Memory grows with what is decoded, never with what the header says.
    """
    reader = Reader(container)
    out = bytearray()
    for decoded in _spread(threads, reader.decode_block, list(range(reader.blocks))):
        out += decoded
    reader.check_hash(out)
    return out
