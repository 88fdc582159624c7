"""The kernel's list of mounts, read without touching any of them (a mount may hang)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

FSTYPE = "fuse.pixfs"
_MOUNTINFO = Path("/proc/self/mountinfo")
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Mount:
    """One line of /proc/self/mountinfo.

    Attributes:
        mountpoint: absolute path in this mount namespace.
        device: ``major:minor``, as under /sys/class/bdi.
        fstype: ``fuse.pixfs`` for ours.
        source: what is mounted; the backing directory for ours.
    """

    mountpoint: str
    device: str
    fstype: str
    source: str

    @property
    def is_pixfs(self) -> bool:
        return self.fstype == FSTYPE


def _unescape(field: str) -> str:
    # The kernel writes the bytes of space, tab, newline and backslash as octal escapes.
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), field)


def parse(text: str) -> list[Mount]:
    """The mounts in a mountinfo text, in the order they were made."""
    mounts = []
    for line in text.splitlines():
        fields, _, rest = line.partition(" - ")
        head, tail = fields.split(" "), rest.split(" ")
        if len(head) < 6 or len(tail) < 2:
            continue
        mounts.append(Mount(_unescape(head[4]), head[2], tail[0], _unescape(tail[1])))
    return mounts


def mounts() -> list[Mount]:
    """All mounts of this process's namespace; raises OSError when /proc is not there."""
    return parse(_MOUNTINFO.read_text(errors="surrogateescape"))


def mount_at(path: str) -> Mount | None:
    """The topmost mount whose mount point is exactly this path (already absolute)."""
    found = [mount for mount in mounts() if mount.mountpoint == path]
    return found[-1] if found else None


def mount_of(path: str) -> Mount | None:
    """The mount that an absolute path without symbolic links lies on."""
    best: Mount | None = None
    for mount in mounts():
        prefix = mount.mountpoint.rstrip("/") + "/"
        if (path + "/").startswith(prefix) and (
            best is None or len(mount.mountpoint) >= len(best.mountpoint)
        ):
            best = mount
    return best


def resolve_parent(path: str | os.PathLike[str]) -> str:
    """Absolute path with every link but the last component resolved.

    The last component may be a dead mount, of which nothing but its name can be asked.
    """
    absolute = os.path.abspath(path)
    head, tail = os.path.split(absolute)
    return os.path.join(os.path.realpath(head), tail) if tail else absolute
