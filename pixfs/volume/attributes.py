"""The small value types that cross the volume's border."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import os

Buffer: TypeAlias = bytes | bytearray | memoryview

_FILE_BLKSIZE = 1 << 20
# opendir's buffer, and so what a reply to readdir holds: some 400 entries. With more a listing is
# hardly any quicker, and whoever seeks in a directory has all of them looked at for one.
_DIRECTORY_BLKSIZE = 1 << 16


def blksize(mode: int) -> int:
    """st_blksize: how much a program had better ask for at once."""
    return _DIRECTORY_BLKSIZE if stat.S_ISDIR(mode) else _FILE_BLKSIZE


@dataclass(frozen=True)
class Owner:
    """Who creates something: becomes its owner, and whose umask applies."""

    uid: int
    gid: int
    umask: int = 0o022


@dataclass(frozen=True)
class Caller:
    """Who asks."""

    uid: int
    gid: int


class Stat(NamedTuple):
    """Attributes of a node as its users see them.

    ``size`` is the logical size in bytes, ``blocks`` the 512-byte blocks really stored.
    ``ino`` is the backing inode number when the node was first seen: a conversion gives the
    file another backing inode, but not another number.
    """

    mode: int
    nlink: int
    uid: int
    gid: int
    rdev: int
    size: int
    blocks: int
    blksize: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    dev: int
    ino: int

    @staticmethod
    def of(st: os.stat_result, ino: int, size: int | None = None) -> Stat:
        """From the backing's own attributes, with the number and the logical size shown."""
        return Stat(
            mode=st.st_mode,
            nlink=st.st_nlink,
            uid=st.st_uid,
            gid=st.st_gid,
            rdev=st.st_rdev,
            size=st.st_size if size is None else size,
            blocks=st.st_blocks,
            blksize=blksize(st.st_mode),
            atime_ns=st.st_atime_ns,
            mtime_ns=st.st_mtime_ns,
            ctime_ns=st.st_ctime_ns,
            dev=st.st_dev,
            ino=ino,
        )


class Key(NamedTuple):
    """Names a backing inode for as long as somebody holds it open."""

    dev: int
    ino: int


class Signature(NamedTuple):
    """What must not have changed for a backing file to count as the same bytes."""

    dev: int
    ino: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @staticmethod
    def of(st: os.stat_result) -> Signature:
        """The signature a stat shows."""
        return Signature(st.st_dev, st.st_ino, st.st_size, st.st_mtime_ns, st.st_ctime_ns)

    @property
    def key(self) -> Key:
        return Key(self.dev, self.ino)
