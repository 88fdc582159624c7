"""A job desk for tests: a database with storages, the jobs on it, and an engine at work."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import trio

from server.core.jobs import Job, JobKind, JobRequest, Jobs, Workers
from server.core.permissions import SYSTEM
from server.core.storages import StorageKind, Storages
from server.work.dispatcher import Dispatcher, Timing
from server.work.engine import Engine, ThreadEngine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from server.core.database import Database

TIMING = Timing(beat_s=0.02)
# Long, because the machine may be busy; who waits this long waits for something that never comes.
PATIENCE_S = 120


class Clock:
    """The real time, and what a test has put on top of it."""

    def __init__(self) -> None:
        self._ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def advance(self, seconds: float) -> None:
        self._ahead += timedelta(seconds=seconds)


@dataclass
class Desk:
    """Jobs over two plain directories, "one" and "two", below ``base``."""

    database: Database
    base: Path
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.dispatcher: Dispatcher | None = None
        self.jobs = Jobs(self.database, self.clock, self._changed)
        self.workers = Workers(self.database, self.clock, self._changed)
        self.storages = Storages(self.database, self.clock)
        self.one = self.base / "one"
        self.two = self.base / "two"

    def _changed(self) -> None:
        if self.dispatcher is not None:
            self.dispatcher.wake()

    async def set_up(self) -> None:
        """Makes the directories and the storages."""
        for path in (self.one, self.two):
            path.mkdir()
            await self.storages.add(SYSTEM, path.name, StorageKind.DIRECTORY, str(path))

    async def submit(self, kind: str, *sources: str, **options: Any) -> Job:  # noqa: ANN401
        """A job from "one" to "two", or in "one"."""
        options = {"quiet_s": 0.0} | options
        if kind in ("copy", "move"):
            options = {"target": "two"} | options
        request = JobRequest(JobKind(kind), options.pop("source", "one"), sources, **options)
        return await self.jobs.submit(SYSTEM, request)

    async def get(self, job: Job) -> Job:
        return await self.jobs.get(SYSTEM, job.id)

    async def until(self, job: Job, *states: str) -> Job:
        """Waits until the job is in one of these states; any final one by default."""
        with trio.fail_after(PATIENCE_S):
            while True:
                found = await self.get(job)
                if found.state in states or (not states and found.state.is_final):
                    return found
                await trio.sleep(0.01)

    async def until_true(self, is_true: Callable[[], Awaitable[object]]) -> None:
        """Waits until something holds that only asking tells."""
        with trio.fail_after(PATIENCE_S):
            while not await is_true():  # noqa: ASYNC110 - the database tells nobody
                await trio.sleep(0.01)

    @asynccontextmanager
    async def working(
        self, engine: Engine | None = None, timing: Timing = TIMING
    ) -> AsyncIterator[Dispatcher]:
        """An engine at work for the length of the block."""
        dispatcher = Dispatcher(
            self.database, engine or ThreadEngine(3), timing=timing, clock=self.clock
        )
        self.dispatcher = dispatcher
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(dispatcher.run)
                yield dispatcher
                nursery.cancel_scope.cancel()
        finally:
            self.dispatcher = None
