"""Storages that are directories of this machine: local disks, NAS mounts, PixFS mounts.

Bytes land under a hidden name in their own folder, are fsynced, may be read back past the page
cache, and only then take their name; the caller syncs the folders of a whole batch at once.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

import xxhash

from server.work.beneath import Root, rename_at, split
from server.work.errors import FileError
from server.work.storage import Attributes, Entry, Kind, is_part, part_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType
    from typing import Self

    from server.core.access import Reach

CHUNK = 1 << 20
_CONTROL = "user.pixfs."
_SYNC_FILE_RANGE_WRITE = 2
_libc = ctypes.CDLL(None, use_errno=True)


def kind_of(mode: int) -> Kind:
    """What a mode says a name is."""
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "folder"
    return "link" if stat.S_ISLNK(mode) else "other"


class DirectorySource:
    """A regular file open for reading."""

    is_stored = False
    original = ""

    def __init__(self, fd: int, entry: Entry, attributes: Attributes, storage: Directory) -> None:
        self.entry = entry
        self.attributes = attributes
        self.size = entry.size
        self._fd = fd
        self._storage = storage
        with suppress(OSError):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)

    def read(self, size: int) -> bytes:
        """The next bytes."""
        return os.read(self._fd, size)

    def check(self) -> None:
        """FileError unless size, mtime and, where it means something, ctime are as before."""
        now = self._storage.entry_of(self.entry.path, os.fstat(self._fd))
        if not now.is_same_as(self.entry):
            raise FileError("changed", "it changed while it was read", is_transient=True)

    def close(self) -> None:
        """Closes the file."""
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class DirectoryTarget:
    """A file under its hidden name, in the folder it will stand in."""

    def __init__(self, storage: Directory, path: str, attributes: Attributes, part: str) -> None:
        self.path = path
        self._attributes = attributes
        self._folder, self._name = split(path)
        self._part = part_name(part)
        self._folder_fd = storage.root.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._fd = os.open(self._part, flags, 0o600, dir_fd=self._folder_fd)
        except OSError:
            os.close(self._folder_fd)
            raise
        self._is_named = True
        self._is_open = True

    def write(self, data: bytes) -> None:
        """Appends."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def start_writeback(self) -> None:
        """Lets the storage begin to write, so that the fsync of many files waits but once."""
        _libc.sync_file_range(
            self._fd, ctypes.c_int64(0), ctypes.c_int64(0), ctypes.c_uint(_SYNC_FILE_RANGE_WRITE)
        )

    def finish(self) -> None:
        """Attributes, then fsync."""
        set_attributes(self._fd, self._attributes)
        os.fsync(self._fd)

    def digest(self) -> str:
        """Reads back through a descriptor of its own, after the cached pages were dropped."""
        with suppress(OSError):
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)
        fd = os.open(self._part, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder_fd)
        try:
            digest = xxhash.xxh3_128()
            while data := os.read(fd, CHUNK):
                digest.update(data)
        finally:
            os.close(fd)
        return digest.hexdigest()

    def commit(self, *, replace: bool) -> None:
        """Renames; the folder still has to be synced."""
        rename_at(self._folder_fd, self._part, self._folder_fd, self._name, replace=replace)
        self._is_named = False
        self.abandon()

    def abandon(self) -> None:
        """Removes what has not been committed and closes."""
        if self._is_named:
            self._is_named = False
            with suppress(OSError):
                os.unlink(self._part, dir_fd=self._folder_fd)
        if self._is_open:
            self._is_open = False
            os.close(self._fd)
            os.close(self._folder_fd)


def set_attributes(fd: int, attributes: Attributes) -> None:
    """Owner where we may set it, mode, user attributes and, last, times.

    An owner that cannot be given is left: the file then belongs to the server. User attributes
    the storage has no room or no place for are left out, too: they are not the bytes.
    """
    if attributes.uid is not None and attributes.gid is not None and os.geteuid() == 0:
        with suppress(PermissionError):
            os.fchown(fd, attributes.uid, attributes.gid)
    os.fchmod(fd, stat.S_IMODE(attributes.mode))
    for name, value in attributes.xattrs.items():
        try:
            os.setxattr(fd, name, value)
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.EPERM, errno.ENOSPC, errno.E2BIG):
                raise
    if attributes.mtime_ns is not None:
        atime_ns = attributes.mtime_ns if attributes.atime_ns is None else attributes.atime_ns
        os.utime(fd, ns=(atime_ns, attributes.mtime_ns))


def read_attributes(fd: int, st: os.stat_result) -> Attributes:
    """Mode, owner, times and the user's own attributes of an open file."""
    xattrs = {}
    try:
        for name in os.listxattr(fd):
            if name.startswith("user.") and not name.startswith(_CONTROL):
                xattrs[name] = os.getxattr(fd, name)
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.ENODATA):
            raise
    return Attributes(
        mode=stat.S_IMODE(st.st_mode),
        mtime_ns=st.st_mtime_ns,
        atime_ns=st.st_atime_ns,
        uid=st.st_uid,
        gid=st.st_gid,
        xattrs=xattrs,
    )


class Directory:
    """A plain directory as a storage."""

    @property
    def takes_containers(self) -> bool:
        """A plain directory shows what it holds as it is."""
        return False

    def __init__(self, path: str, reach: Reach | None = None) -> None:
        """Opens the directory; of links in it only those that stay in ``reach`` are followed.
        StorageError."""
        self.root = Root(path, reach)

    def close(self) -> None:
        """Closes the directory."""
        self.root.close()

    def entry_of(self, path: str, st: os.stat_result) -> Entry:
        """The entry of what has these attributes."""
        return Entry(
            path,
            kind_of(st.st_mode),
            st.st_size if stat.S_ISREG(st.st_mode) else 0,
            st.st_mtime_ns,
            stat.S_IMODE(st.st_mode),
            self._version(st),
        )

    def _version(self, st: os.stat_result) -> str:
        return f"{st.st_ino:x}-{st.st_ctime_ns:x}"

    def stat(self, path: str) -> Entry:
        """The entry of a path."""
        return self.entry_of(path, self.root.stat(path))

    def walk(self, path: str) -> Iterator[Entry]:
        """Everything below a folder."""
        with self.root.folder(path) as fd:
            names = sorted(name for name in os.listdir(fd) if not is_part(name))
            found = []
            for name in names:
                with suppress(FileNotFoundError):  # removed since it was listed
                    found.append((name, os.stat(name, dir_fd=fd, follow_symlinks=False)))
        for name, st in found:
            entry = self.entry_of(f"{path}/{name}" if path else name, st)
            yield entry
            if entry.kind == "folder":
                yield from self.walk(entry.path)

    def names(self, path: str) -> list[str]:
        """The names in one folder."""
        with self.root.folder(path) as fd:
            return sorted(name for name in os.listdir(fd) if not is_part(name))

    def open(self, path: str, *, stored: bool) -> DirectorySource:
        """Opens a regular file."""
        # O_NONBLOCK: opening a fifo would otherwise wait for a writer.
        fd = self.root.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            st = os.fstat(fd)
            if not stat.S_ISREG(st.st_mode):
                raise FileError("not-a-file", "it is no regular file")
            return DirectorySource(fd, self.entry_of(path, st), read_attributes(fd, st), self)
        except BaseException:
            os.close(fd)
            raise

    def create(
        self, path: str, attributes: Attributes, *, part: str, stored: bool
    ) -> DirectoryTarget:
        """Begins a file, in a folder that is made when it is missing."""
        if stored:
            raise FileError("unsupported", "a plain directory takes no containers")
        try:
            return DirectoryTarget(self, path, attributes, part)
        except FileNotFoundError:
            self.make_folder(split(path)[0])
            return DirectoryTarget(self, path, attributes, part)

    def clear_part(self, path: str, part: str, *, resumes: bool) -> None:
        """Removes the leftover of an attempt."""
        folder = split(path)[0]
        with suppress(FileNotFoundError):
            self.root.unlink(f"{folder}/{part_name(part)}" if folder else part_name(part))

    def make_folder(self, path: str) -> None:
        """Makes a folder."""
        self.root.make_folders(path)

    def set_folder_attributes(self, path: str, mode: int, mtime_ns: int) -> None:
        """Sets mode and mtime of a folder."""
        with self.root.folder(path) as fd:
            os.fchmod(fd, mode)
            os.utime(fd, ns=(mtime_ns, mtime_ns))

    def read_link(self, path: str) -> str:
        """A link's target."""
        return self.root.read_link(path)

    def make_link(self, path: str, target: str, *, replace: bool) -> None:
        """Makes a link; one that is there with the same target is left."""
        folder, name = split(path)
        self.make_folder(folder)
        with self.root.folder(folder) as fd:
            with suppress(OSError):
                if os.readlink(name, dir_fd=fd) == target:
                    return
            part = part_name(f"link-{secrets.token_hex(8)}")
            os.symlink(target, part, dir_fd=fd)
            try:
                rename_at(fd, part, fd, name, replace=replace)
            except OSError:
                os.unlink(part, dir_fd=fd)
                raise

    def rename(self, source: str, target: str, *, replace: bool) -> None:
        """Renames; makes the target's folder when it is missing."""
        self.make_folder(split(target)[0])
        self.root.rename(source, target, replace=replace)

    def remove(self, path: str) -> None:
        """Removes a file or a link."""
        self.root.unlink(path)

    def remove_folder(self, path: str) -> None:
        """Removes an empty folder."""
        self.root.remove_folder(path)

    def sync(self, folders: Iterable[str]) -> None:
        """Syncs these folders."""
        for folder in folders:
            self.root.sync_folder(folder)

    def set_state(self, path: str, state: Literal["compressed", "raw"]) -> str:
        """A plain directory cannot."""
        raise FileError("unsupported", "only files on a PixFS mount can be compressed in place")

    def find_damage(self, path: str) -> list[str]:
        """Reads the whole file: what can be said of a file without checksums."""
        with self.open(path, stored=False) as source:
            while source.read(CHUNK):
                pass
        return []
