"""Storages that are directories of this machine: local disks, NAS mounts, PixFS mounts.

Bytes land under a hidden name in their own folder, are fsynced, may be read back past the page
cache, and only then take their name; the caller syncs the folders of a whole batch at once.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pixfs.transfer.attributes import read_attributes, set_attributes
from pixfs.transfer.partial import Partial
from pixfs.volume.descriptors import Descriptor
from server.work.beneath import Root, rename_at, split
from server.work.errors import FileError
from server.work.filesystem import FileSystem
from server.work.storage import Entry, Finding, Kind, Source, is_part, part_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pixfs.transfer.attributes import Attributes
    from server.core.access import Reach
    from server.work.storage import Target

CHUNK = 1 << 20
# So much of a file is worth comparing, rather than writing it once more.
RESUMABLE = 64 << 20
# For fewer files than this each is synced by itself.
_MANY = 8
_SYNC_FILE_RANGE_WRITE = 2
_libc = ctypes.CDLL(None, use_errno=True)


def kind_of(mode: int) -> Kind:
    """What a mode says a name is."""
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "folder"
    return "link" if stat.S_ISLNK(mode) else "other"


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that is open for as long as somebody refers to it.

    Attributes:
        device: its file system's number, as in st_dev.
        is_reached: whatever stands in it, links apart, may be used.
    """

    path: str
    fd: Descriptor
    device: int
    is_reached: bool


class DirectorySource(Source):
    """A regular file open for reading."""

    is_stored = False
    original = ""

    def __init__(self, fd: int, entry: Entry, attributes: Attributes, storage: Directory) -> None:
        self.entry = entry
        self.attributes = attributes
        self.size = entry.size
        self._fd = fd
        self._left = entry.size
        self._storage = storage
        if entry.size > CHUNK:
            with suppress(OSError):
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)

    def read(self, size: int) -> bytes:
        """The next bytes, up to the size the file had when it was opened."""
        data = os.read(self._fd, min(size, self._left)) if self._left else b""
        self._left -= len(data)
        return data

    def check(self) -> None:
        """FileError unless size, mtime and, where it means something, ctime are as before."""
        now = self._storage.entry_of(self.entry.path, os.fstat(self._fd))
        if not now.is_same_as(self.entry):
            raise FileError("changed", "it changed while it was read", is_transient=True)

    def close(self) -> None:
        """Closes the file."""
        os.close(self._fd)


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
        folder, self._name = split(path)
        self._storage = storage
        self._folder = storage.folder(folder)
        name = os.fsencode(part_name(part))
        adopted = None
        if earlier:
            names = [os.fsencode(part_name(each)) for each in earlier]
            adopted = Partial.adopt(self._folder.fd, name, names, RESUMABLE)
        self._partial = adopted or Partial.create(self._folder.fd, name)
        self._is_locked = adopted is not None
        self._is_prepared = self._is_durable = self._is_fetched = False

    def holds(self, data: bytes) -> bool:
        """Compares with what an earlier attempt has left."""
        return self._partial.holds(data)

    def write(self, data: bytes) -> None:
        """Appends."""
        self._partial.write(data)
        if self._partial.offset >= RESUMABLE and not self._is_locked:
            # The next attempt, should we be cut off, sees that we still write to this file.
            self._is_locked = True
            self._partial.lock()

    def written(self) -> None:
        """Lets the storage begin to write, so that the fsync of many files waits but once. One
        call for each small file costs more than it brings where a single one makes all durable."""
        if self._partial.offset < CHUNK and self._storage.can_settle:
            return
        _libc.sync_file_range(
            self._partial.fd,
            ctypes.c_int64(0),
            ctypes.c_int64(0),
            ctypes.c_uint(_SYNC_FILE_RANGE_WRITE),
        )

    def prepare(self) -> None:
        """The length, where an earlier attempt had gone further, and the attributes."""
        if self._is_prepared:
            return
        self._partial.cut()
        # What could not be set, such as an owner, is left: it is not the bytes.
        set_attributes(self._partial.fd, self._attributes)
        self._is_prepared = True

    def settled(self) -> None:
        """The file system has been synced as a whole since ``prepare``."""
        self._is_durable = self._is_prepared and self._folder.device == self._storage.device

    def fetch(self) -> None:
        """Begins to read back; only what is durable can be dropped from memory before."""
        if self._is_durable:
            self._partial.fetch()
            self._is_fetched = True

    def finish(self) -> None:
        """Attributes, then fsync."""
        self.prepare()
        if not self._is_durable:
            self._partial.sync()

    def digest(self, check: Callable[[], None]) -> str:
        """Reads back past the page cache."""
        return self._partial.digest(check, is_fetched=self._is_fetched)

    def commit(self, *, replace: bool) -> None:
        """Renames; the folder still has to be synced."""
        self._partial.place(self._folder.fd, os.fsencode(self._name), replace=replace)
        self._partial.close()

    def keep(self) -> bool:
        """Leaves a large file under its hidden name."""
        if self._partial.is_named and self._partial.size >= RESUMABLE:
            self._partial.close()
            return True
        self.abandon()
        return False

    def abandon(self) -> bool:
        """Removes what has not been committed and closes."""
        if not self._partial.is_open:
            return True
        is_gone = self._partial.discard()
        self._partial.close()
        return is_gone


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
        self.made: list[str] = []
        self._syncing: FileSystem | None = None
        self._last: Folder | None = None

    def folder(self, path: str) -> Folder:
        """A folder, open; the same one to those who ask for it one after another, until the next
        `sync`: the frames of a shot."""
        if self._last is None or self._last.path != path:
            fd = Descriptor(self.root.open(path, os.O_RDONLY | os.O_DIRECTORY))
            self._last = Folder(path, fd, os.fstat(fd).st_dev, self.root.reaches(fd))
        return self._last

    def _folder_of(self, path: str) -> tuple[Folder | None, str]:
        """The folder of a name, and the name; None where the path has to be resolved as a whole:
        a link leads there, or not all that stands in the folder may be used."""
        folder, name = split(path)
        if name:
            with suppress(OSError, FileError):
                found = self.folder(folder)
                if found.is_reached:
                    return found, name
        return None, path

    def close(self) -> None:
        """Closes the directory."""
        self._last = None
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
            st.st_ctime_ns,
        )

    def _version(self, st: os.stat_result) -> str:
        return f"{st.st_ino:x}-{st.st_ctime_ns:x}"

    def stat(self, path: str) -> Entry:
        """The entry of a path."""
        folder, name = self._folder_of(path)
        if folder is None:
            return self.entry_of(path, self.root.stat(path))
        return self.entry_of(path, os.stat(name, dir_fd=folder.fd, follow_symlinks=False))

    def location(self, folder: str) -> str:
        """The folder's absolute path without links."""
        return self.root.real_path(folder)

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
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
        folder, name = self._folder_of(path)
        if folder is None:
            fd = self.root.open(path, flags)
        else:
            fd = os.open(name, flags, dir_fd=folder.fd)
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
            # It may have been removed since it was opened.
            self._last = None
            self.make_folder(split(path)[0])
            return DirectoryTarget(self, path, attributes, part)

    @property
    def can_settle(self) -> bool:
        """Whether `settle` may make many files durable at once."""
        return self._syncing is not None and self._syncing.is_usable

    @property
    def device(self) -> int:
        """What `settle` syncs, as in st_dev; -1 for nothing."""
        return -1 if self._syncing is None else self._syncing.device

    def settle(self, targets: Sequence[Target]) -> None:
        """One syncfs for many files."""
        if self._syncing is None or len(targets) < _MANY or not self._syncing.sync():
            return
        for target in targets:
            if isinstance(target, DirectoryTarget):
                target.settled()

    def clear_part(self, path: str, part: str, *, resumes: bool) -> None:
        """Removes the leftover of an attempt; a large one is kept for who goes on with it."""
        folder = split(path)[0]
        name = f"{folder}/{part_name(part)}" if folder else part_name(part)
        # Where the folder is none, a link for instance, nothing has been left.
        with suppress(FileNotFoundError, NotADirectoryError):
            if resumes and self.root.stat(name).st_size >= RESUMABLE:
                return
            self.root.unlink(name)

    def missing(self, folders: Iterable[str]) -> list[str]:
        """Those that are not there."""
        is_there: dict[str, bool] = {"": True}
        for folder in folders:
            current = folder
            while current not in is_there:
                is_there[current] = self._is_there(current)
                current = split(current)[0]
        return sorted(path for path, found in is_there.items() if not found)

    def _is_there(self, path: str) -> bool:
        try:
            self.root.stat(path)
        except FileNotFoundError:
            return False
        except (OSError, FileError):
            # What is wrong with it is said of each file that goes there.
            pass
        return True

    def make_folder(self, path: str) -> None:
        """Makes a folder."""
        self.made += self.root.make_folders(path)

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
        self._last = None
        for folder in folders:
            self.root.sync_folder(folder)

    def set_state(self, path: str, state: Literal["compressed", "raw"]) -> str:
        """A plain directory cannot."""
        raise FileError("unsupported", "only files on a PixFS mount can be compressed in place")

    def find_damage(self, path: str) -> Finding:
        """Reads the whole file: what can be said of a file without checksums."""
        with self.open(path, stored=False) as source:
            while source.read(CHUNK):
                pass
        return Finding(is_proven=False)
