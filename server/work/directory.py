"""Storages that are directories of this machine: local disks, NAS mounts, PixFS mounts.

Bytes land under a hidden name in their own folder, are fsynced, may be read back past the page
cache, and only then take their name; the caller syncs the folders of a whole batch at once.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import logging
import os
import secrets
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

import xxhash

from server.work.beneath import Root, rename_at, split
from server.work.errors import FileError
from server.work.filesystem import FileSystem
from server.work.storage import Attributes, Entry, Kind, is_part, part_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from server.core.access import Reach
    from server.work.storage import Target

log = logging.getLogger(__name__)

CHUNK = 1 << 20
# So much of a file is worth comparing, rather than writing it once more.
RESUMABLE = 64 << 20
# For fewer files than this each is synced by itself.
_MANY = 8
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

    def __init__(
        self,
        storage: Directory,
        path: str,
        attributes: Attributes,
        part: str,
        earlier: Sequence[str] = (),
    ) -> None:
        self.path = path
        self._attributes = attributes
        self._folder, self._name = split(path)
        self._part = part_name(part)
        self._folder_fd = storage.root.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        # Bytes an earlier attempt has left beyond `_offset`, which nobody has compared yet.
        self._offset = self._found = 0
        self._is_locked = self._is_prepared = self._is_durable = False
        try:
            if not (earlier and self._adopt([part_name(each) for each in earlier])):
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                self._fd = os.open(self._part, flags, 0o600, dir_fd=self._folder_fd)
        except OSError:
            os.close(self._folder_fd)
            raise
        self._is_named = True
        self._is_open = True

    def _adopt(self, names: Sequence[str]) -> bool:
        """Takes over what an earlier attempt has left, the latest first, and removes the rest."""
        is_found = False
        for name in reversed(names):
            if not is_found and (fd := self._take(name)) is not None:
                self._fd, self._found = fd, os.fstat(fd).st_size
                self._is_locked = is_found = True
            else:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=self._folder_fd)
        return is_found

    def _take(self, name: str) -> int | None:
        """A file of that name under ours, None where there is none of use, or where the attempt
        that began it still goes on somewhere: it holds a lock as soon as it is worth one."""
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            fd = os.open(name, flags, dir_fd=self._folder_fd)
        except OSError:
            return None
        try:
            st = os.fstat(fd)
            if stat.S_ISREG(st.st_mode) and st.st_size >= RESUMABLE:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                ends = self._folder_fd
                os.rename(name, self._part, src_dir_fd=ends, dst_dir_fd=ends)
                return fd
        except OSError as error:
            log.debug("what an earlier attempt has left is not gone on with: %s", error)
        os.close(fd)
        return None

    def holds(self, data: bytes) -> bool:
        """Compares with what an earlier attempt has left."""
        if self._offset >= self._found:
            return False
        if os.pread(self._fd, len(data), self._offset) == data:
            self._offset += len(data)
            return True
        os.ftruncate(self._fd, self._offset)
        self._found = 0
        return False

    def write(self, data: bytes) -> None:
        """Appends."""
        view = memoryview(data)
        while view:
            written = os.pwrite(self._fd, view, self._offset)
            self._offset += written
            view = view[written:]
        if self._offset >= RESUMABLE and not self._is_locked:
            self._lock()

    def _lock(self) -> None:
        """Tells the next attempt, should we be cut off, that we still write to this file."""
        self._is_locked = True
        with suppress(OSError):
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def start_writeback(self) -> None:
        """Lets the storage begin to write, so that the fsync of many files waits but once."""
        _libc.sync_file_range(
            self._fd, ctypes.c_int64(0), ctypes.c_int64(0), ctypes.c_uint(_SYNC_FILE_RANGE_WRITE)
        )

    def prepare(self) -> None:
        """The length, where an earlier attempt had gone further, and the attributes."""
        if self._is_prepared:
            return
        if self._found > self._offset:
            os.ftruncate(self._fd, self._offset)
        set_attributes(self._fd, self._attributes)
        self._is_prepared = True

    def settled(self, device: int) -> None:
        """The file system of this number has been synced as a whole since ``prepare``."""
        self._is_durable = self._is_prepared and os.fstat(self._fd).st_dev == device

    def finish(self) -> None:
        """Attributes, then fsync."""
        self.prepare()
        if not self._is_durable:
            os.fsync(self._fd)

    def digest(self, check: Callable[[], None]) -> str:
        """Reads back through a descriptor of its own, after the cached pages were dropped."""
        with suppress(OSError):
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)
        fd = os.open(self._part, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder_fd)
        try:
            digest = xxhash.xxh3_128()
            while data := os.read(fd, CHUNK):
                digest.update(data)
                check()
        finally:
            os.close(fd)
        return digest.hexdigest()

    def commit(self, *, replace: bool) -> None:
        """Renames; the folder still has to be synced."""
        rename_at(self._folder_fd, self._part, self._folder_fd, self._name, replace=replace)
        self._is_named = False
        self.abandon()

    def keep(self) -> bool:
        """Leaves a large file under its hidden name."""
        if not self._is_named or max(self._offset, self._found) < RESUMABLE:
            self.abandon()
            return False
        self._is_named = False
        self.abandon()
        return True

    def abandon(self) -> None:
        """Removes what has not been committed and closes."""
        if self._is_named:
            self._is_named = False
            with suppress(OSError):
                os.unlink(self._part, dir_fd=self._folder_fd)
        if self._is_open:
            self._is_open = False
            for fd in (self._fd, self._folder_fd):
                # A mount whose daemon has died answers a close with an error, too.
                with suppress(OSError):
                    os.close(fd)


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
        self._syncing: FileSystem | None = None

    def close(self) -> None:
        """Closes the directory."""
        if self._syncing is not None:
            self._syncing.close()
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
        self,
        path: str,
        attributes: Attributes,
        *,
        part: str,
        stored: bool,
        earlier: Sequence[str] = (),
    ) -> DirectoryTarget:
        """Begins a file, in a folder that is made when it is missing."""
        if stored:
            raise FileError("unsupported", "a plain directory takes no containers")
        if self._syncing is None:
            # Before the first byte is written: it tells of what goes wrong from then on.
            self._syncing = FileSystem(self.root)
        try:
            return DirectoryTarget(self, path, attributes, part, earlier)
        except FileNotFoundError:
            self.make_folder(split(path)[0])
            return DirectoryTarget(self, path, attributes, part)

    def settle(self, targets: Sequence[Target]) -> None:
        """One syncfs for many files."""
        if self._syncing is None or len(targets) < _MANY or not self._syncing.sync():
            return
        for target in targets:
            if isinstance(target, DirectoryTarget):
                target.settled(self._syncing.device)

    def clear_part(self, path: str, part: str, *, resumes: bool) -> None:
        """Removes the leftover of an attempt; a large one is kept for who goes on with it."""
        folder = split(path)[0]
        name = f"{folder}/{part_name(part)}" if folder else part_name(part)
        with suppress(FileNotFoundError):
            if resumes and self.root.stat(name).st_size >= RESUMABLE:
                return
            self.root.unlink(name)

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
