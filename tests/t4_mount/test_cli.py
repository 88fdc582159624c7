"""The verbs that look at files and convert them, on a mount and on an unmounted volume."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.frames import frame
from tests.fuse_session import TIMEOUT_S

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fuse_session import Mounted

pytestmark = pytest.mark.fuse


def test_a_sequence_from_raw_to_compressed_and_back(manual_mount: Mounted) -> None:
    shot = manual_mount.path / "sq010"
    shot.mkdir()
    for number in range(1001, 1005):
        (shot / f"shot.{number}.dpx").write_bytes(frame(number))
    (shot / "notes.txt").write_bytes(b"too small")

    assert "raw" in manual_mount.pixfs("status", shot).stdout
    done = manual_mount.pixfs("compress", shot)
    assert done.stdout == "compress: 4 compressed, 1 verbatim\n"

    shown = manual_mount.pixfs("status", shot).stdout
    row = next(line for line in shown.splitlines() if "shot.[1001-1004].dpx" in line)
    assert "compressed" in row
    assert "too small" in shown
    listed = json.loads(manual_mount.pixfs("status", "--json", shot).stdout)["files"]
    assert len(listed) == 5
    first = next(file for file in listed if file["path"].endswith("1001.dpx"))
    assert first["state"] == "compressed"
    assert first["stored"] < first["logical"] == len(frame())
    assert first["format"].startswith("dpx 512x389")

    assert manual_mount.pixfs("verify", shot).stdout == "5 files checked, 0 damaged\n"
    manual_mount.pixfs("restore", shot)
    for number in range(1001, 1005):
        path = shot / f"shot.{number}.dpx"
        assert manual_mount.state(path) == "raw"
        assert (manual_mount.backing / "sq010" / path.name).read_bytes() == frame(number)


def test_an_unmounted_volume_is_worked_on_directly(manual_mount: Mounted) -> None:
    (manual_mount.path / "shot.1001.dpx").write_bytes(frame())
    stored = manual_mount.backing / "shot.1001.dpx"
    refused = manual_mount.pixfs("compress", stored, status=2)
    assert f"use {manual_mount.path / stored.name}" in refused.stderr
    manual_mount.stop()
    manual_mount.pixfs("compress", "--level", "fast", stored)
    assert stored.stat().st_size < len(frame())
    manual_mount.pixfs("restore", manual_mount.backing)
    assert stored.read_bytes() == frame()


def test_wait_gives_up_in_time_and_ends_when_all_is_done(mount: Mounted) -> None:
    mount.stop()
    mount.start(settle_s=3600)
    path = mount.path / "shot.1001.dpx"
    path.write_bytes(frame())
    given_up = mount.pixfs("wait", mount.path, "--timeout", "0", status=1)
    assert "1 files are still pending" in given_up.stderr
    os.setxattr(path, "user.pixfs.state", b"compressed")
    mount.pixfs("wait", mount.path)
    assert mount.state(path) == "compressed"


def test_paths_that_are_no_business_of_ours(mount: Mounted) -> None:
    outside = mount.backing.parent
    for arguments in (["status", outside], ["verify", outside / "none"], ["wait", outside]):
        result = mount.pixfs(*arguments, status=2)
        assert result.stderr.startswith(f"pixfs {arguments[0]}: ")


def test_a_mount_imports_nothing_from_the_folder_it_is_given_in(tmp_path: Path) -> None:
    """Which may be anybody's, and the mount root's."""
    folder, backing, target = (tmp_path / name for name in ("folder", "backing", "mnt"))
    for path in (folder, backing, target):
        path.mkdir()
    for name in ("pixfs", "codec", "trio", "random"):
        (folder / f"{name}.py").write_text("raise SystemExit('imported from here')\n")
    pixfs = [sys.executable, "-P", "-m", "pixfs.cli"]
    environment = os.environ | {"PIXFS_RUN_DIR": str(tmp_path / "run")}

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*pixfs, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environment,
            cwd=folder,
            timeout=TIMEOUT_S,
        )

    done = run("mount", "--manual", "--log", tmp_path / "log", backing, target)
    try:
        assert done.returncode == 0, done.stderr
        (target / "shot.0001.dpx").write_bytes(b"frame")
        assert (backing / "shot.0001.dpx").read_bytes() == b"frame"
    finally:
        ended = run("umount", target)
    assert ended.returncode == 0, ended.stderr
