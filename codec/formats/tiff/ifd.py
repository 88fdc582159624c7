"""The directories (IFDs) of a TIFF or BigTIFF file."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from codec.formats.base import NotUnderstood

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from numpy.typing import NDArray

MAGICS: Final = {b"II*\0": ("<", False), b"MM\0*": (">", False)}
BIG_MAGICS: Final = {b"II+\0": ("<", True), b"MM\0+": (">", True)}
MAX_DIRECTORIES: Final = 256
MAX_VALUES: Final = 1 << 18
_MAX_ENTRIES: Final = 4096
SUB_DIRECTORIES: Final = 330
_SIZES: Final = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8)
_UNSIGNED: Final = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}


class BeyondEnd(NotUnderstood):
    """A directory or its values lie beyond the bytes at hand."""

    def __init__(self, what: str) -> None:
        super().__init__(f"unsupported: TIFF {what} lies outside the file", "tiff")


@dataclass(frozen=True, slots=True)
class Entry:
    """A field: ``count`` values of TIFF type ``kind`` at ``offset`` in the file."""

    kind: int
    count: int
    offset: int


@dataclass(frozen=True, slots=True)
class Directory:
    """The fields of one picture, by tag, and the offset of the next directory (0: none)."""

    data: memoryview
    order: str
    entries: dict[int, Entry]
    following: int

    def values(self, tag: int, most: int = MAX_VALUES) -> NDArray[np.int64]:
        """The unsigned integers of a field, the first ``most`` of them; empty where it is absent.

        Values past 2^62 come out as 2^62. Raises NotUnderstood for a field of another type
        or of more than MAX_VALUES values, BeyondEnd where they are not in ``data``.
        """
        entry = self.entries.get(tag)
        if entry is None:
            return np.zeros(0, np.int64)
        if entry.kind not in _UNSIGNED:
            raise NotUnderstood(f"unsupported: TIFF field {tag} of type {entry.kind}", "tiff")
        if entry.count > MAX_VALUES:
            raise NotUnderstood(f"unsupported: TIFF field {tag} of {entry.count} values", "tiff")
        if entry.offset + entry.count * _SIZES[entry.kind] > len(self.data):
            raise BeyondEnd(f"field {tag}")
        kind = np.dtype(self.order + _UNSIGNED[entry.kind])
        raw = np.frombuffer(self.data, kind, min(entry.count, most), entry.offset).astype(np.uint64)
        return np.minimum(raw, np.uint64(1 << 62)).astype(np.int64)

    def value(self, tag: int, otherwise: int) -> int:
        """The first value of a field, or ``otherwise`` where it is absent or empty."""
        found = self.values(tag, 1)
        return int(found[0]) if found.size else otherwise


def byte_order(head: bytes) -> tuple[str, bool]:
    """struct's byte order sign, and whether it is BigTIFF. Raises KeyError for other files."""
    return {**MAGICS, **BIG_MAGICS}[head[:4]]


def first_directory(data: memoryview) -> Directory:
    """The first directory. Raises BeyondEnd or NotUnderstood."""
    order, big = byte_order(bytes(data[:4]))
    return _directory(data, order, big, _first_offset(data, order, big))


def directories(file: memoryview) -> Iterator[Directory]:
    """All directories that can be read, the sub-directories of each after it.

    At most MAX_DIRECTORIES, and none twice. Raises NotUnderstood for the first; a later one
    that cannot be read ends its chain: nobody who reads the file in order gets past it.
    """
    order, big = byte_order(bytes(file[:4]))
    yield (first := first_directory(file))
    seen = {0, _first_offset(file, order, big)}
    waiting = _further(first)
    while waiting and len(seen) <= MAX_DIRECTORIES:
        offset = waiting.pop(0)
        if offset in seen:
            continue
        seen.add(offset)
        try:
            directory = _directory(file, order, big, offset)
        except NotUnderstood:
            continue
        yield directory
        waiting = _further(directory) + waiting


def _further(directory: Directory) -> list[int]:
    """Offsets of the directories that this one names: sub-directories, then the next."""
    try:
        below = directory.values(SUB_DIRECTORIES, MAX_DIRECTORIES).tolist()
    except NotUnderstood:
        below = []
    return [*below, directory.following]


def _first_offset(data: memoryview, order: str, big: bool) -> int:
    if len(data) < (16 if big else 8):
        raise BeyondEnd("header")
    if not big:
        return int(struct.unpack_from(order + "I", data, 4)[0])
    size, zero, offset = struct.unpack_from(order + "HHQ", data, 4)
    if (size, zero) != (8, 0):
        raise NotUnderstood("unsupported: BigTIFF without offsets of 8 bytes", "tiff")
    return int(offset)


def _directory(data: memoryview, order: str, big: bool, at: int) -> Directory:
    count_size, record, field = (8, 20, "HHQ") if big else (2, 12, "HHI")
    offset_size = 8 if big else 4
    if at + count_size > len(data):
        raise BeyondEnd("directory")
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, at)
    if not 1 <= count <= _MAX_ENTRIES:
        raise NotUnderstood(f"unsupported: TIFF directory of {count} fields", "tiff")
    end = at + count_size + count * record
    if end + offset_size > len(data):
        raise BeyondEnd("directory")
    entries: dict[int, Entry] = {}
    for place in range(at + count_size, end, record):
        tag, kind, values = struct.unpack_from(order + field, data, place)
        where = place + record - offset_size
        size = _SIZES[kind] if kind < len(_SIZES) else 0
        if size * values > offset_size:
            (where,) = struct.unpack_from(order + ("Q" if big else "I"), data, where)
        entries.setdefault(tag, Entry(kind, values, where))
    (following,) = struct.unpack_from(order + ("Q" if big else "I"), data, end)
    return Directory(data, order, entries, following)
