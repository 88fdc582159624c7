"""Making a whole file system durable at once, where its kernel says what went wrong.

syncfs(2) of 64 small files waits for the disk once or twice where 64 calls of fsync(2) wait 64
times. It is only as good where the file system writes to a disk of this machine: FUSE and network
file systems may answer before their servers have written. It reports errors since Linux 5.8.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import platform
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.work.beneath import Root

__all__ = ["FileSystem"]

log = logging.getLogger(__name__)

# As statfs(2) numbers them: ext4, XFS, Btrfs, F2FS, tmpfs.
_LOCAL = frozenset({0xEF53, 0x58465342, 0x9123683E, 0xF2F52010, 0x01021994})
_STATFS_SIZE = 256
_libc = ctypes.CDLL(None, use_errno=True)


class FileSystem:
    """The file system of a storage's root; belongs to one thread.

    Attributes:
        device: its number, as in st_dev; files on other file systems below the root have others.
        is_usable: whether `sync` can do any good.
    """

    def __init__(self, root: Root) -> None:
        """Opens it; errors of what is written from now on are told by `sync`."""
        self._fd = root.open("", os.O_RDONLY | os.O_DIRECTORY) if _reports_errors() else -1
        self.device = os.fstat(self._fd).st_dev if self._fd >= 0 else -1
        self.is_usable = self._fd >= 0 and _kind(self._fd) in _LOCAL

    def sync(self) -> bool:
        """Makes all of it durable; False when that cannot be done or something went wrong, and
        each file has to be asked. Blocks."""
        if not self.is_usable:
            return False
        if _libc.syncfs(self._fd) == 0:
            return True
        code = ctypes.get_errno()
        log.debug("a file system was not synced as a whole: %s", errno.errorcode.get(code, code))
        return False

    def close(self) -> None:
        """Closes it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self.is_usable = False


def _reports_errors() -> bool:
    found = re.match(r"(\d+)\.(\d+)", platform.release())
    return found is not None and (int(found[1]), int(found[2])) >= (5, 8)


def _kind(fd: int) -> int:
    """The file system's number; struct statfs begins with it, as a machine word."""
    buffer = ctypes.create_string_buffer(_STATFS_SIZE)
    if _libc.fstatfs(fd, buffer) != 0:
        return 0
    return int(ctypes.c_ulong.from_buffer(buffer).value) & 0xFFFFFFFF
