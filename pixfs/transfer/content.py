"""The bytes of one file: copying them with their hash, and telling whether two are the same."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

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

_CHUNK = 4 << 20
_ZEROS = bytes(_CHUNK)


def copy_bytes(
    source_fd: int,
    target_fd: int,
    length: int,
    limiter: Limiter,
    flow: Hashable,
    progress: Callable[[int], None],
) -> str:
    """Copies ``length`` bytes, going on from what the target holds; returns their hash.

    What the target holds already is hashed from the source: whether it is right shows when the
    target is compared as a whole. Zeros become holes. Raises OSError, TransferError.
    """
    digest = xxhash.xxh3_128()
    done = min(backing.fstat(target_fd).st_size, length)
    buf = memoryview(bytearray(_CHUNK))
    _hash_into(digest, source_fd, done, buf)
    progress(done)
    backing.ftruncate(target_fd, done)
    while done < length:
        size = limiter.piece(min(_CHUNK, length - done))
        limiter.acquire(flow, size, Priority.BACKGROUND)
        piece = buf[:size]
        if backing.pread_into(source_fd, piece, done) != size:
            raise TransferError("it got shorter while it was copied")
        digest.update(piece)
        if piece == _ZEROS[:size]:
            backing.ftruncate(target_fd, done + size)
        else:
            backing.pwrite_all(target_fd, piece, done)
        done += size
        progress(size)
    return digest.hexdigest()


def hash_stored(fd: int, length: int) -> str:
    """XXH3-128 of the first ``length`` bytes, read from the storage rather than from memory
    where that can be had. Raises TransferError when there are fewer."""
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    digest = xxhash.xxh3_128()
    _hash_into(digest, fd, length, memoryview(bytearray(_CHUNK)))
    return digest.hexdigest()


def _hash_into(digest: xxhash.xxh3_128, fd: int, length: int, buf: memoryview) -> None:
    offset = 0
    while offset < length:
        piece = buf[: min(_CHUNK, length - offset)]
        if backing.pread_into(fd, piece, offset) != len(piece):
            raise TransferError("it is shorter than it was")
        digest.update(piece)
        offset += len(piece)


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
    buf = memoryview(bytearray(_CHUNK))
    offset = 0
    while offset < head.length:
        piece = buf[: min(_CHUNK, head.length - offset)]
        if backing.pread_into(fd, piece, base + offset) != len(piece):
            raise TransferError("it got shorter while it was read")
        digest.update(piece)
        offset += len(piece)
    return digest.hexdigest()
