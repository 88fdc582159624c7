"""The heartbeat's process: asks the mount for an attribute, over and over, and says so.

    python -I -S pulse.py MOUNTPOINT ATTRIBUTE INTERVAL_S DAEMON_PID

Each answer of the mount, an error too, becomes one byte on standard output. SIGTERM ends it.

It is a process of its own because whoever waits for an answer of the mount cannot be killed once
the request has been read: the kernel waits for the daemon, and for nothing else. Were that a
thread of the daemon, a SIGKILL would leave it waiting for itself, with the connection open: dead,
and every user of the mount hung. Here a killed daemon's end of the connection closes, and that
answers the request.

For the same reason it sees its daemon out: should any thread of a killed daemon be caught in the
kernel all the same, it breaks the connection, which frees the thread and all who wait with it.

Only the standard library is imported: it starts in some milliseconds and stays small.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import threading
from contextlib import suppress

PR_SET_PDEATHSIG = 1
MNT_FORCE = 1
# Sent by the kernel when the thread that started this process has ended.
ORPHANED = signal.SIGUSR1
# What a killed daemon may take to be gone: it frees its memory, nothing else.
DYING_S = 10.0
_CONNECTIONS = "/sys/fs/fuse/connections"
_libc = ctypes.CDLL(None, use_errno=True)


def main(arguments: list[str]) -> int:
    """Beat until SIGTERM or until the daemon is gone; 0."""
    mountpoint, attribute, interval_s, daemon = arguments
    # The terminal's signals are for the daemon alone.
    ours = {signal.SIGTERM, ORPHANED}
    signal.pthread_sigmask(signal.SIG_BLOCK, ours | {signal.SIGINT, signal.SIGQUIT})
    _libc.prctl(PR_SET_PDEATHSIG, int(ORPHANED), 0, 0, 0)
    if os.getppid() != int(daemon):
        return 0
    gone = os.pidfd_open(int(daemon))
    device = _Device()
    beating = (mountpoint, attribute, float(interval_s), device)
    threading.Thread(target=_beat, args=beating, daemon=True).start()
    if signal.sigwait(ours) == ORPHANED:
        see_out(gone, mountpoint, device.number)
    # Not by way of the interpreter's end, which would wait for a thread that waits for the mount.
    os._exit(0)


class _Device:
    """The mount's device number, once the mount has told it."""

    number: int | None = None


def _beat(mountpoint: str, attribute: str, interval_s: float, device: _Device) -> None:
    pause = threading.Event()
    while True:
        with suppress(OSError):
            # Also the answer of the directory underneath will do, once the mount has been
            # detached while files are open: the loop is then kept going by their requests.
            os.getxattr(mountpoint, attribute)
            if device.number is None:
                device.number = os.stat(mountpoint).st_dev
        try:
            os.write(1, b".")
        except OSError:
            return
        pause.wait(interval_s)


def see_out(daemon: int, mountpoint: str, device: int | None) -> None:
    """Wait for a dying daemon (a pidfd); break its connection if it cannot die."""
    poll = select.poll()
    poll.register(daemon, select.POLLIN)
    if not poll.poll(DYING_S * 1000) and device is not None:
        break_connection(mountpoint, device)


def break_connection(mountpoint: str, device: int) -> None:
    """End a FUSE connection from outside: every request on it is answered with an error."""
    try:
        with open(f"{_CONNECTIONS}/{os.minor(device)}/abort", "w") as abort:
            abort.write("1")
    except OSError:
        # The control file system is not mounted, or we are not root. The mount may be somebody
        # else's by now: a new daemon's.
        if _is_mounted(mountpoint, device):
            _libc.umount2(os.fsencode(mountpoint), MNT_FORCE)


def _is_mounted(mountpoint: str, device: int) -> bool:
    """Whether this device is what is mounted there; asks the kernel's list, not the mount."""
    escaped = "".join(f"\\{ord(c):03o}" if c in " \t\n\\" else c for c in mountpoint)
    with open("/proc/self/mountinfo", errors="surrogateescape") as file:
        found = [fields[2] for line in file if (fields := line.split(" "))[4] == escaped]
    return bool(found) and found[-1] == f"{os.major(device)}:{os.minor(device)}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
