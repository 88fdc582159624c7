"""Run files: which daemon serves which mount point and which backing directory.

A daemon keeps a JSON file in the run directory under an exclusive flock for as long as it lives,
also after its mount point is gone and it finishes what it is converting. Whoever can lock the file
knows that it was left behind, whatever process bears its pid today.

The run directory is ``$PIXFS_RUN_DIR``, else ``/run/pixfs`` for root, else
``$XDG_RUNTIME_DIR/pixfs``, else a private directory of the user's below /tmp.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import stat
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

from pixfs.errors import MountError

# A daemon whose mount is gone finishes what it is converting, for some seconds at most, and ends.
ENDING_S = 15.0
_LOOK_EVERY_S = 0.05


@dataclass(frozen=True)
class Daemon:
    """What a run file says.

    Attributes:
        pid: the daemon's process id in its own pid namespace.
        mountpoint, backing: absolute paths without symbolic links.
        backing_dev, backing_ino: the backing directory's identity.
        log: the file it logs to, or "" for its standard error.
    """

    pid: int
    mountpoint: str
    backing: str
    backing_dev: int
    backing_ino: int
    log: str = ""

    def is_gone_within(self, timeout_s: float | None) -> bool:
        """Wait until the process has ended; False when it still runs after timeout_s."""
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        try:
            return bool(poll.poll(None if timeout_s is None else timeout_s * 1000))
        finally:
            os.close(fd)


class RunFile:
    """The run file of the daemon in this process; close it last."""

    def __init__(self, path: Path, fd: int) -> None:
        self._path = path
        self._fd = fd

    def close(self) -> None:
        """Remove the file, then let the lock go, in this order so that no other's is removed."""
        self._path.unlink(missing_ok=True)
        os.close(self._fd)


def run_directory() -> Path:
    """Where run files are; created, private to the user, when it is missing (OSError)."""
    if named := os.environ.get("PIXFS_RUN_DIR"):
        path = Path(named)
    elif os.geteuid() == 0:
        path = Path("/run/pixfs")
    elif runtime := os.environ.get("XDG_RUNTIME_DIR"):
        path = Path(runtime, "pixfs")
    else:
        path = Path(f"/tmp/pixfs-{os.geteuid()}")
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise MountError(f"the run directory {path} belongs to somebody else; set PIXFS_RUN_DIR")
    return path


def _path_for(mountpoint: str) -> Path:
    name = quote(mountpoint.encode(errors="surrogateescape"), safe="")
    # A path may be longer than a file name; the tail is what tells mounts apart.
    return run_directory() / f"{name[-200:]}.json"


def claim(daemon: Daemon, wait_s: float = ENDING_S) -> RunFile:
    """Lock and write the run file of a mount point; MountError when a living daemon has it.

    It waits up to wait_s seconds for that one to end. Blocks.
    """
    path = _path_for(daemon.mountpoint)
    deadline = time.monotonic() + wait_s
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            if time.monotonic() < deadline:
                time.sleep(_LOOK_EVERY_S)
                continue
            holder = _read(path)
            pid = holder.pid if holder else "?"
            raise MountError(
                f"the daemon of {daemon.mountpoint} (pid {pid}) still runs after {wait_s:g} s; it"
                " may be finishing its queue: wait for it, or make it leave the queue to the next"
                f" mount with: pixfs umount --force {daemon.mountpoint}"
            ) from None
        # The former owner may have removed the file between our open and our lock.
        if _still_names(path, fd):
            break
        os.close(fd)
    os.ftruncate(fd, 0)
    os.pwrite(fd, json.dumps(asdict(daemon)).encode(), 0)
    return RunFile(path, fd)


def _still_names(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except FileNotFoundError:
        return False


def _read(path: Path) -> Daemon | None:
    try:
        return Daemon(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        # Just being written, or being removed.
        return None


def _is_held(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(fd)


class LimitsFile:
    """The limits somebody has set on a mount while it runs: a daemon that was killed comes back
    with them, one that was told to end does not."""

    def __init__(self, mountpoint: str) -> None:
        self._path = _path_for(mountpoint).with_suffix(".limits")

    def load(self) -> dict[str, str] | None:
        """What a killed daemon has left, as texts by name; None when there is nothing."""
        try:
            values = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return None
        return {str(key): str(value) for key, value in dict(values).items()}

    def save(self, limits: dict[str, str]) -> None:
        """Write them in one step. OSError."""
        temporary = self._path.with_suffix(".limits-new")
        temporary.write_text(json.dumps(limits))
        temporary.replace(self._path)

    def remove(self) -> None:
        """Forget them."""
        self._path.unlink(missing_ok=True)


def daemons() -> list[Daemon]:
    """Every living daemon of this user."""
    found = []
    for path in sorted(run_directory().glob("*.json")):
        if _is_held(path) and (daemon := _read(path)) is not None:
            found.append(daemon)
    return found


def daemon_at(mountpoint: str) -> Daemon | None:
    """The living daemon of a mount point, also while it is ending after the mount is gone."""
    path = _path_for(mountpoint)
    return _read(path) if _is_held(path) else None


def daemon_of(backing: os.stat_result) -> Daemon | None:
    """The living daemon that holds a backing directory."""
    for daemon in daemons():
        if (daemon.backing_dev, daemon.backing_ino) == (backing.st_dev, backing.st_ino):
            return daemon
    return None
