"""What a redo needs beside the rows, as bytes.

All integers are little-endian; docs/format/redo-v1.md is the specification.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from codec.errors import DamagedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

VERSION = 1
MAX_TAIL = 127
MAX_WORDS = 5
RAW = 0x80
_HEAD = struct.Struct("<BBBBII")


@dataclass(frozen=True, slots=True)
class Parameters:
    """How to make chunks from rows.

    Attributes:
        detail: what the format says of its chunks.
        setting: what the compressor is to do; its meaning is the method's.
        row_bytes: bytes of a row.
        rows: rows of each chunk, int64[n], all > 0.
        raw: which chunks hold their rows as they are, bool[n].
        words: of each chunk's prefix all but the last four bytes, uint32[n, k].
        tails: bytes after each chunk's data, at most MAX_TAIL each.
    """

    detail: bytes
    setting: bytes
    row_bytes: int
    rows: NDArray[np.int64]
    raw: NDArray[np.bool_]
    words: NDArray[np.uint32]
    tails: tuple[bytes, ...]


def _differences(column: NDArray[np.uint32]) -> bytes:
    return np.diff(column, prepend=np.uint32(0)).astype("<u4").tobytes()


def pack(parameters: Parameters) -> bytes:
    """The bytes that `unpack` reads."""
    p = parameters
    flags = p.raw * np.uint8(RAW) + np.array([len(t) for t in p.tails], np.uint8)
    columns = [_differences(p.rows.astype(np.uint32)), flags.astype(np.uint8).tobytes()]
    columns += [_differences(column) for column in p.words.T]
    columns += p.tails
    sizes = (len(p.detail), len(p.setting), p.words.shape[1])
    head = _HEAD.pack(VERSION, *sizes, p.row_bytes, len(p.rows))
    return head + p.detail + p.setting + zlib.compress(b"".join(columns), 9)


def _damaged(detail: str) -> DamagedError:
    return DamagedError("redo parameters", detail)


def _inflate(packed: bytes, most: int) -> bytes:
    inflater = zlib.decompressobj()
    try:
        body = inflater.decompress(packed, most)
    except zlib.error as error:
        raise _damaged("their columns do not inflate") from error
    if not inflater.eof or inflater.unused_data:
        raise _damaged("their columns are not what their head says")
    return body


def unpack(packed: bytes, size: int, limit: int) -> Parameters:
    """The parameters in ``packed``, for rows of ``size`` bytes in all.

    No more than ``limit`` bytes are to be made of them. Raises DamagedError where they do not
    fit together; allocates in proportion to ``size``, ``limit`` and ``packed``.
    """
    if len(packed) < _HEAD.size:
        raise _damaged("cut short")
    version, detail_size, setting_size, prefix_words, row_bytes, count = _HEAD.unpack_from(packed)
    if version != VERSION:
        raise _damaged(f"version {version} is not known")
    if prefix_words > MAX_WORDS:
        raise _damaged(f"no chunk has {prefix_words} words before its length")
    columns_at = _HEAD.size + detail_size + setting_size
    if row_bytes < 1 or size % row_bytes or not 0 < count <= size // row_bytes:
        raise _damaged(f"{count} chunks of rows of {row_bytes} bytes cannot be {size} bytes")
    if prefix_words * 4 * count > limit:
        raise _damaged(f"{count} chunks are more than {limit} bytes")
    fixed = count * (5 + 4 * prefix_words)
    body = _inflate(packed[columns_at:], fixed + min(limit, MAX_TAIL * count) + 1)
    if len(body) < fixed:
        raise _damaged("cut short")
    table = np.frombuffer(body, "<u4", count)
    rows = np.cumsum(table, dtype=np.uint32).astype(np.int64)
    if rows.min() < 1 or int(rows.sum()) * row_bytes != size:
        raise _damaged("the chunks' rows are not those there are")
    flags = np.frombuffer(body, np.uint8, count, 4 * count)
    words = np.empty((count, prefix_words), np.uint32)
    for k in range(prefix_words):
        column = np.frombuffer(body, "<u4", count, count * (5 + 4 * k))
        words[:, k] = np.cumsum(column, dtype=np.uint32)
    ends = fixed + np.cumsum(flags & ~np.uint8(RAW), dtype=np.int64)
    if int(ends[-1]) != len(body):
        raise _damaged("the chunks' tails are not those there are")
    starts = np.concatenate(([fixed], ends[:-1]))
    tails = tuple(body[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True))
    detail = packed[_HEAD.size : _HEAD.size + detail_size]
    setting = packed[_HEAD.size + detail_size : columns_at]
    return Parameters(detail, setting, row_bytes, rows, flags >= RAW, words, tails)
