"""Chunks of a file to rows and back: the same steps for every method."""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from codec.errors import DamagedError
from codec.redo.errors import CannotRedo
from codec.redo.filters import BadDetailError
from codec.redo.methods import Method
from codec.redo.methods import method as method_of
from codec.redo.parameters import MAX_TAIL, Parameters, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from codec.types import Chunk

_U32 = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Undone:
    """What a run of a file is made of.

    ``rows`` is uint8[rows, row_bytes], contiguous; ``parameters`` is what `redo` needs beside.
    """

    rows: NDArray[np.uint8]
    parameters: bytes


@dataclass(frozen=True, slots=True)
class _Part:
    """A chunk taken apart: words of its prefix, its data in the file, what follows the data."""

    words: bytes
    body: NDArray[np.uint8]
    tail: bytes
    raw: bool
    rows: int


def undo(
    method: int,
    file: memoryview,
    chunks: Sequence[Chunk],
    row_bytes: int,
    detail: bytes = b"",
) -> Undone:
    """Rows and parameters of which `redo` makes exactly the bytes of ``chunks``.

    ``file`` is the whole file; ``chunks`` follow one another in it without holes, and each says
    ``chunk.rows`` rows of ``row_bytes`` bytes. ``detail`` depends on the method
    (`codec.redo.filters`). Raises CannotRedo with the reason where the chunks are malformed or
    are not what a known encoder makes of their rows; whatever the bytes are, nothing else.
    Memory: the rows, the longest chunk's work, and nothing a header asks for alone.
    """
    if not chunks or not 0 < row_bytes < 1 << 32:
        raise CannotRedo("there are no compressed rows")
    try:
        how = method_of(method, row_bytes, detail)
    except BadDetailError as error:
        raise CannotRedo(str(error)) from error
    _check_places(how, file, chunks, row_bytes)
    total = sum(chunk.rows for chunk in chunks)
    rows = np.empty(total * row_bytes, np.uint8)
    parts = []
    at = 0
    for chunk in chunks:
        size = chunk.rows * row_bytes
        parts.append(_take(how, file, chunk, rows[at : at + size]))
        at += size
    setting = _find_setting(how, parts, rows, row_bytes)
    words = np.frombuffer(b"".join(part.words for part in parts), "<u4")
    parameters = Parameters(
        detail,
        setting,
        row_bytes,
        np.array([part.rows for part in parts], np.int64),
        np.array([part.raw for part in parts], np.bool_),
        words.reshape(len(parts), -1).astype(np.uint32),
        tuple(part.tail for part in parts),
    )
    return Undone(rows.reshape(total, row_bytes), pack(parameters))


def _check_places(how: Method, file: memoryview, chunks: Sequence[Chunk], row_bytes: int) -> None:
    """Raise CannotRedo unless chunks are in the file, in a row, and can hold what they claim."""
    place = chunks[0].offset
    for chunk in chunks:
        if chunk.offset != place or chunk.length < 1 or chunk.rows < 1:
            raise CannotRedo("compressed rows do not follow one another")
        if chunk.rows * row_bytes > chunk.length * how.coder.max_gain or chunk.rows >> 32:
            raise CannotRedo("a chunk is too short for the rows it claims")
        place += chunk.length
    if chunks[0].offset < 0 or place > len(file):
        raise CannotRedo("compressed rows go beyond the file")


def _take(how: Method, file: memoryview, chunk: Chunk, rows: NDArray[np.uint8]) -> _Part:
    """Take a chunk apart and fill ``rows`` with what it says."""
    start = chunk.offset + how.prefix
    body = np.frombuffer(file[start : chunk.offset + chunk.length], np.uint8)
    words = b""
    if how.prefix:
        if chunk.length < how.prefix:
            raise CannotRedo("a chunk is shorter than its head")
        words = bytes(file[chunk.offset : start - 4])
        (used,) = _U32.unpack_from(file, start - 4)
        if used > len(body):
            raise CannotRedo("a chunk is longer than its place")
        body, after = body[:used], body[used:]
    else:
        after = body[:0]
    raw = how.raw and len(body) == len(rows)
    if raw:
        rows[:] = body
    else:
        data, used = how.coder.decode(body, len(rows))
        rows[:] = how.filter.backward(data)
        if not how.prefix:
            body, after = body[:used], body[used:]
        elif used != len(body):
            raise CannotRedo("a chunk holds more than its rows")
    if len(after) > MAX_TAIL:
        raise CannotRedo("bytes that say nothing stand between compressed rows")
    return _Part(words, body, after.tobytes(), raw, chunk.rows)


def _find_setting(
    how: Method, parts: Sequence[_Part], rows: NDArray[np.uint8], row_bytes: int
) -> bytes:
    """The setting that makes every part that is not raw; raises CannotRedo if there is none.

    Black rows come out alike under many settings: a part that a setting failed on is what the
    settings after it are tried on first.
    """
    ends = np.cumsum([part.rows for part in parts]) * row_bytes
    coded = deque(i for i, part in enumerate(parts) if not part.raw)
    if not coded:
        return b""
    for setting in how.coder.settings(parts[coded[0]].body):
        for i in coded:
            part = parts[i]
            size = part.rows * row_bytes
            data = how.filter.forward(rows[int(ends[i]) - size : int(ends[i])])
            if not how.coder.makes(setting, data, part.body):
                coded.remove(i)
                coded.appendleft(i)
                break
        else:
            return setting
    raise CannotRedo(how.coder.refusal(parts[coded[0]].body))


def redo(method: int, rows: NDArray[np.uint8], parameters: bytes, limit: int) -> bytes:
    """The bytes of the chunks that `undo` took ``rows`` and ``parameters`` from.

    ``rows`` is uint8 of any shape, contiguous. Raises DamagedError where ``parameters`` are not
    of such rows or more than ``limit`` bytes would come out; whatever they are, nothing else.
    Memory: ``limit``, and a few times the longest chunk.
    """
    data = np.ascontiguousarray(rows).reshape(-1)
    p = unpack(parameters, data.size, limit)
    try:
        how = method_of(method, p.row_bytes, p.detail)
    except BadDetailError as error:
        raise DamagedError("redo parameters", str(error)) from error
    if how.prefix != 4 * p.words.shape[1] + (4 if how.prefix else 0):
        raise DamagedError("redo parameters", "chunks begin otherwise")
    if not p.raw.all():
        how.coder.check(p.setting)
    out = bytearray()
    at = 0
    for i, count in enumerate(p.rows.tolist()):
        size = count * p.row_bytes
        part = data[at : at + size]
        at += size
        room = limit - len(out) - how.prefix - len(p.tails[i])
        body = _body(how, p, part, bool(p.raw[i]), room)
        if how.prefix:
            out += p.words[i].astype("<u4").tobytes()
            out += _U32.pack(len(body))
        out += body.tobytes()
        out += p.tails[i]
    return bytes(out)


def _body(
    how: Method, p: Parameters, rows: NDArray[np.uint8], raw: bool, room: int
) -> NDArray[np.uint8]:
    """A chunk's data, at most ``room`` bytes; raises DamagedError where it is more."""
    body: NDArray[np.uint8] | None = rows
    if raw:
        if not how.raw:
            raise DamagedError("redo parameters", "this method leaves no rows as they are")
    else:
        body = how.coder.encode(p.setting, how.filter.forward(rows), max(room, 0))
    if body is None or len(body) > room:
        raise DamagedError("redo parameters", "the chunks are longer than the file's")
    return body
