"""A file on its way: invisible, or plainly named, until it is whole.

Between volumes it lies in the destination's hidden area, ``.pixfs/incoming/<key>``; outside in
the destination directory, as ``.pixfs-part-<key>``. The key names the source as it is now and
the destination: a transfer that is started again finds what an interrupted one has left.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING

import xxhash

from pixfs.transfer.errors import TransferError
from pixfs.volume import backing
from pixfs.volume.area import HIDDEN, INCOMING, open_or_make

if TYPE_CHECKING:
    from pixfs.transfer.places import Place
    from pixfs.volume.attributes import Signature

_PLAIN_PREFIX = b".pixfs-part-"


def key_of(signature: Signature, target: Place) -> bytes:
    """The same for the same unchanged source and the same destination, else another."""
    text = f"{tuple(signature)} {target.stored}"
    return xxhash.xxh3_128_hexdigest(text.encode(errors="surrogateescape")).encode()


class Partial:
    """One unfinished file, locked; any thread, one at a time. Close it in any case.

    Attributes:
        fd: open for reading and writing.
    """

    def __init__(self, target: Place, key: bytes, *, stored: bool) -> None:
        """Creates it or takes up what is there. OSError; TransferError when another transfer
        is at it."""
        if stored and target.root is not None:
            self._dir_fd = _open_incoming(target.root)
            self._name = key
        else:
            directory = os.path.dirname(target.path)
            self._dir_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._name = _PLAIN_PREFIX + key
        try:
            self.fd = backing.open_lockfile(self._dir_fd, self._name)
        except BaseException:
            backing.close(self._dir_fd)
            raise
        self._check_free()

    def _check_free(self) -> None:
        try:
            if backing.try_lock(self.fd, exclusive=True):
                st = backing.fstat(self.fd)
                if os.path.samestat(st, backing.stat_at(self._dir_fd, self._name)):
                    return
        except FileNotFoundError:
            # The other one has just put it in its place.
            pass
        except BaseException:
            self.close()
            raise
        self.close()
        raise TransferError("another transfer is at work on the same file")

    @property
    def size(self) -> int:
        """Bytes that are there already."""
        return backing.fstat(self.fd).st_size

    def place(self, dir_fd: int, name: bytes, *, overwrite: bool) -> None:
        """Moves it to its name in one step; the bytes are durable, the name is not yet.

        TransferError when there is something and overwrite is not meant.
        """
        try:
            flags = 0 if overwrite else backing.RENAME_NOREPLACE
            backing.rename(self._dir_fd, self._name, dir_fd, name, flags)
        except FileExistsError:
            raise TransferError("the destination exists and differs; see --overwrite") from None
        except OSError as error:
            if overwrite or error.errno not in (errno.EINVAL, errno.ENOSYS):
                raise
            # A file system without RENAME_NOREPLACE: a link does not replace either.
            backing.link(self.fd, dir_fd, name)
            backing.unlink(self._dir_fd, self._name)

    def discard(self) -> None:
        """Removes it: what it holds is of no use."""
        with suppress(FileNotFoundError):
            backing.unlink(self._dir_fd, self._name)

    def close(self) -> None:
        """Lets go of it; what is not placed stays for the next attempt."""
        backing.close(self.fd)
        backing.close(self._dir_fd)


def _open_incoming(root: str) -> int:
    root_fd = backing.open_root(os.fsencode(root))
    try:
        hidden_fd = open_or_make(root_fd, HIDDEN)
        try:
            st = backing.fstat(hidden_fd)
            if st.st_uid != os.geteuid():
                raise TransferError("the destination's hidden area belongs to another user")
            return open_or_make(hidden_fd, INCOMING)
        finally:
            backing.close(hidden_fd)
    finally:
        backing.close(root_fd)
