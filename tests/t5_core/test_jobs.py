"""Jobs from their submission to their end, on plain directories."""

from __future__ import annotations

import os
import re
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
import trio

from server.core.access import AllowedPath
from server.core.errors import InUse, InvalidValue, NotAllowed, NotFound, WrongState
from server.core.jobs import Filter, JobKind, JobRequest, JobState, Notify, WorkerState
from server.core.jobs.tables import deliveries, job_folders, tasks
from server.core.jobs.workers import Seen, free_slots
from server.core.passwords import HashCost, Passwords
from server.core.permissions import SYSTEM, Actor, Role
from server.core.sessions import Sessions
from server.core.users import Users
from server.work.directory import Directory, DirectoryTarget
from server.work.engine import ThreadEngine
from tests.t5_core.desk import PATIENCE_S, Desk
from tests.t5_core.work import tree

if TYPE_CHECKING:
    from pathlib import Path

    from server.core.database import Database
    from server.core.jobs import Job

# Real argon2id, only cheaper.
CHEAP = HashCost(memory_kib=64, passes=1, lanes=1)


@pytest.fixture
async def desk(database: Database, tmp_path: Path) -> Desk:
    desk = Desk(database, tmp_path)
    await desk.set_up()
    return desk


def fill(path: Path, count: int = 10) -> dict[str, bytes]:
    (path / "shot" / "sub").mkdir(parents=True, exist_ok=True)
    for number in range(count):
        file = path / "shot" / f"f.{1001 + number}.dpx"
        file.write_bytes(os.urandom(100 + number))
    (path / "shot" / "sub" / "note.txt").write_bytes(b"note")
    return tree(path)


async def test_a_copy(desk: Desk) -> None:
    files = fill(desk.one)
    os.utime(desk.one / "shot" / "sub", ns=(5, 10**18))
    job = await desk.submit("copy", "shot")
    assert (job.state, job.files_total) == (JobState.WAITING, 0)
    async with desk.working():
        job = await desk.until(job)
    assert job.state == JobState.SUCCEEDED
    assert (job.files_total, job.files_done, job.files_failed) == (11, 11, 0)
    assert job.bytes_done == job.bytes_total == sum(map(len, files.values()))
    assert tree(desk.two) == files == tree(desk.one)
    assert (desk.two / "shot" / "sub").stat().st_mtime_ns == 10**18
    found = await desk.jobs.files(SYSTEM, job.id, limit=4, after=2)
    assert [(file.number, file.state) for file in found] == [(n, "done") for n in (3, 4, 5, 6)]


async def test_a_copy_into_a_folder(desk: Desk) -> None:
    fill(desk.one, 3)
    job = await desk.submit("copy", "shot/f.[1001-1002].dpx", destination="/a/b/")
    async with desk.working():
        await desk.until(job, "SUCCEEDED")
    assert sorted(tree(desk.two)) == ["a/b/f.1001.dpx", "a/b/f.1002.dpx"]


async def test_a_move(desk: Desk) -> None:
    files = fill(desk.one)
    job = await desk.submit("move", "shot")
    async with desk.working():
        job = await desk.until(job, "SUCCEEDED")
    assert tree(desk.two) == files
    assert not list(desk.one.iterdir())
    assert (job.files_done, job.files_total) == (11, 11)


async def test_a_move_within_a_storage_renames(desk: Desk) -> None:
    files = fill(desk.one)
    inode = (desk.one / "shot" / "f.1001.dpx").stat().st_ino
    job = await desk.submit("move", "shot", target="one", destination="new")
    async with desk.working():
        await desk.until(job, "SUCCEEDED")
    assert tree(desk.one) == {f"new/{name}": data for name, data in files.items()}
    assert (desk.one / "new" / "shot" / "f.1001.dpx").stat().st_ino == inode
    assert not (desk.one / "shot").exists()


async def test_a_deletion(desk: Desk) -> None:
    fill(desk.one)
    job = await desk.submit("delete", "shot")
    async with desk.working():
        await desk.until(job, "SUCCEEDED")
    assert not list(desk.one.iterdir())


async def test_a_verification(desk: Desk) -> None:
    fill(desk.one)
    job = await desk.submit("verify", "shot")
    async with desk.working():
        job = await desk.until(job, "SUCCEEDED")
    assert job.files_done == 11


async def test_what_fails_is_told_and_tried_again_when_asked(desk: Desk) -> None:
    files = fill(desk.one)
    (desk.two / "shot").mkdir()
    (desk.two / "shot" / "f.1003.dpx").write_bytes(b"in the way")
    job = await desk.submit("move", "shot")
    async with desk.working():
        job = await desk.until(job, "FAILED")
        assert (job.files_done, job.files_failed) == (10, 1)
        (error,) = await desk.jobs.errors(SYSTEM, job.id)
        assert (error.path, error.code) == ("shot/f.1003.dpx", "exists")
        assert tree(desk.one) == {"shot/f.1003.dpx": files["shot/f.1003.dpx"]}
        (desk.two / "shot" / "f.1003.dpx").unlink()
        await desk.jobs.retry(SYSTEM, job.id)
        job = await desk.until(job, "SUCCEEDED")
    assert (job.files_done, job.files_failed, job.files_total) == (11, 0, 11)
    assert await desk.jobs.errors(SYSTEM, job.id) == []
    assert tree(desk.two) == files
    assert not list(desk.one.iterdir())


async def test_missing_frames_fail_and_can_come_later(desk: Desk) -> None:
    fill(desk.one, 3)
    job = await desk.submit("copy", "shot/f.[1001-1004].dpx")
    async with desk.working():
        job = await desk.until(job, "FAILED")
        (error,) = await desk.jobs.errors(SYSTEM, job.id)
        assert (error.path, error.code) == ("shot/f.1004.dpx", "not-found")
        (desk.one / "shot" / "f.1004.dpx").write_bytes(b"late")
        await desk.jobs.retry(SYSTEM, job.id)
        await desk.until(job, "SUCCEEDED")
    assert (desk.two / "f.1004.dpx").read_bytes() == b"late"


async def test_sources_that_name_nothing_fail_the_job(desk: Desk) -> None:
    job = await desk.submit("copy", "nowhere")
    async with desk.working():
        job = await desk.until(job, "FAILED")
        assert "'nowhere' does not exist" in job.message
        fill(desk.one)
        (desk.one / "shot").rename(desk.one / "nowhere")
        await desk.jobs.retry(SYSTEM, job.id)
        job = await desk.until(job, "SUCCEEDED")
    assert job.message == ""


async def test_an_empty_folder_is_copied(desk: Desk) -> None:
    (desk.one / "empty").mkdir()
    job = await desk.submit("copy", "empty")
    async with desk.working():
        await desk.until(job, "SUCCEEDED")
    assert (desk.two / "empty").is_dir()


async def test_a_folder_that_is_being_written_to_waits(desk: Desk) -> None:
    """It is taken once nothing has changed for the quiet time."""
    fill(desk.one)
    job = await desk.submit("copy", "shot", quiet_s=100.0)
    async with desk.working() as dispatcher:
        await until_task(desk, "plan", "WAITING", attempt=1)
        (desk.one / "shot" / "f.1001.dpx").write_bytes(b"still rendering")
        desk.clock.advance(50)
        later = desk.clock().timestamp()
        os.utime(desk.one / "shot" / "f.1001.dpx", (later, later))
        desk.clock.advance(51)
        dispatcher.wake()
        await until_task(desk, "plan", "WAITING", attempt=2)
        assert (await desk.get(job)).files_total == 0
        desk.clock.advance(101)
        dispatcher.wake()
        await desk.until(job, "SUCCEEDED")
    assert tree(desk.two) == tree(desk.one)


async def test_a_job_tells_what_it_waits_for_and_how_long_yet(desk: Desk) -> None:
    fill(desk.one)
    young = desk.one / "shot" / os.fsdecode(b"f\xff.dpx")
    young.write_bytes(b"still rendering")
    later = desk.clock().timestamp() + 5
    os.utime(young, (later, later))
    job = await desk.submit("copy", "shot", quiet_s=100.0, quiet_timeout_s=1000.0)
    other = await desk.submit("verify", "shot")
    assert (job.message, job.waits_for) == ("", "")
    async with desk.working() as dispatcher:
        await until_task(desk, "plan", "WAITING", attempt=1)
        await desk.until(other)
        told = (await desk.get(job)).waits_for
        assert told.startswith(
            "waits until nothing has been written to its files for 100 s,"
            " last to 'shot/f\\udcff.dpx': looks again in "
        )
        assert 0 < seconds(told, "looks again in") <= 100
        assert 100 < seconds(told, "gives up in") <= 1000
        desk.clock.advance(60)
        page = await desk.jobs.page(SYSTEM, Filter())
        assert [listed.id for listed in page.jobs] == [other.id, job.id]
        assert page.jobs[0].waits_for == ""
        later_told = page.jobs[1].waits_for
        assert seconds(later_told, "looks again in") <= 40
        assert seconds(later_told, "gives up in") <= seconds(told, "gives up in") - 60
        assert (await desk.jobs.pause(SYSTEM, job.id)).waits_for == ""
        assert (await desk.jobs.resume(SYSTEM, job.id)).waits_for != ""
        desk.clock.advance(101)
        dispatcher.wake()
        job = await desk.until(job, "SUCCEEDED")
    assert (job.message, job.waits_for) == ("", "")


def seconds(told: str, of: str) -> int:
    match = re.search(rf"{of} (\d+) s", told)
    assert match is not None, told
    return int(match[1])


async def test_a_folder_that_never_rests_fails_the_job(desk: Desk) -> None:
    fill(desk.one)
    future = desk.clock().timestamp() + 10**6
    os.utime(desk.one / "shot" / "f.1001.dpx", (future, future))
    job = await desk.submit("copy", "shot", quiet_s=10.0, quiet_timeout_s=5.0)
    async with desk.working() as dispatcher:
        await until_task(desk, "plan", "WAITING", attempt=1)
        (desk.one / "shot" / "new").write_bytes(b"x")
        desk.clock.advance(11)
        dispatcher.wake()
        job = await desk.until(job, "FAILED")
    assert "f.1001.dpx' is still being written to" in job.message


async def until_task(desk: Desk, action: str, state: str, attempt: int) -> None:
    query = sa.select(tasks.c.id).where(
        (tasks.c.action == action) & (tasks.c.state == state) & (tasks.c.attempt == attempt)
    )
    await desk.until_true(
        lambda: desk.database.read(lambda connection: connection.execute(query).first())
    )


class Gate:
    """Holds every write of a target until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()
        write = DirectoryTarget.write

        def held(target: DirectoryTarget, data: bytes) -> None:
            self.reached.set()
            assert self.open.wait(PATIENCE_S)
            write(target, data)

        monkeypatch.setattr(DirectoryTarget, "write", held)

    async def wait(self) -> None:
        assert await trio.to_thread.run_sync(self.reached.wait, PATIENCE_S)


class WatchedEngine(ThreadEngine):
    """Three threads that tell when they were told to stop something."""

    def __init__(self) -> None:
        super().__init__(3)
        self.told = threading.Event()
        self.stopped: set[str] = set()

    def stop(self, tokens: set[str]) -> None:
        super().stop(tokens)
        # Not of what has ended between the look at what runs and the answer: nobody hears that.
        self.stopped |= tokens & self.moved().keys()
        if self.stopped:
            self.told.set()

    async def until_told(self) -> None:
        assert await trio.to_thread.run_sync(self.told.wait, PATIENCE_S)


async def test_pause_and_resume(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    files = fill(desk.one)
    gate, engine = Gate(monkeypatch), WatchedEngine()
    job = await desk.submit("copy", "shot")
    async with desk.working(engine):
        await gate.wait()
        paused = await desk.jobs.pause(SYSTEM, job.id)
        assert paused.state == JobState.PAUSED
        await engine.until_told()
        gate.open.set()
        await until_task(desk, "copy", "PAUSED", attempt=1)
        assert not [name for name in tree(desk.two) if "pixfs-part" in name]
        assert len(tree(desk.two)) < len(files)
        await desk.jobs.resume(SYSTEM, job.id)
        job = await desk.until(job, "SUCCEEDED")
    assert tree(desk.two) == files
    assert job.files_done == 11


async def test_what_landed_before_a_pause_is_not_counted_as_skipped(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop between two files of one group: those that took their names are done."""
    files = fill(desk.one)
    engine = WatchedEngine()
    commit = DirectoryTarget.commit
    landed = []
    third = threading.Event()

    def counted(target: DirectoryTarget, *, replace: bool) -> None:
        commit(target, replace=replace)
        landed.append(target.path)
        if len(landed) == 3:
            third.set()
            assert engine.told.wait(PATIENCE_S)

    monkeypatch.setattr(DirectoryTarget, "commit", counted)
    job = await desk.submit("copy", "shot")
    async with desk.working(engine):
        assert await trio.to_thread.run_sync(third.wait, PATIENCE_S)
        await desk.jobs.pause(SYSTEM, job.id)
        await until_task(desk, "copy", "PAUSED", attempt=1)
        paused = await desk.get(job)
        assert (paused.files_done, paused.files_skipped) == (3, 0)
        assert len(tree(desk.two)) == 3
        await desk.jobs.resume(SYSTEM, job.id)
        job = await desk.until(job, "SUCCEEDED")
    assert tree(desk.two) == files
    assert (job.files_done, job.files_skipped, job.bytes_done) == (11, 0, job.bytes_total)


async def pause_in_a_large_file(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> tuple[Job, bytes, list[int]]:
    """A job that was paused in the middle of a file, which counts as large; the file's bytes,
    and the sizes of what was written."""
    monkeypatch.setattr("server.work.directory.RESUMABLE", 1 << 20)
    data = os.urandom(8 << 20)
    (desk.one / "huge.mov").write_bytes(data)
    engine, half_way, written = WatchedEngine(), threading.Event(), []
    write = DirectoryTarget.write

    def held(target: DirectoryTarget, piece: bytes) -> None:
        write(target, piece)
        written.append(len(piece))
        if len(written) == 4:
            half_way.set()
            assert engine.told.wait(PATIENCE_S)

    monkeypatch.setattr(DirectoryTarget, "write", held)
    job = await desk.submit("copy", "huge.mov")
    async with desk.working(engine):
        assert await trio.to_thread.run_sync(half_way.wait, PATIENCE_S)
        await desk.jobs.pause(SYSTEM, job.id)
        await until_task(desk, "copy", "PAUSED", attempt=1)
    (left,) = tree(desk.two)
    assert "pixfs-part" in left
    return job, data, written


async def test_a_paused_copy_of_a_large_file_goes_on_where_it_was(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, data, written = await pause_in_a_large_file(desk, monkeypatch)
    async with desk.working():
        await desk.jobs.resume(SYSTEM, job.id)
        job = await desk.until(job, "SUCCEEDED")
    assert sum(written) == len(data), "no byte is written twice"
    assert tree(desk.two) == {"huge.mov": data}
    assert (job.files_done, job.bytes_done) == (1, len(data))


async def test_a_paused_copy_that_is_cancelled_leaves_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, _, _ = await pause_in_a_large_file(desk, monkeypatch)
    async with desk.working():
        await desk.jobs.cancel(SYSTEM, job.id)
        await until_task(desk, "clear", "SUCCEEDED", attempt=1)
    assert tree(desk.two) == {}


async def test_what_is_left_of_a_cancelled_copy_goes_when_its_storage_is_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, _, _ = await pause_in_a_large_file(desk, monkeypatch)
    away = desk.base / "away"
    desk.two.rename(away)
    async with desk.working() as dispatcher:
        await desk.jobs.cancel(SYSTEM, job.id)
        await until_task(desk, "clear", "WAITING", attempt=1)
        assert len(tree(away)) == 1
        away.rename(desk.two)
        desk.clock.advance(3)
        dispatcher.wake()
        await until_task(desk, "clear", "SUCCEEDED", attempt=2)
    assert tree(desk.two) == {}
    job = await desk.get(job)
    assert (job.state, job.files_failed) == (JobState.CANCELLED, 0)


async def test_what_cannot_be_cleared_away_is_given_up_in_the_end(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And does not meddle with the job: it can be retried as any other."""
    job, data, _ = await pause_in_a_large_file(desk, monkeypatch)
    away = desk.base / "away"
    desk.two.rename(away)
    monkeypatch.setattr("server.core.jobs.tidying._MOST_ATTEMPTS", 2)
    async with desk.working() as dispatcher:
        await desk.jobs.cancel(SYSTEM, job.id)
        for attempt, state in ((1, "WAITING"), (2, "WAITING"), (3, "FAILED")):
            await until_task(desk, "clear", state, attempt=attempt)
            desk.clock.advance(3600)
            dispatcher.wake()
        found = await desk.get(job)
        assert (found.state, found.files_failed) == (JobState.CANCELLED, 0)
        assert await desk.jobs.errors(SYSTEM, job.id) == []
        away.rename(desk.two)
        await desk.jobs.retry(SYSTEM, job.id)
        await desk.until(job, "SUCCEEDED")
    assert tree(desk.two) == {"huge.mov": data}


def folders(path: Path) -> set[str]:
    return {str(found.relative_to(path)) for found in path.rglob("*") if found.is_dir()}


async def test_a_cancelled_copy_removes_the_empty_folders_it_made(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that were there, and those with something in them, stay."""
    fill(desk.one, 1)
    for name in ("deep", "other"):
        (desk.one / "shot" / name).mkdir()
        (desk.one / "shot" / name / "a.txt").write_bytes(b"a")
    (desk.two / "there" / "shot" / "other").mkdir(parents=True)
    gate, engine = Gate(monkeypatch), WatchedEngine()
    job = await desk.submit("copy", "shot", destination="there")
    new = await desk.submit("copy", "shot/sub", destination="new/deep")
    async with desk.working(engine):
        await gate.wait()
        for place in ("there/shot/deep", "new/deep/sub"):
            await desk.until_true(partial(is_there, desk.two / place))
        (desk.two / "there" / "shot" / "empty").mkdir()
        for number, each in enumerate((job, new), 1):
            await desk.jobs.cancel(SYSTEM, each.id)
            await desk.until_true(partial(has_stopped, engine, number))
        gate.open.set()
        await desk.until_true(lambda: unmade(desk, 2))
        assert tree(desk.two) == {}
        assert folders(desk.two) == {"there", "there/shot", "there/shot/other", "there/shot/empty"}
        # As if nothing had been.
        for each in (job, new):
            await desk.jobs.retry(SYSTEM, each.id)
            await desk.until(each, "SUCCEEDED")
    assert sorted(tree(desk.two)) == [
        "new/deep/sub/note.txt",
        "there/shot/deep/a.txt",
        "there/shot/f.1001.dpx",
        "there/shot/other/a.txt",
        "there/shot/sub/note.txt",
    ]
    with desk.database.reading() as connection:
        assert connection.execute(sa.select(job_folders)).all() == []


async def is_there(path: Path) -> bool:
    return await trio.Path(path).exists()


async def has_stopped(engine: WatchedEngine, count: int) -> bool:
    """Whether so many batches were told to stop."""
    return len(engine.stopped) == count


async def unmade(desk: Desk, count: int) -> bool:
    """Whether so many jobs have removed their folders."""
    wanted = (tasks.c.action == "unmake") & (tasks.c.state == "SUCCEEDED")
    query = sa.select(sa.func.count()).select_from(tasks).where(wanted)
    return bool(await desk.database.read(lambda c: c.execute(query).scalar()) == count)


async def test_a_folder_that_somebody_uses_stays_when_a_copy_is_cancelled(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(desk.one, 1)
    gate, engine = Gate(monkeypatch), WatchedEngine()
    job = await desk.submit("copy", "shot/sub", destination="new/deep")
    async with desk.working(engine):
        await gate.wait()
        await desk.until_true(partial(is_there, desk.two / "new/deep/sub"))
        (desk.two / "new" / "mine.txt").write_bytes(b"mine")
        await desk.jobs.cancel(SYSTEM, job.id)
        await engine.until_told()
        gate.open.set()
        await desk.until_true(lambda: unmade(desk, 1))
    assert tree(desk.two) == {"new/mine.txt": b"mine"}
    assert folders(desk.two) == {"new"}


async def test_cancel_leaves_whole_files_only(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    files = fill(desk.one)
    gate, engine = Gate(monkeypatch), WatchedEngine()
    job = await desk.submit("copy", "shot")
    async with desk.working(engine):
        await gate.wait()
        await desk.jobs.cancel(SYSTEM, job.id)
        await engine.until_told()
        gate.open.set()
        await until_task(desk, "copy", "CANCELLED", attempt=1)
        left = tree(desk.two)
        assert left.items() <= files.items()
        assert (await desk.get(job)).state == JobState.CANCELLED
        await desk.jobs.retry(SYSTEM, job.id)
        job = await desk.until(job, "SUCCEEDED")
    assert tree(desk.two) == files


@pytest.mark.parametrize("control", ["pause", "resume", "cancel", "retry"])
async def test_controls_of_an_ended_job(desk: Desk, control: str) -> None:
    fill(desk.one)
    job = await desk.submit("verify", "shot")
    async with desk.working():
        await desk.until(job, "SUCCEEDED")
    with pytest.raises(WrongState):
        await getattr(desk.jobs, control)(SYSTEM, job.id)


async def test_the_highest_priority_goes_first(desk: Desk) -> None:
    fill(desk.one, 2)
    low = await desk.submit("verify", "shot", priority=10)
    high = await desk.submit("verify", "shot", priority=20)
    await desk.jobs.prioritise(SYSTEM, low.id, 30)
    async with desk.working(ThreadEngine(1)):
        low, high = await desk.until(low), await desk.until(high)
    assert low.finished_at is not None
    assert high.started_at is not None
    assert low.finished_at <= high.started_at


async def test_a_storage_that_is_away_is_waited_for(desk: Desk) -> None:
    files = fill(desk.one)
    away = desk.base / "away"
    desk.two.rename(away)
    job = await desk.submit("copy", "shot")
    async with desk.working() as dispatcher:
        await until_task(desk, "copy", "WAITING", attempt=1)
        away.rename(desk.two)
        desk.clock.advance(10)
        dispatcher.wake()
        await desk.until(job, "SUCCEEDED")
    assert tree(desk.two) == files


@pytest.mark.parametrize(("away", "action"), [("one", "plan"), ("two", "copy")])
async def test_a_job_tells_which_storage_it_waits_for(desk: Desk, away: str, action: str) -> None:
    fill(desk.one)
    place, aside = desk.base / away, desk.base / "away"
    place.rename(aside)
    job = await desk.submit("copy", "shot")
    async with desk.working() as dispatcher:
        await until_task(desk, action, "WAITING", attempt=1)
        first = (await desk.get(job)).waits_for
        told = re.fullmatch(
            rf"waits for the storage {away}, away since (\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d) UTC"
            r" \(the storage cannot be opened: No such file or directory\): goes on by itself"
            r" when it is back, looks again in \d s, gives up in 3[56]\d\d s",
            first,
        )
        assert told is not None, first
        desk.clock.advance(20)
        dispatcher.wake()
        await until_task(desk, action, "WAITING", attempt=2)
        page = await desk.jobs.page(SYSTEM, Filter())
        (listed,) = page.jobs
        assert f"away since {told[1]} UTC" in listed.waits_for
        assert seconds(listed.waits_for, "gives up in") <= seconds(first, "gives up in") - 20
        # Nobody is told of a wait while nothing is tried.
        assert (await desk.jobs.pause(SYSTEM, job.id)).waits_for == ""
        assert (await desk.jobs.resume(SYSTEM, job.id)).waits_for == ""
        desk.clock.advance(60)
        dispatcher.wake()
        await until_task(desk, action, "WAITING", attempt=3)
        assert (await desk.get(job)).waits_for.startswith(f"waits for the storage {away}, away")
        aside.rename(place)
        desk.clock.advance(60)
        dispatcher.wake()
        job = await desk.until(job, "SUCCEEDED")
    assert (job.message, job.waits_for) == ("", "")


async def test_a_storage_is_waited_for_as_long_as_it_says(desk: Desk) -> None:
    fill(desk.one)
    desk.two.rmdir()
    job = await desk.submit("copy", "shot")
    async with desk.working() as dispatcher:
        for attempt in range(1, 30):
            await until_task(desk, "copy", "WAITING", attempt=attempt)
            desk.clock.advance(61)
            dispatcher.wake()
        assert 1700 < seconds((await desk.get(job)).waits_for, "gives up in") < 1900
        desk.two.mkdir()
        await desk.until(job, "SUCCEEDED")


async def test_a_storage_that_stays_away_fails_the_files(desk: Desk) -> None:
    fill(desk.one)
    desk.two.rmdir()
    job = await desk.submit("copy", "shot")
    async with desk.working() as dispatcher:
        with trio.fail_after(PATIENCE_S):
            while not (await desk.get(job)).state.is_final:
                desk.clock.advance(120)
                dispatcher.wake()
                await trio.sleep(0.02)
    job = await desk.get(job)
    assert (job.state, job.files_failed, job.waits_for) == (JobState.FAILED, 11, "")
    errors = await desk.jobs.errors(SYSTEM, job.id)
    assert {error.code for error in errors} == {"storage-unreachable"}


async def test_what_may_pass_is_tried_again_by_itself(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = fill(desk.one)
    finish = DirectoryTarget.finish
    failures = []

    def flaky(target: DirectoryTarget) -> None:
        if target.path.endswith("f.1002.dpx") and len(failures) < 2:
            failures.append(target.path)
            raise OSError(16, "busy")
        finish(target)

    monkeypatch.setattr(DirectoryTarget, "finish", flaky)
    job = await desk.submit("copy", "shot")
    async with desk.working() as dispatcher:
        with trio.fail_after(PATIENCE_S):
            while not (await desk.get(job)).state.is_final:
                desk.clock.advance(30)
                dispatcher.wake()
                await trio.sleep(0.02)
    job = await desk.get(job)
    assert (job.state, job.files_done, len(failures)) == (JobState.SUCCEEDED, 11, 2)
    assert tree(desk.two) == files


async def test_a_worker_that_is_drained_gets_nothing(desk: Desk) -> None:
    fill(desk.one)
    async with desk.working():
        await desk.until(await desk.submit("verify", "shot"), "SUCCEEDED")
        (worker,) = await desk.workers.every(SYSTEM)
        assert (worker.capacity, worker.is_present, worker.engine) == (3, True, "local")
        await desk.workers.set_state(SYSTEM, worker.name, WorkerState.DRAINING)
        job = await desk.submit("verify", "shot")
        seen = [Seen(worker.name, "local", 3, 0.0)]
        assert await desk.database.read(free_slots, seen) == []
        found = await desk.get(job)
        assert (found.state, found.waits_for) == (
            JobState.WAITING,
            "waits for a worker that is enabled: all are drained or disabled",
        )
        await desk.workers.set_state(SYSTEM, worker.name, WorkerState.ENABLED)
        assert (await desk.get(job)).waits_for == ""
        await desk.until(job, "SUCCEEDED")


async def test_concurrency_is_kept_to(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(desk.one, 300)
    at_once: list[int] = []
    inside = 0
    lock = threading.Lock()
    stat = Directory.open

    def counted(storage: Directory, path: str, *, stored: bool) -> Any:  # noqa: ANN401
        nonlocal inside
        with lock:
            inside += 1
            at_once.append(inside)
        try:
            return stat(storage, path, stored=stored)
        finally:
            with lock:
                inside -= 1

    monkeypatch.setattr(Directory, "open", counted)
    async with desk.working():
        await desk.until(await desk.submit("verify", "shot/sub"), "SUCCEEDED")
        (worker,) = await desk.workers.every(SYSTEM)
        await desk.workers.set_concurrency(SYSTEM, worker.name, 1)
        at_once.clear()
        await desk.until(await desk.submit("verify", "shot"), "SUCCEEDED")
    assert max(at_once) == 1


async def test_lists_are_paged_and_filtered(desk: Desk) -> None:
    made = [await desk.submit("verify", "a") for _ in range(5)]
    made += [await desk.submit("copy", "a") for _ in range(2)]
    page = await desk.jobs.page(SYSTEM, Filter(), limit=3)
    newest = page.jobs
    assert page.next_before == newest[-1].id
    assert [job.id for job in newest] == [job.id for job in made[:-4:-1]]
    older = (await desk.jobs.page(SYSTEM, Filter(), limit=3, before=newest[-1].id)).jobs
    assert [job.id for job in older] == [job.id for job in made[3:0:-1]]
    copies = (await desk.jobs.page(SYSTEM, Filter(kinds=(JobKind.COPY,)))).jobs
    assert [job.id for job in copies] == [made[6].id, made[5].id]
    await desk.jobs.pause(SYSTEM, made[2].id)
    paused = (await desk.jobs.page(SYSTEM, Filter(states=(JobState.PAUSED,)))).jobs
    assert [job.id for job in paused] == [made[2].id]


async def test_an_ended_job_puts_its_messages_into_the_outbox(desk: Desk) -> None:
    fill(desk.one)
    notify = Notify("https://studio.example/hook", ("td@studio.example",))
    job = await desk.submit("verify", "shot", notify=notify, label="dailies")
    async with desk.working():
        await desk.until(job, "SUCCEEDED")

    def waiting(connection: sa.Connection) -> list[tuple[str, str, Any]]:
        query = sa.select(deliveries.c.kind, deliveries.c.receiver, deliveries.c.payload)
        return [tuple(row) for row in connection.execute(query.order_by(deliveries.c.id))]

    (webhook, email) = await desk.database.read(waiting)
    assert webhook[:2] == ("webhook", "https://studio.example/hook")
    assert email[:2] == ("email", "td@studio.example")
    assert webhook[2]["event"] == "job.succeeded"
    assert webhook[2]["job"]["label"] == "dailies"


async def test_who_may_do_what(desk: Desk) -> None:
    fill(desk.one)
    monitor = Actor(None, "m", Role.MONITOR)
    request = JobRequest(JobKind.VERIFY, "one", ("shot",))
    with pytest.raises(NotAllowed):
        await desk.jobs.submit(monitor, request)
    job = await desk.submit("verify", "shot")
    assert (await desk.jobs.get(monitor, job.id)).id == job.id
    with pytest.raises(NotAllowed):
        await desk.jobs.cancel(monitor, job.id)
    with pytest.raises(NotFound):
        await desk.jobs.get(SYSTEM, 10**6)


async def test_a_storage_with_open_jobs_stays(desk: Desk) -> None:
    """It can go when they have ended, and then what has failed on it cannot be tried again."""
    source = await desk.submit("verify", "shot")
    target = await desk.submit("copy", "shot", source="two", target="one")
    ended = await desk.submit("copy", "nowhere")
    await desk.jobs.cancel(SYSTEM, ended.id)
    await desk.jobs.pause(SYSTEM, target.id)
    with pytest.raises(InUse, match=f"jobs work on it: {source.id}, {target.id}$"):
        await desk.storages.remove(SYSTEM, "one")
    await desk.jobs.cancel(SYSTEM, source.id)
    with pytest.raises(InUse, match=f": {target.id}$"):
        await desk.storages.remove(SYSTEM, "one")
    await desk.jobs.cancel(SYSTEM, target.id)
    await desk.storages.remove(SYSTEM, "one")
    assert [storage.name for storage in await desk.storages.list(SYSTEM)] == ["two"]
    with pytest.raises(WrongState, match="one was removed"):
        await desk.jobs.retry(SYSTEM, ended.id)


async def test_a_job_follows_links_only_to_what_its_owner_may_reach(desk: Desk) -> None:
    users = Users(desk.database, Passwords(CHEAP), Sessions(desk.database, Passwords(CHEAP)))
    ada = await users.add(SYSTEM, "ada", Role.WRANGLER, "correct horse battery")
    fill(desk.one, 2)
    (desk.one / "secret").mkdir()
    (desk.one / "secret" / "plan.txt").write_bytes(b"secret")
    (desk.one / "shot" / "way").symlink_to("../secret")
    (desk.two / "in").mkdir()
    (desk.two / "other" / "deep").mkdir(parents=True)
    (desk.two / "in" / "way").symlink_to("../other")
    allowed = [AllowedPath("one", "shot"), AllowedPath("two", "in")]
    await users.set_access(SYSTEM, "ada", all_paths=False, paths=allowed)
    actor = Actor(ada.id, "ada", Role.WRANGLER)

    async def copy(source: str, destination: str) -> Job:
        request = JobRequest(
            JobKind.COPY, "one", (source,), "two", destination=destination, quiet_s=0.0
        )
        return await desk.until(await desk.jobs.submit(actor, request))

    async with desk.working():
        out = await copy("shot/way/plan.txt", "in")
        assert (out.state, "leads out" in out.message) == (JobState.FAILED, True)
        out = await copy("shot/f.1001.dpx", "in/way/deep")
        assert (out.state, out.files_failed) == (JobState.FAILED, 1)
        (error,) = await desk.jobs.errors(SYSTEM, out.id)
        assert error.code == "outside"
        assert (await copy("shot/f.1001.dpx", "in")).state == JobState.SUCCEEDED
    assert sorted(tree(desk.two)) == ["in/f.1001.dpx"]


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("sources", {"sources": ()}),
        ("sources", {"sources": ("a\0b",)}),
        ("sources", {"sources": ("../a",)}),
        ("target", {"kind": JobKind.COPY}),
        ("target", {"target": "two"}),
        ("source", {"source": "three"}),
        ("source", {"kind": JobKind.COMPRESS}),
        ("priority", {"priority": 101}),
        ("verify", {"kind": JobKind.MOVE, "target": "two", "verify": "size"}),
        ("quiet_s", {"quiet_s": -1.0}),
        ("webhook", {"notify": Notify("ftp://x/")}),
        ("webhook", {"notify": Notify("http://[")}),
        ("email", {"notify": Notify(email=("a b@c",))}),
        ("destination", {"kind": JobKind.COPY, "target": "two", "destination": "../x"}),
    ],
)
async def test_what_cannot_be_is_refused(desk: Desk, field: str, values: dict[str, Any]) -> None:
    every: dict[str, Any] = {"kind": JobKind.VERIFY, "source": "one", "sources": ("shot",)}
    with pytest.raises(InvalidValue) as caught:
        await desk.jobs.submit(SYSTEM, JobRequest(**(every | values)))
    assert caught.value.field == field
