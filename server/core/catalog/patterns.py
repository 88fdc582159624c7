"""What the series of a storage say of a pattern: how many files match it, and where they are.

A series' name decides for all its files, unless digits of the pattern would have to be those of
the number: such a series is *open*, and its files are looked at. Functions run inside a reading
transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from server.core.catalog.conditions import kinds, place, series_place
from server.core.catalog.numbering import names_with
from server.core.catalog.tables import files, series

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from server.core.catalog.conditions import Scope
    from server.core.catalog.model import FileQuery
    from server.core.catalog.paths import Place

__all__ = ["Search", "count", "search"]

# As many names are looked up one by one; beyond that their folders are gone through.
_MOST_NAMES = 10_000


@dataclass(frozen=True, slots=True)
class Search:
    """A pattern within a scope, held against the series.

    Attributes:
        certain: of a series whose files all match.
        possible: of a series of whose files some may match, or all.
        near: the files of the possible series.
        has_certain, has_open: whether there are such series.
        names: those that files of open series can match by; None when they are too many.
    """

    certain: sa.ColumnElement[bool]
    possible: sa.ColumnElement[bool]
    near: int
    has_certain: bool
    has_open: bool
    names: tuple[str, ...] | None

    def narrowing(self) -> tuple[str, sa.ColumnElement[bool]]:
        """What holds for every file that matches, and the index that finds those it holds for."""
        if self.names is not None and not self.has_certain:
            return "ix_files_by_name", files.c.name.in_(self.names)
        return "uq_files_place", files.c.folder.in_(_folders(self.possible))


def search(connection: Connection, scope: Scope, wanted: Place) -> Search:
    """Holds the pattern of a place against the series."""
    assert wanted.glob is not None
    certain, possible = series_place(connection, scope, wanted)
    runs = wanted.glob.digit_runs()
    if not runs:
        near = _files_of(connection, certain)
        return Search(certain, certain, near, near > 0, has_open=False, names=None)
    sums = sa.select(
        sa.func.sum(series.c.n), sa.func.sum(sa.case((certain, series.c.n), else_=0))
    ).where(possible)
    near, surely = (int(n or 0) for n in connection.execute(sums).one())
    if near == surely:
        return Search(certain, certain, near, near > 0, has_open=False, names=None)
    opened = sa.select(series.c.name).where(possible & ~certain).distinct()
    found = [row.name for row in connection.execute(opened.limit(_MOST_NAMES + 1))]
    names = names_with(found, runs, _MOST_NAMES) if len(found) <= _MOST_NAMES else None
    told = None if names is None else tuple(names)
    return Search(certain, possible, near, surely > 0, has_open=True, names=told)


def count(
    connection: Connection, scope: Scope, wanted: Place, query: FileQuery, found: Search
) -> int:
    """How many files match, of the states and belonging that a query names; nothing else of the
    query counts."""
    certain = sa.and_(found.certain, *kinds(query, series))
    if not found.has_open:
        return _files_of(connection, certain)
    matching = sa.and_(*place(connection, scope, wanted), *kinds(query, files))
    if found.names is not None and not found.has_certain:
        return _looked_at(connection, matching & files.c.name.in_(found.names), "ix_files_by_name")
    is_open = found.possible & ~found.certain
    looked = opened = _folders(is_open)
    n = _files_of(connection, certain & series.c.folder.not_in(opened))
    if found.names is not None:
        # Only folders that have series of both kinds have to be gone through.
        settled = _folders(found.certain)
        named = files.c.name.in_(found.names) & files.c.folder.not_in(settled)
        n += _looked_at(connection, matching & named, "ix_files_by_name")
        looked = _folders(is_open & series.c.folder.in_(settled))
        if connection.execute(looked.limit(1)).first() is None:
            return n
    return n + _looked_at(connection, matching & files.c.folder.in_(looked), "uq_files_place")


def _folders(condition: sa.ColumnElement[bool]) -> sa.Select[tuple[str]]:
    return sa.select(series.c.folder).where(condition).distinct()


def _files_of(connection: Connection, condition: sa.ColumnElement[bool]) -> int:
    query = sa.select(sa.func.sum(series.c.n)).where(condition)
    return int(connection.execute(query).scalar() or 0)


def _looked_at(connection: Connection, condition: sa.ColumnElement[bool], index: str) -> int:
    query = sa.select(sa.func.count()).select_from(files).where(condition)
    query = query.with_hint(files, f"INDEXED BY {index}", "sqlite")
    return int(connection.execute(query).scalar() or 0)
