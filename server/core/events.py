"""What happened, appended and never changed: the audit trail, and what notifications start from.

Every function that changes something calls `record` in the same transaction, so that there is no
change without its event and no event without its change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from server.core.permissions import Action, Actor, require
from server.core.tables import events, users

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from server.core.database import Database

__all__ = ["MAX_PAGE", "Event", "Events", "record"]

MAX_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    Attributes:
        kind: noun.verb, such as ``user.added``.
        actor: the name of who did it, "" for the server itself.
        subject_id: the number of what it was done to, if it has one.
    """

    id: int
    at: datetime
    kind: str
    actor: str
    subject_id: int | None
    address: str
    request_id: str
    detail: Mapping[str, Any]


def record(
    connection: Connection,
    actor: Actor,
    kind: str,
    at: datetime,
    subject_id: int | None = None,
    **detail: object,
) -> int:
    """Append an event; its number. ``detail`` must be JSON and never a secret."""
    result = connection.execute(
        events.insert().values(
            at=at,
            kind=kind,
            actor_id=actor.user_id,
            subject_id=subject_id,
            address=actor.address,
            request_id=actor.request_id,
            detail=detail,
        )
    )
    assert result.inserted_primary_key is not None
    return int(result.inserted_primary_key[0])


class Events:
    """The audit trail as administrators read it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(
        self, actor: Actor, *, before: int | None = None, kind: str = "", limit: int = 100
    ) -> list[Event]:
        """The newest events first, those older than the event ``before``.

        ``kind`` is a whole kind (``user.added``) or a noun (``user``); at most `MAX_PAGE` are
        given. Raises NotAllowed.
        """
        require(actor, Action.SEE_EVENTS)
        return await self._database.read(_list, before, kind, min(limit, MAX_PAGE))


def _list(connection: Connection, before: int | None, kind: str, limit: int) -> list[Event]:
    query = (
        sa.select(events, users.c.name)
        .join(users, events.c.actor_id == users.c.id, isouter=True)
        .order_by(events.c.id.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(events.c.id < before)
    if kind:
        noun = events.c.kind.startswith(f"{kind}.", autoescape=True)
        query = query.where((events.c.kind == kind) | noun)
    return [
        Event(
            id=row.id,
            at=row.at,
            kind=row.kind,
            actor=row.name or "",
            subject_id=row.subject_id,
            address=row.address,
            request_id=row.request_id,
            detail=row.detail,
        )
        for row in connection.execute(query)
    ]
