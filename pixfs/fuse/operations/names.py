"""Requests for names: what they lead to, and making, moving and removing them."""

from __future__ import annotations

import logging
import stat as modes
from typing import TYPE_CHECKING

import trio

from pixfs.fuse.inodes import ROOT_NUMBER, Inode
from pixfs.fuse.operations.common import Handlers, owner
from pixfs.fuse.requests import answered
from pixfs.fuse.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyfuse3

    from pixfs.volume import Node

log = logging.getLogger(__name__)

# How long what the kernel has forgotten is gathered before it is let go of.
_FORGETTING_S = 0.01


class NameHandlers(Handlers):
    """Handlers of lookup and forget, and of all that changes a directory."""

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
            self._make, parent, self._volume.mknod, name, mode, rdev, owner(ctx)
        )

    @answered
    async def mkdir(
        self, parent_inode: int, name: bytes, mode: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        parent = self.inodes.get(parent_inode)
        return await self._metadata(
            self._make, parent, self._volume.mkdir, name, modes.S_IMODE(mode), owner(ctx)
        )

    @answered
    async def symlink(
        self, parent_inode: int, name: bytes, target: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        parent = self.inodes.get(parent_inode)
        return await self._metadata(
            self._make, parent, self._volume.symlink, name, target, owner(ctx)
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
