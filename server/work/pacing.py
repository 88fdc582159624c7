"""The throttles at work: every byte of a job passes the limiters of the paths it is for.

The limits are the tables'; here they are looked up again and again, so that a change and the
edges of a schedule take effect within a second, also on batches under way. A throttle of a whole
PixFS mount is told to the mount, too, which then holds everybody to it; bytes of a job that go
through such a mount pass both.
"""

from __future__ import annotations

import logging
import math
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from pixfs.fuse.mountinfo import mount_of
from pixfs.throttle import Limiter, Ticket, format_rate
from pixfs.throttle.limiter import Priority
from server.core.errors import DatabaseError
from server.core.jobs.queries import open_among
from server.core.schema import utc_now
from server.core.storages import StorageKind, list_storages
from server.core.throttles import Direction, Throttle, list_throttles
from server.core.values import is_beneath
from server.work.shares import Demand, Shares

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from server.core.database import Database
    from server.core.storages import Storage
    from server.work import flow
    from server.work.flow import Pacer

__all__ = ["JobLimit", "Pacing", "ThrottlePacer", "demand_of"]

log = logging.getLogger(__name__)

_LOOK_S = 1.0
# What this process is called among those that share the limits.
_HERE = "server"
# How soon a batch that waits for bandwidth notices that it is to stop.
_STOP_S = 0.25


class ThrottlePacer:
    """Lets bytes pass all the limiters that apply; the strictest is the one that counts."""

    def __init__(self, limiters: Mapping[str, Mapping[str, Limiter]]) -> None:
        """``limiters`` by direction and name."""
        self._limiters = limiters
        # One pacer serves one batch, so batches are what share a limit evenly.
        self._flow = object()

    @property
    def limits(self) -> flow.Limits:
        """The names of its limits, by direction."""
        return {direction: tuple(named) for direction, named in self._limiters.items() if named}

    def follow(self, limiters: Mapping[str, Mapping[str, Limiter]]) -> None:
        """From the next bytes on these apply, in place of those before; from any thread."""
        self._limiters = limiters

    def take(self, direction: flow.Direction, size: int, stop: threading.Event) -> None:
        """Waits until the bytes may go, or ``stop`` is set."""
        for limiter in self._limiters.get(direction, {}).values():
            left = size
            while left > 0 and not stop.is_set():
                piece = max(1, limiter.piece(left))
                self._pass(limiter, piece, stop)
                left -= piece

    def _pass(self, limiter: Limiter, size: int, stop: threading.Event) -> None:
        if limiter.try_acquire(self._flow, size):
            return
        woken = threading.Event()
        ticket = Ticket(self._flow, size, Priority.REQUEST, woken.set)
        limiter.enter(ticket)
        try:
            while not stop.is_set():
                # Cleared before looking, so that no waking in between is lost.
                woken.clear()
                wait_s = limiter.dispatch(ticket)
                if ticket.granted:
                    return
                woken.wait(min(wait_s, _STOP_S))
        except BaseException:
            limiter.withdraw(ticket)
            raise
        limiter.withdraw(ticket)


class _FollowingPacer(ThrottlePacer):
    """Passes the limiters there are at the moment."""

    def __init__(
        self, pacing: Pacing, storage: str, paths: frozenset[str], job: JobLimit | None
    ) -> None:
        self._of = (storage, paths, job)
        self._pacing = pacing
        self._version = pacing.version
        super().__init__(pacing.limiters(*self._of))

    @property
    def limits(self) -> flow.Limits:
        """The names of the limits there are now, by direction."""
        self._catch_up()
        return super().limits

    def take(self, direction: flow.Direction, size: int, stop: threading.Event) -> None:
        """Waits until the bytes may go, or ``stop`` is set."""
        self._catch_up()
        super().take(direction, size, stop)

    def _catch_up(self) -> None:
        version = self._pacing.version
        if self._version != version:
            self.follow(self._pacing.limiters(*self._of))
            self._version = version


@dataclass(frozen=True, slots=True)
class JobLimit:
    """A job's own limit in bytes a second, over all that works on it together."""

    job_id: int
    limit_bps: int
    direction: flow.Direction

    @property
    def name(self) -> str:
        """What its limit is called."""
        return f"job-{self.job_id}"


class Pacing:
    """The limiters of all throttles, and of jobs with a limit of their own.

    `run` keeps them; `pacer` and `live` may be called from any thread.

    Attributes:
        shares: what of each limit is ours, and what other processes' (`server.work.shares`).
        version: another one whenever batches may have other limits to pass.
    """

    def __init__(self, database: Database, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self.shares = Shares()
        # Counts the times that throttles came or went.
        self.version = 0
        self._woken = trio.Event()
        self._throttles: dict[int, tuple[Throttle, Limiter]] = {}
        self._jobs: dict[int, tuple[JobLimit, Limiter]] = {}
        self._limits: dict[str, int | None] = {}
        # What mounts have been told, by mount point and direction.
        self._told: dict[tuple[str, str], int | None] = {}

    def pacer(self, storage: str, paths: Collection[str], job: JobLimit | None = None) -> Pacer:
        """A pacer for one batch over these paths of a storage; it follows throttles that are
        set while the batch is under way."""
        if job is not None:
            with self._lock:
                # All batches of a job share one, so that more of them are not faster.
                self._jobs.setdefault(job.job_id, (job, Limiter(job.limit_bps)))
                self._limits[job.name] = job.limit_bps
                self.shares.set_limits(self._limits)
        return _FollowingPacer(self, storage, frozenset(paths), job)

    def limiters(
        self, storage: str, paths: Collection[str], job: JobLimit | None
    ) -> dict[str, dict[str, Limiter]]:
        """What such a batch passes now, by direction and name."""
        found: dict[str, dict[str, Limiter]] = {"read": {}, "write": {}}
        with self._lock:
            for throttle, limiter in self._throttles.values():
                if throttle.storage == storage and any(
                    is_beneath(path, throttle.path) for path in paths
                ):
                    found[throttle.direction.value][_name(throttle)] = limiter
            if job is not None and job.job_id in self._jobs:
                found[job.direction][job.name] = self._jobs[job.job_id][1]
        return found

    def wake(self) -> None:
        """The throttles were changed; from the trio thread."""
        self._woken.set()

    def live(self) -> dict[int, tuple[int | None, int]]:
        """(limit, rate) in bytes a second now, by the throttle's number; of all processes."""
        elsewhere = self.shares.rates()
        with self._lock:
            limits = {
                number: (self._limits.get(_name(throttle)), elsewhere.get(_name(throttle)), limiter)
                for number, (throttle, limiter) in self._throttles.items()
            }
        return {
            number: (limit, limiter.snapshot()["rate"] or 0 if rate is None else rate)
            for number, (limit, rate, limiter) in limits.items()
        }

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keeps the limiters to the tables until it is cancelled."""
        await self.refresh()
        task_status.started()
        while True:
            with trio.move_on_after(_LOOK_S):
                await self._woken.wait()
            self._woken = trio.Event()
            try:
                await self.refresh()
            except DatabaseError as error:
                log.warning("the throttles cannot be looked at now: %s", error)

    async def refresh(self) -> None:
        """One look at the tables."""
        with self._lock:
            limited = list(self._jobs)
        throttles, storages, still_open = await self._database.read(_look, limited)
        now = self._clock()
        with self._lock:
            present = {throttle.id for throttle in throttles}
            gone = self._throttles.keys() - present
            if present != self._throttles.keys():
                self.version += 1
            released = [self._throttles.pop(number)[1] for number in gone]
            for number in set(limited) - still_open:
                del self._jobs[number]
            for throttle in throttles:
                _, limiter = self._throttles.get(throttle.id, (throttle, None))
                # One that is new lets nothing through until it is known what is ours of it.
                self._throttles[throttle.id] = (throttle, limiter or Limiter(0))
            self._limits = {_name(each): each.limit_at(now) for each in throttles}
            self._limits |= {job.name: job.limit_bps for job, _ in self._jobs.values()}
            self.shares.set_limits(self._limits)
            kept = {_name(throttle): limiter for throttle, limiter in self._throttles.values()}
            kept |= {job.name: limiter for job, limiter in self._jobs.values()}
        for limiter in released:
            # Whoever waits for it waits for nothing any more.
            limiter.limit = None
        demands = {name: demand_of(limiter) for name, limiter in kept.items()}
        for name, share in self.shares.exchange(_HERE, demands).items():
            if kept[name].limit != share:
                kept[name].limit = share
        await trio.to_thread.run_sync(self._tell_mounts, throttles, storages, now)

    def _tell_mounts(
        self, throttles: list[Throttle], storages: list[Storage], now: datetime
    ) -> None:
        """Sets the limits of mounts of which a storage is the whole."""
        for storage in storages:
            if storage.kind is not StorageKind.PIXFS:
                continue
            mount = mount_of(os.path.realpath(storage.root))
            if mount is None or not mount.is_pixfs or mount.mountpoint != storage.root:
                continue
            for direction in Direction:
                limits = [
                    throttle.limit_at(now)
                    for throttle in throttles
                    if throttle.covers(storage.name, "", direction)
                ]
                known = [limit for limit in limits if limit is not None]
                self._tell(mount.mountpoint, direction, min(known, default=None))

    def _tell(self, mountpoint: str, direction: Direction, limit: int | None) -> None:
        key = (mountpoint, direction.value)
        if limit is None and self._told.get(key) is None:
            # No throttle of ours: the mount's own limit is somebody else's business.
            return
        text = format_rate(limit)
        name = f"user.pixfs.throttle.{direction.value}"
        try:
            if os.getxattr(mountpoint, name).decode() != text or self._told.get(key) != limit:
                os.setxattr(mountpoint, name, text.encode())
            self._told[key] = limit
        except OSError as error:
            if self._told.get(key, -math.inf) != limit:
                log.warning("a mount does not take its limit: %s", error.strerror)
            self._told[key] = limit


def _name(throttle: Throttle) -> str:
    return f"throttle-{throttle.id}"


def demand_of(limiter: Limiter) -> Demand:
    """What is wanted of a limiter now."""
    shown = limiter.snapshot()
    return Demand(shown["rate"] or 0, bool(shown["waiting"]))


def _look(
    connection: Connection, limited: list[int]
) -> tuple[list[Throttle], list[Storage], set[int]]:
    """The throttles, the storages, and which of these jobs have not ended."""
    still_open = open_among(connection, limited)
    return list_throttles(connection), list_storages(connection), still_open
