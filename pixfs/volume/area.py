"""The hidden area of the backing directory: temporaries, and what recovery would not delete.

    .pixfs/                 0700, on the backing root; invisible through the volume
        lock                held while a volume starts, so that two do not clean at once
        names               its bytes are locked while a volume changes names in a directory
        tmp/<volume>/       one directory for each running volume
            lock            held as long as that volume runs
            new-<n>         a temporary that has just been created
            t-<old>-<own>-<n>   a temporary that is to change places with inode <old> and is
                            itself inode <own> (hexadecimal)
            redo-<n>.data, redo-<n>.target   a rewrite in place that is under way
        incoming/           files on their way from another volume (`pixfs.transfer`)
        lost+found/         leftovers that are neither of the two, moved here at start

The names carry both inodes because after a crash they alone tell a temporary that never took
its place from an original that has been replaced, and both from somebody else's file.
"""

from __future__ import annotations

import errno
import itertools
import logging
import os
import secrets
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from pixfs.volume import backing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pixfs.volume.attributes import Key

HIDDEN = b".pixfs"
TMP = b"tmp"
LOCK = b"lock"
NAMES = b"names"
LOST_FOUND = b"lost+found"
INCOMING = b"incoming"
REDO_DATA, REDO_TARGET = b".data", b".target"

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


log = logging.getLogger(__name__)


class Temp:
    """A temporary file: owns its descriptor and, until it is placed, its name."""

    def __init__(self, area: Area, fd: int, name: bytes) -> None:
        self.area = area
        self.fd = fd
        self.name = name
        self._named = True

    @property
    def is_named(self) -> bool:
        """Whether the name in the area still has to be removed."""
        return self._named

    @property
    def dir_fd(self) -> int:
        return self.area.fd

    def open_path(self) -> int:
        """O_PATH descriptor of the temporary."""
        return backing.open_path(self.area.fd, self.name)

    def rename(self, name: bytes) -> None:
        """Gives the temporary another name in the area."""
        backing.rename(self.area.fd, self.name, self.area.fd, name)
        self.name = name

    def placed(self) -> None:
        """The name in the area no longer belongs to the temporary."""
        self._named = False

    def unlink(self) -> None:
        """Removes the name; the descriptor stays."""
        backing.unlink(self.area.fd, self.name)
        self._named = False

    def close(self) -> None:
        """Closes, and removes the temporary if it has not been placed. Never raises: what
        cannot be removed now is a leftover for the next start."""
        try:
            if self._named:
                self.unlink()
        except OSError as error:
            log.warning("a temporary stays in the hidden area until the next start: %s", error)
        finally:
            backing.close(self.fd)


class Area:
    """This volume's own directory of temporaries; one owner, closed with the volume."""

    def __init__(self, root_fd: int) -> None:
        """Creates the area and locks it. Raises OSError (EROFS, EACCES, ENOSPC ...)."""
        self._numbers = itertools.count(1)
        self.hidden_fd = open_or_make(root_fd, HIDDEN)
        try:
            _keep_private(self.hidden_fd)
            self.tmp_fd = open_or_make(self.hidden_fd, TMP)
            try:
                self.names_fd = backing.open_lockfile(self.hidden_fd, NAMES)
                try:
                    with self.starting():
                        self._make_own()
                except OSError:
                    backing.close(self.names_fd)
                    raise
            except OSError:
                backing.close(self.tmp_fd)
                raise
        except OSError:
            backing.close(self.hidden_fd)
            raise

    def _make_own(self) -> None:
        self.name = b"%d-%s" % (os.getpid(), secrets.token_hex(6).encode())
        backing.mkdir(self.tmp_fd, self.name, 0o700)
        self.fd = backing.open_directory(self.tmp_fd, self.name)
        try:
            self.dev = backing.fstat(self.fd).st_dev
            self._lock_fd = backing.open_lockfile(self.fd, LOCK)
            try:
                backing.try_lock(self._lock_fd, exclusive=True)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    backing.close(self._lock_fd)
                    raise
        except OSError:
            backing.close(self.fd)
            raise

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Held while a volume makes or removes its directory and while leftovers are cleared,
        so that none is taken for dead in between. Holds nothing without locks on the storage."""
        fd = backing.open_lockfile(self.hidden_fd, LOCK)
        try:
            try:
                backing.lock(fd)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
            yield
        finally:
            backing.close(fd)

    def create(self, old: Key) -> Temp:
        """A new empty temporary, mode 0600, that is to take the place of ``old``."""
        number = next(self._numbers)
        name = b"new-%d" % number
        fd = backing.create(self.fd, name)
        temp = Temp(self, fd, name)
        try:
            own = backing.fstat(fd).st_ino
            temp.rename(b"t-%x-%x-%d" % (old.ino, own, number))
        except OSError:
            temp.close()
            raise
        return temp

    def redo_names(self) -> tuple[bytes, bytes]:
        """(data, target) names for one rewrite in place."""
        number = next(self._numbers)
        return b"redo-%d" % number + REDO_DATA, b"redo-%d" % number + REDO_TARGET

    def has_company(self) -> bool:
        """Whether other volumes have a directory here: running ones, and dead ones that nobody
        has cleared away yet."""
        return any(name != self.name for name in backing.list_directory(self.tmp_fd))

    def is_rewritten_elsewhere(self, key: Key) -> bool:
        """Whether another volume, running or dead, has a redo record of this inode."""
        return any(
            self._has_record(name, key)
            for name in backing.list_directory(self.tmp_fd)
            if name != self.name
        )

    def _has_record(self, volume: bytes, key: Key) -> bool:
        # Whatever goes away meanwhile is no record any more.
        with suppress(FileNotFoundError, NotADirectoryError):
            fd = backing.open_directory(self.tmp_fd, volume)
            try:
                for name in backing.list_directory(fd):
                    if not name.endswith(REDO_TARGET):
                        continue
                    with suppress(FileNotFoundError):
                        if backing.stat_at(fd, name).st_ino == key.ino:
                            return True
            finally:
                backing.close(fd)
        return False

    def sync(self) -> None:
        """Makes the names in the area durable."""
        backing.fsync(self.fd)

    def close(self) -> None:
        """Removes the directory if nothing is left in it, and gives back its lock."""
        try:
            with self.starting():
                if backing.list_directory(self.fd) == [LOCK]:
                    backing.unlink(self.fd, LOCK)
                    backing.rmdir(self.tmp_fd, self.name)
        finally:
            for fd in (self._lock_fd, self.fd, self.names_fd, self.tmp_fd, self.hidden_fd):
                backing.close(fd)


def _keep_private(fd: int) -> None:
    """Refuses (EPERM) an area that somebody else has laid out; nobody else may look inside."""
    st = backing.fstat(fd)
    if st.st_uid != os.geteuid():
        raise OSError(errno.EPERM, "the hidden area .pixfs belongs to another user")
    if stat.S_IMODE(st.st_mode) != 0o700:
        backing.chmod(fd, 0o700)


def open_or_make(dir_fd: int, name: bytes) -> int:
    """Descriptor of a directory, created with mode 0700 if it is not there."""
    try:
        return backing.open_directory(dir_fd, name)
    except FileNotFoundError:
        pass
    # Another volume on the same directory may be quicker.
    with suppress(FileExistsError):
        backing.mkdir(dir_fd, name, 0o700)
    return backing.open_directory(dir_fd, name)
