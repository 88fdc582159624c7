"""What the handlers of all kinds of requests share."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

import pyfuse3
import trio

from pixfs.fuse.attributes import entry_attributes
from pixfs.fuse.handles import HandleTable, OpenDirectory, OpenFile
from pixfs.fuse.inodes import Inode, InodeTable
from pixfs.fuse.pacing import Pacing
from pixfs.fuse.threads import WorkerThreads
from pixfs.volume import Caller, Owner

if TYPE_CHECKING:
    from collections.abc import Callable

    from pixfs.volume import Node, Volume

log = logging.getLogger(__name__)

R = TypeVar("R")


class Handlers(pyfuse3.Operations):
    """One volume's state as the kernel knows it.

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
            close_handle(file.inode, file.file.release)
        for directory in self._directories.drain():
            close_handle(directory.inode, directory.directory.release)
        self._release_refs(self._forgotten)
        self._release_refs(self.inodes.drain())

    async def _metadata(self, call: Callable[..., R], *args: object) -> R:
        return await self.threads.promptly(self.threads.lookups, call, *args)

    def _enter(self, node: Node, parent: int | None) -> tuple[Inode, pyfuse3.EntryAttributes]:
        """Take over one reference of node for the kernel; worker thread."""
        try:
            stat = self._volume.stat(node)
        except BaseException:
            self._volume.release_refs(node, 1)
            raise
        inode = self.inodes.remember(node, stat.ino, parent)
        return inode, entry_attributes(inode, stat)

    def _release_refs(self, released: list[tuple[Node, int]]) -> None:
        for node, count in released:
            self._volume.release_refs(node, count)


def owner(ctx: pyfuse3.RequestContext) -> Owner:
    """Whose a file is that this request makes."""
    return Owner(uid=ctx.uid, gid=ctx.gid, umask=ctx.umask)


def caller(ctx: pyfuse3.RequestContext) -> Caller:
    """Who asks."""
    return Caller(uid=ctx.uid, gid=ctx.gid)


def close_handle(inode: Inode, release: Callable[[], None]) -> None:
    """Release a handle; the kernel ignores what release answers, so a failure goes to the log."""
    try:
        release()
    except OSError as error:
        log.error("closing inode %d failed: %s", inode.number, error)
