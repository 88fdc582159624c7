"""Which extended attributes the mount carries, before the volume is asked.

The rest of ``user.pixfs.`` belongs to the volume; here stand the namespaces FUSE treats in a way
of its own, and the one attribute that only the daemon can answer.
"""

from __future__ import annotations

import errno
import os

CONTROL_PREFIX = b"user.pixfs."
# Root only: the daemon's process id. Answered without a thread, which makes reading it a probe
# of the request loop alone.
PID = b"user.pixfs.pid"
STATE = b"user.pixfs.state"
VERIFY = b"user.pixfs.verify"

# POSIX ACLs are not enforced by the mount (permissions are the mode bits), so they are neither
# shown nor taken: an ACL that is stored and ignored would be a false promise.
_UNSUPPORTED_PREFIX = b"system.posix_acl_"
# Neither means anything on a mount: file capabilities because it is nosuid, SELinux labels because
# a FUSE mount has one label for all its files. But the kernel asks for the one before every single
# write and `ls -l` for the other with every single file: they are answered here, as absent.
_ABSENT = (b"security.capability", b"security.selinux")


def check_get(name: bytes) -> None:
    """Raise the OSError that reading this name gets, if the mount does not carry it."""
    if name in _ABSENT:
        raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))
    if name.startswith(_UNSUPPORTED_PREFIX):
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))


def check_set(name: bytes) -> None:
    """Raise the OSError that setting this name gets, if the mount does not carry it."""
    if name in _ABSENT or name.startswith(_UNSUPPORTED_PREFIX):
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
    if name == PID:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def check_remove(name: bytes) -> None:
    """Raise the OSError that removing this name gets, if the mount does not carry it."""
    check_get(name)
    if name == PID:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def visible(names: list[bytes]) -> list[bytes]:
    """The names of a backing file that the mount lists."""
    return [n for n in names if n not in _ABSENT and not n.startswith(_UNSUPPORTED_PREFIX)]
