"""Random secrets that programs log in with: API keys, OAuth clients. Shown once, kept as a hash.

A secret has 256 random bits, which no guessing reaches: one SHA-256 guards it as well as a slow
hash would, and every request can afford it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from server.core.errors import BadCredentials, InvalidValue, NotFound
from server.core.events import record
from server.core.permissions import Action, Actor, Role, require
from server.core.schema import utc_now
from server.core.tables import credentials, users
from server.core.values import check_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Connection

    from server.core.database import Database
    from server.core.schema import AnyRow

__all__ = ["KINDS", "Credential", "Credentials", "Issued"]

KINDS = frozenset({"api-key", "oauth-client"})
_PER_USER = 100
_USED_EVERY = timedelta(minutes=1)
# Compared with when there is no such identifier, so that the answer takes as long.
_NOBODY = "sha256:" + hashlib.sha256(secrets.token_bytes(32)).hexdigest()


@dataclass(frozen=True, slots=True)
class Credential:
    """What is shown of a credential after it was made; ``identifier`` is its public part."""

    id: int
    kind: str
    label: str
    identifier: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class Issued:
    """A new credential and its secret, which is never seen again."""

    credential: Credential
    secret: str


class Credentials:
    """The programs' credentials of every user."""

    def __init__(self, database: Database, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._clock = clock

    async def issue(
        self, actor: Actor, kind: str, label: str, *, lasts: timedelta | None = None
    ) -> Issued:
        """A new credential of the actor's own. Raises InvalidValue."""
        require(actor, Action.USE_OWN_ACCOUNT)
        if kind not in KINDS:
            raise InvalidValue("kind", f"none of {', '.join(sorted(KINDS))}")
        label = check_text("label", label, 100)
        secret = secrets.token_urlsafe(32)
        credential = await self._database.write(
            _issue, actor, kind, label, _hashed(secret), lasts, self._clock()
        )
        return Issued(credential, secret)

    async def list(self, actor: Actor) -> list[Credential]:
        """The actor's own credentials, without secrets."""
        require(actor, Action.USE_OWN_ACCOUNT)
        return await self._database.read(_list, actor.user_id)

    async def revoke(self, actor: Actor, number: int) -> None:
        """End a credential of the actor's own for good. Raises NotFound."""
        require(actor, Action.USE_OWN_ACCOUNT)
        await self._database.write(_revoke, actor, number, self._clock())

    async def verify(
        self, kind: str, identifier: str, secret: str, *, address: str = "", request_id: str = ""
    ) -> Actor:
        """Who a secret belongs to. Raises BadCredentials, whatever was wrong."""
        now = self._clock()
        row = await self._database.read(_find, kind, identifier)
        right = hmac.compare_digest(row.secret_hash if row else _NOBODY, _hashed(secret))
        if row is None or not right or (row.expires_at is not None and row.expires_at <= now):
            raise BadCredentials("the key or its secret is wrong, or the key has ended")
        if row.last_used_at is None or now - row.last_used_at >= _USED_EVERY:
            await self._database.write(_touch, row.id, now)
        return Actor(row.user_id, row.name, Role(row.role), address=address, request_id=request_id)


def _hashed(secret: str) -> str:
    digest = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
    return f"sha256:{digest}"


def _issue(
    connection: Connection,
    actor: Actor,
    kind: str,
    label: str,
    secret_hash: str,
    lasts: timedelta | None,
    now: datetime,
) -> Credential:
    own = (credentials.c.user_id == actor.user_id) & (credentials.c.kind != "password")
    count = connection.execute(sa.select(sa.func.count()).where(own)).scalar_one()
    if count >= _PER_USER:
        raise InvalidValue("kind", f"a user has at most {_PER_USER} keys; revoke some first")
    result = connection.execute(
        credentials.insert().values(
            user_id=actor.user_id,
            kind=kind,
            label=label,
            identifier=secrets.token_hex(12),
            secret_hash=secret_hash,
            created_at=now,
            expires_at=now + lasts if lasts is not None else None,
        )
    )
    assert result.inserted_primary_key is not None
    number = int(result.inserted_primary_key[0])
    record(connection, actor, "credential.issued", now, number, credential=kind, label=label)
    row = connection.execute(sa.select(credentials).where(credentials.c.id == number)).one()
    return _credential(row)


def _credential(row: AnyRow) -> Credential:
    return Credential(
        row.id,
        row.kind,
        row.label,
        row.identifier,
        row.created_at,
        row.expires_at,
        row.last_used_at,
    )


def _list(connection: Connection, user_id: int | None) -> list[Credential]:
    own = (credentials.c.user_id == user_id) & (credentials.c.kind != "password")
    query = sa.select(credentials).where(own).order_by(credentials.c.id)
    return [_credential(row) for row in connection.execute(query)]


def _revoke(connection: Connection, actor: Actor, number: int, now: datetime) -> None:
    own = (
        (credentials.c.id == number)
        & (credentials.c.user_id == actor.user_id)
        & (credentials.c.kind != "password")
    )
    if not connection.execute(credentials.delete().where(own)).rowcount:
        raise NotFound("there is no such key")
    record(connection, actor, "credential.revoked", now, number)


def _find(connection: Connection, kind: str, identifier: str) -> AnyRow | None:
    return connection.execute(
        sa.select(credentials, users.c.name, users.c.role)
        .join(users, users.c.id == credentials.c.user_id)
        .where(
            (credentials.c.kind == kind)
            & (credentials.c.identifier == identifier)
            & (users.c.state == "active")
        )
    ).first()


def _touch(connection: Connection, number: int, now: datetime) -> None:
    connection.execute(
        credentials.update().where(credentials.c.id == number).values(last_used_at=now)
    )
