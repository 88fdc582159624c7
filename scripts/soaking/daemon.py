"""The mount of a soak: made, killed, made again, unmounted; and what its daemon holds."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

_ENDING_S = 120.0
_ANONYMOUS = re.compile(r"^RssAnon:\s*(\d+) kB$", re.MULTILINE)


class SoakError(Exception):
    """The soak cannot go on; the message says why."""


@dataclass(frozen=True)
class Sample:
    """What the daemon held at a moment.

    Attributes:
        at: seconds since the soak began.
        pid: the daemon.
        memory: bytes of its own (anonymous) resident memory.
        cache: those of them that are decoded blocks, held within a budget.
        files: descriptors, without those that stand for inodes the kernel knows.
    """

    at: float
    pid: int
    memory: int
    cache: int
    files: int


class Mount:
    """A backing directory and its mount below a directory; one thread."""

    def __init__(self, directory: Path) -> None:
        self.backing = directory / "backing"
        self.path = directory / "mnt"
        self.log = directory / "daemon.log"
        self._environment = os.environ | {"PIXFS_RUN_DIR": str(directory / "run")}
        self.backing.mkdir(parents=True)
        self.path.mkdir()

    def start(self) -> None:
        """Mount; a dead mount is cleared away by it. SoakError."""
        self.pixfs("mount", self.backing, self.path, "--settle", "1", "--log", self.log)

    def stop(self) -> None:
        """Unmount and wait for the daemon. SoakError."""
        self.pixfs("umount", self.path)

    def clean_up(self) -> None:
        """Leave no mount behind, whatever has happened."""
        self.pixfs("umount", "--force", self.path, check=False)
        self.pixfs("umount", "--stale", self.path, check=False)

    def pid(self) -> int:
        """The daemon's process."""
        return int(os.getxattr(self.path, "user.pixfs.pid"))

    def kill(self) -> None:
        """End the daemon as a crash would, and wait until it is gone. SoakError if it hangs."""
        pid = self.pid()
        gone = os.pidfd_open(pid)
        try:
            os.kill(pid, signal.SIGKILL)
            deadline = time.monotonic() + _ENDING_S
            while Path(f"/proc/{pid}/stat").exists() and not _is_zombie(pid):
                if time.monotonic() > deadline:
                    raise SoakError(f"the daemon {pid} does not die")
                time.sleep(0.01)
        finally:
            os.close(gone)

    def limit(self, read: str, write: str) -> None:
        """Set the limits."""
        os.setxattr(self.path, "user.pixfs.throttle.read", read.encode())
        os.setxattr(self.path, "user.pixfs.throttle.write", write.encode())

    def sample(self, at: float) -> Sample:
        """Look at the daemon."""
        pid = self.pid()
        stats = json.loads(os.getxattr(self.path, "user.pixfs.stats"))
        found = _ANONYMOUS.search(Path(f"/proc/{pid}/status").read_text())
        assert found is not None
        files = len(os.listdir(f"/proc/{pid}/fd")) - int(stats["nodes"])
        return Sample(at, pid, int(found[1]) << 10, int(stats["cache"]["bytes"]), files)

    def pixfs(self, *arguments: str | Path, check: bool = True) -> str:
        """Run a command; SoakError when it fails."""
        ran = subprocess.run(
            [sys.executable, "-m", "pixfs.cli", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=self._environment,
        )
        if check and ran.returncode != 0:
            raise SoakError(f"pixfs {arguments[0]}: {ran.stdout}{ran.stderr}".strip())
        return ran.stdout


def _is_zombie(pid: int) -> bool:
    """Whether all that is left of a process is its exit status."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
