"""What the worker works on: a mount, or a volume without one, which is many times faster."""

from __future__ import annotations

import itertools
import mmap
import os
from typing import TYPE_CHECKING, Protocol

from tests.t2_volume.user import ROOT, User, read_all

if TYPE_CHECKING:
    from pathlib import Path

    from pixfs.volume import Handle


class System(Protocol):
    """Files of one directory; everything raises OSError as the system call would."""

    def open(self, name: str, flags: int) -> int: ...
    def close(self, fd: int) -> None: ...
    def pread(self, fd: int, size: int, offset: int) -> bytes: ...
    def pwrite(self, fd: int, data: bytes, offset: int) -> int: ...
    def truncate(self, fd: int, size: int) -> None: ...
    def map_read(self, fd: int, size: int) -> bytes: ...
    def map_write(self, fd: int, size: int, offset: int, data: bytes, flush: bool) -> None: ...
    def forget_pages(self, fd: int) -> None: ...
    def sync(self, fd: int, datasync: bool) -> None: ...
    def size_and_links(self, fd: int) -> tuple[int, int]: ...
    def rename(self, old: str, new: str) -> None: ...
    def link(self, old: str, new: str) -> None: ...
    def unlink(self, name: str) -> None: ...
    def names(self) -> list[str]: ...
    def read_all(self, name: str) -> bytes: ...
    def get_xattr(self, name: str, key: str) -> bytes: ...
    def set_xattr(self, name: str, key: str, value: bytes) -> None: ...
    def remove_xattr(self, name: str, key: str) -> None: ...


class MountSystem:
    """A directory of a mount, by system calls."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def open(self, name: str, flags: int) -> int:
        return os.open(self._directory / name, flags, 0o644)

    def close(self, fd: int) -> None:
        os.close(fd)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        return os.pread(fd, size, offset)

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        return os.pwrite(fd, data, offset)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def map_read(self, fd: int, size: int) -> bytes:
        with mmap.mmap(fd, size, prot=mmap.PROT_READ) as pages:
            return pages[:]

    def map_write(self, fd: int, size: int, offset: int, data: bytes, flush: bool) -> None:
        with mmap.mmap(fd, size) as pages:
            pages[offset : offset + len(data)] = data
            if flush:
                pages.flush()

    def forget_pages(self, fd: int) -> None:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def sync(self, fd: int, datasync: bool) -> None:
        (os.fdatasync if datasync else os.fsync)(fd)

    def size_and_links(self, fd: int) -> tuple[int, int]:
        st = os.fstat(fd)
        return st.st_size, st.st_nlink

    def rename(self, old: str, new: str) -> None:
        os.rename(self._directory / old, self._directory / new)

    def link(self, old: str, new: str) -> None:
        os.link(self._directory / old, self._directory / new)

    def unlink(self, name: str) -> None:
        os.unlink(self._directory / name)

    def names(self) -> list[str]:
        return os.listdir(self._directory)

    def read_all(self, name: str) -> bytes:
        return (self._directory / name).read_bytes()

    def get_xattr(self, name: str, key: str) -> bytes:
        return os.getxattr(self._directory / name, key)

    def set_xattr(self, name: str, key: str, value: bytes) -> None:
        os.setxattr(self._directory / name, key, value)

    def remove_xattr(self, name: str, key: str) -> None:
        os.removexattr(self._directory / name, key)


class VolumeSystem:
    """A volume's root, by its own calls; mapping is reading and writing, and there are no pages."""

    def __init__(self, user: User) -> None:
        self._user = user
        self._handles: dict[int, Handle] = {}
        self._numbers = itertools.count(1)

    def open(self, name: str, flags: int) -> int:
        fd = next(self._numbers)
        self._handles[fd] = self._user.open(name, flags)
        return fd

    def close(self, fd: int) -> None:
        self._handles.pop(fd).release()

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        return bytes(self._handles[fd].read(offset, size))

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        return self._handles[fd].write(offset, data)

    def truncate(self, fd: int, size: int) -> None:
        self._handles[fd].truncate(size)

    def map_read(self, fd: int, size: int) -> bytes:
        return read_all(self._handles[fd], 4096)[:size]

    def map_write(self, fd: int, size: int, offset: int, data: bytes, flush: bool) -> None:
        self._handles[fd].write(offset, data)

    def forget_pages(self, fd: int) -> None:
        """There are none."""

    def sync(self, fd: int, datasync: bool) -> None:
        self._handles[fd].fsync(datasync)

    def size_and_links(self, fd: int) -> tuple[int, int]:
        found = self._user.volume.stat(self._handles[fd].node)
        return found.size, found.nlink

    def rename(self, old: str, new: str) -> None:
        self._user.rename(old, new)

    def link(self, old: str, new: str) -> None:
        self._user.link(old, new)

    def unlink(self, name: str) -> None:
        self._user.unlink(name)

    def names(self) -> list[str]:
        return [name.decode() for name in self._user.names()]

    def read_all(self, name: str) -> bytes:
        return self._user.read(name)

    def get_xattr(self, name: str, key: str) -> bytes:
        node = self._user.node(name)
        try:
            return self._user.volume.getxattr(node, key.encode(), ROOT)
        finally:
            self._user.give_back(node)

    def set_xattr(self, name: str, key: str, value: bytes) -> None:
        node = self._user.node(name)
        try:
            self._user.volume.setxattr(node, key.encode(), value, 0, ROOT)
        finally:
            self._user.give_back(node)

    def remove_xattr(self, name: str, key: str) -> None:
        node = self._user.node(name)
        try:
            self._user.volume.removexattr(node, key.encode(), ROOT)
        finally:
            self._user.give_back(node)
