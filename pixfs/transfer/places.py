"""Where a path lies: on a mount, in a volume that is not mounted, or outside of both."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass

from pixfs import runfiles
from pixfs.errors import TargetError
from pixfs.fuse.mountinfo import mount_of, mounts

log = logging.getLogger(__name__)

HIDDEN_AREA = ".pixfs"


@dataclass(frozen=True)
class Place:
    """A path, which need not exist, and the directory its stored bytes lie in.

    Attributes:
        path: absolute, its directory without symbolic links.
        root: the volume's backing directory; None where there is no volume, or one this user
            may not look into.
        mountpoint: where the volume is mounted, None when it is not.
    """

    path: str
    root: str | None = None
    mountpoint: str | None = None

    @property
    def stored(self) -> str:
        """The path of what is stored: in the backing directory if there is one."""
        if self.root is None or self.mountpoint is None:
            return self.path
        inner = os.path.relpath(self.path, self.mountpoint)
        return os.path.normpath(os.path.join(self.root, inner))

    @property
    def name(self) -> bytes:
        """The last component."""
        return os.fsencode(os.path.basename(self.path))

    def inside(self, name: str) -> Place:
        """The place of an entry, this being a directory."""
        return Place(os.path.join(self.path, name), self.root, self.mountpoint)


def locate(path: str, *, follow: bool = True) -> Place:
    """The place of a path whose directory exists; a symbolic link is itself the place unless
    it is to be followed.

    Raises TargetError for a directory that does not exist, the hidden area, and a backing
    directory that is mounted: its files are to be reached through the mount.
    """
    absolute = os.path.abspath(path)
    if os.path.islink(absolute) and not follow:
        directory = os.path.realpath(os.path.dirname(absolute))
        real = os.path.join(directory, os.path.basename(absolute))
    else:
        real = os.path.realpath(absolute)
        directory = os.path.dirname(real)
    if not os.path.isdir(directory):
        raise TargetError(f"the directory {directory} does not exist")
    mount = mount_of(real)
    if mount is not None and mount.is_pixfs:
        return Place(real, _backing_of(mount.mountpoint), mount.mountpoint)
    _refuse_mounted(real)
    root = _volume_root(real)
    if root is not None and _is_within(real, os.path.join(root, HIDDEN_AREA)):
        raise TargetError(f"{path} belongs to the volume itself")
    return Place(real, root)


def _backing_of(mountpoint: str) -> str | None:
    """The backing directory if this user may know it and work in it."""
    root = backing_of(mountpoint)
    if root is None:
        return None
    try:
        area = os.stat(os.path.join(root, HIDDEN_AREA))
    except OSError:
        return None
    # What lies in the area is the daemon's, and only its user may put anything there.
    return root if area.st_uid == os.geteuid() else None


def backing_of(mountpoint: str, told: str | None = None) -> str | None:
    """The directory a mount shows: ``told``, or what the mount itself tells. None when that is
    out of reach.

    It must be the mount's own in this process's view of the file system: another machine, or a
    container, may have a different directory by that name.
    """
    try:
        root = told or os.fsdecode(os.getxattr(mountpoint, "user.pixfs.backing"))
        is_its_own = _is_behind(root, mountpoint)
    except OSError as error:
        log.debug("a mount's backing directory is out of reach: %s", error)
        return None
    if not is_its_own:
        log.info("the backing directory of a mount is not reachable under its name")
        return None
    return root


def _is_behind(directory: str, mountpoint: str) -> bool:
    """Whether a directory is the one a mount shows: the daemon's run file says so, or, where that
    cannot be read, both show the same times, to the nanosecond, and the same owner."""
    found = os.stat(directory)
    daemon = runfiles.daemon_at(mountpoint)
    if daemon is not None:
        return (daemon.backing_dev, daemon.backing_ino) == (found.st_dev, found.st_ino)
    return _shown(found) == _shown(os.stat(mountpoint))


def _shown(st: os.stat_result) -> tuple[int, ...]:
    return st.st_mtime_ns, st.st_ctime_ns, st.st_uid, st.st_gid, st.st_mode


def _volume_root(real: str) -> str | None:
    current = real
    while True:
        if os.path.isdir(os.path.join(current, HIDDEN_AREA)):
            return current
        parent = os.path.dirname(current)
        if parent == current:
            return None
        current = parent


def _refuse_mounted(real: str) -> None:
    """Raise TargetError when real lies in a backing directory that is mounted."""
    served = [(daemon.backing, daemon.mountpoint) for daemon in runfiles.daemons()]
    served += [(mount.source, mount.mountpoint) for mount in mounts() if mount.is_pixfs]
    for backing, mountpoint in served:
        if os.path.isdir(backing) and _is_within(real, backing):
            raise AliasedBackingError(real, backing, mountpoint)


class AliasedBackingError(TargetError):
    """A path in a backing directory that a daemon serves."""

    def __init__(self, path: str, backing: str, mountpoint: str) -> None:
        inner = os.path.relpath(os.path.realpath(path), os.path.realpath(backing))
        seen = os.path.normpath(os.path.join(mountpoint, inner))
        super().__init__(f"{path} lies in a volume that is mounted at {mountpoint}; use {seen}")


def _is_within(path: str, directory: str) -> bool:
    """Whether an existing directory is path or lies above it, also by way of a bind mount."""
    try:
        wanted = os.stat(directory)
    except OSError:
        return False
    current = path
    while True:
        try:
            if os.path.samestat(os.stat(current, follow_symlinks=False), wanted):
                return True
        except FileNotFoundError:
            pass
        parent = os.path.dirname(current)
        if parent == current:
            return False
        current = parent


def is_same_or_within(path: str, directory: str) -> bool:
    """Whether path, which need not exist, is directory or lies in it."""
    return _is_within(path, directory)
