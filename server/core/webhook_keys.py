"""The key that webhooks are signed with: made by the server, shown once, kept sealed."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import sqlalchemy as sa

from server.core.events import record
from server.core.permissions import SYSTEM, Action, Actor, require
from server.core.schema import utc_now
from server.core.tables import settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from server.core.database import Database
    from server.core.sealing import Sealer

__all__ = ["WebhookKeys"]

_NAME = "webhooks"


class WebhookKeys:
    """Keeps the key."""

    def __init__(
        self, database: Database, sealer: Sealer, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._database = database
        self._sealer = sealer
        self._clock = clock

    async def key(self) -> bytes:
        """What messages are signed with; made when there is none. Raises SealError."""
        sealed = await self._database.read(_sealed)
        if sealed is None:
            sealed = await self._database.write(
                _keep, SYSTEM, self._sealer.seal(_new()), False, self._clock()
            )
        return self._sealer.open(sealed).encode()

    async def renew(self, actor: Actor) -> str:
        """A new key, told this once; messages sent from now on are signed with it."""
        require(actor, Action.MANAGE_SETTINGS)
        key = _new()
        await self._database.write(_keep, actor, self._sealer.seal(key), True, self._clock())
        return key


def _new() -> str:
    return secrets.token_urlsafe(32)


def _sealed(connection: Connection) -> str | None:
    value = connection.execute(sa.select(settings.c.value).where(settings.c.name == _NAME)).scalar()
    return None if value is None else str(value["key_sealed"])


def _keep(connection: Connection, actor: Actor, sealed: str, replaces: bool, now: datetime) -> str:
    """Keeps a sealed key, unless there is one and it is to stay; the one that counts."""
    present = _sealed(connection)
    if present is not None and not replaces:
        return present
    connection.execute(settings.delete().where(settings.c.name == _NAME))
    connection.execute(
        settings.insert().values(name=_NAME, value={"key_sealed": sealed}, changed_at=now)
    )
    record(connection, actor, "webhooks.key-renewed", now)
    return sealed
