"""The heartbeat's process: asks the mount for an attribute when its daemon has fallen silent.

    python -I -S pulse.py MOUNTPOINT ATTRIBUTE INTERVAL_S DAEMON_PID DEVICE

Standard input brings a byte whenever the daemon's request loop has gone round. When none comes for
so long, the loop may be waiting for a request, which is then made. SIGTERM ends it. DEVICE is the
mount's, as major:minor; empty if it is not known.

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
    """Attend to the daemon until SIGTERM or until it is gone; 0."""
    mountpoint, attribute, interval_s, daemon, device = arguments
    # The terminal's signals are for the daemon alone.
    ours = {signal.SIGTERM, ORPHANED}
    signal.pthread_sigmask(signal.SIG_BLOCK, ours | {signal.SIGINT, signal.SIGQUIT})
    _libc.prctl(PR_SET_PDEATHSIG, int(ORPHANED), 0, 0, 0)
    if os.getppid() != int(daemon):
        return 0
    gone = os.pidfd_open(int(daemon))
    attending = (0, float(interval_s), mountpoint, attribute)
    threading.Thread(target=attend, args=attending, daemon=True).start()
    if signal.sigwait(ours) == ORPHANED:
        see_out(gone, mountpoint, _number(device))
    # Not by way of the interpreter's end, which would wait for a thread that waits for the mount.
    os._exit(0)


def attend(told: int, interval_s: float, mountpoint: str, attribute: str) -> None:
    """Ask whenever a pipe has brought nothing for so long; return when its other end is closed."""
    poll = select.poll()
    poll.register(told, select.POLLIN)
    while True:
        if not poll.poll(interval_s * 1000):
            ask(mountpoint, attribute)
        elif not os.read(told, 4096):
            return


def ask(mountpoint: str, attribute: str) -> None:
    """Make a request of the mount; its answer does not matter."""
    # Also the answer of the directory underneath will do, once the mount has been detached while
    # files are open: the loop is then kept going by their requests.
    with suppress(OSError):
        os.getxattr(mountpoint, attribute)


def _number(device: str) -> int | None:
    major, _, minor = device.partition(":")
    return os.makedev(int(major), int(minor)) if minor else None


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
