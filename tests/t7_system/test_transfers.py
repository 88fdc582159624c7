"""Moves that are killed again and again while limits change, until everything has arrived."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.frames import frame
from tests.fuse_session import TIMEOUT_S, Mounted, mounted

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.fuse, pytest.mark.slow]

NUMBERS = range(1001, 1007)


def whole(mount: Mounted) -> dict[int, bytes]:
    """The frames that are there, as they are read."""
    found = {}
    for number in NUMBERS:
        path = mount.path / "shot" / f"shot.{number}.dpx"
        if path.exists():
            found[number] = path.read_bytes()
    return found


def arrived(mount: Mounted) -> int:
    """Stored bytes of the files that are there, and of the one that is on its way."""
    size = 0
    for folder in (mount.backing / ".pixfs" / "incoming", mount.backing / "shot"):
        for entry in folder.glob("*"):
            # It may get its name while it is looked at.
            with contextlib.suppress(FileNotFoundError):
                size += entry.stat().st_size
    return size


def test_a_move_that_is_killed_often_arrives_whole(tmp_path: Path, warm_kernels: None) -> None:
    expected = {number: frame(number) for number in NUMBERS}
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    run = tmp_path / "run"
    with (
        mounted(tmp_path / "a", "--manual", run=run) as source,
        mounted(tmp_path / "b", "--manual", run=run) as target,
    ):
        (source.path / "shot").mkdir()
        for number, data in expected.items():
            path = source.path / "shot" / f"shot.{number}.dpx"
            path.write_bytes(data)
            if number % 2:
                os.setxattr(path, "user.pixfs.state", b"compressed")
        command = [sys.executable, "-m", "pixfs.cli", "mv"]
        command += [str(source.path / "shot"), str(target.path)]
        for attempt in range(4):
            limit = (b"200K", b"1M")[attempt % 2]
            os.setxattr(target.path, "user.pixfs.throttle.write", limit)
            before = arrived(target)
            moving = subprocess.Popen(command, env=source.environment)
            try:
                while moving.poll() is None and arrived(target) <= before:
                    pass
            finally:
                moving.kill()
                moving.wait(TIMEOUT_S)
            assert whole(source) | whole(target) == expected
        os.setxattr(target.path, "user.pixfs.throttle.write", b"unlimited")
        source.pixfs("mv", source.path / "shot", target.path)
        assert whole(target) == expected
        assert os.listdir(source.path) == []
        assert target.state(target.path / "shot" / "shot.1001.dpx") == "compressed"
        source.stop()
        target.stop()
        for mount in (source, target):
            mount.pixfs("fsck", "--deep", mount.backing)
