"""Conditions on ``files``: places, states, items, hashes and the import queue, as SQL.

One condition is for one storage, so that each is answered from an index that begins with it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from server.core.catalog.rows import split
from server.core.catalog.tables import (
    file_counts,
    file_hashes,
    files,
    import_queue,
    storage_counts,
)

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from server.core.catalog.model import FileQuery
    from server.core.catalog.paths import Glob, Place

__all__ = ["Scope", "filters", "in_subtree", "narrowed", "place", "queued"]

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


def path_of_row() -> sa.ColumnElement[str]:
    """A file's path."""
    return sa.case((files.c.folder == "", files.c.name), else_=files.c.folder + "/" + files.c.name)


def place(connection: Connection, scope: Scope, wanted: Place) -> list[_Condition]:
    """What restricts a storage's files to a place, within a scope."""
    found: list[_Condition] = [files.c.storage_id == scope.storage_id]
    if not scope.is_whole:
        reachable = [in_subtree(files.c.folder, folder) for folder in scope.folders]
        found.append(sa.or_(sa.false(), *reachable))
    if wanted.file is not None:
        folder, name = split(wanted.file)
        this = (files.c.folder == folder) & (files.c.name == name)
        if wanted.folder is not None:
            this |= in_subtree(files.c.folder, wanted.folder)
        return [*found, this]
    if wanted.folder:
        if wanted.deep:
            found.append(in_subtree(files.c.folder, wanted.folder))
        else:
            found.append(files.c.folder == wanted.folder)
    elif wanted.folder == "" and not wanted.deep:
        found.append(files.c.folder == "")
    if wanted.extensions is not None:
        return [*found, files.c.extension.in_(wanted.extensions)]
    if wanted.glob is not None:
        found += _glob(connection, scope, wanted, wanted.glob)
    return found


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


def _glob(connection: Connection, scope: Scope, wanted: Place, glob: Glob) -> list[_Condition]:
    path: sa.ColumnElement[str] = path_of_row()
    folder: sa.ColumnElement[str] = file_counts.c.folder
    if wanted.ignorecase:
        path, folder = _lower(connection, path, glob), _lower(connection, folder, glob)
        glob = glob.lower()
    found: list[_Condition] = []
    above = glob.folder()
    if above is not None:
        # There are far fewer folders than files: those that cannot match are not gone into.
        named = _like(connection, folder, above)
        if wanted.depth is None:
            named |= _like(connection, folder, above.beneath())
        folders = (
            sa.select(file_counts.c.folder)
            .where((file_counts.c.storage_id == scope.storage_id) & named)
            .distinct()
        )
        if wanted.folder:
            folders = folders.where(in_subtree(file_counts.c.folder, wanted.folder))
        found.append(files.c.folder.in_(folders))
    matching = _like(connection, path, glob)
    if wanted.beneath:
        matching |= _like(connection, path, glob.beneath())
    found.append(matching)
    if wanted.depth is not None:
        slashes = sa.func.length(path) - sa.func.length(sa.func.replace(path, "/", ""))
        found.append(slashes == wanted.depth)
    return found


def _like(connection: Connection, column: sa.ColumnElement[str], glob: Glob) -> _Condition:
    if connection.dialect.name == "sqlite":
        return column.op("GLOB", is_comparison=True)(glob.sqlite())
    return column.like(glob.like(), escape="\\")


def _lower(
    connection: Connection, column: sa.ColumnElement[str], glob: Glob
) -> sa.ColumnElement[Any]:
    if connection.dialect.name != "sqlite":
        # The column's own collation goes by bytes, and knows only ASCII's capitals.
        return sa.func.lower(sa.collate(column, "default"))
    is_ascii = all(not isinstance(token, str) or token.isascii() for token in glob.tokens)
    return sa.func.lower(column) if is_ascii else sa.func.pixfs_lower(column)


def filters(query: FileQuery) -> list[_Condition]:
    """What of a query has nothing to do with places."""
    found: list[_Condition] = []
    if query.ids:
        found.append(files.c.id.in_(query.ids))
    if query.states:
        found.append(files.c.state.in_([state.value for state in query.states]))
    if query.filter == "item":
        found.append(files.c.has_item)
    elif query.filter == "noitem":
        found.append(sa.not_(files.c.has_item))
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
