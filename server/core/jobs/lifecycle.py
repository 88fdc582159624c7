"""From one stage of a job to the next, and to its end.

Every function runs inside a writing transaction of whoever calls it, so that what a task brought
back, the stage it ended and the messages that follow are durable together or not at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from server.core.events import record
from server.core.jobs.states import JobKind, JobState
from server.core.jobs.tables import deliveries, job_errors, jobs, tasks
from server.core.jobs.tasks import TaskFile, add_tasks, cut, shown_path, task_values
from server.core.jobs.tidying import forget_folders
from server.core.jobs.waits import forget_wait
from server.core.permissions import SYSTEM
from server.core.tables import storages, users

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from server.core.schema import AnyRow

__all__ = ["add_error", "end_job", "end_stage", "job_row", "stages"]

_STAGES: dict[JobKind, tuple[str, ...]] = {
    JobKind.COPY: ("plan", "copy", "finish"),
    JobKind.MOVE: ("plan", "copy", "unlink-source", "finish"),
    JobKind.COMPRESS: ("plan", "compress"),
    JobKind.RESTORE: ("plan", "restore"),
    JobKind.VERIFY: ("plan", "verify"),
    JobKind.DELETE: ("plan", "delete", "finish"),
    JobKind.INDEX: ("plan", "index"),
    JobKind.IMPORT: ("plan", "index"),
}
_MOVE_WITHIN = ("plan", "rename", "finish")


def job_row(connection: Connection, job_id: int) -> AnyRow | None:
    """The job's row, None when there is none."""
    return connection.execute(sa.select(jobs).where(jobs.c.id == job_id)).first()


def stages(connection: Connection, job: AnyRow) -> tuple[str, ...]:
    """The actions of a job's stages, in their order."""
    kind = JobKind(job.kind)
    if kind is JobKind.MOVE and job.source_id == job.target_id:
        query = sa.select(storages.c.kind).where(storages.c.id == job.source_id)
        # Objects cannot be renamed.
        if connection.execute(query).scalar() != "s3":
            return _MOVE_WITHIN
    return _STAGES[kind]


def end_stage(connection: Connection, job_id: int, now: datetime) -> None:
    """Begins the next stage that has anything to do, or ends the job, if no task is open."""
    job = job_row(connection, job_id)
    if job is None or job.tasks_open > 0 or JobState(job.state).is_final:
        return
    actions = stages(connection, job)
    for stage in range(job.stage + 1, len(actions)):
        rows = _tasks_of(connection, job, stage, actions[stage], now)
        if rows:
            connection.execute(jobs.update().where(jobs.c.id == job_id).values(stage=stage))
            add_tasks(connection, job_id, rows)
            return
    is_failed = job.files_failed > 0 or bool(job.message)
    end_job(connection, job_id, JobState.FAILED if is_failed else JobState.SUCCEEDED, now)


def _tasks_of(
    connection: Connection, job: AnyRow, stage: int, action: str, now: datetime
) -> list[dict[str, Any]]:
    """The tasks a later stage begins with."""
    state = JobState.PAUSED if job.state == JobState.PAUSED else JobState.WAITING

    def values(files: Sequence[TaskFile]) -> dict[str, Any]:
        return task_values(
            job.id, stage, action, files, priority=job.priority, now=now, state=state
        )

    if action == "finish":
        return [values(())] if job.folders else []
    if action != "unlink-source":
        return []
    return [values(batch) for batch in cut(_copied(connection, job.id))]


def _copied(connection: Connection, job_id: int) -> list[TaskFile]:
    """The sources of a move whose copies stand verified, as they were when they were read."""
    query = sa.select(tasks.c.files, tasks.c.results).where(
        (tasks.c.job_id == job_id) & (tasks.c.action == "copy")
    )
    copied: list[TaskFile] = []
    for files, results in connection.execute(query.order_by(tasks.c.id)):
        by_number = {row[0]: TaskFile.of(row) for row in files}
        for number, size, mtime_ns, version in results:
            file = by_number[number]
            copied.append(TaskFile(number, file.path, "", size, mtime_ns, file.kind, version))
    return copied


def end_job(
    connection: Connection, job_id: int, state: JobState, now: datetime, message: str | None = None
) -> None:
    """Gives a job its final state, and writes the messages about it."""
    values: dict[str, Any] = {"state": state, "finished_at": now}
    if message is not None:
        values["message"] = message
    connection.execute(jobs.update().where(jobs.c.id == job_id).values(**values))
    forget_wait(connection, job_id)
    if state is not JobState.CANCELLED:
        forget_folders(connection, job_id)
    job = job_row(connection, job_id)
    assert job is not None
    if job.spec.get("catalog"):
        # The catalogue starts jobs, so it knows of them; that they tell it of their end is new.
        from server.core.catalog.effects import job_ended

        job_ended(connection, job, now)
        # With what has come of it.
        job = job_row(connection, job_id)
        assert job is not None
    record(
        connection,
        SYSTEM,
        f"job.{state.lower()}",
        now,
        job_id,
        files=job.files_total,
        failed=job.files_failed,
    )
    _tell(connection, job, now)


def _tell(connection: Connection, job: AnyRow, now: datetime) -> None:
    """Puts what the job's people wanted to hear into the outbox."""
    payload = {"event": f"job.{job.state.lower()}", "job": _facts(connection, job, now)}
    if form := job.notify.get("form"):
        payload["form"] = form
    receivers = [("webhook", job.notify["webhook"])] if job.notify.get("webhook") else []
    addresses = [*job.notify.get("email", ()), *_owner_address(connection, job)]
    receivers += [("email", address) for address in dict.fromkeys(addresses)]
    for kind, receiver in receivers:
        connection.execute(
            deliveries.insert().values(
                job_id=job.id,
                kind=kind,
                receiver=receiver,
                payload=payload,
                state="WAITING",
                attempts=0,
                not_before=now,
                error="",
                created_at=now,
            )
        )


def _facts(connection: Connection, job: AnyRow, now: datetime) -> dict[str, Any]:
    """What a message tells of an ended job."""
    # The catalogue is built on top of the jobs.
    from server.core.catalog.work import job_data

    owner = sa.select(users.c.name).where(users.c.id == job.owner_id)
    return {
        "id": job.id,
        "kind": job.kind,
        "state": job.state,
        "priority": job.priority,
        "owner": connection.execute(owner).scalar() or "",
        "label": job.label,
        "message": job.message,
        "error": _first_error(connection, job.id),
        "files": {
            "total": job.files_total,
            "done": job.files_done,
            "skipped": job.files_skipped,
            "failed": job.files_failed,
            "unproven": job.files_unproven,
        },
        "bytes": {"total": job.bytes_total, "done": job.bytes_done},
        "data": job_data(job.spec),
        "created_at": job.created_at.isoformat(),
        "started_at": job.started_at.isoformat() if job.started_at is not None else None,
        "finished_at": now.isoformat(),
    }


def _first_error(connection: Connection, job_id: int) -> str:
    """Why the first of a job's files that failed did, "" when none did."""
    query = sa.select(job_errors.c.path, job_errors.c.reason).where(job_errors.c.job_id == job_id)
    row = connection.execute(query.order_by(job_errors.c.number).limit(1)).first()
    if row is None:
        return ""
    path = shown_path(row.path).encode("utf-8", "surrogateescape")
    return f"{path.decode('utf-8', 'backslashreplace')}: {row.reason}"


def _owner_address(connection: Connection, job: AnyRow) -> list[str]:
    """The owner's address, if such an end is what the owner wants to be told of."""
    if job.owner_id is None:
        return []
    owner = connection.execute(
        sa.select(users.c.email, users.c.notify, users.c.state).where(users.c.id == job.owner_id)
    ).first()
    if owner is None or owner.state != "active" or not owner.email:
        return []
    return [owner.email] if job.state.lower() in owner.notify else []


def add_error(
    connection: Connection,
    job_id: int,
    task_id: int,
    file: TaskFile,
    code: str,
    reason: str,
    now: datetime,
) -> None:
    """Notes why a file of a job failed; the latest reason counts."""
    mine = (job_errors.c.job_id == job_id) & (job_errors.c.number == file.number)
    connection.execute(job_errors.delete().where(mine))
    connection.execute(
        job_errors.insert().values(
            job_id=job_id,
            number=file.number,
            task_id=task_id,
            path=file.row()[1],
            code=code,
            reason=reason,
            at=now,
        )
    )
