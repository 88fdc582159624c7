"""The server killed at every step of a job, and started again."""

from __future__ import annotations

import functools
import os
import signal
import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
import trio

from server.core.database import Database, sqlite_url
from server.core.jobs import JobState
from server.core.jobs.tables import tasks
from server.core.permissions import SYSTEM
from server.work.directory import Directory, DirectoryTarget
from server.work.engine import ThreadEngine
from tests.t2_volume.faults import in_child
from tests.t5_core.desk import PATIENCE_S, Desk
from tests.t5_core.work import tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

_STEPS: list[tuple[type, str]] = [
    (DirectoryTarget, "write"),
    (DirectoryTarget, "finish"),
    (DirectoryTarget, "digest"),
    (DirectoryTarget, "commit"),
    (Directory, "sync"),
    (Directory, "make_folder"),
    (Directory, "set_folder_attributes"),
    (Directory, "remove"),
    (Directory, "remove_folder"),
    (Directory, "rename"),
    (Directory, "walk"),
]


class Killer:
    """Counts steps, before and after each call, and ends the process at the chosen one."""

    def __init__(self, at: int) -> None:
        self._at = at
        self._seen = 0
        self._lock = threading.Lock()

    def step(self) -> None:
        with self._lock:
            self._seen += 1
            if self._seen == self._at:
                os.kill(os.getpid(), signal.SIGKILL)

    def count_to(self, at: int) -> None:
        """Begins to count."""
        with self._lock:
            self._at, self._seen = at, 0

    def wrap(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def stepped(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            self.step()
            result = call(*args, **kwargs)
            self.step()
            return result

        return stepped

    def install(self) -> None:
        for owner, name in _STEPS:
            setattr(owner, name, self.wrap(getattr(owner, name)))
        writing = Database.writing

        @contextmanager
        def stepped(database: Database) -> Iterator[Any]:
            with writing(database) as connection:
                yield connection
                self.step()
            self.step()

        Database.writing = stepped  # type: ignore[method-assign]


def fill(base: Path) -> dict[str, bytes]:
    """A shot to work on: four frames in two folders."""
    shot = base / "one" / "shot"
    (shot / "sub").mkdir(parents=True)
    for number in range(4):
        folder = shot / "sub" if number % 2 else shot
        (folder / f"f.{number}.dpx").write_bytes(bytes([number]) * 5000)
    return tree(base / "one")


def desk_at(base: Path) -> Desk:
    return Desk(Database(sqlite_url(base / "db.sqlite")), base)


def begin(base: Path, kind: str, options: dict[str, Any]) -> None:
    """A job that nobody works on yet."""
    desk = desk_at(base)

    async def submit() -> None:
        await desk.set_up()
        await desk.submit(kind, "shot", **options)

    trio.run(submit)
    desk.database.close()


def work(base: Path) -> int:
    """The server works until the only job has ended; 0 when it succeeded."""
    desk = desk_at(base)

    async def finish() -> JobState:
        from server.core.jobs import Filter

        (job,) = (await desk.jobs.page(SYSTEM, Filter())).jobs
        async with desk.working(ThreadEngine(1)):
            job = await desk.until(job)
        assert (job.files_total, job.files_failed) == (4, 0)
        # What had landed before the kill is the job's own work.
        assert (job.files_done, job.files_skipped) == (4, 0)
        return job.state

    state = trio.run(finish)
    desk.database.close()
    return 0 if state == JobState.SUCCEEDED else 1


def killed(base: Path, at: int) -> bool:
    """Whether a server that is to be killed at this step lived to see it."""

    def child() -> int:
        Killer(at).install()
        return work(base)

    status = in_child(child)
    assert status in (0, -signal.SIGKILL)
    return status != 0


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("copy", {}),
        ("copy", {"overwrite": "replace"}),
        ("move", {}),
        ("move", {"target": "one", "destination": "new"}),
        ("delete", {}),
    ],
    ids=["copy", "replace", "move", "rename", "delete"],
)
def test_killed_at_every_step(tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    """No file is lost, none is seen half, none is left behind, and the counts are right."""
    at = 1
    while True:
        base = tmp_path / str(at)
        base.mkdir()
        begin(base, kind, options)
        (base / "one").rmdir()
        files = fill(base)
        was_killed = killed(base, at)
        seen = {**tree(base / "one"), **tree(base / "two")}
        for name, data in seen.items():
            if "pixfs-part" not in name:
                assert files[name.removeprefix("new/")] == data
        if kind != "delete":
            assert {name.removeprefix("new/") for name in seen} >= files.keys()
        assert work(base) == 0
        check_end(base, kind, options, files)
        if not was_killed:
            break
        at += 1
    assert at > 20


def check_end(base: Path, kind: str, options: dict[str, Any], files: dict[str, bytes]) -> None:
    one, two = tree(base / "one"), tree(base / "two")
    if kind == "copy":
        assert one == two == files
    elif kind == "delete":
        assert one == two == {}
    elif options:
        assert one == {f"new/{name}": data for name, data in files.items()}
    else:
        assert (one, two) == ({}, files)
        assert not (base / "one" / "shot").exists()


def cancelled(base: Path, at: int) -> bool:
    """Whether a server lived that cancels the job between two of its files, and is to be killed at
    this step from there on."""

    def child() -> int:
        killer = Killer(0)
        killer.install()
        begun, go_on = threading.Event(), threading.Event()
        write = DirectoryTarget.write

        def held(target: DirectoryTarget, data: bytes) -> None:
            if "sub" in target.path:
                begun.set()
                assert go_on.wait(PATIENCE_S)
            write(target, data)

        DirectoryTarget.write = held  # type: ignore[method-assign]
        desk = desk_at(base)

        async def cancel() -> None:
            async with desk.working(ThreadEngine(1)):
                assert await trio.to_thread.run_sync(begun.wait, PATIENCE_S)
                killer.count_to(at)
                await desk.jobs.cancel(SYSTEM, 1)
                go_on.set()
                await desk.until_true(partial(is_tidy, desk))

        trio.run(cancel)
        desk.database.close()
        return 0

    return in_child(child) == 0


async def is_tidy(desk: Desk) -> bool:
    """Whether nobody has anything to do for a job that was cancelled."""
    is_open = tasks.c.state.in_(("WAITING", "RUNNING"))
    query = sa.select(tasks.c.id).where(is_open).limit(1)
    return await desk.database.read(lambda connection: connection.execute(query).first()) is None


def tidy(base: Path, *, cancels: bool) -> None:
    """The next server does what is left to do; first somebody cancels the job, unless it is over
    by then."""
    desk = desk_at(base)
    # What the dead one had given out is cleared up after when that counts no more.
    desk.clock.advance(60)

    async def finish() -> None:
        if cancels and not (await desk.jobs.get(SYSTEM, 1)).state.is_final:
            await desk.jobs.cancel(SYSTEM, 1)
        async with desk.working(ThreadEngine(1)):
            await desk.until_true(partial(is_tidy, desk))

    trio.run(finish)
    desk.database.close()


def begin_cancelled(base: Path) -> dict[str, bytes]:
    """A copy into folders of which some are there; the files it copies."""
    base.mkdir()
    begin(base, "copy", {"destination": "there/new"})
    (base / "one").rmdir()
    files = fill(base)
    (base / "one" / "shot" / "empty").mkdir()
    (base / "two" / "there" / "mine").mkdir(parents=True)
    return files


def check_cancelled(base: Path, files: dict[str, bytes]) -> None:
    """What was copied is whole; of folders that hold nothing there is the one that was there."""
    found = tree(base / "two")
    assert found.items() <= {f"there/new/{name}": data for name, data in files.items()}.items()
    two = base / "two"
    empty = {path for path in two.rglob("*") if path.is_dir() and not any(path.iterdir())}
    assert empty == {two / "there" / "mine"}, empty


def test_killed_at_every_step_of_a_cancellation(tmp_path: Path) -> None:
    """No folder that the job has made stays empty, nor does one go that was there."""
    at = 1
    while True:
        base = tmp_path / str(at)
        files = begin_cancelled(base)
        lived = cancelled(base, at)
        tidy(base, cancels=True)
        check_cancelled(base, files)
        if lived:
            break
        at += 1
    assert at > 10


def test_cancelled_after_a_kill_at_every_step(tmp_path: Path) -> None:
    """Folders are known to be the job's own though nobody heard of their making."""
    at = 1
    while True:
        base = tmp_path / str(at)
        files = begin_cancelled(base)
        was_killed = killed(base, at)
        if not was_killed:
            break
        tidy(base, cancels=True)
        if trio.run(state_of, base) == JobState.CANCELLED:
            check_cancelled(base, files)
        at += 1
    assert at > 20


async def state_of(base: Path) -> JobState:
    desk = desk_at(base)
    found = (await desk.jobs.get(SYSTEM, 1)).state
    desk.database.close()
    return found
