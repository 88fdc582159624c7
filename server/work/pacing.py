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
from typing import TYPE_CHECKING

import trio

from pixfs.fuse.mountinfo import mount_of
from pixfs.throttle import Limiter, Ticket, format_rate
from pixfs.throttle.limiter import Priority
from server.core.errors import DatabaseError
from server.core.schema import utc_now
from server.core.storages import StorageKind, list_storages
from server.core.throttles import Direction, Throttle, list_throttles
from server.core.values import is_beneath
from server.work.flow import UNPACED

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from server.core.database import Database
    from server.core.storages import Storage
    from server.work import flow
    from server.work.flow import Pacer

__all__ = ["Pacing", "ThrottlePacer"]

log = logging.getLogger(__name__)

_LOOK_S = 1.0
# How soon a batch that waits for bandwidth notices that it is to stop.
_STOP_S = 0.25


class ThrottlePacer:
    """Lets bytes pass all the limiters that apply; the strictest is the one that counts."""

    def __init__(self, limiters: Mapping[str, Collection[Limiter]]) -> None:
        """``limiters`` by direction."""
        self._limiters = limiters
        # One pacer serves one batch, so batches are what share a limit evenly.
        self._flow = object()

    def take(self, direction: flow.Direction, size: int, stop: threading.Event) -> None:
        """Waits until the bytes may go, or ``stop`` is set."""
        for limiter in self._limiters.get(direction, ()):
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


class Pacing:
    """The limiters of all throttles. `run` keeps them; `pacer` may be called from any thread."""

    def __init__(self, database: Database, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._throttles: dict[int, tuple[Throttle, Limiter]] = {}
        # What mounts have been told, by mount point and direction.
        self._told: dict[tuple[str, str], int | None] = {}

    def pacer(self, storage: str, paths: Collection[str]) -> Pacer:
        """A pacer for one batch over these paths of a storage."""
        limiters: dict[str, list[Limiter]] = {"read": [], "write": []}
        with self._lock:
            for throttle, limiter in self._throttles.values():
                if throttle.storage == storage and any(
                    is_beneath(path, throttle.path) for path in paths
                ):
                    limiters[throttle.direction.value].append(limiter)
        if not any(limiters.values()):
            return UNPACED
        return ThrottlePacer(limiters)

    def live(self) -> dict[int, tuple[int | None, int]]:
        """(limit, rate) in bytes a second now, by the throttle's number."""
        with self._lock:
            kept = [(number, limiter) for number, (_, limiter) in self._throttles.items()]
        shown = {number: limiter.snapshot() for number, limiter in kept}
        return {number: (now["limit"], now["rate"] or 0) for number, now in shown.items()}

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keeps the limiters to the tables until it is cancelled."""
        await self.refresh()
        task_status.started()
        while True:
            await trio.sleep(_LOOK_S)
            try:
                await self.refresh()
            except DatabaseError as error:
                log.warning("the throttles cannot be looked at now: %s", error)

    async def refresh(self) -> None:
        """One look at the tables."""
        throttles, storages = await self._database.read(_look)
        now = self._clock()
        with self._lock:
            gone = self._throttles.keys() - {throttle.id for throttle in throttles}
            released = [self._throttles.pop(number)[1] for number in gone]
            for throttle in throttles:
                _, limiter = self._throttles.get(throttle.id, (throttle, None))
                self._throttles[throttle.id] = (throttle, limiter or Limiter())
            kept = list(self._throttles.values())
        for limiter in released:
            # Whoever waits for it waits for nothing any more.
            limiter.limit = None
        for throttle, limiter in kept:
            limit = throttle.limit_at(now)
            if limiter.limit != limit:
                limiter.limit = limit
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


def _look(connection: Connection) -> tuple[list[Throttle], list[Storage]]:
    return list_throttles(connection), list_storages(connection)
