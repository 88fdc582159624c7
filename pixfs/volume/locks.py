"""Locks: of directories inside this process, and of files between processes and hosts."""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pixfs.volume import backing
from pixfs.volume.errors import oserror

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pixfs.volume.attributes import Key

log = logging.getLogger(__name__)

_STRIPES = 64
_SHARED_LOCK_PATIENCE_S = 10.0
_UNSUPPORTED = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


class DirectoryLocks:
    """A lock for each directory, striped by its inode.

    Held by every operation that looks at or changes what a name in that directory is, for the
    length of a few system calls. Two directories are always taken in stripe order.
    """

    def __init__(self) -> None:
        self._stripes = tuple(threading.RLock() for _ in range(_STRIPES))

    @contextmanager
    def holding(self, *keys: Key) -> Iterator[None]:
        """Holds the locks of these directories."""
        stripes = sorted({hash(key) % _STRIPES for key in keys})
        taken = []
        try:
            for stripe in stripes:
                self._stripes[stripe].acquire()
                taken.append(self._stripes[stripe])
            yield
        finally:
            for lock in reversed(taken):
                lock.release()


def lock_shared(fd: int) -> None:
    """Marks a backing file as open for writing (a shared flock on ``fd``).

    A conversion elsewhere holds the exclusive lock for the moments of its swap only, so this
    waits, but not for ever: EBUSY after ten seconds. Where the file system has no locks,
    writing goes on without; conversions there refuse instead.
    """
    deadline = time.monotonic() + _SHARED_LOCK_PATIENCE_S
    while not _try(fd, exclusive=False, unsupported=True):
        if time.monotonic() > deadline:
            log.warning("a backing file stays locked by another process; refusing to write to it")
            raise oserror(errno.EBUSY)
        time.sleep(0.005)


@contextmanager
def exclusive(fd: int, *, without_locks: bool) -> Iterator[bool]:
    """The exclusive flock of the file behind ``fd``, held inside the block; gives False, and
    holds nothing, when anybody in any process has the file open for writing.

    ``without_locks`` is the answer where the file system has none, so that nobody can be
    excluded: a restore goes on there, a conversion does not.
    """
    lock_fd = fd
    try:
        try:
            taken = _try(fd, exclusive=True, unsupported=without_locks)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            # NFS turns an exclusive flock into a write lock, which needs such a descriptor.
            lock_fd = backing.reopen(fd, os.O_RDWR)
            taken = _try(lock_fd, exclusive=True, unsupported=without_locks)
        yield taken
    finally:
        if lock_fd == fd:
            unlock(fd)
        else:
            backing.close(lock_fd)


def unlock(fd: int) -> None:
    """Gives a flock back, if the file system has any."""
    try:
        backing.unlock(fd)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise


def _try(fd: int, *, exclusive: bool, unsupported: bool) -> bool:
    try:
        return backing.try_lock(fd, exclusive=exclusive)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return unsupported
        raise
