"""File handles: the numbers the kernel holds for what it has open."""

from __future__ import annotations

import errno
import itertools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    import trio

    from pixfs.fuse.inodes import Inode
    from pixfs.volume import DirHandle, Handle


@dataclass(slots=True, eq=False)
class OpenFile:
    """One open(2) of a file.

    Attributes:
        file: the volume's handle.
        inode: what was opened.
        turns: how many requests of this handle may hold a worker thread at once, so that one
            file on hung storage cannot take the threads every other file needs.
        opener: the thread that opened it, 0 if it cannot be named here.
    """

    file: Handle
    inode: Inode
    turns: trio.CapacityLimiter
    opener: int = 0


@dataclass(slots=True, eq=False)
class OpenDirectory:
    """One opendir(3) of a directory."""

    directory: DirHandle
    inode: Inode


T = TypeVar("T", OpenFile, OpenDirectory)


class HandleTable(Generic[T]):
    """Handles by number. For the trio thread only, which makes each call atomic."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._open: dict[int, T] = {}

    def __len__(self) -> int:
        return len(self._open)

    def add(self, handle: T) -> int:
        """Number handle; the caller still closes it, after `remove`."""
        number = next(self._numbers)
        self._open[number] = handle
        return number

    def get(self, number: int) -> T:
        """The handle of this number; raises OSError(EBADF) when it is not open."""
        try:
            return self._open[number]
        except KeyError:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from None

    def remove(self, number: int) -> T:
        """Take the handle of this number out; raises OSError(EBADF) when it is not open."""
        handle = self.get(number)
        del self._open[number]
        return handle

    def drain(self) -> list[T]:
        """Take out every handle: an unmount drops releases that were still on their way."""
        handles = list(self._open.values())
        self._open.clear()
        return handles
