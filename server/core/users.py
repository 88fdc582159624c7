"""Users: who they are, what they may do and reach, and how they are told.

A change of role or password, a suspension and a deletion end the user's sessions in the same
transaction; what a user may reach is looked up for each request. So each holds from the next
request on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from server.core import user_rows as rows
from server.core.errors import InvalidValue
from server.core.passwords import check_password, random_password
from server.core.permissions import SYSTEM, Action, Actor, Role, require
from server.core.schema import utc_now
from server.core.tables import users
from server.core.user_rows import User, UserState
from server.core.values import check_email, check_name, check_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from server.core.access import AllowedPath
    from server.core.database import Database
    from server.core.passwords import Passwords
    from server.core.sessions import Sessions

__all__ = ["FIRST_ADMIN", "NOTIFY_ON", "Users"]

FIRST_ADMIN = "admin"
# The ends of a job that can be told by e-mail.
NOTIFY_ON = ("succeeded", "failed", "cancelled")


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
        return await self._database.read(rows.list_users)

    async def get(self, actor: Actor, name: str) -> User:
        """One user; everybody may ask for themselves."""
        own = name == actor.name and actor.user_id is not None
        require(actor, Action.USE_OWN_ACCOUNT if own else Action.MANAGE_USERS)
        return await self._database.read(rows.get_user, name)

    async def add(
        self,
        actor: Actor,
        name: str,
        role: Role,
        password: str,
        *,
        full_name: str = "",
        email: str = "",
        all_paths: bool | None = None,
        paths: Iterable[AllowedPath] = (),
    ) -> User:
        """A new user, who reaches everything unless paths are given. Raises NameTaken too."""
        require(actor, Action.MANAGE_USERS)
        allowed = tuple(paths)
        all_paths = not allowed if all_paths is None else all_paths
        _check_access(all_paths, allowed)
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
        return await self._database.write(rows.add_user, actor, values, secret_hash, allowed)

    async def set_role(self, actor: Actor, name: str, role: Role) -> User:
        """Give a user another role. Raises LastAdmin too."""
        require(actor, Action.MANAGE_USERS)
        return await self._database.write(rows.set_role, actor, name, role, self._clock())

    async def set_access(
        self, actor: Actor, name: str, *, all_paths: bool, paths: Iterable[AllowedPath] = ()
    ) -> User:
        """Let a user reach everything, or these folders and nothing else."""
        require(actor, Action.MANAGE_USERS)
        allowed = tuple(paths)
        _check_access(all_paths, allowed)
        return await self._database.write(
            rows.set_access, actor, name, all_paths, allowed, self._clock()
        )

    async def suspend(self, actor: Actor, name: str) -> User:
        """Shut a user out until restored. Raises LastAdmin too."""
        require(actor, Action.MANAGE_USERS)
        return await self._database.write(
            rows.set_state, actor, name, UserState.SUSPENDED, self._clock()
        )

    async def restore(self, actor: Actor, name: str) -> User:
        """Let a suspended user in again; also ends a lock after failed logins."""
        require(actor, Action.MANAGE_USERS)
        return await self._database.write(
            rows.set_state, actor, name, UserState.ACTIVE, self._clock()
        )

    async def delete(self, actor: Actor, name: str) -> None:
        """Remove a user for good; the name becomes free. Raises LastAdmin too."""
        require(actor, Action.MANAGE_USERS)
        await self._database.write(rows.delete_user, actor, name, self._clock())

    async def set_password(self, actor: Actor, name: str, password: str) -> None:
        """Give a user another password and end the user's sessions and lock."""
        require(actor, Action.MANAGE_USERS)
        check_password("password", password, name)
        secret_hash = await self._passwords.hash(password)
        await self._database.write(rows.set_password, actor, name, secret_hash, self._clock())

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
        await self._database.write(rows.set_password, actor, actor.name, secret_hash, self._clock())

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
        return await self._database.write(rows.unlock_user, actor, name, self._clock())

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
            rows.add_user(connection, SYSTEM, values, secret_hash, ())
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
        return await self._database.write(rows.set_values, actor, name, values, self._clock())


def _check_notify(notify: Iterable[str]) -> list[str]:
    wanted = set(notify)
    if unknown := wanted - set(NOTIFY_ON):
        raise InvalidValue("notify", f"{min(unknown)!r} is none of {', '.join(NOTIFY_ON)}")
    return [end for end in NOTIFY_ON if end in wanted]


def _check_access(all_paths: bool, paths: tuple[AllowedPath, ...]) -> None:
    """Who names folders means to hold the user to them: no wider access is guessed."""
    if all_paths and paths:
        raise InvalidValue("paths", "name no folders for a user who may reach all of them")
