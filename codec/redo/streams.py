"""Zlib streams (RFC 1950): which setting of classic zlib made them.

Only the encoder has to be known to the bit, and it is this package's own
(`codec.kernels.deflate`). Inflating has one answer, so any library may do it.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

from codec.errors import DamagedError
from codec.kernels.deflate import SPARE, deflate
from codec.redo.errors import CannotRedo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_SETTING = struct.Struct("<2s3B")
_SUM = struct.Struct(">I")
_HEAD = 2
_TRAIL = 4
_MAX_DATA = 1 << 31
_NOTHING = np.empty(0, np.uint8)
_LEVELS_BY_FLAG = ((1,), (4, 5, 3, 2), (6,), (9, 8, 7))
"""What zlib's two bits of the level stand for, the usual ones first."""


def _pack(head: bytes, level: int, memory_level: int, filtered: bool) -> bytes:
    return _SETTING.pack(head, level, memory_level, filtered)


class DeflateCoder:
    """One zlib stream, as classic zlib writes it when it is given all data at once.

    A setting is the stream's two head bytes, the level (1 to 9), the memory level (1 to 9) and
    whether the strategy was Z_FILTERED. The window's size is in the head.
    """

    @property
    def max_gain(self) -> int:
        """A match of 258 bytes can be two bits, and blocks have heads."""
        return 1032

    def decode(self, body: NDArray[np.uint8], size: int) -> tuple[NDArray[np.uint8], int]:
        """See `codec.redo.coder.Coder`."""
        inflater = zlib.decompressobj()
        try:
            data = inflater.decompress(body.data, size + 1)
        except zlib.error as error:
            raise CannotRedo("a zlib stream is damaged") from error
        if len(data) != size:
            raise CannotRedo("a zlib stream does not hold the rows it should")
        if not inflater.eof:
            raise CannotRedo("a zlib stream has no end")
        return np.frombuffer(data, np.uint8), len(body) - len(inflater.unused_data)

    def settings(self, body: NDArray[np.uint8]) -> Iterator[bytes]:
        """See `codec.redo.coder.Coder`."""
        head = body[:_HEAD].tobytes()
        if not _plausible(head):
            return
        likely = _LEVELS_BY_FLAG[head[1] >> 6]
        levels = (*likely, *(level for level in range(9, 0, -1) if level not in likely))
        for memory_level in (8, 9):
            for filtered in (False, True):
                for level in levels:
                    yield _pack(head, level, memory_level, filtered)

    def check(self, setting: bytes) -> None:
        """See `codec.redo.coder.Coder`."""
        if len(setting) == _SETTING.size:
            head, level, memory_level, filtered = _SETTING.unpack(setting)
            limits = 1 <= level <= 9 and 1 <= memory_level <= 9 and filtered <= 1
            if limits and _plausible(head):
                return
        raise DamagedError("redo parameters", "zlib has no such setting")

    def encode(
        self, setting: bytes, data: NDArray[np.uint8], capacity: int
    ) -> NDArray[np.uint8] | None:
        """See `codec.redo.coder.Coder`."""
        return _encode(setting, data, capacity, _NOTHING)

    def makes(self, setting: bytes, data: NDArray[np.uint8], body: NDArray[np.uint8]) -> bool:
        """See `codec.redo.coder.Coder`."""
        made = _encode(setting, data, len(body), body[_HEAD:-_TRAIL])
        return made is not None and np.array_equal(made, body)

    def refusal(self, body: NDArray[np.uint8]) -> str:
        """See `codec.redo.coder.Coder`."""
        return (
            "classic zlib makes other bytes of its rows at every level: "
            "another library compressed them"
        )


def _plausible(head: bytes) -> bool:
    """Whether ``head`` begins a stream of a window of 512 bytes to 32 KiB without dictionary."""
    method, flags = head
    window = 1 <= method >> 4 <= 7 and method & 15 == 8
    return window and not flags & 0x20 and (method * 256 + flags) % 31 == 0


def _encode(
    setting: bytes, data: NDArray[np.uint8], capacity: int, expected: NDArray[np.uint8]
) -> NDArray[np.uint8] | None:
    """``data`` as a zlib stream; None where it is too long or its blocks are not ``expected``."""
    head, level, memory_level, filtered = _SETTING.unpack(setting)
    # Blocks are stored where that is shorter, so this is more than any stream takes.
    room = min(capacity, len(data) + (len(data) >> 3) + 64) - _HEAD - _TRAIL
    if room < 1 or len(data) >= _MAX_DATA:
        return None
    out = np.empty(_HEAD + room + SPARE, np.uint8)
    window_bits = (head[0] >> 4) + 8
    made = deflate(
        data, level, window_bits, memory_level, bool(filtered), expected, out[_HEAD:], room
    )
    if made < 0:
        return None
    stream = out[: _HEAD + made + _TRAIL]
    stream[:_HEAD] = np.frombuffer(head, np.uint8)
    stream[-_TRAIL:] = np.frombuffer(_SUM.pack(zlib.adler32(data.data)), np.uint8)
    return stream
