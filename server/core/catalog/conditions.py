"""Conditions on ``files``: places, states, items, hashes and the import queue, as SQL.

One condition is for one storage, so that each is answered from an index that begins with it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from server.core.catalog import matching
from server.core.catalog.rows import split
from server.core.catalog.tables import (
    file_counts,
    file_hashes,
    files,
    import_queue,
    series,
    storage_counts,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Connection

    from server.core.catalog.model import FileQuery
    from server.core.catalog.paths import Place

__all__ = [
    "Scope",
    "among",
    "filters",
    "in_subtree",
    "kinds",
    "narrowed",
    "place",
    "queued",
    "series_of_place",
]

_Condition = sa.ColumnElement[bool]


@dataclass(frozen=True, slots=True)
class Scope:
    """A part of a storage that is searched: all of it, or the folders an actor may reach.

    Attributes:
        folders: without one in another.
    """

    storage_id: int
    folders: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether nothing of the storage is left out."""
        return self.folders == ("",)


def in_subtree(column: sa.ColumnElement[str], folder: str) -> _Condition:
    """Whether a folder is this one or lies beneath it: a range, as names go by their bytes."""
    if not folder:
        return sa.true()
    # One range, because that is what an index can walk; "0" is the character after "/". What
    # else lies in it, as "sh010-old" does for "sh010", is left out by the last condition.
    within = (column >= folder) & (column < folder + "0")
    return within & ((column == folder) | (column > folder + "/"))


def place(connection: Connection, scope: Scope, wanted: Place) -> list[_Condition]:
    """What restricts a storage's files to a place, within a scope."""
    if wanted.file is not None:
        folder, name = split(wanted.file)
        this = (files.c.folder == folder) & (files.c.name == name)
        if wanted.folder is not None:
            this |= in_subtree(files.c.folder, wanted.folder)
        return [*_reachable(scope, files), this]
    found = [*_reachable(scope, files), *_within(wanted, files)]
    if wanted.extensions is not None:
        return [*found, files.c.extension.in_(wanted.extensions)]
    if wanted.glob is not None:
        found.append(matching.of_path(connection, files, wanted))
    return found


def series_of_place(scope: Scope, wanted: Place) -> _Condition:
    """Whether a series lies in the folders of a place, whatever its pattern."""
    return sa.and_(*_reachable(scope, series), *_within(wanted, series))


def among(
    connection: Connection, column: sa.ColumnElement[Any], values: Sequence[str] | Sequence[int]
) -> _Condition:
    """Whether a text or number is one of many: they are handed over as one parameter, as
    hundreds take longer to be bound than to be looked up."""
    if connection.dialect.name == "sqlite":
        told = sa.func.json_each(json.dumps(values)).table_valued("value")
        return column.in_(sa.select(told.c.value))
    return column == sa.any_(sa.literal(list(values), postgresql.ARRAY(column.type)))


def _reachable(scope: Scope, table: sa.Table) -> list[_Condition]:
    found: list[_Condition] = [table.c.storage_id == scope.storage_id]
    if not scope.is_whole:
        reachable = [in_subtree(table.c.folder, folder) for folder in scope.folders]
        found.append(sa.or_(sa.false(), *reachable))
    return found


def _within(wanted: Place, table: sa.Table) -> list[_Condition]:
    if wanted.folder is None or (wanted.folder == "" and wanted.deep):
        return []
    if wanted.deep:
        return [in_subtree(table.c.folder, wanted.folder)]
    return [table.c.folder == wanted.folder]


def narrowed(connection: Connection, scope: Scope, wanted: Place) -> Place:
    """An extension's pattern also means what lies in folders of such names: only where there
    are none is it the extensions alone, of which a storage has few."""
    if wanted.extensions is None or wanted.glob is None:
        return wanted
    glob, folder = wanted.glob, file_counts.c.folder
    shown: sa.ColumnElement[Any] = folder
    if wanted.ignorecase:
        shown, glob = matching.lower(connection, folder, glob), glob.lower()
    named = matching.like(connection, shown, glob)
    named |= matching.like(connection, shown, glob.beneath())
    within = (file_counts.c.storage_id == scope.storage_id) & in_subtree(
        folder, wanted.folder or ""
    )
    if connection.execute(sa.select(folder).where(within & named).limit(1)).first() is not None:
        return replace(wanted, extensions=None)
    if not wanted.ignorecase:
        return wanted
    known = sa.select(storage_counts.c.extension).where(
        storage_counts.c.storage_id == scope.storage_id
    )
    alike = {
        row.extension
        for row in connection.execute(known.distinct())
        if row.extension.lower() == wanted.extensions[0].lower()
    }
    return replace(wanted, extensions=tuple(sorted(alike)))


def kinds(query: FileQuery, table: sa.Table) -> list[_Condition]:
    """What of a query the tables of counts know, too: states and belonging."""
    found: list[_Condition] = []
    if query.states:
        found.append(table.c.state.in_([state.value for state in query.states]))
    if query.filter == "item":
        found.append(table.c.has_item)
    elif query.filter == "noitem":
        found.append(sa.not_(table.c.has_item))
    return found


def filters(query: FileQuery) -> list[_Condition]:
    """What of a query has nothing to do with places."""
    found = kinds(query, files)
    if query.ids:
        found.append(files.c.id.in_(query.ids))
    if query.hashes:
        known = sa.select(file_hashes.c.file_id).where(
            file_hashes.c.value.in_([value.lower() for value in query.hashes])
        )
        if query.algorithm:
            known = known.where(file_hashes.c.algorithm == query.algorithm)
        found.append(files.c.id.in_(known))
    if query.exclude_queued:
        found.append(sa.not_(queued()))
    return found


def queued() -> _Condition:
    """Whether an import has been started for a file."""
    return files.c.id.in_(sa.select(import_queue.c.file_id))
