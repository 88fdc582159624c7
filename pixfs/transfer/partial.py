"""A file on its way: under a hidden name until it is whole, then it takes its own in one step.

Into a volume it lies in the hidden area, ``.pixfs/incoming``; elsewhere in the folder it will
stand in. What an attempt that was cut off has left is gone on with by the next one, once every
piece of it has been compared. Whoever may still write to a file holds its lock.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import xxhash

from pixfs.transfer.errors import TransferError
from pixfs.volume import backing
from pixfs.volume.area import HIDDEN, INCOMING, open_or_make
from pixfs.volume.locks import exclusive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pixfs.transfer.places import Place
    from pixfs.volume.attributes import Signature

__all__ = ["Partial", "incoming", "key_of", "plain_name", "rename"]

log = logging.getLogger(__name__)

_CHUNK = 1 << 20
_ZEROS = bytes(_CHUNK)
_PLAIN_PREFIX = b".pixfs-part-"
_EXISTING = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_PATIENCE_S = 1.0


def key_of(signature: Signature, target: Place) -> bytes:
    """A hidden name: the same for the same unchanged source and destination, else another."""
    text = f"{tuple(signature)} {target.stored}"
    return xxhash.xxh3_128_hexdigest(text.encode(errors="surrogateescape")).encode()


def plain_name(key: bytes) -> bytes:
    """The hidden name outside of volumes, where a person may come upon it."""
    return _PLAIN_PREFIX + key


@contextmanager
def incoming(root: str) -> Iterator[int]:
    """A descriptor of a volume's ``.pixfs/incoming``. OSError, EPERM when the hidden area is
    another user's."""
    root_fd = backing.open_root(os.fsencode(root))
    try:
        fd = open_incoming(root_fd)
    finally:
        backing.close(root_fd)
    try:
        yield fd
    finally:
        backing.close(fd)


def open_incoming(root_fd: int) -> int:
    """Opens, or makes, ``.pixfs/incoming``. OSError as for `incoming`."""
    hidden_fd = open_or_make(root_fd, HIDDEN)
    try:
        if backing.fstat(hidden_fd).st_uid != os.geteuid():
            raise OSError(errno.EPERM, "the destination's hidden area belongs to another user")
        return open_or_make(hidden_fd, INCOMING)
    finally:
        backing.close(hidden_fd)


def rename(from_fd: int, from_name: bytes, to_fd: int, to_name: bytes, *, replace: bool) -> None:
    """Renames; FileExistsError without ``replace``, also where the file system knows no
    RENAME_NOREPLACE: there by a link, which does not replace either."""
    try:
        flags = 0 if replace else backing.RENAME_NOREPLACE
        backing.rename(from_fd, from_name, to_fd, to_name, flags)
    except OSError as error:
        if replace or error.errno not in (errno.EINVAL, errno.ENOSYS):
            raise
        os.link(from_name, to_name, src_dir_fd=from_fd, dst_dir_fd=to_fd, follow_symlinks=False)
        backing.unlink(from_fd, from_name)


class Partial:
    """One unfinished file; any thread, one at a time. Close it in any case.

    For each piece in turn ``holds`` and, if it does not, ``write``; ``cut`` and the attributes;
    ``sync``; ``digest``; ``place``. Each may raise OSError. The directory's descriptor is the
    caller's, and outlives it.

    Attributes:
        fd: open for reading and writing.
        offset: bytes that are right so far: written, or found and compared.
        held: those among them that were found.
        is_named: it stands under its hidden name, as far as we know.
        is_open: ``fd`` has not been closed.
    """

    def __init__(self, dir_fd: int, name: bytes, fd: int, *, found: int = 0) -> None:
        self.fd = fd
        self.name = name
        self.offset = self.held = 0
        # Bytes an earlier attempt has left; those beyond `offset` nobody has compared yet.
        self._found = found
        self._dir_fd = dir_fd
        self.is_named = self.is_open = True

    @classmethod
    def create(cls, dir_fd: int, name: bytes) -> Partial:
        """Begins a file under a name that nobody else gives."""
        return cls(dir_fd, name, backing.create(dir_fd, name))

    @classmethod
    def take_up(cls, dir_fd: int, name: bytes) -> Partial:
        """Begins a file, or goes on with what there is under the name, locked. TransferError
        when another transfer is at it."""
        fd = backing.open_lockfile(dir_fd, name)
        try:
            if backing.try_lock(fd, exclusive=True):
                st = backing.fstat(fd)
                # Else the other one has just put it in its place.
                with suppress(FileNotFoundError):
                    if os.path.samestat(st, backing.stat_at(dir_fd, name)):
                        return cls(dir_fd, name, fd, found=st.st_size)
        except BaseException:
            backing.close(fd)
            raise
        backing.close(fd)
        raise TransferError("another transfer is at work on the same file")

    @classmethod
    def adopt(
        cls, dir_fd: int, name: bytes, earlier: Sequence[bytes], least: int
    ) -> Partial | None:
        """Goes on, under another name, with what an earlier attempt has left: the latest of
        ``least`` bytes and more that nobody writes to. The rest is removed."""
        found: Partial | None = None
        for each in reversed(earlier):
            if found is None:
                found = cls._take_over(dir_fd, name, each, least)
                if found is not None:
                    continue
            with suppress(FileNotFoundError):
                backing.unlink(dir_fd, each)
        return found

    @classmethod
    def _take_over(cls, dir_fd: int, name: bytes, left: bytes, least: int) -> Partial | None:
        try:
            fd = os.open(left, _EXISTING, dir_fd=dir_fd)
        except OSError:
            return None
        try:
            st = backing.fstat(fd)
            is_of_use = stat.S_ISREG(st.st_mode) and st.st_size >= least
            if is_of_use and backing.try_lock(fd, exclusive=True):
                backing.rename(dir_fd, left, dir_fd, name)
                return cls(dir_fd, name, fd, found=st.st_size)
        except OSError as error:
            log.debug("what an earlier attempt has left is not gone on with: %s", error)
        backing.close(fd)
        return None

    @property
    def size(self) -> int:
        """Bytes there are, right or not."""
        return max(self.offset, self._found)

    def lock(self) -> None:
        """Tells others, should we be cut off, that we still write to this file."""
        with suppress(OSError):
            backing.try_lock(self.fd, exclusive=True)

    def holds(self, data: bytes) -> bool:
        """Whether an earlier attempt has left these bytes, which follow those before; at the
        first difference the rest of its work is dropped."""
        if self.offset >= self._found:
            return False
        if backing.pread(self.fd, len(data), self.offset) == data:
            self.offset += len(data)
            self.held = self.offset
            return True
        self._found = self.offset
        backing.ftruncate(self.fd, self.offset)
        return False

    def write(self, data: bytes) -> None:
        """Appends; nothing but zeros becomes a hole."""
        end = self.offset + len(data)
        if data[:1] == b"\0" and data == (_ZEROS if len(data) == _CHUNK else bytes(len(data))):
            backing.ftruncate(self.fd, end)
        else:
            backing.pwrite_all(self.fd, data, self.offset)
        self.offset = end

    def cut(self) -> None:
        """After the last piece: drops what an earlier attempt had beyond it."""
        if self._found > self.offset:
            backing.ftruncate(self.fd, self.offset)
            self._found = self.offset

    def sync(self) -> None:
        """Makes bytes and attributes durable."""
        backing.fsync(self.fd)

    def fetch(self) -> None:
        """Drops what memory holds of it, once it is durable, and begins to read it back."""
        with suppress(OSError):
            os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_WILLNEED)

    def digest(self, check: Callable[[], None] = lambda: None, *, is_fetched: bool = False) -> str:
        """XXH3-128 in hex of what landed, read back from the storage where it has not been
        fetched yet, through a descriptor of its own: a network file system then asks its server.
        ``check`` is called after each piece and may raise to end it."""
        if is_fetched:
            return _hash(self.fd, self.offset, check)
        with suppress(OSError):
            os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_DONTNEED)
        fd = os.open(self.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._dir_fd)
        try:
            return _hash(fd, None, check)
        finally:
            backing.close(fd)

    def place(self, dir_fd: int, name: bytes, *, replace: bool) -> None:
        """Gives it its name in one step; the directory still has to be synced.

        FileExistsError without ``replace``; with it, EBUSY while somebody has the file that is
        there open for writing by way of a volume: what is written would be lost.
        """
        with ExitStack() as held:
            if replace:
                held.enter_context(_unwritten(dir_fd, name))
            rename(self._dir_fd, self.name, dir_fd, name, replace=replace)
        self.is_named = False

    def discard(self) -> bool:
        """Removes it: what it holds is of no use. Whether it is gone; never raises."""
        if self.is_named:
            self.is_named = False
            try:
                backing.unlink(self._dir_fd, self.name)
            except FileNotFoundError:
                return True
            except OSError:
                return False
        return True

    def close(self) -> None:
        """Lets go of it; what is not placed stays for the next attempt. Never raises: a mount
        whose daemon has died answers a close with an error, too."""
        if self.is_open:
            self.is_open = False
            with suppress(OSError):
                backing.close(self.fd)


def _hash(fd: int, size: int | None, check: Callable[[], None]) -> str:
    """Of so many bytes, or of all there are."""
    digest = xxhash.xxh3_128()
    offset = 0
    while data := backing.pread(fd, _CHUNK if size is None else min(_CHUNK, size - offset), offset):
        digest.update(data)
        offset += len(data)
        check()
        if offset == size:
            break
    return digest.hexdigest()


@contextmanager
def _unwritten(dir_fd: int, name: bytes) -> Iterator[None]:
    """Nobody has the regular file of this name open for writing, if there is one."""
    with ExitStack() as held:
        fd = _open_regular(dir_fd, name)
        if fd is not None:
            held.callback(backing.close, fd)
            # A daemon hears of a file's close a moment after the program that closed it.
            deadline = time.monotonic() + _PATIENCE_S
            lock = held.enter_context(ExitStack())
            while not lock.enter_context(exclusive(fd, without_locks=True)):
                lock.close()
                if time.monotonic() > deadline:
                    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
                time.sleep(0.01)
        yield


def _open_regular(dir_fd: int, name: bytes) -> int | None:
    try:
        path_fd = backing.open_path(dir_fd, name)
    except FileNotFoundError:
        return None
    try:
        if not stat.S_ISREG(backing.fstat(path_fd).st_mode):
            return None
        return backing.reopen(path_fd, os.O_RDONLY)
    finally:
        backing.close(path_fd)
