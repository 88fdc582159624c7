"""A regular file as its users see it, whatever stands behind it on the backing.

All handles of a file share one LogicalFile: one descriptor to read, one to write, one place
where the file changes from raw to container and back. ``mutex`` is held by everything that
changes the file (writes, truncation, attributes, restore, the swap of a conversion) and by
opening and releasing; reading takes no more than entering the content.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import codec
from pixfs.volume import backing, rewrite
from pixfs.volume.attributes import Signature, Stat
from pixfs.volume.contents import ContainerContent, Content, RawContent
from pixfs.volume.errors import OvertakenError, RestoreConflictError, oserror
from pixfs.volume.heads import Head, Kind, begins_like_container, read_head
from pixfs.volume.loading import Loader
from pixfs.volume.locks import lock_shared
from pixfs.volume.metadata import drop_privileges
from pixfs.volume.openings import Openings, is_for_writing
from pixfs.volume.slot import ContentSlot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pixfs.volume.attributes import Buffer
    from pixfs.volume.core import Core
    from pixfs.volume.nodes import Node


log = logging.getLogger(__name__)


class LogicalFile:
    """One regular file. Any thread may call the public methods.

    Attributes:
        conversion: held for the whole of a conversion, so that there is one at a time.
        generation: grows with every opening for writing and every change, so that a
            conversion can tell that what it encoded is no longer the file.
        fsync_failed: an fsync failed, so bytes may be lost that were reported written; stays
            until the file is emptied.
        busy_rounds: conversions in a row that found the file in use.
    """

    def __init__(self, core: Core, node: Node) -> None:
        self._core = core
        self.node = node
        self.mutex = threading.RLock()
        self.conversion = threading.Lock()
        self.generation = 0
        self.fsync_failed = False
        self.busy_rounds = 0
        self._openings = Openings(self.mutex)
        self._slot = ContentSlot()
        self._loader = Loader(core, node)

    # Opening and releasing

    def open(self, flags: int) -> bool:
        """Counts one more handle; returns whether the logical bytes are those of the last
        opening, but for what was written since through the volume (so that pages cached for
        them still hold).
        """
        with self.mutex:
            content = self._load()
            try:
                st, head = self.look()
                self.check_not_replaced(st)
                unchanged = self._openings.is_as_seen((head.length, st.st_mtime_ns))
                if is_for_writing(flags) or flags & os.O_TRUNC:
                    self._begin_writing(content)
                if flags & os.O_TRUNC:
                    self._truncate(0)
                view = self._view()
            except BaseException:
                self._rest()
                raise
            self._openings.add(flags)
            self._rest()
            self._openings.saw(view)
            return not self._openings.take_doubt() and unchanged

    def open_created(self, fd: int, flags: int) -> None:
        """Counts the handle of a file just created; ``fd`` (taken over) writes to it, so that
        a mode that forbids writing holds from the next opening on only."""
        with self.mutex:
            try:
                self._take_created(fd, writable=is_for_writing(flags))
                view = self._view()
            except BaseException:
                self._rest()
                raise
            self.generation += 1
            self._openings.add(flags)
            self._openings.note_writing()
            self._openings.saw(view)
            self._openings.take_doubt()

    def _take_created(self, fd: int, *, writable: bool) -> None:
        """Makes use of the descriptor that a file was created with (taken over)."""
        try:
            if writable:
                lock_shared(fd)
            if writable and self._slot.current is None:
                # It is empty, so it is raw, and nothing else need be opened to write it.
                self.install(RawContent(fd, wrap=False, wfd=fd))
                return
            content = self._load()
            if writable and isinstance(content, RawContent) and content.wfd < 0:
                content.wfd = backing.dup(fd)
        except BaseException:
            backing.close(fd)
            raise
        backing.close(fd)

    def release(self, flags: int) -> None:
        """Ends one handle, opened with these flags."""
        writable = is_for_writing(flags)
        with self.mutex:
            self._openings.remove(flags)
            try:
                if writable:
                    self._openings.saw(self._view())
            finally:
                self._rest()
        if writable:
            self._core.on_release(self.node)

    @property
    def writers(self) -> int:
        """Handles that may write; without ``mutex`` it is a guess."""
        return self._openings.writers

    def wait_written(self, patience_s: float) -> bool:
        """Whether nobody has it open for writing, waiting for closes on their way. Holding
        ``mutex``, which is given up meanwhile."""
        return self._openings.wait_written(patience_s)

    @contextmanager
    def opened(self) -> Iterator[Content]:
        """The content, for the volume's own looking: not an opening a user would notice."""
        with self.mutex:
            content = self._load()
            self._openings.handles += 1
        try:
            with self._slot.pinned() as content:
                yield content
        finally:
            with self.mutex:
                self._openings.handles -= 1
                self._rest()

    def is_idle(self) -> bool:
        """Whether no handle is open and nobody is changing or converting the file; at once."""
        if (
            self._openings.handles
            or self.conversion.locked()
            or not self.mutex.acquire(blocking=False)
        ):
            return False
        self.mutex.release()
        return True

    @property
    def is_open(self) -> bool:
        """Whether a handle is open, so that what is stored may be changing at any moment."""
        return self._openings.handles > 0

    def shut(self) -> None:
        """Closes everything, whoever still has a handle: the volume is closing."""
        with self.mutex:
            self._openings.clear()
            self._rest()

    def _rest(self) -> None:
        """Gives back descriptors that no handle needs."""
        content = self._slot.current
        if self.writers == 0 and isinstance(content, RawContent):
            content.close_writer()
            if content.is_created and self._openings.handles:
                self._stop_writing(content)
        if self._openings.handles == 0:
            self._slot.install(None)

    def _stop_writing(self, content: RawContent) -> None:
        """Whoever still reads a file that was created goes on with a descriptor that only
        reads: the other one counts as a writer for who wants to convert it."""
        try:
            fd = backing.reopen(content.fd, os.O_RDONLY)
        except OSError as error:
            log.info("%s counts as open for writing for longer: %s", self.describe(), error)
            return
        self.install(RawContent(fd, wrap=content.kind is Kind.WRAP))

    def _load(self) -> Content:
        content = self._slot.current
        if content is not None and not content.is_overtaken():
            return content
        loaded = self._loader.load()
        self.install(loaded)
        if content is not None:
            if self.writers:
                self._begin_writing(loaded)
            if self._core.on_content_changed is not None:
                self._core.on_content_changed(self.node)
        return loaded

    def describe(self) -> str:
        """The file's path, quoted, for the log."""
        return self._core.nodes.describe(self.node)

    def content_of(self, fd: int) -> Content:
        """The content a backing descriptor holds; takes it over unless it raises OSError."""
        return self._loader.content_of(fd)

    def _begin_writing(self, content: Content) -> None:
        self.generation += 1
        self._openings.note_writing()
        if not isinstance(content, RawContent) or content.wfd >= 0:
            return
        wfd = backing.reopen(self.node.fd, os.O_RDWR)
        try:
            lock_shared(wfd)
            self.check_not_replaced(backing.fstat(wfd))
        except BaseException:
            backing.close(wfd)
            raise
        content.wfd = wfd

    def check_not_replaced(self, st: os.stat_result) -> None:
        """RestoreConflictError for a file that lost its name to another volume."""
        # Another volume on the same backing directory may have swapped, replaced or removed the
        # file, perhaps while this one waited for the lock: who asks has to look its name up
        # again. A file that was removed through this volume has no names any more.
        if st.st_nlink == 0 and self._core.nodes.names(self.node):
            raise RestoreConflictError

    # The content

    @property
    def content(self) -> Content | None:
        """The content if a handle is open; stays for as long as ``mutex`` is held."""
        return self._slot.current

    def install(self, content: Content) -> None:
        """Makes ``content`` (taken over) the file's content. Holding ``mutex``."""
        self._slot.install(content)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Nobody reads meanwhile. Holding ``mutex``."""
        with self._slot.frozen():
            yield

    def look(self) -> tuple[os.stat_result, Head]:
        """Attributes of what is stored, and what it is. Any thread."""
        content = self._slot.enter()
        if content is not None:
            try:
                return content.look()
            finally:
                content.leave()
        st = self._core.nodes.stat(self.node)
        if st.st_size == 0:
            return st, Head(Kind.RAW, 0)
        head = self._core.heads.get(Signature.of(st))
        return (st, head) if head is not None else self._sniff(st)

    def _sniff(self, st: os.stat_result) -> tuple[os.stat_result, Head]:
        try:
            fd = self._core.nodes.open_to_read(self.node)
        except PermissionError:
            # An unprivileged daemon cannot look into a file its user cannot read.
            return st, Head(Kind.RAW, st.st_size)
        try:
            st, head = read_head(fd)
        finally:
            backing.close(fd)
        self._core.heads.put(Signature.of(st), head)
        return st, head

    def stat(self) -> Stat:
        """Attributes as users see them. ESTALE for a file nobody has open here that lost its
        name to another volume."""
        st, head = self.look()
        if self._openings.handles == 0:
            self.check_not_replaced(st)
        return Stat.of(st, self.node.ino, head.length)

    def stat_at_once(self) -> Stat | None:
        """The same if the storage is local and nothing has to be read or waited for, else None."""
        seen = self._look_at_once()
        if seen is None:
            return None
        st, head = seen
        if self._openings.handles == 0:
            self.check_not_replaced(st)
        return Stat.of(st, self.node.ino, head.length)

    def _look_at_once(self) -> tuple[os.stat_result, Head] | None:
        content = self._slot.try_enter()
        if content is not None:
            try:
                return None if content.is_overtaken() else content.look()
            finally:
                content.leave()
        descriptor = self.node.descriptor
        if self._slot.current is not None or descriptor is None:
            return None
        st = backing.fstat(descriptor)
        head = self._core.heads.get(Signature.of(st)) if st.st_size else Head(Kind.RAW, 0)
        return (st, head) if head is not None else None

    def _view(self) -> tuple[int, int]:
        st, head = self.look()
        return head.length, st.st_mtime_ns

    # Reading

    @property
    def reads_are_short(self) -> bool:
        """Whether a read only moves bytes. Any thread, for a guess: without ``mutex`` the content
        may be another one right after."""
        return isinstance(self._slot.current, RawContent)

    def read(self, offset: int, size: int) -> Buffer:
        """Logical bytes; short at the end. EIO where they cannot be given back exactly."""
        try:
            return self._read(offset, size)
        except OvertakenError:
            with self.mutex:
                self._load()
            return self._read(offset, size)

    def _read(self, offset: int, size: int) -> Buffer:
        with self._slot.pinned() as content:
            try:
                return content.read(offset, size)
            except OSError as error:
                if error.errno == errno.EIO:
                    self._core.stats.add("eio")
                raise

    def read_cached(self, offset: int, size: int) -> Buffer | None:
        """The same without waiting for storage, decoding or locks, else None."""
        content = self._slot.try_enter()
        if content is None:
            return None
        try:
            return content.read_cached(offset, size)
        finally:
            content.leave()

    def read_ahead(self, offset: int) -> None:
        """A reader has come to ``offset`` in sequence."""
        content = self._slot.enter()
        if content is not None:
            try:
                if isinstance(content, ContainerContent):
                    content.read_ahead(offset, self._core.policy.encode_threads + 1)
            finally:
                content.leave()

    # Writing

    def write(self, offset: int, buf: Buffer, *, append: bool = False) -> int:
        """Writes, restoring a compressed file first; returns the bytes written."""
        with self.mutex:
            content = self._writable()
            st = backing.fstat(content.wfd)
            size = content.length_of(st)
            if append:
                offset = size
            if offset < codec.HEAD_SIZE or size < codec.HEAD_SIZE:
                content = self._guard_head(content, offset, buf, size)
            self.generation += 1
            self._openings.note_writing()
            drop_privileges(content.wfd, st)
            return backing.pwrite(content.wfd, buf, offset + content.base)

    def truncate(self, size: int) -> None:
        """Sets the logical size, restoring a compressed file first unless it is to be empty."""
        with self.mutex:
            self._load()
            try:
                self._truncate(size)
                self._openings.saw(self._view())
            finally:
                self._rest()
        if self.writers == 0:
            self._core.on_release(self.node)

    def restore(self) -> None:
        """Makes a compressed file raw again. EIO if it is damaged."""
        with self.mutex:
            self._load()
            try:
                self._writable()
            finally:
                self._rest()

    def _truncate(self, size: int) -> None:
        if size == 0:
            self._empty()
            return
        content = self._writable()
        length = content.length
        if length < codec.HEAD_SIZE and length < size:
            content = self._guard_head(content, size, b"", size)
        self.generation += 1
        drop_privileges(content.wfd, backing.fstat(content.wfd))
        backing.ftruncate(content.wfd, size + content.base)

    def _empty(self) -> None:
        """To size 0, in place: like the native call, old bytes or none; nothing is decoded,
        so it works on a damaged container, too."""
        content = self._load()
        self.generation += 1
        with self.frozen():
            if isinstance(content, RawContent):
                self._begin_writing(content)
                drop_privileges(content.wfd, backing.fstat(content.wfd))
                # Another volume that has it open as a wrap could not tell that it is none now.
                keeps_header = content.kind is Kind.WRAP and self._has_company()
                backing.ftruncate(content.wfd, content.base if keeps_header else 0)
                if not keeps_header:
                    content.become_raw()
            else:
                rewrite.empty(self)
        self.fsync_failed = False

    def _writable(self) -> RawContent:
        """The content as raw bytes, open for writing. Holding ``mutex``."""
        content = self._load()
        if content.kind is Kind.BAD:
            raise oserror(errno.EIO)
        if isinstance(content, RawContent):
            if content.wfd < 0:
                self._begin_writing(content)
            return content
        restored = rewrite.restore(self._core, self)
        self.generation += 1
        return restored

    def _guard_head(self, content: RawContent, offset: int, buf: Buffer, size: int) -> RawContent:
        """Puts the file into an open wrap first if this write would leave it beginning like a
        container: such bytes never lie bare on the backing."""
        if content.kind is Kind.WRAP:
            return content
        length = max(size, offset + len(buf) if len(buf) else 0)
        if not begins_like_container(content.wfd, length, offset, buf):
            return content
        # Beside and swapped in, an empty file, too: another volume that has it open takes what
        # it holds for raw bytes, and would give out the header as such.
        return rewrite.wrap(self._core, self)

    def _has_company(self) -> bool:
        return self._core.area is not None and self._core.area.has_company()

    # Durability and attributes

    def flush(self) -> None:
        """Reports what close(2) of the writing descriptor would."""
        with self.mutex:
            self._openings.note_flush()
            content = self._slot.current
            if isinstance(content, RawContent) and content.wfd >= 0:
                backing.flush(content.wfd)

    def flush_at_once(self) -> bool:
        """The same where there is nothing to report (the storage is local) and nothing to wait
        for; False if it takes `flush`."""
        if self.node.device != self._core.local_device or not self.mutex.acquire(blocking=False):
            return False
        self._openings.note_flush()
        self.mutex.release()
        return True

    def fsync(self, *, datasync: bool) -> None:
        """Makes the bytes durable. After one failure every later call fails, until the file
        is emptied: what was lost then is not known to be on the storage now."""
        if self.fsync_failed:
            raise oserror(errno.EIO)
        with self._slot.pinned() as content:
            try:
                (backing.fdatasync if datasync else backing.fsync)(content.fd)
            except OSError:
                self.fsync_failed = True
                raise

    @contextmanager
    def changing(self) -> Iterator[None]:
        """While an attribute changes; a conversion under way starts over."""
        with self.mutex:
            self.generation += 1
            yield
            if self._openings.has_seen:
                self._openings.saw(self._view())
