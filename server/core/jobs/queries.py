"""Looking at jobs: lists, one job with its progress, its files and what failed.

Functions run inside a reading transaction. Pages are bounded and found by an index, so a list is
as fast with a million jobs as with ten.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from server.core.errors import NotFound
from server.core.jobs.states import JobKind, JobState
from server.core.jobs.tables import job_errors, jobs, tasks
from server.core.jobs.tasks import TaskFile, shown_path
from server.core.jobs.tidying import TIDYING
from server.core.jobs.waits import waits_of
from server.core.tables import storages, users

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from server.core.errors import Sentence
    from server.core.schema import AnyRow

__all__ = [
    "MAX_PAGE",
    "FileError",
    "FileState",
    "Filter",
    "Job",
    "count",
    "errors",
    "files",
    "get",
    "open_among",
    "open_on",
    "page",
    "part",
    "places",
    "some",
]

MAX_PAGE = 1000
# A page of jobs that name very many sources ends when these are so long all together.
_MOST_CHARACTERS = 4 << 20
# Rows that are fetched at a time where each may be large, or there may be very many.
_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it stands.

    Attributes:
        owner, source, target: names; "" where there is none.
        files_moving, bytes_moving: bytes that batches under way have moved beyond bytes_done.
        bytes_per_s: over the time it has run, pauses left out; 0 when nothing is known.
        eta_s: seconds it will go on for at that speed, None when that cannot be told.
        message: why it failed as a whole; "" otherwise.
        waits: what has to happen before it goes on, and how long that is waited for; None for a
            job that works, has ended, or waits for nothing but its turn.
    """

    id: int
    kind: JobKind
    state: JobState
    priority: int
    owner_id: int | None
    owner: str
    source: str
    target: str
    source_id: int
    target_id: int | None
    spec: Mapping[str, Any]
    label: str
    message: str
    waits: Sentence | None
    stage: int
    files_total: int
    files_done: int
    files_skipped: int
    files_failed: int
    files_unproven: int
    bytes_total: int
    bytes_done: int
    bytes_stored: int
    bytes_moving: int
    tasks_running: int
    bytes_per_s: float
    eta_s: float | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def waits_for(self) -> str:
        """``waits`` in the core's own words, "" for None."""
        return str(self.waits or "")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which jobs to list; empty fields let all pass."""

    states: tuple[JobState, ...] = ()
    kinds: tuple[JobKind, ...] = ()
    owner_id: int | None = None


@dataclass(frozen=True, slots=True)
class FileError:
    """A file of a job that failed, and why."""

    number: int
    path: str
    code: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class FileState:
    """A file of a job: waiting, running, done (or skipped) or failed."""

    number: int
    path: str
    target: str
    size: int
    state: str


_source = storages.alias("source")
_target = storages.alias("target")
# All columns but those that may be long, apart from what was asked for.
_COLUMNS = [column for column in jobs.c if column.name not in ("folders", "notify", "spec")]


def _query(*more: sa.ColumnElement[Any]) -> sa.Select[Any]:
    return (
        sa.select(
            *_COLUMNS,
            *more,
            users.c.name.label("owner"),
            _source.c.name.label("source"),
            _target.c.name.label("target"),
        )
        .join(users, users.c.id == jobs.c.owner_id, isouter=True)
        .join(_source, _source.c.id == jobs.c.source_id)
        .join(_target, _target.c.id == jobs.c.target_id, isouter=True)
    )


def page(
    connection: Connection, wanted: Filter, now: datetime, *, limit: int, before: int | None = None
) -> tuple[list[Job], bool]:
    """The newest jobs first, and whether there may be more; ``before`` is the number of the last
    one of the page before. A page of jobs that name very many sources is shorter."""
    limit = max(1, min(limit, MAX_PAGE))
    numbers = list(connection.execute(_newest(wanted, limit, before)).scalars())
    query = _query(jobs.c.spec).where(jobs.c.id.in_(numbers)).order_by(jobs.c.id.desc())
    rows: list[AnyRow] = []
    characters = 0
    with connection.execute(query.execution_options(yield_per=_AT_ONCE)) as found:
        for row in found:
            rows.append(row)
            characters += sum(map(len, row.spec["sources"]))
            if characters > _MOST_CHARACTERS:
                break
    moving, waits = _moving(connection), waits_of(connection, rows, now)
    listed = [_job(row, moving.get(row.id, (0, 0)), waits.get(row.id), now) for row in rows]
    return listed, len(rows) == limit or characters > _MOST_CHARACTERS


def _newest(wanted: Filter, limit: int, before: int | None) -> sa.Select[Any]:
    """The numbers of the newest jobs. Of each state or kind that is asked for so many are found
    by an index: all of several together would have to be sorted."""
    older = sa.true() if before is None else jobs.c.id < before
    alone = [
        sa.select(jobs.c.id).where(older, *kind).order_by(jobs.c.id.desc()).limit(limit)
        for kind in _apart(wanted)
    ]
    if len(alone) == 1:
        return alone[0]
    found = sa.union_all(*(sa.select(each.subquery().c.id) for each in alone)).subquery()
    return sa.select(found.c.id).order_by(found.c.id.desc()).limit(limit)


def _apart(wanted: Filter) -> Iterator[list[sa.ColumnElement[bool]]]:
    """Conditions of which no two hold for one job, and which together are the filter."""
    owned = [] if wanted.owner_id is None else [jobs.c.owner_id == wanted.owner_id]
    for state in dict.fromkeys(wanted.states or (None,)):
        for kind in dict.fromkeys(wanted.kinds or (None,)):
            chosen = [] if state is None else [jobs.c.state == state]
            chosen += [] if kind is None else [jobs.c.kind == kind]
            yield [*owned, *chosen]


def part(
    connection: Connection, wanted: Filter, *, skip: int, take: int, rising: bool
) -> list[int]:
    """The numbers of some jobs anywhere in the list, the newest first unless ``rising``."""
    order = jobs.c.id.asc() if rising else jobs.c.id.desc()
    query = _wanted(sa.select(jobs.c.id), wanted).order_by(order).limit(take).offset(skip)
    return list(connection.execute(query).scalars())


def some(connection: Connection, job_ids: Sequence[int], now: datetime) -> list[Job]:
    """These jobs in this order, without what they were asked for: their spec is empty."""
    rows = {row.id: row for row in connection.execute(_query().where(jobs.c.id.in_(job_ids)))}
    moving = _moving(connection)
    return [_job(rows[number], moving.get(number, (0, 0)), None, now) for number in job_ids]


def _wanted(query: sa.Select[Any], wanted: Filter) -> sa.Select[Any]:
    if wanted.states:
        query = query.where(jobs.c.state.in_(wanted.states))
    if wanted.kinds:
        query = query.where(jobs.c.kind.in_(wanted.kinds))
    if wanted.owner_id is not None:
        query = query.where(jobs.c.owner_id == wanted.owner_id)
    return query


def count(connection: Connection, wanted: Filter) -> int:
    """How many jobs there are."""
    query = _wanted(sa.select(sa.func.count()).select_from(jobs), wanted)
    return int(connection.execute(query).scalar_one())


def places(
    connection: Connection, wanted: Filter
) -> Iterator[tuple[int, int | None, int, Sequence[str]]]:
    """Of each job, the newest first: its number, its owner, its source storage and what it takes
    from there."""
    query = _wanted(sa.select(jobs.c.id, jobs.c.owner_id, jobs.c.source_id, jobs.c.spec), wanted)
    query = query.order_by(jobs.c.id.desc()).execution_options(yield_per=_AT_ONCE)
    for job_id, owner_id, source_id, spec in connection.execute(query):
        yield job_id, owner_id, source_id, spec["sources"]


def get(connection: Connection, job_id: int, now: datetime) -> Job:
    """One job; NotFound."""
    row = connection.execute(_query(jobs.c.spec).where(jobs.c.id == job_id)).first()
    if row is None:
        raise NotFound("there is no such job", kind="Job", id=job_id)
    moving = _moving(connection).get(job_id, (0, 0))
    return _job(row, moving, waits_of(connection, [row], now).get(job_id), now)


def open_on(connection: Connection, storage_id: int) -> list[int]:
    """The numbers of the jobs from or to a storage that have not ended, or still have a worker
    busy; the oldest first."""
    running = sa.select(tasks.c.job_id).where(tasks.c.state == sa.literal_column("'RUNNING'"))
    is_open = jobs.c.state.in_((JobState.WAITING, JobState.RUNNING, JobState.PAUSED))
    query = (
        sa.select(jobs.c.id)
        .where((jobs.c.source_id == storage_id) | (jobs.c.target_id == storage_id))
        .where(is_open | jobs.c.id.in_(running))
        .order_by(jobs.c.id)
    )
    return list(connection.execute(query).scalars())


def open_among(connection: Connection, job_ids: Sequence[int]) -> set[int]:
    """Those of these jobs that have not ended."""
    is_open = jobs.c.state.in_((JobState.WAITING, JobState.RUNNING, JobState.PAUSED))
    query = sa.select(jobs.c.id).where(jobs.c.id.in_(job_ids) & is_open)
    return set(connection.execute(query).scalars())


def _moving(connection: Connection) -> dict[int, tuple[int, int]]:
    """(tasks, bytes) under way of each job that has any."""
    query = sa.select(tasks.c.job_id, tasks.c.moved).where(
        tasks.c.state == sa.literal_column("'RUNNING'")
    )
    moving: dict[int, tuple[int, int]] = {}
    # Summed here: a database would group by job in the order of an index over all tasks ever.
    for job_id, moved in connection.execute(query):
        count, bytes_moved = moving.get(job_id, (0, 0))
        moving[job_id] = (count + 1, bytes_moved + moved)
    return moving


def _job(row: AnyRow, moving: tuple[int, int], waits: Sentence | None, now: datetime) -> Job:
    tasks_running, moved = moving
    rate, eta_s = _speed(row, moved, now)
    return Job(
        id=row.id,
        kind=JobKind(row.kind),
        state=JobState(row.state),
        priority=row.priority,
        owner_id=row.owner_id,
        owner=row.owner or "",
        source=row.source,
        target=row.target or "",
        source_id=row.source_id,
        target_id=row.target_id,
        spec=row._mapping.get("spec", {}),
        label=row.label,
        message=row.message,
        waits=waits,
        stage=row.stage,
        files_total=row.files_total,
        files_done=row.files_done,
        files_skipped=row.files_skipped,
        files_failed=row.files_failed,
        files_unproven=row.files_unproven,
        bytes_total=row.bytes_total,
        bytes_done=row.bytes_done,
        bytes_stored=row.bytes_stored,
        bytes_moving=moved,
        tasks_running=tasks_running,
        bytes_per_s=rate,
        eta_s=eta_s,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )


def _speed(row: AnyRow, moved: int, now: datetime) -> tuple[float, float | None]:
    if row.started_at is None:
        return 0.0, None
    until = row.finished_at or row.paused_at or now
    seconds = (until - row.started_at).total_seconds() - row.paused_s
    done = row.bytes_done + (moved if row.finished_at is None else 0)
    rate = done / seconds if seconds > 0 else 0.0
    if row.state != JobState.RUNNING or rate <= 0:
        return rate, None
    return rate, max(row.bytes_total - done, 0) / rate


def errors(connection: Connection, job_id: int, *, limit: int, after: int = -1) -> list[FileError]:
    """What failed, by number; ``after`` is the last number of the page before."""
    query = (
        sa.select(job_errors)
        .where((job_errors.c.job_id == job_id) & (job_errors.c.number > after))
        .order_by(job_errors.c.number)
        .limit(max(1, min(limit, MAX_PAGE)))
    )
    return [
        FileError(row.number, shown_path(row.path), row.code, row.reason, row.at)
        for row in connection.execute(query)
    ]


def files(connection: Connection, job_id: int, *, limit: int, after: int = -1) -> list[FileState]:
    """A job's files by number, each with its state."""
    limit = max(1, min(limit, MAX_PAGE))
    failed = {error.number for error in errors(connection, job_id, limit=MAX_PAGE, after=after)}
    found: dict[int, FileState] = {}
    query = (
        sa.select(tasks.c.files, tasks.c.files_ended, tasks.c.state, tasks.c.files_total)
        .where((tasks.c.job_id == job_id) & tasks.c.action.not_in(("plan", "finish", *TIDYING)))
        .where((tasks.c.action != "unlink-source") & (_last_number(connection) > after))
        .order_by(tasks.c.id)
        .execution_options(yield_per=_AT_ONCE)
    )
    with connection.execute(query) as rows:
        for row in rows:
            if len(found) >= limit and row.files[0][0] > max(found):
                break
            for index, values in enumerate(row.files):
                if values[0] > after:
                    file = TaskFile.of(values)
                    state = _state(row, index, file.number in failed)
                    found[file.number] = FileState(
                        file.number, file.path, file.target, file.size, state
                    )
    return [found[number] for number in sorted(found)[:limit]]


def _last_number(connection: Connection) -> sa.ColumnElement[Any]:
    """The number of a task's last file, found by the database: rows need not be brought here."""
    if connection.dialect.name == "sqlite":
        return sa.func.json_extract(tasks.c.files, sa.literal_column("'$[#-1][0]'"))
    last = tasks.c.files.op("->")(sa.literal_column("-1"))
    return sa.cast(last.op("->>")(sa.literal_column("0")), sa.BigInteger)


def _state(row: AnyRow, index: int, has_failed: bool) -> str:
    if has_failed:
        return "failed"
    if index < row.files_ended:
        return "done"
    return "running" if row.state == JobState.RUNNING else "waiting"
