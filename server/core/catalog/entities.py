"""File entities: finding one, making, changing and removing it.

Functions run inside a transaction of the caller's, a writing one where they change something.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from server.core.catalog import items, rows
from server.core.catalog.conditions import among
from server.core.catalog.methods import methods_of
from server.core.catalog.model import CatalogFile, FileState
from server.core.catalog.storages import no_storage, visible
from server.core.catalog.tables import component_files, file_hashes, files
from server.core.catalog.uris import split_uri
from server.core.errors import FileExists, InvalidValue, NotFound
from server.core.events import record
from server.core.values import check_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Connection

    from server.core.permissions import Actor
    from server.core.schema import AnyRow

__all__ = [
    "HASH",
    "abandon",
    "add",
    "checked_place",
    "file_at",
    "files_of_ids",
    "get",
    "id_at",
    "no_file",
    "ns_of",
    "place_of",
    "remove",
    "row_of",
    "set_path",
    "set_state",
]

# The hash a FileDocument tells.
HASH = "SHA-1"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_NS = 253_402_300_799 * 10**9


def no_file(file_id: int | str) -> NotFound:
    """What to raise for a file that is not there or may not be reached."""
    return NotFound("there is no such file", kind="File", id=file_id)


def ns_of(at: datetime) -> int:
    """A time as nanoseconds since 1970."""
    since = at - _EPOCH
    return ((since.days * 86_400 + since.seconds) * 10**6 + since.microseconds) * 1000


def _time(mtime_ns: int) -> datetime:
    # A file's own time can be anything, a document's cannot.
    return _EPOCH + timedelta(microseconds=min(max(mtime_ns, 0), _LAST_NS) // 1000)


def files_of_ids(
    connection: Connection, ids: Sequence[int], *, include_item: bool
) -> list[CatalogFile]:
    """These files, in this order; what is not there is left out."""
    query = _SHOWN.where(among(connection, files.c.id, ids))
    found = {row[0]: row for row in connection.execute(query)}
    belonging = items.items_of(connection, list(found)) if include_item and found else {}
    return [_file(found[number], belonging.get(number)) for number in ids if number in found]


# In the order that _file takes.
_SHOWN = sa.select(
    files.c.id,
    files.c.storage_id,
    files.c.folder,
    files.c.name,
    files.c.state,
    files.c.size,
    files.c.mtime_ns,
    files.c.refresh_flag,
    file_hashes.c.value,
).join(
    file_hashes,
    (file_hashes.c.file_id == files.c.id) & (file_hashes.c.algorithm == HASH),
    isouter=True,
)
_STATES = {state.value: state for state in FileState}


def _file(row: AnyRow, belonging: Any) -> CatalogFile:  # noqa: ANN401
    file_id, storage_id, folder, name, state, size, mtime_ns, refresh_flag, hashed = row
    return CatalogFile(
        id=file_id,
        storage_id=storage_id,
        path=rows.join(folder, name),
        state=_STATES[state],
        size=None if size < 0 else size,
        timestamp=_time(mtime_ns),
        hash=hashed or "",
        refresh_flag=refresh_flag,
        items=belonging,
    )


def row_of(
    connection: Connection, actor: Actor, file_id: int, storage_id: int | None = None
) -> AnyRow:
    """A file's row, if the actor may reach it; NotFound."""
    row = connection.execute(sa.select(files).where(files.c.id == file_id)).first()
    if row is None or storage_id not in (None, row.storage_id):
        raise no_file(file_id)
    found, access = visible(connection, actor)
    path = rows.join(row.folder, row.name)
    if row.storage_id not in found or not access.includes(row.storage_id, path):
        raise no_file(file_id)
    return row


def get(
    connection: Connection,
    actor: Actor,
    file_id: int,
    storage_id: int | None = None,
    *,
    include_item: bool = False,
) -> CatalogFile:
    """One file; NotFound."""
    row = row_of(connection, actor, file_id, storage_id)
    return files_of_ids(connection, [row.id], include_item=include_item)[0]


def id_at(connection: Connection, storage_ids: Sequence[int], path: str) -> int | None:
    """The file of a checked path on the first of these storages that has one."""
    folder, name = rows.split(path)
    query = (
        sa.select(files.c.id)
        .where(
            files.c.storage_id.in_(storage_ids)
            & (files.c.folder == folder)
            & (files.c.name == name)
        )
        .order_by(files.c.storage_id)
    )
    return connection.execute(query.limit(1)).scalar()


def file_at(
    connection: Connection,
    actor: Actor,
    path: str,
    storage_id: int | None,
    *,
    include_item: bool = False,
) -> CatalogFile:
    """The file of a path; NotFound."""
    found, access = visible(connection, actor)
    if storage_id is not None and storage_id not in found:
        raise no_storage(storage_id)
    checked = check_path("path", path)
    storage_ids = [storage_id] if storage_id is not None else list(found)
    reachable = [number for number in storage_ids if access.includes(number, checked)]
    number = id_at(connection, reachable, checked)
    if number is None:
        raise no_file(path)
    return files_of_ids(connection, [number], include_item=include_item)[0]


def place_of(
    connection: Connection,
    actor: Actor,
    storage_id: int | None,
    path: str | None,
    uri: str | None,
) -> tuple[int, str]:
    """(storage, path) that these stand for; NotFound, InvalidValue."""
    if uri is not None:
        if path is not None:
            raise InvalidValue("uri", "give a path or a URI, not both")
        found, _ = visible(connection, actor)
        known = methods_of(connection, found.values())
        pairs = [(number, m.uri) for number, methods in known.items() for m in methods]
        place = split_uri(uri, [p for p in pairs if storage_id in (None, p[0])])
        if place is None:
            raise NotFound("no storage method leads to this URI", kind="File", id=uri)
        return checked_place(connection, actor, *place)
    if storage_id is None:
        raise InvalidValue("path", "a path needs a storage; without one give a URI")
    if path is None:
        raise InvalidValue("path", "give a path or a URI")
    return checked_place(connection, actor, storage_id, path)


def checked_place(
    connection: Connection, actor: Actor, storage_id: int, path: str
) -> tuple[int, str]:
    """A place of a file that the actor may reach, in its one spelling; NotFound, InvalidValue."""
    found, access = visible(connection, actor)
    if storage_id not in found:
        raise no_storage(storage_id)
    checked = check_path("path", path)
    if not checked or path.endswith("/"):
        raise InvalidValue("path", "this is a folder's path, not a file's")
    if not rows.is_cataloguable(checked):
        raise InvalidValue("path", "a catalogued name has no control characters")
    if not access.includes(storage_id, checked):
        raise no_file(path)
    return storage_id, checked


def add(
    connection: Connection,
    actor: Actor,
    storage_id: int,
    path: str,
    state: FileState | None,
    now: datetime,
    *,
    create_only: bool,
) -> CatalogFile:
    """A file's entity; FileExists when there is one and only a new one is wanted."""
    storage_id, path = checked_place(connection, actor, storage_id, path)
    there = id_at(connection, [storage_id], path)
    if there is not None:
        if create_only:
            raise FileExists(storage_id, path, there)
        if state is not None:
            set_state(connection, actor, there, state, now)
        return files_of_ids(connection, [there], include_item=False)[0]
    number = enter(connection, storage_id, path, state or FileState.OPEN, ns_of(now))
    record(connection, actor, "file.entered", now, number, path=path)
    return files_of_ids(connection, [number], include_item=False)[0]


def enter(
    connection: Connection,
    storage_id: int,
    path: str,
    state: FileState,
    mtime_ns: int,
    *,
    size: int = -1,
    changed_at: datetime | None = None,
    version: str = "",
) -> int:
    """A new row for a place that is free; its number."""
    folder, name = rows.split(path)
    new = rows.NewFile(folder, name, state, size, mtime_ns, changed_at, version=version)
    rows.insert(connection, storage_id, [new])
    number = id_at(connection, [storage_id], path)
    assert number is not None
    return number


def counted(row: AnyRow) -> rows.FileRow:
    """What the counts need of a row."""
    return rows.FileRow(
        row.id,
        row.storage_id,
        row.folder,
        row.name,
        row.extension,
        row.state,
        bool(row.has_item),
        row.size,
        row.mtime_ns,
    )


def remove(connection: Connection, actor: Actor, file_id: int, now: datetime) -> None:
    """Removes an entity; NotFound."""
    row = row_of(connection, actor, file_id)
    rows.delete(connection, [counted(row)])
    path = rows.join(row.folder, row.name)
    record(connection, actor, "file.forgotten", now, file_id, path=path)


def set_state(
    connection: Connection, actor: Actor, file_id: int, state: FileState, now: datetime
) -> CatalogFile:
    """Gives a file another state; NotFound."""
    row = row_of(connection, actor, file_id)
    if row.state != state.value:
        rows.change(connection, [(counted(row), {"state": state.value})])
        record(connection, actor, "file.state-set", now, file_id, state=state.value)
    return files_of_ids(connection, [file_id], include_item=False)[0]


def set_path(
    connection: Connection,
    actor: Actor,
    file_id: int,
    storage_id: int | None,
    path: str,
    state: FileState | None,
    now: datetime,
    *,
    duplicate: bool,
) -> CatalogFile:
    """The entity of another place takes over, or shares, the components; NotFound."""
    row = row_of(connection, actor, file_id)
    place = checked_place(connection, actor, storage_id or row.storage_id, path)
    if place == (row.storage_id, rows.join(row.folder, row.name)):
        raise InvalidValue("path", "the file has this path already")
    new_id = id_at(connection, [place[0]], place[1])
    if new_id is None:
        new_id = enter(
            connection,
            *place,
            state or FileState(row.state),
            row.mtime_ns,
            size=row.size,
            changed_at=row.changed_at,
        )
        _copy_facts(connection, row, new_id)
    elif state is not None:
        there = connection.execute(sa.select(files).where(files.c.id == new_id)).one()
        rows.change(connection, [(counted(there), {"state": state.value})])
    _hand_over(connection, file_id, new_id)
    if not duplicate:
        current = connection.execute(sa.select(files).where(files.c.id == file_id)).one()
        rows.delete(connection, [counted(current)])
    kind = "file.duplicated" if duplicate else "file.moved"
    record(connection, actor, kind, now, new_id, old=file_id, path=place[1])
    return files_of_ids(connection, [new_id], include_item=False)[0]


def _copy_facts(connection: Connection, row: AnyRow, new_id: int) -> None:
    """The bytes are the same: so are their hashes, and the name they came with."""
    this = files.c.id == new_id
    connection.execute(files.update().where(this).values(original_name=row.original_name))
    hashes = sa.select(file_hashes).where(file_hashes.c.file_id == row.id)
    for known in connection.execute(hashes).all():
        connection.execute(
            file_hashes.insert().values(
                file_id=new_id, algorithm=known.algorithm, value=known.value
            )
        )


def _hand_over(connection: Connection, old_id: int, new_id: int) -> None:
    query = sa.select(component_files.c.component_id).where(component_files.c.file_id == old_id)
    for row in connection.execute(query).all():
        items.connect(connection, row.component_id, new_id)


def abandon(
    connection: Connection, actor: Actor, file_id: int, item_id: int | None, now: datetime
) -> None:
    """Disconnects a file from an item, or from all; NotFound when it has not to do with it."""
    row_of(connection, actor, file_id)
    taken = items.detach(connection, file_id, item_id)
    if item_id is not None and not taken:
        raise NotFound("the file is no part of such an item", kind="Item", id=item_id)
    record(connection, actor, "file.abandoned", now, file_id, item=item_id)
