"""Conditions on ``files``: places, states, items, hashes and the import queue, as SQL.

One condition is for one storage, so that each is answered from an index that begins with it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

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
    from server.core.catalog.paths import Glob, Place

__all__ = [
    "Scope",
    "among",
    "filters",
    "in_subtree",
    "kinds",
    "narrowed",
    "place",
    "queued",
    "series_place",
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
        found += _glob(connection, wanted)
    return found


def series_place(
    connection: Connection, scope: Scope, wanted: Place
) -> tuple[_Condition, _Condition, _Condition]:
    """What restricts a storage's series to the folders of a place with a pattern; and of a series
    in them, whether all its files match, whatever their numbers, and, of the others, whether some
    may."""
    assert wanted.glob is not None
    known = sa.and_(*_reachable(scope, series), *_within(wanted, series))
    all_match = _matches(connection, series, wanted)
    told = series.c.name if wanted.glob.is_in_name else _path(series)
    told, glob = _compared(connection, told, wanted)
    patterns = _patterns(wanted, glob)
    some_may = sa.or_(*(_like_series(connection, told, pattern) for pattern in patterns))
    if wanted.depth is not None:
        deep_enough = _slashes(_path(series)) == wanted.depth
        all_match, some_may = all_match & deep_enough, some_may & deep_enough
    return known, all_match, some_may


def among(
    connection: Connection, column: sa.ColumnElement[Any], values: Sequence[str] | Sequence[int]
) -> _Condition:
    """Whether a text or number is one of many: they are handed over as one parameter, as
    hundreds take longer to be bound than to be looked up."""
    if connection.dialect.name == "sqlite":
        told = sa.func.json_each(json.dumps(values)).table_valued("value")
        return column.in_(sa.select(told.c.value))
    return column == sa.any_(sa.literal(list(values), postgresql.ARRAY(column.type)))


def _path(table: sa.Table) -> sa.ColumnElement[str]:
    """The path of a file or a series."""
    folder, name = table.c.folder, table.c.name
    return sa.case((folder == "", name), else_=folder + "/" + name)


def _slashes(path: sa.ColumnElement[str]) -> sa.ColumnElement[int]:
    return sa.func.length(path) - sa.func.length(sa.func.replace(path, "/", ""))


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


def _patterns(wanted: Place, glob: Glob) -> list[Glob]:
    return [glob, glob.beneath()] if wanted.beneath and not glob.is_open else [glob]


def _compared(
    connection: Connection, text: sa.ColumnElement[str], wanted: Place
) -> tuple[sa.ColumnElement[Any], Glob]:
    """What is compared with what, whether or not capitals count."""
    assert wanted.glob is not None
    if not wanted.ignorecase:
        return text, wanted.glob
    return _lower(connection, text, wanted.glob), wanted.glob.lower()


def narrowed(connection: Connection, scope: Scope, wanted: Place) -> Place:
    """An extension's pattern also means what lies in folders of such names: only where there
    are none is it the extensions alone, of which a storage has few."""
    if wanted.extensions is None or wanted.glob is None:
        return wanted
    glob, folder = wanted.glob, file_counts.c.folder
    shown: sa.ColumnElement[Any] = folder
    if wanted.ignorecase:
        shown, glob = _lower(connection, folder, glob), glob.lower()
    named = _like(connection, shown, glob) | _like(connection, shown, glob.beneath())
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


def _glob(connection: Connection, wanted: Place) -> list[_Condition]:
    found: list[_Condition] = [_matches(connection, files, wanted)]
    if wanted.depth is not None:
        found.append(_slashes(_path(files)) == wanted.depth)
    return found


def _matches(connection: Connection, table: sa.Table, wanted: Place) -> _Condition:
    """Whether the pattern holds for a path, whatever its depth."""
    assert wanted.glob is not None
    columns = (table.c.folder, table.c.name) if wanted.glob.is_piece else (_path(table),)
    found = []
    for column in columns:
        shown, glob = _compared(connection, column, wanted)
        found += [_like(connection, shown, pattern) for pattern in _patterns(wanted, glob)]
    return sa.or_(*found)


def _like(connection: Connection, column: sa.ColumnElement[str], glob: Glob) -> _Condition:
    if connection.dialect.name == "sqlite":
        if glob.is_piece:
            # Half of what GLOB takes.
            return sa.func.instr(column, glob.text) > 0
        return column.op("GLOB", is_comparison=True)(glob.sqlite())
    return column.like(glob.like(), escape="\\")


def _like_series(connection: Connection, path: sa.ColumnElement[str], glob: Glob) -> _Condition:
    if connection.dialect.name == "sqlite":
        return path.op("GLOB", is_comparison=True)(glob.sqlite_of_series())
    return path.op("~", is_comparison=True)(glob.regex_of_series())


def _lower(
    connection: Connection, column: sa.ColumnElement[str], glob: Glob
) -> sa.ColumnElement[Any]:
    if connection.dialect.name != "sqlite":
        # The column's own collation goes by bytes, and knows only ASCII's capitals.
        return sa.func.lower(sa.collate(column, "default"))
    is_ascii = all(not isinstance(token, str) or token.isascii() for token in glob.tokens)
    return sa.func.lower(column) if is_ascii else sa.func.pixfs_lower(column)


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
