"""Bytes of an upload on their way to a storage: whole files, and pieces in any order.

They land under a hidden name that carries the upload's number, become durable and take their
name at once. A bucket takes no pieces in any order: for it they are gathered in a directory of
this machine first. Everything here blocks, and each object belongs to one thread at a time.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Protocol

from pixfs.transfer.attributes import Attributes, set_attributes
from server.core.catalog.uploads import Landed
from server.core.errors import SizeMismatch
from server.work.beneath import rename_at, split
from server.work.directory import CHUNK, Directory
from server.work.errors import FileError
from server.work.storage import part_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from server.core.catalog.uploads import Announced
    from server.work.storage import Entry
    from server.work.storage import Storage as Place

__all__ = ["Incoming", "PieceOfFile", "WholeFile", "complete", "discard", "hash_name"]

hash_name = "SHA-1"
_MODE = Attributes(mode=0o644)
# A file in pieces is hashed at its end only while that takes no time to speak of; the hash of a
# larger one comes with its re-indexing.
_HASHED_AT_ONCE = 256 << 20
# The server's own disk is never filled up: its database is there, too.
_KEPT_FREE = 1 << 30


class Incoming(Protocol):
    """Where one request's bytes go."""

    def write(self, data: bytes) -> None:
        """Takes the next bytes. OSError, FileError, StorageError."""

    def abandon(self) -> bool:
        """Leaves nothing behind of what is no good to anybody; False where that may have failed."""


class WholeFile:
    """A file that comes in one request."""

    def __init__(self, place: Place, upload: Announced) -> None:
        """Begins the file, in a folder that is made when it is missing."""
        self._place = place
        self._path = upload.path
        self._target = place.create(upload.path, _MODE, part=upload.part, stored=False)
        self._digest = hashlib.sha1(usedforsecurity=False)
        self.size = 0

    def write(self, data: bytes) -> None:
        """Appends."""
        self._target.write(data)
        self._digest.update(data)
        self.size += len(data)

    def finish(self) -> None:
        """Makes the bytes durable; the file has no name yet."""
        self._target.finish()

    def commit(self, *, replace: bool) -> Landed:
        """Gives the file its name; FileExistsError without ``replace``."""
        self._target.commit(replace=replace)
        self._place.sync([split(self._path)[0]])
        entry = self._place.stat(self._path)
        return _landed(self._place, entry, {hash_name: self._digest.hexdigest()})

    def abandon(self) -> bool:
        """Removes what was written."""
        return self._target.abandon()


class PieceOfFile:
    """A piece of a file, written where it belongs; others may be written meanwhile."""

    def __init__(self, place: Place, upload: Announced, offset: int, spool: Path) -> None:
        self._fd = _open_part(place, upload, spool)
        self._is_spooled = not isinstance(place, Directory)
        self._offset = offset
        self._end = upload.size
        self.size = 0

    def write(self, data: bytes) -> None:
        """Appends to the piece. SizeMismatch beyond the file's end; FileError ("no-space") when
        the server has no room to gather a bucket's pieces in."""
        if self._offset + self.size + len(data) > self._end:
            raise SizeMismatch("size", "the piece goes beyond the end of the file")
        if self._is_spooled and not _has_room(self._fd, len(data)):
            raise FileError("no-space", "the server has no room to gather the file's pieces")
        view = memoryview(data)
        while view:
            written = os.pwrite(self._fd, view, self._offset + self.size)
            self.size += written
            view = view[written:]

    def finish(self) -> None:
        """Makes the piece durable."""
        os.fsync(self._fd)
        self.abandon()

    def abandon(self) -> bool:
        """Closes; bytes that were not noted are written again."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
        return True


def _open_part(place: Place, upload: Announced, spool: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    if not isinstance(place, Directory):
        spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(spool / upload.part, flags, 0o600)
    folder = split(upload.path)[0]
    place.make_folder(folder)
    return place.root.open(_part_path(upload), flags, 0o600)


def _has_room(fd: int, size: int) -> bool:
    """Whether so many bytes leave enough of the disk they are on."""
    disk = os.fstatvfs(fd)
    kept = min(_KEPT_FREE, disk.f_blocks * disk.f_frsize // 20)
    return disk.f_bavail * disk.f_frsize - size >= kept


def _part_path(upload: Announced) -> str:
    folder = split(upload.path)[0]
    name = part_name(upload.part)
    return f"{folder}/{name}" if folder else name


def complete(place: Place, upload: Announced, spool: Path, *, replace: bool) -> Landed:
    """Puts the gathered bytes of an upload under the file's name.

    Doing it twice does it once: when the bytes have the name already, that is told. SizeMismatch
    when they are not as many as were announced, FileExistsError without ``replace``.
    """
    with ExitStack() as open_files:
        try:
            if isinstance(place, Directory):
                fd = place.root.open(_part_path(upload), os.O_RDWR)
            else:
                fd = os.open(spool / upload.part, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            found = _landed_before(place, upload)
            # In a bucket its note is left.
            place.clear_part(upload.path, upload.part, resumes=False)
            return found
        open_files.callback(os.close, fd)
        size = os.fstat(fd).st_size
        if upload.size >= 0 and size != upload.size:
            raise SizeMismatch("size", "not as many bytes came as were announced")
        if isinstance(place, Directory):
            hashes = {hash_name: _hash(fd)} if size <= _HASHED_AT_ONCE else {}
            _name(place, upload, fd, replace=replace)
        else:
            hashes = {hash_name: _send(place, upload, fd, replace=replace)}
    entry = place.stat(upload.path)
    if not isinstance(place, Directory):
        (spool / upload.part).unlink(missing_ok=True)
    return _landed(place, entry, hashes)


def _landed(place: Place, entry: Entry, hashes: Mapping[str, str]) -> Landed:
    version = "" if isinstance(place, Directory) else entry.version
    return Landed(entry.size, entry.mtime_ns, hashes, version)


def _landed_before(place: Place, upload: Announced) -> Landed:
    """What an attempt that was cut off after its last step has left."""
    try:
        entry = place.stat(upload.path)
    except FileNotFoundError:
        raise FileError("not-found", "the upload's bytes are gone") from None
    if upload.size >= 0 and entry.size != upload.size:
        raise FileError("not-found", "the upload's bytes are gone")
    return _landed(place, entry, {})


def _name(place: Directory, upload: Announced, fd: int, *, replace: bool) -> None:
    set_attributes(fd, _MODE)
    os.fsync(fd)
    folder, name = split(upload.path)
    with place.root.folder(folder) as folder_fd:
        rename_at(folder_fd, part_name(upload.part), folder_fd, name, replace=replace)
        os.fsync(folder_fd)


def _send(place: Place, upload: Announced, fd: int, *, replace: bool) -> str:
    """Sends gathered bytes to a bucket; their hash."""
    digest = hashlib.sha1(usedforsecurity=False)
    target = place.create(upload.path, _MODE, part=upload.part, stored=False)
    try:
        for data in _chunks(fd):
            target.write(data)
            digest.update(data)
        target.finish()
        target.commit(replace=replace)
    finally:
        target.abandon()
    return digest.hexdigest()


def _hash(fd: int) -> str:
    digest = hashlib.sha1(usedforsecurity=False)
    for data in _chunks(fd):
        digest.update(data)
    return digest.hexdigest()


def _chunks(fd: int) -> Iterator[bytes]:
    offset = 0
    while data := os.pread(fd, CHUNK, offset):
        yield data
        offset += len(data)


def discard(place: Place, upload: Announced, spool: Path) -> None:
    """Removes what an upload has left under its hidden name."""
    with suppress(FileNotFoundError):
        (spool / upload.part).unlink()
    place.clear_part(upload.path, upload.part, resumes=False)
