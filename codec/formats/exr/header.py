"""The headers of an OpenEXR file."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from codec.formats.base import NotUnderstood

if TYPE_CHECKING:
    from typing import Final

MAGIC: Final = b"\x76\x2f\x31\x01"
HALF: Final = 1
_TILED: Final = 0x200
_LONG_NAMES: Final = 0x400
_DEEP: Final = 0x800
_MULTI_PART: Final = 0x1000
_MAX_NAME: Final = 255
_MAX_ATTRIBUTES: Final = 4096
_MAX_PARTS: Final = 256
_MAX_CHANNELS: Final = 4096
_MAX_SIDE: Final = 1 << 20
_COMPRESSIONS: Final = ("none", "rle", "zips", "zip", "piz", "pxr24", "b44", "b44a", "dwaa", "dwab")


class HeaderCutShort(NotUnderstood):
    """The headers go on beyond the bytes at hand."""

    def __init__(self) -> None:
        super().__init__("unsupported: EXR header is cut short", "exr")


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel; ``kind`` is 0 for uint, 1 for half, 2 for float."""

    name: str
    kind: int
    x_sampling: int
    y_sampling: int

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample."""
        return 2 if self.kind == HALF else 4


@dataclass(frozen=True, slots=True)
class Tiles:
    """Tiles of ``width`` x ``height``; ``mode`` is 0 for one level, 1 mip-, 2 rip-mapped."""

    width: int
    height: int
    mode: int
    round_up: bool


@dataclass(frozen=True, slots=True)
class Part:
    """One part: channels in the order of the file, the data window, tiles if it has any.

    ``first_line`` is the y of the data window's first line. ``chunks`` is the number of chunks
    that the header of a part of several claims, None in files of one part.
    """

    channels: tuple[Channel, ...]
    compression: str
    width: int
    height: int
    first_line: int
    tiles: Tiles | None
    deep: bool
    chunks: int | None

    @property
    def pixel_bytes(self) -> int:
        """Bytes of one pixel of all channels."""
        return sum(channel.sample_bytes for channel in self.channels)


@dataclass(frozen=True, slots=True)
class Header:
    """All parts; the first offset table begins at ``end``."""

    parts: tuple[Part, ...]
    multi_part: bool
    end: int


def read_header(data: memoryview) -> Header:
    """Read the headers at the beginning of a file, of which ``data`` may be only the first part.

    Raises HeaderCutShort where they go on beyond ``data``, else NotUnderstood.
    """
    if len(data) < 8:
        raise HeaderCutShort
    (version,) = struct.unpack_from("<I", data, 4)
    known = _TILED | _LONG_NAMES | _DEEP | _MULTI_PART
    if version & 0xFF != 2 or version & ~0xFF & ~known:
        raise NotUnderstood(f"unsupported: EXR version and flags {version:#x}", "exr")
    multi_part = bool(version & _MULTI_PART)
    parts: list[Part] = []
    at = 8
    while True:
        attributes, at = _attributes(data, at)
        if multi_part and not attributes:
            break
        parts.append(_part(attributes, version))
        if not multi_part:
            break
        if len(parts) > _MAX_PARTS:
            raise NotUnderstood(f"unsupported: EXR with more than {_MAX_PARTS} parts", "exr")
    if not parts:
        raise NotUnderstood("unsupported: EXR without parts", "exr")
    return Header(tuple(parts), multi_part, at)


def _attributes(data: memoryview, at: int) -> tuple[dict[str, memoryview], int]:
    """The attributes of one header by name, and where the header ends."""
    found: dict[str, memoryview] = {}
    for _ in range(_MAX_ATTRIBUTES):
        name, at = _name(data, at)
        if not name:
            return found, at
        _, at = _name(data, at)
        if at + 4 > len(data):
            raise HeaderCutShort
        (length,) = struct.unpack_from("<i", data, at)
        at += 4
        if length < 0:
            raise NotUnderstood("unsupported: EXR attribute of negative length", "exr")
        if at + length > len(data):
            raise HeaderCutShort
        found[name] = data[at : at + length]
        at += length
    raise NotUnderstood(f"unsupported: EXR with more than {_MAX_ATTRIBUTES} attributes", "exr")


def _name(data: memoryview, at: int) -> tuple[str, int]:
    """A name that ends with a zero byte, and where the next thing begins."""
    raw = bytes(data[at : at + _MAX_NAME + 1])
    length = raw.find(0)
    if length < 0:
        if len(raw) <= _MAX_NAME:
            raise HeaderCutShort
        raise NotUnderstood("unsupported: EXR name is too long", "exr")
    return raw[:length].decode("latin-1"), at + length + 1


def _part(attributes: dict[str, memoryview], version: int) -> Part:
    multi_part = bool(version & _MULTI_PART)
    kind = bytes(attributes.get("type", b"")) if multi_part or version & _DEEP else b""
    tiled = kind in (b"tiledimage", b"deeptile") if multi_part else bool(version & _TILED)
    deep = kind.startswith(b"deep") or bool(version & _DEEP and not multi_part)
    if multi_part and kind not in (b"scanlineimage", b"tiledimage", b"deepscanline", b"deeptile"):
        raise NotUnderstood(f"unsupported: EXR part of type {kind.decode('latin-1')!r}", "exr")
    x_min, y_min, x_max, y_max = _unpack(attributes, "dataWindow", "<4i")
    width, height = x_max - x_min + 1, y_max - y_min + 1
    if not (1 <= width <= _MAX_SIDE and 1 <= height <= _MAX_SIDE):
        raise NotUnderstood(f"unsupported: EXR of {width}x{height} pixels", "exr")
    (compression,) = _unpack(attributes, "compression", "<B")
    name = (
        _COMPRESSIONS[compression] if compression < len(_COMPRESSIONS) else f"method {compression}"
    )
    return Part(
        channels=_channels(attributes),
        compression=name,
        width=width,
        height=height,
        first_line=y_min,
        tiles=_tiles(attributes) if tiled else None,
        deep=deep,
        chunks=_unpack(attributes, "chunkCount", "<i")[0] if multi_part else None,
    )


def _unpack(attributes: dict[str, memoryview], name: str, fields: str) -> tuple[int, ...]:
    value = attributes.get(name)
    if value is None or len(value) != struct.calcsize(fields):
        raise NotUnderstood(f"unsupported: EXR without a valid {name}", "exr")
    return struct.unpack(fields, value)


def _tiles(attributes: dict[str, memoryview]) -> Tiles:
    width, height, mode = _unpack(attributes, "tiles", "<IIB")
    if not (1 <= width <= _MAX_SIDE and 1 <= height <= _MAX_SIDE) or mode & 0xF > 2:
        raise NotUnderstood("unsupported: EXR without a valid tiles", "exr")
    return Tiles(width, height, mode & 0xF, bool(mode >> 4))


def _channels(attributes: dict[str, memoryview]) -> tuple[Channel, ...]:
    try:
        found = _channel_list(attributes.get("channels", memoryview(b"")))
    except HeaderCutShort:
        found = []
    if not 1 <= len(found) <= _MAX_CHANNELS:
        raise NotUnderstood("unsupported: EXR without valid channels", "exr")
    return tuple(found)


def _channel_list(value: memoryview) -> list[Channel]:
    found: list[Channel] = []
    at = 0
    while len(found) <= _MAX_CHANNELS:
        name, at = _name(value, at)
        if not name:
            break
        if at + 16 > len(value):
            raise HeaderCutShort
        kind, _, x_sampling, y_sampling = struct.unpack_from("<iIii", value, at)
        at += 16
        if kind not in (0, 1, 2) or x_sampling < 1 or y_sampling < 1:
            raise NotUnderstood("unsupported: EXR without valid channels", "exr")
        found.append(Channel(name, kind, x_sampling, y_sampling))
    return found
