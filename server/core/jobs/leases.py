"""Giving tasks out, and taking back what came of them.

A task that is given out has a token and a time until which the token counts. Whoever brings back
a token that counts no more is not listened to: the task has been given to somebody else, and
doing it twice does it once. Functions run inside a writing transaction.
"""

from __future__ import annotations

import secrets
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa

from server.core.jobs.lifecycle import add_error, end_stage, job_row
from server.core.jobs.states import JobKind, JobState
from server.core.jobs.tables import jobs, tasks
from server.core.jobs.tasks import TaskFile, add_tasks, task_values
from server.core.jobs.tidying import (
    TIDYING,
    announced_folders,
    clear_later,
    end_tidying,
    made_folders,
    note_folders,
    unmake_later,
)
from server.core.jobs.waits import PATIENCE_S, forget_wait, note_wait

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from server.core.schema import AnyRow

__all__ = [
    "FileResult",
    "Lease",
    "Report",
    "action_of",
    "heartbeat",
    "is_any_ready",
    "lease",
    "reclaim",
    "report",
]

_MOST_SETBACKS = 6
_MOST_LOSSES = 5
_MOST_TRIES = 2
_MAKES_FOLDERS = frozenset({"copy", "rename", "finish"})
_LOOKED_AT = 2000
# Of so many tasks one goes to a lower priority.
_OF_SO_MANY = 10
# Literal: only then does a database see that the partial index serves.
_WAITING = tasks.c.state == sa.literal_column("'WAITING'")


@dataclass(frozen=True, slots=True)
class Lease:
    """A task given out.

    Attributes:
        owner_id: whose job it is, None for the server's own.
        files: those that have not ended yet.
        lost: attempts that may have left something behind.
        began_at: when the first attempt was given out.
        folders: that go along, for the last stage; those to be removed, for an "unmake".
        announced: folders that the job is about to make.
        looked: what earlier looks of a plan saw; the task a clear clears up after.
    """

    token: str
    worker: str
    task_id: int
    job_id: int
    owner_id: int | None
    kind: JobKind
    action: str
    attempt: int
    lost: tuple[int, ...]
    began_at: datetime
    files: tuple[TaskFile, ...]
    source_id: int
    target_id: int | None
    spec: Mapping[str, Any]
    folders: Sequence[Sequence[Any]]
    announced: tuple[str, ...]
    looked: Sequence[Any]


@dataclass(frozen=True, slots=True)
class FileResult:
    """What became of one file; the fields of ``server.work.batch.Outcome``."""

    number: int
    state: Literal["done", "skipped", "failed"]
    size: int = 0
    stored: int = 0
    mtime_ns: int = 0
    version: str = ""
    code: str = ""
    reason: str = ""
    is_transient: bool = False
    digest: str = ""
    is_proven: bool = True


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a lease.

    Attributes:
        results: of the lease's first files, in their order.
        ended: "finished" or "stopped"; "storage" when one could not be reached; "lost" when
            nobody knows what became of the worker.
        message: why, for people; "" when there is nothing to say.
        kept: a large file was left half-way, for the next attempt to go on with.
        away: of "storage", which of the job's storages it is; "" when nobody can tell.
        absent: folders that it will make when it is given out again, outermost first.
        made: folders that it has made.
        found: folders that it was about to make, and which somebody else has made.
    """

    results: tuple[FileResult, ...] = ()
    ended: Literal["finished", "stopped", "storage", "lost"] = "finished"
    message: str = field(default="")
    kept: bool = False
    away: Literal["", "source", "target"] = ""
    absent: tuple[str, ...] = ()
    made: tuple[str, ...] = ()
    found: tuple[str, ...] = ()


def lease(
    connection: Connection, slots: Sequence[str], now: datetime, valid: timedelta, turn: int = 0
) -> list[Lease]:
    """Gives out as many tasks as there are slots (names of workers, once for each free thread).

    The highest priority goes first; among equals the job with the fewest tasks running, so that
    no large job keeps a small one waiting. Of ten tasks one goes to a lower priority, each in its
    turn, so that none waits for ever; ``turn`` is how many tasks were given out before.
    """
    given: list[Lease] = []
    running = _running(connection)
    for number, worker in enumerate(slots, turn + 1):
        task_id = _next(connection, running, number, now)
        if task_id is None:
            break
        made = _give(connection, task_id, worker, now, valid)
        running[made.job_id] = running.get(made.job_id, 0) + 1
        given.append(made)
    return given


def is_any_ready(connection: Connection, now: datetime) -> bool:
    """Whether a task could be given out; the transaction may be a reading one."""
    return next(_levels(connection, now), None) is not None


def _running(connection: Connection) -> dict[int, int]:
    query = sa.select(tasks.c.job_id).where(tasks.c.state == sa.literal_column("'RUNNING'"))
    # Counted here: a database would group by job in the order of an index over all tasks ever.
    return Counter(connection.execute(query).scalars())


def _levels(connection: Connection, now: datetime) -> Iterator[int]:
    """The priorities of tasks that could be given out, the highest first."""
    priority = connection.execute(sa.select(sa.func.max(tasks.c.priority)).where(_WAITING)).scalar()
    while priority is not None:
        of_it = _WAITING & (tasks.c.priority == priority)
        first = connection.execute(sa.select(sa.func.min(tasks.c.not_before)).where(of_it)).scalar()
        if first is not None and first <= now:
            yield priority
        lower = _WAITING & (tasks.c.priority < priority)
        priority = connection.execute(
            sa.select(sa.func.max(tasks.c.priority)).where(lower)
        ).scalar()


def _next(
    connection: Connection, running: Mapping[int, int], number: int, now: datetime
) -> int | None:
    """The task to be given out as the ``number``-th of all."""
    levels = _levels(connection, now)
    priority = next(levels, None)
    if priority is None:
        return None
    if number % _OF_SO_MANY == 0 and (lower := list(levels)):
        priority = lower[number // _OF_SO_MANY % len(lower)]
    ready = _WAITING & (tasks.c.priority == priority) & (tasks.c.not_before <= now)
    in_order = (
        sa.select(tasks.c.id, tasks.c.job_id).where(ready).order_by(tasks.c.not_before, tasks.c.id)
    )
    looked_at = in_order.limit(_LOOKED_AT).subquery()
    firsts = connection.execute(
        sa.select(looked_at.c.job_id, sa.func.min(looked_at.c.id)).group_by(looked_at.c.job_id)
    ).all()
    if all(running.get(job_id) for job_id, _ in firsts):
        # Large jobs may take all the room there; somebody behind them has nothing yet.
        at_work = {job_id for job_id, _ in firsts} | running.keys()
        others = in_order.where(tasks.c.job_id.not_in(at_work)).limit(1)
        if (other := connection.execute(others).first()) is not None:
            return int(other.id)
    return min((running.get(job_id, 0), int(task_id)) for job_id, task_id in firsts)[1]


def _give(
    connection: Connection, task_id: int, worker: str, now: datetime, valid: timedelta
) -> Lease:
    task = connection.execute(sa.select(tasks).where(tasks.c.id == task_id)).one()
    job = job_row(connection, task.job_id)
    assert job is not None
    token = secrets.token_hex(16)
    connection.execute(
        tasks.update()
        .where(tasks.c.id == task_id)
        .values(
            state=JobState.RUNNING,
            attempt=task.attempt + 1,
            token=token,
            worker=worker,
            lease_until=now + valid,
            moved=0,
            started_at=task.started_at or now,
        )
    )
    if job.state == JobState.WAITING:
        connection.execute(
            jobs.update()
            .where(jobs.c.id == job.id)
            .values(state=JobState.RUNNING, started_at=job.started_at or now)
        )
    return Lease(
        token=token,
        worker=worker,
        task_id=task_id,
        job_id=job.id,
        owner_id=job.owner_id,
        kind=JobKind(job.kind),
        action=task.action,
        attempt=task.attempt + 1,
        lost=tuple(task.lost),
        began_at=task.started_at or now,
        files=tuple(TaskFile.of(row) for row in task.files[task.files_ended :]),
        source_id=job.source_id,
        target_id=job.target_id,
        spec=job.spec,
        folders=_folders(connection, job, task.action),
        announced=announced_folders(connection, job.id) if task.action in _MAKES_FOLDERS else (),
        looked=task.results if task.action in ("plan", "clear") else (),
    )


def _folders(connection: Connection, job: AnyRow, action: str) -> Sequence[Sequence[Any]]:
    if action == "unmake":
        return [[path] for path in made_folders(connection, job.id)]
    return list(job.folders) if action == "finish" else ()


def heartbeat(
    connection: Connection, moved: Mapping[str, int], now: datetime, valid: timedelta
) -> set[str]:
    """Notes that these leases (token to bytes moved) are alive; gives back those that are to
    stop, because their job was paused or cancelled or they count no more."""
    query = (
        sa.select(tasks.c.id, tasks.c.token, jobs.c.state, tasks.c.action)
        .join(jobs, jobs.c.id == tasks.c.job_id)
        .where(tasks.c.state == sa.literal_column("'RUNNING'"))
    )
    stopping = set(moved)
    for task_id, token, state, action in connection.execute(query).all():
        if token not in moved:
            continue
        if state in (JobState.RUNNING, JobState.WAITING) or action in TIDYING:
            stopping.discard(token)
        connection.execute(
            tasks.update()
            .where(tasks.c.id == task_id)
            .values(moved=moved[token], lease_until=now + valid)
        )
    return stopping


def reclaim(connection: Connection, now: datetime | None) -> int:
    """Takes back the tasks whose lease has run out, or all that are given out when ``now`` is
    None, because nobody who could work on them lives; how many there were."""
    query = sa.select(tasks).where(tasks.c.state == sa.literal_column("'RUNNING'"))
    if now is not None:
        query = query.where(tasks.c.lease_until < now)
    rows = connection.execute(query).all()
    for task in rows:
        job = job_row(connection, task.job_id)
        assert job is not None
        _lose(connection, task, job, now or task.lease_until)
    return len(rows)


def _lose(connection: Connection, task: AnyRow, job: AnyRow, now: datetime) -> None:
    """Puts a task back whose attempt may have left something behind, or still goes on."""
    if task.action in TIDYING:
        # Two attempts at it do no harm.
        end_tidying(connection, task, Report((), "storage"), now)
        unmake_later(connection, task.job_id, now)
        return
    setbacks = task.setbacks + 1
    values = left_values(job)
    values |= {"lost": [*task.lost, task.attempt], "setbacks": setbacks}
    connection.execute(tasks.update().where(tasks.c.id == task.id).values(**values))
    if setbacks > _MOST_LOSSES:
        reason = "no worker that took it was ever heard of again"
        fresh = connection.execute(sa.select(tasks).where(tasks.c.id == task.id)).one()
        _fail_rest(connection, fresh, "worker-lost", reason, now)
        return
    if job.state == JobState.CANCELLED:
        clear_later(connection, task.id, now)
        unmake_later(connection, task.job_id, now)


def left_values(job: AnyRow) -> dict[str, Any]:
    """A task that nobody works on any more: to be done, unless its job was paused or ended."""
    state = JobState.WAITING
    if job.state in (JobState.PAUSED, JobState.CANCELLED):
        state = JobState(job.state)
    return {"state": state, "token": "", "worker": "", "lease_until": None, "moved": 0}


def report(connection: Connection, token: str, brought: Report, now: datetime) -> bool:
    """Notes what came of a lease; False, and nothing happens, when it counts no more."""
    task = connection.execute(
        sa.select(tasks).where(
            (tasks.c.token == token) & (tasks.c.state == sa.literal_column("'RUNNING'"))
        )
    ).first()
    if task is None:
        return False
    job = job_row(connection, task.job_id)
    assert job is not None
    if brought.ended == "lost":
        _lose(connection, task, job, now)
        return True
    if task.action in TIDYING:
        end_tidying(connection, task, brought, now)
        unmake_later(connection, task.job_id, now)
        return True
    note_folders(connection, task.job_id, brought)
    if brought.results or brought.ended == "finished":
        forget_wait(connection, job.id)
    ended = _count(connection, task, job, brought.results, now)
    if ended < task.files_total or (brought.ended != "finished" and not task.files_total):
        _give_back(connection, task, job, brought, ended, now)
        unmake_later(connection, task.job_id, now)
        return True
    finish_task(connection, task.id, now)
    close_task(connection, task.job_id, now)
    unmake_later(connection, task.job_id, now)
    return True


def action_of(connection: Connection, token: str) -> str:
    """What a token was given out for; "" when it counts no more."""
    mine = (tasks.c.token == token) & (tasks.c.state == sa.literal_column("'RUNNING'"))
    return str(connection.execute(sa.select(tasks.c.action).where(mine)).scalar() or "")


def finish_task(connection: Connection, task_id: int, now: datetime) -> None:
    values = {"state": JobState.SUCCEEDED, "finished_at": now, "token": "", "lease_until": None}
    connection.execute(tasks.update().where(tasks.c.id == task_id).values(**values))


def close_task(connection: Connection, job_id: int, now: datetime) -> None:
    """One open task of the job less."""
    connection.execute(
        jobs.update().where(jobs.c.id == job_id).values(tasks_open=jobs.c.tasks_open - 1)
    )
    end_stage(connection, job_id, now)


def _count(
    connection: Connection,
    task: AnyRow,
    job: AnyRow,
    results: Sequence[FileResult],
    now: datetime,
) -> int:
    """Adds results to the counts of task and job; how many of the task's files have ended."""
    files = [TaskFile.of(row) for row in task.files[task.files_ended :]]
    again: list[TaskFile] = []
    sums = dict.fromkeys(("done", "skipped", "failed", "unproven"), 0)
    size = stored = 0
    kept = list(task.results)
    for file, result in zip(files, results, strict=False):
        if file.number != result.number:
            raise ValueError(f"task {task.id} got a result for another file")
        if result.state == "failed" and result.is_transient and file.tries < _MOST_TRIES:
            again.append(_again(file))
            continue
        is_moving = job.kind == JobKind.MOVE and task.action == "copy"
        goes_on = is_moving and result.state != "failed" and not result.code
        sums["done" if goes_on else result.state] += 1
        sums["unproven"] += result.state == "done" and not result.is_proven
        size += result.size or file.size
        stored += result.stored
        if result.state == "failed":
            add_error(connection, job.id, task.id, file, result.code, result.reason, now)
        elif goes_on:
            kept.append([file.number, result.size, result.mtime_ns, result.version])
        elif task.action == "index" and result.state == "done":
            kept.append([file.number, result.size, result.mtime_ns, result.digest])
    _add_to_job(connection, task, sums, size, stored)
    ended = task.files_ended + len(results)
    connection.execute(
        tasks.update()
        .where(tasks.c.id == task.id)
        .values(files_ended=ended, files_failed=task.files_failed + sums["failed"], results=kept)
    )
    if again:
        _try_again(connection, task, job, again, now)
    return int(ended)


def _again(file: TaskFile) -> TaskFile:
    return TaskFile(
        file.number,
        file.path,
        file.target,
        file.size,
        file.mtime_ns,
        file.kind,
        file.version,
        file.tries + 1,
    )


def _add_to_job(
    connection: Connection, task: AnyRow, sums: Mapping[str, int], size: int, stored: int
) -> None:
    if task.action == "unlink-source":
        # Its files were counted when they were copied; only what then fails is news.
        failed = sums["failed"]
        values: dict[str, Any] = {
            "files_failed": jobs.c.files_failed + failed,
            "files_done": jobs.c.files_done - failed,
        }
    else:
        values = {
            "files_done": jobs.c.files_done + sums["done"],
            "files_skipped": jobs.c.files_skipped + sums["skipped"],
            "files_failed": jobs.c.files_failed + sums["failed"],
            "files_unproven": jobs.c.files_unproven + sums["unproven"],
            "bytes_done": jobs.c.bytes_done + size,
            "bytes_stored": jobs.c.bytes_stored + stored,
        }
    connection.execute(jobs.update().where(jobs.c.id == task.job_id).values(**values))


def _try_again(
    connection: Connection, task: AnyRow, job: AnyRow, again: list[TaskFile], now: datetime
) -> None:
    delay = timedelta(seconds=5 * 4 ** (again[0].tries - 1))
    state = JobState.WAITING
    if job.state in (JobState.PAUSED, JobState.CANCELLED):
        state = JobState(job.state)
    values = task_values(
        task.job_id, task.stage, task.action, again, priority=task.priority, now=now, state=state
    )
    add_tasks(connection, task.job_id, [values | {"not_before": now + delay}])


def _give_back(
    connection: Connection,
    task: AnyRow,
    job: AnyRow,
    brought: Report,
    ended: int,
    now: datetime,
) -> None:
    """Puts the rest of a task back, at once or after a while."""
    values = left_values(job)
    if brought.absent:
        # It has only looked.
        values["attempt"] = task.attempt - 1
    if brought.kept:
        values["lost"] = [*task.lost, task.attempt]
    if brought.ended == "storage":
        setbacks = 1 if brought.results else task.setbacks + 1
        away_s = note_wait(connection, job, brought, now)
        if setbacks > _MOST_SETBACKS and (not brought.away or away_s > PATIENCE_S):
            connection.execute(tasks.update().where(tasks.c.id == task.id).values(**values))
            fresh = connection.execute(sa.select(tasks).where(tasks.c.id == task.id)).one()
            _fail_rest(connection, fresh, "storage-unreachable", brought.message, now)
            return
        values |= {
            "setbacks": setbacks,
            "not_before": now + timedelta(seconds=min(2**setbacks, 60)),
        }
    elif brought.results:
        values["setbacks"] = 0
    connection.execute(tasks.update().where(tasks.c.id == task.id).values(**values))
    if brought.kept and job.state == JobState.CANCELLED:
        clear_later(connection, task.id, now)


def _fail_rest(connection: Connection, task: AnyRow, code: str, reason: str, now: datetime) -> None:
    """Ends a task whose remaining files are given up; one without files fails its job."""
    clear_later(connection, task.id, now)
    left = [TaskFile.of(row) for row in task.files[task.files_ended :]]
    for file in left:
        add_error(connection, task.job_id, task.id, file, code, reason, now)
    sums = {"done": 0, "skipped": 0, "failed": len(left), "unproven": 0}
    _add_to_job(connection, task, sums, sum(file.size for file in left), 0)
    connection.execute(
        tasks.update()
        .where(tasks.c.id == task.id)
        .values(
            state=JobState.FAILED,
            token="",
            lease_until=None,
            finished_at=now,
            files_ended=task.files_total,
            files_failed=task.files_failed + len(left),
        )
    )
    if not task.files_total:
        message = reason or code
        connection.execute(jobs.update().where(jobs.c.id == task.job_id).values(message=message))
    close_task(connection, task.job_id, now)
