"""The nouns of the codec: elements of a frame, blocks of a container, what a probe says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

Level = Literal["fast", "balanced", "max"]
LEVELS: tuple[Level, ...] = ("fast", "balanced", "max")


class Packing(IntEnum):
    """How samples lie in a row's bytes; `codec.kernels.packing` defines each."""

    BYTE = 0
    WORD = 1
    FILLED = 2
    PACKED = 3


@dataclass(frozen=True, slots=True)
class Element:
    """One rectangle of samples in a file: ``rows`` rows of ``row_bytes`` bytes from ``offset``.

    ``width`` is in pixels of ``components`` samples of ``bits`` bits. ``order[p]`` is the
    component that is coded p-th.
    """

    offset: int
    width: int
    rows: int
    row_bytes: int
    components: int
    bits: int
    packing: Packing
    shift: int
    big_endian: bool
    reverse: bool
    order: tuple[int, ...]

    @property
    def length(self) -> int:
        """Bytes the element takes in the file."""
        return self.rows * self.row_bytes

    @property
    def samples_bytes(self) -> int:
        """Bytes of a row that hold samples, the word that the last one ends in included."""
        count = self.width * self.components
        if self.packing is Packing.BYTE:
            return count
        if self.packing is Packing.WORD:
            return 2 * count
        if self.packing is Packing.FILLED:
            return 4 * ((count + 2) // 3)
        return (count * self.bits + 31) // 32 * 4


@dataclass(frozen=True, slots=True)
class Layout:
    """What a probe found: how a person names the format, and where the samples are."""

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


@dataclass(frozen=True, slots=True)
class Block:
    """A run of the original file that is decoded on its own.

    ``start`` and ``stop`` are offsets in the original, ``stored_start`` and ``stored_stop`` in
    the container. A TILE holds rows ``row`` to ``row + rows`` of element ``element``.
    """

    kind: BlockKind
    start: int
    stop: int
    stored_start: int
    stored_stop: int
    checksum: bytes
    element: int
    row: int
    rows: int


@dataclass(frozen=True, slots=True)
class Encoded:
    """A finished container and what it holds.

    ``reason`` is None where samples were coded, and says why the original stands in the
    container as it is otherwise. ``hash`` is the XXH3-128 of the original, in hex.
    """

    container: bytes
    format: str
    reason: str | None
    level: str
    hash: str
    original_length: int
