"""The audit trail, for administrators."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from server.api.contract import Call, Endpoints, value
from server.api.pixmover.schemas import AN_HOUR
from server.core.events import MAX_PAGE
from server.core.permissions import Action

__all__ = ["ENDPOINTS"]

ENDPOINTS = Endpoints("Admin control")


@dataclass(frozen=True, slots=True, kw_only=True)
class EventQuery:
    """Which events to list."""

    before: int | None = value(
        "Only events older than this number: the last one of the page before.",
        4711,
        default=None,
        least=1,
    )
    kind: str = value("Only this kind, or all of a noun: user.added, user.", "user", default="")
    limit: int = value("How many at most.", 100, default=100, least=1, most=MAX_PAGE)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventBody:
    """Something that happened."""

    id: int = value("Its number; later events have larger ones.", 4710)
    at: datetime = value("When.", AN_HOUR)
    kind: str = value("What, as noun.verb.", "user.role-set")
    actor: str = value('Who did it, "" for the server itself or a stranger.', "admin")
    subject_id: int | None = value("The number of what it was done to.", 2)
    address: str = value("Where the request came from.", "192.0.2.7")
    request_id: str = value("Finds the request in the log.", "6e316689a5c947348f86d8c03960f6d2")
    detail: dict[str, Any] = value("More about it, by kind.", {"role": "wrangler"})


@dataclass(frozen=True, slots=True, kw_only=True)
class EventList:
    """Events, the newest first."""

    events: tuple[EventBody, ...] = value("One page of them.", ())


@ENDPOINTS.add("GET", "/events", needs=Action.SEE_EVENTS, takes=EventQuery, gives=EventList)
async def list_events(call: Call, query: EventQuery) -> EventList:
    """List what happened: logins, and every change somebody made."""
    found = await call.core.events.list(
        call.actor, before=query.before, kind=query.kind, limit=query.limit
    )
    return EventList(
        events=tuple(
            EventBody(
                id=event.id,
                at=event.at,
                kind=event.kind,
                actor=event.actor,
                subject_id=event.subject_id,
                address=event.address,
                request_id=event.request_id,
                detail=dict(event.detail),
            )
            for event in found
        )
    )
