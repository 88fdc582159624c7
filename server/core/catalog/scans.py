"""What a scan of a storage says to the catalogue: folder by folder, and at the end of a pass.

A pass goes through the folders in their order and notes the last one it has finished, so that a
restart goes on behind it. Only what differs is written. Functions run inside a transaction of the
caller's, a writing one unless they say otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from server.core.catalog import rows
from server.core.catalog.conditions import in_subtree
from server.core.catalog.entities import counted, ns_of
from server.core.catalog.model import FileState
from server.core.catalog.tables import (
    file_counts,
    file_hashes,
    files,
    folders,
    scans,
    series,
    spans,
    storage_counts,
    storage_traits,
    uploads,
)
from server.core.jobs.states import JobKind
from server.core.jobs.tables import jobs
from server.core.storages import list_storages
from server.core.tables import storages

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from server.core.schema import AnyRow
    from server.core.storages import Storage

__all__ = [
    "Due",
    "Folder",
    "Known",
    "Listing",
    "Pass",
    "Seen",
    "after_jobs",
    "begin",
    "due",
    "expire",
    "fail",
    "finish",
    "is_restless",
    "known_folder",
    "present",
    "prune",
    "record",
    "set_kind",
]

# A file that nobody has written to for so long has come to rest.
SETTLED = timedelta(seconds=30)
# A file that has been missing for so long is lost; without an item its entity goes.
LOST_AFTER = timedelta(days=1)
_AT_ONCE = 1000

_BY_SCAN = frozenset(
    {FileState.OPEN, FileState.CLOSED, FileState.MISSING, FileState.LOST, FileState.TO_APPEAR}
)
_RESTLESS = (FileState.OPEN.value, FileState.MISSING.value, FileState.TO_APPEAR.value)


class Seen(NamedTuple):
    """A file in a folder. ``version`` is an object's, "" elsewhere."""

    size: int
    mtime_ns: int
    version: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """One look into a folder.

    Attributes:
        mtime_ns: the folder's own; 0 when it may have changed while it was looked into, or means
            nothing.
        folders: names of the folders in it.
        refused: how many names cannot be catalogued.
    """

    path: str
    mtime_ns: int
    at: datetime
    files: dict[str, Seen]
    folders: tuple[str, ...]
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Folder:
    """What is known of a folder."""

    mtime_ns: int
    looked_at: datetime


@dataclass(frozen=True, slots=True)
class Known:
    """A folder as the catalogue has it, and the folders in it."""

    folder: Folder | None
    children: tuple[str, ...]
    is_restless: bool


@dataclass(frozen=True, slots=True)
class Pass:
    """A pass under way. ``cursor`` is None at its beginning, else the last folder done."""

    cursor: str | None
    root_id: str


@dataclass(frozen=True, slots=True)
class Due:
    """A storage that can be scanned, and when that is due.

    Attributes:
        is_ours: it was made for the catalogue, which may find out what it is made of.
    """

    storage: Storage
    at: datetime
    is_ours: bool


def due(connection: Connection, interval: timedelta, now: datetime) -> list[Due]:
    """The storages that are to be scanned, each with the time. A reading transaction will do."""
    known = {row.storage_id: row for row in connection.execute(sa.select(scans))}
    traits = {row.storage_id: row for row in connection.execute(sa.select(storage_traits))}
    found = []
    for storage in list_storages(connection):
        mine = traits.get(storage.id)
        if not storage.root or (mine is not None and not mine.auto_detect):
            continue
        every = interval
        if mine is not None and mine.scan_interval_s is not None:
            every = timedelta(seconds=max(1, mine.scan_interval_s))
        scan = known.get(storage.id)
        at = now
        if scan is not None and scan.state != "scanning":
            at = (scan.finished_at or scan.started_at) + every
        found.append(Due(storage, at, mine is not None))
    return found


def begin(connection: Connection, storage_id: int, root_id: str, now: datetime) -> Pass:
    """A new pass, or the one that was cut off."""
    mine = scans.c.storage_id == storage_id
    row = connection.execute(sa.select(scans).where(mine)).first()
    values: dict[str, Any] = {"state": "scanning", "started_at": now, "error": ""}
    values |= {"cursor": "", "names_refused": 0, "finished_at": None}
    if row is None:
        values |= {"storage_id": storage_id, "fresh_at": None, "root_id": root_id}
        values["files_seen"] = 0
        connection.execute(scans.insert().values(values))
        return Pass(None, root_id)
    if row.state == "scanning" and row.cursor.startswith("/"):
        return Pass(row.cursor[1:], row.root_id)
    if row.root_id == "":
        values["root_id"] = root_id
    connection.execute(scans.update().where(mine).values(values))
    return Pass(None, row.root_id)


def known_folder(connection: Connection, storage_id: int, path: str) -> Known:
    """What is known of a folder. A reading transaction will do."""
    mine = folders.c.storage_id == storage_id
    row = connection.execute(sa.select(folders).where(mine & (folders.c.path == path))).first()
    below = connection.execute(sa.select(folders.c.path).where(mine & (folders.c.parent == path)))
    return Known(
        None if row is None else Folder(row.mtime_ns, row.looked_at),
        tuple(child.path for child in below),
        is_restless(connection, storage_id, path),
    )


def is_restless(connection: Connection, storage_id: int, path: str) -> bool:
    """Whether files of a folder may have another state by now."""
    query = sa.select(file_counts.c.n).where(
        (file_counts.c.storage_id == storage_id)
        & (file_counts.c.folder == path)
        & file_counts.c.state.in_(_RESTLESS)
    )
    return connection.execute(query.limit(1)).first() is not None


def present(connection: Connection, storage_id: int) -> int:
    """How many files of a storage were there when they were looked for last."""
    query = sa.select(sa.func.sum(storage_counts.c.n)).where(
        (storage_counts.c.storage_id == storage_id)
        & storage_counts.c.state.in_((FileState.OPEN.value, FileState.CLOSED.value))
    )
    return int(connection.execute(query).scalar() or 0)


def record(
    connection: Connection,
    storage_id: int,
    listings: Sequence[Listing],
    cursor: str,
) -> None:
    """Brings the catalogue up to some folders; ``cursor`` is the last one the pass has
    finished."""
    for listing in listings:
        _record_files(connection, storage_id, listing)
        _record_folder(connection, storage_id, listing)
    refused = sum(listing.refused for listing in listings)
    connection.execute(
        scans.update()
        .where(scans.c.storage_id == storage_id)
        .values(
            # A slash before it: the root's own path is "".
            cursor=f"/{cursor}",
            names_refused=scans.c.names_refused + refused,
        )
    )


def _record_files(connection: Connection, storage_id: int, listing: Listing) -> None:
    mine = (files.c.storage_id == storage_id) & (files.c.folder == listing.path)
    unknown = dict(listing.files)
    changes: list[tuple[rows.FileRow, dict[str, Any]]] = []
    touched: list[int] = []
    for row in connection.execute(sa.select(files).where(mine)):
        seen = unknown.pop(row.name, None)
        values = _gone(row, listing.at) if seen is None else _update(row, seen, listing.at)
        if values:
            changes.append((counted(row), values))
            if row.size >= 0 and ("size" in values or "mtime_ns" in values):
                touched.append(row.id)
    rows.change(connection, changes)
    for start in range(0, len(touched), _AT_ONCE):
        some = touched[start : start + _AT_ONCE]
        connection.execute(file_hashes.delete().where(file_hashes.c.file_id.in_(some)))
    if unknown and _is_outdated(connection, storage_id, listing):
        return
    new = [
        rows.NewFile(
            listing.path,
            name,
            _rest(seen, listing.at),
            seen.size,
            seen.mtime_ns,
            listing.at,
            version=seen.version,
        )
        for name, seen in unknown.items()
    ]
    rows.insert(connection, storage_id, new)


def _is_outdated(connection: Connection, storage_id: int, listing: Listing) -> bool:
    """Whether files have been taken out of a folder since the look into it was begun."""
    query = sa.select(folders.c.taken_at).where(
        (folders.c.storage_id == storage_id) & (folders.c.path == listing.path)
    )
    taken_at = connection.execute(query).scalar()
    return taken_at is not None and taken_at >= listing.at


def _rest(seen: Seen, now: datetime) -> FileState:
    """Whether a file that is seen first, or has just changed, may still be written to."""
    age_ns = ns_of(now) - seen.mtime_ns
    return FileState.CLOSED if age_ns >= SETTLED.total_seconds() * 1e9 else FileState.OPEN


def _update(row: AnyRow, seen: Seen, now: datetime) -> dict[str, Any]:
    """What is to be changed of a file that is there."""
    is_object = bool(seen.version)
    if is_object and row.version == "" and row.size >= 0:
        # What put it there has told its size and time better than the bucket's list does.
        is_same = True
    elif is_object:
        is_same = row.version == seen.version
    else:
        is_same = (row.size, row.mtime_ns) == (seen.size, seen.mtime_ns)
    values: dict[str, Any] = {}
    if is_object and row.version != seen.version:
        values["version"] = seen.version
    if row.missing_since is not None:
        values["missing_since"] = None
    state = FileState(row.state)
    if not is_same:
        values |= {"size": seen.size, "mtime_ns": seen.mtime_ns, "changed_at": now}
        new_state = _rest(seen, now)
    elif state in (FileState.MISSING, FileState.LOST, FileState.TO_APPEAR):
        new_state = _rest(seen, now)
    elif state is FileState.OPEN and _has_settled(row, seen, now):
        new_state = FileState.CLOSED
    else:
        new_state = state
    if state in _BY_SCAN and new_state is not state:
        values["state"] = new_state.value
    return values


def _has_settled(row: AnyRow, seen: Seen, now: datetime) -> bool:
    """By the file's own time or, should that be of another clock, by what scans saw."""
    if _rest(seen, now) is FileState.CLOSED:
        return True
    return row.changed_at is not None and now - row.changed_at >= SETTLED


def _gone(row: AnyRow, now: datetime) -> dict[str, Any]:
    """What is to be changed of a file that is not there; one never seen is yet to come."""
    if row.size < 0 or row.missing_since is not None:
        return {}
    if row.changed_at is not None and row.changed_at >= now:
        # It has come since that look was begun.
        return {}
    values: dict[str, Any] = {"missing_since": now}
    if row.state in (FileState.OPEN, FileState.CLOSED):
        values["state"] = FileState.MISSING.value
    return values


def _record_folder(connection: Connection, storage_id: int, listing: Listing) -> None:
    mine = folders.c.storage_id == storage_id
    base = f"{listing.path}/" if listing.path else ""
    there = {base + name for name in listing.folders}
    below = sa.select(folders.c.path).where(mine & (folders.c.parent == listing.path))
    known = {row.path for row in connection.execute(below)}
    for path in sorted(known - there):
        _lose(connection, storage_id, path, listing.at)
    this = mine & (folders.c.path == listing.path)
    is_outdated = _is_outdated(connection, storage_id, listing)
    mtime_ns = 0 if is_outdated else listing.mtime_ns
    values = {"mtime_ns": mtime_ns, "looked_at": listing.at}
    place = {"storage_id": storage_id, "path": listing.path}
    if not connection.execute(folders.update().where(this).values(values)).rowcount:
        parent = None if not listing.path else rows.split(listing.path)[0]
        connection.execute(folders.insert().values(values | place | {"parent": parent}))
    # Known before they are visited: a scan that is cut off here goes on with them.
    new = [
        place | {"path": path, "parent": listing.path, "mtime_ns": 0, "looked_at": listing.at}
        for path in sorted(there - known)
    ]
    if new:
        connection.execute(folders.insert(), new)


def _lose(connection: Connection, storage_id: int, path: str, now: datetime) -> None:
    """A folder has gone, with all that was in it."""
    mine = (files.c.storage_id == storage_id) & in_subtree(files.c.folder, path)
    gone = mine & files.c.missing_since.is_(None) & (files.c.size >= 0)
    changes = [
        (counted(row), _gone(row, now)) for row in connection.execute(sa.select(files).where(gone))
    ]
    rows.change(connection, changes)
    connection.execute(
        folders.delete().where(
            (folders.c.storage_id == storage_id) & in_subtree(folders.c.path, path)
        )
    )


def finish(connection: Connection, storage_id: int, error: str, now: datetime) -> None:
    """A pass has come to its end: what is listed is at least as fresh as its beginning."""
    values = {"state": "fresh", "finished_at": now, "fresh_at": scans.c.started_at, "cursor": ""}
    values |= {"files_seen": present(connection, storage_id), "error": error}
    mine = scans.c.storage_id == storage_id
    connection.execute(scans.update().where(mine).values(values))


def fail(connection: Connection, storage_id: int, error: str, now: datetime) -> None:
    """A pass was given up; the next one begins anew."""
    mine = scans.c.storage_id == storage_id
    values = {"state": "failed", "finished_at": now, "error": error, "cursor": ""}
    if not connection.execute(scans.update().where(mine).values(values)).rowcount:
        values |= {"storage_id": storage_id, "started_at": now, "fresh_at": None}
        values |= {"files_seen": 0, "names_refused": 0, "root_id": ""}
        connection.execute(scans.insert().values(values))


def expire(connection: Connection, storage_id: int, now: datetime) -> int:
    """Files missing for long are lost; those without an item are forgotten. How many."""
    long = (
        (files.c.storage_id == storage_id)
        & (files.c.state == FileState.MISSING.value)
        & (files.c.missing_since < now - LOST_AFTER)
    )
    found = connection.execute(sa.select(files).where(long).limit(_AT_ONCE)).all()
    kept = [(counted(row), {"state": FileState.LOST.value}) for row in found if row.has_item]
    rows.change(connection, kept)
    rows.delete(connection, [counted(row) for row in found if not row.has_item])
    return len(found)


def set_kind(connection: Connection, storage: Storage, kind: str) -> None:
    """A directory turned out to be a folder of a PixFS mount."""
    this = (storages.c.id == storage.id) & (storages.c.root == storage.root)
    connection.execute(
        storages.update().where(this & (storages.c.kind == "directory")).values(kind=kind)
    )


def prune(connection: Connection) -> bool:
    """Forgets some entities of storages that another face has removed; whether any are left."""
    removed = sa.select(storages.c.id).where(storages.c.state == "removed")
    query = sa.select(files).where(files.c.storage_id.in_(removed)).limit(_AT_ONCE)
    found = connection.execute(query).all()
    rows.delete(connection, [counted(row) for row in found])
    if found:
        return True
    for table in (uploads, file_counts, storage_counts, series, spans, folders, scans):
        connection.execute(table.delete().where(table.c.storage_id.in_(removed)))
    return False


def after_jobs(connection: Connection, since: datetime) -> set[int]:
    """The storages on which jobs that ended since then may have changed something. A reading
    transaction will do."""
    newest = sa.select(jobs).order_by(jobs.c.id.desc()).limit(_AT_ONCE).subquery()
    query = sa.select(newest.c.kind, newest.c.source_id, newest.c.target_id)
    found: set[int] = set()
    # A long job with a low number waits for the storage's next scan.
    for kind, source_id, target_id in connection.execute(
        query.where(newest.c.finished_at >= since)
    ):
        if target_id is not None:
            found.add(target_id)
        if JobKind(kind).changes_source:
            found.add(source_id)
    return found
