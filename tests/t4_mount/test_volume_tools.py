"""cp, mv, df, stats, fsck and scrub, on mounts and on volumes that are not mounted."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pixfs.scrubbing import ScrubPass, load
from tests.frames import frame
from tests.fuse_session import TIMEOUT_S, Mounted, mounted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.fuse


@pytest.fixture
def other(tmp_path: Path, warm_kernels: None) -> Iterator[Mounted]:
    """A second mount whose daemon keeps its run file with the first one's."""
    directory = tmp_path / "other"
    directory.mkdir()
    with mounted(directory, "--manual", run=tmp_path / "run") as mount:
        yield mount


def shoot(mount: Mounted, count: int = 3) -> Path:
    """A compressed sequence."""
    shot = mount.path / "sq010"
    shot.mkdir()
    for number in range(1001, 1001 + count):
        (shot / f"shot.{number}.dpx").write_bytes(frame(number))
    mount.pixfs("compress", shot)
    return shot


def test_containers_stay_containers_from_mount_to_mount(
    manual_mount: Mounted, other: Mounted
) -> None:
    shot = shoot(manual_mount)
    (shot / "shot.1004.dpx").write_bytes(frame(1004))
    before = other.stats()["converted"], other.stats()["tiles_decoded"]
    told = manual_mount.pixfs("cp", "--json", shot, other.path)
    report = json.loads(told.stdout)
    # Four frames and the directory, which is not counted by itself.
    assert report["counts"] == {"copied": 4}
    copy = other.path / "sq010"
    assert [other.state(copy / f"shot.{n}.dpx") for n in range(1001, 1005)] == [
        *["compressed"] * 3,
        "raw",
    ]
    for number in range(1001, 1005):
        name = f"shot.{number}.dpx"
        assert (copy / name).read_bytes() == frame(number)
        stored = (manual_mount.backing / "sq010" / name).read_bytes()
        assert (other.backing / "sq010" / name).read_bytes() == stored
        assert (copy / name).stat().st_mtime_ns == (shot / name).stat().st_mtime_ns
    assert other.stats()["converted"] == before[0]
    assert report["bytes"] == sum(
        entry.stat().st_size for entry in (other.backing / "sq010").iterdir()
    )
    again = manual_mount.pixfs("cp", shot, other.path)
    assert again.stdout == "cp: 4 present, 0 B\n"


def test_a_move_goes_by_the_mount_and_leaves_nothing(manual_mount: Mounted, other: Mounted) -> None:
    shot = shoot(manual_mount)
    moved = manual_mount.pixfs("mv", shot, other.path / "take")
    assert moved.stdout.startswith("mv: 3 moved, ")
    assert not shot.exists()
    assert os.listdir(manual_mount.path) == []
    assert (other.path / "take" / "shot.1003.dpx").read_bytes() == frame(1003)
    assert other.state(other.path / "take" / "shot.1003.dpx") == "compressed"


def test_what_replaces_a_file_is_seen_through_the_mount(
    manual_mount: Mounted, other: Mounted
) -> None:
    shot = shoot(manual_mount, 1)
    target = other.path / "shot.dpx"
    target.write_bytes(b"something else")
    with open(target, "rb") as old:
        manual_mount.pixfs("cp", shot / "shot.1001.dpx", target, status=1)
        manual_mount.pixfs("cp", "--overwrite", shot / "shot.1001.dpx", target)
        assert old.read() == b"something else"
    # The kernel may answer from memory for a second.
    fd = -1
    while fd < 0 or os.fstat(fd).st_size != len(frame()):
        if fd >= 0:
            os.close(fd)
        fd = os.open(target, os.O_RDONLY)
    os.close(fd)
    assert target.read_bytes() == frame(1001)


def test_to_and_from_a_plain_directory_the_frames_themselves_go(
    manual_mount: Mounted, tmp_path: Path
) -> None:
    shot = shoot(manual_mount, 2)
    plain = tmp_path / "plain"
    plain.mkdir()
    manual_mount.pixfs("cp", shot, plain)
    assert (plain / "sq010" / "shot.1002.dpx").read_bytes() == frame(1002)
    manual_mount.pixfs("mv", plain / "sq010", manual_mount.path / "back")
    assert (manual_mount.path / "back" / "shot.1002.dpx").read_bytes() == frame(1002)
    assert os.listdir(plain) == []


def test_a_mount_and_its_backing_are_one_place(manual_mount: Mounted, tmp_path: Path) -> None:
    shot = shoot(manual_mount, 1)
    stored = manual_mount.backing / "sq010"
    for verb, source, target in [
        ("mv", shot, stored),
        ("cp", stored, shot),
        ("cp", shot / "shot.1001.dpx", stored / "copy.dpx"),
        ("mv", shot / "shot.1001.dpx", shot / "shot.1001.dpx"),
    ]:
        refused = manual_mount.pixfs(verb, "--overwrite", source, target, status=2)
        assert refused.stderr.startswith(f"pixfs {verb}: ")
    # Nor by a daemon's run file that cannot be seen: the kernel's own list tells, too.
    hidden = os.environ | {"PIXFS_RUN_DIR": str(tmp_path / "elsewhere")}
    command = [sys.executable, "-m", "pixfs.cli", "mv", str(shot), str(stored / "x")]
    result = subprocess.run(command, env=hidden, capture_output=True, text=True)
    assert result.returncode == 2
    assert "mounted at" in result.stderr
    assert (shot / "shot.1001.dpx").read_bytes() == frame(1001)


def test_a_copy_keeps_to_the_limits_of_both_mounts(manual_mount: Mounted, other: Mounted) -> None:
    shot = shoot(manual_mount, 2)
    manual_mount.pixfs("throttle", other.path, "--write", "0")
    command = [sys.executable, "-m", "pixfs.cli", "cp", str(shot), str(other.path)]
    copying = subprocess.Popen(command, env=manual_mount.environment)
    try:
        incoming = other.backing / ".pixfs" / "incoming"
        while not (incoming.is_dir() and os.listdir(incoming)):
            assert copying.poll() is None
        assert os.listdir(other.path / "sq010") == []
        manual_mount.pixfs("throttle", other.path, "--write", "unlimited")
        assert copying.wait(TIMEOUT_S) == 0
    finally:
        copying.kill()
        copying.wait()
    assert (other.path / "sq010" / "shot.1002.dpx").read_bytes() == frame(1002)


def test_a_read_only_mount_is_no_destination(manual_mount: Mounted, other: Mounted) -> None:
    shot = shoot(manual_mount, 1)
    other.stop()
    other.start("-o", "ro")
    refused = manual_mount.pixfs("cp", shot, other.path, status=2)
    assert "read-only" in refused.stderr
    assert not (other.backing / "sq010").exists()


def test_df_and_stats(manual_mount: Mounted) -> None:
    shot = shoot(manual_mount, 2)
    os.link(shot / "shot.1001.dpx", shot / "twin.dpx")
    (told,) = json.loads(manual_mount.pixfs("df", "--json", manual_mount.path).stdout)["paths"]
    assert told["files"] == 2
    assert told["logical"] == 2 * len(frame())
    assert told["saved"] == told["logical"] - told["stored"] > 0
    assert str(manual_mount.path) in manual_mount.pixfs("df").stdout
    shown = manual_mount.pixfs("stats", manual_mount.path).stdout
    assert "2 compressed" in shown
    assert "limit unlimited" in shown
    stats = json.loads(manual_mount.pixfs("stats", "--json").stdout)["mounts"]
    assert stats[str(manual_mount.path)]["converted"] == 2
    text = manual_mount.pixfs("stats", "--prometheus").stdout
    label = f'mount="{manual_mount.path}"'
    assert f"pixfs_converted_total{{{label}}} 2\n" in text
    assert f'pixfs_limit_bytes_per_second{{{label},direction="read"}} +Inf\n' in text
    sample = re.compile(r'pixfs_\w+\{mount="[^"]+"(,direction="\w+")?\} ([0-9.]+|\+Inf)')
    for line in text.splitlines():
        assert line.startswith(("# HELP ", "# TYPE ")) or sample.fullmatch(line), line
    manual_mount.stop()
    (stored,) = json.loads(manual_mount.pixfs("df", "--json", manual_mount.backing).stdout)["paths"]
    assert {**stored, "path": "", "free": 0} == {**told, "path": "", "free": 0}
    manual_mount.pixfs("df", status=2)
    manual_mount.pixfs("stats", status=2)


def damage(path: Path) -> None:
    """Flip a bit in the middle of a container."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_fsck_tells_and_repairs_what_is_safe(manual_mount: Mounted) -> None:
    shoot(manual_mount)
    backing = manual_mount.backing
    refused = manual_mount.pixfs("fsck", backing, status=2)
    assert "mounted at" in refused.stderr
    manual_mount.kill()
    manual_mount.pixfs("umount", "--stale", manual_mount.path)
    damage(backing / "sq010" / "shot.1002.dpx")
    os.truncate(backing / "sq010" / "shot.1003.dpx", 5000)
    leftover = next((backing / ".pixfs" / "tmp").iterdir())
    (leftover / "new-7").write_bytes(b"half")
    (backing / ".pixfs" / "incoming").mkdir()
    (backing / ".pixfs" / "incoming" / "key").write_bytes(b"part")

    def kinds(*flags: str, status: int) -> list[tuple[str, str]]:
        told = manual_mount.pixfs("fsck", "--json", *flags, backing, status=status).stdout
        (volume,) = json.loads(told)["volumes"]
        return sorted({(p["kind"], p["path"].rpartition("/")[2]) for p in volume["problems"]})

    short = ("damaged", "shot.1003.dpx")
    left = [("leftover", leftover.name), ("unfinished", "key")]
    assert kinds(status=1) == [short, *left]
    assert kinds("--deep", status=1) == [("damaged", "shot.1002.dpx"), short, *left]
    shown = manual_mount.pixfs("fsck", backing, status=1)
    assert "2 can be cleared away with --repair" in shown.stderr
    assert kinds("--repair", status=1) == [short]
    shutil.rmtree(backing / "sq010")
    assert kinds("--deep", status=0) == []
    manual_mount.pixfs("fsck", backing.parent, status=2)


@pytest.fixture
def state_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PIXFS_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.mark.usefixtures("state_directory")
def test_scrub_finds_damage_and_remembers_it_over_runs(manual_mount: Mounted) -> None:
    shot = shoot(manual_mount)
    path = str(manual_mount.path)
    assert "not been scrubbed" in manual_mount.pixfs("scrub", "--status", path).stdout
    assert manual_mount.pixfs("scrub", path).stdout.startswith("3 files, ")
    manual_mount.stop()
    damage(manual_mount.backing / "sq010" / "shot.1001.dpx")
    manual_mount.expect_log("is damaged")
    manual_mount.start("--manual")
    found = manual_mount.pixfs("scrub", "--limit", "1G", path, status=1)
    assert f"{shot}/shot.1001.dpx: " in found.stderr
    told = json.loads(manual_mount.pixfs("scrub", "--status", "--json", path, status=1).stdout)
    assert [name for name, _ in told["damaged"]] == [f"{shot}/shot.1001.dpx"]
    assert told["finished"]
    # A pass that was cut off goes on after the last file, and still knows what it found.
    told |= {"finished": "", "last": f"{shot}/shot.1002.dpx", "files": 2}
    ScrubPass(**told).save()
    rest = manual_mount.pixfs("scrub", path, status=1)
    assert rest.stdout.startswith("3 files, ")
    assert rest.stderr == ""
    manual_mount.pixfs("scrub", "--limit", "0", path, status=2)
    manual_mount.pixfs("scrub", status=2)


def test_scrub_stops_when_told_to_and_goes_on(manual_mount: Mounted, state_directory: Path) -> None:
    (manual_mount.path / "a").write_bytes(b"1")
    shoot(manual_mount)
    path = str(manual_mount.path)
    command = [sys.executable, "-m", "pixfs.cli", "scrub", "--limit", "1", path]
    scrubbing = subprocess.Popen(command, env=manual_mount.environment)
    try:
        # The first file is one byte, the second would take minutes.
        while not ((found := load(path)) and found.files):
            assert scrubbing.poll() is None
        scrubbing.send_signal(signal.SIGTERM)
        assert scrubbing.wait(TIMEOUT_S) == 130
    finally:
        scrubbing.kill()
        scrubbing.wait()
    done = manual_mount.pixfs("scrub", path).stdout
    assert done.startswith("4 files, ")
    assert len(os.listdir(state_directory)) == 1
