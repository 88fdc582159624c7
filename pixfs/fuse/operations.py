"""The request handlers: translate, call the volume in a worker thread, answer.

Handlers run as trio tasks, one per request, many at once. The handle tables are touched between
awaits only; the inode table is thread-safe and is used from the worker threads too, so that a
lookup's reference, its attributes and its count change hands in one thread hop.
"""

from __future__ import annotations

import logging
import os
import stat as modes
from typing import TYPE_CHECKING, TypeVar, cast

import pyfuse3
import trio

from pixfs.fuse import xattrs
from pixfs.fuse.attributes import (
    ListedAttributes,
    bare_attributes,
    entry_attributes,
    statvfs_data,
)
from pixfs.fuse.handles import HandleTable, OpenDirectory, OpenFile
from pixfs.fuse.inodes import ROOT_NUMBER, Inode, InodeTable
from pixfs.fuse.pacing import Pacing
from pixfs.fuse.requests import answered
from pixfs.fuse.threads import Turn, WorkerThreads, in_thread
from pixfs.volume import Caller, Owner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pixfs.volume import DirHandle, Handle, Node, Volume
    from pixfs.volume.attributes import Buffer

log = logging.getLogger(__name__)

R = TypeVar("R")

# How long what the kernel has forgotten is gathered before it is let go of.
_FORGETTING_S = 0.01
# From this size on the kernel reads ahead, or makes several requests of one read.
_LARGE_READ = 128 << 10


class Operations(pyfuse3.Operations):
    """One volume's request handlers; the session owns it and closes the volume after it.

    Attributes:
        taken: how many requests have been taken up.
    """

    # With a write-back cache the kernel would own size and mtime of open files, and a conversion
    # could not tell a settled file from one with dirty pages.
    enable_writeback_cache = False
    enable_acl = False
    supports_dot_lookup = True

    def __init__(self, volume: Volume, threads: WorkerThreads | None = None) -> None:
        super().__init__()
        self._volume = volume
        self.threads = threads or WorkerThreads()
        self.inodes = InodeTable(volume.root)
        self._files: HandleTable[OpenFile] = HandleTable()
        self._directories: HandleTable[OpenDirectory] = HandleTable()
        self._released = trio.lowlevel.ParkingLot()
        self._forgotten: list[tuple[Node, int]] = []
        self.initialized = trio.Event()
        self.taken = 0
        self.pacing = Pacing()

    def init(self) -> None:
        """Note that the kernel has agreed on the protocol: from here on it sends requests."""
        self.initialized.set()

    def release_everything(self) -> None:
        """Close what the kernel left open and forget what it knew, after the main loop ended.

        An unmount discards releases and forgets that were still queued. Any thread.
        """
        for file in self._files.drain():
            _close(file.inode, file.file.release)
        for directory in self._directories.drain():
            _close(directory.inode, directory.directory.release)
        self._release_refs(self._forgotten)
        self._release_refs(self.inodes.drain())

    async def _metadata(self, call: Callable[..., R], *args: object) -> R:
        return await self.threads.promptly(self.threads.lookups, call, *args)

    async def _read(self, file: OpenFile, off: int, size: int) -> Buffer:
        async with Turn(file.turns):
            if file.file.reads_are_short:
                kind = self.threads.small_reads if size < _LARGE_READ else self.threads.large_reads
                return await self.threads.promptly(kind, file.file.read, off, size)
            return await in_thread(self.threads.data, file.file.read, off, size)

    async def _change(self, file: OpenFile, call: Callable[..., R], *args: object) -> R:
        async with Turn(file.turns):
            return await self.threads.promptly(self.threads.changes, call, *args)

    def _enter(self, node: Node, parent: int | None) -> tuple[Inode, pyfuse3.EntryAttributes]:
        """Take over one reference of node for the kernel; worker thread."""
        try:
            stat = self._volume.stat(node)
        except BaseException:
            self._volume.release_refs(node, 1)
            raise
        inode = self.inodes.remember(node, stat.ino, parent)
        return inode, entry_attributes(inode, stat)

    def _attributes(self, inode: Inode) -> pyfuse3.EntryAttributes:
        return entry_attributes(inode, self._volume.stat(inode.node))

    # Names

    @answered
    async def lookup(
        self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        parent = self.inodes.get(parent_inode)
        if parent_inode == ROOT_NUMBER and name == b"..":
            # Nothing above the backing directory may be reached.
            name = b"."
        return await self._metadata(self._lookup, parent, name)

    def _lookup(self, parent: Inode, name: bytes) -> pyfuse3.EntryAttributes:
        node = self._volume.lookup(parent.node, name)
        return self._enter(node, None if name in (b".", b"..") else parent.number)[1]

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        # The table first and here: what follows may run later, in any order.
        released = [self.inodes.forget(number, count) for number, count in inode_list]
        is_gathering = bool(self._forgotten)
        self._forgotten += [r for r in released if r is not None]
        if is_gathering or not self._forgotten:
            return
        # Nobody waits for it, and whoever removes many files has them forgotten one by one.
        await trio.sleep(_FORGETTING_S)
        held, self._forgotten = self._forgotten, []
        await self._forget(held)

    async def _forget(self, held: list[tuple[Node, int]]) -> None:
        try:
            await in_thread(self.threads.metadata, self._release_refs, held)
        except Exception:
            # An exception would end the mount.
            log.exception("forget failed for %d inodes; their references leak", len(held))

    def _release_refs(self, released: list[tuple[Node, int]]) -> None:
        for node, count in released:
            self._volume.release_refs(node, count)

    @answered
    async def mknod(
        self,
        parent_inode: int,
        name: bytes,
        mode: int,
        rdev: int,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        parent = self.inodes.get(parent_inode)
        return await self._metadata(
            self._make, parent, self._volume.mknod, name, mode, rdev, _owner(ctx)
        )

    @answered
    async def mkdir(
        self, parent_inode: int, name: bytes, mode: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        parent = self.inodes.get(parent_inode)
        return await self._metadata(
            self._make, parent, self._volume.mkdir, name, modes.S_IMODE(mode), _owner(ctx)
        )

    @answered
    async def symlink(
        self, parent_inode: int, name: bytes, target: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        parent = self.inodes.get(parent_inode)
        return await self._metadata(
            self._make, parent, self._volume.symlink, name, target, _owner(ctx)
        )

    def _make(
        self, parent: Inode, make: Callable[..., Node], *args: object
    ) -> pyfuse3.EntryAttributes:
        return self._enter(make(parent.node, *args), parent.number)[1]

    @answered
    async def link(
        self, inode: int, new_parent_inode: int, new_name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        source = self.inodes.get(inode)
        parent = self.inodes.get(new_parent_inode)
        return await self._metadata(self._link, source, parent, new_name)

    def _link(self, source: Inode, parent: Inode, name: bytes) -> pyfuse3.EntryAttributes:
        return self._enter(self._volume.link(source.node, parent.node, name), parent.number)[1]

    @answered
    async def unlink(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        parent = self.inodes.get(parent_inode)
        await self._metadata(self._volume.unlink, parent.node, name)

    @answered
    async def rmdir(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        parent = self.inodes.get(parent_inode)
        await self._metadata(self._volume.rmdir, parent.node, name)

    @answered
    async def rename(
        self,
        parent_inode_old: int,
        name_old: bytes,
        parent_inode_new: int,
        name_new: bytes,
        flags: int,
        ctx: pyfuse3.RequestContext,
    ) -> None:
        old = self.inodes.get(parent_inode_old)
        new = self.inodes.get(parent_inode_new)
        await self._metadata(self._volume.rename, old.node, name_old, new.node, name_new, flags)

    @answered
    async def readlink(self, inode: int, ctx: pyfuse3.RequestContext) -> bytes:
        return await self._metadata(self._volume.readlink, self.inodes.get(inode).node)

    # Attributes

    @answered
    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        known = self.inodes.get(inode)
        # The kernel asks for a directory's anew whenever a name in it was made or removed.
        stat = self._volume.stat_at_once(known.node)
        if stat is not None:
            return entry_attributes(known, stat)
        return await self._metadata(self._attributes, known)

    @answered
    async def setattr(
        self,
        inode: int,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: int | None,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        known = self.inodes.get(inode)
        handle = None if fh is None else self._files.get(fh).file
        if fields.update_size:
            # Truncating a container decodes and rewrites the frame: no metadata thread for that.
            size = attr.st_size
            await in_thread(self.threads.data, self._volume.truncate, known.node, size, handle)
        return await self._metadata(self._set_attributes, known, attr, fields)

    def _set_attributes(
        self, inode: Inode, attr: pyfuse3.EntryAttributes, fields: pyfuse3.SetattrFields
    ) -> pyfuse3.EntryAttributes:
        volume, node = self._volume, inode.node
        if fields.update_uid or fields.update_gid:
            uid = attr.st_uid if fields.update_uid else -1
            gid = attr.st_gid if fields.update_gid else -1
            volume.chown(node, uid, gid)
        if fields.update_mode:
            volume.chmod(node, modes.S_IMODE(attr.st_mode))
        if fields.update_atime or fields.update_mtime:
            atime_ns = attr.st_atime_ns if fields.update_atime else None
            mtime_ns = attr.st_mtime_ns if fields.update_mtime else None
            volume.utimens(node, atime_ns, mtime_ns)
        return self._attributes(inode)

    @answered
    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        return statvfs_data(await self._metadata(self._volume.statfs))

    # Files

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
            self._create, parent, name, modes.S_IMODE(mode), flags, _owner(ctx)
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
        # No await before this: see _closed.
        file.inode.closing += 1
        try:
            await self.threads.promptly(self.threads.changes, _close, file.inode, file.file.release)
        finally:
            file.inode.closing -= 1
            self._released.unpark_all()

    async def _closed(self, inode: Inode) -> None:
        """Wait until the handles of inode that have been closed are released.

        close(2) returns before the kernel has its release answered. Whoever closes a file and
        then asks for its conversion must not be told that it is open: the release was sent
        first, so it has been counted by the time the question is read.
        """
        while inode.closing:
            await self._released.park()

    # Directories

    @answered
    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        known = self.inodes.get(inode)
        directory = await self._metadata(self._volume.opendir, known.node)
        return self._directories.add(OpenDirectory(directory, known))

    @answered
    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        opened = self._directories.get(fh)
        await in_thread(
            self.threads.metadata, self._fill, opened.directory, opened.inode, start_id, token
        )

    def _fill(
        self, directory: DirHandle, inode: Inode, start: int, token: pyfuse3.ReaddirToken
    ) -> None:
        attributes, told = ListedAttributes(), 0
        try:
            for name, cookie, node, st, length in directory.entries(start):
                if node is None or st is None:
                    number = inode.number if name == b"." else inode.parent
                    bare = bare_attributes(number, modes.S_IFDIR)
                    if not pyfuse3.readdir_reply(token, name, bare, cookie):
                        return
                else:
                    # The kernel counts each entry that it is told of as looked up.
                    known = self.inodes.remember(node, node.ino, inode.number)
                    entry = attributes.of(known, st, length)
                    if not pyfuse3.readdir_reply(token, name, entry, cookie):
                        self.inodes.forget(known.number, 1)
                        self._volume.release_refs(node, 1)
                        return
                told += 1
        except OSError:
            # What fails after the first one fails again, alone, at the beginning of the next reply:
            # an error in place of a reply would leave its entries counted as looked up.
            if not told:
                raise

    @answered
    async def releasedir(self, fh: int) -> None:
        opened = self._directories.remove(fh)
        await in_thread(self.threads.metadata, _close, opened.inode, opened.directory.release)

    @answered
    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        opened = self._directories.get(fh)
        await in_thread(self.threads.syncs, opened.directory.fsync)

    # Extended attributes

    @answered
    async def getxattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> bytes:
        known = self.inodes.get(inode)
        xattrs.check_get(name)
        if name == xattrs.PID and inode == ROOT_NUMBER:
            return str(os.getpid()).encode()
        if name.startswith(xattrs.CONTROL_PREFIX):
            await self._closed(known)
        limiter = self.threads.conversions if name == xattrs.VERIFY else self.threads.metadata
        return await in_thread(limiter, self._volume.getxattr, known.node, name, _caller(ctx))

    @answered
    async def setxattr(
        self, inode: int, name: bytes, value: bytes, ctx: pyfuse3.RequestContext
    ) -> None:
        known = self.inodes.get(inode)
        xattrs.check_set(name)
        if name == xattrs.STATE:
            await self._closed(known)
        limiter = self.threads.conversions if name == xattrs.STATE else self.threads.metadata
        # CREATE and REPLACE have been checked by pyfuse3 before it calls.
        await in_thread(limiter, self._volume.setxattr, known.node, name, value, 0, _caller(ctx))

    @answered
    async def listxattr(self, inode: int, ctx: pyfuse3.RequestContext) -> Sequence[bytes]:
        known = self.inodes.get(inode)
        names = await self._metadata(self._volume.listxattr, known.node, _caller(ctx))
        return xattrs.visible(names)

    @answered
    async def removexattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        known = self.inodes.get(inode)
        xattrs.check_remove(name)
        await self._metadata(self._volume.removexattr, known.node, name, _caller(ctx))


def _owner(ctx: pyfuse3.RequestContext) -> Owner:
    return Owner(uid=ctx.uid, gid=ctx.gid, umask=ctx.umask)


def _caller(ctx: pyfuse3.RequestContext) -> Caller:
    return Caller(uid=ctx.uid, gid=ctx.gid)


def _close(inode: Inode, release: Callable[[], None]) -> None:
    """Release a handle; the kernel ignores what release answers, so a failure goes to the log."""
    try:
        release()
    except OSError as error:
        log.error("closing inode %d failed: %s", inode.number, error)
