"""Pages that are found along an order's index: anywhere in the list of a whole storage, by the
spans, or early in that of a part of it.

Functions run inside a reading transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from server.core.catalog import counts, spans
from server.core.catalog.conditions import filters, kinds
from server.core.catalog.model import SortKey
from server.core.catalog.tables import files, import_queue, storage_counts
from server.core.catalog.tables import spans as span_counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Connection

    from server.core.catalog.conditions import Scope
    from server.core.catalog.model import FileQuery, Sort
    from server.core.catalog.paths import Place
    from server.core.catalog.spans import Ordering

__all__ = ["early_ids", "page_ids"]

FAR = 2_000
"""From here on a walk from the list's beginning takes longer than to look for a span."""

# A list of less than one in so many files has an index that is shorter to walk.
_SPARSE = 20

# A list is walked for files of a place when so many are enough, as the place's share tells.
_MOST_WALKED = 4_000

_ORDERINGS = {
    (SortKey.FILE_ID,): spans.BY_ID,
    (SortKey.FILENAME, SortKey.FILE_ID): spans.BY_NAME,
    (SortKey.SIZE, SortKey.FILE_ID): spans.BY_SIZE,
    (SortKey.TIMESTAMP, SortKey.FILE_ID): spans.BY_TIME,
    (SortKey.EXTENSION, SortKey.FILE_ID): spans.BY_EXTENSION,
    (SortKey.EXTENSION, SortKey.FILENAME, SortKey.FILE_ID): spans.BY_EXTENSION_NAME,
    (SortKey.STATE, SortKey.FILE_ID): spans.BY_STATE,
}
# Of one extension: its own part of an order.
_OF_EXTENSION = {
    (SortKey.FILE_ID,): spans.BY_EXTENSION,
    (SortKey.FILENAME, SortKey.FILE_ID): spans.BY_EXTENSION_NAME,
}


def page_ids(
    connection: Connection, scope: Scope, wanted: Place, query: FileQuery, order: Sequence[Sort]
) -> list[int] | None:
    """The ids of a page in their order; None when spans do not lead to it."""
    keys = tuple(sort.key for sort in order)
    if query.first < FAR or len({sort.descending for sort in order}) > 1:
        return None
    if not _is_cut(connection, scope, wanted, query):
        return None
    hits = counts.hits(connection, scope, wanted, query, None)
    if query.first >= hits or hits * _SPARSE < counts.total(connection, scope.storage_id):
        return None
    number = min(query.number, hits - query.first)
    # Spans are counted from the order's beginning.
    first = hits - query.first - number if order[0].descending else query.first
    if wanted.extensions is not None and keys in _OF_EXTENSION:
        found = _of_extension(
            connection, scope, query, _OF_EXTENSION[keys], wanted.extensions[0], first
        )
    elif wanted.extensions is None and keys in _ORDERINGS:
        ordering = _ORDERINGS[keys]
        by = _by_state if ordering is spans.BY_STATE else _by
        found = by(connection, scope, query, ordering, first)
    else:
        return None
    ids = [row[0] for row in connection.execute(found.limit(number)).all()]
    return ids[::-1] if order[0].descending else ids


def early_ids(
    connection: Connection,
    storage_id: int,
    conditions: Sequence[sa.ColumnElement[bool]],
    query: FileQuery,
    order: Sequence[Sort],
    hits: int,
) -> list[int] | None:
    """The ids of a page of the files that a place's conditions tell from the others of a storage,
    ``hits`` in all; None when the order's beginning is not where enough of them are."""
    ordering = _ORDERINGS.get(tuple(sort.key for sort in order))
    if ordering is None or len({sort.descending for sort in order}) > 1 or query.first >= hits:
        return None
    number = min(query.number, hits - query.first)
    likely = (query.first + number) * counts.total(connection, storage_id) // hits
    if likely * 2 > _MOST_WALKED:
        return None
    walked = files.alias("walked")
    begin = (
        sa.select(walked.c.id)
        .where(walked.c.storage_id == storage_id)
        .order_by(*_directed(walked, ordering, order))
        .limit(likely * 2 + 100)
        .with_hint(walked, f"INDEXED BY {ordering.index}", "sqlite")
    )
    found = (
        sa.select(files.c.id)
        .where(files.c.id.in_(begin), *conditions, *filters(query))
        .order_by(*_directed(files, ordering, order))
        .with_hint(files, "NOT INDEXED", "sqlite")
    )
    ids = [row[0] for row in connection.execute(found.limit(number).offset(query.first)).all()]
    return ids if len(ids) == number else None


def _directed(
    table: sa.FromClause, ordering: Ordering, order: Sequence[Sort]
) -> list[sa.ColumnElement[Any]]:
    columns = [table.c[column.name] for column in (*ordering.columns, files.c.id)]
    return [column.desc() if order[0].descending else column.asc() for column in columns]


def _is_cut(connection: Connection, scope: Scope, wanted: Place, query: FileQuery) -> bool:
    """Whether spans know what a list is restricted to."""
    if not scope.is_whole or wanted.file is not None or wanted.folder != "" or not wanted.deep:
        return False
    if wanted.extensions is None and wanted.glob is not None:
        return False
    if query.ids or query.hashes or len(wanted.extensions or ("",)) != 1:
        return False
    if not query.exclude_queued:
        return True
    return connection.execute(sa.select(import_queue.c.file_id).limit(1)).first() is None


def _by(
    connection: Connection, scope: Scope, query: FileQuery, order: Ordering, first: int
) -> spans.Walk:
    restricted = kinds(query, span_counts)
    start, rest = spans.skip(connection, scope.storage_id, order, restricted, first)
    return spans.walk(connection, scope.storage_id, order, start, *filters(query)).offset(rest)


def _of_extension(
    connection: Connection,
    scope: Scope,
    query: FileQuery,
    order: Ordering,
    extension: str,
    first: int,
) -> spans.Walk:
    """The files of an extension stand together, behind those of all lower ones."""
    lower = sa.select(sa.func.sum(storage_counts.c.n)).where(
        storage_counts.c.storage_id == scope.storage_id,
        storage_counts.c.extension < extension,
        *kinds(query, storage_counts),
    )
    before = int(connection.execute(lower).scalar() or 0)
    restricted = kinds(query, span_counts)
    start, rest = spans.skip(connection, scope.storage_id, order, restricted, before + first)
    if order.values(start)[0] != extension:
        # The span begins before the extension does.
        start, rest = order.start([extension, *("" for _ in order.columns[1:]), 0]), first
    found = spans.walk(connection, scope.storage_id, order, start, *filters(query), fixed=1)
    return found.offset(rest)


def _by_state(
    connection: Connection, scope: Scope, query: FileQuery, order: Ordering, first: int
) -> spans.Walk:
    """The files of a state stand together, by id as all files do."""
    of_states = (
        sa.select(storage_counts.c.state, sa.func.sum(storage_counts.c.n))
        .where(storage_counts.c.storage_id == scope.storage_id, *kinds(query, storage_counts))
        .group_by(storage_counts.c.state)
        .order_by(storage_counts.c.state)
    )
    state = ""
    for at_state, n in connection.execute(of_states):
        state = at_state
        if first < n:
            break
        first -= int(n)
    restricted = [*kinds(query, span_counts), span_counts.c.state == state]
    start, rest = spans.skip(connection, scope.storage_id, spans.BY_ID, restricted, first)
    here = order.start([state, start.file_id])
    return spans.walk(connection, scope.storage_id, order, here, *filters(query)).offset(rest)
