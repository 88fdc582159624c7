"""What the C library calls: `codec.process` with the types of C.

pixspan_memory.c unpacks the answer's tuple by position.
"""

from __future__ import annotations

from typing import TypeAlias

from codec.process import Mode, process

_Output: TypeAlias = "bytes | bytearray | memoryview | None"
Answer: TypeAlias = tuple[int, _Output, int, int, bytes, bytes, bytes, bytes]
"""Status, output, original and compressed size, then in UTF-8 format, level, hash, message."""

MODES = tuple(Mode)
"""The modes by their numbers in pixspan_memory.h."""


def run(mode: int, license: bytes, view: memoryview, public_key: str) -> Answer:
    """Process ``view``, which is the caller's memory and dies with the call.

    An empty ``license`` is none; an empty ``public_key`` leaves it to the environment.
    """
    verb = MODES[mode] if 0 <= mode < len(MODES) else str(mode)
    key = license.decode("utf-8", "replace") or None
    result = process(verb, view, key, public_key=public_key or None)
    return (
        int(result.status),
        result.output,
        result.original_size,
        result.compressed_size,
        _utf8(result.format or ""),
        _utf8(result.level),
        _utf8(result.hash),
        _utf8(result.message),
    )


def _utf8(text: str) -> bytes:
    """Text as C sees it: a NUL would end it early."""
    return text.encode("utf-8", "replace").replace(b"\0", b"?")
