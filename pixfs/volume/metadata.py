"""Carrying a file's attributes over to the file that will take its place."""

from __future__ import annotations

import errno
import stat
from typing import TYPE_CHECKING

from pixfs.volume import backing

if TYPE_CHECKING:
    import os

HIDDEN_XATTRS = (b"user.pixfs.", b"trusted.pixfs.")
"""Prefixes of the volume's own xattrs: caches about one file, never carried over."""

_FS_XFLAG_IMMUTABLE = 0x8
_FS_XFLAG_APPEND = 0x10
# SYNC, NOATIME, NODUMP and PROJINHERIT can be set on any file; other flags only report
# (extents, xattrs present) or belong to one file system.
_SETTABLE = 0x20 | 0x40 | 0x80 | 0x200


def read_xattrs(fd: int) -> dict[bytes, bytes]:
    """All xattrs of a file that are not the volume's own."""
    names = [name for name in backing.list_xattrs(fd) if not name.startswith(HIDDEN_XATTRS)]
    return {name: backing.get_xattr(fd, name) for name in names}


def drop_privileges(fd: int, st: os.stat_result) -> None:
    """Clears suid and, where it means group execution, sgid, as a write does natively; ``st`` are
    the file's attributes. Raises OSError."""
    mode = stat.S_IMODE(st.st_mode)
    kept = mode & ~stat.S_ISUID
    if mode & stat.S_IXGRP:
        kept &= ~stat.S_ISGID
    if kept != mode:
        backing.chmod(fd, kept)


def copy_metadata(source_fd: int, target_fd: int) -> None:
    """Owner, mode, all xattrs (ACLs, capabilities), project quota, inode flags and times.

    Checks afterwards that the target has them all. Raises OSError, with the errno of whatever
    could not be carried over; the target is then of no use.
    """
    source = backing.fstat(source_fd)
    target = backing.fstat(target_fd)
    _copy_flags(source_fd, target_fd)
    if (source.st_uid, source.st_gid) != (target.st_uid, target.st_gid):
        backing.chown(target_fd, source.st_uid, source.st_gid)
    backing.chmod(target_fd, stat.S_IMODE(source.st_mode))
    _copy_xattrs(source_fd, target_fd)
    backing.utimens(target_fd, source.st_atime_ns, source.st_mtime_ns)
    if _visible(source) != _visible(backing.fstat(target_fd)):
        raise OSError(errno.ENOTSUP, "owner, mode or times did not take")


def _visible(st: os.stat_result) -> tuple[int, int, int, int]:
    return st.st_uid, st.st_gid, st.st_mode, st.st_mtime_ns


def _copy_xattrs(source_fd: int, target_fd: int) -> None:
    wanted = read_xattrs(source_fd)
    present = read_xattrs(target_fd)
    # A default ACL of the backing root reaches temporaries, too.
    for name in present.keys() - wanted.keys():
        backing.remove_xattr(target_fd, name)
    for name, value in wanted.items():
        if present.get(name) != value:
            backing.set_xattr(target_fd, name, value)


def _copy_flags(source_fd: int, target_fd: int) -> None:
    source = backing.get_fsxattr(source_fd)
    target = backing.get_fsxattr(target_fd)
    if source is None or target is None:
        return
    flags, project = source
    if flags & (_FS_XFLAG_IMMUTABLE | _FS_XFLAG_APPEND):
        raise OSError(errno.EPERM, "the file is immutable or append-only")
    if (flags & _SETTABLE, project) != (target[0] & _SETTABLE, target[1]):
        backing.set_fsxattr(target_fd, flags & _SETTABLE, project)
