"""Requests for extended attributes, those that show and steer a file's state among them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pixfs.fuse import xattrs
from pixfs.fuse.inodes import ROOT_NUMBER, Inode
from pixfs.fuse.operations.common import Handlers, caller
from pixfs.fuse.requests import answered
from pixfs.fuse.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyfuse3


class XattrHandlers(Handlers):
    """Handlers of getxattr, setxattr, listxattr and removexattr."""

    @answered
    async def getxattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> bytes:
        known = self.inodes.get(inode)
        xattrs.check_get(name)
        if name == xattrs.PID and inode == ROOT_NUMBER:
            return str(os.getpid()).encode()
        if name.startswith(xattrs.CONTROL_PREFIX):
            await self._closed(known)
        limiter = self.threads.conversions if name == xattrs.VERIFY else self.threads.metadata
        return await in_thread(limiter, self._volume.getxattr, known.node, name, caller(ctx))

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
        await in_thread(limiter, self._volume.setxattr, known.node, name, value, 0, caller(ctx))

    @answered
    async def listxattr(self, inode: int, ctx: pyfuse3.RequestContext) -> Sequence[bytes]:
        known = self.inodes.get(inode)
        names = await self._metadata(self._volume.listxattr, known.node, caller(ctx))
        return xattrs.visible(names)

    @answered
    async def removexattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        known = self.inodes.get(inode)
        xattrs.check_remove(name)
        await self._metadata(self._volume.removexattr, known.node, name, caller(ctx))

    async def _closed(self, inode: Inode) -> None:
        """Wait until the handles of inode that have been closed are released.

        close(2) returns before the kernel has its release answered. Whoever closes a file and
        then asks for its conversion must not be told that it is open: the release was sent
        first, so it has been counted by the time the question is read.
        """
        while inode.closing:
            await self._released.park()
