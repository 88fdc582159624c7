"""The nouns of the codec: elements of a frame, blocks of a container, what a probe says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

Level = Literal["fast", "balanced", "max"]
LEVELS: tuple[Level, ...] = ("fast", "balanced", "max")


class Packing(IntEnum):
    """How samples lie in bytes; `codec.kernels.packing` defines each."""

    BYTE = 0
    WORD = 1
    FILLED = 2
    PACKED = 3
    PACKED_HIGH = 4


@dataclass(frozen=True, slots=True)
class Segment:
    """Samples that lie together in each row of a region: ``components`` of them a pixel.

    They begin ``start`` bytes into the row. ``shift``, ``big_endian`` and ``reverse`` mean what
    ``packing`` makes of them. A 32-bit sample is two components of 16 bits, a 64-bit one four.
    """

    components: int
    bits: int
    packing: Packing
    shift: int = 0
    big_endian: bool = False
    reverse: bool = False
    start: int = 0
    region: int = 0

    def row_bytes(self, width: int) -> int:
        """Bytes that a row of ``width`` pixels takes, the word it ends in included."""
        count = width * self.components
        if self.packing is Packing.BYTE:
            return count
        if self.packing is Packing.WORD:
            return 2 * count
        if self.packing is Packing.FILLED:
            return 4 * ((count + 2) // 3)
        if self.packing is Packing.PACKED_HIGH and self.big_endian:
            return (count * self.bits + 7) // 8
        return (count * self.bits + 31) // 32 * 4


@dataclass(frozen=True, slots=True)
class Region:
    """Rows that follow one another in the file: ``row_bytes`` bytes each, from ``offset``.

    Where ``band_rows`` is not 0, ``band_header`` bytes stand before every ``band_rows`` rows,
    and ``offset`` is where the first of them begins.
    """

    offset: int
    row_bytes: int
    band_rows: int = 0
    band_header: int = 0

    def place(self, row: int) -> int:
        """Where row ``row`` begins in the file, or the band that begins with it."""
        bands = row // self.band_rows if self.band_rows else 0
        return self.offset + row * self.row_bytes + bands * self.band_header

    def end(self, row: int) -> int:
        """Where the rows before ``row`` end in the file."""
        return self.offset + self.length(row)

    def length(self, rows: int) -> int:
        """Bytes of ``rows`` rows that begin with a band, its header included."""
        bands = -(-rows // self.band_rows) if self.band_rows else 0
        return rows * self.row_bytes + bands * self.band_header


@dataclass(frozen=True, slots=True)
class Chunk:
    """A run of the file that a redo method makes from ``rows`` whole rows."""

    offset: int
    length: int
    rows: int


@dataclass(frozen=True, slots=True)
class Element:
    """A picture, or part of one, whose samples can be coded.

    ``width`` pixels by ``rows`` rows of the components of all ``segments``, numbered in their
    order. ``order[p]`` is the component that is coded p-th: each is predicted from the three
    before it. ``signed`` lists the components that are sign and magnitude (floating point):
    a set high bit means all others count down.

    Rows lie in one region, or, where a file keeps its planes apart, in several; no two regions
    overlap. Bytes of a row that are in no segment, and the headers of bands, are kept beside.

    With a ``method`` (see `codec.redo`) the file holds the rows compressed: regions then
    describe rows as the method undoes them, their offsets mean nothing, and ``chunks[g]`` are
    the chunks of region g in the order of its rows, one after another in the file without
    holes. ``detail`` is what the method must be told to undo them. Neither is stored.
    """

    width: int
    rows: int
    regions: tuple[Region, ...]
    segments: tuple[Segment, ...]
    order: tuple[int, ...]
    signed: tuple[int, ...] = ()
    method: int = 0
    detail: bytes = b""
    chunks: tuple[tuple[Chunk, ...], ...] = ()

    @property
    def components(self) -> int:
        """Samples a pixel."""
        return sum(segment.components for segment in self.segments)

    @property
    def is_mosaic(self) -> bool:
        """Whether a row is two of the file's, one after another, and a pixel is 2 by 2 sites."""
        if len(self.segments) != 2 or len(self.regions) != 1:
            return False
        upper, lower = self.segments
        half = self.regions[0].row_bytes // 2
        return upper.components == lower.components == 2 and (upper.start, lower.start) == (0, half)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a file's samples are, and how a person names its format.

    Without elements the whole file is compressed as plain bytes.
    """

    format: str
    elements: tuple[Element, ...]


@dataclass(frozen=True, slots=True)
class Probe:
    """What a file's head says it is.

    ``format`` names a recognised frame format, even one that stays verbatim; ``reason`` says
    why it would stay verbatim and is None where its samples can be coded.
    """

    format: str | None
    reason: str | None


class BlockKind(IntEnum):
    """How a block's bytes are stored; the values are those of the container format."""

    STORED = 0
    DEFLATE = 1
    FILL = 2
    TILE = 3
    SHARED = 4


@dataclass(frozen=True, slots=True)
class Block:
    """A run of the original file that is decoded on its own.

    ``start`` and ``stop`` are offsets in the original, ``stored_start`` and ``stored_stop`` in
    the container. A TILE holds rows ``row`` to ``row + rows`` of element ``element``, of which
    those in the element's first region are the block's bytes; those in another ``region`` are
    a SHARED block's, which stores no samples of its own.
    """

    kind: BlockKind
    start: int
    stop: int
    stored_start: int
    stored_stop: int
    checksum: bytes
    element: int = 0
    region: int = 0
    row: int = 0
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Encoded:
    """A finished container and what it holds.

    ``reason`` is None where samples were coded, and says why the original stands in the
    container as it is otherwise. ``container`` is read-only. ``hash`` is the XXH3-128 of the
    original, in hex.
    """

    container: memoryview
    format: str
    reason: str | None
    level: str
    hash: str
    original_length: int
