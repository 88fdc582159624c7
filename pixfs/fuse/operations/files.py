"""Requests for files that are open, or are being opened."""

from __future__ import annotations

import stat as modes
from typing import TYPE_CHECKING, TypeVar, cast

import pyfuse3
import trio

from pixfs.fuse.handles import OpenFile
from pixfs.fuse.operations.common import Handlers, close_handle, owner
from pixfs.fuse.requests import answered
from pixfs.fuse.threads import Turn, in_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from pixfs.fuse.inodes import Inode
    from pixfs.volume import Handle, Owner
    from pixfs.volume.attributes import Buffer

R = TypeVar("R")

# From this size on the kernel reads ahead, or makes several requests of one read.
_LARGE_READ = 128 << 10


class FileHandlers(Handlers):
    """Handlers of create and open, of reads and writes, and of what ends them."""

    @answered
    async def create(
        self,
        parent_inode: int,
        name: bytes,
        mode: int,
        flags: int,
        ctx: pyfuse3.RequestContext,
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        parent = self.inodes.get(parent_inode)
        handle, inode, entry = await self._metadata(
            self._create, parent, name, modes.S_IMODE(mode), flags, owner(ctx)
        )
        return self._opened(handle, inode, ctx), entry

    def _create(
        self, parent: Inode, name: bytes, mode: int, flags: int, owner: Owner
    ) -> tuple[Handle, Inode, pyfuse3.EntryAttributes]:
        node, handle = self._volume.create(parent.node, name, mode, flags, owner)
        try:
            inode, entry = self._enter(node, parent.number)
        except BaseException:
            handle.release()
            raise
        return handle, inode, entry

    @answered
    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        known = self.inodes.get(inode)
        handle = await self.threads.promptly(
            self.threads.changes, self._volume.open, known.node, flags
        )
        return self._opened(handle, known, ctx)

    def _opened(
        self, handle: Handle, inode: Inode, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.FileInfo:
        turns = trio.CapacityLimiter(self.threads.turns_per_file)
        fh = self._files.add(OpenFile(handle, inode, turns, ctx.pid))
        return pyfuse3.FileInfo(fh=fh, keep_cache=handle.keep_cache)

    @answered
    async def read(self, fh: int, off: int, size: int) -> bytes:
        file = self._files.get(fh)
        limiter, moved = self._volume.throttle.read, 0
        await self.pacing.admit(limiter, file, size)
        try:
            data = file.file.read_cached(off, size)
            if data is None:
                data = await self._read(file, off, size)
            moved = len(data)
        finally:
            limiter.refund(size - moved)
        # pyfuse3 takes any buffer, which spares a copy; its types know only one kind.
        return cast("bytes", data)

    @answered
    async def write(self, fh: int, off: int, buf: bytes) -> int:
        file = self._files.get(fh)
        limiter, moved = self._volume.throttle.write, 0
        await self.pacing.admit(limiter, file, len(buf))
        try:
            moved = await self._change(file, file.file.write, off, buf)
        finally:
            limiter.refund(len(buf) - moved)
        return moved

    @answered
    async def flush(self, fh: int) -> None:
        file = self._files.get(fh)
        # Nothing can be late of a file that is only read: closing it costs no thread.
        if file.file.is_writable and not file.file.flush_at_once():
            await self._change(file, file.file.flush)

    @answered
    async def fsync(self, fh: int, datasync: bool) -> None:
        file = self._files.get(fh)
        await in_thread(self.threads.syncs, file.file.fsync, datasync)

    @answered
    async def release(self, fh: int) -> None:
        file = self._files.remove(fh)
        # No await before this: see XattrHandlers._closed.
        file.inode.closing += 1
        try:
            await self.threads.promptly(
                self.threads.changes, close_handle, file.inode, file.file.release
            )
        finally:
            file.inode.closing -= 1
            self._released.unpark_all()

    async def _read(self, file: OpenFile, off: int, size: int) -> Buffer:
        async with Turn(file.turns):
            if file.file.reads_are_short:
                kind = self.threads.small_reads if size < _LARGE_READ else self.threads.large_reads
                return await self.threads.promptly(kind, file.file.read, off, size)
            return await in_thread(self.threads.data, file.file.read, off, size)

    async def _change(self, file: OpenFile, call: Callable[..., R], *args: object) -> R:
        async with Turn(file.turns):
            return await self.threads.promptly(self.threads.changes, call, *args)
