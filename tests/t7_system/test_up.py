"""``pixfs up`` as a user runs it: two supervised processes, and none left behind."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pixfs.fuse.mountinfo import mount_at

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.fuse, pytest.mark.slow, pytest.mark.usefixtures("warm_kernels")]

WAIT_S = 180
PIXFS = (sys.executable, "-m", "pixfs.cli")


class Up:
    """A running ``pixfs up`` over a volume and a mount point of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.volume = folder / "a volume"
        self.mount = folder / "mnt"
        self.process = subprocess.Popen(
            self.command(*options),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said = ""

    def command(self, *options: str) -> list[str]:
        """Its command line; later options override the ones given here."""
        places = ["--volume", str(self.volume), "--mount", str(self.mount)]
        places += ["--data", str(self.volume.parent / "server")]
        return [*PIXFS, "up", *places, "--bind", "127.0.0.1:0", "--settle", "0.05", *options]

    def wait_ready(self) -> None:
        """Return when it has said how to stop it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line
            if line.startswith("Ctrl-C"):
                return
        pytest.fail(f"it ended instead of coming up: {self.process.communicate()[1]}")

    def url(self) -> str:
        """Where its server listens."""
        found = re.search(r"serving on (http://127\.0\.0\.1:\d+/)", self.said)
        assert found
        return found[1]

    def child(self, verb: str) -> int:
        """The process id of its ``mount`` or ``serve``."""
        pid = self.process.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if verb.encode() in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0"):
                return int(child)
        raise AssertionError(f"no child runs {verb}")

    def finish(self) -> tuple[int, str]:
        """Wait for its end: the exit status and what it wrote to standard error."""
        rest, errors = self.process.communicate(timeout=WAIT_S)
        self.said += rest
        return self.process.returncode, errors

    def is_mounted(self) -> bool:
        """Whether the kernel still lists its mount."""
        return mount_at(str(self.mount)) is not None


@contextmanager
def up(folder: Path, *options: str) -> Iterator[Up]:
    """A ``pixfs up`` that is gone, with its mount, after the block however that ends."""
    running = Up(folder, *options)
    try:
        with running.process:
            try:
                yield running
            finally:
                running.process.terminate()
                try:
                    running.process.wait(WAIT_S)
                except subprocess.TimeoutExpired:
                    running.process.kill()
    finally:
        if running.is_mounted():
            subprocess.run(["fusermount3", "-u", "-z", str(running.mount)], check=False)


def wait_gone(pid_fd: int) -> None:
    """Wait for the end of a process that is no child of ours."""
    readable, _, _ = select.select([pid_fd], [], [], WAIT_S)
    assert readable, "the process did not end"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_up_serves_and_mounts_until_signalled(tmp_path: Path, number: signal.Signals) -> None:
    with up(tmp_path) as running:
        running.wait_ready()
        with urllib.request.urlopen(running.url() + "healthz", timeout=WAIT_S) as answer:
            assert answer.status == 200
        (running.mount / "note.txt").write_text("through the mount")
        running.process.send_signal(number)
        status, errors = running.finish()
        assert status == 0, errors
        assert not running.is_mounted()
    assert (running.volume / "note.txt").read_text() == "through the mount"


def test_a_server_that_ends_takes_the_mount_down(tmp_path: Path) -> None:
    with up(tmp_path) as running:
        running.wait_ready()
        os.kill(running.child("serve"), signal.SIGKILL)
        status, errors = running.finish()
        assert status == 1
        assert "the server ended by itself (SIGKILL)" in errors
        assert not running.is_mounted()


def test_a_mount_that_dies_takes_the_server_down(tmp_path: Path) -> None:
    with up(tmp_path) as running:
        running.wait_ready()
        server = os.pidfd_open(running.child("serve"))
        try:
            os.kill(running.child("mount"), signal.SIGKILL)
            status, errors = running.finish()
            wait_gone(server)
        finally:
            os.close(server)
        assert status == 1
        assert "the mount ended by itself (SIGKILL)" in errors
        assert not running.is_mounted()


def test_an_unmount_from_outside_ends_it(tmp_path: Path) -> None:
    with up(tmp_path) as running:
        running.wait_ready()
        subprocess.run([*PIXFS, "umount", str(running.mount)], check=True, timeout=WAIT_S)
        status, errors = running.finish()
        assert status == 1
        assert "the mount ended by itself (exit status 0)" in errors


def test_killing_up_itself_leaves_nothing_behind(tmp_path: Path) -> None:
    with up(tmp_path) as running:
        running.wait_ready()
        children = [os.pidfd_open(running.child(verb)) for verb in ("mount", "serve")]
        try:
            running.process.kill()
            for child in children:
                wait_gone(child)
        finally:
            for child in children:
                os.close(child)
        assert not running.is_mounted()


def test_a_taken_port_is_said_and_unmounts(tmp_path: Path) -> None:
    with up(tmp_path / "one") as first:
        first.wait_ready()
        port = first.url().rstrip("/").rpartition(":")[2]
        with up(tmp_path / "two", "--bind", f"127.0.0.1:{port}") as second:
            status, errors = second.finish()
            assert status == 1
            assert "Address already in use; choose another with --bind" in errors
            assert "the server did not come up" in errors
            assert not second.is_mounted()


def test_a_mount_point_in_use_is_refused(tmp_path: Path) -> None:
    with up(tmp_path) as first:
        first.wait_ready()
        second = subprocess.run(
            first.command(), capture_output=True, text=True, check=False, timeout=WAIT_S
        )
        assert second.returncode == 1
        assert "is mounted already" in second.stderr
        assert first.is_mounted()


def test_a_mount_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    (tmp_path / "mnt" / "in the way").touch()
    with up(tmp_path) as running:
        status, errors = running.finish()
    assert status == 1
    assert "the mount did not come up (exit status" in errors


def test_demo_plays_and_stops(tmp_path: Path) -> None:
    with up(tmp_path, "--demo", "--frames", "3", "--size", "512x389") as running:
        status, errors = running.finish()
        assert status == 0, errors
        assert "every byte came back equal" in running.said
        assert not running.is_mounted()
        assert not list(running.volume.glob("demo-*"))


def test_demo_can_leave_its_frames(tmp_path: Path) -> None:
    with up(tmp_path, "--demo", "--frames", "2", "--size", "512x389", "--keep") as running:
        status, errors = running.finish()
        assert status == 0, errors
    assert len(list(running.volume.glob("demo-*/demo.*.dpx"))) == 2


def test_demo_says_when_frames_are_not_compressed(tmp_path: Path) -> None:
    """Two pixels are not worth a container, which the demo must not take for a success."""
    with up(tmp_path, "--demo", "--frames", "1", "--size", "2x1") as running:
        status, errors = running.finish()
        assert status == 1
        assert re.search(r"demo\.1001\.dpx became verbatim, not compressed: \w+", errors)
        assert not list(running.volume.glob("demo-*"))


def test_demo_refuses_a_plain_directory(tmp_path: Path) -> None:
    ran = subprocess.run(
        [*PIXFS, "demo", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert "is no PixFS mount" in ran.stderr
    assert list(tmp_path.iterdir()) == []
