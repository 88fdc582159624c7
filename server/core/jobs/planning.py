"""Turning what the sources of a job were found to be into its tasks.

Functions run inside a writing transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from server.core.jobs.leases import close_task, finish_task, left_values
from server.core.jobs.lifecycle import add_error, job_row, stages
from server.core.jobs.states import JobState
from server.core.jobs.tables import jobs, tasks
from server.core.jobs.tasks import TaskFile, add_tasks, cut, kept_path, task_values
from server.core.jobs.waits import forget_wait

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from server.core.schema import AnyRow

__all__ = ["Looked", "Refused", "fail_plan", "record_plan"]


@dataclass(frozen=True, slots=True)
class Refused:
    """A path that was named and cannot be worked on."""

    file: TaskFile
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Looked:
    """One look at what a job's sources name.

    Attributes:
        files: numbered from 0 in their order.
        folders: [path, target, mode, mtime_ns] of those that go along, outermost first.
        refused: numbered on from the files.
        fingerprint: another one when any file came, went, grew or was touched.
        youngest_ns, youngest: when the last file was written to, and its path.
    """

    files: Sequence[TaskFile]
    folders: Sequence[Sequence[Any]]
    refused: Sequence[Refused]
    fingerprint: str
    youngest_ns: int
    youngest: str


def record_plan(connection: Connection, token: str, looked: Looked, now: datetime) -> bool:
    """Makes a job's tasks, or, while somebody still writes to its files, puts the look off.

    False, and nothing happens, when the token counts no more.
    """
    task = _planning(connection, token)
    if task is None:
        return False
    job = job_row(connection, task.job_id)
    assert job is not None
    forget_wait(connection, job.id)
    if not _is_quiet(task, job, looked, now):
        _look_again(connection, task, job, looked, now)
        return True
    _store(connection, job, looked, now)
    finish_task(connection, task.id, now)
    close_task(connection, job.id, now)
    return True


def fail_plan(connection: Connection, token: str, message: str, now: datetime) -> bool:
    """The sources name nothing that could be worked on: the job has failed."""
    task = _planning(connection, token)
    if task is None:
        return False
    _fail(connection, task, message, now)
    return True


def _planning(connection: Connection, token: str) -> AnyRow | None:
    return connection.execute(
        sa.select(tasks).where(
            (tasks.c.token == token)
            & (tasks.c.state == sa.literal_column("'RUNNING'"))
            & (tasks.c.action == "plan")
        )
    ).first()


def _fail(connection: Connection, task: AnyRow, message: str, now: datetime) -> None:
    connection.execute(
        tasks.update()
        .where(tasks.c.id == task.id)
        .values(state=JobState.FAILED, token="", lease_until=None, finished_at=now)
    )
    connection.execute(jobs.update().where(jobs.c.id == task.job_id).values(message=message))
    close_task(connection, task.job_id, now)


def _is_quiet(task: AnyRow, job: AnyRow, looked: Looked, now: datetime) -> bool:
    """Whether nothing was written to for long enough, by the files' own times or, when those
    are of another clock or too young, by what an earlier look saw."""
    quiet_s = float(job.spec["quiet_s"])
    age_s = now.timestamp() - looked.youngest_ns / 1e9
    if not looked.files or quiet_s <= 0 or age_s >= quiet_s:
        return True
    if not task.results:
        return False
    fingerprint, seen_at = task.results[:2]
    return bool(fingerprint == looked.fingerprint and now.timestamp() - seen_at >= quiet_s)


def _look_again(
    connection: Connection, task: AnyRow, job: AnyRow, looked: Looked, now: datetime
) -> None:
    first = task.results[2] if task.results else now.timestamp()
    if now.timestamp() - first > float(job.spec["quiet_timeout_s"]):
        _fail(connection, task, f"{looked.youngest!r} is still being written to", now)
        return
    delay = timedelta(seconds=float(job.spec["quiet_s"]))
    connection.execute(
        tasks.update()
        .where(tasks.c.id == task.id)
        .values(
            left_values(job)
            | {
                "results": [
                    looked.fingerprint,
                    now.timestamp(),
                    first,
                    kept_path(looked.youngest),
                ],
                "not_before": now + delay,
            }
        )
    )


def _store(connection: Connection, job: AnyRow, looked: Looked, now: datetime) -> None:
    """The files' tasks, as the job's next stage; ``close_task`` then ends the planning one."""
    action = stages(connection, job)[1]
    state = JobState(job.state) if job.state == JobState.PAUSED else JobState.WAITING
    if job.state == JobState.CANCELLED:
        state = JobState.CANCELLED
    rows = [
        task_values(job.id, 1, action, batch, priority=job.priority, now=now, state=state)
        for batch in cut(looked.files)
    ]
    connection.execute(
        jobs.update()
        .where(jobs.c.id == job.id)
        .values(
            # Without files the stage stays where it is, and its end leads on.
            stage=1 if rows else 0,
            folders=[list(folder) for folder in looked.folders],
            files_total=len(looked.files) + len(looked.refused),
            files_failed=len(looked.refused),
            bytes_total=sum(file.size for file in looked.files),
        )
    )
    add_tasks(connection, job.id, rows)
    _refuse(connection, job, action, looked.refused, now)


def _refuse(
    connection: Connection,
    job: AnyRow,
    action: str,
    refused: Sequence[Refused],
    now: datetime,
) -> None:
    """Keeps what was refused as tasks that have failed, so that a retry finds it."""
    reasons = {one.file.number: one for one in refused}
    for batch in cut(one.file for one in refused):
        values = task_values(
            job.id, 1, action, batch, priority=job.priority, now=now, state=JobState.FAILED
        )
        values |= {"files_ended": len(batch), "files_failed": len(batch), "finished_at": now}
        inserted = connection.execute(tasks.insert().values(values)).inserted_primary_key
        assert inserted is not None
        for file in batch:
            why = reasons[file.number]
            add_error(connection, job.id, inserted[0], file, why.code, why.reason, now)
