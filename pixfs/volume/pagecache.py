"""What the kernel has of a file in memory: system calls on the backing file system, like `backing`.

No call waits for the storage, but a hint may where the storage has much to do already.
"""

from __future__ import annotations

import ctypes
import mmap
import os

import numpy as np

# The same number everywhere.
_SYS_CACHESTAT = 451
# An attempt to read what is not there begins to read it, piece by piece, and the call that then
# waits begins anew: a quarter of the time that reading 1 MiB takes. For less, asking costs as much.
_ASK_FROM = 128 << 10
# Within what the kernel reads ahead of most devices.
_A_HINT = 512 << 10
_libc = ctypes.PyDLL(None)  # it takes a microsecond or two


class _Range(ctypes.Structure):
    _fields_ = (("offset", ctypes.c_uint64), ("length", ctypes.c_uint64))


class _Counts(ctypes.Structure):
    _fields_ = (
        ("cached", ctypes.c_uint64),
        ("dirty", ctypes.c_uint64),
        ("writeback", ctypes.c_uint64),
        ("evicted", ctypes.c_uint64),
        ("recently_evicted", ctypes.c_uint64),
    )


def pread_nowait(fd: int, size: int, offset: int) -> memoryview | None:
    """Reads from the page cache only; None when that would have to wait (or cannot be told)."""
    if size >= _ASK_FROM and missing_pages(fd, size, offset):
        return None
    # Not a bytearray: clearing that takes as long as copying the bytes does.
    buf = np.empty(size, np.uint8).data
    try:
        count = os.preadv(fd, [buf], offset, os.RWF_NOWAIT)
    except OSError:
        return None
    if count < size and offset + count < os.fstat(fd).st_size:
        return None
    return buf[:count]


def missing_pages(fd: int, size: int, offset: int) -> int:
    """How many pages of a file's range are not in memory; none where the kernel does not tell
    (before Linux 6.5, or to who may not write the file)."""
    counts = _Counts()
    asked = _Range(offset, size)
    if _libc.syscall(_SYS_CACHESTAT, fd, ctypes.byref(asked), ctypes.byref(counts), 0):
        return 0
    cached: int = counts.cached
    if _pages(offset, offset + size) <= cached:
        return 0
    end = min(offset + size, os.fstat(fd).st_size)
    return max(0, _pages(offset, end) - cached)


def _pages(start: int, stop: int) -> int:
    return -(-stop // mmap.PAGESIZE) - start // mmap.PAGESIZE if stop > start else 0


def will_read(fd: int) -> None:
    """All of the file is going to be read soon: a hint, which starts the reading."""
    # Of one hint the kernel takes as much as it would read ahead at once, and forgets the rest.
    for offset in range(0, os.fstat(fd).st_size, _A_HINT):
        os.posix_fadvise(fd, offset, _A_HINT, os.POSIX_FADV_WILLNEED)
