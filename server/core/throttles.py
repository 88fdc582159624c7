"""Throttles: how fast a path may be read or written, now and by the clock.

Here is the model and its arithmetic; pacing the bytes is the limiter's work. Of all throttles
that cover a path the strictest holds. A limit is in bytes a second: None does not limit, 0 pauses.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from server.core.errors import InvalidValue, NotFound
from server.core.events import record
from server.core.permissions import Action, Actor, require
from server.core.schema import utc_now
from server.core.storages import find_storage
from server.core.tables import storages, throttle_windows, throttles
from server.core.values import FASTEST_BPS, check_path, is_beneath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy.engine import Connection

    from server.core.database import Database
    from server.core.schema import AnyRow

__all__ = [
    "Direction",
    "Effective",
    "Throttle",
    "Throttles",
    "Window",
    "effective",
    "list_throttles",
    "look_again_at",
]

_MAX_WINDOWS = 50
_DAY = 24 * 60


class Direction(StrEnum):
    """Which way bytes go, seen from the storage."""

    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class Window:
    """A part of the week with a limit of its own.

    Attributes:
        days: on which it begins, Monday is 0.
        start_minute, end_minute: of the day, by the throttle's zone; an end at or before the
            start is on the next day, so equal minutes last a day.
    """

    days: frozenset[int]
    start_minute: int
    end_minute: int
    limit_bps: int | None

    def holds(self, local: datetime) -> bool:
        """Whether this local time lies in the window."""
        minute = local.hour * 60 + local.minute
        today, yesterday = local.weekday(), (local.weekday() - 1) % 7
        if self.start_minute < self.end_minute:
            return today in self.days and self.start_minute <= minute < self.end_minute
        return (today in self.days and minute >= self.start_minute) or (
            yesterday in self.days and minute < self.end_minute
        )


@dataclass(frozen=True, slots=True)
class Throttle:
    """The limit of one path of a storage in one direction.

    Attributes:
        path: "" is the whole storage; everything beneath it shares the limit.
        limit_bps: outside of every window.
    """

    id: int
    storage: str
    path: str
    direction: Direction
    limit_bps: int | None
    time_zone: str
    windows: tuple[Window, ...]

    def limit_at(self, moment: datetime) -> int | None:
        """The limit at an aware moment; of windows that overlap the strictest holds."""
        local = moment.astimezone(ZoneInfo(self.time_zone))
        held = [window.limit_bps for window in self.windows if window.holds(local)]
        return _strictest(held) if held else self.limit_bps

    def covers(self, storage: str, path: str, direction: Direction) -> bool:
        """Whether the throttle has a say about a checked path."""
        return (
            self.storage == storage and self.direction is direction and is_beneath(path, self.path)
        )


@dataclass(frozen=True, slots=True)
class Effective:
    """The limit that holds, and the throttle it comes from (None when nothing limits)."""

    limit_bps: int | None
    throttle: Throttle | None


def effective(
    every: Iterable[Throttle], storage: str, path: str, direction: Direction, moment: datetime
) -> Effective:
    """The strictest limit on a path at a moment, and which throttle sets it."""
    found = Effective(None, None)
    for throttle in every:
        if not throttle.covers(storage, path, direction):
            continue
        limit = throttle.limit_at(moment)
        if limit is not None and (found.limit_bps is None or limit < found.limit_bps):
            found = Effective(limit, throttle)
    return found


def look_again_at(throttle: Throttle, moment: datetime) -> datetime | None:
    """Until when the limit of this moment surely holds, in UTC; None without windows.

    Never later than the next edge of a window and never more than half an hour away: clocks are
    put forward and back at whole half hours, and a window may begin or end by that.
    """
    if not throttle.windows:
        return None
    half_hour = moment.astimezone(UTC).replace(second=0, microsecond=0)
    half_hour += timedelta(minutes=30 - half_hour.minute % 30)
    local = moment.astimezone(ZoneInfo(throttle.time_zone))
    minute = local.hour * 60 + local.minute
    edges = {m % _DAY for w in throttle.windows for m in (w.start_minute, w.end_minute)}
    ahead = min((edge - minute - 1) % _DAY + 1 for edge in edges)
    edge = moment.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=ahead)
    return min(half_hour, edge)


def _strictest(limits: Iterable[int | None]) -> int | None:
    numbers = [limit for limit in limits if limit is not None]
    return min(numbers) if numbers else None


class Throttles:
    """The throttles of the server. Methods raise NotAllowed, NotFound, InvalidValue."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime] = utc_now,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """``on_change`` is called after each change that limiters should look at."""
        self._database = database
        self._clock = clock
        self._on_change = on_change

    async def list(self, actor: Actor) -> list[Throttle]:
        """All throttles by storage, path and direction."""
        require(actor, Action.CONTROL_THROTTLES)
        return await self._database.read(list_throttles)

    async def set(
        self,
        actor: Actor,
        storage: str,
        path: str,
        direction: Direction,
        limit_bps: int | None,
        *,
        time_zone: str = "UTC",
        windows: Iterable[Window] = (),
    ) -> Throttle:
        """Limit a path, in place of the throttle it had in this direction."""
        require(actor, Action.CONTROL_THROTTLES)
        checked = tuple(windows)
        _check(limit_bps, time_zone, checked)
        made = await self._database.write(
            _set, actor, storage, check_path("path", path), direction, limit_bps, time_zone,
            checked, self._clock(),
        )  # fmt: skip
        self._on_change()
        return made

    async def remove(self, actor: Actor, number: int) -> None:
        """Remove a throttle."""
        require(actor, Action.CONTROL_THROTTLES)
        await self._database.write(_remove, actor, number, self._clock())
        self._on_change()


def _check(limit_bps: int | None, time_zone: str, windows: tuple[Window, ...]) -> None:
    try:
        ZoneInfo(time_zone)
    except (KeyError, ValueError, OSError):
        raise InvalidValue("time_zone", "give an IANA name, such as Europe/Paris") from None
    if len(windows) > _MAX_WINDOWS:
        raise InvalidValue("windows", f"at most {_MAX_WINDOWS} windows")
    for window in windows:
        if not window.days or not window.days <= set(range(7)):
            raise InvalidValue("windows", "days are 0 (Monday) to 6 (Sunday), at least one")
        if not (0 <= window.start_minute < _DAY and 0 <= window.end_minute <= _DAY):
            raise InvalidValue("windows", "times are minutes of the day, 0 to 1440")
    limits = [("limit_bps", limit_bps), *(("windows", each.limit_bps) for each in windows)]
    for field, limit in limits:
        if limit is not None and not 0 <= limit <= FASTEST_BPS:
            raise InvalidValue(field, f"bytes a second, 0 (to pause) to {FASTEST_BPS}")


def list_throttles(connection: Connection) -> list[Throttle]:
    """Every throttle with its windows."""
    windows: dict[int, list[Window]] = {}
    for row in connection.execute(sa.select(throttle_windows).order_by(throttle_windows.c.id)):
        windows.setdefault(row.throttle_id, []).append(
            Window(
                frozenset(day for day in range(7) if row.days >> day & 1),
                row.start_minute,
                row.end_minute,
                row.limit_bps,
            )
        )
    query = (
        sa.select(throttles, storages.c.name.label("storage"))
        .join(storages, storages.c.id == throttles.c.storage_id)
        .order_by(storages.c.name, throttles.c.path, throttles.c.direction)
    )
    return [_throttle(row, windows.get(row.id, ())) for row in connection.execute(query)]


def _throttle(row: AnyRow, windows: Iterable[Window]) -> Throttle:
    return Throttle(
        id=row.id,
        storage=row.storage,
        path=row.path,
        direction=Direction(row.direction),
        limit_bps=row.limit_bps,
        time_zone=row.time_zone,
        windows=tuple(windows),
    )


def _set(
    connection: Connection,
    actor: Actor,
    storage: str,
    path: str,
    direction: Direction,
    limit_bps: int | None,
    time_zone: str,
    windows: tuple[Window, ...],
    now: datetime,
) -> Throttle:
    storage_id = find_storage(connection, storage).id
    number = _put(
        connection,
        {"storage_id": storage_id, "path": path, "direction": direction.value},
        {"limit_bps": limit_bps, "time_zone": time_zone},
    )
    for window in windows:
        connection.execute(
            throttle_windows.insert().values(
                throttle_id=number,
                days=sum(1 << day for day in window.days),
                start_minute=window.start_minute,
                end_minute=window.end_minute,
                limit_bps=window.limit_bps,
            )
        )
    record(
        connection, actor, "throttle.set", now, number,
        storage=storage, path=path, direction=direction.value, limit_bps=limit_bps,
        windows=len(windows),
    )  # fmt: skip
    return next(found for found in list_throttles(connection) if found.id == number)


def _put(connection: Connection, of: dict[str, Any], values: dict[str, Any]) -> int:
    """The number of the throttle of this path and direction, which has these values and no
    windows now.

    One that is changed keeps its number: who moves bytes below it goes on with its share.
    """
    number = connection.execute(sa.select(throttles.c.id).filter_by(**of)).scalar()
    if number is None:
        result = connection.execute(throttles.insert().values(of | values))
        assert result.inserted_primary_key is not None
        return int(result.inserted_primary_key[0])
    connection.execute(throttles.update().where(throttles.c.id == number).values(values))
    connection.execute(throttle_windows.delete().where(throttle_windows.c.throttle_id == number))
    return int(number)


def _remove(connection: Connection, actor: Actor, number: int, now: datetime) -> None:
    if not connection.execute(throttles.delete().where(throttles.c.id == number)).rowcount:
        raise NotFound("there is no such throttle")
    record(connection, actor, "throttle.removed", now, number)
