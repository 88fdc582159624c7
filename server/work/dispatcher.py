"""Between the job tables and an engine: gives tasks out, brings results back, keeps leases alive.

One dispatcher serves one database. It holds nothing that is not in the tables, apart from what
the engine is running: killed at any moment, its successor takes everything back and goes on.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

import sqlalchemy as sa
import trio

from server.core.access import Access, access_of
from server.core.errors import CoreError, DatabaseError
from server.core.jobs import leases, planning, workers
from server.core.jobs.leases import Report
from server.core.jobs.tidying import TIDYING
from server.core.schema import utc_now
from server.core.tables import s3_endpoints, storages
from server.work.batch import StorageSpec
from server.work.engine import Result
from server.work.flow import UNPACED
from server.work.pacing import JobLimit
from server.work.run import Assignment

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from server.core.access import Reach
    from server.core.database import Database
    from server.core.jobs.leases import FileResult, Lease
    from server.work.engine import Engine
    from server.work.flow import Direction, Pacer

__all__ = ["Dispatcher", "Timing"]

log = logging.getLogger(__name__)

# How often the workers' records are refreshed while nothing runs.
_IDLE_BEAT_S = 10.0
_EVERYTHING = Access(everything=True, paths={})


@dataclass(frozen=True, slots=True)
class Timing:
    """How the dispatcher goes about it, in seconds.

    Attributes:
        beat_s: between two looks at what runs; pause and cancel reach a batch within it.
        lease_s: after so long without a beat a task is given to somebody else.
        slice_s: how long a batch begins new files.
    """

    beat_s: float = 1.0
    lease_s: float = 30.0
    slice_s: float = 2.0


def _unpaced(storage: str, paths: Collection[str], job: JobLimit | None) -> Pacer:
    return UNPACED


class Dispatcher:
    """Runs as a task of its own nursery; `wake` and `Engine` callbacks come from any thread."""

    def __init__(
        self,
        database: Database,
        engine: Engine,
        *,
        s3_settings: Callable[[str], Awaitable[Mapping[str, object]]] | None = None,
        pacers: Callable[[str, Collection[str], JobLimit | None], Pacer] = _unpaced,
        timing: Timing | None = None,
        clock: Callable[[], datetime] = utc_now,
        on_ended: Callable[[], None] = lambda: None,
        on_counted: Callable[[str, Sequence[FileResult]], None] = lambda action, results: None,
    ) -> None:
        """``s3_settings`` gives a bucket's keys by the name of its endpoint, ``pacers`` the limits
        of some paths of a storage; ``on_ended`` is called when jobs may have ended, ``on_counted``
        with the action and results of each batch once they are in the tables."""
        self._database = database
        self._engine = engine
        self._s3_settings = s3_settings
        self._pacers = pacers
        self._timing = timing or Timing()
        self._clock = clock
        self._on_ended = on_ended
        self._on_counted = on_counted
        self._wake = trio.Event()
        # Since the start; it only decides whose turn it is.
        self._given_out = 0
        self._send, self._receive = trio.open_memory_channel[Result](math.inf)
        self._token: trio.lowlevel.TrioToken | None = None

    def wake(self) -> None:
        """Something may be done or undone now; from the trio thread."""
        self._wake.set()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Works until it is cancelled; what runs is then told to stop, and waited for."""
        self._token = trio.lowlevel.current_trio_token()
        await self._database.write(leases.reclaim, None)
        self._engine.start(self._done)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._dispatch)
                nursery.start_soon(self._bring_back)
                nursery.start_soon(self._beat)
                task_status.started()
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._engine.close)
                await self._bring_back_rest()

    def _done(self, result: Result) -> None:
        """In a thread of the engine."""
        assert self._token is not None
        try:
            self._token.run_sync_soon(self._send.send_nowait, result)
        except trio.RunFinishedError:
            log.info("a result came after the end; its task will be done again")

    async def _dispatch(self) -> None:
        while True:
            self._wake = trio.Event()
            try:
                while await self._give_out():
                    pass
            except DatabaseError as error:
                log.warning("no task can be given out now: %s", error)
            with trio.move_on_after(self._timing.beat_s):
                await self._wake.wait()

    async def _give_out(self) -> int:
        """Gives out as many tasks as workers have room for; how many."""
        # Most looks find nothing; only one that does waits for the disk.
        if not await self._database.read(leases.is_any_ready, self._clock()):
            return 0
        seen = await trio.to_thread.run_sync(self._engine.seen)
        given, rows, reaches = await self._database.write(
            _lease,
            seen,
            self._clock(),
            timedelta(seconds=self._timing.lease_s),
            self._given_out,
        )
        self._given_out += len(given)
        for lease in given:
            try:
                assignment = await self._assignment(lease, rows, reaches[lease.owner_id])
            except CoreError as error:
                await self._record(Result(lease.token, Report((), "storage", str(error))))
                continue
            await trio.to_thread.run_sync(self._engine.submit, lease.worker, assignment)
        return len(given)

    async def _assignment(
        self, lease: Lease, rows: Mapping[int, _StorageRow], access: Access
    ) -> Assignment:
        source_id, target_id = lease.source_id, lease.target_id
        if lease.action in TIDYING:
            # The server's own tidying, of what only it has made.
            access = _EVERYTHING
        return Assignment(
            token=lease.token,
            task_id=lease.task_id,
            job_id=lease.job_id,
            kind=lease.kind,
            action=lease.action,
            attempt=lease.attempt,
            lost=lease.lost,
            files=lease.files,
            source=await self._spec(rows[source_id], access.reach(source_id)),
            target=None
            if target_id is None
            else await self._spec(rows[target_id], access.reach(target_id)),
            spec=lease.spec,
            folders=lease.folders,
            announced=lease.announced,
            valid_s=self._timing.lease_s,
            slice_s=self._timing.slice_s,
            began_ns=int(lease.began_at.timestamp() * 1e9),
            cleared_task=int(lease.looked[0]) if lease.action == "clear" else 0,
            pacers=self._pacers_of(lease, rows),
        )

    def _pacers_of(self, lease: Lease, rows: Mapping[int, _StorageRow]) -> tuple[Pacer, Pacer]:
        """Of source and target. A job's own limit holds where its bytes arrive, or, where they
        arrive nowhere, where they are read."""
        source = rows[lease.source_id].name, {file.path for file in lease.files}
        limit_bps: int | None = lease.spec.get("limit_bps")
        job = None
        if limit_bps is not None and lease.files:
            direction: Direction = "read" if lease.target_id is None else "write"
            job = JobLimit(lease.job_id, limit_bps, direction)
        if lease.target_id is None:
            return self._pacers(*source, job), UNPACED
        target = rows[lease.target_id].name, {file.target for file in lease.files}
        return self._pacers(*source, None), self._pacers(*target, job)

    async def _spec(self, row: _StorageRow, reach: Reach | None) -> StorageSpec:
        if row.kind != "s3":
            kind: Literal["pixfs", "directory"] = "pixfs" if row.kind == "pixfs" else "directory"
            return StorageSpec(kind, row.root, reach=reach)
        settings: Mapping[str, object] = {}
        if self._s3_settings is not None:
            settings = await self._s3_settings(row.endpoint)
        return StorageSpec("s3", f"s3://{row.root}", dict(settings))

    async def _bring_back(self) -> None:
        async for result in self._receive:
            with trio.CancelScope(shield=True):
                await self._record(result)
            self._wake.set()
            self._on_ended()

    async def _bring_back_rest(self) -> None:
        """What the engine finished while it was closed."""
        await trio.lowlevel.checkpoint()
        while True:
            try:
                result = self._receive.receive_nowait()
            except trio.WouldBlock:
                return
            await self._record(result)

    async def _record(self, result: Result) -> None:
        now = self._clock()
        while True:
            try:
                action = await self._database.write(_bring, result, now)
                if action:
                    self._on_counted(action, result.report.results)
            except DatabaseError as error:
                # The work is done and must not be done again only because of this.
                log.warning("a result cannot be kept yet: %s", error)
                await trio.sleep(self._timing.beat_s)
                continue
            except Exception:
                # The task's lease runs out, and it is done again.
                log.exception("a result could not be kept")
            return

    async def _beat(self) -> None:
        valid = timedelta(seconds=self._timing.lease_s)
        last = -math.inf
        while True:
            moved = self._engine.moved()
            idle_s = trio.current_time() - last
            if not moved and idle_s < _IDLE_BEAT_S:
                await trio.sleep(self._timing.beat_s)
                continue
            last = trio.current_time()
            try:
                seen = await trio.to_thread.run_sync(self._engine.seen)
                stopping = await self._database.write(_beat, moved, seen, self._clock(), valid)
                self._engine.stop(stopping)
                self._engine.extend(self._timing.lease_s)
            except DatabaseError as error:
                log.warning("the leases cannot be kept alive now: %s", error)
            await trio.sleep(self._timing.beat_s)


@dataclass(frozen=True, slots=True)
class _StorageRow:
    name: str
    kind: str
    root: str
    endpoint: str


def _lease(
    connection: Connection,
    seen: list[workers.Seen],
    now: datetime,
    valid: timedelta,
    given_out: int,
) -> tuple[list[Lease], dict[int, _StorageRow], dict[int | None, Access]]:
    """What is given out, the storages there are, and what each job's owner may reach now."""
    workers.note_seen(connection, seen, now)
    slots = workers.free_slots(connection, seen)
    given = leases.lease(connection, slots, now, valid, given_out)
    if not given:
        return [], {}, {}
    query = sa.select(storages, s3_endpoints.c.name.label("endpoint")).join(
        s3_endpoints, s3_endpoints.c.id == storages.c.endpoint_id, isouter=True
    )
    rows = {
        row.id: _StorageRow(row.name, row.kind, row.root, row.endpoint or "")
        for row in connection.execute(query)
    }
    owners = {lease.owner_id for lease in given}
    reaches = {
        owner: _EVERYTHING if owner is None else access_of(connection, owner) for owner in owners
    }
    return given, rows, reaches


def _bring(connection: Connection, result: Result, now: datetime) -> str:
    """Notes what came of an assignment; its action, "" when it did not count."""
    action = leases.action_of(connection, result.token)
    if result.looked is not None:
        counted = planning.record_plan(connection, result.token, result.looked, now)
    elif result.refusal:
        counted = planning.fail_plan(connection, result.token, result.refusal, now)
    else:
        counted = leases.report(connection, result.token, result.report, now)
    if not counted:
        log.info("a result came too late; its task was given to somebody else")
    return action if counted else ""


def _beat(
    connection: Connection,
    moved: dict[str, int],
    seen: list[workers.Seen],
    now: datetime,
    valid: timedelta,
) -> set[str]:
    workers.note_seen(connection, seen, now)
    stopping = leases.heartbeat(connection, moved, now, valid)
    leases.reclaim(connection, now)
    return stopping
