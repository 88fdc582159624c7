"""What a start finds in the hidden area, and what it does with it."""

from __future__ import annotations

import fcntl
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from pixfs.volume import check
from tests.t2_volume.frames import container, dpx

if TYPE_CHECKING:
    from pathlib import Path

    from tests.checklogs import ExpectLogs
    from tests.t2_volume.conftest import Volumes
    from tests.t2_volume.user import User


def dead_area(user: User) -> Path:
    """The directory of temporaries of a volume that is gone."""
    area = user.backing / ".pixfs/tmp/1-dead"
    area.mkdir(parents=True)
    (area / "lock").touch()
    return area


def recovered(user: User) -> dict[str, int]:
    """What its start has counted, without the noughts."""
    counts = user.volume.stats()["recovered"]
    assert isinstance(counts, dict)
    return {name: count for name, count in counts.items() if count}


@pytest.fixture
def before(volumes: Volumes) -> User:
    """A volume that has run and closed."""
    user = volumes.make()
    user.write("a.dpx", dpx())
    user.volume.close()
    return user


def test_unfinished_temporary_is_deleted(volumes: Volumes, before: User) -> None:
    area = dead_area(before)
    (area / "new-1").write_bytes(b"just created")
    temp = area / "unnamed"
    temp.write_bytes(b"half a container")
    original = (before.backing / "a.dpx").stat().st_ino
    temp.rename(area / f"t-{original:x}-{temp.stat().st_ino:x}-2")
    again = volumes.make()
    assert not area.exists()
    assert again.read("a.dpx") == dpx()
    stats = again.volume.stats()
    assert stats["leftovers_cleaned"] == 2
    assert recovered(again) == {"volumes": 1, "interrupted": 2}


def test_superseded_original_is_deleted(volumes: Volumes, before: User) -> None:
    """Killed between the exchange and the removal of what came out."""
    area = dead_area(before)
    path = before.backing / "a.dpx"
    new = area / "new"
    new.write_bytes(container())
    original, own = path.stat().st_ino, new.stat().st_ino
    path.rename(area / f"t-{original:x}-{own:x}-1")
    new.rename(path)
    again = volumes.make()
    assert not area.exists()
    assert again.read("a.dpx") == dpx()
    assert again.state("a.dpx")[0] == "compressed"
    assert recovered(again) == {"volumes": 1, "superseded": 1}


def test_somebody_elses_file_is_kept(
    volumes: Volumes, before: User, expect_logs: ExpectLogs
) -> None:
    """A file that was put in the way of an exchange, by a volume killed before it could put
    it back."""
    expect_logs("kept as .pixfs/lost.found/t-1-2-3")
    expect_logs("kept as .pixfs/lost.found/t-1-2-3.1")
    for _ in range(2):
        area = dead_area(before)
        (area / "t-1-2-3").write_bytes(b"precious")
        user = volumes.make()
        user.volume.close()
        assert recovered(user) == {"volumes": 1, "kept": 1}
        assert not area.exists()
    volumes.expect_problems(user)
    kept = sorted((before.backing / ".pixfs/lost+found").iterdir())
    assert [path.read_bytes() for path in kept] == [b"precious", b"precious"]
    assert len(check(before.backing)) == 2


@pytest.mark.parametrize("name", ["strange", "redo-1.data", "t-zz-1-1", "new-x"])
def test_unknown_leftover_is_kept(
    volumes: Volumes, before: User, name: str, expect_logs: ExpectLogs
) -> None:
    expect_logs("kept as .pixfs/lost.found")
    area = dead_area(before)
    (area / name).write_bytes(b"precious")
    user = volumes.make()
    volumes.expect_problems(user)
    assert (before.backing / ".pixfs/lost+found" / name).read_bytes() == b"precious"
    assert not area.exists()


def test_stray_file_among_the_areas_is_kept(
    volumes: Volumes, before: User, expect_logs: ExpectLogs
) -> None:
    expect_logs("kept as .pixfs/lost.found")
    (before.backing / ".pixfs/tmp/stray").write_bytes(b"precious")
    user = volumes.make()
    volumes.expect_problems(user)
    assert (before.backing / ".pixfs/lost+found/stray").read_bytes() == b"precious"


def test_redo_record_is_carried_through(
    volumes: Volumes, before: User, expect_logs: ExpectLogs
) -> None:
    expect_logs("a rewrite that was cut off has been completed")
    area = dead_area(before)
    path = before.backing / "a.dpx"
    os.link(path, before.backing / "b.dpx")
    os.link(path, area / "redo-1.target")
    (area / "redo-1.data").write_bytes(dpx(1))
    os.utime(area / "redo-1.data", ns=(5, 7))
    path.write_bytes(dpx(1)[:5000] + dpx()[5000:])
    again = volumes.make()
    assert again.read("a.dpx") == dpx(1) == again.read("b.dpx")
    assert (again.stat("a.dpx").nlink, again.stat("a.dpx").mtime_ns) == (2, 7)
    assert not area.exists()


def test_redo_target_alone_is_only_a_link(volumes: Volumes, before: User) -> None:
    area = dead_area(before)
    os.link(before.backing / "a.dpx", area / "redo-1.target")
    again = volumes.make()
    assert again.read("a.dpx") == dpx()
    assert again.stat("a.dpx").nlink == 1


def test_temporaries_of_a_running_volume_are_left_alone(volumes: Volumes, before: User) -> None:
    area = dead_area(before)
    (area / "t-1-2-3").write_bytes(b"in use")
    with (area / "lock").open("r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        user = volumes.make()
        assert (area / "t-1-2-3").read_bytes() == b"in use"
        user.volume.close()
    shutil.rmtree(area)


def test_area_is_gone_after_a_clean_end(before: User) -> None:
    assert list((before.backing / ".pixfs/tmp").iterdir()) == []
    assert check(before.backing) == []


def test_area_of_another_user_is_not_used(
    volumes: Volumes, before: User, expect_logs: ExpectLogs
) -> None:
    expect_logs("nothing will be compressed or restored: .*belongs to another user")
    os.chown(before.backing / ".pixfs", 12345, 12345)
    user = volumes.make()
    assert user.read("a.dpx") == dpx()
    with pytest.raises(OSError, match="the volume is read-only"):
        user.set_state("a.dpx", "compressed")
    os.chown(before.backing / ".pixfs", os.getuid(), -1)


def test_check_names_what_is_wrong(volumes: Volumes, before: User) -> None:
    assert check(before.backing) == []
    (before.backing / "sub").mkdir()
    damaged = bytearray(container())
    damaged[-1] ^= 1
    (before.backing / "sub/b.dpx").write_bytes(damaged)
    (before.backing / "c.dpx").write_bytes(container()[:100])
    dead_area(before)
    (before.backing / ".pixfs/other").mkdir()
    (before.backing / ".pixfs/other/x").touch()
    volumes.expect_problems(before)
    found = "\n".join(check(before.backing))
    assert "sub/b.dpx: " in found
    assert "c.dpx: " in found
    assert ".pixfs/tmp/1-dead" in found
    assert ".pixfs/other/x: not known" in found
