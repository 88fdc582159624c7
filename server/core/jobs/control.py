"""Submitting, pausing, resuming, cancelling, retrying and re-prioritising jobs.

Functions run inside a writing transaction.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from server.core.errors import InvalidValue, NotFound, Ref, WrongState
from server.core.events import record
from server.core.jobs.lifecycle import end_job, job_row
from server.core.jobs.spec import MOST_PRIORITY
from server.core.jobs.states import Control, JobKind, JobState, allow
from server.core.jobs.tables import job_errors, jobs, tasks
from server.core.jobs.tasks import TaskFile, add_tasks, cut, task_values
from server.core.jobs.tidying import TIDYING, clear_later, unmake_later
from server.core.jobs.waits import forget_wait
from server.core.tables import storages
from server.core.values import check_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from server.core.jobs.spec import JobRequest
    from server.core.permissions import Actor
    from server.core.schema import AnyRow

__all__ = ["cancel", "pause", "prioritise", "repeat", "resume", "retry", "submit"]

_OPEN = (JobState.WAITING, JobState.PAUSED)
_LONGEST_REASON = 1000


def submit(
    connection: Connection,
    actor: Actor,
    request: JobRequest,
    source_id: int,
    target_id: int | None,
    now: datetime,
) -> int:
    """A new job; its number. Its files are looked for later, by a worker."""
    values = {
        "kind": request.kind,
        "priority": request.priority,
        "source_id": source_id,
        "target_id": target_id,
        "spec": request.stored_spec(),
        "notify": asdict(request.notify) | {"email": list(request.notify.email)},
        "label": request.label,
    }
    return _enter(connection, actor, values, now)


def repeat(
    connection: Connection, actor: Actor, job: AnyRow, spec: Mapping[str, Any], now: datetime
) -> int:
    """A new job of what an ended one was asked for, as ``spec`` says it now; its number."""
    _require_storages(connection, job)
    same = ("kind", "priority", "source_id", "target_id", "notify", "label")
    values = {name: getattr(job, name) for name in same} | {"spec": dict(spec)}
    return _enter(connection, actor, values, now)


def _enter(connection: Connection, actor: Actor, values: Mapping[str, Any], now: datetime) -> int:
    """A new job, and the task that looks for its files."""
    inserted = connection.execute(
        jobs.insert().values(
            state=JobState.WAITING,
            owner_id=actor.user_id,
            stage=0,
            tasks_open=0,
            folders=[],
            files_total=0,
            files_done=0,
            files_skipped=0,
            files_failed=0,
            bytes_total=0,
            bytes_done=0,
            bytes_stored=0,
            message="",
            created_at=now,
            paused_s=0.0,
            **values,
        )
    ).inserted_primary_key
    assert inserted is not None
    job_id = int(inserted[0])
    plan = task_values(job_id, 0, "plan", (), priority=values["priority"], now=now)
    add_tasks(connection, job_id, [plan])
    record(connection, actor, "job.submitted", now, job_id, job=JobKind(values["kind"]))
    return job_id


def _controlled(connection: Connection, job_id: int, control: Control) -> AnyRow:
    job = job_row(connection, job_id)
    if job is None:
        raise NotFound("there is no such job", kind="Job", id=job_id)
    allow(control, JobState(job.state), job_id)
    return job


def _of_job(job_id: int, *states: JobState) -> sa.ColumnElement[bool]:
    return (tasks.c.job_id == job_id) & tasks.c.state.in_(states)


def _set_job(connection: Connection, job_id: int, **values: object) -> None:
    connection.execute(jobs.update().where(jobs.c.id == job_id).values(**values))


def pause(connection: Connection, actor: Actor, job_id: int, now: datetime) -> None:
    """Nothing more is begun; what is under way stops within a batch."""
    _controlled(connection, job_id, Control.PAUSE)
    _set_job(connection, job_id, state=JobState.PAUSED, paused_at=now)
    waiting = _of_job(job_id, JobState.WAITING) & tasks.c.action.not_in(TIDYING)
    connection.execute(tasks.update().where(waiting).values(state=JobState.PAUSED))
    forget_wait(connection, job_id)
    record(connection, actor, "job.paused", now, job_id)


def resume(connection: Connection, actor: Actor, job_id: int, now: datetime) -> None:
    """Goes on where it was paused."""
    job = _controlled(connection, job_id, Control.RESUME)
    paused_s = job.paused_s
    if job.paused_at is not None:
        paused_s += (now - job.paused_at).total_seconds()
    state = JobState.RUNNING if job.started_at is not None else JobState.WAITING
    _set_job(connection, job_id, state=state, paused_at=None, paused_s=paused_s)
    paused = _of_job(job_id, JobState.PAUSED)
    connection.execute(tasks.update().where(paused).values(state=JobState.WAITING))
    record(connection, actor, "job.resumed", now, job_id)


def cancel(
    connection: Connection, actor: Actor, job_id: int, now: datetime, *, reason: str = ""
) -> None:
    """Ends the job; what was finished stays, what is under way stops and leaves nothing. The
    reason, if there is one, becomes its message."""
    reason = check_text("reason", reason, _LONGEST_REASON)
    _controlled(connection, job_id, Control.CANCEL)
    left = _of_job(job_id, *_OPEN) & tasks.c.action.not_in(TIDYING)
    lost = [
        task_id
        for task_id, attempts in connection.execute(sa.select(tasks.c.id, tasks.c.lost).where(left))
        if attempts
    ]
    connection.execute(tasks.update().where(left).values(state=JobState.CANCELLED))
    for task_id in lost:
        clear_later(connection, task_id, now)
    record(connection, actor, "job.cancel-asked", now, job_id)
    end_job(connection, job_id, JobState.CANCELLED, now, reason or None)
    unmake_later(connection, job_id, now)


def retry(connection: Connection, actor: Actor, job_id: int, now: datetime) -> int:
    """Tries again what failed, and what was left when the job was cancelled; how many files.

    A job that failed before it had files looks for them again.
    """
    job = _controlled(connection, job_id, Control.RETRY)
    _require_storages(connection, job)
    count = _retry_failed(connection, job, now)
    left = _of_job(job_id, JobState.CANCELLED)
    query = sa.select(sa.func.sum(tasks.c.files_total - tasks.c.files_ended)).where(left)
    count += int(connection.execute(query).scalar() or 0)
    connection.execute(tasks.update().where(left).values(state=JobState.WAITING, not_before=now))
    if job.stage == 0 and not _is_planned(connection, job_id):
        plan = task_values(job_id, 0, "plan", (), priority=job.priority, now=now)
        add_tasks(connection, job_id, [plan])
    # The folders it has made are made for it again.
    connection.execute(
        tasks.delete().where(_of_job(job_id, JobState.WAITING) & (tasks.c.action == "unmake"))
    )
    open_tasks = connection.execute(
        sa.select(sa.func.count())
        .select_from(tasks)
        .where(_of_job(job_id, *_OPEN, JobState.RUNNING) & tasks.c.action.not_in(TIDYING))
    ).scalar()
    _set_job(
        connection,
        job_id,
        state=JobState.WAITING,
        finished_at=None,
        message="",
        tasks_open=open_tasks,
    )
    if job.spec.get("catalog"):
        from server.core.catalog.effects import job_retried

        job_retried(connection, job)
    record(connection, actor, "job.retried", now, job_id, files=count)
    if not open_tasks:
        _finish_again(connection, job, now)
    return count


def _require_storages(connection: Connection, job: AnyRow) -> None:
    ids = [job.source_id] + ([job.target_id] if job.target_id is not None else [])
    query = sa.select(storages.c.id, storages.c.name).where(
        storages.c.id.in_(ids) & (storages.c.state == "removed")
    )
    if (gone := connection.execute(query.limit(1)).first()) is not None:
        raise WrongState(
            "its storage {storage} was removed",
            hint="submit a new job on a storage there is",
            terms={"storage": Ref("Storage", gone.id, gone.name)},
            about=Ref("Job", job.id),
        )


def _is_planned(connection: Connection, job_id: int) -> bool:
    """Whether the files are known, or are about to be."""
    query = (
        sa.select(sa.func.count())
        .select_from(tasks)
        .where(
            (tasks.c.job_id == job_id)
            & (tasks.c.action == "plan")
            & (tasks.c.state != JobState.FAILED)
        )
    )
    return bool(connection.execute(query).scalar())


def _finish_again(connection: Connection, job: AnyRow, now: datetime) -> None:
    """Nothing of an earlier stage is left to try: what failed was the last one."""
    task = connection.execute(
        sa.select(tasks)
        .where(
            (tasks.c.job_id == job.id)
            & (tasks.c.state == JobState.FAILED)
            & tasks.c.action.not_in(TIDYING)
        )
        .order_by(tasks.c.id.desc())
        .limit(1)
    ).first()
    action = task.action if task is not None else "finish"
    values = task_values(job.id, job.stage, action, (), priority=job.priority, now=now)
    add_tasks(connection, job.id, [values])


def _retry_failed(connection: Connection, job: AnyRow, now: datetime) -> int:
    failed = connection.execute(
        sa.select(job_errors.c.number, job_errors.c.task_id).where(job_errors.c.job_id == job.id)
    ).all()
    numbers = {number for number, _ in failed}
    if not numbers:
        return 0
    by_action: dict[tuple[int, str], list[TaskFile]] = {}
    for task_id in sorted({task_id for _, task_id in failed}):
        task = connection.execute(sa.select(tasks).where(tasks.c.id == task_id)).one()
        files = [TaskFile.of(row) for row in task.files if row[0] in numbers]
        by_action.setdefault((task.stage, task.action), []).extend(files)
    # The stage that failed first is gone back to; the later ones follow from it again.
    stage = min(stage for stage, _ in by_action)
    retried = [file for (at, _), files in by_action.items() if at == stage for file in files]
    actions = {action for (at, action) in by_action if at == stage}
    rows: list[dict[str, Any]] = []
    for action in sorted(actions):
        rows += [
            task_values(job.id, stage, action, batch, priority=job.priority, now=now)
            for batch in cut(by_action[stage, action])
        ]
    connection.execute(job_errors.delete().where(job_errors.c.job_id == job.id))
    later = len(numbers) - len(retried)
    _set_job(
        connection,
        job.id,
        stage=stage,
        files_failed=0,
        files_done=jobs.c.files_done + later + (len(retried) if stage > 1 else 0),
        bytes_done=jobs.c.bytes_done - (sum(f.size for f in retried) if stage == 1 else 0),
    )
    add_tasks(connection, job.id, rows)
    return len(retried)


def prioritise(
    connection: Connection, actor: Actor, job_id: int, priority: int, now: datetime
) -> None:
    """Gives a job another priority, from its next batch on."""
    if not 0 <= priority <= MOST_PRIORITY:
        raise InvalidValue("priority", f"is a number from 0 to {MOST_PRIORITY}")
    _controlled(connection, job_id, Control.PRIORITISE)
    _set_job(connection, job_id, priority=priority)
    connection.execute(tasks.update().where(_of_job(job_id, *_OPEN)).values(priority=priority))
    record(connection, actor, "job.prioritised", now, job_id, priority=priority)
