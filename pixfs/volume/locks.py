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
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from pixfs.volume.attributes import Key

log = logging.getLogger(__name__)

_STRIPES = 64
_SHARED_LOCK_PATIENCE_S = 10.0
_UNSUPPORTED = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


class DirectoryLocks:
    """A lock for each directory, striped by its inode.

    ``holding`` is for looking at what a name in that directory is, ``changing`` for making it
    something else; both for the length of a few system calls. Two directories are always taken
    in stripe order. Inside the process the two are the same; ``changing`` also excludes the
    changes that other volumes of the same backing directory make, by the lock of one byte of a
    file they share, where the storage has such locks.
    """

    def __init__(self) -> None:
        self._stripes = tuple(threading.RLock() for _ in range(_STRIPES))
        # How often the thread that holds a stripe has it locked against other volumes.
        self._depths = [0] * _STRIPES
        self._shared_fd = -1

    def share(self, fd: int) -> None:
        """From now on other volumes are excluded, too, by locks of ``fd`` (the caller's); -1:
        no longer."""
        self._shared_fd = fd

    def holding(self, *keys: Key) -> AbstractContextManager[None]:
        """Nobody in this process changes names in these directories meanwhile."""
        return _Held(self, _stripes(keys), is_changing=False)

    def changing(self, *keys: Key) -> AbstractContextManager[None]:
        """No volume but this changes names in these directories meanwhile, and no other thread
        of this one. OSError when the lock cannot be had for a reason other than that the
        storage has none."""
        return _Held(self, _stripes(keys), is_changing=True)

    def take(self, stripe: int) -> None:
        """Waits for a stripe."""
        self._stripes[stripe].acquire()

    def give_back(self, stripe: int) -> None:
        """Gives a stripe back."""
        self._stripes[stripe].release()

    def exclude_others(self, stripe: int) -> int:
        """Locks a stripe that has been taken against other volumes; returns the descriptor it is
        locked by, -1 if it need not, or cannot, be. OSError."""
        fd = self._shared_fd
        if fd < 0 or self._depths[stripe] or not _lock_byte(fd, stripe):
            return -1
        self._depths[stripe] += 1
        return fd

    def admit_others(self, stripe: int, fd: int) -> None:
        """Ends what ``exclude_others`` began."""
        self._depths[stripe] -= 1
        backing.unlock_byte(fd, stripe)


class _Held:
    """Some stripes, held while a block runs. Each request for a name holds some, and a class
    takes a fraction of the time of the generators and stacks that could say the same."""

    __slots__ = ("_excluding", "_is_changing", "_locks", "_stripes")

    def __init__(self, locks: DirectoryLocks, stripes: Sequence[int], *, is_changing: bool) -> None:
        self._locks = locks
        self._stripes = stripes
        self._is_changing = is_changing
        self._excluding: list[tuple[int, int]] = []

    def __enter__(self) -> None:
        for stripe in self._stripes:
            self._locks.take(stripe)
        if not self._is_changing:
            return
        try:
            for stripe in self._stripes:
                fd = self._locks.exclude_others(stripe)
                if fd >= 0:
                    self._excluding.append((stripe, fd))
        except BaseException:
            self._leave()
            raise

    def __exit__(self, *_: object) -> None:
        self._leave()

    def _leave(self) -> None:
        try:
            for stripe, fd in self._excluding:
                self._locks.admit_others(stripe, fd)
        finally:
            for stripe in self._stripes:
                self._locks.give_back(stripe)


def _stripes(keys: Sequence[Key]) -> Sequence[int]:
    # The same in every process: what two volumes exclude each other by.
    if len(keys) == 1:
        return (_stripe(keys[0]),)
    return sorted({_stripe(key) for key in keys})


def _stripe(key: Key) -> int:
    return (key.dev * 31 + key.ino) % _STRIPES


def _lock_byte(fd: int, offset: int) -> bool:
    try:
        backing.lock_byte(fd, offset)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return False
        raise
    return True


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
