"""One regular file from one directory to another: copied, checked, put in its place."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from codec import CodecError
from pixfs.transfer.attributes import carry_over
from pixfs.transfer.content import Limited, OpenFile, head_of, is_alike, is_identical, pour
from pixfs.transfer.errors import ChangedError, TransferError
from pixfs.transfer.partial import Partial, incoming, key_of, plain_name
from pixfs.transfer.stored import check_container
from pixfs.volume import backing
from pixfs.volume.attributes import Signature
from pixfs.volume.heads import Kind
from pixfs.volume.metadata import copy_metadata

if TYPE_CHECKING:
    from collections.abc import Callable

    from pixfs.throttle import Limiter
    from pixfs.transfer.places import Place

_ATTEMPTS = 3
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_NOFOLLOW = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class Copied:
    """What became of one file.

    Attributes:
        signature: the source as it was copied.
        size: bytes moved; 0 when it was there already.
        notes: what a careful person would want to know.
    """

    signature: Signature
    size: int
    notes: tuple[str, ...] = ()


class FileCopier:
    """Copies regular files in one way; any number of threads may use it.

    ``stored`` means that both directories are backing directories: containers stay containers,
    and every attribute has to come along. Otherwise bytes are copied as they are read, and an
    attribute that cannot come along is noted.
    """

    def __init__(
        self, limiter: Limiter, progress: Callable[[int], None], *, stored: bool, overwrite: bool
    ) -> None:
        """``progress`` is called with each number of bytes done."""
        self._limiter = limiter
        self._progress = progress
        self._stored = stored
        self._overwrite = overwrite

    def copy(
        self, source_dir: int, name: bytes, target_dir: int, target: Place, *, thorough: bool
    ) -> Copied:
        """Copies one entry, unless it is there already: judged by size, time and the hash the
        container names, or (``thorough``) by all bytes of both.

        Raises TransferError, OSError; the destination then is what it was.
        """
        for _ in range(_ATTEMPTS - 1):
            # Its own daemon may just have compressed it.
            with suppress(ChangedError):
                return self._copy(source_dir, name, target_dir, target, thorough=thorough)
        return self._copy(source_dir, name, target_dir, target, thorough=thorough)

    def _copy(
        self, source_dir: int, name: bytes, target_dir: int, target: Place, *, thorough: bool
    ) -> Copied:
        with ExitStack() as held:
            source_fd = os.open(name, _NOFOLLOW, dir_fd=source_dir)
            held.callback(backing.close, source_fd)
            st = backing.fstat(source_fd)
            if not stat.S_ISREG(st.st_mode):
                raise TransferError("it is no regular file any more")
            if self._stored:
                _refuse_open_for_writing(source_fd)
            head = head_of(source_fd, stored=self._stored)
            if head.kind is Kind.BAD:
                raise TransferError(f"it is damaged: {head.reason}")
            signature = Signature.of(st)
            notes = (f"has {st.st_nlink} names; copied as a file of its own",)
            found = Copied(signature, 0, notes if st.st_nlink > 1 else ())
            if self._is_there(source_fd, target_dir, target.name, thorough=thorough):
                self._progress(st.st_size)
                return found
            partial = self._begin(key_of(signature, target), target_dir, target, held)
            more = self._fill(source_fd, signature, partial)
            self._place(partial, target_dir, target.name)
            return Copied(signature, st.st_size, (*found.notes, *more))

    def _begin(self, key: bytes, target_dir: int, target: Place, held: ExitStack) -> Partial:
        """The file on its way, open as long as ``held`` is."""
        if self._stored and target.root is not None:
            partial = Partial.take_up(held.enter_context(incoming(target.root)), key)
        else:
            partial = Partial.take_up(target_dir, plain_name(key))
        held.callback(partial.close)
        return partial

    def carry_attributes(self, source_fd: int, target_fd: int) -> list[str]:
        """Carries a file's or directory's attributes over; returns notes on what was left out.
        TransferError where nothing may be."""
        if not self._stored:
            return carry_over(source_fd, target_fd)
        try:
            copy_metadata(source_fd, target_fd)
        except OSError as error:
            raise TransferError(f"an attribute cannot be carried over: {error}") from error
        return []

    def _is_there(self, source_fd: int, target_dir: int, name: bytes, *, thorough: bool) -> bool:
        try:
            fd = os.open(name, _NOFOLLOW, dir_fd=target_dir)
        except FileNotFoundError:
            return False
        try:
            if os.path.samestat(backing.fstat(fd), backing.fstat(source_fd)):
                raise TransferError("source and destination are the same file")
            if not stat.S_ISREG(backing.fstat(fd).st_mode):
                raise TransferError("the destination is no regular file")
            same = is_identical if thorough else is_alike
            if same(source_fd, fd, stored=self._stored):
                return True
            if not self._overwrite:
                raise TransferError("the destination exists and differs; see --overwrite")
            return False
        finally:
            backing.close(fd)

    def _fill(self, source_fd: int, signature: Signature, partial: Partial) -> list[str]:
        try:
            return self._fill_and_check(source_fd, signature, partial)
        except OSError as error:
            if error.errno not in _NO_SPACE:
                raise
            # What is there of it would only keep others from writing, too.
            partial.discard()
            raise TransferError("there is no space for it at the destination") from error

    def _fill_and_check(self, source_fd: int, signature: Signature, partial: Partial) -> list[str]:
        gate = Limited(self._limiter, signature.key, self._progress)
        expected, _ = pour(OpenFile(source_fd, signature.size), partial, gate)
        partial.cut()
        notes = [f"went on from byte {partial.held}"] if partial.held else []
        notes += self.carry_attributes(source_fd, partial.fd)
        partial.sync()
        if partial.digest() != expected:
            partial.discard()
            raise TransferError("what was written does not read back as it was read; try again")
        if head_of(partial.fd, stored=self._stored).kind is Kind.CONTAINER:
            try:
                check_container(partial.fd)
            except CodecError as error:
                partial.discard()
                raise TransferError(f"it is damaged: {error}") from error
        if Signature.of(backing.fstat(source_fd)) != signature:
            partial.discard()
            raise ChangedError("it changed while it was copied")
        return notes

    def _place(self, partial: Partial, target_dir: int, name: bytes) -> None:
        try:
            partial.place(target_dir, name, replace=self._overwrite)
        except FileExistsError:
            raise TransferError("the destination exists and differs; see --overwrite") from None
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            raise TransferError("the destination is open for writing") from error


def _refuse_open_for_writing(fd: int) -> None:
    # Whoever has it open for writing by way of a volume holds a lock against this.
    if not backing.try_lock(fd, exclusive=True):
        raise TransferError("it is open for writing")
    backing.unlock(fd)


def remove_moved(source_dir: int, name: bytes, visible_dir: int, signature: Signature) -> None:
    """Deletes a source whose copy has been verified and is durable.

    Through ``visible_dir``, so that a mount sees it. Raises TransferError, and deletes nothing,
    when the file is no longer what was copied or is open for writing.
    """
    fd = os.open(name, _NOFOLLOW, dir_fd=source_dir)
    try:
        if not backing.try_lock(fd, exclusive=True):
            raise TransferError("copied, but kept: it is open for writing")
        if Signature.of(backing.fstat(fd)) != signature:
            raise TransferError("copied, but kept: it has changed since; move it again")
        backing.unlink(visible_dir, name)
    finally:
        backing.close(fd)
