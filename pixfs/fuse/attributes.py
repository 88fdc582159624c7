"""The volume's answers in the kernel's structures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyfuse3

from pixfs.volume.attributes import blksize

if TYPE_CHECKING:
    import os

    from pixfs.fuse.inodes import Inode
    from pixfs.volume import Stat

# Seconds the kernel may answer lookup and getattr from memory. Every change made through the
# mount, and every conversion, updates or invalidates what it remembers; only a change made
# behind the daemon (another host on the same storage) can stay unseen, and for this long.
ENTRY_TIMEOUT_S = 1.0
ATTR_TIMEOUT_S = 1.0


def entry_attributes(inode: Inode, stat: Stat) -> pyfuse3.EntryAttributes:
    """Attributes of inode as the kernel takes them."""
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = inode.number
    entry.generation = inode.generation
    entry.entry_timeout = ENTRY_TIMEOUT_S
    entry.attr_timeout = ATTR_TIMEOUT_S
    entry.st_mode = stat.mode
    entry.st_nlink = stat.nlink
    entry.st_uid = stat.uid
    entry.st_gid = stat.gid
    entry.st_rdev = stat.rdev
    entry.st_size = stat.size
    entry.st_blksize = stat.blksize
    entry.st_blocks = stat.blocks
    entry.st_atime_ns = stat.atime_ns
    entry.st_mtime_ns = stat.mtime_ns
    entry.st_ctime_ns = stat.ctime_ns
    return entry


class ListedAttributes:
    """What readdir says of one entry after the other, in a structure that is filled anew for each
    of them; one thread at a time."""

    def __init__(self) -> None:
        self._entry = pyfuse3.EntryAttributes()
        self._entry.entry_timeout = ENTRY_TIMEOUT_S
        self._entry.attr_timeout = ATTR_TIMEOUT_S

    def of(self, inode: Inode, st: os.stat_result, length: int) -> pyfuse3.EntryAttributes:
        """Attributes of an inode whose backing shows ``st``; good until the next call."""
        entry = self._entry
        entry.st_ino = inode.number
        entry.generation = inode.generation
        entry.st_mode = st.st_mode
        entry.st_nlink = st.st_nlink
        entry.st_uid = st.st_uid
        entry.st_gid = st.st_gid
        entry.st_rdev = st.st_rdev
        entry.st_size = length
        entry.st_blksize = blksize(st.st_mode)
        entry.st_blocks = st.st_blocks
        entry.st_atime_ns = st.st_atime_ns
        entry.st_mtime_ns = st.st_mtime_ns
        entry.st_ctime_ns = st.st_ctime_ns
        return entry


def bare_attributes(number: int, mode: int) -> pyfuse3.EntryAttributes:
    """What readdir says of an entry the kernel takes no reference to ("." and "..")."""
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = number
    entry.st_mode = mode
    return entry


def statvfs_data(values: os.statvfs_result) -> pyfuse3.StatvfsData:
    """The backing file system's space, as the mount's own."""
    data = pyfuse3.StatvfsData()
    data.f_bsize = values.f_bsize
    data.f_frsize = values.f_frsize
    data.f_blocks = values.f_blocks
    data.f_bfree = values.f_bfree
    data.f_bavail = values.f_bavail
    data.f_files = values.f_files
    data.f_ffree = values.f_ffree
    data.f_favail = values.f_favail
    data.f_namemax = values.f_namemax
    return data
