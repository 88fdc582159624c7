"""The places a mount run measures: a native directory, a pass-through mount, PixFS mounts.

Each place owns what it starts. `stop` unmounts whatever happens, so a run that fails or is
interrupted leaves no mount behind.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.errors import BenchError, MissingToolError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOUNT_TIMEOUT_S = 120.0
_ENDING_TIMEOUT_S = 600.0


class Place:
    """A directory to write to and read from; this one is native."""

    def __init__(self, name: str, backing: Path) -> None:
        self.name = name
        self.backing = backing
        self.root = backing
        backing.mkdir(parents=True)

    def start(self) -> None:
        """Make `root` usable."""

    def stop(self) -> None:
        """Undo `start`; harmless if it did not happen."""

    @property
    def compresses(self) -> bool:
        """Whether files change their form some time after they were written."""
        return False

    @property
    def pid(self) -> int | None:
        """The process that serves it, if there is one."""
        return None


class PassThrough(Place):
    """A program that mirrors a directory: what FUSE alone costs."""

    def __init__(self, name: str, folder: Path, script: Path) -> None:
        super().__init__(name, folder / "backing")
        self.root = folder / "mnt"
        self.root.mkdir()
        self._script = script
        self._daemon: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the program and wait until it is mounted.

        Raises:
            BenchError: it ended, or did not mount in time.
        """
        command = [sys.executable, str(self._script), str(self.backing), str(self.root)]
        daemon = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self._daemon = daemon
        deadline = time.monotonic() + _MOUNT_TIMEOUT_S
        while not os.path.ismount(self.root):
            if daemon.poll() is not None:
                raise BenchError(f"{self._script} ended with {daemon.returncode} before mounting")
            if time.monotonic() > deadline:
                raise BenchError(f"{self._script} did not mount {self.root}")
            time.sleep(0.02)

    @property
    def pid(self) -> int | None:
        return self._daemon.pid if self._daemon is not None else None

    def stop(self) -> None:
        daemon, self._daemon = self._daemon, None
        if daemon is None:
            return
        if os.path.ismount(self.root):
            _detach(self.root)
        try:
            daemon.wait(_MOUNT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


class PixFSMount(Place):
    """A PixFS mount, through its own command line; `options` go to `pixfs mount`."""

    def __init__(self, name: str, folder: Path, *options: str) -> None:
        super().__init__(name, folder / "backing")
        self.root = folder / "mnt"
        self.root.mkdir()
        self._log = folder / "daemon.log"
        self._options = options

    @property
    def pid(self) -> int | None:
        return int(os.getxattr(self.root, "user.pixfs.pid"))

    def frames_prefetched(self) -> int:
        """Frames decoded ahead since it was mounted."""
        return int(json.loads(os.getxattr(self.root, "user.pixfs.stats"))["frames_prefetched"])

    def limit_reading(self, rate: str) -> None:
        """Set the mount's limit on reading, which holds for conversions, too."""
        os.setxattr(self.root, "user.pixfs.throttle.read", rate.encode())

    @contextmanager
    def on_one_core(self) -> Iterator[None]:
        """Its daemon does with one processor meanwhile."""
        allowed = os.sched_getaffinity(0)
        self._keep_to({min(allowed)})
        try:
            yield
        finally:
            self._keep_to(allowed)

    def _keep_to(self, processors: set[int]) -> None:
        for thread in os.listdir(f"/proc/{self.pid}/task"):
            # One that has ended needs none.
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread), processors)

    @property
    def compresses(self) -> bool:
        return "--manual" not in self._options

    def start(self) -> None:
        """Mount.

        Raises:
            BenchError: the mount was refused; with the daemon's last words.
        """
        arguments = ["mount", *self._options, "--log", str(self._log)]
        done = pixfs(*arguments, str(self.backing), str(self.root), timeout_s=_MOUNT_TIMEOUT_S)
        if done.returncode:
            log = self._log.read_text()[-2000:] if self._log.exists() else ""
            raise BenchError(f"pixfs mount: {done.stderr.decode().strip()}\n{log}".strip())

    def stop(self) -> None:
        """Unmount; if that fails, detach, so that nothing stays behind.

        Raises:
            BenchError: the mount could not be ended.
        """
        if not os.path.ismount(self.root):
            return
        try:
            done = pixfs("umount", str(self.root), timeout_s=_ENDING_TIMEOUT_S)
            problem = done.stderr.decode().strip() if done.returncode else ""
        except subprocess.TimeoutExpired:
            problem = f"not ended after {_ENDING_TIMEOUT_S:.0f} s"
        if problem:
            _detach(self.root)
            raise BenchError(f"pixfs umount: {problem}")


def pixfs(*arguments: str, timeout_s: float) -> subprocess.CompletedProcess[bytes]:
    """Run the command line of the PixFS that is installed beside this interpreter.

    Raises:
        MissingToolError: it is not installed.
        subprocess.TimeoutExpired: it took longer than `timeout_s`.
    """
    program = Path(sys.executable).with_name("pixfs")
    if not program.exists():
        raise MissingToolError(f"{program} is missing: run .venv/bin/pip install -e .")
    return subprocess.run(
        [program, *arguments], capture_output=True, timeout=timeout_s, check=False
    )


def _detach(mountpoint: Path) -> None:
    subprocess.run(["fusermount3", "-u", "-z", str(mountpoint)], check=True, capture_output=True)
