"""Open files and open directories."""

from __future__ import annotations

import errno
import os
import sys
import threading
from typing import TYPE_CHECKING

from pixfs.volume import backing
from pixfs.volume.errors import oserror
from pixfs.volume.listing import BATCH, Entry
from pixfs.volume.openings import is_for_writing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pixfs.volume.attributes import Buffer
    from pixfs.volume.core import Core
    from pixfs.volume.files import LogicalFile
    from pixfs.volume.listing import Lister
    from pixfs.volume.nodes import Node

_DOTS = 2
# What is looked at beyond as many entries as fitted the last reply: names differ in length.
_FEW = 8
# What is told whoever comes from elsewhere in the directory: he may want one entry and seek again.
_AFTER_SEEK = 16
_SEQUENTIAL_READS = 2
# The kernel's own read-ahead asks for the pieces of a sequence in any order.
_REORDERED_BYTES = 1 << 20


class Handle:
    """One opening of a regular file. Any thread may call anything; all may block, except
    ``read_cached`` and ``flush_at_once``. After ``release`` every call is EBADF.

    Attributes:
        node: the open file's node.
        keep_cache: the logical bytes are those of the node's last opening, so pages that were
            cached then still hold.
    """

    def __init__(self, core: Core, node: Node, flags: int, *, created_fd: int = -1) -> None:
        if node.file is None:
            raise oserror(errno.EISDIR if node.is_dir else errno.EINVAL)
        self._core = core
        self._file: LogicalFile = node.file
        self.node = node
        self._flags = flags
        self._readable = flags & os.O_ACCMODE != os.O_WRONLY
        self._writable = is_for_writing(flags)
        self._append = bool(flags & os.O_APPEND)
        self._lock = threading.Lock()
        self._released = False
        self._next_offset = 0
        self._in_sequence = 0
        self._is_noticed = False
        self.keep_cache = True
        if created_fd >= 0:
            self._file.open_created(created_fd, flags)
        else:
            self.keep_cache = self._file.open(flags)
        core.nodes.pin(node)

    def read(self, offset: int, size: int) -> Buffer:
        """Up to ``size`` logical bytes, short only at the end of the file.

        EIO where the exact bytes cannot be given back, EBADF if not open for reading.
        """
        self._check(self._readable)
        data = self._file.read(offset, size)
        self._note_sequence(offset, len(data))
        return data

    def read_cached(self, offset: int, size: int) -> Buffer | None:
        """The same if it takes no waiting: None means that ``read`` is needed, in a thread."""
        self._check(self._readable)
        data = self._file.read_cached(offset, size)
        if data is not None:
            self._note_sequence(offset, len(data))
        return data

    @property
    def reads_are_short(self) -> bool:
        """Whether a read has nothing to decode, and takes no longer than the storage does."""
        return self._file.reads_are_short

    def _note_sequence(self, offset: int, size: int) -> None:
        # Not locked: a race between two readers of one handle costs a block decoded for
        # nothing, or one not decoded ahead.
        near = abs(offset - self._next_offset) <= _REORDERED_BYTES
        self._in_sequence = self._in_sequence + 1 if near else 0
        self._next_offset = offset + size
        if self._in_sequence >= _SEQUENTIAL_READS:
            self._file.read_ahead(self._next_offset)
            if not self._is_noticed:
                self._is_noticed = True
                self._core.on_reading(self.node)

    def write(self, offset: int, buf: Buffer) -> int:
        """Writes; a compressed file is restored first. Returns the bytes written, fewer than
        asked only if an error stopped it (the next call meets that error)."""
        self._check(self._writable)
        return self._file.write(offset, memoryview(buf).cast("B"), append=self._append)

    @property
    def is_writable(self) -> bool:
        """Whether it was opened for writing."""
        return self._writable

    def truncate(self, size: int) -> None:
        """Sets the size through this handle; EINVAL if it is not open for writing."""
        if not self._writable:
            raise oserror(errno.EINVAL)
        self._check(True)
        self._file.truncate(size)

    def flush(self) -> None:
        """One of the descriptors of this opening is being closed; reports late errors."""
        self._check(True)
        self._file.flush()

    def flush_at_once(self) -> bool:
        """The same if it takes no waiting: False means that ``flush`` is needed, in a thread."""
        self._check(True)
        return self._file.flush_at_once()

    def fsync(self, datasync: bool) -> None:
        """Makes the file's bytes (and, without ``datasync``, attributes) durable."""
        self._check(True)
        self._file.fsync(datasync=datasync)

    def release(self) -> None:
        """Ends the opening; idempotent."""
        with self._lock:
            if self._released:
                return
            self._released = True
        try:
            self._file.release(self._flags)
        finally:
            self._core.nodes.unpin(self.node)

    def _check(self, allowed: bool) -> None:
        if self._released or not allowed:
            raise oserror(errno.EBADF)


class DirHandle:
    """One opening of a directory: a list of its names that stays as it is until rewound."""

    def __init__(self, node: Node, lister: Lister, hidden: frozenset[bytes]) -> None:
        """``hidden`` names are left out."""
        if not node.is_dir:
            raise oserror(errno.ENOTDIR)
        self.node = node
        self._lister = lister
        self._hidden = hidden
        self._lock = threading.Lock()
        self._fd = backing.reopen(node.fd, os.O_RDONLY | os.O_DIRECTORY)
        self._found: list[backing.Found] | None = None
        self._fitting = sys.maxsize
        self._told = 0

    def entries(self, start: int) -> Iterator[Entry]:
        """The entries from cookie ``start`` on (0: the beginning, read anew).

        "." and ".." come first, without a node. Each other node carries one lookup more, which
        is then the caller's to release; an entry is looked at shortly before it is asked for,
        and left out if it has gone meanwhile. There are only a few, but not none before the end,
        where ``start`` is not the last cookie that was taken.
        """
        found = self._list(start)
        room = sys.maxsize if start in (0, self._told) else _AFTER_SEEK
        # A reply has room for some twenty entries or for hundreds, as the kernel asks for them;
        # what is looked at and then does not fit is looked at again for the next one.
        fitting, first, taken, told = self._fitting, max(start, _DOTS), 0, start
        try:
            for index in range(start, _DOTS):
                yield Entry(found[index][0], index + 1)
                told = index + 1
            while first < len(found) and taken < room:
                count = min(max(fitting - taken, _FEW), BATCH, room - taken)
                entries = self._lister.look(self.node, found[first : first + count], first)
                given = 0
                try:
                    for entry in entries:
                        given += 1
                        yield entry
                        told = entry.cookie
                finally:
                    taken += given
                    self._lister.release(entries[given:])
                first += count
        except GeneratorExit:
            # The last one taken was one too many: it told that the reply is full.
            self._fitting = taken
            raise
        finally:
            self._told = told

    def _list(self, start: int) -> list[backing.Found]:
        with self._lock:
            if self._fd < 0:
                raise oserror(errno.EBADF)
            if start == 0 or self._found is None:
                listed = backing.scan_directory(self._fd)
                if self._hidden:
                    listed = [found for found in listed if found[0] not in self._hidden]
                self._found = [(b".", 0, False), (b"..", 0, False), *listed]
            return self._found

    def fsync(self) -> None:
        """Makes the directory's entries durable."""
        with self._lock:
            if self._fd < 0:
                raise oserror(errno.EBADF)
            backing.fsync(self._fd)

    def release(self) -> None:
        """Closes; idempotent."""
        with self._lock:
            if self._fd >= 0:
                backing.close(self._fd)
                self._fd = -1
