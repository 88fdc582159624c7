"""Names resolved beneath one directory, whoever plants links in it meanwhile.

Every path is resolved by openat2(2) with RESOLVE_BENEATH and RESOLVE_NO_MAGICLINKS: the kernel
itself refuses ``..``, absolute links and links that lead out, also while somebody exchanges
folders for links. What is done to a name is then done relative to the descriptor of its folder
and never follows a link.

A link that stays within the root may still lead from a folder somebody is allowed to one that is
not theirs. For them every descriptor is asked where it really is before it is used.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pixfs.transfer.partial import rename
from server.core.values import PathProblem, clean_path
from server.work.errors import FileError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.core.access import Reach

__all__ = ["Root", "normalise", "rename_at", "split"]

# One number on every architecture that got the call after the tables were unified.
_SYS_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_BENEATH = 0x08
_RESOLVE = _RESOLVE_NO_MAGICLINKS | _RESOLVE_BENEATH
_OPEN_HOW = struct.Struct("=QQQ")
# The kernel gives up with EAGAIN when something above was renamed while it looked.
_ATTEMPTS = 64

_libc = ctypes.CDLL(None, use_errno=True)


def normalise(path: str) -> str:
    """A path below a root in its one spelling. FileError ("bad-path") for what is none."""
    try:
        return clean_path(path)
    except PathProblem as problem:
        raise FileError("bad-path", str(problem)) from None


def split(path: str) -> tuple[str, str]:
    """(folder, name) of a normalised path."""
    folder, _, name = path.rpartition("/")
    return folder, name


class Root:
    """A directory below which paths are resolved; close it at the end.

    Paths are normalised text; bytes that are no UTF-8 are surrogate escapes. Any thread may
    call; calls block and raise OSError, EXDEV for a path that leads out, and FileError
    ("outside") for one whose links lead out of ``reach``.
    """

    def __init__(self, path: str, reach: Reach | None = None) -> None:
        """Opens the directory. ``reach`` are the folders that may be worked in, None for all;
        that paths themselves lie in it is for the caller to have checked. Raises StorageError.
        """
        try:
            self.fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            reason = f"the storage cannot be opened: {error.strerror}"
            raise StorageError(reason, root=path) from error
        self.path = path
        self._reach = reach

    def close(self) -> None:
        """Closes the directory."""
        os.close(self.fd)

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        """A descriptor of what is at ``path``; a link as its last component is not followed."""
        return self._within_reach(self._open(path, flags, mode), path)

    def real_path(self, folder: str) -> str:
        """Where a folder is in the whole file system, in reach or not, links followed."""
        # With a dot behind it a link that is the last name is followed, too.
        fd = self._open(f"{folder}/." if folder else "", os.O_PATH | os.O_DIRECTORY)
        try:
            return os.readlink(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)

    def _open(self, path: str, flags: int, mode: int = 0) -> int:
        flags |= os.O_CLOEXEC | os.O_NOFOLLOW
        how = _OPEN_HOW.pack(flags, mode if flags & os.O_CREAT else 0, _RESOLVE)
        name = os.fsencode(path or ".")
        for _ in range(_ATTEMPTS):
            fd = _libc.syscall(_SYS_OPENAT2, self.fd, name, how, ctypes.c_size_t(len(how)))
            if fd >= 0:
                return int(fd)
            code = ctypes.get_errno()
            if code == errno.ENOSYS:
                raise StorageError(f"Linux {platform.release()} has no openat2(2)")
            if code not in (errno.EAGAIN, errno.EINTR):
                raise OSError(code, os.strerror(code))
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    def _within_reach(self, fd: int, path: str) -> int:
        """The descriptor, if it is not of something that only a link made part of the reach."""
        if self._reach is None:
            return fd
        try:
            if not self._reach.takes(path, self._location(fd)):
                raise FileError("outside", "a link in its path leads out of the folders allowed")
        except BaseException:
            os.close(fd)
            raise
        return fd

    def reaches(self, fd: int) -> bool:
        """Whether whatever stands in an open folder, links apart, lies within reach."""
        return self._reach is None or self._reach.includes(self._location(fd))

    def _location(self, fd: int) -> str:
        """Where an open file is below the root, whatever path it was opened by."""
        root, real = (os.readlink(f"/proc/self/fd/{each}") for each in (self.fd, fd))
        if real == root:
            return ""
        if not real.startswith(root + "/"):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return real[len(root) + 1 :]

    @contextmanager
    def folder(self, path: str) -> Iterator[int]:
        """A descriptor of a folder, for calls that take a name in it."""
        fd = self.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield fd
        finally:
            os.close(fd)

    def stat(self, path: str) -> os.stat_result:
        """Attributes of what is at ``path``, a link's own."""
        fd = self.open(path, os.O_PATH)
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)

    def read_link(self, path: str) -> str:
        """A symbolic link's target."""
        folder, name = split(path)
        with self.folder(folder) as fd:
            return os.readlink(name, dir_fd=fd)

    def make_folders(self, path: str, mode: int = 0o777) -> list[str]:
        """Makes a folder and those above it; those that were made, outermost first."""
        made = []
        missing = []
        current = path
        while current:
            try:
                os.close(self.open(current, os.O_PATH | os.O_DIRECTORY))
                break
            except FileNotFoundError:
                missing.append(current)
                current = split(current)[0]
        for folder in reversed(missing):
            parent, name = split(folder)
            with self.folder(parent) as fd:
                try:
                    os.mkdir(name, mode, dir_fd=fd)
                    made.append(folder)
                except FileExistsError:
                    # Another batch was quicker; what it made is looked at by the next open.
                    pass
                os.fsync(fd)
        return made

    def unlink(self, path: str) -> None:
        """Removes a name that is no folder's."""
        folder, name = split(path)
        with self.folder(folder) as fd:
            os.unlink(name, dir_fd=fd)

    def remove_folder(self, path: str) -> None:
        """Removes an empty folder."""
        folder, name = split(path)
        with self.folder(folder) as fd:
            os.rmdir(name, dir_fd=fd)

    def rename(self, source: str, target: str, *, replace: bool) -> None:
        """Renames within the root; EEXIST without ``replace`` when the target is there."""
        from_folder, from_name = split(source)
        to_folder, to_name = split(target)
        with self.folder(from_folder) as from_fd, self.folder(to_folder) as to_fd:
            rename_at(from_fd, from_name, to_fd, to_name, replace=replace)

    def sync_folder(self, path: str) -> None:
        """Makes the names in a folder durable."""
        with self.folder(path) as fd:
            os.fsync(fd)


def rename_at(from_fd: int, from_name: str, to_fd: int, to_name: str, *, replace: bool) -> None:
    """`pixfs.transfer.partial.rename` of names in text."""
    rename(from_fd, os.fsencode(from_name), to_fd, os.fsencode(to_name), replace=replace)
