"""Sessions: made by a login, found by the cookie's token, ended by time, logout or a change.

The token is 256 random bits that only the client keeps; the database has its hash. A login
always makes a new session, so a token planted before it is worth nothing after it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from server.core.errors import AccountSuspended, BadCredentials, NotLoggedIn
from server.core.events import record
from server.core.lockout import LockoutPolicy, begin_attempt, succeed
from server.core.permissions import Actor, Role
from server.core.schema import utc_now
from server.core.tables import credentials, sessions, users

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Connection

    from server.core.database import Database
    from server.core.passwords import Passwords
    from server.core.schema import AnyRow

__all__ = ["Opened", "SessionPolicy", "Sessions", "csrf_token", "end_sessions"]

_PER_USER = 50
# How late last_seen_at may be: a write for every request would make each of them wait.
_SEEN_EVERY = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """How long a session lasts without a request, and how long at most."""

    idle: timedelta = timedelta(minutes=30)
    longest: timedelta = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Opened:
    """A session as its login gives it: the only time the token is seen."""

    token: str
    actor: Actor
    expires_at: datetime


def csrf_token(token: str) -> str:
    """What a page must send along with a change, besides the cookie that any site can make a
    browser send. Made from the session's token, so it lasts as long and needs no keeping."""
    return hmac.new(token.encode(), b"pixfs csrf 1", hashlib.sha256).hexdigest()


def end_sessions(connection: Connection, user_id: int, *, but: int | None = None) -> int:
    """End a user's sessions, all or all but one; how many there were."""
    ended = sessions.delete().where(sessions.c.user_id == user_id)
    if but is not None:
        ended = ended.where(sessions.c.id != but)
    return connection.execute(ended).rowcount


class Sessions:
    """Logins and what they open."""

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        *,
        policy: SessionPolicy | None = None,
        lockout: LockoutPolicy | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.policy = policy or SessionPolicy()
        self._database = database
        self._passwords = passwords
        self._lockout = lockout or LockoutPolicy()
        self._clock = clock

    async def login(
        self, name: str, password: str, *, address: str = "", request_id: str = ""
    ) -> Opened:
        """Open a session.

        Raises BadCredentials, AccountSuspended (only when the password is right),
        TooManyAttempts, ServerBusy.
        """
        name = name.strip().lower()
        visitor = Actor(None, "", Role.MONITOR, address=address, request_id=request_id)
        attempt = await self._database.write(
            begin_attempt, name, address, self._clock(), self._lockout
        )
        found = await self._database.read(_find_password, name)
        if not await self._passwords.verify(found.secret_hash if found else None, password):
            await self._database.write(_record_failure, visitor, name, self._clock())
            raise BadCredentials("the name or the password is wrong")
        assert found is not None
        renewed = None
        if self._passwords.is_outdated(found.secret_hash):
            renewed = await self._passwords.hash(password)
        return await self._database.write(
            _open, found, attempt, visitor, secrets.token_urlsafe(32), renewed,
            self._clock(), self.policy,
        )  # fmt: skip

    async def confirm(self, actor: Actor, password: str) -> None:
        """Ask whoever is logged in for the password once more, before something grave.

        Counts like a login. Raises BadCredentials, TooManyAttempts, ServerBusy.
        """
        attempt = await self._database.write(
            begin_attempt, actor.name, actor.address, self._clock(), self._lockout
        )
        found = await self._database.read(_find_password, actor.name)
        if not await self._passwords.verify(found.secret_hash if found else None, password):
            raise BadCredentials("the current password is wrong")
        await self._database.write(succeed, attempt)

    async def find(self, token: str, *, address: str = "", request_id: str = "") -> Actor:
        """Who a session's token belongs to. Raises NotLoggedIn."""
        now = self._clock()
        row = await self._database.read(_find_session, _hashed(token))
        if row is None or not self._is_alive(row, now):
            raise NotLoggedIn("there is no session, or it has ended")
        if now - row.last_seen_at >= _SEEN_EVERY:
            await self._database.write(_touch, row.id, now)
        return Actor(
            user_id=row.user_id,
            name=row.name,
            role=Role(row.role),
            session_id=row.id,
            address=address,
            request_id=request_id,
        )

    async def logout(self, actor: Actor) -> None:
        """End the session the actor came with; nothing happens when it has ended."""
        await self._database.write(_close, actor, self._clock())

    def _is_alive(self, row: AnyRow, now: datetime) -> bool:
        return bool(
            row.state == "active"
            and now < row.expires_at
            and now - row.last_seen_at < self.policy.idle
        )


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _find_password(connection: Connection, name: str) -> AnyRow | None:
    """The user of this name with the password's hash, as long as the user is not deleted."""
    return connection.execute(
        sa.select(users.c.id, users.c.name, users.c.role, users.c.state, credentials.c.secret_hash)
        .join(credentials, credentials.c.user_id == users.c.id)
        .where(
            (users.c.name == name)
            & (users.c.state != "deleted")
            & (credentials.c.kind == "password")
        )
    ).first()


def _record_failure(connection: Connection, visitor: Actor, name: str, now: datetime) -> None:
    # The name is not kept as typed: people type their password there.
    known = _find_password(connection, name)
    record(connection, visitor, "session.refused", now, known.id if known else None)


def _open(
    connection: Connection,
    found: AnyRow,
    attempt: int,
    visitor: Actor,
    token: str,
    renewed: str | None,
    now: datetime,
    policy: SessionPolicy,
) -> Opened:
    """Open the session whose password was verified, unless the user has changed meanwhile."""
    row = _find_password(connection, found.name)
    if row is None or (row.id, row.secret_hash) != (found.id, found.secret_hash):
        raise BadCredentials("the password was changed while you logged in")
    succeed(connection, attempt)
    if row.state != "active":
        raise AccountSuspended("the account is suspended")
    if renewed is not None:
        connection.execute(
            credentials.update()
            .where((credentials.c.user_id == row.id) & (credentials.c.kind == "password"))
            .values(secret_hash=renewed)
        )
    _prune(connection, row.id, now, policy)
    expires_at = now + policy.longest
    result = connection.execute(
        sessions.insert().values(
            token_hash=_hashed(token),
            user_id=row.id,
            created_at=now,
            last_seen_at=now,
            expires_at=expires_at,
            address=visitor.address[:64],
        )
    )
    assert result.inserted_primary_key is not None
    actor = Actor(
        user_id=row.id,
        name=row.name,
        role=Role(row.role),
        session_id=int(result.inserted_primary_key[0]),
        address=visitor.address,
        request_id=visitor.request_id,
    )
    record(connection, actor, "session.opened", now, row.id)
    return Opened(token, actor, expires_at)


def _prune(connection: Connection, user_id: int, now: datetime, policy: SessionPolicy) -> None:
    """Drop sessions that have ended, and a user's oldest when there are too many."""
    dead = (sessions.c.expires_at <= now) | (sessions.c.last_seen_at <= now - policy.idle)
    connection.execute(sessions.delete().where(dead))
    own = sessions.c.user_id == user_id
    kept = sa.select(sessions.c.id).where(own).order_by(sessions.c.id.desc()).limit(_PER_USER - 1)
    newest = list(connection.execute(kept).scalars())
    if len(newest) == _PER_USER - 1:
        connection.execute(sessions.delete().where(own & (sessions.c.id < newest[-1])))


def _find_session(connection: Connection, token_hash: str) -> AnyRow | None:
    return connection.execute(
        sa.select(sessions, users.c.name, users.c.role, users.c.state)
        .join(users, users.c.id == sessions.c.user_id)
        .where(sessions.c.token_hash == token_hash)
    ).first()


def _touch(connection: Connection, session_id: int, now: datetime) -> None:
    connection.execute(
        sessions.update().where(sessions.c.id == session_id).values(last_seen_at=now)
    )


def _close(connection: Connection, actor: Actor, now: datetime) -> None:
    ended = connection.execute(sessions.delete().where(sessions.c.id == actor.session_id))
    if ended.rowcount:
        record(connection, actor, "session.closed", now, actor.user_id)
