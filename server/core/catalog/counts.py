"""How many files a query has, from the tables of counts wherever they know.

Functions run inside a reading transaction.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import sqlalchemy as sa

from server.core.catalog.conditions import Scope, filters, in_subtree, kinds, place
from server.core.catalog.paths import Place
from server.core.catalog.tables import file_counts, files, import_queue, storage_counts

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from server.core.catalog.model import FileQuery
    from server.core.catalog.patterns import Search

__all__ = ["candidates", "hits", "total"]

_AT_ONCE = 500


def total(connection: Connection, storage_id: int) -> int:
    """The files of a storage."""
    query = sa.select(sa.func.sum(storage_counts.c.n)).where(
        storage_counts.c.storage_id == storage_id
    )
    return int(connection.execute(query).scalar() or 0)


def hits(
    connection: Connection,
    scope: Scope,
    wanted: Place,
    query: FileQuery,
    found_series: Search | None,
) -> int:
    """The files of a query within a scope; ``found_series`` is of its pattern, if it has one."""
    if query.ids or query.hashes:
        return _counted(connection, scope, wanted, query)
    if found_series is not None:
        found = found_series.hits
    else:
        found = _known(connection, scope, wanted, query)
    if query.exclude_queued:
        found -= _queued(connection, scope, wanted, query)
    return found


def _queued(connection: Connection, scope: Scope, wanted: Place, query: FileQuery) -> int:
    """How many of the files that would be found are queued for an import: few, so that each is
    looked at."""
    queue = [row.file_id for row in connection.execute(sa.select(import_queue.c.file_id))]
    found = 0
    for start in range(0, len(queue), _AT_ONCE):
        some = replace(query, exclude_queued=False, ids=tuple(queue[start : start + _AT_ONCE]))
        found += _counted(connection, scope, wanted, some)
    return found


def candidates(connection: Connection, scope: Scope, wanted: Place) -> int:
    """The files of the folders a place lies in: what a search through them has to look at."""
    if wanted.file is not None and wanted.folder is None:
        return 1
    open_place = Place(folder=wanted.folder or "", deep=wanted.deep)
    return _sum(connection, scope, open_place, [])


def _counted(connection: Connection, scope: Scope, wanted: Place, query: FileQuery) -> int:
    conditions = [*place(connection, scope, wanted), *filters(query)]
    counting = sa.select(sa.func.count()).select_from(files).where(*conditions)
    return int(connection.execute(counting).scalar() or 0)


def _known(connection: Connection, scope: Scope, wanted: Place, query: FileQuery) -> int:
    table = storage_counts if _is_whole(scope, wanted) else file_counts
    restricted = kinds(query, table)
    if wanted.extensions is not None:
        restricted.append(table.c.extension.in_(wanted.extensions))
    found = 0
    if wanted.folder is not None:
        found = _sum(connection, scope, wanted, restricted)
    if wanted.file is not None:
        this = replace(wanted, folder=None)
        found += _counted(connection, scope, this, replace(query, exclude_queued=False))
    return found


def _is_whole(scope: Scope, wanted: Place) -> bool:
    return scope.is_whole and wanted.folder == "" and wanted.deep


def _sum(
    connection: Connection,
    scope: Scope,
    wanted: Place,
    restricted: list[sa.ColumnElement[bool]],
) -> int:
    table = storage_counts if _is_whole(scope, wanted) else file_counts
    query = sa.select(sa.func.sum(table.c.n)).where(table.c.storage_id == scope.storage_id)
    if table is file_counts:
        folder = file_counts.c.folder
        if not scope.is_whole:
            reachable = [in_subtree(folder, allowed) for allowed in scope.folders]
            query = query.where(sa.or_(sa.false(), *reachable))
        if wanted.deep:
            query = query.where(in_subtree(folder, wanted.folder or ""))
        else:
            query = query.where(folder == (wanted.folder or ""))
    return int(connection.execute(query.where(*restricted)).scalar() or 0)
