"""Requests for directories that are open, or are being opened."""

from __future__ import annotations

import stat as modes
from typing import TYPE_CHECKING

import pyfuse3

from pixfs.fuse.attributes import ListedAttributes, bare_attributes
from pixfs.fuse.handles import OpenDirectory
from pixfs.fuse.operations.common import Handlers, close_handle
from pixfs.fuse.requests import answered
from pixfs.fuse.threads import in_thread

if TYPE_CHECKING:
    from pixfs.fuse.inodes import Inode
    from pixfs.volume import DirHandle


class DirectoryHandlers(Handlers):
    """Handlers of opendir, readdir and what ends them."""

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
        await in_thread(self.threads.metadata, close_handle, opened.inode, opened.directory.release)

    @answered
    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        opened = self._directories.get(fh)
        await in_thread(self.threads.syncs, opened.directory.fsync)
