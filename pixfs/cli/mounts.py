"""What a mount tells about itself."""

from __future__ import annotations

import json
import os
from typing import Any

from pixfs import runfiles
from pixfs.errors import TargetError


def read_stats(mountpoint: str) -> dict[str, Any]:
    """The mount's counters; TargetError when there is no PixFS mount point."""
    try:
        return dict(json.loads(os.getxattr(mountpoint, "user.pixfs.stats")))
    except OSError as error:
        raise TargetError(f"{mountpoint} is no PixFS mount point: {error.strerror}") from None


def chosen_mounts(named: list[str]) -> list[str]:
    """The mount points named, or those of all of this user's daemons."""
    if named:
        return named
    found = [daemon.mountpoint for daemon in runfiles.daemons()]
    if not found:
        raise TargetError("nothing is mounted; mount with: pixfs mount BACKING MOUNTPOINT")
    return found
