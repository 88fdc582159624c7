"""Compressing a file: read, encode, verify, write beside, and swap if nothing has changed.

Nothing is locked while a file is encoded, so whoever wants to write to it can; the swap then
finds the generation, the signature or a lock changed and does not happen.
"""

from __future__ import annotations

import enum
import errno
import logging
import os
import threading
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import codec
from codec import VerifyError
from pixfs.throttle import Priority
from pixfs.volume import backing, swap, verdict
from pixfs.volume.attributes import Signature
from pixfs.volume.contents import ContainerContent
from pixfs.volume.errors import (
    BusyError,
    ClosingError,
    MetadataError,
    NoSpaceError,
    RestoreConflictError,
    UnconvertibleError,
)
from pixfs.volume.heads import Kind, read_head
from pixfs.volume.locks import exclusive
from pixfs.volume.metadata import copy_metadata
from pixfs.volume.pages import Lender, Loan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pixfs.throttle import Limiter
    from pixfs.volume.area import Temp
    from pixfs.volume.core import Core
    from pixfs.volume.files import LogicalFile
    from pixfs.volume.nodes import Node

log = logging.getLogger(__name__)

# For the release of a file that has just been closed to arrive.
_RELEASE_PATIENCE_S = 2.0
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class Result(enum.Enum):
    """How a conversion ended."""

    CONVERTED = "converted"
    VERBATIM = "verbatim"
    ALREADY = "already compressed"


class ByteBudget:
    """Bytes that running conversions may hold; one alone is always let in."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._freed = threading.Condition()

    @contextmanager
    def reserved(self, size: int) -> Iterator[None]:
        """Waits until ``size`` bytes fit."""
        with self._freed:
            self._freed.wait_for(lambda: self._used == 0 or self._used + size <= self._limit)
            self._used += size
        try:
            yield
        finally:
            with self._freed:
                self._used -= size
                self._freed.notify_all()


@dataclass(frozen=True)
class _Source:
    """The backing file as it was when the conversion began; owns ``fd``."""

    fd: int
    st: os.stat_result
    signature: Signature
    generation: int
    base: int
    kind: Kind

    @property
    def length(self) -> int:
        return self.signature.size - self.base


class Converter:
    """Converts files of one volume; any number of threads may."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._budget = ByteBudget(core.policy.encode_bytes)
        self._encoders = threading.BoundedSemaphore(core.policy.encode_threads)
        # The source and the container of each that is under way.
        self._lender = Lender(2 * core.policy.encode_threads)

    def trim(self) -> None:
        """Gives memory back that no conversion has used since the last call."""
        self._lender.trim()

    def convert(
        self, node: Node, *, threads: int = 1, priority: Priority = Priority.BACKGROUND
    ) -> Result:
        """Compresses a raw file or a wrap, at the pace the volume's throttle allows.

        Raises ConversionRefusedError when it cannot happen now, VerifyError when the encoder
        failed its own check, OSError. After any of them the file is what it was.
        """
        file = node.file
        if file is None:
            raise UnconvertibleError("not a regular file")
        with file.conversion:
            source = self._begin(file, priority)
            if source is None:
                return Result.ALREADY
            try:
                return self._convert(file, source, threads, priority)
            except OSError as error:
                if error.errno in _NO_SPACE:
                    raise NoSpaceError("waits for free space") from error
                raise
            finally:
                backing.close(source.fd)

    def _begin(self, file: LogicalFile, priority: Priority) -> _Source | None:
        with file.mutex:
            # The background has no need to wait: a release has it queue the file again.
            patience_s = _RELEASE_PATIENCE_S if priority is Priority.DEMAND else 0.0
            if not file.wait_written(patience_s):
                raise BusyError("open for writing")
            if file.fsync_failed:
                raise UnconvertibleError("an fsync of the file failed")
            try:
                fd = backing.reopen(file.node.fd, os.O_RDONLY)
            except PermissionError as error:
                raise UnconvertibleError("the volume may not read it") from error
            try:
                source = self._examine(file, fd)
            except BaseException:
                backing.close(fd)
                raise
            if source is None:
                backing.close(fd)
            return source

    def _examine(self, file: LogicalFile, fd: int) -> _Source | None:
        st, head = read_head(fd)
        if head.kind is Kind.CONTAINER:
            return None
        if head.kind is Kind.BAD:
            raise UnconvertibleError(head.reason)
        if st.st_nlink != 1:
            raise UnconvertibleError("hard-linked" if st.st_nlink else "unlinked")
        if self._core.area is None:
            raise UnconvertibleError("the volume is read-only")
        if st.st_dev != self._core.area.dev:
            raise UnconvertibleError("on another file system than the volume's root")
        with exclusive(fd, without_locks=False) as taken:
            if not taken:
                raise BusyError("locked by another process, or the storage has no locks")
        base = codec.WRAP_SIZE if head.kind is Kind.WRAP else 0
        return _Source(fd, st, Signature.of(st), file.generation, base, head.kind)

    def _convert(
        self, file: LogicalFile, source: _Source, threads: int, priority: Priority
    ) -> Result:
        core = self._core
        if source.kind is Kind.RAW:
            reason = verdict.reason_to_leave(core.policy, source.fd, source.st)
            if reason is not None:
                return self._leave(file, source, reason)
        elif source.length > core.policy.encode_bytes:
            return self._leave(file, source, "unsupported: too large to be compressed in memory")
        self._check_space(source)
        with self._budget.reserved(source.length), self._lender.lending() as loan:
            return self._encode_and_store(file, source, loan, threads, priority)

    def _encode_and_store(
        self, file: LogicalFile, source: _Source, loan: Loan, threads: int, priority: Priority
    ) -> Result:
        core = self._core
        encoded = self._encode(source, loan, threads, priority)
        core.on_step("encoded")
        if encoded.reason is not None and source.kind is Kind.RAW:
            return self._leave(file, source, encoded.reason)
        self._store(file, source, encoded, priority)
        core.stats.add("converted" if encoded.reason is None else "verbatim")
        core.stats.add("bytes_in", source.length)
        core.stats.add("bytes_out", len(encoded.container))
        return Result.CONVERTED if encoded.reason is None else Result.VERBATIM

    def _check_space(self, source: _Source) -> None:
        room = backing.statvfs(source.fd)
        needed = source.length + self._core.policy.reserve_bytes
        if room.f_bavail * room.f_frsize < needed:
            raise NoSpaceError("waits for free space")

    def _encode(
        self, source: _Source, loan: Loan, threads: int, priority: Priority
    ) -> codec.Encoded:
        original = loan.room(source.length).data
        for start, stop in self._paced(self._core.throttle.read, source, source.length, priority):
            piece = original[start:stop]
            if backing.pread_into(source.fd, piece, source.base + start) != stop - start:
                raise BusyError("changed while it was read")
        self._core.on_step("read")
        encoded_at = datetime.now(UTC).isoformat(timespec="seconds")
        # Somebody waits for what is asked for: it does not queue behind the background.
        with self._encoders if priority is Priority.BACKGROUND else nullcontext():
            self._go_on()
            return codec.encode(
                original,
                level=self._core.policy.level,
                threads=threads,
                encoded_at=encoded_at,
                before_piece=self._go_on,
                memory=loan.room,
            )

    def _go_on(self) -> None:
        """Breaks a conversion off (ClosingError) that the closing volume does not wait for."""
        if self._core.abandoning.is_set():
            raise ClosingError

    def _paced(
        self, limiter: Limiter, source: _Source, length: int, priority: Priority
    ) -> Iterator[tuple[int, int]]:
        """Ranges to move one after the other, each when the limit allows it; nothing is locked
        meanwhile that a user could wait for."""
        start = 0
        while start < length:
            self._go_on()
            stop = start + limiter.piece(length - start)
            limiter.acquire(source.signature.key, stop - start, priority)
            yield start, stop
            start = stop

    def _leave(self, file: LogicalFile, source: _Source, reason: str) -> Result:
        """The file stays as it is; notes why."""
        with file.mutex:
            if file.writers or file.generation != source.generation:
                raise BusyError("changed while it was looked at")
            if reason == "incompressible":
                verdict.remember(source.fd, reason)
            self._core.verdicts.put(backing.fstat(source.fd), "verbatim", reason)
        self._core.stats.add("verbatim")
        return Result.VERBATIM

    def _store(
        self, file: LogicalFile, source: _Source, encoded: codec.Encoded, priority: Priority
    ) -> None:
        area = self._core.area
        if area is None:
            raise UnconvertibleError("the volume is read-only")
        temp = area.create(source.signature.key)
        try:
            container = memoryview(encoded.container)
            limiter = self._core.throttle.write
            for start, stop in self._paced(limiter, source, len(container), priority):
                backing.pwrite_all(temp.fd, container[start:stop], start)
            self._core.on_step("written")
            try:
                copy_metadata(source.fd, temp.fd)
            except OSError as error:
                if error.errno in (*_NO_SPACE, errno.EIO):
                    # The storage failed, not the attribute.
                    raise
                raise MetadataError(f"an attribute cannot be carried over: {error}") from error
            backing.fsync(temp.fd)
            self._core.on_step("synced")
            self._commit(file, source, temp, encoded)
        finally:
            temp.close()

    def _commit(
        self, file: LogicalFile, source: _Source, temp: Temp, encoded: codec.Encoded
    ) -> None:
        content = self._content(file, temp, encoded)

        def placed() -> None:
            # Where nobody has the file open, the next opening makes a content of its own.
            if file.content is not None:
                file.install(content)

        installed = False
        try:
            with file.mutex:
                self._core.on_step("locked")
                if file.writers or file.generation != source.generation:
                    raise BusyError("changed while it was compressed")
                try:
                    with self._alone(source):
                        self._place(file, source, temp, placed)
                finally:
                    installed = file.content is content
        finally:
            if not installed:
                content.retire()

    @contextmanager
    def _alone(self, source: _Source) -> Iterator[None]:
        """Nobody has the file open for writing: no other volume, and no process of this host
        that works on the backing directory itself."""
        with exclusive(source.fd, without_locks=False) as taken:
            if not taken:
                raise BusyError("open for writing elsewhere")
            if not backing.lease(source.fd):
                raise BusyError("open for writing outside the volume")
            try:
                yield
            finally:
                backing.end_lease(source.fd)

    def _place(
        self, file: LogicalFile, source: _Source, temp: Temp, placed: Callable[[], None]
    ) -> None:
        if Signature.of(backing.fstat(source.fd)) != source.signature:
            raise BusyError("changed from outside while it was compressed")
        try:
            swap.place(self._core, file.node, temp, source.signature, strict=True, placed=placed)
        except RestoreConflictError as error:
            raise BusyError("renamed or replaced while it was compressed") from error

    def _content(self, file: LogicalFile, temp: Temp, encoded: codec.Encoded) -> ContainerContent:
        """The stored container, opened as a reader will: it must open, and name the original
        that was encoded."""
        fd = backing.reopen(temp.fd, os.O_RDONLY)
        try:
            content = file.content_of(fd)
        except BaseException:
            backing.close(fd)
            raise
        if isinstance(content, ContainerContent) and content.reader.hash == encoded.hash:
            return content
        content.retire()
        raise VerifyError("the stored container does not open as the one encoded")
