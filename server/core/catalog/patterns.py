"""What the series of a storage say of a pattern: how many files match it, and where they are.

A series' name decides for all its files, unless digits of the pattern would have to be those of
the number: such a series is *open*. Folders are told apart by it: in some every file matches, so
that none is looked at; of the others each file's path is held against the pattern, or, if all
their series are open, the names it can have are looked up. Functions run inside a reading
transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from server.core.catalog.conditions import among, kinds, place, series_place
from server.core.catalog.numbering import names_with
from server.core.catalog.tables import files, series

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Connection

    from server.core.catalog.conditions import Scope
    from server.core.catalog.model import FileQuery
    from server.core.catalog.paths import Place

__all__ = ["Search", "Way", "search"]

# As many names are looked up one by one; beyond that their folders are gone through.
_MOST_NAMES = 10_000

# What a series' name says of its files.
_NONE, _SOME, _ALL = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Way:
    """Some of the files that match a pattern; no two ways lead to one file.

    Attributes:
        condition: what tells them from all other files.
        index: SQLite's index for it.
        near: how many files it has to look at, of whatever states and belonging.
        hits: how many it leads to of the query's states and belonging; None if nobody asked.
    """

    condition: sa.ColumnElement[bool]
    index: str
    near: int
    hits: int | None


@dataclass(frozen=True, slots=True)
class Search:
    """A pattern within a scope, held against the series."""

    ways: tuple[Way, ...]

    @property
    def near(self) -> int:
        """The files that have to be looked at."""
        return sum(way.near for way in self.ways)

    @property
    def hits(self) -> int:
        """The files that match, of the query's states and belonging."""
        return sum(way.hits or 0 for way in self.ways)


@dataclass(frozen=True, slots=True)
class _Folders:
    """Folders of whose series the pattern says the same.

    Attributes:
        near: the files in them.
        hits: those in series that match, of the query's states and belonging.
        is_open: whether a series among them is.
    """

    folders: Sequence[str]
    near: int = 0
    hits: int = 0
    is_open: bool = False


def search(connection: Connection, scope: Scope, wanted: Place, query: FileQuery) -> Search:
    """Holds the pattern of a place against the series, and counts if the query says so."""
    verdicts = _verdicts(connection, scope, wanted, query)
    told = _told_apart(connection, verdicts)
    ways: list[Way] = []
    settled: list[str] = []
    if (full := told.get("full")) is not None:
        settled += full.folders
        ways.append(Way(_in(connection, scope, full.folders), _PLACE, full.near, full.hits))
    if (mixed := told.get("mixed")) is not None:
        settled += mixed.folders
        condition = sa.and_(
            _in(connection, scope, mixed.folders), *place(connection, scope, wanted)
        )
        hits: int | None = mixed.hits
        if mixed.is_open:
            hits = _counted(connection, condition, _PLACE, query)
        ways.append(Way(condition, _PLACE, mixed.near, hits))
    if (opened := told.get("open")) is not None:
        ways.append(_into_open(connection, scope, wanted, query, verdicts, opened, settled))
    return Search(tuple(ways))


_PLACE = "uq_files_place"


def _verdicts(
    connection: Connection, scope: Scope, wanted: Place, query: FileQuery
) -> sa.Subquery:
    """Each series of the place with its files, those of the query's kinds, and what its name
    says."""
    known, all_match, some_may = series_place(connection, scope, wanted)
    hits = sa.case((sa.and_(sa.true(), *kinds(query, series)), series.c.n), else_=0)
    said = [(all_match, _ALL)]
    if wanted.glob is not None and wanted.glob.digit_runs():
        said.append((some_may, _SOME))
    return (
        sa.select(
            series.c.folder,
            series.c.name,
            sa.func.sum(series.c.n).label("n"),
            sa.func.sum(hits).label("hits"),
            sa.case(*said, else_=_NONE).label("verdict"),
        )
        .where(known)
        .group_by(series.c.folder, series.c.name)
        .subquery()
    )


def _told_apart(connection: Connection, verdicts: sa.Subquery) -> dict[str, _Folders]:
    """The folders that may have files that match: those that have no others, those of whose
    series some match, and those that have open series only."""
    verdict, most = verdicts.c.verdict, sa.func.max(verdicts.c.verdict)
    sort = sa.case(
        (sa.func.min(verdict) == _ALL, "full"), (most == _ALL, "mixed"), else_="open"
    ).label("sort")
    by_folder = (
        sa.select(
            verdicts.c.folder,
            sa.func.sum(verdicts.c.n).label("n"),
            sa.func.sum(sa.case((verdict == _ALL, verdicts.c.hits), else_=0)).label("hits"),
            sa.func.sum(sa.case((verdict == _SOME, 1), else_=0)).label("opened"),
            sort,
        )
        .group_by(verdicts.c.folder)
        .having(most > _NONE)
        .subquery()
    )
    listed = sa.func.json_group_array if connection.dialect.name == "sqlite" else sa.func.json_agg
    found = sa.select(
        by_folder.c.sort,
        sa.type_coerce(listed(by_folder.c.folder), sa.JSON).label("folders"),
        sa.func.sum(by_folder.c.n).label("n"),
        sa.func.sum(by_folder.c.hits).label("hits"),
        sa.func.sum(by_folder.c.opened).label("opened"),
    ).group_by(by_folder.c.sort)
    return {
        row.sort: _Folders(row.folders, int(row.n), int(row.hits), is_open=row.opened > 0)
        for row in connection.execute(found)
    }


def _into_open(
    connection: Connection,
    scope: Scope,
    wanted: Place,
    query: FileQuery,
    verdicts: sa.Subquery,
    opened: _Folders,
    settled: list[str],
) -> Way:
    """The way into folders that have open series only: by the names their files can match by, or
    else through all of them."""
    names = _names(connection, wanted, verdicts)
    index, conditions = _PLACE, [_in(connection, scope, opened.folders)]
    is_sure = False
    if names is not None:
        index = "ix_files_by_name"
        conditions = [
            files.c.storage_id == scope.storage_id,
            among(connection, files.c.name, names),
        ]
        if settled:
            conditions.append(sa.not_(among(connection, files.c.folder, settled)))
        is_sure = scope.is_whole and wanted.decides(names)
    if not is_sure:
        conditions += place(connection, scope, wanted)
    condition = sa.and_(*conditions)
    hits = _counted(connection, condition, index, query)
    near = opened.near
    if names is not None and hits is not None and not (query.states or query.filter):
        near = hits
    return Way(condition, index, near, hits)


def _names(
    connection: Connection, wanted: Place, verdicts: sa.Subquery
) -> list[str] | None:
    """The names that files of open series can match by; None when they are too many."""
    assert wanted.glob is not None
    found = sa.select(verdicts.c.name).where(verdicts.c.verdict == _SOME).distinct()
    names = [row.name for row in connection.execute(found.limit(_MOST_NAMES + 1))]
    if len(names) > _MOST_NAMES:
        return None
    return names_with(names, wanted.glob.digit_runs(), _MOST_NAMES)


def _in(
    connection: Connection, scope: Scope, folders: Sequence[str]
) -> sa.ColumnElement[bool]:
    return sa.and_(
        files.c.storage_id == scope.storage_id, among(connection, files.c.folder, folders)
    )


def _counted(
    connection: Connection, condition: sa.ColumnElement[bool], index: str, query: FileQuery
) -> int | None:
    """How many files a condition has; None when nobody asked."""
    if not query.count:
        return None
    counting = sa.select(sa.func.count()).select_from(files)
    counting = counting.where(condition, *kinds(query, files))
    counting = counting.with_hint(files, f"INDEXED BY {index}", "sqlite")
    return int(connection.execute(counting).scalar() or 0)
