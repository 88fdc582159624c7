"""What a pattern says of each series of a place, as SQL.

A pattern whose plain characters all lie in one name, as those of ``*1042*`` do, is held against
the names there are, of which a thousand folders may have the same few, and against the folders.
Any other is held against the path of each series.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from server.core.catalog import matching
from server.core.catalog.conditions import among, kinds, series_of_place
from server.core.catalog.tables import series

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Connection

    from server.core.catalog.conditions import Scope
    from server.core.catalog.model import FileQuery
    from server.core.catalog.paths import Place

__all__ = ["ALL", "NONE", "SOME", "Verdicts"]

# What a series' name says of its files: no file matches, some may, as far as it says, all do.
NONE, SOME, ALL = 0, 1, 2

# So many names are looked up; where there are more they are hardly fewer than the series.
_MOST_NAMES = 2_000


class Verdicts:
    """A pattern within a place, as SQL on ``series``. Made and used inside a reading transaction.

    Attributes:
        known: whether a series lies in the place.
        all_match: whether all its files match.
        some_may: whether some may, as far as its name says; told of those that do not all match.
        hits: its files of the query's states and belonging.
    """

    def __init__(
        self, connection: Connection, scope: Scope, wanted: Place, query: FileQuery
    ) -> None:
        assert wanted.glob is not None
        self.known = series_of_place(scope, wanted)
        self.hits: sa.ColumnElement[int] = series.c.n
        if restricted := kinds(query, series):
            self.hits = sa.case((sa.and_(*restricted), series.c.n), else_=0)
        self._open_names: list[str] | None = None
        sorts = None
        if wanted.glob.is_in_name and wanted.depth is None:
            sorts = _sorted_names(connection, scope.storage_id, wanted)
        if sorts is None:
            self.all_match = matching.of_path(connection, series, wanted)
            self.some_may = matching.of_series(connection, series, wanted)
            return
        self.all_match = matching.of_folder(connection, series.c.folder, wanted)
        if sorts[ALL]:
            self.all_match |= among(connection, series.c.name, sorts[ALL])
        self.some_may = sa.false()
        if sorts[SOME]:
            self.some_may = among(connection, series.c.name, sorts[SOME])
        self._open_names = sorts[SOME]

    @property
    def verdict(self) -> sa.ColumnElement[int]:
        """What is said of a series."""
        return sa.case((self.all_match, ALL), (self.some_may, SOME), else_=NONE)

    def opened(self, column: sa.Column[str]) -> sa.Select[str]:
        """A column of the series of which some files may match, but not all do."""
        is_open = sa.not_(self.all_match) & self.some_may
        return sa.select(column).where(self.known, is_open).correlate(None)

    def open_names(self, connection: Connection, most: int) -> Sequence[str]:
        """The names of those series, more than ``most`` not all of them; also of some that lie
        outside the place."""
        if self._open_names is None:
            query = self.opened(series.c.name).distinct().limit(most + 1)
            self._open_names = list(connection.scalars(query))
        return self._open_names


def _sorted_names(
    connection: Connection, storage_id: int, wanted: Place
) -> dict[int, list[str]] | None:
    """The names of a storage's series by their verdicts; None if there are too many."""
    known = _names(storage_id)
    all_match, some_may = matching.of_name(connection, known.c.name, wanted)
    verdict = sa.case((all_match, ALL), (some_may, SOME), else_=NONE)
    query = sa.select(known.c.name, verdict).where(known.c.name.is_not(None))
    sorts: dict[int, list[str]] = {NONE: [], SOME: [], ALL: []}
    rows = connection.execute(query.limit(_MOST_NAMES + 1)).all()
    for name, said in rows:
        sorts[said].append(name)
    return sorts if len(rows) <= _MOST_NAMES else None


def _names(storage_id: int) -> sa.CTE:
    """The names of a storage's series, each found from the one before it: going through all series
    takes ten times as long."""
    of_storage = sa.select(sa.func.min(series.c.name)).where(series.c.storage_id == storage_id)
    found = sa.select(of_storage.scalar_subquery().label("name")).cte("names", recursive=True)
    after = of_storage.where(series.c.name > found.c.name).correlate(found).scalar_subquery()
    return found.union_all(sa.select(after).where(found.c.name.is_not(None)))
