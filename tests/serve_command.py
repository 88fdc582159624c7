"""``pixfs serve`` and ``pixfs user`` as processes, for tests."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WAIT_S = 180
PIXFS = (sys.executable, "-m", "pixfs.cli")


class Serve:
    """A running ``pixfs serve``; ``said`` is what it printed until it was ready."""

    def __init__(self, data: Path, *options: str) -> None:
        command = [*PIXFS, "serve", "--data", str(data), "--bind", "127.0.0.1:0", *options]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.said = ""

    def wait_ready(self) -> None:
        """Return when it answers requests."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line
            if line.startswith("serving on "):
                return
        pytest.fail(f"it ended instead of coming up: {self.process.communicate()[1]}")

    @property
    def url(self) -> str:
        """Where its PixMover interface is."""
        found = re.search(r"serving on (http://127\.0\.0\.1:\d+/)", self.said)
        assert found
        return f"{found[1]}pixmover/v1"

    @property
    def password(self) -> str:
        """The password that a first start tells."""
        found = re.search(r"log in as admin with the password (\S+)", self.said)
        assert found
        return found[1]

    def login(self, name: str, password: str) -> int:
        """The status of a login."""
        form = {"name": name, "password": password}
        return httpx.post(f"{self.url}/login", data=form, timeout=WAIT_S).status_code


@contextmanager
def serving(data: Path, *options: str, is_killed: bool = False) -> Iterator[Serve]:
    """A server that is stopped, and must stop well, or is killed, at the end of the block."""
    running = Serve(data, *options)
    try:
        running.wait_ready()
        yield running
        if is_killed:
            return
        running.process.send_signal(signal.SIGTERM)
        _, errors = running.process.communicate(timeout=WAIT_S)
        assert (running.process.returncode, errors) == (0, "")
    finally:
        running.process.kill()
        running.process.communicate()


@contextmanager
def measured(data: Path, *, tells: bool = True) -> Iterator[Serve]:
    """A server that a program looks at, told to stop at the end of the block; ``tells`` prints
    what it has complained of meanwhile."""
    running = Serve(data)
    try:
        running.wait_ready()
        yield running
    finally:
        running.process.terminate()
        _, errors = running.process.communicate(timeout=WAIT_S)
        if errors and tells:
            sys.stderr.write(f"the server said:\n{errors}\n")


def pixfs_user(data: Path, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PIXFS, "user", "--data", str(data), *arguments],
        input=given,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
