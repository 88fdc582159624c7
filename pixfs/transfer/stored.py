"""Containers taken from one backing directory and put into another as they are stored.

Nothing is decoded or encoded. To the daemon that may serve the directory this is one more volume
on it: files on their way lie in the hidden area, take their names complete and at once, and a name
that stands is only ever replaced by a rename. The caller makes the folders, through the mount, and
looks at the result there.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

import codec
from pixfs.transfer.partial import open_incoming
from pixfs.volume import backing
from pixfs.volume.area import HIDDEN
from pixfs.volume.attributes import Signature
from pixfs.volume.heads import Kind, read_head

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pixfs.transfer.partial import Partial

__all__ = ["StoredFile", "StoredFiles", "check_container", "open_container"]


class StoredFile:
    """One container open for reading; owns its descriptor.

    Attributes:
        size: stored bytes.
        original_length: bytes of the file it holds.
        original_hash: XXH3-128 of that file in hex.
        st: the backing inode's attributes when it was opened.
    """

    def __init__(self, fd: int, st: os.stat_result, header: codec.Header) -> None:
        self.fd = fd
        self.st = st
        self.size = st.st_size
        self.original_length = header.original_length
        self.original_hash = header.hash.hex()

    def pread(self, size: int, offset: int) -> bytes:
        """Stored bytes. OSError."""
        return backing.pread(self.fd, size, offset)

    def is_unchanged(self) -> bool:
        """Whether the inode is what it was. A container is replaced, not written to, except
        when a file with several names is restored in place."""
        return Signature.of(backing.fstat(self.fd)) == Signature.of(self.st)

    def close(self) -> None:
        """Closes the descriptor."""
        backing.close(self.fd)


class StoredFiles:
    """The containers of one backing directory; any thread, closed by one owner.

    Paths are sequences of names, as bytes; a link among them is ENOTDIR or ELOOP.
    """

    def __init__(self, path: str) -> None:
        """Opens the directory. OSError when it cannot be reached."""
        self._root_fd = backing.open_root(os.fsencode(os.path.realpath(path)))
        self._incoming_fd = -1

    def close(self) -> None:
        """Closes the directory."""
        if self._incoming_fd >= 0:
            backing.close(self._incoming_fd)
        backing.close(self._root_fd)

    @contextmanager
    def _folder(self, names: Sequence[bytes]) -> Iterator[int]:
        """Descriptor of a folder below the root."""
        if any(name in (b"", b".", b"..") or b"/" in name for name in names):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if names and names[0] == HIDDEN:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        fd = backing.reopen(self._root_fd, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for name in names:
                below = backing.open_directory(fd, name)
                backing.close(fd)
                fd = below
            yield fd
        finally:
            backing.close(fd)

    def open(self, names: Sequence[bytes]) -> StoredFile | None:
        """The container at a path; None when the file there is stored in another way."""
        with self._folder(names[:-1]) as folder:
            path_fd = backing.open_path(folder, names[-1])
        try:
            if Kind.CONTAINER is not self._kind(path_fd):
                return None
            fd = backing.reopen(path_fd, os.O_RDONLY)
        finally:
            backing.close(path_fd)
        try:
            st, head = read_head(fd)
            if head.kind is Kind.CONTAINER:
                header = codec.parse_header(backing.pread(fd, codec.HEAD_SIZE, 0))
                return StoredFile(fd, st, header)
        except BaseException:
            backing.close(fd)
            raise
        backing.close(fd)
        return None

    def _kind(self, path_fd: int) -> Kind | None:
        """The kind of a regular file, None for anything else: opening a fifo would wait."""
        if not stat.S_ISREG(backing.fstat(path_fd).st_mode):
            return None
        fd = backing.reopen(path_fd, os.O_RDONLY)
        try:
            return read_head(fd)[1].kind
        finally:
            backing.close(fd)

    @property
    def incoming_fd(self) -> int:
        """Where files on their way lie (`Partial`); made at the first call. OSError: EPERM when
        the hidden area belongs to another user, EROFS, EACCES."""
        if self._incoming_fd < 0:
            self._incoming_fd = open_incoming(self._root_fd)
        return self._incoming_fd

    def place(self, partial: Partial, names: Sequence[bytes], *, replace: bool) -> None:
        """Gives a synced file its name, as `Partial.place`; the folder still has to be synced
        (`sync`)."""
        with self._folder(names[:-1]) as folder:
            partial.place(folder, names[-1], replace=replace)

    def sync(self, names: Sequence[bytes]) -> None:
        """Makes the names in a folder durable."""
        with self._folder(names) as folder:
            backing.fsync(folder)


def open_container(fd: int) -> codec.Reader:
    """What landed, opened as a reader of the file will. CodecError when it is no sound
    container, or is cut short."""
    reader = codec.Reader(fd)
    if reader.header.kind != "container":
        raise codec.NotAContainerError("what landed is no container")
    if reader.stored_length != reader.header.container_length:
        raise codec.DamagedError("container", "it is not as long as it was written")
    return reader


def check_container(fd: int) -> None:
    """Sees that the stored bytes are those that were written, by the container's own checksums.

    A copy is as bad as its original, and is compared with nothing else: damage would be carried on
    unseen, and a move delete what a backup is then looked for too late. CodecError.
    """
    open_container(fd).check_stored()
