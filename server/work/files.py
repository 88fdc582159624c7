"""Folders and files for whoever is logged in: what may be seen, listed and arranged.

Each storage has a few threads of its own, so one that hangs holds up nothing but itself, and a
call that waits too long is given up on while its thread waits on.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeVar

import trio

from server.core.access import Access, access_of_actor
from server.core.errors import (
    CoreError,
    FileChanged,
    InUse,
    InvalidValue,
    NameTaken,
    NotFound,
    StorageFull,
    StorageRefused,
    StorageUnavailable,
)
from server.core.events import record
from server.core.permissions import Action, require
from server.core.storages import Storage, StorageKind, check_root, find_storage
from server.core.values import check_path
from server.work.directory import Directory
from server.work.errors import FileError, StoppedError, StorageError, file_error
from server.work.listing import Details, Page, details, list_page
from server.work.mounted import PixfsMount
from server.work.s3.bucket import Bucket

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from server.core import Core
    from server.core.access import Reach
    from server.core.permissions import Actor
    from server.core.s3_endpoints import S3Account
    from server.work.storage import Storage as Place

__all__ = ["MAX_PAGE", "Files", "Space", "as_core_errors", "open_place"]

T = TypeVar("T")

MAX_PAGE = 1000
_THREADS = 4
_PATIENCE_S = 30.0
_GLANCE_S = 5.0


@dataclass(frozen=True, slots=True)
class Space:
    """Whether a storage answers, and its room in bytes (None where there is no limit)."""

    state: Literal["available", "unavailable"]
    total_bytes: int | None = None
    free_bytes: int | None = None


class Files:
    """The files of every storage, as far as the actor may reach them.

    Methods raise NotAllowed, NotFound (also for what the actor may not reach), InvalidValue,
    StorageUnavailable; those that change something StorageRefused, StorageFull, NameTaken and
    InUse too.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._limits: dict[int, trio.CapacityLimiter] = {}

    async def space(self, actor: Actor, storage: Storage) -> Space:
        """Whether a storage answers within a few seconds, and how much room it has."""
        require(actor, Action.SEE_FILES)
        try:
            return await self._on(storage, _space, patience_s=_GLANCE_S)
        except CoreError:
            return Space("unavailable")

    async def check(
        self,
        actor: Actor,
        kind: StorageKind,
        root: str,
        endpoint: str,
        *,
        action: Action = Action.MANAGE_STORAGES,
        field: str = "root",
    ) -> None:
        """Raise InvalidValue for ``field`` unless what would be a storage can be listed now."""
        require(actor, action)
        root = check_root(kind, root, endpoint)
        if endpoint:
            await self._core.s3_endpoints.account(endpoint)  # NotFound is the endpoint's
        probe = Storage(0, "that is to be added", kind, root, endpoint, True, self._core.clock())
        try:
            await self._on(probe, lambda place: list_page(place, "", limit=1))
        except (StorageUnavailable, StorageRefused, NotFound) as error:
            raise InvalidValue(field, str(error)) from error

    async def list(
        self,
        actor: Actor,
        storage: str,
        path: str,
        *,
        offset: int = 0,
        limit: int = 100,
        grouped: bool = True,
    ) -> Page:
        """A page of a folder's content; what the actor may not reach is left out."""
        require(actor, Action.SEE_FILES)
        if offset < 0 or not 1 <= limit <= MAX_PAGE:
            raise InvalidValue("limit", f"1 to {MAX_PAGE}, and an offset of at least 0")
        found, access, path = await self._find(actor, storage, path)
        if not access.shows(found.id, path):
            raise NotFound("there is no such folder")

        def shown(name: str) -> bool:
            return access.shows(found.id, f"{path}/{name}" if path else name)

        work = partial(
            list_page, path=path, offset=offset, limit=limit, grouped=grouped, shown=shown
        )
        return await self._on(found, work, reach=access.reach(found.id))

    async def details(self, actor: Actor, storage: str, path: str) -> Details:
        """What is known of a file or folder."""
        require(actor, Action.SEE_FILES)
        found, access, path = await self._find(actor, storage, path)
        if not access.shows(found.id, path):
            raise NotFound("there is no such file or folder")
        work = partial(details, path=path)
        return await self._on(found, work, reach=access.reach(found.id))

    async def make_folder(self, actor: Actor, storage: str, path: str) -> None:
        """Make a folder, and those above it that are missing."""
        found, path, reach = await self._changeable(actor, storage, path)

        def make(place: Place) -> None:
            if _exists(place, path):
                raise NameTaken("there is something of that name already")
            place.make_folder(path)

        await self._change(actor, found, reach, make, "folder.made", path=path)

    async def rename(self, actor: Actor, storage: str, path: str, new_path: str) -> None:
        """Give a file or folder another name or place on its storage; nothing is replaced."""
        found, path, reach = await self._changeable(actor, storage, path)
        _, new_path, _ = await self._changeable(actor, storage, new_path)

        def rename(place: Place) -> None:
            entry = place.stat(path)
            if entry.kind == "folder" and isinstance(place, Bucket):
                raise InvalidValue("path", "a bucket has no folders to rename; use a move job")
            place.rename(path, new_path, replace=False)

        await self._change(
            actor, found, reach, rename, "file.renamed", path=path, new_path=new_path
        )

    async def remove_folder(self, actor: Actor, storage: str, path: str) -> None:
        """Remove a folder that is empty; files are only ever deleted by a job."""
        found, path, reach = await self._changeable(actor, storage, path)

        def remove(place: Place) -> None:
            if place.stat(path).kind != "folder":
                raise InvalidValue("path", "this is no folder")
            place.remove_folder(path)

        await self._change(actor, found, reach, remove, "folder.removed", path=path)

    async def _changeable(
        self, actor: Actor, storage: str, path: str
    ) -> tuple[Storage, str, Reach | None]:
        """The storage and checked path of something the actor may change, and how far links may
        lead."""
        require(actor, Action.CHANGE_FILES)
        found, access, path = await self._find(actor, storage, path)
        access.require(found.id, path)
        if not path:
            raise InvalidValue("path", "the storage's root stays as it is")
        if found.read_only:
            raise StorageRefused("the storage is read-only")
        return found, path, access.reach(found.id)

    async def _find(self, actor: Actor, storage: str, path: str) -> tuple[Storage, Access, str]:
        checked = check_path("path", path)
        found, access = await self._core.database.read(_storage_and_access, actor, storage)
        return found, access, checked

    async def _change(
        self,
        actor: Actor,
        storage: Storage,
        reach: Reach | None,
        work: Callable[[Place], None],
        kind: str,
        **detail: str,
    ) -> None:
        """Do ``work`` and record it, also when whoever asked has gone meanwhile."""
        with trio.CancelScope(shield=True):
            await self._on(storage, work, reach=reach)
            await self._core.database.write(
                _record, actor, kind, storage.id, self._core.clock(), storage.name, detail
            )

    async def _on(
        self,
        storage: Storage,
        work: Callable[[Place], T],
        *,
        reach: Reach | None = None,
        patience_s: float = _PATIENCE_S,
    ) -> T:
        """Do ``work`` on the open storage in one of its threads; errors become the core's."""
        account = None
        if storage.kind is StorageKind.S3:
            account = await self._core.s3_endpoints.account(storage.endpoint)
        limit = self._limits.setdefault(storage.id, trio.CapacityLimiter(_THREADS))

        def run() -> T:
            with as_core_errors():
                place = open_place(storage, account, reach, self._core.closing.sign)
                try:
                    return work(place)
                finally:
                    place.close()

        with self._core.closing.patience(patience_s, shield=False):
            return await trio.to_thread.run_sync(run, limiter=limit, abandon_on_cancel=True)
        raise StorageUnavailable(
            f"the storage {storage.name} does not answer",
            hint="look before you try again: a change that was asked for may still happen",
        )


def _space(place: Place) -> Space:
    if not isinstance(place, Directory):
        list_page(place, "", limit=1)
        return Space("available")
    room = os.fstatvfs(place.root.fd)
    return Space("available", room.f_blocks * room.f_frsize, room.f_bavail * room.f_frsize)


def _exists(place: Place, path: str) -> bool:
    try:
        place.stat(path)
    except FileNotFoundError:
        return False
    return True


def _storage_and_access(connection: Connection, actor: Actor, name: str) -> tuple[Storage, Access]:
    storage = find_storage(connection, name)
    access = access_of_actor(connection, actor)
    if not access.shows(storage.id, ""):
        raise NotFound("there is no such storage")
    return storage, access


def _record(
    connection: Connection,
    actor: Actor,
    kind: str,
    storage_id: int,
    now: datetime,
    storage: str,
    detail: dict[str, str],
) -> None:
    record(connection, actor, kind, now, storage_id, storage=storage, **detail)


# What the work calls a refusal, and what it is to whoever asked; the rest is the storage's fault.
_REFUSALS: dict[str, Callable[[str], CoreError]] = {
    "not-found": NotFound,
    # What leads out of a storage is not told apart from what is not there.
    "outside": lambda reason: NotFound("it does not exist"),
    "changed": FileChanged,
    "bad-path": lambda reason: InvalidValue("path", reason),
    "not-a-file": lambda reason: InvalidValue("path", reason),
    "exists": NameTaken,
    "not-empty": InUse,
    "busy": InUse,
    "no-space": StorageFull,
    "permission": StorageRefused,
    "read-only": StorageRefused,
    "unsupported": StorageRefused,
}


@contextmanager
def as_core_errors() -> Iterator[None]:
    """Turn what files and storages are refused with into the core's errors."""
    try:
        yield
    except StorageError as error:
        raise StorageUnavailable(str(error)) from error
    except StoppedError as error:
        raise StorageUnavailable(
            "the server was stopped before the storage had answered",
            hint="send the request again when the server is back",
        ) from error
    except (FileError, OSError) as error:
        refused = error if isinstance(error, FileError) else file_error(error)
        make = _REFUSALS.get(refused.code, StorageUnavailable)
        raise make(refused.reason) from error


def open_place(
    storage: Storage,
    account: S3Account | None,
    reach: Reach | None = None,
    stop: threading.Event | None = None,
) -> Place:
    """A storage, open; blocks. ``account`` is an S3 storage's, ``reach`` how far links may lead
    (None: anywhere in it); a bucket is not waited for when ``stop`` is set. StorageError."""
    if storage.kind is StorageKind.DIRECTORY:
        return Directory(storage.root, reach)
    if storage.kind is StorageKind.PIXFS:
        return PixfsMount(storage.root, reach=reach)
    assert account is not None, "an S3 storage is opened with its account"
    return Bucket(
        f"s3://{storage.root}",
        {
            "endpoint": account.endpoint.url,
            "region": account.endpoint.region,
            "access_key": account.endpoint.access_key,
            "secret_key": account.secret_key,
            "addressing": account.endpoint.addressing.value,
        },
        stop,
    )
