"""Storages as the catalogue tells of them: their traits, methods and freshness.

Functions run inside a transaction of the caller's, a writing one where they change something.
"""

from __future__ import annotations

import secrets
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from server.core.access import access_of_actor
from server.core.catalog.methods import (
    add_method,
    change_method,
    check_metadata,
    choose_root,
    methods_of,
    remove_method,
    settle,
)
from server.core.catalog.model import CatalogStorage, Freshness, StorageChange, StorageTraits
from server.core.catalog.tables import (
    file_counts,
    files,
    folders,
    scans,
    series,
    spans,
    storage_counts,
    storage_methods,
    storage_traits,
    uploads,
)
from server.core.errors import InUse, InvalidValue, NameTaken, NotFound, Ref, StorageRefused
from server.core.events import record
from server.core.storages import find_storage, list_storages, require_idle
from server.core.tables import storages, throttles, user_paths
from server.core.values import check_name

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from server.core.access import Access
    from server.core.catalog.model import Method, MethodChange
    from server.core.permissions import Actor
    from server.core.storages import Storage

__all__ = [
    "add",
    "change",
    "get",
    "list_visible",
    "no_storage",
    "put_method",
    "remove",
    "require_writable",
    "take_method",
    "visible",
]

_TYPES = frozenset({"LOCAL", "SHARED", "REMOTE", "EXTERNAL", "ARCHIVE", "EXPORT"})
_TRAITS = (
    "type",
    "capacity",
    "bandwidth",
    "low_watermark",
    "high_watermark",
    "low_watermark_percentage",
    "high_watermark_percentage",
    "auto_detect",
    "show_importables",
    "scan_interval_s",
    "metadata",
)


def no_storage(storage_id: int) -> NotFound:
    """What to raise for a storage that is not there or may not be seen."""
    return NotFound("there is no such storage", kind="Storage", id=storage_id)


def require_writable(storage: Storage) -> None:
    """StorageRefused for a storage on which nothing may be changed."""
    if storage.read_only:
        ref = Ref("Storage", storage.id, storage.name)
        raise StorageRefused(
            "the storage {storage} is read-only", terms={"storage": ref}, about=ref
        )


def visible(connection: Connection, actor: Actor) -> tuple[dict[int, Storage], Access]:
    """The storages of which the actor may see a part, by number, and what of them."""
    access = access_of_actor(connection, actor)
    found = [s for s in list_storages(connection) if access.shows(s.id, "")]
    return {s.id: s for s in sorted(found, key=lambda s: s.id)}, access


def list_visible(connection: Connection, actor: Actor) -> list[CatalogStorage]:
    """The storages of which the actor may see a part, by number."""
    found, _ = visible(connection, actor)
    return _with_traits(connection, list(found.values()))


def get(connection: Connection, actor: Actor, storage_id: int) -> CatalogStorage:
    """One storage; NotFound."""
    found, _ = visible(connection, actor)
    if storage_id not in found:
        raise no_storage(storage_id)
    return _with_traits(connection, [found[storage_id]])[0]


def _with_traits(connection: Connection, found: list[Storage]) -> list[CatalogStorage]:
    methods = methods_of(connection, found)
    traits: dict[int, StorageTraits] = {}
    for row in connection.execute(sa.select(storage_traits)):
        traits[row.storage_id] = StorageTraits(**{name: getattr(row, name) for name in _TRAITS})
    fresh = {row.storage_id: row for row in connection.execute(sa.select(scans))}
    made = []
    for storage in found:
        scan = fresh.get(storage.id)
        freshness = Freshness("never", None)
        if scan is not None:
            freshness = Freshness(scan.state, scan.fresh_at, scan.files_seen, scan.error)
        made.append(
            CatalogStorage(
                storage,
                traits.get(storage.id, StorageTraits()),
                tuple(methods[storage.id]),
                freshness,
            )
        )
    return made


def add(connection: Connection, actor: Actor, wanted: StorageChange, now: datetime) -> int:
    """A new storage; its number. NameTaken, InvalidValue."""
    values = _checked_traits(wanted)
    name = check_name("name", wanted.name) if wanted.name else f"new-{secrets.token_hex(8)}"
    _require_free(connection, name)
    inserted = connection.execute(
        storages.insert().values(
            name=name,
            state="active",
            kind="directory",
            root="",
            read_only=False,
            created_at=now,
        )
    ).inserted_primary_key
    assert inserted is not None
    number = int(inserted[0])
    if not wanted.name:
        name = f"vx-{number}"
        if _is_taken(connection, name):
            name = f"vx-{number}-{secrets.token_hex(4)}"
        connection.execute(storages.update().where(storages.c.id == number).values(name=name))
    defaults = asdict(StorageTraits())
    connection.execute(storage_traits.insert().values({"storage_id": number} | defaults | values))
    for method in wanted.methods:
        add_method(connection, number, method)
    choose_root(connection, number)
    record(connection, actor, "storage.added", now, number, name=name)
    return number


def _is_taken(connection: Connection, name: str) -> bool:
    same = (storages.c.name == name) & (storages.c.state == "active")
    return connection.execute(sa.select(storages.c.id).where(same)).first() is not None


def _require_free(connection: Connection, name: str) -> None:
    if _is_taken(connection, name):
        raise NameTaken(f"there is a storage {name} already")


def _checked_traits(wanted: StorageChange) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in _TRAITS:
        value = getattr(wanted, name)
        if value is None:
            continue
        is_number = isinstance(value, int) and not isinstance(value, bool)
        limit = 100 if name.endswith("percentage") else 2**62
        if is_number and not 0 <= value <= (2**31 - 1 if name == "scan_interval_s" else limit):
            raise InvalidValue(name, "is a number that is not negative, and not too large")
        values[name] = value
    if values.get("type", "LOCAL") not in _TYPES:
        raise InvalidValue("type", f"is one of {', '.join(sorted(_TYPES))}")
    if "metadata" in values:
        values["metadata"] = check_metadata(values["metadata"])
    return values


def change(
    connection: Connection, actor: Actor, storage_id: int, wanted: StorageChange, now: datetime
) -> None:
    """Changes what is not None; NotFound, NameTaken, InvalidValue."""
    storage = _require(connection, storage_id)
    if wanted.name is not None and wanted.name != storage.name:
        name = check_name("name", wanted.name)
        if name != storage.name:
            _require_free(connection, name)
        connection.execute(storages.update().where(storages.c.id == storage_id).values(name=name))
    values = _checked_traits(wanted)
    mine = storage_traits.c.storage_id == storage_id
    if connection.execute(sa.select(storage_traits.c.type).where(mine)).first() is None:
        values = {"storage_id": storage_id} | asdict(StorageTraits()) | values
        connection.execute(storage_traits.insert().values(values))
    elif values:
        connection.execute(storage_traits.update().where(mine).values(values))
    for method in wanted.methods:
        put_method(connection, actor, storage_id, method, now)
    record(connection, actor, "storage.changed", now, storage_id)


def _require(connection: Connection, storage_id: int) -> Storage:
    for storage in list_storages(connection):
        if storage.id == storage_id:
            return storage
    raise no_storage(storage_id)


def remove(connection: Connection, actor: Actor, storage_id: int, now: datetime) -> None:
    """Forgets a storage with its entities; nothing on it is touched. NotFound, InUse."""
    storage = _require(connection, storage_id)
    require_idle(connection, storage_id)
    used = (files.c.storage_id == storage_id) & files.c.has_item
    if connection.execute(sa.select(files.c.id).where(used).limit(1)).first() is not None:
        raise InUse(
            "files of the storage belong to items",
            hint="abandon or move them first",
            about=Ref("Storage", storage_id),
        )
    for table in (
        uploads,
        files,
        file_counts,
        storage_counts,
        series,
        spans,
        folders,
        scans,
        storage_methods,
        storage_traits,
        user_paths,
        throttles,
    ):
        connection.execute(table.delete().where(table.c.storage_id == storage_id))
    connection.execute(storages.update().where(storages.c.id == storage_id).values(state="removed"))
    record(connection, actor, "storage.removed", now, storage_id, name=storage.name)


def put_method(
    connection: Connection,
    actor: Actor,
    storage_id: int,
    wanted: MethodChange,
    now: datetime,
    method_id: int | None = None,
) -> Method:
    """Adds a method, or changes one; the storage's root follows. NotFound, InvalidValue."""
    settle(connection, _require(connection, storage_id))
    if method_id is None:
        method_id = add_method(connection, storage_id, wanted)
    else:
        change_method(connection, storage_id, method_id, wanted)
    choose_root(connection, storage_id)
    record(connection, actor, "storage.changed", now, storage_id, method=method_id)
    storage = find_storage(connection, _require(connection, storage_id).name)
    return next(m for m in methods_of(connection, [storage])[storage_id] if m.id == method_id)


def take_method(
    connection: Connection, actor: Actor, storage_id: int, method_id: int, now: datetime
) -> None:
    """Removes a method; the storage's root follows. NotFound."""
    settle(connection, _require(connection, storage_id))
    remove_method(connection, storage_id, method_id)
    choose_root(connection, storage_id)
    record(connection, actor, "storage.changed", now, storage_id, removed_method=method_id)
