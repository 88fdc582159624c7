"""A hundred thousand jobs or names, and jobs that would take everything: what they cost the others
is counted, in steps of the database, statements, rows and characters, and never timed."""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest
import sqlalchemy as sa

from server.core.access import AllowedPath
from server.core.catalog import MAX_PAGE, FileQuery, PathMatch, listing, scans
from server.core.jobs import Filter, JobKind, JobState, control, leases, queries, workers
from server.core.jobs.spec import JobRequest
from server.core.jobs.tables import jobs, tasks
from server.core.jobs.tasks import TaskFile, task_values
from server.core.passwords import HashCost, Passwords
from server.core.permissions import SYSTEM, Actor, Role
from server.core.sessions import Sessions
from server.core.users import Users
from server.work.engine import ThreadEngine
from server.work.errors import SelectionError
from server.work.pacing import _look
from server.work.selection import select
from server.work.storage import Entry
from tests.t5_core.catalog_desk import CatalogDesk
from tests.t5_core.desk import Desk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from sqlalchemy.engine import Connection

    from server.core.database import Database
    from server.work.storage import Storage

FEW, MANY = 5_000, 100_000
NOW = datetime(2026, 3, 1, tzinfo=UTC)
VALID = timedelta(seconds=30)
_STEP = 100


@pytest.fixture
async def desk(database: Database, tmp_path: Path) -> Desk:
    desk = Desk(database, tmp_path)
    await desk.set_up()
    return desk


@dataclass
class Cost:
    """Statements, and steps of SQLite's machine in hundreds. PostgreSQL tells of none; the indexes
    are the same there."""

    statements: int = 0
    steps: int = 0


@contextmanager
def counted(connection: Connection) -> Iterator[Cost]:
    """What is done over a connection in the block."""
    cost = Cost()

    def note(*_: object) -> None:
        cost.statements += 1

    def step() -> int:
        cost.steps += 1
        return 0

    driver = cast(Any, connection.connection.driver_connection)
    is_sqlite = connection.dialect.name == "sqlite"
    sa.event.listen(connection, "before_cursor_execute", note)
    if is_sqlite:
        driver.set_progress_handler(step, _STEP)
    try:
        yield cost
    finally:
        if is_sqlite:
            driver.set_progress_handler(None, 0)
        sa.event.remove(connection, "before_cursor_execute", note)


def job_values(number: int, **values: object) -> dict[str, Any]:
    given = {
        "id": number,
        "kind": JobKind.VERIFY,
        "state": JobState.WAITING,
        "priority": 50,
        "owner_id": None,
        "source_id": 1,
        "target_id": None,
        "spec": JobRequest(JobKind.VERIFY, "one", ("shot",)).stored_spec(),
        "notify": {"webhook": "", "email": []},
        "label": "",
        "stage": 0,
        "tasks_open": 1,
        "folders": [],
        "files_total": 0,
        "files_done": 0,
        "files_skipped": 0,
        "files_failed": 0,
        "bytes_total": 0,
        "bytes_done": 0,
        "bytes_stored": 0,
        "message": "",
        "created_at": NOW,
        "paused_s": 0.0,
    }
    return given | values


def flood(connection: Connection, first: int, last: int, not_before: datetime = NOW) -> None:
    """Jobs with these numbers, as if each had just been submitted."""
    numbers = range(first, last + 1)
    connection.execute(jobs.insert(), [job_values(number) for number in numbers])
    plans = [task_values(n, 0, "plan", (), priority=50, now=not_before) for n in numbers]
    connection.execute(tasks.insert(), plans)


def looks(last: int) -> dict[str, Callable[[Connection], object]]:
    """Whatever looks at jobs while there are so many of them."""
    middle = last // 2
    return {
        "page": lambda c: queries.page(c, Filter(), NOW, limit=100),
        "page in the middle": lambda c: queries.page(c, Filter(), NOW, limit=100, before=middle),
        "page of a state": lambda c: queries.page(c, Filter((JobState.WAITING,)), NOW, limit=100),
        "page of none": lambda c: queries.page(c, Filter((JobState.FAILED,)), NOW, limit=100),
        "page of a kind": lambda c: queries.page(c, Filter((), (JobKind.VERIFY,)), NOW, limit=100),
        "page of an owner": lambda c: queries.page(c, Filter((), (), 7), NOW, limit=100),
        "job": lambda c: queries.get(c, middle, NOW),
        "ready": lambda c: leases.is_any_ready(c, NOW),
        "limits": lambda c: _look(c, [1, middle, last]),
        "page of many states": lambda c: queries.page(
            c, Filter((JobState.WAITING, JobState.FAILED, JobState.PAUSED)), NOW, limit=100
        ),
        "page of many kinds": lambda c: queries.page(
            c, Filter((), (JobKind.VERIFY, JobKind.MOVE)), NOW, limit=100
        ),
        "slots": lambda c: workers.free_slots(c, [workers.Seen("w", "local", 4, 0.0)]),
        "workers": lambda c: workers.list_workers(c, NOW),
        "beat": lambda c: leases.heartbeat(c, {"token": 1}, NOW, VALID),
        "lost": lambda c: leases.reclaim(c, NOW),
    }


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_what_looks_at_jobs_costs_the_same_whatever_their_number(
    desk: Desk, database: Database
) -> None:
    found: dict[int, dict[str, Cost]] = {}
    first = 1
    for last in (FEW, MANY):
        with database.writing() as connection:
            flood(connection, first, last)
        first = last + 1
        with database.reading() as connection:
            costs = found[last] = {}
            for name, look in looks(last).items():
                with counted(connection) as costs[name]:
                    look(connection)
        with database.writing() as connection, connection.begin_nested() as undone:
            with counted(connection) as costs["submission"]:
                request = JobRequest(JobKind.VERIFY, "one", ("shot",))
                control.submit(connection, SYSTEM, request, 1, None, NOW)
            with counted(connection) as costs["leases"]:
                assert len(leases.lease(connection, ["w"] * 8, NOW, VALID)) == 8
            undone.rollback()
    for name, few in found[FEW].items():
        many = found[MANY][name]
        assert 0 < few.statements == many.statements, name
        assert many.steps <= few.steps * 1.2 + 5, (name, few, many)


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_jobs_that_wait_for_quiet_are_not_gone_through(
    desk: Desk, database: Database
) -> None:
    """Their tasks wait for their time; somebody else's is found past them."""
    with database.writing() as connection:
        flood(connection, 1, MANY, not_before=NOW + timedelta(hours=1))
    with database.reading() as connection, counted(connection) as cost:
        assert not leases.is_any_ready(connection, NOW)
    assert cost.steps <= 5
    with database.writing() as connection:
        connection.execute(jobs.insert().values(job_values(MANY + 1, priority=40)))
        plan = task_values(MANY + 1, 0, "plan", (), priority=40, now=NOW)
        connection.execute(tasks.insert().values(plan))
    with database.writing() as connection, counted(connection) as cost:
        (given,) = leases.lease(connection, ["w", "w"], NOW, VALID)
    assert given.job_id == MANY + 1
    assert cost.steps <= 50


async def test_a_page_of_jobs_that_name_very_much_is_a_short_one(
    desk: Desk, database: Database
) -> None:
    sources = tuple(f"shot/{number:06}".ljust(100, "x") for number in range(10_000))
    spec = JobRequest(JobKind.VERIFY, "one", sources).stored_spec()
    with database.writing() as connection:
        connection.execute(
            jobs.insert(), [job_values(number, spec=spec) for number in range(1, 13)]
        )
    seen: list[int] = []
    before: int | None = None
    goes_on = True
    while goes_on:
        with database.reading() as connection:
            page, goes_on = queries.page(connection, Filter(), NOW, limit=1000, before=before)
        assert sum(len(path) for job in page for path in job.spec["sources"]) <= 6_000_000
        seen += [job.id for job in page]
        before = seen[-1]
    assert seen == list(range(12, 0, -1))


async def test_part_of_a_list_is_told_without_what_was_asked_for(desk: Desk) -> None:
    made = [await desk.submit("verify", "shot") for _ in range(12)]
    numbers = [job.id for job in made]
    part = await desk.jobs.part(SYSTEM, Filter(), skip=2, take=3)
    assert (part.hits, [job.id for job in part.jobs]) == (12, numbers[::-1][2:5])
    assert {len(job.spec) for job in part.jobs} == {0}
    rising = await desk.jobs.part(SYSTEM, Filter(), skip=10, take=10**9, rising=True)
    assert [job.id for job in rising.jobs] == numbers[10:]
    beyond = await desk.jobs.part(SYSTEM, Filter(), skip=10**15, take=10**9)
    assert (beyond.hits, beyond.jobs) == (12, [])


async def test_part_of_a_list_holds_only_what_may_be_seen(desk: Desk) -> None:
    passwords = Passwords(HashCost(memory_kib=64, passes=1, lanes=1))
    users = Users(desk.database, passwords, Sessions(desk.database, passwords))
    ada = await users.add(
        SYSTEM, "ada", Role.WRANGLER, "a long password", paths=[AllowedPath("one", "shot")]
    )
    actor = Actor(ada.id, "ada", Role.WRANGLER)
    made = [await desk.submit("verify", path) for path in ("shot", "other", "shot/sub", "other")]
    for rising in (False, True):
        part = await desk.jobs.part(actor, Filter(), skip=0, take=10, rising=rising)
        expected = sorted([made[0].id, made[2].id], reverse=not rising)
        assert (part.hits, [job.id for job in part.jobs]) == (2, expected)


async def test_the_last_files_of_a_large_job_are_found_without_the_others(
    desk: Desk, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a hundred thousand files only those of the batches at the end are read."""
    with database.writing() as connection:
        connection.execute(jobs.insert().values(job_values(1, stage=1, files_total=MANY)))
        rows = [
            task_values(
                1, 1, "verify", [TaskFile(n, f"f{n}", "", 1, 1) for n in range(at, at + 500)],
                priority=50, now=NOW,
            )
            for at in range(0, MANY, 500)
        ]  # fmt: skip
        connection.execute(tasks.insert(), rows)
    read: list[int] = []
    of = TaskFile.of

    def noted(row: Sequence[Any]) -> TaskFile:
        read.append(row[0])
        return of(row)

    monkeypatch.setattr(TaskFile, "of", noted)
    with database.reading() as connection:
        found = queries.files(connection, 1, limit=50, after=MANY - 51)
    assert [file.number for file in found] == list(range(MANY - 50, MANY))
    assert len(read) == 50


def add_job(connection: Connection, number: int, priority: int, batches: int) -> None:
    connection.execute(jobs.insert().values(job_values(number, priority=priority, stage=1)))
    files = [TaskFile(0, "a", "", 1, 1)]
    row = task_values(number, 1, "verify", files, priority=priority, now=NOW)
    connection.execute(tasks.insert(), [row] * batches)


def given_one_by_one(connection: Connection, count: int) -> list[int]:
    """The jobs of so many tasks, each given out when the one before has ended."""
    order = []
    for turn in range(count):
        (given,) = leases.lease(connection, ["w"], NOW, VALID, turn)
        order.append(given.job_id)
        leases.report(
            connection, given.token, leases.Report((leases.FileResult(0, "done", 1),)), NOW
        )
    return order


async def test_the_lowest_priority_has_its_turn(desk: Desk, database: Database) -> None:
    """However much of higher priorities there is."""
    with database.writing() as connection:
        for number, priority in enumerate((90, 50, 10, 0), start=1):
            add_job(connection, number, priority, batches=300)
        order = given_one_by_one(connection, 300)
    assert order.count(1) == 270, "nine of ten go to the highest"
    for job in (2, 3, 4):
        assert order.count(job) == 10
        turns = [at for at, given in enumerate(order) if given == job]
        assert max(later - at for at, later in itertools.pairwise(turns)) <= 30


async def test_a_job_does_not_hide_those_behind_it(desk: Desk, database: Database) -> None:
    """Though it has more batches than are looked at."""
    with database.writing() as connection:
        add_job(connection, 1, 50, batches=2500)
        add_job(connection, 2, 50, batches=1)
        given = leases.lease(connection, ["w"] * 3, NOW, VALID)
    assert [lease.job_id for lease in given] == [1, 2, 1]


async def test_jobs_of_higher_priorities_do_not_keep_one_waiting_for_ever(desk: Desk) -> None:
    """With one thread and much to do, what came first with the lowest priority is not the last."""
    (desk.one / "a").write_bytes(b"a")
    low = await desk.submit("verify", "a", priority=0)
    high = [await desk.submit("verify", "a", priority=100) for _ in range(20)]
    async with desk.working(ThreadEngine(1)):
        low = await desk.until(low)
        ended = [await desk.until(job) for job in high]
    assert low.finished_at is not None
    later = [job for job in ended if job.finished_at and job.finished_at > low.finished_at]
    assert later


class Names:
    """A folder with very many names, which counts what is asked of it."""

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self.listed = 0
        self.looked_at: list[str] = []

    def names(self, path: str) -> list[str]:
        self.listed += 1
        return self._names

    def stat(self, path: str) -> Entry:
        self.looked_at.append(path)
        if path not in ("aaaab", "plain"):
            raise FileNotFoundError(2, "no such file")
        return Entry(path, "file", 1, 1)


def test_a_glob_over_very_many_names_looks_at_those_that_match() -> None:
    """And never goes back: a way to match that failed would be tried for ever with these names."""
    names = ["a" * 40 + str(number) for number in range(MANY)]
    folder = Names([*names, "aaaab"])
    found = select(cast("Storage", folder), ["*a*a*a*a*b"])
    assert [chosen.entry.path for chosen in found.files] == ["aaaab"]
    assert (folder.listed, folder.looked_at) == (1, ["*a*a*a*a*b", "aaaab"])
    folder = Names(names)
    with pytest.raises(SelectionError):
        select(cast("Storage", folder), ["*a*a*a*a*a*a*a*a*a*a*b"])
    assert len(folder.looked_at) == 1


@pytest.mark.slow
async def test_a_pattern_over_very_many_files_gives_a_page(
    database: Database, tmp_path: Path
) -> None:
    """Whatever page is asked for: what is read is a page, by a few statements."""
    desk = CatalogDesk(database, tmp_path)
    storage = await desk.make_storage("one")
    files = {f"{'a' * 20}{number:06}.dpx": scans.Seen(1, 1) for number in range(MANY)}
    with database.writing() as connection:
        scans.begin(connection, storage, "1", NOW)
        scans.record(connection, storage, [scans.Listing("", 1, NOW, files, ())], "")
        scans.finish(connection, storage, "", NOW)
    for path, hits in (("*a*a*a*a*b", 0), ("*a*a*a*a*x", MANY), ("*a*a*9.dpx", MANY // 10)):
        match = PathMatch(path, wildcard=True)
        with database.reading() as connection, counted(connection) as cost:
            page = listing.page(connection, SYSTEM, FileQuery(path=match, number=MAX_PAGE))
        assert page.hits == hits
        assert len(page.files) == min(hits, MAX_PAGE)
        assert cost.statements <= 15
