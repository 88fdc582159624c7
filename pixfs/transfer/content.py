"""The bytes of one file: copying them with their hash, and telling whether two are the same."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

import xxhash

import codec
from codec import CodecError
from pixfs.throttle import Priority
from pixfs.transfer.errors import TransferError
from pixfs.volume import backing
from pixfs.volume.heads import Kind, read_head

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from pixfs.throttle import Limiter
    from pixfs.volume.heads import Head

CHUNK = 1 << 20


class Readable(Protocol):
    """Bytes from their beginning to their end.

    Attributes:
        size: how many there are to be.
    """

    size: int

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most ``size``; empty at the end."""


class Writable(Protocol):
    """Where they go; as `pixfs.transfer.partial.Partial`."""

    def holds(self, data: bytes, /) -> bool:
        """Whether an earlier attempt has left these bytes, which follow those before."""

    def write(self, data: bytes, /) -> None:
        """Appends."""


class Gate(Protocol):
    """What bytes wait for, and who hears of them; any call may raise to end the copy."""

    def read(self, size: int, /) -> None:
        """Before bytes are read."""

    def write(self, size: int, /) -> None:
        """Before bytes are written."""

    def landed(self, size: int, /) -> None:
        """After they were written, or were found there."""


def pour(source: Readable, target: Writable, gate: Gate) -> tuple[str, int]:
    """Copies bytes until the source ends; their XXH3-128 in hex, and how many they were.

    What the target holds already is compared rather than written. Raises what source, target
    and gate raise.
    """
    digest = xxhash.xxh3_128()
    done = 0
    gate.read(min(CHUNK, source.size))
    while data := source.read(CHUNK):
        digest.update(data)
        if not target.holds(data):
            gate.write(len(data))
            target.write(data)
        gate.landed(len(data))
        done += len(data)
        if done < source.size:
            gate.read(min(CHUNK, source.size - done))
    return digest.hexdigest(), done


class OpenFile:
    """The first ``size`` bytes of an open file, to be read in turn."""

    def __init__(self, fd: int, size: int) -> None:
        self.size = size
        self._fd = fd
        self._offset = 0

    def read(self, size: int) -> bytes:
        """The next bytes. OSError; TransferError when the file has become shorter."""
        size = min(size, self.size - self._offset)
        data = backing.pread(self._fd, size, self._offset) if size else b""
        if size and not data:
            raise TransferError("it got shorter while it was copied")
        self._offset += len(data)
        return data


class Limited:
    """A gate of one limiter."""

    def __init__(self, limiter: Limiter, flow: Hashable, progress: Callable[[int], None]) -> None:
        """``flow`` is what shares the limiter with others; ``progress`` hears of bytes done."""
        self._limiter = limiter
        self._flow = flow
        self.landed = progress

    def read(self, size: int) -> None:
        """Only what is written counts."""

    def write(self, size: int) -> None:
        """Waits until so many bytes may go."""
        while size:
            piece = self._limiter.piece(size)
            self._limiter.acquire(self._flow, piece, Priority.BACKGROUND)
            size -= piece


def head_of(fd: int, *, stored: bool) -> Head:
    """What the file is; outside volumes any bytes are just bytes."""
    st, head = read_head(fd)
    return head if stored else type(head)(Kind.RAW, st.st_size)


def is_alike(source_fd: int, target_fd: int, *, stored: bool) -> bool:
    """Whether size, time and, for two containers, the hash of the original are the same."""
    source, target = head_of(source_fd, stored=stored), head_of(target_fd, stored=stored)
    if source.length != target.length:
        return False
    if backing.fstat(source_fd).st_mtime_ns != backing.fstat(target_fd).st_mtime_ns:
        return False
    if source.kind is target.kind is Kind.CONTAINER:
        return _header_hash(source_fd) == _header_hash(target_fd)
    return True


def is_identical(source_fd: int, target_fd: int, *, stored: bool) -> bool:
    """Whether the two hold the same original, with every byte of both read and checked.

    One may be raw and the other a container. Raises TransferError when one is damaged.
    """
    source, target = head_of(source_fd, stored=stored), head_of(target_fd, stored=stored)
    if source.length != target.length:
        return False
    return _original_hash(source_fd, source) == _original_hash(target_fd, target)


def _header_hash(fd: int) -> bytes:
    return codec.parse_header(backing.pread(fd, codec.HEAD_SIZE, 0)).hash


def _original_hash(fd: int, head: Head) -> str:
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    if head.kind is Kind.BAD:
        raise TransferError(f"it is damaged: {head.reason}")
    if head.kind is Kind.CONTAINER:
        try:
            reader = codec.Reader(fd)
            damages = reader.verify()
        except CodecError as error:
            raise TransferError(f"it is damaged: {error}") from error
        if damages:
            raise TransferError(f"it is damaged: {damages[0]}")
        return reader.hash
    base = codec.WRAP_SIZE if head.kind is Kind.WRAP else 0
    digest = xxhash.xxh3_128()
    buf = memoryview(bytearray(CHUNK))
    offset = 0
    while offset < head.length:
        piece = buf[: min(CHUNK, head.length - offset)]
        if backing.pread_into(fd, piece, base + offset) != len(piece):
            raise TransferError("it got shorter while it was read")
        digest.update(piece)
        offset += len(piece)
    return digest.hexdigest()
