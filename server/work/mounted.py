"""Storages on a PixFS mount.

Names, attributes and plain bytes go through the mount. Containers go from and to the backing
directory as they are stored, when this process may reach it; conversions are asked for by the
``user.pixfs.state`` attribute.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

import codec
from pixfs.fuse.mountinfo import mount_of
from pixfs.transfer.attributes import read_attributes, set_attributes
from pixfs.transfer.partial import Partial
from pixfs.transfer.places import backing_of
from pixfs.transfer.stored import StoredFiles, check_container, open_container
from pixfs.volume import backing
from server.work.beneath import split
from server.work.directory import RESUMABLE, Directory, DirectorySource, DirectoryTarget
from server.work.errors import FileError, StorageError, file_error
from server.work.storage import Finding, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pixfs.transfer.attributes import Attributes
    from pixfs.transfer.stored import StoredFile
    from server.core.access import Reach
    from server.work.storage import Entry

log = logging.getLogger(__name__)

_STATE = "user.pixfs.state"
_REASON = "user.pixfs.reason"
_HASH = "user.pixfs.hash"
_VERIFY, _HASH = "user.pixfs.verify", "user.pixfs.hash"


class ContainerSource(Source):
    """A file read as the container it is kept in."""

    is_stored = True

    def __init__(self, stored: StoredFile, entry: Entry, attributes: Attributes) -> None:
        self.entry = entry
        self.attributes = attributes
        self.size = stored.size
        self.original = stored.original_hash
        self._stored = stored
        self._offset = 0

    def read(self, size: int) -> bytes:
        """The next stored bytes."""
        data = self._stored.pread(size, self._offset)
        self._offset += len(data)
        return data

    def check(self) -> None:
        """FileError when the container was written to under our hands, or is damaged."""
        if not self._stored.is_unchanged():
            raise FileError("changed", "it changed while it was read", is_transient=True)
        try:
            check_container(self._stored.fd)
        except codec.CodecError as error:
            raise FileError("damaged", f"the stored container is damaged: {error}") from error

    def close(self) -> None:
        """Closes the container."""
        self._stored.close()


class ContainerTarget:
    """A container on its way into the backing directory."""

    def __init__(
        self,
        storage: PixfsMount,
        path: str,
        attributes: Attributes,
        part: str,
        earlier: Sequence[str] = (),
    ) -> None:
        self.path = path
        self._attributes = attributes
        self._storage = storage
        self._original = ""
        incoming, name = storage.stored.incoming_fd, _incoming_name(part)
        names = [_incoming_name(each) for each in earlier]
        adopted = Partial.adopt(incoming, name, names, RESUMABLE)
        self._partial = adopted or Partial.create(incoming, name)
        # What lies there unlocked is anybody's to remove.
        self._partial.lock()

    def holds(self, data: bytes) -> bool:
        """Compares with what an earlier attempt has left."""
        return self._partial.holds(data)

    def write(self, data: bytes) -> None:
        """Appends."""
        self._partial.write(data)

    def written(self) -> None:
        """The backing writes when ``finish`` asks it to."""

    def prepare(self) -> None:
        """The length, and the attributes."""
        self._partial.cut()
        set_attributes(self._partial.fd, self._attributes)

    def fetch(self) -> None:
        """It is read back when it is durable, one by one."""

    def finish(self) -> None:
        """fsync, and a look whether it opens as a container."""
        self._partial.sync()
        try:
            self._original = open_container(self._partial.fd).hash
        except codec.CodecError as error:
            raise FileError("damaged", f"the container is not sound: {error}") from error

    def digest(self, check: Callable[[], None]) -> str:
        """Of the stored bytes, read back past the page cache."""
        return self._partial.digest(check)

    def commit(self, *, replace: bool) -> None:
        """Renames into the backing directory, and sees that the mount shows that file; one that
        replaces another it shows a second later, when the kernel asks for the name again."""
        names = self._storage.stored_names(self.path)
        self._storage.stored.place(self._partial, names, replace=replace)
        self._partial.close()
        if not replace and self._storage.shown_hash(self.path) != self._original:
            raise FileError("verify-failed", "the mount does not show the file that was placed")

    def keep(self) -> bool:
        """Leaves a large container in the hidden area."""
        if self._partial.is_named and self._partial.size >= RESUMABLE:
            self._partial.close()
            return True
        self.abandon()
        return False

    def abandon(self) -> bool:
        """Removes what has not been committed."""
        if not self._partial.is_open:
            return True
        is_gone = self._partial.discard()
        self._partial.close()
        return is_gone


class PixfsMount(Directory):
    """A folder of a PixFS mount as a storage."""

    def __init__(
        self, path: str, *, backing: str | None = None, reach: Reach | None = None
    ) -> None:
        """Opens the folder, and the backing directory where that is allowed.

        ``backing`` names the backing directory as this process sees it; by default the mount is
        asked. StorageError when the path is on no PixFS mount.
        """
        real = os.path.realpath(path)
        mount = mount_of(real)
        if mount is None or not mount.is_pixfs:
            reason = "the storage's folder is not on a PixFS mount: is it mounted?"
            raise StorageError(reason, root=path)
        super().__init__(real, reach)
        try:
            self._prefix = _names(os.path.relpath(real, mount.mountpoint))
            self._stored = _reach(mount.mountpoint, backing)
        except BaseException:
            self.root.close()
            raise

    @property
    def takes_containers(self) -> bool:
        """Whether the backing directory can be reached, and written to."""
        if self._stored is None:
            return False
        try:
            _ = self._stored.incoming_fd
        except OSError as error:
            log.debug("nothing is stored behind the mount: %s", error)
            return False
        return True

    @property
    def stored(self) -> StoredFiles:
        """The backing directory's containers. FileError when it is out of reach."""
        if self._stored is None:
            raise FileError("unsupported", "the mount's backing directory cannot be reached")
        return self._stored

    def stored_names(self, path: str) -> list[bytes]:
        """A path's names below the backing directory."""
        return [*self._prefix, *_names(path)]

    def shown_hash(self, path: str) -> str:
        """The original's hash as the mount shows it; "" where it shows none."""
        fd = self.root.open(path, os.O_RDONLY)
        try:
            return os.getxattr(fd, _HASH).decode()
        except OSError as error:
            if error.errno != errno.ENODATA:
                raise
            return ""
        finally:
            os.close(fd)

    def close(self) -> None:
        """Closes the folder and the backing directory."""
        if self._stored is not None:
            self._stored.close()
        super().close()

    def _version(self, st: os.stat_result) -> str:
        # A conversion changes inode number and ctime, and no byte of the file.
        return ""

    def open(self, path: str, *, stored: bool) -> DirectorySource | ContainerSource:  # type: ignore[override]
        """Opens a regular file, as its container if that is wanted and there is one."""
        if stored and self._stored is not None:
            container = self._open_container(path)
            if container is not None:
                return container
        return super().open(path, stored=False)

    def _open_container(self, path: str) -> ContainerSource | None:
        """The container behind a path, if the path leads to one without links."""
        fd = self.root.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            st = os.fstat(fd)
            if not stat.S_ISREG(st.st_mode):
                raise FileError("not-a-file", "it is no regular file")
            attributes = read_attributes(fd, st)
        finally:
            os.close(fd)
        try:
            found = self.stored.open(self.stored_names(path))
        except OSError as error:
            # A link in the path, or the backing as this process sees it is another's.
            log.debug("not read as stored: %s", error)
            return None
        if found is None:
            return None
        if (found.original_length, found.st.st_mtime_ns) != (st.st_size, st.st_mtime_ns):
            found.close()
            return None
        return ContainerSource(found, self.entry_of(path, st), attributes)

    def create(  # type: ignore[override]
        self,
        path: str,
        attributes: Attributes,
        *,
        part: str,
        stored: bool,
        earlier: Sequence[str] = (),
    ) -> DirectoryTarget | ContainerTarget:
        """Begins a file; a container goes into the backing directory."""
        if not stored:
            return super().create(path, attributes, part=part, stored=False, earlier=earlier)
        for each in earlier:
            # Bytes of the file itself are of no use to a container.
            super().clear_part(path, each, resumes=False)
        self.make_folder(split(path)[0])
        return ContainerTarget(self, path, attributes, part, earlier)

    def clear_part(self, path: str, part: str, *, resumes: bool) -> None:
        """Removes the leftover of an attempt, from the hidden area, too."""
        super().clear_part(path, part, resumes=resumes)
        if self._stored is None or not self.takes_containers:
            return
        with suppress(FileNotFoundError):
            incoming, name = self._stored.incoming_fd, _incoming_name(part)
            if not resumes or backing.stat_at(incoming, name).st_size < RESUMABLE:
                backing.unlink(incoming, name)

    def set_state(self, path: str, state: Literal["compressed", "raw"]) -> str:
        """Converts; the file's state after it."""
        fd = self.root.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            try:
                os.setxattr(fd, _STATE, state.encode())
            except OSError as error:
                raise _conversion_error(fd, error) from error
            return os.getxattr(fd, _STATE).decode()
        finally:
            os.close(fd)

    def find_damage(self, path: str) -> Finding:
        """Has the mount check every checksum of the file."""
        fd = self.root.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            found = _told(fd, _VERIFY)
            has_hash = bool(_told(fd, _HASH))
        finally:
            os.close(fd)
        if not found:
            return super().find_damage(path)
        if found != "ok":
            return Finding(tuple(found.splitlines()))
        # A raw file can be read to its end, and that is all that the mount knows of it.
        return Finding(is_proven=has_hash)


def _told(fd: int, name: str) -> str:
    """What the mount says of a file; "" when it says nothing."""
    try:
        return os.getxattr(fd, name).decode()
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
        return ""


def _incoming_name(part: str) -> bytes:
    return b"job-" + os.fsencode(part)


def _names(path: str) -> list[bytes]:
    return [os.fsencode(name) for name in path.split("/") if name not in ("", ".")]


def _reach(mountpoint: str, backing: str | None) -> StoredFiles | None:
    """The backing directory, None when we are not told where it is or may not go there."""
    root = backing_of(mountpoint, backing)
    if root is None:
        return None
    try:
        return StoredFiles(root)
    except OSError as error:
        log.debug("a mount's backing directory is out of reach: %s", error)
        return None


def _conversion_error(fd: int, error: OSError) -> FileError:
    if error.errno == errno.EBUSY:
        try:
            reason = os.getxattr(fd, _REASON).decode() or "in use"
        except OSError:
            reason = "in use"
        return FileError("busy", f"it cannot be converted now: {reason}", is_transient=True)
    if error.errno == errno.EPERM:
        return FileError("permission", "only the file's owner or root may convert it")
    return file_error(error)
