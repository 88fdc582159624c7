"""The wire forms that more than one area uses."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from server.api.contract import value
from server.core.access import AllowedPath
from server.core.errors import InvalidValue
from server.core.permissions import Role
from server.core.user_rows import UserState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from server.core.user_rows import User

__all__ = ["Done", "UserBody", "read_paths", "render_user"]

AN_HOUR = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """It is done; there is nothing else to tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserBody:
    """A user as it is shown: never with a secret."""

    name: str = value("What the user logs in with.", "ada")
    full_name: str = value('What the user is called, "" when nobody said.', "Ada Lovelace")
    email: str = value('Where the user is told, "" for nowhere.', "ada@example.com")
    role: Role = value("The user's role.", Role.WRANGLER)
    state: UserState = value("Whether the user may log in.", UserState.ACTIVE)
    all_paths: bool = value("Whether every path of every storage may be reached.", False)
    paths: tuple[str, ...] = value(
        "Else the folders that may, as STORAGE:PATH.", ("nearline:shows/dune",)
    )
    notify: tuple[str, ...] = value(
        "Which ends of the user's jobs are told by e-mail.", ("succeeded", "failed")
    )
    created_at: datetime = value("When the user was added.", AN_HOUR)


def render_user(user: User) -> UserBody:
    """The wire form of a user."""
    return UserBody(
        name=user.name,
        full_name=user.full_name,
        email=user.email,
        role=user.role,
        state=user.state,
        all_paths=user.all_paths,
        paths=tuple(f"{allowed.storage}:{allowed.path}" for allowed in user.paths),
        notify=user.notify,
        created_at=user.created_at,
    )


def read_paths(texts: Iterable[str]) -> list[AllowedPath]:
    """Allowed paths from their wire form. Raises InvalidValue."""
    paths = []
    for text in texts:
        storage, colon, path = text.partition(":")
        if not colon:
            raise InvalidValue("paths", "write STORAGE:PATH; STORAGE: alone is the whole storage")
        paths.append(AllowedPath(storage, path))
    return paths
