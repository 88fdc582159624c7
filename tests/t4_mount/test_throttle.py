"""A mount's limits: set, held to, lifted, and never in the way of its end."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from tests.frames import frame
from tests.fuse_session import TIMEOUT_S, Mounted

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.fuse

SCRIPT = "import os, sys; f = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR, 0o644); "


def throttle(mount: Mounted, direction: str, rate: str) -> None:
    os.setxattr(mount.path, f"user.pixfs.throttle.{direction}", rate.encode())


def limit(mount: Mounted, direction: str) -> str:
    return os.getxattr(mount.path, f"user.pixfs.throttle.{direction}").decode()


def waiting(mount: Mounted, direction: str) -> int:
    return int(mount.stats()["throttle"][direction]["waiting"])


def start_writer(path: Path) -> subprocess.Popen[bytes]:
    """A process that writes a little and ends."""
    return subprocess.Popen([sys.executable, "-c", SCRIPT + "os.write(f, b'x' * 5000)", path])


def test_limits_are_read_set_and_refused(manual_mount: Mounted) -> None:
    mount = manual_mount
    assert limit(mount, "read") == limit(mount, "write") == "unlimited"
    throttle(mount, "read", "1.5M")
    assert limit(mount, "read") == "1536K"
    with pytest.raises(OSError, match="Invalid") as caught:
        throttle(mount, "write", "fast")
    assert caught.value.errno == errno.EINVAL
    assert limit(mount, "write") == "unlimited"
    (mount.path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="permitted"):
        os.setxattr(mount.path / "file", "user.pixfs.throttle.read", b"1M")
    with pytest.raises(OSError, match="permitted"):
        os.removexattr(mount.path, "user.pixfs.throttle.read")


def test_the_verb_sets_and_shows(manual_mount: Mounted) -> None:
    mount = manual_mount
    shown = mount.pixfs("throttle", mount.path, "--read", "10M", "--write", "0").stdout
    assert shown.splitlines()[0].startswith("read   10M  (now 0 B/s")
    assert shown.splitlines()[1].startswith("write  paused")
    told = json.loads(mount.pixfs("throttle", mount.path, "--json").stdout)
    assert (told["read"]["limit"], told["write"]["limit"]) == (10 << 20, 0)
    mount.pixfs("throttle", mount.path, "--write", "unlimited")
    assert limit(mount, "write") == "unlimited"
    assert "is no rate" in mount.pixfs("throttle", mount.path, "--read", "x", status=2).stderr
    mount.pixfs("throttle", mount.backing, status=2)


def test_a_mount_begins_with_the_limits_of_its_settings(manual_mount: Mounted) -> None:
    manual_mount.stop()
    manual_mount.start("--manual", "-o", "throttle_read=2M,throttle_write=unlimited")
    assert limit(manual_mount, "read") == "2M"


def test_limits_outlive_a_crash_and_end_with_the_mount(manual_mount: Mounted) -> None:
    mount = manual_mount
    throttle(mount, "write", "3M")
    mount.kill()
    mount.start("--manual")
    assert (limit(mount, "read"), limit(mount, "write")) == ("unlimited", "3M")
    mount.stop()
    mount.start("--manual")
    assert limit(mount, "write") == "unlimited"


def test_a_paused_mount_holds_data_and_answers_everything_else(manual_mount: Mounted) -> None:
    mount = manual_mount
    (mount.path / "seen").write_bytes(b"seen")
    throttle(mount, "write", "0")
    writers = [start_writer(mount.path / f"file{number}") for number in range(3)]
    try:
        while waiting(mount, "write") != 3:
            pass
        assert (mount.path / "seen").read_bytes() == b"seen"
        assert sorted(os.listdir(mount.path)) == ["file0", "file1", "file2", "seen"]
        assert (mount.path / "file0").stat().st_size == 0
        os.rename(mount.path / "seen", mount.path / "renamed")
        assert [writer.poll() for writer in writers] == [None] * 3
        throttle(mount, "write", "100M")
    finally:
        throttle(mount, "write", "unlimited")
        assert [writer.wait(TIMEOUT_S) for writer in writers] == [0, 0, 0]
    assert (mount.path / "file2").read_bytes() == b"x" * 5000
    assert mount.stats()["throttle"]["write"]["bytes"] == 3 * 5000 + 4


def test_what_a_reader_did_not_get_is_not_charged(manual_mount: Mounted) -> None:
    mount = manual_mount
    throttle(mount, "read", "1G")
    (mount.path / "tiny").write_bytes(b"tiny")
    assert (mount.path / "tiny").read_bytes() == b"tiny"
    assert mount.stats()["throttle"]["read"]["bytes"] == 4


def test_a_paused_mount_converts_nothing_until_it_may(manual_mount: Mounted) -> None:
    mount = manual_mount
    path = mount.path / "shot.1001.dpx"
    path.write_bytes(frame())
    throttle(mount, "read", "0")
    converting = threading.Thread(
        target=os.setxattr, args=(path, "user.pixfs.state", b"compressed")
    )
    converting.start()
    while waiting(mount, "read") != 1:
        pass
    assert mount.state(path) == "raw"
    throttle(mount, "read", "unlimited")
    converting.join(TIMEOUT_S)
    assert mount.state(path) == "compressed"
    assert path.read_bytes() == frame()


@pytest.mark.parametrize("how", ["SIGTERM", "lazy", "force"])
def test_a_paused_mount_ends_when_it_is_told_to(manual_mount: Mounted, how: str) -> None:
    mount = manual_mount
    throttle(mount, "write", "0")
    writer = start_writer(mount.path / "file")
    try:
        while waiting(mount, "write") != 1:
            pass
        if how == "SIGTERM":
            assert mount.stop() == 0
        else:
            mount.pixfs("umount", f"--{how}", mount.path)
            assert mount.wait_daemon() == 0
        writer.wait(TIMEOUT_S)
    finally:
        writer.kill()
    # It was let go at the end: written whole or told that the mount is gone.
    assert (mount.backing / "file").read_bytes() in (b"", b"x" * 5000)


def test_a_paused_mount_leaves_its_queue_to_the_next(mount: Mounted) -> None:
    throttle(mount, "read", "0")
    path = mount.path / "shot.1001.dpx"
    path.write_bytes(frame())
    while waiting(mount, "read") != 1:
        pass
    assert mount.stop() == 0
    mount.start()
    assert mount.wait_settled(path) == "compressed"
    assert path.read_bytes() == frame()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_is_held_back_can_be_killed(
    manual_mount: Mounted, number: signal.Signals
) -> None:
    mount = manual_mount
    throttle(mount, "write", "0")
    other = start_writer(mount.path / "other")
    writer = start_writer(mount.path / "file")
    try:
        while waiting(mount, "write") != 2:
            pass
        writer.send_signal(number)
        assert writer.wait(TIMEOUT_S) == -number
        assert waiting(mount, "write") == 1
        assert other.poll() is None
    finally:
        throttle(mount, "write", "unlimited")
        writer.kill()
        writer.wait(TIMEOUT_S)
        assert other.wait(TIMEOUT_S) == 0
    assert (mount.path / "file").read_bytes() == b""
    assert (mount.path / "other").read_bytes() == b"x" * 5000
