"""Containers taken from one backing directory and put into another as they are stored.

Nothing is decoded or encoded. To the daemon that may serve the directory this is one more volume
on it: temporaries lie in an area of their own, files take their names complete and at once, and a
name that stands is only ever replaced by a rename. The caller makes the folders, through the
mount, and looks at the result there.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import codec
from pixfs.volume import backing, recovery
from pixfs.volume.area import HIDDEN, Area
from pixfs.volume.attributes import Key, Signature
from pixfs.volume.heads import Kind, read_head
from pixfs.volume.locks import exclusive

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pixfs.volume.area import Temp
    from pixfs.volume.attributes import Buffer

log = logging.getLogger(__name__)

_PATIENCE_S = 1.0

__all__ = ["StoredFile", "StoredFiles", "StoredTemp"]


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


class StoredTemp:
    """A container being written into the hidden area; `StoredFiles.place` gives it its name."""

    def __init__(self, temp: Temp) -> None:
        self.temp = temp
        self._offset = 0

    @property
    def fd(self) -> int:
        """Open for reading and writing, until ``close``."""
        return self.temp.fd

    def write(self, data: Buffer) -> None:
        """Appends. OSError."""
        backing.pwrite_all(self.temp.fd, data, self._offset)
        self._offset += len(memoryview(data).cast("B"))

    def sync(self) -> None:
        """Makes bytes and attributes durable."""
        backing.fsync(self.temp.fd)

    def check(self) -> codec.Reader:
        """What landed, opened as a reader of the file will. CodecError when it is no sound
        container, or is cut short."""
        reader = codec.Reader(self.temp.fd)
        if reader.header.kind != "container":
            raise codec.NotAContainerError("what landed is no container")
        if reader.stored_length != reader.header.container_length:
            raise codec.DamagedError("container", "it is not as long as it was written")
        return reader

    def close(self) -> None:
        """Closes, and removes it unless it was placed."""
        self.temp.close()


class StoredFiles:
    """The containers of one backing directory; any thread, closed by one owner.

    Paths are sequences of names, as bytes; a link among them is ENOTDIR or ELOOP.
    """

    def __init__(self, path: str) -> None:
        """Opens the directory. OSError when it cannot be reached."""
        self._root_fd = backing.open_root(os.fsencode(os.path.realpath(path)))
        self._area: Area | None = None

    def close(self) -> None:
        """Gives the area back, if one was needed, and closes the directory."""
        if self._area is not None:
            try:
                self._area.close()
            except OSError as error:
                log.warning("the hidden area was not cleared: %s", error)
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

    def begin(self) -> StoredTemp:
        """A new temporary in the area. OSError (ENOSPC ...), as for `make_area`."""
        return StoredTemp(self.make_area().create(Key(0, 0)))

    def make_area(self) -> Area:
        """The area, made at the first call and cleared of what dead processes left. OSError:
        EPERM when it belongs to another user, EROFS, EACCES."""
        if self._area is None:
            self._area = Area(self._root_fd)
            with self._area.starting():
                recovery.recover(self._area)
        return self._area

    def place(self, temp: StoredTemp, names: Sequence[bytes], *, replace: bool) -> None:
        """Gives a synced temporary its name. EEXIST without ``replace``; with it, EBUSY while
        anybody has the file that is there open for writing: what is written would be lost. The
        folder still has to be synced (`sync`)."""
        with self._folder(names[:-1]) as folder, ExitStack() as held:
            if replace:
                held.enter_context(_unwritten(folder, names[-1]))
            flags = 0 if replace else backing.RENAME_NOREPLACE
            backing.rename(temp.temp.dir_fd, temp.temp.name, folder, names[-1], flags)
        temp.temp.placed()

    def sync(self, names: Sequence[bytes]) -> None:
        """Makes the names in a folder durable."""
        with self._folder(names) as folder:
            backing.fsync(folder)


@contextmanager
def _unwritten(folder: int, name: bytes) -> Iterator[None]:
    """Nobody has the regular file of this name open for writing, if there is one."""
    try:
        path_fd = backing.open_path(folder, name)
    except FileNotFoundError:
        yield
        return
    try:
        if not stat.S_ISREG(backing.fstat(path_fd).st_mode):
            yield
            return
        fd = backing.reopen(path_fd, os.O_RDONLY)
    finally:
        backing.close(path_fd)
    try:
        with ExitStack() as held:
            # A daemon hears of a file's close a moment after the program that closed it.
            deadline = time.monotonic() + _PATIENCE_S
            while not held.enter_context(exclusive(fd, without_locks=True)):
                held.close()
                if time.monotonic() > deadline:
                    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
                time.sleep(0.01)
            yield
    finally:
        backing.close(fd)
