"""What is left after the daemon is killed, and how a mount ends and begins."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from pixfs.fuse.mountinfo import mount_at
from pixfs.runfiles import daemon_at
from pixfs.volume import check
from tests.frames import frame
from tests.fuse_session import Mounted, mounted

pytestmark = pytest.mark.fuse

FRAMES = 8


def names_below(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


@pytest.mark.parametrize("converted", [0, 1, 3])
def test_killed_while_compressing_leaves_every_file_complete(
    mount: Mounted, converted: int
) -> None:
    files = {mount.path / f"shot.{number}.dpx": frame(number) for number in range(FRAMES)}
    for path, data in files.items():
        path.write_bytes(data)
    while mount.stats()["converted"] < converted:
        assert mount.stats()["queued"] + mount.stats()["converting"] > 0
    mount.kill()
    # The dead mount is cleared away by the next one.
    mount.start()
    for path, data in files.items():
        assert path.read_bytes() == data
    mount.pixfs("wait", mount.path)
    assert {path.name for path in files} == names_below(mount.path)
    for path, data in files.items():
        assert mount.state(path) == "compressed"
        assert path.read_bytes() == data
    mount.pixfs("verify", mount.path)
    assert mount.stop() == 0
    assert check(mount.backing) == []


def test_clients_of_a_killed_daemon_get_an_error_and_no_hang(mount: Mounted) -> None:
    mount.kill()
    with pytest.raises(OSError, match="not connected") as caught:
        (mount.path / "any").read_bytes()
    assert caught.value.errno == errno.ENOTCONN
    mount.pixfs("umount", "--stale", mount.path)
    assert mount_at(str(mount.path)) is None
    mount.pixfs("umount", "--stale", mount.path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_unmounts_drains_and_exits_with_0(mount: Mounted, number: int) -> None:
    mount.stop()
    mount.start(settle_s=3600)
    target = mount.path / "shot.1001.dpx"
    target.write_bytes(frame())
    os.kill(mount.pid, number)
    assert mount.wait_daemon() == 0
    assert mount_at(str(mount.path)) is None
    stored = (mount.backing / "shot.1001.dpx").read_bytes()
    assert len(stored) < len(frame())


def test_quit_leaves_the_queue_to_the_next_mount(mount: Mounted) -> None:
    mount.stop()
    mount.start(settle_s=3600)
    target = mount.path / "shot.1001.dpx"
    target.write_bytes(frame())
    os.kill(mount.pid, signal.SIGQUIT)
    assert mount.wait_daemon() == 0
    assert (mount.backing / "shot.1001.dpx").read_bytes() == frame()
    mount.start()
    assert mount.wait_settled(target) == "compressed"


def test_ending_with_an_open_file_keeps_what_was_written(mount: Mounted) -> None:
    fd = os.open(mount.path / "open.dpx", os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"written before the end")
    assert mount.stop() == 0
    with pytest.raises(OSError, match="not connected"):
        os.write(fd, b"too late")
    with pytest.raises(OSError, match="not connected"):
        os.close(fd)
    assert (mount.backing / "open.dpx").read_bytes() == b"written before the end"
    assert check(mount.backing) == []


def test_systemd_is_told_when_it_answers_and_when_it_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        with mounted(tmp_path) as mount:
            assert "READY=1" in manager.recv(4096).decode().splitlines()
            assert manager.recv(4096) == b"WATCHDOG=1"
            mount.stop()
            while "STOPPING=1" not in manager.recv(4096).decode().splitlines():
                pass


def test_mount_in_the_background_and_umount(tmp_path: Path) -> None:
    mount = Mounted(tmp_path)
    try:
        said = mount.pixfs("mount", mount.backing, mount.path, "--log", mount.log)
        assert str(mount.path) in said.stdout
        target = mount.path / "shot.1001.dpx"
        target.write_bytes(frame())
        shown = mount.pixfs("status").stdout
        assert str(mount.path) in shown
        with open(target, "rb"):
            busy = mount.pixfs("umount", mount.path, status=1)
            assert "in use" in busy.stderr
        mount.pixfs("umount", mount.path)
        assert mount_at(str(mount.path)) is None
        assert len((mount.backing / "shot.1001.dpx").read_bytes()) < len(frame())
        assert "not mounted" in mount.pixfs("umount", mount.path, status=1).stderr
    finally:
        mount.pixfs("umount", "--force", mount.path, status=None)
        mount.clean_up()
    mount.check_log()


def test_forced_umount_leaves_the_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with mounted(tmp_path, settle_s=3600) as mount:
        (mount.path / "shot.1001.dpx").write_bytes(frame())
        mount.pixfs("umount", "--force", mount.path)
        assert mount.wait_daemon() == 0
        assert (mount.backing / "shot.1001.dpx").read_bytes() == frame()
        monkeypatch.setenv("PIXFS_RUN_DIR", mount.environment["PIXFS_RUN_DIR"])
        assert daemon_at(str(mount.path)) is None


def test_a_failed_mount_says_why(mount: Mounted, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    cases: list[tuple[list[str | Path], int, str]] = [
        ([mount.backing, mount.path], 1, "already mounted"),
        ([mount.path, other], 1, "lies on the PixFS mount"),
        ([mount.backing], 2, "no mountpoint"),
        ([mount.backing, other, "--level", "best"], 2, "level"),
    ]
    for arguments, status, reason in cases:
        result = mount.pixfs("mount", *arguments, "--log", tmp_path / "failed.log", status=status)
        assert reason in result.stderr, (arguments, result.stderr)


def test_the_kernel_reads_ahead_far_enough(mount: Mounted) -> None:
    found = mount_at(str(mount.path))
    assert found is not None
    knob = Path("/sys/class/bdi") / found.device / "read_ahead_kb"
    if not knob.exists() or not os.access(knob, os.W_OK):
        pytest.skip(f"{knob} cannot be set here")
    assert int(knob.read_text()) >= 1024


def test_a_stuck_request_loop_is_freed_by_the_heartbeat(mount: Mounted) -> None:
    # A process that is killed while its request waits withdraws it; many such rounds must
    # leave a mount that still answers.
    for _ in range(20):
        process = subprocess.Popen(["cat", str(mount.path / "none")], stderr=subprocess.DEVNULL)
        process.kill()
        process.wait()
    assert os.listdir(mount.path) == []
