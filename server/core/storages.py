"""Storages: the places whose files the server works on, each with a name and a root.

What is in them, and whether they answer now, is for ``server.work``: the core only knows of them.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import sqlalchemy as sa
import trio

from server.core.access import access_of_actor
from server.core.errors import InUse, InvalidValue, NameTaken, NotFound, Ref
from server.core.events import record
from server.core.permissions import Action, Actor, require
from server.core.schema import utc_now
from server.core.tables import s3_endpoints, storages, throttles, user_paths
from server.core.values import check_name, check_path

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from server.core.database import Database
    from server.core.schema import AnyRow

__all__ = [
    "Storage",
    "StorageKind",
    "Storages",
    "check_root",
    "find_storage",
    "list_storages",
    "refuse_private",
    "require_idle",
]

# Tells of a PixFS mount which directory it shows.
_BACKING = "user.pixfs.backing"
# Amazon's rules for a bucket's name, less those that only matter in host names.
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")

_SHOWN_JOBS = 10


class StorageKind(StrEnum):
    """What a storage is made of."""

    PIXFS = "pixfs"
    DIRECTORY = "directory"
    S3 = "s3"


@dataclass(frozen=True, slots=True)
class Storage:
    """A storage that is not removed.

    Attributes:
        root: an absolute directory; of an S3 storage the bucket and, after a slash, a prefix.
        endpoint: the name of the S3 endpoint, "" for directories.
        read_only: jobs take from it and never put anything there.
    """

    id: int
    name: str
    kind: StorageKind
    root: str
    endpoint: str
    read_only: bool
    created_at: datetime


class Storages:
    """The storages of the server. Methods raise NotAllowed, NotFound, InvalidValue, NameTaken."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime] = utc_now,
        private: Sequence[str] = (),
    ) -> None:
        """``private`` are the server's own directories and files: no storage shows them."""
        self._database = database
        self._clock = clock
        self._private = tuple(private)

    async def list(self, actor: Actor) -> list[Storage]:
        """The storages the actor may see any part of, by name."""
        require(actor, Action.SEE_FILES)
        return await self._database.read(_list_visible, actor)

    async def get(self, actor: Actor, name: str) -> Storage:
        """One storage; NotFound also when the actor may see no part of it."""
        require(actor, Action.SEE_FILES)
        return await self._database.read(_get_visible, actor, name)

    async def add(
        self,
        actor: Actor,
        name: str,
        kind: StorageKind,
        root: str,
        *,
        endpoint: str = "",
        read_only: bool = False,
    ) -> Storage:
        """A new storage. Whether its root can be used is for the caller to have looked at."""
        require(actor, Action.MANAGE_STORAGES)
        name = check_name("name", name)
        root = check_root(kind, root, endpoint)
        if kind is not StorageKind.S3:
            await trio.to_thread.run_sync(refuse_private, root, self._private)
        return await self._database.write(
            _add, actor, name, kind, root, endpoint, read_only, self._clock()
        )

    async def change(
        self, actor: Actor, name: str, *, new_name: str | None = None, read_only: bool | None = None
    ) -> Storage:
        """Rename a storage, or close or open it for writing; None leaves a value as it is."""
        require(actor, Action.MANAGE_STORAGES)
        values: dict[str, object] = {}
        if new_name is not None:
            values["name"] = check_name("new_name", new_name)
        if read_only is not None:
            values["read_only"] = read_only
        return await self._database.write(_change, actor, name, values, self._clock())

    async def remove(self, actor: Actor, name: str) -> None:
        """Forget a storage; nothing in it is touched. Its throttles and allowed paths go.

        InUse while jobs that have not ended work on it.
        """
        require(actor, Action.MANAGE_STORAGES)
        await self._database.write(_remove, actor, name, self._clock())


def list_storages(connection: Connection) -> list[Storage]:
    """Every storage by name."""
    return [_storage(row) for row in connection.execute(_query().order_by(storages.c.name))]


def find_storage(connection: Connection, name: str) -> Storage:
    """One storage by name; NotFound."""
    row = connection.execute(_query().where(storages.c.name == name)).first()
    if row is None:
        raise NotFound("there is no such storage")
    return _storage(row)


def _query() -> sa.Select[*tuple[object, ...]]:
    return (
        sa.select(storages, s3_endpoints.c.name.label("endpoint"))
        .join(s3_endpoints, s3_endpoints.c.id == storages.c.endpoint_id, isouter=True)
        .where(storages.c.state == "active")
    )


def _storage(row: AnyRow) -> Storage:
    return Storage(
        id=row.id,
        name=row.name,
        kind=StorageKind(row.kind),
        root=row.root,
        endpoint=row.endpoint or "",
        read_only=row.read_only,
        created_at=row.created_at,
    )


def _list_visible(connection: Connection, actor: Actor) -> list[Storage]:
    access = access_of_actor(connection, actor)
    return [storage for storage in list_storages(connection) if access.shows(storage.id, "")]


def _get_visible(connection: Connection, actor: Actor, name: str) -> Storage:
    storage = find_storage(connection, name)
    if not access_of_actor(connection, actor).shows(storage.id, ""):
        raise NotFound("there is no such storage")
    return storage


def check_root(kind: StorageKind, root: str, endpoint: str) -> str:
    """A storage's root in its one spelling. Raises InvalidValue for what can be none."""
    if (kind is StorageKind.S3) != bool(endpoint):
        raise InvalidValue("endpoint", "an s3 storage has one, a directory has none")
    return _check_bucket(root) if kind is StorageKind.S3 else _check_directory(root)


def _check_directory(root: str) -> str:
    if not root.startswith("/") or "\0" in root:
        raise InvalidValue("root", "give the directory's absolute path")
    path = os.path.normpath(root)
    if path in ("/", "//") or path == "/proc" or path.startswith(("/proc/", "/sys/", "/dev/")):
        raise InvalidValue("root", "this directory cannot be a storage")
    return path


def refuse_private(root: str, private: Sequence[str], field: str = "root") -> None:
    """Raise InvalidValue when a storage here would show the server's own secrets and tables, or
    would let a job write over them. By real paths; blocks."""
    places = [os.path.realpath(root)]
    with suppress(OSError):
        # What a PixFS mount shows is its backing directory.
        backing = os.fsdecode(os.getxattr(root, _BACKING))
        places.append(os.path.realpath(backing))
    for own in (os.path.realpath(path) for path in private):
        if any(_contains(place, own) for place in places):
            raise InvalidValue(field, "the server keeps its own data there")


def _contains(folder: str, path: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _check_bucket(root: str) -> str:
    bucket, _, prefix = root.partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise InvalidValue("root", "give the bucket's name, and a prefix after a slash if any")
    prefix = check_path("root", prefix)
    return f"{bucket}/{prefix}" if prefix else bucket


def _require_free_name(connection: Connection, name: str) -> None:
    same = (storages.c.name == name) & (storages.c.state == "active")
    if connection.execute(sa.select(storages.c.id).where(same)).first() is not None:
        raise NameTaken(f"there is a storage {name} already")


def _add(
    connection: Connection,
    actor: Actor,
    name: str,
    kind: StorageKind,
    root: str,
    endpoint: str,
    read_only: bool,
    now: datetime,
) -> Storage:
    _require_free_name(connection, name)
    endpoint_id = None
    if endpoint:
        endpoint_id = connection.execute(
            sa.select(s3_endpoints.c.id).where(s3_endpoints.c.name == endpoint)
        ).scalar()
        if endpoint_id is None:
            raise InvalidValue("endpoint", f"there is no S3 endpoint {endpoint!r}")
    result = connection.execute(
        storages.insert().values(
            name=name,
            state="active",
            kind=kind.value,
            root=root,
            endpoint_id=endpoint_id,
            read_only=read_only,
            created_at=now,
        )
    )
    assert result.inserted_primary_key is not None
    number = int(result.inserted_primary_key[0])
    record(connection, actor, "storage.added", now, number, name=name, storage=kind.value)
    return find_storage(connection, name)


def _change(
    connection: Connection, actor: Actor, name: str, values: dict[str, object], now: datetime
) -> Storage:
    storage = find_storage(connection, name)
    new_name = values.get("name", name)
    if new_name != name:
        _require_free_name(connection, str(new_name))
    if values:
        connection.execute(storages.update().where(storages.c.id == storage.id).values(values))
        record(connection, actor, "storage.changed", now, storage.id, **values)
    return find_storage(connection, str(new_name))


def _remove(connection: Connection, actor: Actor, name: str, now: datetime) -> None:
    storage = find_storage(connection, name)
    require_idle(connection, storage.id)
    connection.execute(user_paths.delete().where(user_paths.c.storage_id == storage.id))
    connection.execute(throttles.delete().where(throttles.c.storage_id == storage.id))
    connection.execute(storages.update().where(storages.c.id == storage.id).values(state="removed"))
    record(connection, actor, "storage.removed", now, storage.id, name=name)


def require_idle(connection: Connection, storage_id: int) -> None:
    """Raise InUse while jobs that have not ended work on a storage."""
    # Imported here: jobs are built on top of storages.
    from server.core.jobs.queries import open_on

    if numbers := open_on(connection, storage_id):
        more = len(numbers) - _SHOWN_JOBS
        raise InUse(
            "jobs work on it: {jobs}" + (f" and {more} more" if more > 0 else ""),
            hint="wait for these jobs, or cancel them first",
            terms={"jobs": tuple(Ref("Job", number) for number in numbers[:_SHOWN_JOBS])},
            about=Ref("Storage", storage_id),
        )
