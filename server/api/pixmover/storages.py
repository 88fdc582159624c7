"""Storages: where folders and files are."""

from __future__ import annotations

from dataclasses import dataclass

import trio

from server.api.contract import Call, Endpoints, Nothing, value
from server.api.pixmover.schemas import Done
from server.core.errors import InUse, NameTaken, NotFound
from server.core.permissions import Action, may
from server.core.storages import Storage, StorageKind

__all__ = ["ENDPOINTS"]

ENDPOINTS = Endpoints("Folders and files")
_STORAGE = {"storage": ("The storage's name.", "nearline")}


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageBody:
    """A storage as it is shown."""

    name: str = value("What paths on it begin with.", "nearline")
    kind: StorageKind = value("What it is made of.", StorageKind.PIXFS)
    root: str | None = value(
        "Its directory or bucket; null for who may not manage storages.", "/mnt/nearline"
    )
    endpoint: str = value('The S3 endpoint it is on, "" for directories.', "")
    read_only: bool = value("Whether jobs only take from it.", False)
    state: str = value("available, or unavailable when it does not answer.", "available")
    total_bytes: int | None = value("How much it holds; null where nobody knows.", 8 << 40)
    free_bytes: int | None = value("How much more it takes.", 3 << 40)


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageList:
    """The storages of which the user may reach a part."""

    storages: tuple[StorageBody, ...] = value("The storages by name.", ())


@dataclass(frozen=True, slots=True, kw_only=True)
class NewStorage:
    """A storage to add."""

    name: str = value("Letters a-z, digits, '.', '_', '-'; at most 64.", "nearline")
    kind: StorageKind = value("What it is made of.", StorageKind.PIXFS)
    root: str = value("An absolute directory, or BUCKET[/PREFIX].", "/mnt/nearline")
    endpoint: str = value("The S3 endpoint, of an s3 storage only.", "", default="")
    read_only: bool = value("Whether jobs only take from it.", False, default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageChange:
    """What to change of a storage; what is not given stays."""

    new_name: str | None = value("Another name.", "nearline-2", default=None)
    read_only: bool | None = value("Whether jobs only take from it.", True, default=None)


@ENDPOINTS.add("GET", "/storages", needs=Action.SEE_FILES, takes=Nothing, gives=StorageList)
async def list_storages(call: Call, query: Nothing) -> StorageList:
    """List the storages you may reach a part of."""
    found = await call.core.storages.list(call.actor)
    bodies: dict[str, StorageBody] = {}

    async def look(storage: Storage) -> None:
        bodies[storage.name] = await _render(call, storage)

    async with trio.open_nursery() as nursery:
        for storage in found:
            nursery.start_soon(look, storage)
    return StorageList(storages=tuple(bodies[storage.name] for storage in found))


@ENDPOINTS.add(
    "POST",
    "/storages",
    needs=Action.MANAGE_STORAGES,
    takes=NewStorage,
    gives=StorageBody,
    errors=(NameTaken, NotFound),
)
async def add_storage(call: Call, form: NewStorage) -> StorageBody:
    """Add a storage; its root must answer."""
    await call.files.check(call.actor, form.kind, form.root, form.endpoint)
    added = await call.core.storages.add(
        call.actor,
        form.name,
        form.kind,
        form.root,
        endpoint=form.endpoint,
        read_only=form.read_only,
    )
    return await _render(call, added)


@ENDPOINTS.add(
    "PUT",
    "/storages/{storage}",
    needs=Action.MANAGE_STORAGES,
    takes=StorageChange,
    gives=StorageBody,
    errors=(NotFound, NameTaken),
    parameters=_STORAGE,
)
async def change_storage(call: Call, form: StorageChange) -> StorageBody:
    """Rename a storage, or close or open it for writing."""
    changed = await call.core.storages.change(
        call.actor, call.path["storage"], new_name=form.new_name, read_only=form.read_only
    )
    return await _render(call, changed)


@ENDPOINTS.add(
    "POST",
    "/storages/{storage}/remove",
    needs=Action.MANAGE_STORAGES,
    takes=Nothing,
    gives=Done,
    errors=(NotFound, InUse),
    parameters=_STORAGE,
)
async def remove_storage(call: Call, form: Nothing) -> Done:
    """Forget a storage that no open job works on; nothing in it is touched."""
    await call.core.storages.remove(call.actor, call.path["storage"])
    return Done()


async def _render(call: Call, storage: Storage) -> StorageBody:
    space = await call.files.space(call.actor, storage)
    shows_root = may(call.actor.role, Action.MANAGE_STORAGES)
    return StorageBody(
        name=storage.name,
        kind=storage.kind,
        root=storage.root if shows_root else None,
        endpoint=storage.endpoint,
        read_only=storage.read_only,
        state=space.state,
        total_bytes=space.total_bytes,
        free_bytes=space.free_bytes,
    )
