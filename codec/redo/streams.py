"""Zlib streams (RFC 1950): which setting of classic zlib, or of libdeflate, made them.

Only the encoders have to be known to the bit, and they are this package's own
(`codec.kernels.deflate`, `codec.kernels.libdeflate`). Inflating has one answer, so any library may
do it.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from codec.errors import DamagedError
from codec.kernels.deflate import SPARE, deflate
from codec.kernels.libdeflate import MAX_LEVEL, MIN_LEVEL, REVISIONS, libdeflate
from codec.redo.errors import CannotRedo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_SETTING = struct.Struct("<2s4B")
_SUM = struct.Struct(">I")
_HEAD = 2
_TRAIL = 4
_MAX_DATA = 1 << 31
_NOTHING = np.empty(0, np.uint8)
_ZLIB = 0
"""The make of classic zlib; libdeflate's revisions follow."""
_ZLIB_LEVELS = ((1,), (4, 5, 3, 2), (6,), (9, 8, 7))
_LIBDEFLATE_LEVELS = ((), (4, 5, 3, 2), (6, 7), (9, 8))
"""What the two bits of the level in a stream's head stand for, the usual ones first."""


@dataclass(frozen=True, slots=True)
class _Setting:
    head: bytes
    make: int
    level: int
    memory_level: int = 0
    filtered: int = 0

    def pack(self) -> bytes:
        return _SETTING.pack(self.head, self.make, self.level, self.memory_level, self.filtered)

    def is_known(self) -> bool:
        """Whether there is an encoder like this."""
        if not _plausible(self.head):
            return False
        if self.make == _ZLIB:
            return 1 <= self.level <= 9 and 1 <= self.memory_level <= 9 and self.filtered <= 1
        levels = MIN_LEVEL <= self.level <= MAX_LEVEL
        return levels and self.make <= REVISIONS and not self.memory_level and not self.filtered


class DeflateCoder:
    """One zlib stream, as zlib or libdeflate writes it when it is given all data at once.

    A setting is the stream's two head bytes, the make (0 zlib, 1 libdeflate from 1.19 on, 2 those
    before), the level, and of zlib the memory level and whether the strategy was Z_FILTERED. The
    window's size is in the head.
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
        flag = head[1] >> 6
        for level in _ZLIB_LEVELS[flag]:
            yield _Setting(head, _ZLIB, level, 8).pack()
        for level in _LIBDEFLATE_LEVELS[flag]:
            for revision in range(REVISIONS):
                yield _Setting(head, _ZLIB + 1 + revision, level).pack()
        for filtered in (0, 1):
            for memory_level in (9, 8):
                for level in range(9, 0, -1):
                    yield _Setting(head, _ZLIB, level, memory_level, filtered).pack()

    def check(self, setting: bytes) -> None:
        """See `codec.redo.coder.Coder`."""
        if len(setting) != _SETTING.size or not _Setting(*_SETTING.unpack(setting)).is_known():
            raise DamagedError("redo parameters", "no deflate encoder has such a setting")

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
            "neither zlib nor libdeflate makes these bytes of its rows at a level that is known: "
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
    how = _Setting(*_SETTING.unpack(setting))
    # Blocks are stored where that is shorter, so this is more than any stream takes.
    room = min(capacity, len(data) + (len(data) >> 3) + 64) - _HEAD - _TRAIL
    if room < 1 or len(data) >= _MAX_DATA:
        return None
    out = np.empty(_HEAD + room + SPARE, np.uint8)
    target = out[_HEAD:]
    if how.make == _ZLIB:
        window_bits = (how.head[0] >> 4) + 8
        shape = (how.level, window_bits, how.memory_level, bool(how.filtered))
        made = deflate(data, *shape, expected, target, room)
    else:
        revision = how.make - _ZLIB - 1
        made = libdeflate(data, how.level, revision, expected, target, room)
    if made < 0:
        return None
    stream = out[: _HEAD + made + _TRAIL]
    stream[:_HEAD] = np.frombuffer(how.head, np.uint8)
    stream[-_TRAIL:] = np.frombuffer(_SUM.pack(zlib.adler32(data.data)), np.uint8)
    return stream
