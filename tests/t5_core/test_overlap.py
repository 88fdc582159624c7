"""Jobs whose source and destination are one place, by whatever way."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from server.core.errors import InvalidValue
from server.core.jobs import JobState
from server.core.permissions import SYSTEM
from server.core.storages import StorageKind
from server.work.actions import open_storage
from server.work.batch import Options, StorageSpec
from server.work.errors import OverlapError
from server.work.overlap import is_same_file, refuse_nesting, refuse_own_backing
from tests.fuse_session import Mounted
from tests.s3 import s3_server, settings
from tests.t5_core.desk import Desk
from tests.t5_core.work import directory, done, planned, tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.core.database import Database


@pytest.fixture
async def desk(database: Database, tmp_path: Path) -> Desk:
    desk = Desk(database, tmp_path)
    await desk.set_up()
    return desk


def fill(path: Path) -> dict[str, bytes]:
    (path / "shot" / "sub").mkdir(parents=True)
    (path / "shot" / "f.1001.dpx").write_bytes(os.urandom(100))
    (path / "shot" / "sub" / "note.txt").write_bytes(b"note")
    (path / "shot" / "link").symlink_to("sub/note.txt")
    return tree(path)


@pytest.mark.parametrize("kind", ["copy", "move"])
@pytest.mark.parametrize(
    ("source", "destination"),
    [
        ("shot", "shot"),
        ("shot", "shot/sub/new"),
        ("/shot/", "//shot/./new/"),
        ("", "backup"),
        ("shot", ""),
        ("shot/f.1001.dpx", "shot"),
    ],
)
async def test_what_the_names_tell_is_refused_when_it_is_submitted(
    desk: Desk, kind: str, source: str, destination: str
) -> None:
    fill(desk.one)
    with pytest.raises(InvalidValue, match=r"into itself|is there already") as caught:
        await desk.submit(kind, source, target="one", destination=destination)
    assert caught.value.field == "destination"


async def test_names_that_only_begin_alike_are_different(desk: Desk) -> None:
    files = fill(desk.one)
    job = await desk.submit("copy", "shot", target="one", destination="shot2")
    async with desk.working():
        await desk.until(job, "SUCCEEDED")
    assert {name for name in tree(desk.one) if name.startswith("shot2/")} == {
        f"shot2/{name}" for name in files
    }


async def test_a_storage_within_another_is_known_by_its_root(desk: Desk) -> None:
    fill(desk.one)
    await desk.storages.add(SYSTEM, "sub", StorageKind.DIRECTORY, str(desk.one / "shot" / "sub"))
    with pytest.raises(InvalidValue, match="into itself"):
        await desk.submit("move", "shot", target="sub")


@pytest.mark.parametrize("kind", ["copy", "move"])
@pytest.mark.parametrize(
    ("source", "destination"),
    [("shot", "way/new"), ("sho*", "shot/sub"), ("**", "shot/new"), ("way/../shot", "way")],
)
async def test_what_only_looking_tells_fails_the_job(
    desk: Desk, kind: str, source: str, destination: str
) -> None:
    files = fill(desk.one)
    (desk.one / "way").symlink_to("shot/sub")
    job = await desk.submit(kind, source, target="one", destination=destination)
    async with desk.working():
        job = await desk.until(job)
    assert (job.state, "into itself" in job.message) == (JobState.FAILED, True)
    assert tree(desk.one) == files


async def test_a_storage_that_a_link_makes_the_same_moves_nothing(desk: Desk) -> None:
    """Its copy is there already, whole: it is the file itself, and must not be deleted."""
    files = fill(desk.one)
    (desk.base / "alias").symlink_to(desk.one)
    await desk.storages.add(SYSTEM, "alias", StorageKind.DIRECTORY, str(desk.base / "alias"))
    async with desk.working():
        for sources in (("shot/f.1001.dpx", "shot/link"), ("shot/*",)):
            job = await desk.submit("move", *sources, target="alias", destination="shot")
            job = await desk.until(job, "FAILED")
            found = await desk.jobs.errors(SYSTEM, job.id)
            assert {error.code for error in found} <= {"same-file"}
    assert tree(desk.one) == files
    assert (desk.one / "shot" / "link").is_symlink()


def test_a_hard_link_elsewhere_is_another_file(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "one" / "a").write_bytes(b"a")
    (tmp_path / "two" / "a").hardlink_to(tmp_path / "one" / "a")
    one, two = (directory(tmp_path / name) for name in ("one", "two"))
    with closing(open_storage(one)) as source, closing(open_storage(two)) as target:
        assert not is_same_file(source, "a", target, "a")
        assert is_same_file(source, "a", source, "a")


def test_a_bind_mount_is_the_folder_it_shows(tmp_path: Path) -> None:
    fill(tmp_path)
    shown = tmp_path / "shown"
    shown.mkdir()
    bound = subprocess.run(
        ["mount", "--bind", tmp_path / "shot", shown], capture_output=True, check=False
    )
    if bound.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        with (
            closing(open_storage(directory(tmp_path))) as source,
            closing(open_storage(directory(shown))) as target,
        ):
            with pytest.raises(OverlapError, match="into itself"):
                refuse_nesting(source, ["shot"], target, "new/er")
            assert is_same_file(source, "shot/f.1001.dpx", target, "f.1001.dpx")
    finally:
        subprocess.run(["umount", shown], check=True)


def test_within_a_bucket_keys_tell() -> None:
    with s3_server() as server:
        found = settings(server)
        whole = StorageSpec("s3", "s3://frames", found)
        below = StorageSpec("s3", "s3://frames/shows/dune", found)
        with closing(open_storage(whole)) as source, closing(open_storage(below)) as target:
            with pytest.raises(OverlapError, match="into itself"):
                refuse_nesting(source, ["shows"], target, "new")
            refuse_nesting(source, ["shows/dun", "other"], target, "new")
            assert is_same_file(source, "shows/dune/a", target, "a")
            assert not is_same_file(source, "a", target, "a")


@pytest.fixture
def twice(warm_kernels: None) -> Iterator[tuple[Mounted, Mounted]]:
    """Two mounts of one backing directory, with a shot in it."""
    # User attributes: not on every memory file system.
    base = Path(tempfile.mkdtemp(prefix="pixfs-overlap-", dir="/var/tmp"))
    for name in ("one", "two"):
        (base / name).mkdir()
    one, other = Mounted(base / "one"), Mounted(base / "two")
    other.backing = one.backing
    try:
        for mount in (one, other):
            mount.start("--manual")
        fill(one.path)
        yield one, other
    finally:
        for mount in (other, one):
            mount.clean_up()
        shutil.rmtree(base)


def pixfs(path: Path) -> StorageSpec:
    return StorageSpec("pixfs", str(path))


@pytest.mark.fuse
def test_two_mounts_of_one_backing_directory_show_one_folder(
    twice: tuple[Mounted, Mounted],
) -> None:
    one, other = twice
    with (
        closing(open_storage(pixfs(one.path))) as source,
        closing(open_storage(pixfs(other.path / "shot"))) as target,
    ):
        with pytest.raises(OverlapError, match="into itself"):
            refuse_nesting(source, ["shot/sub", "shot"], target, "new/er")
        refuse_nesting(source, ["shot/sub"], target, "new/er")
    files = tree(one.path)
    options = Options(overwrite="replace")
    outcomes = done(planned("copy", pixfs(one.path), pixfs(other.path), "shot", options=options))
    assert {(outcome.state, outcome.code) for outcome in outcomes} == {("failed", "same-file")}
    assert tree(one.path) == files


@pytest.mark.fuse
def test_a_mount_and_its_own_backing_never_copy_onto_each_other(
    twice: tuple[Mounted, Mounted],
) -> None:
    for mount in twice:
        behind = directory(mount.backing / "shot")
        for source, target in ((pixfs(mount.path), behind), (behind, pixfs(mount.path))):
            with pytest.raises(OverlapError, match="same files twice"):
                refuse_own_backing(source, target)


@pytest.mark.fuse
async def test_a_move_between_two_mounts_of_one_directory_deletes_nothing(
    desk: Desk, twice: tuple[Mounted, Mounted]
) -> None:
    one, other = twice
    files = tree(one.path)
    for name, mount in (("m1", one), ("m2", other)):
        await desk.storages.add(SYSTEM, name, StorageKind.PIXFS, str(mount.path))
    async with desk.working():
        job = await desk.submit("move", "shot", source="m1", target="m2", overwrite="replace")
        assert (await desk.until(job)).state == JobState.FAILED
        job = await desk.submit("move", "shot", source="m1", target="m2", destination="shot/sub")
        job = await desk.until(job, "FAILED")
    assert "into itself" in job.message
    assert tree(one.path) == files
