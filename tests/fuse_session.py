"""Real mounts for tests: a daemon in a process of its own, always cleaned up."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pixfs.fuse.mountinfo import mount_at
from pixfs.fuse.mountpoint import detach
from tests.checklogs import lines_to_act_on

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIMEOUT_S = 180


def fuse_available() -> str | None:
    """Why nothing can be mounted here, or None when it can."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "/dev/fuse cannot be opened"
    if os.geteuid() != 0 and shutil.which("fusermount3") is None:
        return "fusermount3 is not installed and we are not root"
    return None


class Mounted:
    """One backing directory and its mount point; the daemon may come and go.

    Attributes:
        backing, path: the backing directory and the mount point.
        log: the daemon's log.
    """

    def __init__(self, directory: Path, run: Path | None = None) -> None:
        """``run``: where another mount keeps its run file, so that each knows of the other."""
        self.backing = directory / "backing"
        self.path = directory / "mnt"
        self.log = directory / "daemon.log"
        self._run = run or directory / "run"
        self._process: subprocess.Popen[bytes] | None = None
        self._expected: list[str] = []
        self.backing.mkdir()
        self.path.mkdir()

    @property
    def environment(self) -> dict[str, str]:
        """The environment every pixfs command of this mount runs in."""
        return os.environ | {"PIXFS_RUN_DIR": str(self._run)}

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        assert self._process is not None
        return self._process.pid

    def start(self, *arguments: str, settle_s: float = 0.0) -> None:
        """Mount and return when the mount answers; fails with the daemon's own words."""
        reading, writing = os.pipe()
        command = [sys.executable, "-m", "pixfs.cli", "mount", str(self.backing), str(self.path)]
        command += ["--foreground", "--log", str(self.log), "--ready-fd", str(writing)]
        command += ["--settle", str(settle_s), *arguments]
        with open(reading, encoding="utf-8") as report:
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    env=self.environment,
                    pass_fds=(writing,),
                )
            finally:
                os.close(writing)
            said = report.read()
        if said != "ready":
            self._process.wait(TIMEOUT_S)
            raise AssertionError(f"mount failed: {said!r}\n{self.log.read_text()}")

    def expect_log(self, pattern: str) -> None:
        """Say that the daemon may log warnings that match."""
        self._expected.append(pattern)

    def stop(self) -> int:
        """End the daemon with SIGTERM and return its exit status."""
        process, self._process = self._process, None
        assert process is not None
        process.send_signal(signal.SIGTERM)
        return process.wait(TIMEOUT_S)

    def kill(self) -> None:
        """End the daemon as a crash would."""
        process, self._process = self._process, None
        assert process is not None
        process.kill()
        process.wait(TIMEOUT_S)

    def wait_daemon(self) -> int:
        """Wait for a daemon that is ending by itself and return its exit status."""
        process, self._process = self._process, None
        assert process is not None
        return process.wait(TIMEOUT_S)

    def clean_up(self) -> None:
        """End the daemon whatever state it is in, and leave no mount behind."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGUSR1)
                process.kill()
                process.wait()
        while mount_at(str(self.path)) is not None:
            detach(str(self.path), lazy=True)

    def check_log(self) -> None:
        """Fail for every warning in the daemon's log that was not expected."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        serious = [
            line
            for line in lines_to_act_on(text)
            if not any(re.search(pattern, line) for pattern in self._expected)
        ]
        assert not serious, "the daemon logged:\n" + "\n".join(serious)

    # What tests ask

    def pixfs(
        self, *arguments: str | Path, status: int | None = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run a pixfs command; checks its exit status unless status is None."""
        result = subprocess.run(
            [sys.executable, "-m", "pixfs.cli", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=TIMEOUT_S,
        )
        if status is not None:
            assert result.returncode == status, f"{result.stdout}\n{result.stderr}"
        return result

    def stats(self) -> dict[str, Any]:
        """The mount's counters."""
        return dict(json.loads(os.getxattr(self.path, "user.pixfs.stats")))

    def state(self, path: Path) -> str:
        """A file's state."""
        return xattr(path, "state")

    def wait_settled(self, path: Path) -> str:
        """Wait until a file is neither raw nor queued, and return its state."""
        deadline = time.monotonic() + TIMEOUT_S
        while (state := self.state(path)) in ("raw", "queued"):
            assert time.monotonic() < deadline, f"{path} stays {state}: {xattr(path, 'reason')}"
            self.pixfs("wait", self.path)
        return state


def xattr(path: Path, name: str) -> str:
    """A control attribute of a file."""
    return os.getxattr(path, f"user.pixfs.{name}").decode()


@contextmanager
def mounted(
    directory: Path, *arguments: str, settle_s: float = 0.0, run: Path | None = None
) -> Iterator[Mounted]:
    """A mount below directory, checked for warnings and gone afterwards."""
    mount = Mounted(directory, run)
    try:
        mount.start(*arguments, settle_s=settle_s)
        yield mount
    finally:
        mount.clean_up()
    mount.check_log()
