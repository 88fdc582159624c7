"""The mount point: whether one can be made there, and how it is freed again."""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import shutil
import subprocess
from pathlib import Path

from pixfs.errors import MountError
from pixfs.fuse import mountinfo

log = logging.getLogger(__name__)

MNT_DETACH = 2
_FUSE_CONF = Path("/etc/fuse.conf")
_DEAD = (errno.ENOTCONN, errno.ECONNABORTED)


def check_device() -> None:
    """Raise MountError when /dev/fuse cannot be opened."""
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        raise MountError("/dev/fuse is missing; load the kernel's fuse module") from None
    except OSError as error:
        raise MountError(f"cannot open /dev/fuse: {error.strerror}") from None


def prepare(backing: str, mountpoint: str, *, may_cover_files: bool) -> None:
    """Check both directories and clear a dead mount away; MountError says what is wrong.

    Blocks on both file systems; both paths are absolute without symbolic links.
    """
    if not os.path.isdir(backing):
        raise MountError(f"the backing directory {backing} does not exist or is no directory")
    _clear_dead_mount(mountpoint)
    if not os.path.isdir(mountpoint):
        raise MountError(f"the mount point {mountpoint} does not exist or is no directory")
    _check_not_mounted(mountpoint)
    _check_apart(backing, mountpoint)
    if not may_cover_files and os.listdir(mountpoint):
        raise MountError(
            f"the mount point {mountpoint} is not empty: a mount would hide what is in it;"
            " choose another, or insist with -o nonempty"
        )


def _clear_dead_mount(mountpoint: str) -> None:
    try:
        # Not stat: the kernel may still answer that for a dead mount, from its memory.
        os.statvfs(mountpoint)
    except OSError as error:
        if error.errno not in _DEAD:
            return
        log.info("a dead mount at %s is in the way; detaching it", mountpoint)
        detach(mountpoint, lazy=True)


def _check_not_mounted(mountpoint: str) -> None:
    mount = mountinfo.mount_at(mountpoint)
    if mount is not None and mount.is_pixfs:
        raise MountError(f"{mount.source} is already mounted at {mountpoint}")


def _check_apart(backing: str, mountpoint: str) -> None:
    """Refuse a mount that would contain itself, or hide its own backing directory."""
    if _is_within(mountpoint, backing):
        raise MountError(
            f"the mount point {mountpoint} lies in the backing directory {backing}: the mount"
            " would contain itself; choose a mount point outside"
        )
    if _is_within(backing, mountpoint):
        raise MountError(
            f"the backing directory {backing} lies below the mount point {mountpoint} and would"
            " be hidden by the mount; choose a mount point elsewhere"
        )
    under = mountinfo.mount_of(os.path.realpath(backing))
    if under is not None and under.is_pixfs:
        raise MountError(
            f"{backing} lies on the PixFS mount {under.mountpoint}; frames are stored smaller"
            " once only: use a plain directory"
        )


def _is_within(path: str, directory: str) -> bool:
    """Whether path is directory or lies below it, also by way of a bind mount."""
    wanted = os.stat(directory)
    current = os.path.realpath(path)
    while True:
        if os.path.samestat(os.stat(current), wanted):
            return True
        parent = os.path.dirname(current)
        if parent == current:
            return False
        current = parent


def may_allow_other() -> bool:
    """Whether this user may let others use the mount: root, or user_allow_other is set."""
    if os.geteuid() == 0:
        return True
    try:
        lines = _FUSE_CONF.read_text().splitlines()
    except OSError:
        return False
    return any(line.strip() == "user_allow_other" for line in lines)


def fuse_options(backing: str, wanted: frozenset[str]) -> tuple[set[str], bool]:
    """The options to mount with, and whether other users may use the mount.

    Permissions are always checked by the kernel (default_permissions): with allow_other and
    without it, every user could do everything.
    """
    options = {"default_permissions", "subtype=pixfs", f"fsname={_source_name(backing)}"}
    allow_other = "noallow_other" not in wanted and may_allow_other()
    if allow_other:
        options.add("allow_other")
    elif "allow_other" in wanted:
        raise MountError(
            "allow_other needs root, or a line user_allow_other in /etc/fuse.conf; add it, or"
            " mount without the option for yourself alone"
        )
    options |= wanted - {"allow_other", "noallow_other", "nonempty"}
    options |= {"nosuid"} if "suid" not in wanted else set()
    options |= {"nodev"} if "dev" not in wanted else set()
    return options, allow_other


def _source_name(backing: str) -> str:
    # libfuse is handed ASCII, and a comma or backslash would end or escape the option.
    kept = (c if c.isascii() and c.isprintable() and c not in ",\\" else "?" for c in backing)
    return "".join(kept)


def detach(mountpoint: str, *, lazy: bool) -> None:
    """Unmount; lazily also when files are open on it. Raises OSError (EBUSY) or MountError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(os.fsencode(mountpoint), MNT_DETACH if lazy else 0) == 0:
        return
    code = ctypes.get_errno()
    if code != errno.EPERM:
        raise OSError(code, os.strerror(code), mountpoint)
    _detach_as_user(mountpoint, lazy=lazy)


def _detach_as_user(mountpoint: str, *, lazy: bool) -> None:
    program = shutil.which("fusermount3")
    if program is None:
        raise MountError("unmounting as a user needs fusermount3 (package fuse3)")
    command = [program, "-u", *(["-z"] if lazy else []), "--", mountpoint]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if result.returncode != 0:
        message = result.stderr.strip()
        if "busy" in message.lower():
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), mountpoint)
        raise MountError(message or f"fusermount3 failed with status {result.returncode}")
