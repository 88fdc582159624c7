"""What jobs wait for besides their turn: quiet among their files, a storage that is away, a worker
that may take something.

Functions run inside a transaction of whoever calls them.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from server.core.errors import Ref, Sentence
from server.core.jobs.states import JobState
from server.core.jobs.tables import job_waits, tasks, workers
from server.core.jobs.tasks import shown_path
from server.core.jobs.tidying import TIDYING
from server.core.jobs.workers import GONE_AFTER_S, WorkerState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from server.core.jobs.leases import Report
    from server.core.schema import AnyRow

__all__ = ["PATIENCE_S", "forget_wait", "note_wait", "waits_of"]

# A storage may be away for so long before what a job has there fails.
PATIENCE_S = 3600.0


def note_wait(connection: Connection, job: AnyRow, brought: Report, now: datetime) -> float:
    """Notes that a storage of the job could not be used; for how many seconds that has been so.

    0 when nobody can tell which storage it is, and it may be something else.
    """
    mine = job_waits.c.job_id == job.id
    noted = connection.execute(sa.select(job_waits).where(mine)).first()
    if noted is not None and noted.side == brought.away and not brought.results:
        connection.execute(job_waits.update().where(mine).values(reason=brought.message))
        return (now - noted.since).total_seconds() if brought.away else 0.0
    forget_wait(connection, job.id)
    values = {"side": brought.away, "since": now, "reason": brought.message}
    connection.execute(job_waits.insert().values(job_id=job.id, **values))
    return 0.0


def forget_wait(connection: Connection, job_id: int) -> None:
    """The job waits for its storages no more."""
    connection.execute(job_waits.delete().where(job_waits.c.job_id == job_id))


def waits_of(connection: Connection, rows: Sequence[AnyRow], now: datetime) -> dict[int, Sentence]:
    """What each of some jobs (rows of ``queries``) waits for; none for those that wait for nothing
    but their turn."""
    running = {row.id: row for row in rows if row.state == JobState.RUNNING}
    found = _until_quiet(connection, running, now) | _until_back(connection, running, now)
    idle = {row.id for row in rows if row.state in (JobState.WAITING, JobState.RUNNING)}
    return found | _until_enabled(connection, idle - found.keys(), now)


def _until_enabled(connection: Connection, idle: set[int], now: datetime) -> dict[int, Sentence]:
    """Those of these jobs of which nothing can be done, because no worker may take anything."""
    if not idle:
        return {}
    since = now - timedelta(seconds=GONE_AFTER_S)
    query = sa.select(workers.c.state).where(workers.c.last_seen_at > since)
    states = set(connection.execute(query).scalars())
    if not states or WorkerState.ENABLED in states:
        return {}
    running = sa.select(tasks.c.job_id).where(tasks.c.state == sa.literal_column("'RUNNING'"))
    at_work = set(connection.execute(running).scalars())
    told = Sentence("waits for a worker that is enabled: all are drained or disabled")
    return dict.fromkeys(idle - at_work, told)


def _until_quiet(
    connection: Connection, running: Mapping[int, AnyRow], now: datetime
) -> dict[int, Sentence]:
    planned = [job_id for job_id, row in running.items() if row.stage == 0]
    if not planned:
        return {}
    query = sa.select(tasks.c.job_id, tasks.c.results, tasks.c.not_before).where(
        tasks.c.job_id.in_(planned)
        & (tasks.c.action == "plan")
        & (tasks.c.state == sa.literal_column("'WAITING'"))
    )
    return {
        task.job_id: _quiet(task, running[task.job_id].spec, now)
        for task in connection.execute(query)
        # Without an earlier look it only waits for its turn.
        if task.results
    }


def _quiet(task: AnyRow, spec: Mapping[str, Any], now: datetime) -> Sentence:
    _, _, first_look, *youngest = task.results
    last = f", last to {shown_path(youngest[0])!r}" if youngest else ""
    left_s = max(first_look + float(spec["quiet_timeout_s"]) - now.timestamp(), 0)
    return Sentence(
        f"waits until nothing has been written to its files for {spec['quiet_s']:g} s{last}:"
        f" looks again in {_left_s(task.not_before, now):.0f} s, gives up in {left_s:.0f} s"
    )


def _until_back(
    connection: Connection, running: Mapping[int, AnyRow], now: datetime
) -> dict[int, Sentence]:
    noted = connection.execute(
        sa.select(job_waits).where(job_waits.c.job_id.in_(list(running)))
    ).all()
    if not noted:
        return {}
    query = (
        sa.select(tasks.c.job_id, sa.func.min(tasks.c.not_before).label("not_before"))
        .where(tasks.c.job_id.in_([wait.job_id for wait in noted]))
        .where(tasks.c.state == sa.literal_column("'WAITING'"))
        .where(tasks.c.action.not_in(TIDYING))
        .group_by(tasks.c.job_id)
    )
    again = {found.job_id: found.not_before for found in connection.execute(query)}
    return {
        wait.job_id: _away(wait, running[wait.job_id], again.get(wait.job_id), now)
        for wait in noted
    }


def _away(wait: AnyRow, job: AnyRow, again: datetime | None, now: datetime) -> Sentence:
    at = f"{wait.since:%Y-%m-%d %H:%M:%S} UTC"
    looks = "looks right now" if again is None else f"looks again in {_left_s(again, now):.0f} s"
    terms: dict[str, object] = {"reason": wait.reason}
    if not wait.side:
        return Sentence(f"could not go on since {at} ({{reason}}): {looks}, by itself", terms)
    is_source = wait.side == "source"
    terms["storage"] = Ref(
        "Storage",
        job.source_id if is_source else job.target_id,
        job.source if is_source else job.target,
    )
    left_s = max(PATIENCE_S - (now - wait.since).total_seconds(), 0)
    return Sentence(
        f"waits for the storage {{storage}}, away since {at} ({{reason}}): goes on by itself"
        f" when it is back, {looks}, gives up in {left_s:.0f} s",
        terms,
    )


def _left_s(until: datetime, now: datetime) -> float:
    return max((until - now).total_seconds(), 0)
