"""Whether a mount is what its users need it to be: there for them, and answering.

Everything is asked from outside of the daemon, by this process and a short-lived child, so that
neither a hung mount nor one that only the daemon sees passes for a healthy one.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

from pixfs import runfiles
from pixfs.fuse import mountinfo, xattrs

# Asks for an attribute and prints the value, or the errno: no import but os, to start quickly.
_ASK = (
    "import os, sys\n"
    "try: print('ok', os.getxattr(sys.argv[1], sys.argv[2]).decode())\n"
    "except OSError as error: print('error', error.errno)\n"
)
_DEAD = (errno.ENOTCONN, errno.ECONNABORTED)


def problem(mountpoint: str, timeout_s: float) -> str | None:
    """What is wrong with the mount at an absolute path and what to do about it, or None.

    Waits at most timeout_s seconds for the mount's answer, and never touches it in this process.
    """
    daemon = runfiles.daemon_at(mountpoint)
    mount = mountinfo.mount_at(mountpoint)
    if mount is None:
        return _why_unseen(mountpoint, daemon)
    if not mount.is_pixfs:
        return f"a mount of type {mount.fstype} lies over it; unmount that"
    word, value = _asked(mountpoint, timeout_s)
    if word == "ok":
        return _whose(value, daemon)
    if word == "error" and int(value) in _DEAD:
        return (
            "its daemon is dead; clear it away with pixfs umount --stale"
            f" {mountpoint} and mount it again"
        )
    if word == "error":
        return f"it does not answer: {os.strerror(int(value))}"
    return (
        f"it has not answered for {timeout_s:g} s; the stacks of its daemon"
        f" (kill -USR1 {daemon.pid if daemon else 'PID'}) tell why"
    )


def _why_unseen(mountpoint: str, daemon: runfiles.Daemon | None) -> str:
    if daemon is None:
        return "it is not mounted"
    if _sees(daemon.pid, mountpoint):
        return (
            f"only its daemon (pid {daemon.pid}) sees the mount, in a mount namespace of its own."
            " Under systemd a directive of the unit or of a drop-in makes one (ProtectSystem=,"
            " ProtectHome=, PrivateTmp= and the like): remove it"
        )
    return f"it is unmounted already; its daemon (pid {daemon.pid}) is ending"


def _sees(pid: int, mountpoint: str) -> bool:
    """Whether a process has a PixFS mount there; False when that may not be asked."""
    try:
        text = Path(f"/proc/{pid}/mountinfo").read_text(errors="surrogateescape")
    except OSError:
        return False
    return any(m.is_pixfs and m.mountpoint == mountpoint for m in mountinfo.parse(text))


def _asked(mountpoint: str, timeout_s: float) -> tuple[str, str]:
    """The mount's answer to who its daemon is: ok PID, error ERRNO, or none in time."""
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _ASK, mountpoint, xattrs.PID.decode()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        said, _ = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        child.kill()
        # It may wait in the kernel for as long as the mount hangs: not for us to wait with it.
        child.returncode = -9
        return "none", ""
    word, _, value = said.strip().partition(" ")
    return word, value


def _whose(pid: str, daemon: runfiles.Daemon | None) -> str | None:
    if daemon is not None and pid != str(daemon.pid):
        return f"the daemon {pid} serves it, but the run file names {daemon.pid}; mount it again"
    return None
