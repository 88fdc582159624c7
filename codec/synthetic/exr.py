"""OpenEXR 2 files around pixels in memory, checked against OpenImageIO.

Uncompressed or ZIP/ZIPS; scanlines or tiles, one level or all of a mip- or rip-map (each level
takes every second pixel of the one before); one part or several; chunks in the order of lines,
or the other way round.
"""

from __future__ import annotations

import itertools
import math
import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

Compression = Literal["none", "zips", "zip"]
Levels = Literal["one", "mip", "rip"]

_KINDS: Final = {np.dtype("u4"): 0, np.dtype("f2"): 1, np.dtype("f4"): 2}
_COMPRESSIONS: Final = {"none": (0, 1), "zips": (2, 1), "zip": (3, 16)}
_LEVELS: Final = {"one": 0, "mip": 1, "rip": 2}
_MAGIC: Final = b"\x76\x2f\x31\x01"


@dataclass(frozen=True)
class ExrPart:
    """A part: channels by name, arrays (height, width) of float16, float32 or uint32.

    ``tiles`` is the width and height of tiles, None for scanlines. ``origin`` is the left upper
    corner of the data window.
    """

    channels: Mapping[str, NDArray[Any]]
    name: str = ""
    compression: Compression = "none"
    tiles: tuple[int, int] | None = None
    levels: Levels = "one"
    round_up: bool = False
    origin: tuple[int, int] = (0, 0)
    decreasing: bool = False
    attributes: Mapping[str, tuple[str, bytes]] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        height, width = next(iter(self.channels.values())).shape
        return height, width


def exr_file(*parts: ExrPart) -> bytes:
    """Make a complete OpenEXR file; more than one part makes a multi-part file.

    Raises:
        ValueError: no part, channels of different shapes or of a type that does not exist.
    """
    if not parts:
        raise ValueError("a file has at least one part")
    for part in parts:
        _check(part)
    multi = len(parts) > 1
    chunks = [list(_chunks(part)) for part in parts]
    header = _MAGIC + struct.pack("<I", _flags(parts))
    for part, own in zip(parts, chunks, strict=True):
        header += _header(part, len(own) if multi else None)
    header += b"\0" if multi else b""
    at = len(header) + 8 * sum(map(len, chunks))
    tables: list[bytes] = []
    body: list[bytes] = []
    for index, (part, own) in enumerate(zip(parts, chunks, strict=True)):
        prefix = struct.pack("<i", index) if multi else b""
        offsets = [0] * len(own)
        order = range(len(own))
        for place in reversed(order) if part.decreasing else order:
            offsets[place] = at
            body.append(prefix + own[place])
            at += len(body[-1])
        tables.append(struct.pack(f"<{len(own)}Q", *offsets))
    return b"".join([header, *tables, *body])


def _check(part: ExrPart) -> None:
    if not part.channels:
        raise ValueError("a part has at least one channel")
    for name, samples in part.channels.items():
        if samples.dtype not in _KINDS:
            raise ValueError(f"channel {name} is of {samples.dtype}")
        if samples.ndim != 2 or samples.shape != part.shape or not samples.size:
            raise ValueError(f"channel {name} is of shape {samples.shape}")


def _flags(parts: tuple[ExrPart, ...]) -> int:
    version = 2
    if len(parts) > 1:
        version |= 0x1000
    elif parts[0].tiles:
        version |= 0x200
    if any(len(name) > 31 for part in parts for name in part.channels):
        version |= 0x400
    return version


def _header(part: ExrPart, chunks: int | None) -> bytes:
    height, width = part.shape
    x, y = part.origin
    window = struct.pack("<4i", x, y, x + width - 1, y + height - 1)
    channels = b"".join(
        name.encode() + b"\0" + struct.pack("<iIii", _KINDS[samples.dtype], 0, 1, 1)
        for name, samples in sorted(part.channels.items())
    )
    attributes = {
        "channels": ("chlist", channels + b"\0"),
        "compression": ("compression", bytes([_COMPRESSIONS[part.compression][0]])),
        "dataWindow": ("box2i", window),
        "displayWindow": ("box2i", window),
        "lineOrder": ("lineOrder", bytes([part.decreasing])),
        "pixelAspectRatio": ("float", struct.pack("<f", 1)),
        "screenWindowCenter": ("v2f", bytes(8)),
        "screenWindowWidth": ("float", struct.pack("<f", 1)),
        **part.attributes,
    }
    if part.tiles:
        mode = _LEVELS[part.levels] | part.round_up << 4
        attributes["tiles"] = ("tiledesc", struct.pack("<IIB", *part.tiles, mode))
    if chunks is not None:
        attributes["name"] = ("string", part.name.encode())
        attributes["type"] = ("string", b"tiledimage" if part.tiles else b"scanlineimage")
        attributes["chunkCount"] = ("int", struct.pack("<i", chunks))
    written = [
        f"{name}\0{kind}\0".encode() + struct.pack("<i", len(value)) + value
        for name, (kind, value) in attributes.items()
    ]
    return b"".join(written) + b"\0"


def _chunks(part: ExrPart) -> Iterator[bytes]:
    """The chunks in the order of the offset table, without part numbers."""
    channels = [np.asarray(samples) for _, samples in sorted(part.channels.items())]
    height, width = part.shape
    if part.tiles is None:
        lines = _COMPRESSIONS[part.compression][1]
        for line in range(0, height, lines):
            data = _pixels([c[line : line + lines] for c in channels], part.compression)
            yield struct.pack("<ii", part.origin[1] + line, len(data)) + data
        return
    across, down = part.tiles
    for (level_x, level_y), (level_width, level_height) in _levels(part, width, height).items():
        level = [c[:: 1 << level_y, :: 1 << level_x][:level_height, :level_width] for c in channels]
        corners = itertools.product(range(0, level_height, down), range(0, level_width, across))
        for y, x in corners:
            data = _pixels([c[y : y + down, x : x + across] for c in level], part.compression)
            place = (x // across, y // down, level_x, level_y, len(data))
            yield struct.pack("<5i", *place) + data


def _levels(part: ExrPart, width: int, height: int) -> dict[tuple[int, int], tuple[int, int]]:
    """Width and height of each level, by its numbers."""

    def count(side: int) -> int:
        exact = math.log2(side)
        return 1 + (math.ceil(exact) if part.round_up else math.floor(exact))

    def side(full: int, level: int) -> int:
        return max(-(-full >> level) if part.round_up else full >> level, 1)

    if part.levels == "one":
        numbers = [(0, 0)]
    elif part.levels == "mip":
        numbers = [(i, i) for i in range(count(max(width, height)))]
    else:
        numbers = [(x, y) for y in range(count(height)) for x in range(count(width))]
    return {(x, y): (side(width, x), side(height, y)) for x, y in numbers}


def _pixels(channels: list[NDArray[Any]], compression: Compression) -> bytes:
    """The data of a chunk: line by line, channel by channel."""
    lines = range(channels[0].shape[0])
    raw = b"".join(_little(c[line]) for line in lines for c in channels)
    if compression == "none":
        return raw
    apart = np.frombuffer(raw[0::2] + raw[1::2], np.uint8)
    steps = apart.copy()
    steps[1:] = apart[1:] - apart[:-1] + np.uint8(128)
    deflated = zlib.compress(steps.tobytes())
    return deflated if len(deflated) < len(raw) else raw


def _little(samples: NDArray[Any]) -> bytes:
    return samples.astype(samples.dtype.newbyteorder("<")).tobytes()
