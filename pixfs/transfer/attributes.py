"""Owner, mode, extended attributes and times, as far as they can be carried over.

Between volumes everything has to come along (`pixfs.volume.metadata`); to and from other file
systems, and for users who may not give files away, this carries what it can and names the rest.
"""

from __future__ import annotations

import stat

from pixfs.volume import backing
from pixfs.volume.metadata import read_xattrs


def carry_over(source_fd: int, target_fd: int) -> list[str]:
    """Carries attributes from one file or directory to another; returns what could not be, as
    notes for the user. Raises OSError only where even mode and times cannot be set."""
    st = backing.fstat(source_fd)
    notes = _carry_owner(st.st_uid, st.st_gid, target_fd)
    # Rights of an owner who does not come along must not be given to another.
    kept = 0o1777 if notes else 0o7777
    backing.chmod(target_fd, stat.S_IMODE(st.st_mode) & kept)
    left = []
    for name, value in read_xattrs(source_fd).items():
        try:
            backing.set_xattr(target_fd, name, value)
        except OSError as error:
            left.append(f"{name.decode(errors='replace')} ({error.strerror})")
    if left:
        notes.append(f"attributes not carried over: {', '.join(left)}")
    backing.utimens(target_fd, st.st_atime_ns, st.st_mtime_ns)
    return notes


def _carry_owner(uid: int, gid: int, target_fd: int) -> list[str]:
    st = backing.fstat(target_fd)
    if (st.st_uid, st.st_gid) == (uid, gid):
        return []
    try:
        backing.chown(target_fd, uid, gid)
    except OSError as error:
        return [f"owner and group not carried over: {error.strerror}"]
    return []
