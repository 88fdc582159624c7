"""The parts a session is made of, each alone."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from pixfs import runfiles
from pixfs.errors import MountError
from pixfs.fuse import mountinfo, mountpoint, pulse
from pixfs.fuse.connection import Connection
from pixfs.fuse.heartbeat import Heartbeat
from pixfs.fuse.readahead import (
    READ_AHEAD_KIB,
    raise_read_ahead,
    set_read_ahead,
    window_kib,
)
from pixfs.fuse.sdnotify import ServiceManager, watchdog_interval_s
from pixfs.fuse.session import beat
from pixfs.fuse.signals import NUMBERS, StopSignals
from tests.checklogs import ExpectLogs, LogCheck, lines_to_act_on

if TYPE_CHECKING:
    from pixfs.fuse.operations import Operations

MOUNTINFO = r"""22 1 254:0 / / rw,relatime - ext4 /dev/root rw
40 22 0:39 / /mnt/a\040b rw,nosuid - fuse.pixfs /data/a\040b rw
41 22 0:40 / /mnt rw - tmpfs tmpfs rw
42 40 0:41 / /mnt/a\040b/deep rw shared:5 master:1 - fuse.other x rw
truncated line
"""


def test_mountinfo_is_parsed_with_its_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    found = mountinfo.parse(MOUNTINFO)
    assert found[1] == mountinfo.Mount("/mnt/a b", "0:39", "fuse.pixfs", "/data/a b")
    assert [mount.is_pixfs for mount in found] == [False, True, False, False]
    monkeypatch.setattr(mountinfo, "mounts", lambda: found)
    for path, expected in {
        "/mnt/a b/c": "/mnt/a b",
        "/mnt/a b": "/mnt/a b",
        "/mnt/a bc": "/mnt",
        "/mnt/a b/deep/x": "/mnt/a b/deep",
        "/": "/",
        "/other": "/",
    }.items():
        mount = mountinfo.mount_of(path)
        assert mount is not None
        assert mount.mountpoint == expected, path
    assert mountinfo.mount_at("/mnt/a") is None


def test_resolve_parent_keeps_a_last_component_that_cannot_be_asked(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    link.symlink_to(real)
    assert mountinfo.resolve_parent(link / "gone") == str(real / "gone")
    assert mountinfo.resolve_parent("/") == "/"


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_is_told(tmp_path: Path, abstract: bool) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(10)
        listener.bind("" if abstract else str(tmp_path / "notify"))
        address = listener.getsockname()
        shown = "@" + address[1:].decode() if abstract else address
        ServiceManager(shown).notify("READY=1", "STATUS=serving")
        assert listener.recv(100) == b"READY=1\nSTATUS=serving"


def test_a_manager_that_is_gone_is_logged(tmp_path: Path, expect_logs: ExpectLogs) -> None:
    expect_logs("cannot notify")
    ServiceManager(str(tmp_path / "nobody")).notify("READY=1")


def test_the_watchdog_is_ours_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    for text, expected in {"30000000": 15.0, "": None, "0": None, "soon": None}.items():
        monkeypatch.setenv("WATCHDOG_USEC", text)
        assert watchdog_interval_s() == expected
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert watchdog_interval_s() == 15.0
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid() + 1))
    assert watchdog_interval_s() is None


def test_read_ahead_is_raised_and_never_lowered(tmp_path: Path) -> None:
    knob = tmp_path / "0:39" / "read_ahead_kb"
    knob.parent.mkdir()
    knob.write_text("128\n")
    assert raise_read_ahead("0:39", 1024, bdi=tmp_path)
    assert knob.read_text() == "1024\n"
    knob.write_text("8192\n")
    assert raise_read_ahead("0:39", 1024, bdi=tmp_path)
    assert knob.read_text() == "8192\n"
    assert not raise_read_ahead("0:99", 1024, bdi=tmp_path)


def test_read_ahead_suits_the_limit(tmp_path: Path) -> None:
    assert window_kib(None) == READ_AHEAD_KIB
    assert window_kib(10 << 20) == 256
    assert [window_kib(limit) for limit in (0, 1 << 20, 1 << 40)] == [16, 25, READ_AHEAD_KIB]
    knob = tmp_path / "0:39" / "read_ahead_kb"
    knob.parent.mkdir()
    set_read_ahead("0:39", 256, bdi=tmp_path)
    assert knob.read_text() == "256\n"
    set_read_ahead("0:99", 256, bdi=tmp_path)


# Run files


def daemon(tmp_path: Path, pid: int | None = None) -> runfiles.Daemon:
    found = tmp_path.stat()
    mount = str(tmp_path / "mnt")
    pid = os.getpid() if pid is None else pid
    return runfiles.Daemon(pid, mount, str(tmp_path), found.st_dev, found.st_ino)


@pytest.fixture
def run_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PIXFS_RUN_DIR", str(tmp_path / "run"))
    return tmp_path / "run"


def test_a_run_file_names_a_living_daemon(tmp_path: Path, run_directory: Path) -> None:
    ours = daemon(tmp_path)
    assert runfiles.daemons() == []
    claimed = runfiles.claim(ours)
    assert runfiles.daemons() == [ours]
    assert runfiles.daemon_at(ours.mountpoint) == ours
    assert runfiles.daemon_of(tmp_path.stat()) == ours
    assert runfiles.daemon_of(Path("/").stat()) is None
    with pytest.raises(MountError, match=f"pid {os.getpid()}"):
        runfiles.claim(ours, wait_s=0)
    heirs: list[runfiles.RunFile] = []
    heir = threading.Thread(target=lambda: heirs.append(runfiles.claim(ours, wait_s=60)))
    heir.start()
    claimed.close()
    heir.join()
    assert runfiles.daemon_at(ours.mountpoint) == ours
    heirs[0].close()
    assert runfiles.daemon_at(ours.mountpoint) is None
    assert list(run_directory.iterdir()) == []


def test_a_run_file_left_behind_counts_for_nothing(tmp_path: Path, run_directory: Path) -> None:
    code = (
        "import os\nfrom pixfs.runfiles import Daemon, claim\n"
        f"claim(Daemon(os.getpid(), {str(tmp_path / 'mnt')!r}, '/b', 1, 2))\nos._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert len(list(run_directory.iterdir())) == 1
    assert runfiles.daemons() == []
    claimed = runfiles.claim(daemon(tmp_path))
    assert runfiles.daemons() == [daemon(tmp_path)]
    claimed.close()


def test_waiting_for_a_daemon(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    watched = daemon(tmp_path, process.pid)
    assert not watched.is_gone_within(0)
    assert process.stdin is not None
    process.stdin.close()
    assert watched.is_gone_within(60)
    process.wait()
    assert watched.is_gone_within(0)


def test_a_foreign_run_directory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "run").symlink_to(tmp_path)
    monkeypatch.setenv("PIXFS_RUN_DIR", str(tmp_path / "run"))
    with pytest.raises(MountError, match="PIXFS_RUN_DIR"):
        runfiles.run_directory()


# Mount points


def test_options_of_a_mount(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mountpoint, "may_allow_other", lambda: True)
    options, others = mountpoint.fuse_options("/data/a,b\\c", frozenset({"ro", "nonempty"}))
    assert others
    assert options == {
        "default_permissions", "allow_other", "subtype=pixfs", "fsname=/data/a?b?c",
        "ro", "nosuid", "nodev",
    }  # fmt: skip
    options, others = mountpoint.fuse_options("/b", frozenset({"noallow_other", "suid", "dev"}))
    assert not others
    assert "allow_other" not in options
    assert not {"nosuid", "nodev"} & options
    monkeypatch.setattr(mountpoint, "may_allow_other", lambda: False)
    assert not mountpoint.fuse_options("/b", frozenset())[1]
    with pytest.raises(MountError, match="user_allow_other"):
        mountpoint.fuse_options("/b", frozenset({"allow_other"}))


def test_a_mount_point_must_be_apart_and_empty(tmp_path: Path) -> None:
    backing, target = tmp_path / "b", tmp_path / "m"
    inside = backing / "inside"
    for path in (backing, target, inside):
        path.mkdir()

    def prepare(where: Path, *, may_cover_files: bool = False) -> None:
        mountpoint.prepare(str(backing), str(where), may_cover_files=may_cover_files)

    prepare(target)
    for where, words in {
        backing: "contain itself",
        inside: "contain itself",
        tmp_path: "be hidden",
        tmp_path / "none": "does not exist",
    }.items():
        with pytest.raises(MountError, match=words):
            prepare(where)
    (target / "file").touch()
    with pytest.raises(MountError, match="not empty"):
        prepare(target)
    prepare(target, may_cover_files=True)
    with pytest.raises(MountError, match="backing directory"):
        mountpoint.prepare(str(tmp_path / "none"), str(target), may_cover_files=True)


def test_detaching_what_is_not_mounted(tmp_path: Path) -> None:
    with pytest.raises((OSError, MountError)) as caught:
        mountpoint.detach(str(tmp_path), lazy=True)
    if isinstance(caught.value, OSError):
        assert caught.value.errno == errno.EINVAL


def test_freed_memory_goes_back_to_the_system() -> None:
    # What is freed below something that stays is kept by the C library until it is told.
    code = (
        "import os\n"
        "from pathlib import Path\n"
        "from pixfs.fuse import memory\n"
        "def resident():\n"
        "    pages = int(Path('/proc/self/statm').read_text().split()[1])\n"
        "    return pages * os.sysconf('SC_PAGE_SIZE') >> 20\n"
        "memory.set_up()\n"
        "blocks = [bytes(100_000) for _ in range(2000)]\n"
        "del blocks[:-1]\n"
        "before = resident()\n"
        "memory.trim()\n"
        "print(before - resident())\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("this C library keeps nothing that it could be told to give back")
    assert int(ran.stdout) > 50


# Signals


def test_the_first_signal_stops_and_the_second_abandons() -> None:
    former = {number: signal.getsignal(number) for number in NUMBERS}
    woken: list[str] = []
    try:
        with StopSignals() as signals:
            signals.wake_with(lambda: woken.append("first"))
            signal.raise_signal(signal.SIGTERM)
            assert (signals.stopping.is_set(), signals.abandoning.is_set()) == (True, False)
            signal.raise_signal(signal.SIGINT)
            assert signals.abandoning.is_set()
            assert woken == ["first"]
            signals.wake_with(lambda: woken.append("already received"))
            assert woken == ["first", "already received"]
        with StopSignals() as signals:
            signal.raise_signal(signal.SIGQUIT)
            assert signals.stopping.is_set()
            assert signals.abandoning.is_set()
        # Ignored from here on: a late signal must not cut the end short.
        signal.raise_signal(signal.SIGTERM)
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


# The tests' own checks


def test_the_log_check_sees_warnings_and_missing_expectations() -> None:
    check = LogCheck()
    check.records.append("WARNING pixfs: something")
    assert check.problems() == ["unexpected log line: WARNING pixfs: something"]
    check.expect("some.*")
    assert check.problems() == []
    check.expect("never logged")
    assert check.problems() == ["nothing was logged that matches 'never logged'"]
    assert lines_to_act_on("a INFO b\na WARNING b\nTraceback (most recent call last)") == [
        "a WARNING b",
        "Traceback (most recent call last)",
    ]


def test_the_heartbeat_has_begun_when_start_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process being started holds the daemon's descriptors and their locks: a conversion asked
    for as soon as the mount was announced met them, and was refused with EBUSY."""
    order: list[str] = []
    returned = threading.Event()
    popen = subprocess.Popen

    def slow(command: list[str], *, stdin: int, bufsize: int) -> subprocess.Popen[bytes]:
        returned.wait(0.2)
        process = popen(command, stdin=stdin, bufsize=bufsize)
        order.append("the process runs")
        return process

    monkeypatch.setattr("pixfs.fuse.heartbeat.subprocess.Popen", slow)
    heartbeat = Heartbeat(str(tmp_path), b"user.pid", ServiceManager(None), None)
    heartbeat.start("0:0")
    order.append("started")
    returned.set()
    heartbeat.ask_to_stop()
    heartbeat.join()
    assert order == ["the process runs", "started"]


def test_a_heartbeat_that_nobody_listens_to_blocks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def noted(command: list[str], *, stdin: int, bufsize: int) -> subprocess.Popen[bytes]:
        started.append(popen(command, stdin=stdin, bufsize=bufsize))
        return started[-1]

    monkeypatch.setattr("pixfs.fuse.heartbeat.subprocess.Popen", noted)
    heartbeat = Heartbeat(str(tmp_path), b"user.pid", ServiceManager(None), None)
    heartbeat.beat()
    heartbeat.start("0:0")
    (process,) = started
    process.send_signal(signal.SIGSTOP)
    assert process.stdin is not None
    for _ in range(fcntl.fcntl(process.stdin, fcntl.F_GETPIPE_SZ) + 1):
        heartbeat.beat()
    process.kill()
    heartbeat.ask_to_stop()
    heartbeat.join()
    heartbeat.beat()


class Beats(Heartbeat):
    """Counts what the loop says."""

    def __init__(self) -> None:
        super().__init__("/mount", b"user.pid", ServiceManager(None), None)
        self.count = 0

    def beat(self) -> None:
        self.count += 1


@pytest.mark.parametrize(
    ("is_request_there", "are_taken_up", "is_said"),
    [(False, False, True), (True, True, True), (False, True, True), (True, False, False)],
)
async def test_the_loop_says_that_it_goes_round_unless_it_leaves_requests_lying(
    operations: Operations,
    autojump_clock: trio.testing.MockClock,
    is_request_there: bool,
    are_taken_up: bool,
    is_said: bool,
) -> None:
    connection, heartbeat = Connection(), Beats()
    connection.has_request = lambda: is_request_there  # type: ignore[method-assign]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(beat, operations, connection, heartbeat)
        await trio.sleep(heartbeat.every_s / 2)
        for _ in range(3):
            operations.taken += are_taken_up
            await trio.sleep(heartbeat.every_s)
        nursery.cancel_scope.cancel()
    assert heartbeat.count == (3 if is_said else 0)


def test_umount_never_meets_the_heartbeat_of_a_loop_that_goes_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Asking keeps the mount busy for as long as the answer takes: umount was refused then."""
    asked: list[str] = []
    monkeypatch.setattr(pulse, "ask", lambda mountpoint, _: asked.append(mountpoint))
    told, tell = os.pipe()
    os.write(tell, b"...")
    os.close(tell)
    pulse.attend(told, 0, "/mount", "user.pid")
    os.close(told)
    assert asked == []


def test_the_heartbeat_asks_when_the_loop_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    told, tell = os.pipe()
    asked: list[str] = []

    def ask(mountpoint: str, attribute: str) -> None:
        asked.append(f"{mountpoint} {attribute}")
        if len(asked) == 2:
            os.close(tell)

    monkeypatch.setattr(pulse, "ask", ask)
    pulse.attend(told, 0, "/mount", "user.pid")
    os.close(told)
    assert asked == ["/mount user.pid"] * 2
