"""The server killed at every step of a job, and started again."""

from __future__ import annotations

import functools
import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio

from server.core.database import Database, sqlite_url
from server.core.jobs import JobState
from server.work.directory import Directory, DirectoryTarget
from server.work.engine import ThreadEngine
from tests.t2_volume.faults import in_child
from tests.t5_core.desk import Desk
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
        from server.core.permissions import SYSTEM

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
