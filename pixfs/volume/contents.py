"""What stands behind a logical file at one moment: raw bytes, a container, or damage.

A content owns its descriptors. Readers enter it and leave it; once retired it closes when the
last of them has left, so a swap never closes a descriptor under a running read.
"""

from __future__ import annotations

import errno
import logging
import threading
from typing import TYPE_CHECKING

import codec
from codec import CodecError
from pixfs.volume import backing, pagecache
from pixfs.volume.attributes import Signature
from pixfs.volume.errors import OvertakenError, from_codec, oserror
from pixfs.volume.heads import Head, Kind, read_head

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator
    from concurrent.futures import Executor

    from pixfs.volume.attributes import Buffer
    from pixfs.volume.blockcache import BlockCache
    from pixfs.volume.stats import Stats


log = logging.getLogger(__name__)


class Content:
    """Base of the three; counts who is inside. Any thread may enter, leave and retire."""

    def __init__(self, fd: int, head: Head) -> None:
        self.fd = fd
        self.head = head
        self._gate = threading.Condition()
        self._inside = 0
        self._retired = False

    @property
    def kind(self) -> Kind:
        return self.head.kind

    @property
    def length(self) -> int:
        """Logical length in bytes."""
        return self.head.length

    def enter(self) -> None:
        """Keeps the descriptors open until ``leave``."""
        with self._gate:
            self._inside += 1

    def leave(self) -> None:
        """Ends what ``enter`` began."""
        with self._gate:
            self._inside -= 1
            if self._inside:
                return
            self._gate.notify_all()
            if not self._retired:
                return
        self._close()

    def wait_empty(self) -> None:
        """Waits until nobody is inside; the caller sees to it that nobody enters."""
        with self._gate:
            self._gate.wait_for(lambda: self._inside == 0)

    def retire(self) -> None:
        """Closes, now or when the last one leaves. Nobody enters any more."""
        with self._gate:
            if self._retired:
                return
            self._retired = True
            if self._inside:
                return
        self._close()

    def _close(self) -> None:
        backing.close(self.fd)

    def is_overtaken(self) -> bool:
        """Whether another volume made something else of the inode, in place.

        Raw bytes and wraps stay what they are for as long as the inode has a name.
        """
        return False

    def look(self) -> tuple[os.stat_result, Head]:
        """Attributes of what is stored, and what it is now. Raises OSError."""
        st = backing.fstat(self.fd)
        return st, self.head

    def read(self, offset: int, size: int) -> Buffer:
        """Logical bytes; short at the end of the file. OvertakenError: load it anew."""
        raise NotImplementedError

    def read_cached(self, offset: int, size: int) -> Buffer | None:
        """The same if it takes no waiting, else None."""
        raise NotImplementedError


class RawContent(Content):
    """The user's bytes as they are, from ``base`` on (0, or behind an open wrap's header).

    Attributes:
        wfd: writes, and holds the shared lock; -1 if nobody has the file open for writing.
        is_created: ``fd`` is what the file was created with, and can be ``wfd``, too.
    """

    def __init__(self, fd: int, *, wrap: bool, wfd: int = -1) -> None:
        super().__init__(fd, Head(Kind.WRAP if wrap else Kind.RAW, 0))
        self.base = codec.WRAP_SIZE if wrap else 0
        self.wfd = wfd
        self.is_created = wfd == fd

    @property
    def length(self) -> int:
        return self.length_of(backing.fstat(self.fd))

    def length_of(self, st: os.stat_result) -> int:
        """Logical length of the file with these attributes."""
        return max(0, st.st_size - self.base)

    def look(self) -> tuple[os.stat_result, Head]:
        st = backing.fstat(self.fd)
        return st, Head(self.kind, self.length_of(st))

    def become_raw(self) -> None:
        """The file has been emptied, header and all."""
        self.head = Head(Kind.RAW, 0)
        self.base = 0

    def close_writer(self) -> None:
        """Closes the writing descriptor, and with it gives back the shared lock; not while it is
        the only one."""
        wfd, self.wfd = self.wfd, -1
        if wfd not in (-1, self.fd):
            backing.close(wfd)

    def _close(self) -> None:
        self.close_writer()
        super()._close()

    def read(self, offset: int, size: int) -> Buffer:
        return backing.pread(self.fd, size, offset + self.base)

    def read_cached(self, offset: int, size: int) -> Buffer | None:
        return pagecache.pread_nowait(self.fd, size, offset + self.base)


class _FixedContent(Content):
    """What is only ever replaced as a whole, or seen to have been changed by its signature."""

    def __init__(self, fd: int, head: Head) -> None:
        super().__init__(fd, head)
        # Without the ctime, which a swap and a change of mode set.
        self._signature = Signature.of(backing.fstat(fd))[:4]

    def is_overtaken(self) -> bool:
        return Signature.of(backing.fstat(self.fd))[:4] != self._signature

    def look(self) -> tuple[os.stat_result, Head]:
        st = backing.fstat(self.fd)
        if Signature.of(st)[:4] == self._signature:
            return st, self.head
        return read_head(self.fd)


class BadContent(_FixedContent):
    """Bytes that are no longer what was written: every read is EIO."""

    def read(self, offset: int, size: int) -> Buffer:
        raise oserror(errno.EIO)

    def read_cached(self, offset: int, size: int) -> Buffer | None:
        return None


class ContainerContent(_FixedContent):
    """A PXF container, decoded block by block through the volume's cache.

    Raises CodecError when made from a container whose header or index does not hold.
    """

    def __init__(
        self,
        fd: int,
        head: Head,
        *,
        cache: BlockCache,
        stats: Stats,
        readahead: Executor | None,
        describe: Callable[[], str],
    ) -> None:
        """``describe`` names the file for the log."""
        super().__init__(fd, head)
        self._describe = describe
        self.reader = codec.Reader(fd)
        if self.reader.original_length != head.length:
            raise codec.DamagedError("header", "its length is not the index's")
        # The hash of the original stands for the ctime.
        self.identity = (*self._signature, self.reader.hash)
        self._cache = cache
        self._stats = stats
        self._readahead = readahead
        self._reported = False
        self._ahead: set[int] = set()
        self._passed = 0

    def block(self, index: int) -> Buffer:
        """One decoded block. Raises CodecError."""
        return self._cache.get((self.identity, index), lambda: self.decode(index))

    def decode(self, index: int) -> Buffer:
        """Decodes one block past the cache, and counts it. Raises CodecError."""
        start, stop = self.reader.block_range(index)
        room = self._cache.room(stop - start) if self.reader.fills(index) else None
        block: Buffer = self.reader.decode_block(index, room)
        if self.reader.is_tile(index):
            self._stats.add("tiles_decoded")
        return block

    def read(self, offset: int, size: int) -> Buffer:
        if self.is_overtaken():
            # Blocks of what it was may still be in the cache.
            raise OvertakenError
        end = min(offset + size, self.length)
        if offset >= end:
            return b""
        try:
            return self._gather(offset, end)
        except CodecError as error:
            if self.is_overtaken():
                raise OvertakenError from error
            raise self._report(error) from error

    def _gather(self, offset: int, end: int) -> Buffer:
        parts = self._parts(offset, end)
        return self._cache.join([memoryview(self.block(index))[part] for index, part in parts])

    def read_cached(self, offset: int, size: int) -> Buffer | None:
        if self.is_overtaken():
            return None
        end = min(offset + size, self.length)
        if offset >= end:
            return b""
        pieces = []
        for index, part in self._parts(offset, end):
            block = self._cache.get_cached((self.identity, index))
            if block is None:
                return None
            pieces.append(memoryview(block)[part])
        return self._cache.join(pieces)

    def _parts(self, offset: int, end: int) -> Iterator[tuple[int, slice]]:
        """The blocks that bytes ``offset`` to ``end`` stand in, and where in each of them."""
        index = self.reader.block_at(offset)
        while offset < end:
            start, stop = self.reader.block_range(index)
            yield index, slice(offset - start, min(stop, end) - start)
            offset = stop
            index += 1

    def read_ahead(self, offset: int, blocks: int) -> None:
        """Starts decoding the ``blocks`` blocks after the one that holds ``offset - 1``.

        For a reader that has come to ``offset`` in sequence; returns at once.
        """
        self._pass_by(offset)
        if self._readahead is None or offset >= self.length:
            return
        first = self.reader.block_at(max(0, offset - 1)) + 1
        for index in range(first, min(first + blocks, self.reader.blocks)):
            if self._cache.is_missing((self.identity, index)):
                self._decode_ahead(self._readahead, index)

    def _pass_by(self, offset: int) -> None:
        """Lets the cache know which blocks lie behind a reader."""
        # Not locked: a race between two readers passes some twice, or not at all.
        reached = self.reader.blocks if offset >= self.length else self.reader.block_at(offset)
        first, self._passed = self._passed, reached
        if first < reached:
            self._cache.pass_by([(self.identity, index) for index in range(first, reached)])

    def _decode_ahead(self, executor: Executor, index: int) -> None:
        with self._gate:
            if index in self._ahead or self._retired:
                return
            self._ahead.add(index)
            self._inside += 1
        try:
            future = executor.submit(self._try_decode, index)
        except RuntimeError:
            # The volume is closing; its executor takes nothing more.
            self._end_ahead(index)
        else:
            future.add_done_callback(lambda _: self._end_ahead(index))

    def _end_ahead(self, index: int) -> None:
        with self._gate:
            self._ahead.discard(index)
        self.leave()

    def _try_decode(self, index: int) -> None:
        try:
            self.block(index)
        except (CodecError, OSError) as error:
            # Whoever really reads the block meets the same error and is told.
            log.debug("decoding block %d ahead: %s", index, error)

    def _report(self, error: CodecError) -> OSError:
        if self._reported:
            return oserror(errno.EIO)
        self._reported = True
        return from_codec(error, self._describe())
