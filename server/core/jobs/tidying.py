"""What a job that was cancelled has left behind, and who removes it.

Leftovers of files have names of their own, so attempts of which nobody heard can be cleared up
after. A folder has none: whether the job made it is known only because a batch first announces
which folders are not there, and makes them when that is safe in the tables. Functions run inside a
writing transaction.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from server.core.jobs.states import JobState
from server.core.jobs.tables import job_folders, jobs, tasks
from server.core.jobs.tasks import TaskFile, kept_path, shown_path, task_values

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from server.core.jobs.leases import Report
    from server.core.schema import AnyRow

__all__ = [
    "TIDYING",
    "announced_folders",
    "clear_later",
    "end_tidying",
    "forget_folders",
    "made_folders",
    "note_folders",
    "unmake_later",
]

TIDYING = ("clear", "unmake")
"""The actions of tasks that only tidy up; no job waits for them."""

_MOST_ATTEMPTS = 100
_AT_ONCE = 500
_ANNOUNCED = job_folders.c.state == sa.literal_column("'announced'")


def note_folders(connection: Connection, job_id: int, brought: Report) -> None:
    """Notes which folders a batch is about to make, which it has made, and which of those that it
    was about to make somebody else has."""
    _remove(connection, job_id, brought.found, only_announced=True)
    for paths, state in ((brought.absent, "announced"), (brought.made, "made")):
        if paths:
            _remove(connection, job_id, paths)
            rows = [{"job_id": job_id, "path": kept_path(p), "state": state} for p in paths]
            connection.execute(job_folders.insert(), rows)


def _remove(
    connection: Connection, job_id: int, paths: Iterable[str], *, only_announced: bool = False
) -> None:
    kept = [kept_path(path) for path in paths]
    of_job = job_folders.c.job_id == job_id
    if only_announced:
        of_job &= _ANNOUNCED
    for at in range(0, len(kept), _AT_ONCE):
        some = job_folders.c.path.in_(kept[at : at + _AT_ONCE])
        connection.execute(job_folders.delete().where(of_job & some))


def announced_folders(connection: Connection, job_id: int) -> tuple[str, ...]:
    """Those that batches of the job may make."""
    query = sa.select(job_folders.c.path).where((job_folders.c.job_id == job_id) & _ANNOUNCED)
    return tuple(map(shown_path, connection.execute(query).scalars()))


def made_folders(connection: Connection, job_id: int) -> list[str]:
    """Those that the job has made, or may have made unheard; innermost first."""
    query = sa.select(job_folders.c.path).where(job_folders.c.job_id == job_id)
    found = map(shown_path, connection.execute(query).scalars())
    return sorted(found, key=lambda path: path.count("/"), reverse=True)


def forget_folders(connection: Connection, job_id: int) -> None:
    """The folders that the job has made are nobody's now."""
    connection.execute(job_folders.delete().where(job_folders.c.job_id == job_id))


def clear_later(connection: Connection, task_id: int, now: datetime) -> None:
    """Lets a worker remove what attempts at a task that is given up may have left."""
    task = connection.execute(sa.select(tasks).where(tasks.c.id == task_id)).one()
    if task.action != "copy" or not task.lost:
        return
    files = [TaskFile.of(row) for row in task.files[task.files_ended :]]
    values = task_values(task.job_id, task.stage, "clear", files, priority=task.priority, now=now)
    # The hidden names carry the number of the task that wrote them.
    connection.execute(tasks.insert().values(values | {"lost": task.lost, "results": [task.id]}))


def unmake_later(connection: Connection, job_id: int, now: datetime) -> None:
    """Lets a worker remove the folders that a cancelled job has made, once nobody works in them
    any more."""
    job = connection.execute(sa.select(jobs).where(jobs.c.id == job_id)).one()
    has_any = sa.select(job_folders.c.id).where(job_folders.c.job_id == job_id).limit(1)
    if job.state != JobState.CANCELLED or connection.execute(has_any).first() is None:
        return
    is_open = (tasks.c.state == JobState.RUNNING) | (
        (tasks.c.state == JobState.WAITING) & tasks.c.action.in_(TIDYING)
    )
    query = sa.select(tasks.c.id).where((tasks.c.job_id == job_id) & is_open).limit(1)
    if connection.execute(query).first() is None:
        values = task_values(job_id, job.stage, "unmake", (), priority=job.priority, now=now)
        connection.execute(tasks.insert().values(values))


def end_tidying(connection: Connection, task: AnyRow, brought: Report, now: datetime) -> None:
    """What was left behind is gone, or is removed once its storage can be reached again; after
    some days it is given up."""
    values: dict[str, Any] = {"token": "", "worker": "", "lease_until": None, "moved": 0}
    setbacks = task.setbacks + (brought.ended == "storage")
    is_over = brought.ended == "finished" or setbacks > _MOST_ATTEMPTS
    if is_over:
        state = JobState.SUCCEEDED if brought.ended == "finished" else JobState.FAILED
        values |= {"state": state, "finished_at": now}
    else:
        values |= {"state": JobState.WAITING, "setbacks": setbacks}
        if brought.ended == "storage":
            values["not_before"] = now + timedelta(seconds=min(2 ** min(setbacks, 12), 3600))
    connection.execute(tasks.update().where(tasks.c.id == task.id).values(**values))
    if is_over and task.action == "unmake":
        state = connection.execute(
            sa.select(jobs.c.state).where(jobs.c.id == task.job_id)
        ).scalar_one()
        # A job that was retried meanwhile goes on with them.
        if state == JobState.CANCELLED:
            forget_folders(connection, task.job_id)
