"""Which parts of the storages a user may work in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from server.core.errors import NotFound
from server.core.tables import storages, user_paths, users
from server.core.values import is_beneath

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from server.core.permissions import Actor

__all__ = ["Access", "AllowedPath", "Reach", "access_of", "access_of_actor"]


@dataclass(frozen=True, slots=True, order=True)
class AllowedPath:
    """A folder of a storage, with everything in it; "" is the whole storage."""

    storage: str
    path: str


@dataclass(frozen=True, slots=True)
class Reach:
    """The folders of one storage that somebody may work in; a plain value that workers get."""

    folders: tuple[str, ...]

    def includes(self, path: str) -> bool:
        """Whether this path may be worked on."""
        return any(is_beneath(path, folder) for folder in self.folders)

    def shows(self, path: str) -> bool:
        """Whether it may be seen that this path is there: it is allowed, or leads to one."""
        return self.includes(path) or any(is_beneath(folder, path) for folder in self.folders)

    def takes(self, path: str, location: str) -> bool:
        """Whether what ``path`` was asked for and found at may be used. ``location`` is where it
        really is: the same, or where links led. Links lead only to what is allowed itself."""
        return self.includes(location) or (location == path and self.shows(location))


@dataclass(frozen=True, slots=True)
class Access:
    """What one user may reach.

    Attributes:
        everything: every path of every storage, those that are yet to come too.
        paths: by the storage's number, the folders allowed; only read when not ``everything``.
    """

    everything: bool
    paths: dict[int, tuple[str, ...]]

    def includes(self, storage_id: int, path: str) -> bool:
        """Whether the user may work on this path."""
        return self.everything or self._folders(storage_id).includes(path)

    def shows(self, storage_id: int, path: str) -> bool:
        """Whether the user may see that this path is there: it is allowed, or leads to one."""
        return self.everything or self._folders(storage_id).shows(path)

    def reach(self, storage_id: int) -> Reach | None:
        """What to hold the real location of files to; None when there is no limit."""
        return None if self.everything else self._folders(storage_id)

    def _folders(self, storage_id: int) -> Reach:
        return Reach(self.paths.get(storage_id, ()))

    def require(self, storage_id: int, path: str) -> None:
        """Raise NotFound, as for a path that is not there, unless it is included."""
        if not self.includes(storage_id, path):
            raise NotFound("there is no such file or folder")


def access_of(connection: Connection, user_id: int) -> Access:
    """The access of a user; NotFound when there is no such user."""
    everything = connection.execute(
        sa.select(users.c.all_paths).where(users.c.id == user_id)
    ).scalar()
    if everything is None:
        raise NotFound("there is no such user")
    rows = connection.execute(
        sa.select(user_paths.c.storage_id, user_paths.c.path)
        .join(storages, storages.c.id == user_paths.c.storage_id)
        .where((user_paths.c.user_id == user_id) & (storages.c.state == "active"))
        .order_by(user_paths.c.path)
    )
    paths: dict[int, tuple[str, ...]] = {}
    for storage_id, path in rows:
        paths[storage_id] = (*paths.get(storage_id, ()), path)
    return Access(bool(everything), paths)


def access_of_actor(connection: Connection, actor: Actor) -> Access:
    """The access of whoever acts; the server itself reaches everything."""
    if actor.user_id is None:
        return Access(everything=True, paths={})
    return access_of(connection, actor.user_id)
