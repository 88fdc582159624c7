"""Owner, mode, extended attributes and times, as far as they can be carried over.

Between volumes everything has to come along (`pixfs.volume.metadata`); to and from other file
systems, and for users who may not give files away, this carries what it can and names the rest.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field

from pixfs.volume import backing
from pixfs.volume.metadata import HIDDEN_XATTRS, read_xattrs

__all__ = ["Attributes", "carry_over", "read_attributes", "set_attributes"]

_NOT_TAKEN = (
    errno.ENOTSUP,
    errno.EPERM,
    errno.EACCES,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.E2BIG,
    errno.ERANGE,
    errno.EINVAL,
)


@dataclass(frozen=True, slots=True)
class Attributes:
    """What goes along with a file's bytes; None is left to the storage."""

    mode: int = 0o644
    mtime_ns: int | None = None
    atime_ns: int | None = None
    uid: int | None = None
    gid: int | None = None
    xattrs: dict[bytes, bytes] = field(default_factory=dict)


def read_attributes(fd: int, st: os.stat_result) -> Attributes:
    """Mode, owner, times and the users' own attributes (``user.``) of an open file."""
    xattrs = {}
    try:
        for name in backing.list_xattrs(fd):
            if name.startswith(b"user.") and not name.startswith(HIDDEN_XATTRS):
                xattrs[name] = backing.get_xattr(fd, name)
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.ENODATA):
            raise
    return _attributes(st, xattrs)


def _attributes(st: os.stat_result, xattrs: dict[bytes, bytes]) -> Attributes:
    return Attributes(
        stat.S_IMODE(st.st_mode), st.st_mtime_ns, st.st_atime_ns, st.st_uid, st.st_gid, xattrs
    )


def carry_over(source_fd: int, target_fd: int) -> list[str]:
    """Carries all attributes from one file or directory to another; notes as `set_attributes`."""
    return set_attributes(target_fd, _attributes(backing.fstat(source_fd), read_xattrs(source_fd)))


def set_attributes(fd: int, attributes: Attributes) -> list[str]:
    """Owner, mode, extended attributes and, last, times of a file or directory.

    Returns notes for people on what could not be set: an owner that may not be given, an
    extended attribute that the storage has no room or no place for. OSError where mode or times
    cannot be set.
    """
    notes = _set_owner(fd, attributes)
    is_owned = attributes.uid is not None and not notes
    # Rights of an owner who does not come along must not be given to another.
    os.fchmod(fd, attributes.mode & (0o7777 if is_owned else 0o1777))
    left = []
    for name, value in attributes.xattrs.items():
        try:
            backing.set_xattr(fd, name, value)
        except OSError as error:
            if error.errno not in _NOT_TAKEN:
                raise
            left.append(f"{name.decode(errors='replace')} ({error.strerror})")
    if left:
        notes.append(f"attributes not carried over: {', '.join(left)}")
    if attributes.mtime_ns is not None:
        atime_ns = attributes.mtime_ns if attributes.atime_ns is None else attributes.atime_ns
        os.utime(fd, ns=(atime_ns, attributes.mtime_ns))
    return notes


def _set_owner(fd: int, attributes: Attributes) -> list[str]:
    if attributes.uid is None or attributes.gid is None:
        return []
    st = backing.fstat(fd)
    if (st.st_uid, st.st_gid) == (attributes.uid, attributes.gid):
        return []
    try:
        backing.chown(fd, attributes.uid, attributes.gid)
    except OSError as error:
        return [f"owner and group not carried over: {error.strerror}"]
    return []
