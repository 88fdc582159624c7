"""Copies, moves and deletions of files on plain directories, also when they are cut off."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from typing import TYPE_CHECKING

import pytest

from pixfs.volume import backing
from server.work import actions, transfer
from server.work.batch import Options, StorageSpec
from server.work.beneath import Root
from server.work.directory import Directory, DirectorySource, DirectoryTarget
from server.work.errors import StoppedError, StorageError
from server.work.filesystem import FileSystem
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
    actions.clear(batch, Flow())
    assert [name for name in tree(target) if "pixfs-part" in name] == left


def test_what_a_lost_attempt_has_landed_counts_as_done(source: Path, target: Path) -> None:
    """Only what was there before the job is skipped."""
    spec = directory(source), directory(target)
    done(planned("copy", *spec, "shot/f.0.dpx"))
    done(planned("copy", *spec, "shot/f.1.dpx"))
    before, landed = target / "f.0.dpx", target / "f.1.dpx"
    while landed.stat().st_ctime_ns <= before.stat().st_ctime_ns:
        # Both within one tick of the file system's clock.
        landed.chmod(0o640)
    began_ns = before.stat().st_ctime_ns + 1 + transfer._TICK_NS
    inodes = {path.name: path.stat().st_ino for path in target.iterdir()}
    again = planned("copy", *spec, "shot/*.dpx", lost=(1,), began_ns=began_ns)
    outcomes = done(again)
    assert [o.state for o in outcomes] == ["skipped", "done", "done", "done", "done"]
    assert [o.stored for o in outcomes] == [0, 1001, 1002, 1003, 1004]
    assert (target / "f.1.dpx").stat().st_ino == inodes["f.1.dpx"]
    fresh = planned("copy", *spec, "shot/*.dpx", began_ns=began_ns)
    assert {o.state for o in done(fresh)} == {"skipped"}


def test_holes_stay_holes(source: Path, target: Path) -> None:
    with (source / "sparse").open("wb") as file:
        file.seek(5 << 20)
        file.write(b"island")
        file.truncate(8 << 20)
    done(planned("copy", directory(source), directory(target), "sparse"))
    copy = target / "sparse"
    assert copy.read_bytes() == (source / "sparse").read_bytes()
    assert copy.stat().st_blocks * 512 < 2 << 20


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has files of two owners")
def test_rights_of_an_owner_who_does_not_come_along_are_not_given_to_another(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = source / "shot" / "f.0.dpx"
    os.chown(file, 1234, 4321)
    file.chmod(0o4755)

    def refused(fd: int, uid: int, gid: int) -> None:
        raise PermissionError(errno.EPERM, "not permitted")

    monkeypatch.setattr(backing, "chown", refused)
    (outcome,) = done(planned("copy", directory(source), directory(target), "shot/f.0.dpx"))
    assert outcome.state == "done"
    assert (target / "f.0.dpx").stat().st_mode & 0o7777 == 0o755


def test_a_file_that_is_locked_for_writing_is_not_replaced(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pixfs.transfer.partial._PATIENCE_S", -1.0)
    there = target / "f.0.dpx"
    there.write_bytes(b"another")
    batch = planned("copy", directory(source), directory(target), "shot/f.0.dpx", options=REPLACE)
    with there.open("r+b") as writer:
        fcntl.flock(writer, fcntl.LOCK_SH)
        (outcome,) = done(batch)
        assert (outcome.code, outcome.is_transient) == ("busy", True)
    assert tree(target) == {"f.0.dpx": b"another"}
    assert [outcome.state for outcome in done(batch)] == ["done"]


class StopsAfter:
    """Tells a batch to stop when so many bytes have been written."""

    def __init__(self, size: int) -> None:
        self.left = size

    def take(self, direction: str, size: int, stop: threading.Event) -> None:
        if direction == "write":
            self.left -= size
            if self.left < 0:
                stop.set()


@pytest.fixture
def huge(source: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A file of six MiB, which counts as large."""
    monkeypatch.setattr("server.work.directory.RESUMABLE", 1 << 20)
    data = os.urandom(6 << 20)
    (source / "huge.mov").write_bytes(data)
    return data


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all that is written to targets."""
    sizes: list[int] = []
    write = DirectoryTarget.write

    def counted(target: DirectoryTarget, data: bytes) -> None:
        sizes.append(len(data))
        write(target, data)

    monkeypatch.setattr(DirectoryTarget, "write", counted)
    return sizes


def stopped_half_way(source: Path, target: Path) -> Path:
    """A copy of the huge file stopped after four MiB; what it has left."""
    batch = planned("copy", directory(source), directory(target), "huge.mov")
    stop = threading.Event()
    with pytest.raises(StoppedError) as caught:
        done(batch, Flow(target=StopsAfter(4 << 20), stop=stop))
    assert caught.value.kept
    (left,) = target.iterdir()
    assert left.name == ".7-1-1-0.pixfs-part"
    assert left.stat().st_size == 4 << 20
    return left


def test_a_stopped_copy_of_a_large_file_goes_on_where_it_was(
    source: Path, target: Path, huge: bytes, written: list[int]
) -> None:
    inode = stopped_half_way(source, target).stat().st_ino
    written.clear()
    flow = Flow()
    batch = planned("copy", directory(source), directory(target), "huge.mov", lost=(1,))
    (outcome,) = done(batch, flow)
    assert (outcome.state, outcome.stored) == ("done", len(huge))
    assert sum(written) == 2 << 20
    assert flow.moved == len(huge)
    assert tree(target) == {"huge.mov": huge}
    assert (target / "huge.mov").stat().st_ino == inode


@pytest.mark.parametrize("at", [0, (3 << 20) + 17])
def test_what_was_left_of_a_large_file_is_compared_before_it_counts(
    source: Path, target: Path, huge: bytes, written: list[int], at: int
) -> None:
    left = stopped_half_way(source, target)
    with left.open("r+b") as file:
        file.seek(at)
        file.write(bytes([huge[at] ^ 1]))
    written.clear()
    batch = planned("copy", directory(source), directory(target), "huge.mov", lost=(1,))
    (outcome,) = done(batch)
    assert outcome.state == "done"
    assert sum(written) == len(huge) - (at >> 20 << 20)
    assert tree(target) == {"huge.mov": huge}


def test_a_source_that_got_shorter_leaves_nothing_of_the_longer_one(
    source: Path, target: Path, huge: bytes
) -> None:
    stopped_half_way(source, target)
    (source / "huge.mov").write_bytes(huge[: (2 << 20) + 5])
    batch = planned("copy", directory(source), directory(target), "huge.mov", lost=(1,))
    assert [outcome.state for outcome in done(batch)] == ["done"]
    assert tree(target) == {"huge.mov": huge[: (2 << 20) + 5]}


def test_a_file_somebody_still_writes_to_is_not_gone_on_with(
    source: Path, target: Path, huge: bytes, written: list[int]
) -> None:
    """A worker that was cut off goes on for a while; its file must not become ours."""
    left = stopped_half_way(source, target)
    with left.open("r+b") as zombie:
        fcntl.flock(zombie, fcntl.LOCK_EX)
        written.clear()
        batch = planned("copy", directory(source), directory(target), "huge.mov", lost=(1,))
        assert [outcome.state for outcome in done(batch)] == ["done"]
        zombie.write(b"late")
    assert sum(written) == len(huge)
    assert tree(target) == {"huge.mov": huge}


def test_a_large_file_is_locked_while_it_is_written(
    source: Path, target: Path, huge: bytes
) -> None:
    part = target / ".7-1-1-0.pixfs-part"
    locked: list[bool] = []

    class Looks:
        def take(self, direction: str, size: int, stop: threading.Event) -> None:
            if direction == "write" and part.exists() and part.stat().st_size >= 2 << 20:
                with part.open("rb") as file:
                    try:
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        locked.append(False)
                    except BlockingIOError:
                        locked.append(True)

    batch = planned("copy", directory(source), directory(target), "huge.mov")
    done(batch, Flow(target=Looks()))
    assert locked
    assert all(locked)


def test_nothing_is_left_of_a_large_file_that_is_there_already(
    source: Path, target: Path, huge: bytes
) -> None:
    stopped_half_way(source, target)
    (target / "huge.mov").write_bytes(b"another")
    options = Options(overwrite="skip")
    batch = planned(
        "copy", directory(source), directory(target), "huge.mov", options=options, lost=(1,)
    )
    assert [outcome.state for outcome in done(batch)] == ["skipped"]
    assert tree(target) == {"huge.mov": b"another"}


def test_small_files_are_made_durable_together(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One syncfs for the group; where it fails, each file is asked."""
    for number in range(20):
        (source / "shot" / f"g.{number}.dpx").write_bytes(bytes(100))
    calls: list[str] = []
    answers = iter([True, False])
    monkeypatch.setattr(FileSystem, "sync", lambda self: calls.append("syncfs") or next(answers))
    fsync = os.fsync

    def counted(fd: int) -> None:
        kind = "folder" if os.path.isdir(f"/proc/self/fd/{fd}") else "file"
        calls.append(kind)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", counted)
    batch = planned("copy", directory(source), directory(target), "shot/g.*.dpx")
    assert {outcome.state for outcome in done(batch)} == {"done"}
    assert calls == ["syncfs", "folder"]
    calls.clear()
    for path in target.iterdir():
        path.unlink()
    assert {outcome.state for outcome in done(batch)} == {"done"}
    assert calls == ["syncfs", *["file"] * 20, "folder"]


def test_a_file_system_that_answers_early_is_not_synced_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.work.filesystem._kind", lambda fd: 0x65735546)  # FUSE
    root = Root(str(tmp_path))
    whole = FileSystem(root)
    assert not whole.sync()
    whole.close()
    root.close()


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


def test_groups_are_small_enough_for_their_descriptors(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One descriptor for each file of a group, and one for the folder they share."""
    for number in range(20):
        (source / "shot" / f"g.{number}.dpx").write_bytes(bytes(100))
    opened: list[int] = []
    sync = FileSystem.sync

    def counted(self: FileSystem) -> bool:
        opened.append(len(os.listdir("/proc/self/fd")))
        return sync(self)

    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(FileSystem, "sync", counted)
    done(planned("copy", directory(source), directory(target), "shot/g.*.dpx"))
    # The files; two roots, two folders, the file system.
    assert opened == [before + 20 + 5]
    assert transfer._GROUP_FILES <= 128


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
