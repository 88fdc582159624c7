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

_PLACE, _NAME = "uq_files_place", "ix_files_by_name"

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

    folders: Sequence[str] = ()
    near: int = 0
    hits: int = 0
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class _Told:
    """What the series say.

    Attributes:
        full: folders all of whose files match.
        mixed: folders of whose series some match, and others do not or are open.
        opened: the files of open series.
        opened_folders: what finds their folders.
        series: the names of open series.
    """

    full: _Folders
    mixed: _Folders
    opened: int
    opened_folders: sa.Select[tuple[str]]
    series: Sequence[str]


def search(connection: Connection, scope: Scope, wanted: Place, query: FileQuery) -> Search:
    """Holds the pattern of a place against the series, and counts if the query says so."""
    verdicts = _verdicts(connection, scope, wanted, query)
    told = _told(connection, verdicts)
    ways: list[Way] = []
    if told.full.folders:
        condition = _in(connection, scope, told.full.folders)
        ways.append(Way(condition, _PLACE, told.full.near, told.full.hits))
    if told.mixed.folders:
        condition = sa.and_(
            _in(connection, scope, told.mixed.folders), *place(connection, scope, wanted)
        )
        hits: int | None = told.mixed.hits
        if told.mixed.is_open:
            hits = _counted(connection, condition, _PLACE, query)
        ways.append(Way(condition, _PLACE, told.mixed.near, hits))
    if told.opened:
        ways.append(_into_open(connection, scope, wanted, query, told))
    return Search(tuple(ways))


def _verdicts(connection: Connection, scope: Scope, wanted: Place, query: FileQuery) -> sa.CTE:
    """Each series of the place with its files, those of the query's kinds, and what its name
    says."""
    known, all_match, some_may = series_place(connection, scope, wanted)
    hits: sa.ColumnElement[int] = series.c.n
    if restricted := kinds(query, series):
        hits = sa.case((sa.and_(*restricted), series.c.n), else_=0)
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
        .cte("verdicts")
    )


def _told(connection: Connection, verdicts: sa.CTE) -> _Told:
    """What the series say, in one statement: they are gone through once."""
    lists = sa.func.json_group_array if connection.dialect.name == "sqlite" else sa.func.json_agg
    by_folder = _settled(verdicts)
    settled = sa.select(
        by_folder.c.sort,
        sa.type_coerce(lists(by_folder.c.folder), sa.JSON).label("names"),
        sa.func.sum(by_folder.c.n).label("n"),
        sa.func.sum(by_folder.c.hits).label("hits"),
        sa.func.max(by_folder.c.verdict).label("verdict"),
    ).group_by(by_folder.c.sort)
    is_open = verdicts.c.verdict == _SOME
    open_series = (
        sa.select(verdicts.c.name, sa.func.sum(verdicts.c.n).label("n"))
        .where(is_open)
        .group_by(verdicts.c.name)
        .subquery()
    )
    opened = sa.select(
        sa.literal("opened"),
        sa.type_coerce(lists(open_series.c.name), sa.JSON),
        sa.func.sum(open_series.c.n),
        sa.literal(0),
        sa.literal(_SOME),
    )
    rows = {row.sort: row for row in connection.execute(settled.union_all(opened))}
    full, mixed = (
        _Folders(row.names, int(row.n), int(row.hits), is_open=row.verdict == _SOME)
        if (row := rows.get(sort))
        else _Folders()
        for sort in ("full", "mixed")
    )
    folders = sa.select(verdicts.c.folder).where(is_open)
    series_names = rows["opened"].names or ()
    return _Told(full, mixed, int(rows["opened"].n or 0), folders, series_names)


def _settled(verdicts: sa.CTE) -> sa.Subquery:
    """The folders that have series whose files all match, with what is said of their other
    series."""
    verdict, folder = verdicts.c.verdict, verdicts.c.folder
    matching = (
        sa.select(
            folder,
            sa.func.sum(verdicts.c.n).label("n"),
            sa.func.sum(verdicts.c.hits).label("hits"),
        )
        .where(verdict == _ALL)
        .group_by(folder)
        .cte("matching")
    )
    others = (
        sa.select(
            folder, sa.func.sum(verdicts.c.n).label("n"), sa.func.max(verdict).label("verdict")
        )
        .where((verdict < _ALL) & folder.in_(sa.select(matching.c.folder)))
        .group_by(folder)
        .subquery("others")
    )
    return (
        sa.select(
            matching.c.folder,
            sa.case((others.c.folder.is_(None), "full"), else_="mixed").label("sort"),
            (matching.c.n + sa.func.coalesce(others.c.n, 0)).label("n"),
            matching.c.hits,
            others.c.verdict,
        )
        .select_from(matching.outerjoin(others, others.c.folder == matching.c.folder))
        .subquery("settled")
    )


def _into_open(
    connection: Connection, scope: Scope, wanted: Place, query: FileQuery, told: _Told
) -> Way:
    """The way into folders that have open series at best: by the names their files can match by,
    or else through all of them."""
    assert wanted.glob is not None
    outside = []
    if settled := [*told.full.folders, *told.mixed.folders]:
        outside.append(sa.not_(among(connection, files.c.folder, settled)))
    names = None
    if len(told.series) <= _MOST_NAMES:
        names = names_with(told.series, wanted.glob.digit_runs(), _MOST_NAMES)
    if names is None:
        condition = sa.and_(
            files.c.storage_id == scope.storage_id,
            files.c.folder.in_(told.opened_folders),
            *outside,
            *place(connection, scope, wanted),
        )
        hits = _counted(connection, condition, _PLACE, query)
        return Way(condition, _PLACE, told.opened, hits)
    conditions = [
        files.c.storage_id == scope.storage_id,
        among(connection, files.c.name, names),
        *outside,
    ]
    if not scope.is_whole or not wanted.decides(names):
        conditions += place(connection, scope, wanted)
    condition = sa.and_(*conditions)
    hits = _counted(connection, condition, _NAME, query)
    near = told.opened if hits is None or kinds(query, files) else hits
    return Way(condition, _NAME, near, hits)


def _in(connection: Connection, scope: Scope, folders: Sequence[str]) -> sa.ColumnElement[bool]:
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
