"""Users as rows: the transactions behind `server.core.users`, each with its event."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from server.core.access import AllowedPath
from server.core.errors import InvalidValue, LastAdmin, NameTaken, NotFound
from server.core.events import record
from server.core.lockout import forgive
from server.core.permissions import Actor, Role
from server.core.sessions import end_sessions
from server.core.tables import credentials, storages, user_paths, users
from server.core.values import check_path

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from server.core.schema import AnyRow

__all__ = [
    "User",
    "UserState",
    "add_user",
    "delete_user",
    "get_user",
    "list_users",
    "set_access",
    "set_password",
    "set_role",
    "set_state",
    "set_values",
    "unlock_user",
]

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


def list_users(connection: Connection) -> list[User]:
    """Every user that is not deleted, by name."""
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


def get_user(connection: Connection, name: str) -> User:
    """One user by name; NotFound."""
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


def add_user(
    connection: Connection,
    actor: Actor,
    values: dict[str, Any],
    secret_hash: str,
    paths: tuple[AllowedPath, ...],
) -> User:
    """Insert a user; NameTaken, InvalidValue."""
    same = (users.c.name == values["name"]) & (users.c.state != "deleted")
    if connection.execute(sa.select(users.c.id).where(same)).first() is not None:
        raise NameTaken(f"there is a user {values['name']} already")
    result = connection.execute(users.insert().values(values))
    assert result.inserted_primary_key is not None
    user_id, now = int(result.inserted_primary_key[0]), values["created_at"]
    _insert_password(connection, user_id, secret_hash, now)
    _insert_paths(connection, user_id, paths)
    record(connection, actor, "user.added", now, user_id, name=values["name"], role=values["role"])
    return get_user(connection, values["name"])


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


def set_role(connection: Connection, actor: Actor, name: str, role: Role, now: datetime) -> User:
    """Change a role and end the sessions; LastAdmin."""
    row = _row(connection, name)
    if row.role != role:
        if role is not Role.ADMIN:
            _require_another_admin(connection, row)
        connection.execute(users.update().where(users.c.id == row.id).values(role=role.value))
        end_sessions(connection, row.id, but=_own_session(actor, row.id))
        record(connection, actor, "user.role-set", now, row.id, role=role.value, was=row.role)
    return get_user(connection, name)


def set_access(
    connection: Connection,
    actor: Actor,
    name: str,
    all_paths: bool,
    paths: tuple[AllowedPath, ...],
    now: datetime,
) -> User:
    """Replace what a user may reach."""
    row = _row(connection, name)
    connection.execute(users.update().where(users.c.id == row.id).values(all_paths=all_paths))
    _insert_paths(connection, row.id, paths)
    user = get_user(connection, name)
    shown = [f"{allowed.storage}:{allowed.path}" for allowed in user.paths]
    record(connection, actor, "user.access-set", now, row.id, all_paths=all_paths, paths=shown)
    return user


def set_state(
    connection: Connection, actor: Actor, name: str, state: UserState, now: datetime
) -> User:
    """Suspend (LastAdmin) or restore, which forgives failed logins too."""
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
    return get_user(connection, name)


def delete_user(connection: Connection, actor: Actor, name: str, now: datetime) -> None:
    """Mark a user deleted and remove every way in; LastAdmin."""
    row = _row(connection, name)
    _require_another_admin(connection, row)
    end_sessions(connection, row.id)
    connection.execute(credentials.delete().where(credentials.c.user_id == row.id))
    connection.execute(user_paths.delete().where(user_paths.c.user_id == row.id))
    connection.execute(
        users.update().where(users.c.id == row.id).values(state="deleted", email="", notify=[])
    )
    record(connection, actor, "user.deleted", now, row.id, name=name)


def set_password(
    connection: Connection, actor: Actor, name: str, secret_hash: str, now: datetime
) -> None:
    """Replace the password; every session but the actor's own one ends."""
    row = _row(connection, name)
    _insert_password(connection, row.id, secret_hash, now)
    end_sessions(connection, row.id, but=_own_session(actor, row.id))
    forgive(connection, name)
    record(connection, actor, "user.password-set", now, row.id)


def set_values(
    connection: Connection, actor: Actor, name: str, values: dict[str, Any], now: datetime
) -> User:
    """Change columns that need no more than that."""
    row = _row(connection, name)
    if values:
        connection.execute(users.update().where(users.c.id == row.id).values(values))
        record(connection, actor, "user.profile-set", now, row.id, fields=sorted(values))
    return get_user(connection, name)


def unlock_user(connection: Connection, actor: Actor, name: str, now: datetime) -> int:
    """Forget the failed logins; how many there were."""
    row = _row(connection, name)
    forgotten = forgive(connection, name)
    record(connection, actor, "user.unlocked", now, row.id)
    return forgotten


def _own_session(actor: Actor, user_id: int) -> int | None:
    """The session a change to the actor's own account leaves alive: the one it came with."""
    return actor.session_id if actor.user_id == user_id else None
