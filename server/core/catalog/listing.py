"""A page of the files a query names, from whichever index finds it with the least looking.

With a million files the order's own index is walked when most files are wanted, and the place's
index when few are; which of them it is, the counts tell beforehand. Far pages of a long list are
found from its other end. Functions run inside a reading transaction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from server.core.catalog import counts, far, patterns
from server.core.catalog.conditions import Scope, filters, narrowed, place
from server.core.catalog.entities import files_of_ids
from server.core.catalog.model import MAX_PAGE, FilePage, Sort, SortKey
from server.core.catalog.paths import resolve
from server.core.catalog.storages import visible
from server.core.catalog.tables import files, scans
from server.core.errors import InvalidValue

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from server.core.access import Access
    from server.core.catalog.model import FileQuery
    from server.core.catalog.paths import Place
    from server.core.catalog.patterns import Search
    from server.core.permissions import Actor

__all__ = ["page"]

_COLUMNS = {
    SortKey.FILE_ID: files.c.id,
    SortKey.SIZE: files.c.size,
    SortKey.STATE: files.c.state,
    SortKey.TIMESTAMP: files.c.mtime_ns,
    SortKey.FILENAME: files.c.name,
    SortKey.EXTENSION: files.c.extension,
}
_INDEXES = {
    SortKey.FILE_ID: "ix_files_by_id",
    SortKey.SIZE: "ix_files_by_size",
    SortKey.STATE: "ix_files_by_state",
    SortKey.TIMESTAMP: "ix_files_by_time",
    SortKey.FILENAME: "ix_files_by_name",
    SortKey.EXTENSION: "ix_files_by_extension",
}
_PLACE = "uq_files_place"
_MOST_IDS = 10_000
# A list's order is walked for a pattern when one in so many files would have to be looked at.
_WORTH_A_WALK = 5
_MOST_KEYS = 12


@dataclass(frozen=True, slots=True)
class _Part:
    """What one storage contributes."""

    scope: Scope
    place: Place
    search: Search | None
    hits: int | None


def page(connection: Connection, actor: Actor, query: FileQuery) -> FilePage:
    """The files from ``first`` on, at most ``number``. InvalidValue."""
    _check(query)
    wanted = resolve(query.path)
    found, access = visible(connection, actor)
    scopes = [
        Scope(number, _folders(access, number))
        for number in found
        if not query.storages or number in query.storages
    ]
    parts = [
        part
        for scope in scopes
        for one in _apart(narrowed(connection, scope, wanted))
        if (part := _part(connection, scope, one, query)).hits != 0
    ]
    hits = sum(part.hits or 0 for part in parts) if query.count else None
    ids = _page_ids(connection, parts, query, hits) if parts and query.number else []
    rows = files_of_ids(connection, ids, include_item=query.include_item)
    return FilePage(tuple(rows), hits, _fresh_at(connection, [s.storage_id for s in scopes]))


def _apart(wanted: Place) -> list[Place]:
    """The file of a path, and what is beneath it as a folder: no index finds both at once."""
    if wanted.file is None or wanted.folder is None:
        return [wanted]
    return [replace(wanted, folder=None), replace(wanted, file=None)]


def _part(connection: Connection, scope: Scope, wanted: Place, query: FileQuery) -> _Part:
    search = None
    is_pattern = wanted.glob is not None and wanted.extensions is None
    if is_pattern and not (query.ids or query.hashes):
        walked = counts.total(connection, scope.storage_id) // _WORTH_A_WALK
        search = patterns.search(connection, scope, wanted, query, walked)
    n = counts.hits(connection, scope, wanted, query, search) if query.count else None
    return _Part(scope, wanted, search, n)


def _check(query: FileQuery) -> None:
    if not 0 <= query.number <= MAX_PAGE:
        raise InvalidValue("number", f"is a number from 0 to {MAX_PAGE}")
    if not 0 <= query.first <= 2**62:
        raise InvalidValue("first", "is a number from 0 on")
    for name, given in (("id", query.ids), ("hash", query.hashes)):
        if len(given) > _MOST_IDS:
            raise InvalidValue(name, f"takes {_MOST_IDS} at most")
    if len(query.sort) > _MOST_KEYS:
        raise InvalidValue("sort", f"takes {_MOST_KEYS} keys at most")


def _folders(access: Access, storage_id: int) -> tuple[str, ...]:
    """The folders an actor may reach, without those that lie in another."""
    if access.everything:
        return ("",)
    kept: list[str] = []
    for folder in sorted(access.paths.get(storage_id, ())):
        if not any(folder == above or folder.startswith(f"{above}/") for above in kept if above):
            kept.append(folder)
    return ("",) if "" in kept else tuple(kept)


def _fresh_at(connection: Connection, storages: Sequence[int]) -> datetime | None:
    """When the storage was scanned that was scanned longest ago."""
    if not storages:
        return None
    query = sa.select(scans.c.fresh_at).where(scans.c.storage_id.in_(storages))
    times: list[datetime] = [row.fresh_at for row in connection.execute(query) if row.fresh_at]
    return min(times) if len(times) == len(storages) else None


def _page_ids(
    connection: Connection, parts: list[_Part], query: FileQuery, hits: int | None
) -> list[int]:
    """The page's ids in their order; from the end of the list when that is nearer."""
    order = _order(query.sort)
    if len(parts) == 1:
        found = far.page_ids(connection, parts[0].scope, parts[0].place, query, order)
        if found is None:
            found = _early(connection, parts[0], query, order)
        if found is not None:
            return found
    first, number = query.first, query.number
    is_reversed = False
    if hits is not None:
        if first >= hits:
            return []
        number = min(number, hits - first)
        if first > hits // 2:
            is_reversed = True
            first = hits - first - number
            order = [Sort(sort.key, not sort.descending) for sort in order]
    selects = [s for part in parts for s in _selects(connection, part, query, order)]
    if not selects:
        return []
    if len(selects) == 1:
        statement: sa.Select[Any] = selects[0].limit(number).offset(first)
    else:
        every = sa.union_all(
            *(sa.select(one.limit(first + number).subquery()) for one in selects)
        ).subquery()
        ordered = [
            every.c[sort.key.value].desc() if sort.descending else every.c[sort.key.value].asc()
            for sort in order
        ]
        statement = sa.select(every.c.row_id).order_by(*ordered).limit(number).offset(first)
    ids = [row[0] for row in connection.execute(statement)]
    return ids[::-1] if is_reversed else ids


def _early(
    connection: Connection, part: _Part, query: FileQuery, order: list[Sort]
) -> list[int] | None:
    """A page of files that are a fair share of their storage's, as those of a folder."""
    if query.ids or query.hashes or part.place.file is not None or not part.hits:
        return None
    conditions = place(connection, part.scope, part.place)
    return far.early_ids(connection, part.scope.storage_id, conditions, query, order, part.hits)


def _order(wanted: tuple[Sort, ...]) -> list[Sort]:
    """The order with the id at its end, which makes it one; nothing after the id counts."""
    order: list[Sort] = []
    for sort in wanted or (Sort(),):
        if all(sort.key is not known.key for known in order):
            order.append(sort)
        if sort.key is SortKey.FILE_ID:
            return order
    # In the last key's direction: an index can then be read from either end.
    return [*order, Sort(SortKey.FILE_ID, order[-1].descending)]


def _selects(
    connection: Connection, part: _Part, query: FileQuery, order: list[Sort]
) -> list[sa.Select[Any]]:
    """What finds the files of a part: one statement, or one for each way of a pattern's search
    that leads to some. SQLite is told the index where it would not see for itself."""
    conditions = place(connection, part.scope, part.place)
    every = counts.total(connection, part.scope.storage_id)
    if query.ids or query.hashes:
        return [_select(query, order, None, *conditions)]
    if part.place.file is not None:
        return [_select(query, order, _PLACE, *conditions)]
    if part.search is not None and part.search.near * _WORTH_A_WALK <= every:
        ways = [way for way in part.search.ways if way.hits != 0]
        if connection.dialect.name == "sqlite":
            return [_select(query, order, way.index, way.condition) for way in ways]
        return [_sorted_afterwards(query, order, way.condition) for way in ways]
    near = counts.candidates(connection, part.scope, part.place)
    index = _PLACE if near * 2 <= every else _by_order(part, query, order, every)
    return [_select(query, order, index, *conditions)]


def _select(
    query: FileQuery,
    order: list[Sort],
    index: str | None,
    *conditions: sa.ColumnElement[bool],
) -> sa.Select[Any]:
    columns = {sort.key: _COLUMNS[sort.key] for sort in order}
    ordered = [
        columns[sort.key].desc() if sort.descending else columns[sort.key].asc() for sort in order
    ]
    statement = (
        sa.select(files.c.id.label("row_id"), *(c.label(k.value) for k, c in columns.items()))
        .where(*conditions, *filters(query))
        .order_by(*ordered)
    )
    if index is not None:
        statement = statement.with_hint(files, f"INDEXED BY {index}", "sqlite")
    return statement


def _sorted_afterwards(
    query: FileQuery, order: list[Sort], condition: sa.ColumnElement[bool]
) -> sa.Select[Any]:
    """The same for PostgreSQL, which would walk the order for files that it takes to be spread
    evenly: it does not look past an offset."""
    columns = {sort.key: _COLUMNS[sort.key] for sort in order}
    found = (
        sa.select(files.c.id.label("row_id"), *(c.label(k.value) for k, c in columns.items()))
        .where(condition, *filters(query))
        .offset(0)
        .subquery()
    )
    ordered = [
        found.c[sort.key.value].desc() if sort.descending else found.c[sort.key.value].asc()
        for sort in order
    ]
    return sa.select(found).order_by(*ordered)


def _by_order(part: _Part, query: FileQuery, order: list[Sort], every: int) -> str:
    """The index of what restricts a list of few files most, or else that of its order."""
    key = order[0].key
    extensions = part.place.extensions
    if extensions is not None and len(extensions) == 1 and key is SortKey.FILE_ID:
        return "ix_files_by_extension"
    if extensions is not None and len(extensions) == 1 and key is SortKey.FILENAME:
        return "ix_files_by_extension_name"
    if part.hits is not None and part.hits * 2 < every:
        if extensions is not None:
            return "ix_files_by_extension"
        if query.filter == "item":
            return "ix_files_with_item"
        if query.states:
            return "ix_files_by_state"
    if key is SortKey.EXTENSION and order[1].key is SortKey.FILENAME:
        return "ix_files_by_extension_name"
    return _INDEXES[key]
