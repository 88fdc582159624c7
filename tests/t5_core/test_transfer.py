"""Copies, moves and deletions of files on plain directories, also when they are cut off."""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING

import pytest

from server.work import actions, transfer
from server.work.batch import Options, StorageSpec
from server.work.directory import Directory, DirectorySource, DirectoryTarget
from server.work.errors import StoppedError, StorageError
from server.work.flow import Flow
from tests.t5_core.work import directory, done, planned, tree

if TYPE_CHECKING:
    from pathlib import Path

    from server.work.batch import Action, Overwrite

REPLACE = Options(overwrite="replace")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    (path / "shot" / "deep").mkdir(parents=True)
    for number in range(5):
        file = path / "shot" / f"f.{number}.dpx"
        file.write_bytes(bytes([number]) * (1000 + number))
        os.utime(file, ns=(10**18 + number, 10**18 + number))
    (path / "shot" / "deep" / "empty").write_bytes(b"")
    (path / "shot" / "link").symlink_to("deep/empty")
    os.chmod(path / "shot" / "f.1.dpx", 0o640)
    os.setxattr(path / "shot" / "f.1.dpx", "user.shot", b"sh010")
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "target"
    path.mkdir()
    return path


def test_a_copy_is_the_file_and_what_goes_with_it(source: Path, target: Path) -> None:
    outcomes = done(planned("copy", directory(source), directory(target), "shot"))
    assert {outcome.state for outcome in outcomes} == {"done"}
    assert tree(target) == tree(source)
    copied = target / "shot" / "f.1.dpx"
    assert copied.stat().st_mode & 0o777 == 0o640
    assert copied.stat().st_mtime_ns == 10**18 + 1
    assert os.getxattr(copied, "user.shot") == b"sh010"
    assert os.readlink(target / "shot" / "link") == "deep/empty"


def test_copying_again_does_nothing(source: Path, target: Path) -> None:
    batch = planned("copy", directory(source), directory(target), "shot/*.dpx")
    done(batch)
    inodes = {path.name: path.stat().st_ino for path in target.iterdir()}
    assert [o.state for o in done(batch)] == ["skipped"] * 5
    assert {path.name: path.stat().st_ino for path in target.iterdir()} == inodes


@pytest.mark.parametrize(
    ("overwrite", "state", "code", "is_replaced"),
    [
        ("fail", "failed", "exists", False),
        ("skip", "skipped", "exists", False),
        ("replace", "done", "", True),
        ("newer", "skipped", "exists", False),
    ],
)
def test_overwriting(
    source: Path, target: Path, overwrite: Overwrite, state: str, code: str, is_replaced: bool
) -> None:
    there = target / "f.0.dpx"
    there.write_bytes(b"another")
    batch = planned(
        "copy",
        directory(source),
        directory(target),
        "shot/f.0.dpx",
        options=Options(overwrite=overwrite),
    )
    (outcome,) = done(batch)
    assert (outcome.state, outcome.code) == (state, code)
    assert (there.read_bytes() != b"another") == is_replaced


def test_a_newer_file_replaces_an_older_one(source: Path, target: Path) -> None:
    there = target / "f.0.dpx"
    there.write_bytes(b"another")
    os.utime(there, ns=(5, 5))
    options = Options(overwrite="newer")
    (outcome,) = done(
        planned("copy", directory(source), directory(target), "shot/f.0.dpx", options=options)
    )
    assert outcome.state == "done"
    assert there.read_bytes() == (source / "shot" / "f.0.dpx").read_bytes()


def test_a_twin_of_the_same_time_and_size_is_not_taken_for_the_file(
    source: Path, target: Path
) -> None:
    there = target / "f.0.dpx"
    there.write_bytes(b"z" * 1000)
    os.utime(there, ns=(10**18, 10**18))
    (outcome,) = done(planned("copy", directory(source), directory(target), "shot/f.0.dpx"))
    assert (outcome.state, outcome.code) == ("failed", "exists")
    assert there.read_bytes() == b"z" * 1000


def test_a_link_out_of_the_storage_is_refused(source: Path, target: Path) -> None:
    (source / "shot" / "out").symlink_to("../../target")
    (source / "shot" / "etc").symlink_to("/etc")
    outcomes = done(planned("copy", directory(source), directory(target), "shot/out", "shot/etc"))
    assert [outcome.code for outcome in outcomes] == ["outside", "outside"]
    assert not list(target.iterdir())


def test_a_folder_that_became_a_link_is_not_walked_through(
    source: Path, target: Path, tmp_path: Path
) -> None:
    batch = planned("copy", directory(source), directory(target), "shot/deep/empty")
    (source / "shot" / "deep" / "empty").unlink()
    (source / "shot" / "deep").rmdir()
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "empty").write_bytes(b"secret")
    (source / "shot" / "deep").symlink_to(secret)
    (outcome,) = done(batch)
    assert (outcome.state, outcome.code) == ("failed", "outside")
    assert not list(target.iterdir())


def test_what_landed_wrong_is_not_shown(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = DirectoryTarget.write

    def flip(self: DirectoryTarget, data: bytes) -> None:
        write(self, bytes([data[0] ^ 1]) + data[1:])

    monkeypatch.setattr(DirectoryTarget, "write", flip)
    (outcome,) = done(planned("copy", directory(source), directory(target), "shot/f.0.dpx"))
    assert (outcome.state, outcome.code) == ("failed", "verify-failed")
    assert not list(target.iterdir())


def test_a_file_that_changes_while_it_is_read_is_not_copied(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = DirectorySource.read

    def touched(self: DirectorySource, size: int) -> bytes:
        os.utime(source / "shot" / "f.0.dpx", ns=(1, 1))
        return read(self, size)

    monkeypatch.setattr(DirectorySource, "read", touched)
    (outcome,) = done(planned("copy", directory(source), directory(target), "shot/f.0.dpx"))
    assert (outcome.code, outcome.is_transient) == ("changed", True)
    assert not list(target.iterdir())


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("step", ["write", "finish", "commit"])
def test_an_error_of_one_file_stays_with_it(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, step: str, code: int
) -> None:
    real = getattr(DirectoryTarget, step)

    def failing(self: DirectoryTarget, *args: object, **kwargs: object) -> None:
        if self.path == "f.2.dpx":
            raise OSError(code, os.strerror(code))
        real(self, *args, **kwargs)

    monkeypatch.setattr(DirectoryTarget, step, failing)
    outcomes = done(planned("copy", directory(source), directory(target), "shot/*.dpx"))
    assert [outcome.state for outcome in outcomes].count("failed") == 1
    assert sorted(tree(target)) == ["f.0.dpx", "f.1.dpx", "f.3.dpx", "f.4.dpx"]


def test_a_mount_that_is_gone_ends_the_batch(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(self: Directory, path: str, *, stored: bool) -> DirectorySource:
        raise OSError(errno.ENOTCONN, "not connected")

    monkeypatch.setattr(Directory, "open", gone)
    with pytest.raises(StorageError):
        done(planned("copy", directory(source), directory(target), "shot/*.dpx"))


def test_a_missing_root_is_a_storage_error(source: Path, tmp_path: Path) -> None:
    missing = directory(tmp_path / "missing")
    with pytest.raises(StorageError):
        done(planned("copy", directory(source), missing, "shot/*.dpx"))


def test_a_batch_stops_within_a_file(source: Path, target: Path) -> None:
    stop = threading.Event()

    class Stopper:
        def take(self, direction: str, size: int, stop: threading.Event) -> None:
            if direction == "write":
                stop.set()

    with pytest.raises(StoppedError):
        done(
            planned("copy", directory(source), directory(target), "shot/*.dpx"),
            Flow(target=Stopper(), stop=stop),
        )
    assert not list(target.iterdir())


def test_a_batch_nobody_waits_for_shows_nothing(source: Path, target: Path) -> None:
    now = [0.0]
    flow = Flow(valid_s=1.0, clock=lambda: now[0])

    class Late:
        def take(self, direction: str, size: int, stop: threading.Event) -> None:
            now[0] += 0.3

    flow._target = Late()
    with pytest.raises(StoppedError):
        done(planned("copy", directory(source), directory(target), "shot/*.dpx"), flow)
    assert not list(target.iterdir())


def test_a_batch_ends_when_its_time_is_over(source: Path, target: Path) -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 0.1
        return now[0]

    outcomes = done(
        planned("copy", directory(source), directory(target), "shot/*.dpx"),
        Flow(slice_s=0.45, clock=clock),
    )
    assert 0 < len(outcomes) < 5
    assert sorted(tree(target)) == [f"f.{outcome.number}.dpx" for outcome in outcomes]


def test_leftovers_of_an_earlier_attempt_are_removed(source: Path, target: Path) -> None:
    batch = planned("copy", directory(source), directory(target), "shot/*.dpx", lost=(1, 2))
    for attempt in (1, 2):
        (target / f".7-1-{attempt}-0.pixfs-part").write_bytes(b"half")
    (target / ".8-1-1-0.pixfs-part").write_bytes(b"another job's")
    done(batch)
    left = [name for name in tree(target) if "pixfs-part" in name]
    assert left == [".8-1-1-0.pixfs-part"]
    (target / ".7-1-1-0.pixfs-part").write_bytes(b"half")
    actions.clear(batch)
    assert [name for name in tree(target) if "pixfs-part" in name] == left


def test_deleting(source: Path) -> None:
    batch = planned("delete", directory(source), None, "shot/*.dpx")
    os.utime(source / "shot" / "f.3.dpx", ns=(7, 7))
    states = {outcome.number: outcome.code for outcome in done(batch)}
    assert states == {0: "", 1: "", 2: "", 3: "changed", 4: ""}
    assert sorted(tree(source)) == ["shot/deep/empty", "shot/f.3.dpx"]


def test_a_source_written_to_after_its_copy_is_kept(source: Path, target: Path) -> None:
    """The copy's own time stamp, size and inode decide, not those of the plan."""
    from dataclasses import replace

    batch = planned("copy", directory(source), directory(target), "shot/f.0.dpx")
    (outcome,) = done(batch)
    file = replace(batch.files[0], version=outcome.version)
    again = source / "shot" / "f.0.dpx"
    st = again.stat()
    again.write_bytes(b"y" * 1000)
    os.utime(again, ns=(st.st_atime_ns, st.st_mtime_ns))
    unlink = replace(batch, action="unlink-source", target=None, files=(file,))
    (outcome,) = done(unlink)
    assert outcome.code == "changed"
    assert again.read_bytes() == b"y" * 1000


@pytest.mark.parametrize("kind", ["compress", "restore"])
def test_a_plain_directory_converts_nothing(source: Path, kind: Action) -> None:
    (outcome,) = done(planned(kind, directory(source), None, "shot/f.0.dpx"))
    assert (outcome.state, outcome.code) == ("failed", "unsupported")


def test_groups_are_small_enough_for_their_descriptors() -> None:
    assert transfer._GROUP_FILES <= 64


def test_races_of_links_never_lead_out(source: Path, target: Path, tmp_path: Path) -> None:
    """While a folder keeps changing into a link, nothing beyond it is ever copied."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "empty").write_bytes(b"secret")
    deep, aside = source / "shot" / "deep", source / "shot" / "aside"
    batch = planned("copy", directory(source), directory(target), "shot/deep/empty")
    over = threading.Event()
    swaps = 0

    def swap() -> None:
        nonlocal swaps
        while not over.is_set():
            os.rename(deep, aside)
            os.symlink(secret, deep)
            os.unlink(deep)
            os.rename(aside, deep)
            swaps += 1

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for _ in range(300):
            done(batch)
            for data in tree(target).values():
                assert data == b""
            for path in target.iterdir():
                path.unlink()
    finally:
        over.set()
        swapper.join()
    assert swaps > 0


def test_unknown_kinds_of_storage_are_refused() -> None:
    with pytest.raises(StorageError):
        actions.open_storage(StorageSpec("s3", "http://somewhere"))
