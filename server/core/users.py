"""Users: who they are, what they may do and reach, and how they are told.

A change that takes something away (role, access, password, suspension, deletion) ends the user's
sessions in the same transaction, so it holds from the next request on.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from server.core.access import AllowedPath
from server.core.errors import InvalidValue, LastAdmin, NameTaken, NotFound
from server.core.events import record
from server.core.lockout import forgive
from server.core.passwords import check_password, random_password
from server.core.permissions import SYSTEM, Action, Actor, Role, require
from server.core.schema import utc_now
from server.core.sessions import end_sessions
from server.core.tables import credentials, storages, user_paths, users
from server.core.values import check_email, check_name, check_path, check_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from server.core.database import Database
    from server.core.passwords import Passwords
    from server.core.schema import AnyRow
    from server.core.sessions import Sessions

__all__ = ["FIRST_ADMIN", "NOTIFY_ON", "User", "UserState", "Users"]

FIRST_ADMIN = "admin"
# The ends of a job that can be told by e-mail.
NOTIFY_ON = ("succeeded", "failed", "cancelled")
_MAX_PATHS = 200


class UserState(StrEnum):
    """Whether a user may log in."""

    ACTIVE = "active"
    SUSPENDED = "suspended"


@dataclass(frozen=True, slots=True)
class User:
    """A user that is not deleted.

    Attributes:
        all_paths: may reach every storage; else only ``paths``.
        notify: which ends of the user's jobs are told by e-mail.
    """

    id: int
    name: str
    full_name: str
    email: str
    role: Role
    state: UserState
    all_paths: bool
    paths: tuple[AllowedPath, ...]
    notify: tuple[str, ...]
    created_at: datetime


class Users:
    """The users of the server. Every change is in the audit trail.

    Methods raise NotAllowed when the actor's role does not include them, NotFound for a user
    that is not there, InvalidValue for what cannot be used.
    """

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        sessions: Sessions,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._sessions = sessions
        self._clock = clock

    async def list(self, actor: Actor) -> list[User]:
        """All users by name."""
        require(actor, Action.MANAGE_USERS)
        return await self._database.read(_list)

    async def get(self, actor: Actor, name: str) -> User:
        """One user; everybody may ask for themselves."""
        own = name == actor.name and actor.user_id is not None
        require(actor, Action.USE_OWN_ACCOUNT if own else Action.MANAGE_USERS)
        return await self._database.read(_get, name)

    async def add(
        self,
        actor: Actor,
        name: str,
        role: Role,
        password: str,
        *,
        full_name: str = "",
        email: str = "",
        all_paths: bool = True,
        paths: Iterable[AllowedPath] = (),
    ) -> User:
        """A new user. Raises NameTaken too."""
        require(actor, Action.MANAGE_USERS)
        name = check_name("name", name)
        check_password("password", password, name)
        values: dict[str, Any] = {
            "name": name,
            "role": role.value,
            "full_name": check_text("full_name", full_name, 200),
            "email": check_email("email", email),
            "state": UserState.ACTIVE.value,
            "all_paths": all_paths,
            "notify": [],
            "created_at": self._clock(),
        }
        secret_hash = await self._passwords.hash(password)
        return await self._database.write(_add, actor, values, secret_hash, tuple(paths))

    async def set_role(self, actor: Actor, name: str, role: Role) -> User:
        """Give a user another role. Raises LastAdmin too."""
        require(actor, Action.MANAGE_USERS)
        return await self._database.write(_set_role, actor, name, role, self._clock())

    async def set_access(
        self, actor: Actor, name: str, *, all_paths: bool, paths: Iterable[AllowedPath] = ()
    ) -> User:
        """Let a user reach everything, or these folders and nothing else."""
        require(actor, Action.MANAGE_USERS)
        return await self._database.write(
            _set_access, actor, name, all_paths, tuple(paths), self._clock()
        )

    async def suspend(self, actor: Actor, name: str) -> User:
        """Shut a user out until restored. Raises LastAdmin too."""
        require(actor, Action.MANAGE_USERS)
        return await self._database.write(
            _set_state, actor, name, UserState.SUSPENDED, self._clock()
        )

    async def restore(self, actor: Actor, name: str) -> User:
        """Let a suspended user in again; also ends a lock after failed logins."""
        require(actor, Action.MANAGE_USERS)
        return await self._database.write(_set_state, actor, name, UserState.ACTIVE, self._clock())

    async def delete(self, actor: Actor, name: str) -> None:
        """Remove a user for good; the name becomes free. Raises LastAdmin too."""
        require(actor, Action.MANAGE_USERS)
        await self._database.write(_delete, actor, name, self._clock())

    async def set_password(self, actor: Actor, name: str, password: str) -> None:
        """Give a user another password and end the user's sessions and lock."""
        require(actor, Action.MANAGE_USERS)
        check_password("password", password, name)
        secret_hash = await self._passwords.hash(password)
        await self._database.write(_set_password, actor, name, secret_hash, self._clock())

    async def change_own_password(self, actor: Actor, current: str, password: str) -> None:
        """Change the actor's own password; every other session of the actor ends.

        Raises BadCredentials when ``current`` is wrong, TooManyAttempts when often.
        """
        require(actor, Action.USE_OWN_ACCOUNT)
        check_password("password", password, actor.name)
        if password == current:
            raise InvalidValue("password", "this is the current password")
        await self._sessions.confirm(actor, current)
        secret_hash = await self._passwords.hash(password)
        await self._database.write(_set_password, actor, actor.name, secret_hash, self._clock())

    async def set_own_profile(
        self,
        actor: Actor,
        *,
        full_name: str | None = None,
        email: str | None = None,
        notify: Iterable[str] | None = None,
    ) -> User:
        """Change how the actor is called and told; None leaves a value as it is."""
        require(actor, Action.USE_OWN_ACCOUNT)
        return await self._set_profile(actor, actor.name, full_name, email, notify)

    async def set_profile(
        self,
        actor: Actor,
        name: str,
        *,
        full_name: str | None = None,
        email: str | None = None,
        notify: Iterable[str] | None = None,
    ) -> User:
        """Change how a user is called and told; None leaves a value as it is."""
        require(actor, Action.MANAGE_USERS)
        return await self._set_profile(actor, name, full_name, email, notify)

    async def unlock(self, actor: Actor, name: str) -> int:
        """End an account's lock after failed logins; how many failures were forgotten."""
        require(actor, Action.MANAGE_USERS)
        return await self._database.write(_unlock, actor, name, self._clock())

    def add_first_admin(self) -> str | None:
        """Make the first administrator if there has never been a user; the password, shown once.

        Blocks; for the start of the server.
        """
        password = random_password()
        secret_hash = self._passwords.hash_now(password)
        with self._database.writing() as connection:
            if connection.execute(sa.select(users.c.id).limit(1)).first() is not None:
                return None
            values = {
                "name": FIRST_ADMIN,
                "role": Role.ADMIN.value,
                "full_name": "",
                "email": "",
                "state": UserState.ACTIVE.value,
                "all_paths": True,
                "notify": [],
                "created_at": self._clock(),
            }
            _add(connection, SYSTEM, values, secret_hash, ())
        return password

    async def _set_profile(
        self,
        actor: Actor,
        name: str,
        full_name: str | None,
        email: str | None,
        notify: Iterable[str] | None,
    ) -> User:
        values: dict[str, object] = {}
        if full_name is not None:
            values["full_name"] = check_text("full_name", full_name, 200)
        if email is not None:
            values["email"] = check_email("email", email)
        if notify is not None:
            values["notify"] = _check_notify(notify)
        return await self._database.write(_set_values, actor, name, values, self._clock())


def _check_notify(notify: Iterable[str]) -> list[str]:
    wanted = set(notify)
    if unknown := wanted - set(NOTIFY_ON):
        raise InvalidValue("notify", f"{min(unknown)!r} is none of {', '.join(NOTIFY_ON)}")
    return [end for end in NOTIFY_ON if end in wanted]


def _list(connection: Connection) -> list[User]:
    kept = users.c.state != "deleted"
    paths: dict[int, list[AllowedPath]] = {}
    rows = connection.execute(
        sa.select(user_paths.c.user_id, storages.c.name, user_paths.c.path)
        .join(storages, storages.c.id == user_paths.c.storage_id)
        .where(storages.c.state == "active")
    )
    for user_id, storage, path in rows:
        paths.setdefault(user_id, []).append(AllowedPath(storage, path))
    query = sa.select(users).where(kept).order_by(users.c.name)
    return [_user(row, paths.get(row.id, [])) for row in connection.execute(query)]


def _get(connection: Connection, name: str) -> User:
    row = _row(connection, name)
    paths = connection.execute(
        sa.select(storages.c.name, user_paths.c.path)
        .join(storages, storages.c.id == user_paths.c.storage_id)
        .where((user_paths.c.user_id == row.id) & (storages.c.state == "active"))
    )
    return _user(row, [AllowedPath(*path) for path in paths])


def _row(connection: Connection, name: str) -> AnyRow:
    row = connection.execute(
        sa.select(users).where((users.c.name == name) & (users.c.state != "deleted"))
    ).first()
    if row is None:
        raise NotFound("there is no such user")
    return row


def _user(row: AnyRow, paths: Iterable[AllowedPath]) -> User:
    return User(
        id=row.id,
        name=row.name,
        full_name=row.full_name,
        email=row.email,
        role=Role(row.role),
        state=UserState(row.state),
        all_paths=row.all_paths,
        paths=tuple(sorted(paths)),
        notify=tuple(row.notify),
        created_at=row.created_at,
    )


def _add(
    connection: Connection,
    actor: Actor,
    values: dict[str, Any],
    secret_hash: str,
    paths: tuple[AllowedPath, ...],
) -> User:
    same = (users.c.name == values["name"]) & (users.c.state != "deleted")
    if connection.execute(sa.select(users.c.id).where(same)).first() is not None:
        raise NameTaken(f"there is a user {values['name']} already")
    result = connection.execute(users.insert().values(values))
    assert result.inserted_primary_key is not None
    user_id, now = int(result.inserted_primary_key[0]), values["created_at"]
    _insert_password(connection, user_id, secret_hash, now)
    _insert_paths(connection, user_id, paths)
    record(connection, actor, "user.added", now, user_id, name=values["name"], role=values["role"])
    return _get(connection, values["name"])


def _insert_password(connection: Connection, user_id: int, secret_hash: str, now: datetime) -> None:
    old = (credentials.c.user_id == user_id) & (credentials.c.kind == "password")
    connection.execute(credentials.delete().where(old))
    connection.execute(
        credentials.insert().values(
            user_id=user_id, kind="password", secret_hash=secret_hash, created_at=now
        )
    )


def _insert_paths(connection: Connection, user_id: int, paths: tuple[AllowedPath, ...]) -> None:
    connection.execute(user_paths.delete().where(user_paths.c.user_id == user_id))
    if len(paths) > _MAX_PATHS:
        raise InvalidValue("paths", f"at most {_MAX_PATHS} paths")
    active = connection.execute(
        sa.select(storages.c.name, storages.c.id).where(storages.c.state == "active")
    )
    numbers: dict[str, int] = {row.name: row.id for row in active}
    wanted = set()
    for allowed in paths:
        if allowed.storage not in numbers:
            raise InvalidValue("paths", f"there is no storage {allowed.storage!r}")
        wanted.add((numbers[allowed.storage], check_path("paths", allowed.path)))
    for storage_id, path in sorted(wanted):
        connection.execute(
            user_paths.insert().values(user_id=user_id, storage_id=storage_id, path=path)
        )


def _require_another_admin(connection: Connection, row: AnyRow) -> None:
    """Raise LastAdmin when this user is the only one left who may administer."""
    if row.role != Role.ADMIN or row.state != UserState.ACTIVE:
        return
    others = (
        (users.c.role == Role.ADMIN.value)
        & (users.c.state == UserState.ACTIVE.value)
        & (users.c.id != row.id)
    )
    if connection.execute(sa.select(users.c.id).where(others).limit(1)).first() is None:
        raise LastAdmin(f"{row.name} is the only administrator")


def _set_role(connection: Connection, actor: Actor, name: str, role: Role, now: datetime) -> User:
    row = _row(connection, name)
    if row.role != role:
        if role is not Role.ADMIN:
            _require_another_admin(connection, row)
        connection.execute(users.update().where(users.c.id == row.id).values(role=role.value))
        end_sessions(connection, row.id, but=_own_session(actor, row.id))
        record(connection, actor, "user.role-set", now, row.id, role=role.value, was=row.role)
    return _get(connection, name)


def _set_access(
    connection: Connection,
    actor: Actor,
    name: str,
    all_paths: bool,
    paths: tuple[AllowedPath, ...],
    now: datetime,
) -> User:
    row = _row(connection, name)
    connection.execute(users.update().where(users.c.id == row.id).values(all_paths=all_paths))
    _insert_paths(connection, row.id, paths)
    user = _get(connection, name)
    shown = [f"{allowed.storage}:{allowed.path}" for allowed in user.paths]
    record(connection, actor, "user.access-set", now, row.id, all_paths=all_paths, paths=shown)
    return user


def _set_state(
    connection: Connection, actor: Actor, name: str, state: UserState, now: datetime
) -> User:
    row = _row(connection, name)
    if state is UserState.ACTIVE:
        forgive(connection, name)
    if row.state != state:
        if state is UserState.SUSPENDED:
            _require_another_admin(connection, row)
            end_sessions(connection, row.id)
        connection.execute(users.update().where(users.c.id == row.id).values(state=state.value))
        verb = "suspended" if state is UserState.SUSPENDED else "restored"
        record(connection, actor, f"user.{verb}", now, row.id)
    return _get(connection, name)


def _delete(connection: Connection, actor: Actor, name: str, now: datetime) -> None:
    row = _row(connection, name)
    _require_another_admin(connection, row)
    end_sessions(connection, row.id)
    connection.execute(credentials.delete().where(credentials.c.user_id == row.id))
    connection.execute(user_paths.delete().where(user_paths.c.user_id == row.id))
    connection.execute(
        users.update().where(users.c.id == row.id).values(state="deleted", email="", notify=[])
    )
    record(connection, actor, "user.deleted", now, row.id, name=name)


def _set_password(
    connection: Connection, actor: Actor, name: str, secret_hash: str, now: datetime
) -> None:
    row = _row(connection, name)
    _insert_password(connection, row.id, secret_hash, now)
    end_sessions(connection, row.id, but=_own_session(actor, row.id))
    forgive(connection, name)
    record(connection, actor, "user.password-set", now, row.id)


def _set_values(
    connection: Connection, actor: Actor, name: str, values: dict[str, Any], now: datetime
) -> User:
    row = _row(connection, name)
    if values:
        connection.execute(users.update().where(users.c.id == row.id).values(values))
        record(connection, actor, "user.profile-set", now, row.id, fields=sorted(values))
    return _get(connection, name)


def _unlock(connection: Connection, actor: Actor, name: str, now: datetime) -> int:
    row = _row(connection, name)
    forgotten = forgive(connection, name)
    record(connection, actor, "user.unlocked", now, row.id)
    return forgotten


def _own_session(actor: Actor, user_id: int) -> int | None:
    """The session a change to the actor's own account leaves alive: the one it came with."""
    return actor.session_id if actor.user_id == user_id else None
