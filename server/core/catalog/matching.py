"""Patterns held against paths, and against what series and folders say of the paths, as SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from server.core.catalog.paths import Glob, Place

__all__ = ["like", "lower", "of_folder", "of_name", "of_path", "of_series"]

_Condition = sa.ColumnElement[bool]


def of_path(connection: Connection, table: sa.Table, wanted: Place) -> _Condition:
    """Whether a file's path matches; of a series, whether all its files' do, whatever their
    numbers."""
    assert wanted.glob is not None
    columns = (table.c.folder, table.c.name) if wanted.glob.is_piece else (_path(table),)
    found = [held for column in columns for held in _held(connection, column, wanted)]
    return _deep_enough(table, wanted, sa.or_(*found))


def of_series(connection: Connection, table: sa.Table, wanted: Place) -> _Condition:
    """Whether some of a series' files may match, as far as its path says."""
    assert wanted.glob is not None
    text = table.c.name if wanted.glob.is_in_name else _path(table)
    return _deep_enough(table, wanted, _may(connection, text, wanted))


def of_name(
    connection: Connection, name: sa.ColumnElement[str], wanted: Place
) -> tuple[_Condition, _Condition]:
    """Of a series' name, whether all files match because of it, and whether some may. Only for a
    pattern that is in a name."""
    return sa.or_(*_held(connection, name, wanted)), _may(connection, name, wanted)


def of_folder(connection: Connection, folder: sa.ColumnElement[str], wanted: Place) -> _Condition:
    """Whether all files in a folder match because of the folder's path, whatever their names. Only
    for a pattern that is in a name."""
    return sa.or_(*_held(connection, folder, wanted))


def _held(connection: Connection, text: sa.ColumnElement[str], wanted: Place) -> list[_Condition]:
    shown, glob = _compared(connection, text, wanted)
    return [like(connection, shown, pattern) for pattern in _patterns(wanted, glob)]


def _may(connection: Connection, text: sa.ColumnElement[str], wanted: Place) -> _Condition:
    shown, glob = _compared(connection, text, wanted)
    if not glob.digit_runs():
        return sa.false()
    return sa.or_(*(_like_series(connection, shown, one) for one in _patterns(wanted, glob)))


def _deep_enough(table: sa.Table, wanted: Place, matches: _Condition) -> _Condition:
    if wanted.depth is None:
        return matches
    path = _path(table)
    slashes = sa.func.length(path) - sa.func.length(sa.func.replace(path, "/", ""))
    return sa.and_(matches, slashes == wanted.depth)


def _path(table: sa.Table) -> sa.ColumnElement[str]:
    """The path of a file or a series."""
    folder, name = table.c.folder, table.c.name
    return sa.case((folder == "", name), else_=folder + "/" + name)


def _patterns(wanted: Place, glob: Glob) -> list[Glob]:
    return [glob, glob.beneath()] if wanted.beneath and not glob.is_open else [glob]


def _compared(
    connection: Connection, text: sa.ColumnElement[str], wanted: Place
) -> tuple[sa.ColumnElement[Any], Glob]:
    """What is compared with what, whether or not capitals count."""
    assert wanted.glob is not None
    if not wanted.ignorecase:
        return text, wanted.glob
    return lower(connection, text, wanted.glob), wanted.glob.lower()


def like(connection: Connection, column: sa.ColumnElement[str], glob: Glob) -> _Condition:
    """Whether a text matches a pattern."""
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


def lower(
    connection: Connection, column: sa.ColumnElement[str], glob: Glob
) -> sa.ColumnElement[Any]:
    """A text in small letters, to be compared with this pattern in small letters."""
    if connection.dialect.name != "sqlite":
        # The column's own collation goes by bytes, and knows only ASCII's capitals.
        return sa.func.lower(sa.collate(column, "default"))
    is_ascii = all(not isinstance(token, str) or token.isascii() for token in glob.tokens)
    return sa.func.lower(column) if is_ascii else sa.func.pixfs_lower(column)
