"""A file of a storage open for reading anywhere in it, as a download's ranges need it.

Everything here blocks; each object belongs to one thread at a time.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from server.work.directory import Directory
from server.work.errors import FileError
from server.work.s3.bucket import Bucket
from server.work.s3.client import told
from server.work.s3.source import ObjectSource

if TYPE_CHECKING:
    from server.work.storage import Entry
    from server.work.storage import Storage as Place

__all__ = ["Readable", "open_readable"]


class Readable(Protocol):
    """An open file.

    Attributes:
        entry: the file as it was when it was opened.
    """

    entry: Entry

    def read(self, offset: int, length: int) -> bytes:
        """At most so many bytes from there on, none behind the end. FileError ("changed") when
        the file is not what it was when it was opened; OSError, StorageError."""

    def close(self) -> None:
        """Ends the reading."""


def open_readable(place: Place, path: str) -> Readable:
    """Opens a regular file. FileError, OSError, StorageError."""
    if isinstance(place, Directory):
        return _OfDirectory(place, path)
    if isinstance(place, Bucket):
        if place.is_container(path):
            return _OfContainer(place, path)
        return _OfBucket(place, path)
    raise FileError("unsupported", "such a storage cannot be read from anywhere")


class _OfDirectory:
    def __init__(self, place: Directory, path: str) -> None:
        # O_NONBLOCK: opening a fifo would otherwise wait for a writer.
        self._fd = place.root.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._place = place
        st = os.fstat(self._fd)
        if not stat.S_ISREG(st.st_mode):
            self.close()
            raise FileError("not-a-file", "it is no regular file")
        self.entry = place.entry_of(path, st)

    def read(self, offset: int, length: int) -> bytes:
        data = os.pread(self._fd, length, offset)
        st = os.fstat(self._fd)
        # Not the version: another name for the file, or its removal, changes no byte.
        if (st.st_size, st.st_mtime_ns) != (self.entry.size, self.entry.mtime_ns):
            raise FileError("changed", "it changed while it was read", is_transient=True)
        return data

    def close(self) -> None:
        os.close(self._fd)


class _OfBucket:
    """An object; reading on costs no new request."""

    def __init__(self, place: Bucket, path: str) -> None:
        self.entry = place.stat(path)
        self._place = place
        self._body: Any = None
        self._at = 0

    def read(self, offset: int, length: int) -> bytes:
        if offset >= self.entry.size:
            return b""
        if self._body is None or offset != self._at:
            self.close()
            self._body = self._place.get_from(self.entry, offset)
            self._at = offset
        with told(self._place.root):
            data = self._place.client.read(self._body, length)
        self._at += len(data)
        return data

    def close(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            with suppress(Exception):
                self._place.client.release(body)


class _OfContainer:
    """The file inside a container that is an object."""

    def __init__(self, place: Bucket, path: str) -> None:
        self._source = ObjectSource(place, path, stored=False)
        self.entry = self._source.entry

    def read(self, offset: int, length: int) -> bytes:
        return self._source.read_at(offset, length)

    def close(self) -> None:
        self._source.close()
