"""Requests for what is told of a file, and of the file system."""

from __future__ import annotations

import stat as modes
from typing import TYPE_CHECKING

from pixfs.fuse.attributes import entry_attributes, statvfs_data
from pixfs.fuse.operations.common import Handlers
from pixfs.fuse.requests import answered
from pixfs.fuse.threads import in_thread

if TYPE_CHECKING:
    import pyfuse3

    from pixfs.fuse.inodes import Inode


class AttributeHandlers(Handlers):
    """Handlers of getattr, setattr and statfs."""

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

    def _attributes(self, inode: Inode) -> pyfuse3.EntryAttributes:
        return entry_attributes(inode, self._volume.stat(inode.node))
