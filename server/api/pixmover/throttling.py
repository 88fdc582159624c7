"""Bandwidth throttling: how fast jobs may read and write below a path, by the clock too."""

from __future__ import annotations

import re
from dataclasses import dataclass

from server.api.contract import Call, Endpoints, Nothing, value
from server.api.pixmover.schemas import Done
from server.core.errors import InvalidValue, NotFound
from server.core.permissions import Action
from server.core.throttles import Direction, Throttle, Window
from server.core.values import FASTEST_BPS

__all__ = ["ENDPOINTS"]

ENDPOINTS = Endpoints("Bandwidth throttling")
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WINDOW = re.compile(
    r"(?P<first>[a-z]{3})(?:-(?P<last>[a-z]{3}))? "
    r"(?P<h1>[0-9]{2}):(?P<m1>[0-5][0-9])-(?P<h2>[0-9]{2}):(?P<m2>[0-5][0-9]) "
    r"(?P<limit>[0-9]{1,15}|unlimited)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThrottleBody:
    """A throttle, and what goes through it now."""

    id: int = value("Its number.", 3)
    storage: str = value("The storage.", "nearline")
    path: str = value('The folder, with everything in it; "" is the whole storage.', "shows/dune")
    direction: Direction = value("Which way, seen from the storage.", Direction.WRITE)
    limit_bps: int | None = value("Bytes a second; 0 pauses, null does not limit.", 100_000_000)
    time_zone: str = value("What the windows' times are of.", "Europe/Paris")
    windows: tuple[str, ...] = value(
        "Parts of the week with a limit of their own.", ("mon-fri 09:00-19:00 20000000",)
    )
    limit_now_bps: int | None = value("The limit of this moment.", 20_000_000)
    rate_bps: int = value("Bytes a second that jobs move through it now.", 19_800_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThrottleList:
    """The throttles there are."""

    throttles: tuple[ThrottleBody, ...] = value("By storage, path and direction.", ())


@dataclass(frozen=True, slots=True, kw_only=True)
class ThrottleForm:
    """A limit on a path."""

    storage: str = value("The storage.", "nearline")
    path: str = value('A folder of it; "" is the whole storage.', "shows/dune", default="")
    direction: Direction = value("Which way, seen from the storage.", Direction.WRITE)
    limit_bps: int | None = value(
        "Bytes a second; 0 pauses, none does not limit.",
        100_000_000,
        default=None,
        least=0,
        most=FASTEST_BPS,
    )
    time_zone: str = value("What the windows' times are of.", "Europe/Paris", default="UTC")
    windows: tuple[str, ...] = value(
        "DAY[-DAY] HH:MM-HH:MM LIMIT; an end at or before the start is on the next day.",
        ("mon-fri 09:00-19:00 20000000",),
        default=(),
    )


@ENDPOINTS.add(
    "GET", "/throttles", needs=Action.CONTROL_THROTTLES, takes=Nothing, gives=ThrottleList
)
async def list_throttles(call: Call, query: Nothing) -> ThrottleList:
    """List the throttles with the rate of this moment."""
    found = await call.core.throttles.list(call.actor)
    return ThrottleList(throttles=tuple(_render(call, throttle) for throttle in found))


@ENDPOINTS.add(
    "PUT",
    "/throttles",
    needs=Action.CONTROL_THROTTLES,
    takes=ThrottleForm,
    gives=ThrottleBody,
    errors=(NotFound,),
)
async def set_throttle(call: Call, form: ThrottleForm) -> ThrottleBody:
    """Limit a path, in place of the throttle it had in this direction; takes effect in a second."""
    made = await call.core.throttles.set(
        call.actor,
        form.storage,
        form.path,
        form.direction,
        form.limit_bps,
        time_zone=form.time_zone,
        windows=[_window(text) for text in form.windows],
    )
    return _render(call, made)


@ENDPOINTS.add(
    "POST",
    "/throttles/{throttle}/remove",
    needs=Action.CONTROL_THROTTLES,
    takes=Nothing,
    gives=Done,
    errors=(NotFound,),
    parameters={"throttle": ("The throttle's number.", "3")},
)
async def remove_throttle(call: Call, form: Nothing) -> Done:
    """Remove a throttle."""
    text = call.path["throttle"]
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidValue("throttle", "a throttle has a number")
    await call.core.throttles.remove(call.actor, int(text))
    return Done()


def _window(text: str) -> Window:
    match = _WINDOW.fullmatch(text.strip().lower())
    if match is None:
        raise InvalidValue("windows", "write mon-fri 09:00-19:00 20000000, or unlimited at its end")
    try:
        first = _DAYS.index(match["first"])
        last = _DAYS.index(match["last"] or match["first"])
    except ValueError:
        raise InvalidValue("windows", f"the days are {', '.join(_DAYS)}") from None
    days = {(first + day) % 7 for day in range((last - first) % 7 + 1)}
    limit = None if match["limit"] == "unlimited" else int(match["limit"])
    return Window(
        frozenset(days),
        int(match["h1"]) * 60 + int(match["m1"]),
        int(match["h2"]) * 60 + int(match["m2"]),
        limit,
    )


def _shown(window: Window) -> str:
    days = sorted(window.days)
    # Days of a window that was made otherwise need not follow one another.
    names = [_DAYS[day] for day in days]
    if len(days) > 1 and days[-1] - days[0] == len(days) - 1:
        names = [f"{_DAYS[days[0]]}-{_DAYS[days[-1]]}"]
    limit = "unlimited" if window.limit_bps is None else str(window.limit_bps)
    start, end = window.start_minute, window.end_minute
    times = f"{start // 60:02d}:{start % 60:02d}-{end // 60:02d}:{end % 60:02d}"
    return f"{','.join(names)} {times} {limit}"


def _render(call: Call, throttle: Throttle) -> ThrottleBody:
    live = call.core.live_rates().get(throttle.id)
    now = throttle.limit_at(call.core.clock())
    return ThrottleBody(
        id=throttle.id,
        storage=throttle.storage,
        path=throttle.path,
        direction=throttle.direction,
        limit_bps=throttle.limit_bps,
        time_zone=throttle.time_zone,
        windows=tuple(_shown(window) for window in throttle.windows),
        limit_now_bps=now,
        rate_bps=0 if live is None else live[1],
    )
