"""Frames and files of every kind for tests, as name -> bytes."""

from __future__ import annotations

import functools
import struct

import codec
from codec.synthetic import dpx_frame

WIDTH, HEIGHT = 512, 389
_DPX_HEADER = 2048


@functools.cache
def frame(number: int = 1001) -> bytes:
    """A small photographic 10-bit DPX frame that compresses well."""
    return dpx_frame(WIDTH, HEIGHT, frame=number)


@functools.cache
def tall_frame() -> bytes:
    """A frame of several tiles."""
    return dpx_frame(WIDTH, 4 * HEIGHT, frame=1001)


@functools.cache
def big_frame(number: int = 1001) -> bytes:
    """A frame long enough that the head a kernel reads ahead is kept out of its tiles."""
    return dpx_frame(960, 540, frame=number)


def _with_u32(data: bytes, offset: int, value: int) -> bytes:
    """A copy of a big-endian DPX file with one header field changed."""
    return data[:offset] + struct.pack(">I", value) + data[offset + 4 :]


def not_understood() -> dict[str, bytes]:
    """Files that a volume must keep verbatim, each for a reason of its own."""
    good = frame()
    lies = {
        "lie-offset-beyond.dpx": _with_u32(good, 4, len(good) + 4096),
        "lie-offset-huge.dpx": _with_u32(good, 4, 0xFFFFFFF0),
        "lie-width.dpx": _with_u32(good, 772, 1 << 20),
        "lie-height.dpx": _with_u32(good, 776, HEIGHT * 1000),
        "lie-both-zero.dpx": _with_u32(_with_u32(good, 772, 0), 776, 0),
    }
    container = codec.compress(good)
    return {
        "notes.txt": b"not a frame at all\n" * 1000,
        "empty.dpx": b"",
        "one-byte.dpx": b"S",
        "header-only.dpx": good[:_DPX_HEADER],
        "truncated.dpx": good[: len(good) // 2],
        "declares-12-gb.dpx": _with_u32(_with_u32(good, 772, 65536), 776, 49152)[:20480],
        "container.dpx": container,
        "container-magic.dpx": container[:8] + b"and then something else" * 300,
        "container-head.bin": container[:64],
        **lies,
    }
