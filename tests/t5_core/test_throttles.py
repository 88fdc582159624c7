"""Throttles: which limit holds when, also when clocks are put forward and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.core import Core, errors
from server.core.passwords import HashCost
from server.core.permissions import SYSTEM
from server.core.sealing import Sealer
from server.core.storages import StorageKind
from server.core.throttles import (
    Direction,
    Effective,
    Throttle,
    Window,
    effective,
    look_again_at,
)

if TYPE_CHECKING:
    from pathlib import Path

    from server.core.database import Database

WEEKDAYS = frozenset(range(5))
EVERY_DAY = frozenset(range(7))
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)


def throttle(
    *windows: Window,
    path: str = "",
    limit_bps: int | None = 100,
    zone: str = "UTC",
    number: int = 1,
    direction: Direction = Direction.READ,
) -> Throttle:
    return Throttle(number, "near", path, direction, limit_bps, zone, windows)


@pytest.mark.parametrize(
    ("hours", "limit"),
    [(8.99, 100), (9, 10), (17.99, 10), (18, 100), (5 * 24 + 12, 100), (4 * 24 + 12, 10)],
)
def test_a_window_holds_from_its_start_to_its_end(hours: float, limit: int) -> None:
    office = throttle(Window(WEEKDAYS, 9 * 60, 18 * 60, 10))
    assert office.limit_at(MONDAY + timedelta(hours=hours)) == limit


@pytest.mark.parametrize(
    ("hours", "limit"), [(21, 100), (22, 0), (24 + 5, 0), (24 + 6, 100), (24 + 23, 100), (5, 100)]
)
def test_a_window_over_midnight_belongs_to_the_day_it_begins_on(hours: int, limit: int) -> None:
    night = throttle(Window(frozenset({0}), 22 * 60, 6 * 60, 0))
    assert night.limit_at(MONDAY + timedelta(hours=hours)) == limit


def test_equal_minutes_last_a_day() -> None:
    day = throttle(Window(frozenset({0}), 12 * 60, 12 * 60, 5))
    hours = [h for h in range(72) if day.limit_at(MONDAY + timedelta(hours=h)) == 5]
    assert hours == list(range(12, 36))


def test_of_overlapping_windows_the_strictest_holds() -> None:
    both = throttle(Window(EVERY_DAY, 0, 1440, None), Window(EVERY_DAY, 0, 720, 7))
    assert both.limit_at(MONDAY) == 7
    assert both.limit_at(MONDAY + timedelta(hours=13)) is None


def test_windows_follow_the_local_clock() -> None:
    """Nine in Paris is eight in UTC in winter and seven in summer."""
    office = throttle(Window(EVERY_DAY, 9 * 60, 18 * 60, 10), zone="Europe/Paris")
    winter, summer = datetime(2026, 3, 2, 8, tzinfo=UTC), datetime(2026, 7, 6, 7, tzinfo=UTC)
    for start in (winter, summer):
        assert office.limit_at(start) == 10
        assert office.limit_at(start - timedelta(minutes=1)) == 100


def test_the_strictest_throttle_on_the_path_holds_and_is_named() -> None:
    every = [
        throttle(number=1, limit_bps=100),
        throttle(number=2, path="dune", limit_bps=20),
        throttle(number=3, path="dune/sh010", limit_bps=50),
        throttle(number=4, path="dune", limit_bps=1, direction=Direction.WRITE),
        throttle(number=5, path="dun", limit_bps=0),
        throttle(number=6, path="dune", limit_bps=None),
    ]

    def limit(storage: str, path: str) -> tuple[int | None, int | None]:
        found = effective(every, storage, path, Direction.READ, MONDAY)
        return found.limit_bps, found.throttle.id if found.throttle else None

    assert limit("near", "dune/sh010/bg.1001.dpx") == (20, 2)
    assert limit("near", "alien") == (100, 1)
    assert limit("far", "dune") == (None, None)
    assert effective([], "near", "", Direction.READ, MONDAY) == Effective(None, None)


windows = st.builds(
    Window,
    days=st.frozensets(st.integers(0, 6), min_size=1),
    start_minute=st.integers(0, 1439),
    end_minute=st.integers(0, 1440),
    limit_bps=st.none() | st.integers(0, 3),
)
moments = st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31), timezones=st.just(UTC))
zones = st.sampled_from(["UTC", "Europe/Paris", "Australia/Lord_Howe", "America/St_Johns"])


@given(st.lists(windows, min_size=1, max_size=3), moments, zones)
@example(
    [Window(EVERY_DAY, 150, 180, 1)], datetime(2026, 10, 25, 0, 40, tzinfo=UTC), "Europe/Paris"
)
@example([Window(EVERY_DAY, 150, 180, 1)], datetime(2026, 3, 29, 0, 59, tzinfo=UTC), "Europe/Paris")
def test_a_limit_holds_until_it_is_looked_at_again(
    many: list[Window], moment: datetime, zone: str
) -> None:
    limited = throttle(*many, zone=zone)
    again = look_again_at(limited, moment)
    assert again is not None
    assert moment < again <= moment + timedelta(minutes=30)
    now = limited.limit_at(moment)
    minute = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
    while minute < again:
        assert limited.limit_at(minute) == now, minute.astimezone(ZoneInfo(zone))
        minute += timedelta(minutes=1)


def test_without_windows_there_is_nothing_to_look_at_again() -> None:
    assert look_again_at(throttle(), MONDAY) is None


async def test_throttles_are_kept_replaced_and_removed(database: Database, tmp_path: Path) -> None:
    core = Core(database, Sealer.from_file(tmp_path / "key"), hash_cost=HashCost(64, 1, 1))
    await core.storages.add(SYSTEM, "near", StorageKind.DIRECTORY, str(tmp_path))
    office = Window(WEEKDAYS, 540, 1080, 0)
    first = await core.throttles.set(SYSTEM, "near", "/dune/", Direction.READ, 1 << 30)
    second = await core.throttles.set(
        SYSTEM, "near", "dune", Direction.READ, None, time_zone="Europe/Paris", windows=[office]
    )
    other = await core.throttles.set(SYSTEM, "near", "dune", Direction.WRITE, 0)
    assert second.id == first.id
    assert (second.path, second.windows) == ("dune", (office,))
    assert await core.throttles.list(SYSTEM) == [second, other]
    await core.throttles.remove(SYSTEM, other.id)
    with pytest.raises(errors.NotFound):
        await core.throttles.remove(SYSTEM, other.id)
    await core.storages.remove(SYSTEM, "near")
    assert await core.throttles.list(SYSTEM) == []


@pytest.mark.parametrize(
    ("limit", "zone", "window"),
    [
        (-1, "UTC", None),
        (1 << 60, "UTC", None),
        (1, "Mars/Olympus", None),
        (1, "../../etc/passwd", None),
        (1, "", None),
        (1, "UTC", Window(frozenset(), 0, 60, 1)),
        (1, "UTC", Window(frozenset({7}), 0, 60, 1)),
        (1, "UTC", Window(EVERY_DAY, 1440, 60, 1)),
        (1, "UTC", Window(EVERY_DAY, 0, 1441, 1)),
        (1, "UTC", Window(EVERY_DAY, 0, 60, -1)),
    ],
)
async def test_a_throttle_that_means_nothing_is_refused(
    database: Database, tmp_path: Path, limit: int, zone: str, window: Window | None
) -> None:
    core = Core(database, Sealer.from_file(tmp_path / "key"), hash_cost=HashCost(64, 1, 1))
    await core.storages.add(SYSTEM, "near", StorageKind.DIRECTORY, str(tmp_path))
    with pytest.raises(errors.InvalidValue):
        await core.throttles.set(
            SYSTEM,
            "near",
            "",
            Direction.READ,
            limit,
            time_zone=zone,
            windows=[window] if window else [],
        )
    assert await core.throttles.list(SYSTEM) == []
