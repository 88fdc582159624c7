"""The kernel's read-ahead for a mount.

Buffered reads reach the daemon in requests no longer than the read-ahead window, 128 KiB by
default: too short to decode a frame's tiles in parallel. It is set per mount, by root.
"""

from __future__ import annotations

import logging
from pathlib import Path

log = logging.getLogger(__name__)

READ_AHEAD_KIB = 4096
# Under a limit a long request is a long wait for every other reader: this much time at most.
_REQUEST_S = 0.025
_LEAST_KIB = 16
_BDI = Path("/sys/class/bdi")


def raise_read_ahead(device: str, kib: int = READ_AHEAD_KIB, bdi: Path = _BDI) -> bool:
    """Raise the window of the mount on device (``major:minor``) to kib, never lower it.

    Returns whether it is at least that large now. Reads and writes sysfs: not on a trio thread.
    """
    knob = bdi / device / "read_ahead_kb"
    try:
        if int(knob.read_text()) >= kib:
            return True
        knob.write_text(f"{kib}\n")
    except (OSError, ValueError) as error:
        log.info("read-ahead stays at its default (%s): %s", knob, error)
        return False
    return True


def window_kib(limit: int | None) -> int:
    """The window that suits a limit on reading, in bytes a second."""
    if limit is None:
        return READ_AHEAD_KIB
    return max(_LEAST_KIB, min(READ_AHEAD_KIB, int(limit * _REQUEST_S) >> 10))


def set_read_ahead(device: str, kib: int, bdi: Path = _BDI) -> None:
    """Set the window, for files that are opened from now on; only root can, and it is a matter
    of comfort."""
    try:
        (bdi / device / "read_ahead_kb").write_text(f"{kib}\n")
    except OSError as error:
        log.info("read-ahead stays as it is: %s", error)
