"""What the series of a storage say of a pattern: how many files match it, and where they are.

A series' name decides for all its files, unless digits of the pattern would have to be those of
the number: such a series is *open*. Folders are told apart by it: in some every file matches, so
that none is looked at; of the others each file's path is held against the pattern, or, if all
their series are open, the names it can have are looked up. Functions run inside a reading
transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from server.core.catalog.conditions import among, kinds, place
from server.core.catalog.numbering import names_with
from server.core.catalog.tables import files, series
from server.core.catalog.verdicts import ALL, SOME, Verdicts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.engine import Connection

    from server.core.catalog.conditions import Scope
    from server.core.catalog.model import FileQuery
    from server.core.catalog.paths import Place

__all__ = ["Search", "Way", "search"]

# As many names are looked up one by one; beyond that their folders are gone through.
_MOST_NAMES = 10_000

_PLACE, _NAME = "uq_files_place", "ix_files_by_name"


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
        near: the files of series that match.
        hits: those of the query's states and belonging.
        opened: the files of open series.
    """

    near: int
    hits: int
    opened: int


def search(
    connection: Connection, scope: Scope, wanted: Place, query: FileQuery, walked: int
) -> Search:
    """Holds the pattern of a place against the series, and counts if the query says so. From
    ``walked`` files on it does not matter where those are that match, if it is known how many."""
    verdicts = Verdicts(connection, scope, wanted, query)
    told = _told(connection, verdicts)
    if told.near > walked and not told.opened:
        everywhere = sa.and_(*place(connection, scope, wanted))
        return Search((Way(everywhere, _PLACE, told.near, told.hits),))
    full = mixed = _Folders()
    if told.near:
        full, mixed = _settled(connection, scope, verdicts)
    ways: list[Way] = []
    if full.folders:
        ways.append(Way(_in(connection, scope, full.folders), _PLACE, full.near, full.hits))
    if mixed.folders:
        condition = sa.and_(
            _in(connection, scope, mixed.folders), *place(connection, scope, wanted)
        )
        hits: int | None = mixed.hits
        if mixed.is_open:
            hits = _counted(connection, condition, _PLACE, query)
        ways.append(Way(condition, _PLACE, mixed.near, hits))
    if told.opened:
        settled = [*full.folders, *mixed.folders]
        ways.append(_into_open(connection, scope, wanted, query, verdicts, told, settled))
    return Search(tuple(ways))


def _told(connection: Connection, verdicts: Verdicts) -> _Told:
    """What all series say together. Grouped, so that each name is held against the pattern once,
    whatever the states of its files, and however often it is asked what came of it."""
    by_name = (
        sa.select(
            sa.func.sum(series.c.n).label("n"),
            sa.func.sum(verdicts.hits).label("hits"),
            verdicts.verdict.label("verdict"),
        )
        .where(verdicts.known)
        .group_by(series.c.folder, series.c.name)
        .subquery()
    )

    def total(counted: sa.ColumnElement[int], verdict: int) -> sa.ColumnElement[int]:
        of_verdict = sa.case((by_name.c.verdict == verdict, counted))
        return sa.func.coalesce(sa.func.sum(of_verdict), 0)

    n, hits = by_name.c.n, by_name.c.hits
    query = sa.select(total(n, ALL), total(hits, ALL), total(n, SOME))
    near, of_kinds, opened = connection.execute(query).one()
    return _Told(int(near), int(of_kinds), int(opened))


def _list(connection: Connection) -> Callable[..., sa.Function[Any]]:
    return sa.func.json_group_array if connection.dialect.name == "sqlite" else sa.func.json_agg


def _settled(connection: Connection, scope: Scope, verdicts: Verdicts) -> tuple[_Folders, _Folders]:
    """Of the folders that have series whose files all match: those that have no others, and those
    that have."""
    matches = verdicts.all_match
    found = sa.select(series.c.folder).where(verdicts.known, matches).correlate(None)
    by_folder = (
        sa.select(
            series.c.folder,
            sa.func.sum(series.c.n).label("n"),
            sa.func.sum(sa.case((matches, verdicts.hits), else_=0)).label("hits"),
            sa.func.max(sa.case((matches, None), else_=verdicts.verdict)).label("verdict"),
        )
        .where(series.c.storage_id == scope.storage_id, series.c.folder.in_(found))
        .group_by(series.c.folder)
        .subquery()
    )
    is_full = by_folder.c.verdict.is_(None)
    query = sa.select(
        is_full,
        sa.type_coerce(_list(connection)(by_folder.c.folder), sa.JSON),
        sa.func.sum(by_folder.c.n),
        sa.func.sum(by_folder.c.hits),
        sa.func.max(by_folder.c.verdict),
    ).group_by(is_full)
    sorts = {
        bool(full): _Folders(names, int(n), int(hits), is_open=verdict == SOME)
        for full, names, n, hits, verdict in connection.execute(query)
    }
    return sorts.get(True, _Folders()), sorts.get(False, _Folders())


def _into_open(
    connection: Connection,
    scope: Scope,
    wanted: Place,
    query: FileQuery,
    verdicts: Verdicts,
    told: _Told,
    settled: Sequence[str],
) -> Way:
    """The way into folders that have open series at best: by the names their files can match by,
    or else through all of them."""
    assert wanted.glob is not None
    outside = []
    if settled:
        outside.append(sa.not_(among(connection, files.c.folder, settled)))
    names = None
    found = verdicts.open_names(connection, _MOST_NAMES)
    if len(found) <= _MOST_NAMES:
        names = names_with(found, wanted.glob.digit_runs(), _MOST_NAMES)
    if names is None:
        opened = verdicts.opened(series.c.folder)
        condition = sa.and_(
            files.c.storage_id == scope.storage_id,
            files.c.folder.in_(opened),
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
