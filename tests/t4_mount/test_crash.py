"""What is left after the daemon is killed, and how a mount ends and begins."""

from __future__ import annotations

import errno
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from pixfs import runfiles
from pixfs.fuse import pulse
from pixfs.fuse.mountinfo import mount_at
from pixfs.fuse.mountpoint import detach
from pixfs.runfiles import daemon_at
from pixfs.volume import check
from tests.frames import frame
from tests.fuse_session import TIMEOUT_S, Mounted, mounted

pytestmark = pytest.mark.fuse

FRAMES = 8
# getxattr and writev.
SYSTEM_CALLS = {"x86_64": ("191", "20"), "aarch64": ("8", "66")}


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
def test_a_drain_that_is_configured_finishes_the_queue(mount: Mounted, number: int) -> None:
    mount.stop()
    mount.start("-o", "drain", settle_s=3600)
    target = mount.path / "shot.1001.dpx"
    target.write_bytes(frame())
    os.kill(mount.pid, number)
    assert mount.wait_daemon() == 0
    assert mount_at(str(mount.path)) is None
    stored = (mount.backing / "shot.1001.dpx").read_bytes()
    assert len(stored) < len(frame())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_leaves_the_queue_to_the_next_mount(mount: Mounted, number: int) -> None:
    mount.stop()
    mount.start(settle_s=3600)
    target = mount.path / "shot.1001.dpx"
    target.write_bytes(frame())
    os.kill(mount.pid, number)
    assert mount.wait_daemon() == 0
    assert mount_at(str(mount.path)) is None
    assert (mount.backing / "shot.1001.dpx").read_bytes() == frame()
    mount.start()
    assert mount.wait_settled(target) == "compressed"


def test_unmounted_while_compressing_the_next_mount_goes_on(mount: Mounted) -> None:
    files = {mount.path / f"shot.{number}.dpx": frame(number) for number in range(FRAMES)}
    for path, data in files.items():
        path.write_bytes(data)
    while mount.stats()["converted"] < 1:
        assert mount.stats()["queued"] + mount.stats()["converting"] > 0
    mount.pixfs("umount", mount.path)
    assert mount.wait_daemon() == 0
    assert check(mount.backing) == []
    assert os.listdir(mount.backing / ".pixfs" / "tmp") == []
    mount.start()
    assert mount.stats()["leftovers_cleaned"] == 0
    for path, data in files.items():
        assert mount.wait_settled(path) == "compressed"
        assert path.read_bytes() == data


def test_umount_can_be_told_to_finish_the_queue(mount: Mounted) -> None:
    mount.stop()
    mount.start(settle_s=3600)
    target = mount.path / "shot.1001.dpx"
    target.write_bytes(frame())
    with open(target, "rb"):
        assert "in use" in mount.pixfs("umount", "--drain", mount.path, status=1).stderr
        assert os.getxattr(mount.path, "user.pixfs.drain") == b"no"
    mount.pixfs("umount", "--drain", mount.path)
    assert mount.wait_daemon() == 0
    assert len((mount.backing / "shot.1001.dpx").read_bytes()) < len(frame())


def test_a_mount_waits_for_the_former_daemon_to_end(tmp_path: Path) -> None:
    mount = Mounted(tmp_path)
    try:
        mount.start()
        os.kill(mount.pid, signal.SIGSTOP)
        detach(str(mount.path), lazy=False)
        command = [sys.executable, "-m", "pixfs.cli", "mount", mount.backing, mount.path]
        with subprocess.Popen(
            [*command, "--log", mount.log],
            env=mount.environment,
            stderr=subprocess.PIPE,
            text=True,
        ) as starting:
            assert starting.stderr is not None
            assert f"(pid {mount.pid})" in starting.stderr.readline()
            os.kill(mount.pid, signal.SIGCONT)
            assert starting.wait(TIMEOUT_S) == 0
        assert mount.wait_daemon() == 0
        assert os.listdir(mount.path) == []
    finally:
        mount.pixfs("umount", "--force", mount.path, status=None)
        mount.clean_up()
    mount.check_log()


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
        monkeypatch.setenv("WATCHDOG_USEC", "2000000")
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
        mount.pixfs("umount", "--drain", mount.path)
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


def children_of(pid: int) -> list[int]:
    """The processes that any thread of a process has started."""
    texts = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            texts.append(path.read_text())
    return [int(child) for text in texts for child in text.split()]


def wait_for_pulse(mount: Mounted, other_than: int = 0) -> int:
    """The process of the daemon's heartbeat."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        assert time.monotonic() < deadline, "the daemon has no heartbeat"
        for child in children_of(mount.pid):
            with suppress(OSError):
                command = Path(f"/proc/{child}/cmdline").read_bytes()
                if child != other_than and pulse.__file__.encode() in command:
                    return child


def system_calls_of(pid: int) -> set[str]:
    """The numbers of the system calls that the threads of a process are in."""
    numbers = set()
    for path in Path(f"/proc/{pid}/task").glob("*/syscall"):
        with suppress(OSError):
            numbers.add(path.read_text().split()[0])
    return numbers


def is_gone(pid: int) -> bool:
    """Whether a process ends; waits for it as long as a test may."""
    try:
        return runfiles.Daemon(pid, "", "", 0, 0).is_gone_within(TIMEOUT_S)
    except ProcessLookupError:
        return True


def test_a_daemon_killed_in_the_middle_of_its_heartbeat_dies(mount: Mounted) -> None:
    # The kernel lets nobody go whose request has been read, not even by SIGKILL: a heartbeat in
    # a thread of the daemon kept the connection open that only the daemon's end would have closed.
    strace = shutil.which("strace")
    if strace is None or platform.machine() not in SYSTEM_CALLS:
        pytest.skip("strace is not installed, or the machine's system calls are not known")
    getxattr, writev = SYSTEM_CALLS[platform.machine()]
    trace = mount.backing.parent / "trace"
    command = [strace, "-f", "-qq", "-o", str(trace), "-p", str(mount.pid)]
    # The daemon is held at an answer: its loop falls silent, and the heartbeat asks.
    command += ["-e", "trace=writev", "-e", "inject=writev:delay_enter=600000000"]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    user: subprocess.Popen[bytes] | None = None
    try:
        deadline = time.monotonic() + TIMEOUT_S
        waiting = False
        while not waiting:
            if tracer.poll() is not None:
                assert tracer.stderr is not None
                pytest.skip(f"nothing can be traced here: {tracer.stderr.read()}")
            assert time.monotonic() < deadline, "no heartbeat came"
            if user is None or user.poll() is not None:
                command = ["cat", str(mount.path / "none")]
                user = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            asking = getxattr in system_calls_of(wait_for_pulse(mount))
            waiting = asking and writev in system_calls_of(mount.pid)
        os.kill(mount.pid, signal.SIGKILL)
    finally:
        tracer.kill()
        tracer.communicate()
    assert user is not None
    assert user.wait() != 0
    assert is_gone(mount.pid)
    mount.kill()
    with pytest.raises(OSError, match="not connected"):
        os.listdir(mount.path)


def test_a_heartbeat_that_is_killed_comes_back(mount: Mounted) -> None:
    mount.expect_log("heartbeat's process .* was ended by SIGKILL")
    first = wait_for_pulse(mount)
    os.kill(first, signal.SIGKILL)
    second = wait_for_pulse(mount, other_than=first)
    assert mount.stop() == 0
    assert is_gone(second)


def test_a_killed_daemon_leaves_no_heartbeat(mount: Mounted) -> None:
    beat = wait_for_pulse(mount)
    mount.kill()
    assert is_gone(beat)


def test_the_heartbeat_breaks_the_connection_of_a_daemon_that_cannot_die(
    mount: Mounted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "DYING_S", 0)
    # An answer that was on its way has nowhere to go any more.
    mount.expect_log(r"fuse_reply_\* failed")
    device = mount.path.stat().st_dev
    alive = os.pidfd_open(mount.pid)
    try:
        pulse.see_out(alive, str(mount.path), device + 1)
        assert os.listdir(mount.path) == []
        pulse.see_out(alive, str(mount.path), device)
    finally:
        os.close(alive)
    if mount_at(str(mount.path)) is not None:
        with pytest.raises(OSError, match=r"not connected|aborted"):
            os.listdir(mount.path)
    mount.wait_daemon()
