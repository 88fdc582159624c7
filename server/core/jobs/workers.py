"""The workers that do the jobs: what they can, whether they may, and what they are at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import sqlalchemy as sa

from server.core.errors import InvalidValue, NotFound
from server.core.events import record
from server.core.jobs.tables import tasks, workers
from server.core.permissions import Action, Actor, require
from server.core.schema import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from server.core.database import Database

__all__ = [
    "GONE_AFTER_S",
    "MOST_CONCURRENT",
    "Current",
    "Seen",
    "Worker",
    "WorkerState",
    "Workers",
    "free_slots",
    "list_workers",
    "note_seen",
]

MOST_CONCURRENT = 1024
# A worker of which nothing was heard for so long is not there.
GONE_AFTER_S = 30.0


class WorkerState(StrEnum):
    """Whether a worker takes tasks."""

    ENABLED = "enabled"
    DRAINING = "draining"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Seen:
    """What an engine says of one of its workers. ``load`` is 0 to 1."""

    name: str
    engine: str
    capacity: int
    load: float


@dataclass(frozen=True, slots=True)
class Current:
    """A task a worker is at."""

    task_id: int
    job_id: int
    action: str
    moved: int
    since: datetime


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker.

    Attributes:
        capacity: threads it has; ``concurrency`` how many of them may be used, None for all.
        is_present: it has been heard of lately.
    """

    id: int
    name: str
    engine: str
    state: WorkerState
    capacity: int
    concurrency: int | None
    load: float
    is_present: bool
    first_seen_at: datetime
    last_seen_at: datetime
    tasks: tuple[Current, ...]


def note_seen(connection: Connection, seen: Sequence[Seen], now: datetime) -> None:
    """Notes which workers there are; a new one is enabled."""
    for one in seen:
        values = {"capacity": one.capacity, "load": one.load, "last_seen_at": now}
        changed = connection.execute(
            workers.update().where(workers.c.name == one.name).values(**values)
        )
        if not changed.rowcount:
            connection.execute(
                workers.insert().values(
                    name=one.name,
                    engine=one.engine,
                    state=WorkerState.ENABLED,
                    concurrency=None,
                    first_seen_at=now,
                    **values,
                )
            )


def free_slots(connection: Connection, present: Sequence[Seen]) -> list[str]:
    """Names of the workers that may take a task, once for each thread that is free, so that
    tasks spread over the workers evenly."""
    running = (
        sa.select(tasks.c.worker, sa.func.count())
        .where(tasks.c.state == sa.literal_column("'RUNNING'"))
        .group_by(tasks.c.worker)
    )
    busy: dict[str, int] = {row[0]: row[1] for row in connection.execute(running)}
    rows = {
        row.name: row
        for row in connection.execute(
            sa.select(workers).where(workers.c.state == WorkerState.ENABLED)
        )
    }
    slots: list[tuple[int, str]] = []
    for one in present:
        row = rows.get(one.name)
        if row is None:
            continue
        limit = min(one.capacity, row.concurrency or one.capacity)
        slots += [(nth, one.name) for nth in range(busy.get(one.name, 0), limit)]
    return [name for _, name in sorted(slots)]


class Workers:
    """The workers as administrators see and control them. NotAllowed, NotFound, InvalidValue."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime] = utc_now,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """``on_change`` is called after a change that may let tasks begin."""
        self._database = database
        self._clock = clock
        self._on_change = on_change

    async def every(self, actor: Actor) -> list[Worker]:
        """Every worker there ever was, by name."""
        require(actor, Action.SEE_JOBS)
        return await self._database.read(list_workers, self._clock())

    async def get(self, actor: Actor, name: str) -> Worker:
        """One worker."""
        require(actor, Action.SEE_JOBS)
        found = [worker for worker in await self.every(actor) if worker.name == name]
        if not found:
            raise NotFound("there is no such worker")
        return found[0]

    async def set_state(self, actor: Actor, name: str, state: WorkerState) -> Worker:
        """Enables, drains or disables a worker; what it is at it finishes."""
        require(actor, Action.CONTROL_WORKERS)
        await self._database.write(_change, actor, name, self._clock(), {"state": state})
        self._on_change()
        return await self.get(actor, name)

    async def set_concurrency(self, actor: Actor, name: str, concurrency: int | None) -> Worker:
        """How many tasks at once; None for as many as it has threads."""
        require(actor, Action.CONTROL_WORKERS)
        if concurrency is not None and not 1 <= concurrency <= MOST_CONCURRENT:
            raise InvalidValue("concurrency", f"is a number from 1 to {MOST_CONCURRENT}")
        await self._database.write(
            _change, actor, name, self._clock(), {"concurrency": concurrency}
        )
        self._on_change()
        return await self.get(actor, name)

    async def forget(self, actor: Actor, name: str) -> None:
        """Removes the record of a worker that is gone; one that comes back is a new one."""
        require(actor, Action.CONTROL_WORKERS)
        await self._database.write(_forget, actor, name, self._clock())


def list_workers(connection: Connection, now: datetime) -> list[Worker]:
    """Every worker there ever was, by name, with what it is at."""
    shown = (tasks.c.id, tasks.c.job_id, tasks.c.action, tasks.c.moved, tasks.c.worker)
    query = sa.select(*shown, tasks.c.started_at).where(
        tasks.c.state == sa.literal_column("'RUNNING'")
    )
    current: dict[str, list[Current]] = {}
    # Sorted here: a database would go through all tasks ever in their order.
    for row in sorted(connection.execute(query), key=lambda row: int(row.id)):
        since = row.started_at or now
        current.setdefault(row.worker, []).append(
            Current(row.id, row.job_id, row.action, row.moved, since)
        )
    return [
        Worker(
            id=row.id,
            name=row.name,
            engine=row.engine,
            state=WorkerState(row.state),
            capacity=row.capacity,
            concurrency=row.concurrency,
            load=row.load,
            is_present=(now - row.last_seen_at).total_seconds() < GONE_AFTER_S,
            first_seen_at=row.first_seen_at,
            last_seen_at=row.last_seen_at,
            tasks=tuple(current.get(row.name, ())),
        )
        for row in connection.execute(sa.select(workers).order_by(workers.c.name))
    ]


def _change(
    connection: Connection, actor: Actor, name: str, now: datetime, values: dict[str, object]
) -> None:
    changed = connection.execute(workers.update().where(workers.c.name == name).values(**values))
    if not changed.rowcount:
        raise NotFound("there is no such worker")
    detail = {key: str(value) for key, value in values.items()}
    record(connection, actor, "worker.changed", now, None, worker=name, **detail)


def _forget(connection: Connection, actor: Actor, name: str, now: datetime) -> None:
    removed = connection.execute(workers.delete().where(workers.c.name == name))
    if not removed.rowcount:
        raise NotFound("there is no such worker")
    record(connection, actor, "worker.forgotten", now, None, worker=name)
