"""Spans of each order: where every few thousandth file of a long list stands, and what is between.

A list that is sorted is an index that is walked, and skipping a million files takes a walk past
each of them. So every order of a storage is cut into spans, and ``spans`` says where each begins
and how many files of each state and belonging lie in it: a page anywhere is found by a sum, and
a walk within one span. A span that grows too long is cut.

A beginning is a key of the order: a text, a number and an id, of which an order uses what it
sorts by. Functions that write run inside a writing transaction.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import sqlalchemy as sa

from server.core.catalog import tallies
from server.core.catalog.tables import files, spans

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sqlalchemy.engine import Connection

    from server.core.catalog.rows import FileRow

__all__ = [
    "BY_EXTENSION",
    "BY_EXTENSION_NAME",
    "BY_ID",
    "BY_NAME",
    "BY_SIZE",
    "BY_STATE",
    "BY_TIME",
    "ORDERS",
    "Ordering",
    "Start",
    "Walk",
    "move",
    "skip",
    "walk",
]

LONGEST = 16_384
"""The most files of a span."""


class Start(NamedTuple):
    """A key where a span begins."""

    text: str
    number: int
    file_id: int


LOWEST = Start("", -(2**63), 0)
_BEGINNINGS = (spans.c.text, spans.c.number, spans.c.file_id)
# Between an extension and a name: no name in the catalogue has a control character.
_SEPARATOR = "\x01"


@dataclass(frozen=True, slots=True)
class Ordering:
    """An order: by these columns, then by id.

    Attributes:
        index: the one that is sorted like it.
    """

    name: str
    index: str
    columns: tuple[sa.Column[Any], ...]

    @property
    def place_of(self) -> Callable[[FileRow], Any]:
        """What tells where a file stands in it: things that are sorted like its keys."""
        return attrgetter(*(column.name for column in self.columns), "id")

    def place(self, start: Start) -> Any:  # noqa: ANN401
        """A key as one of these."""
        return self.values(start) if self.columns else start.file_id

    def start(self, values: Sequence[Any]) -> Start:
        """The key of values of the columns and the id."""
        *values, file_id = values
        if values and isinstance(values[0], int):
            return Start("", values[0], file_id)
        return Start(_SEPARATOR.join(values), 0, file_id)

    def values(self, start: Start) -> tuple[Any, ...]:
        """A key as values of the columns and the id."""
        if not self.columns:
            return (start.file_id,)
        if isinstance(self.columns[0].type, sa.BigInteger):
            return (start.number, start.file_id)
        if len(self.columns) == 1:
            return (start.text, start.file_id)
        extension, _, name = start.text.partition(_SEPARATOR)
        return (extension, name, start.file_id)

    def since(self, start: Start, fixed: int) -> sa.ColumnElement[bool]:
        """Whether a file stands there or behind, the first ``fixed`` columns being the same."""
        if start == LOWEST and not fixed:
            return sa.true()
        columns, values = (*self.columns, files.c.id), self.values(start)
        same = [columns[at] == values[at] for at in range(fixed)]
        return sa.and_(*same, sa.tuple_(*columns[fixed:]) >= values[fixed:])

    def apart(self, start: Start, fixed: int) -> list[sa.ColumnElement[bool]]:
        """The same as conditions of which no file has two: SQLite enters an index at a value of
        one column, where those before it are said outright."""
        if start == LOWEST and not fixed:
            return [sa.true()]
        *values, file_id = self.values(start)
        same = [column == value for column, value in zip(self.columns, values, strict=True)]
        here = sa.and_(*same, files.c.id >= file_id)
        columns, values = self.columns[fixed:], values[fixed:]
        if not columns:
            return [here]
        if len(columns) == 1:
            return [here, sa.and_(*same[:fixed], columns[0] > values[0])]
        return [here, sa.and_(*same[:fixed], sa.tuple_(*columns) > tuple(values))]


BY_ID = Ordering("id", "ix_files_by_id", ())
BY_NAME = Ordering("name", "ix_files_by_name", (files.c.name,))
BY_SIZE = Ordering("size", "ix_files_by_size", (files.c.size,))
BY_TIME = Ordering("time", "ix_files_by_time", (files.c.mtime_ns,))
BY_EXTENSION = Ordering("extension", "ix_files_by_extension", (files.c.extension,))
BY_EXTENSION_NAME = Ordering(
    "extension_name", "ix_files_by_extension_name", (files.c.extension, files.c.name)
)
BY_STATE = Ordering("state", "ix_files_by_state", (files.c.state,))
"""Without spans: within a state files stand by id."""
ORDERS = (BY_ID, BY_NAME, BY_SIZE, BY_TIME, BY_EXTENSION, BY_EXTENSION_NAME)
"""Those that are cut into spans."""

Walk: TypeAlias = "sa.Select[Any] | sa.CompoundSelect[Any]"
_Counted: TypeAlias = Counter[tuple[int, str, str, int, int, str, bool]]


def skip(
    connection: Connection,
    storage_id: int,
    order: Ordering,
    restricted: Sequence[sa.ColumnElement[bool]],
    first: int,
) -> tuple[Start, int]:
    """The beginning of the span that a position of an order lies in, and how many files of it
    are before the position; ``restricted`` are conditions on ``spans``."""
    query = (
        sa.select(*_BEGINNINGS, sa.func.sum(spans.c.n))
        .where(spans.c.storage_id == storage_id, spans.c.ordering == order.name, *restricted)
        .group_by(*_BEGINNINGS)
        .order_by(*_BEGINNINGS)
    )
    found = LOWEST
    for text, number, file_id, n in connection.execute(query):
        found = Start(text, number, file_id)
        if first < n:
            break
        first -= int(n)
    return found, first


def walk(
    connection: Connection,
    storage_id: int,
    order: Ordering,
    start: Start,
    *conditions: sa.ColumnElement[bool],
    fixed: int = 0,
    more: tuple[sa.Column[Any], ...] = (),
) -> Walk:
    """The files that stand at a key or behind it, in their order: the id, the order's columns
    and ``more``. The first ``fixed`` columns are the same as the key's."""
    if connection.dialect.name == "sqlite":
        behind = order.apart(start, fixed)
    else:
        # It would sort what several conditions find.
        behind = [order.since(start, fixed)]
    selects = [
        sa.select(files.c.id.label("row_id"), *order.columns, *more)
        .where(files.c.storage_id == storage_id, since, *conditions)
        .with_hint(files, f"INDEXED BY {order.index}", "sqlite")
        for since in behind
    ]
    ordered: list[sa.ColumnClause[Any]] = [
        *(sa.column(c.name) for c in order.columns),
        sa.column("row_id"),
    ]
    if len(selects) == 1:
        return selects[0].order_by(*order.columns, files.c.id)
    return sa.union_all(*selects).order_by(*ordered)


def move(connection: Connection, before: Iterable[FileRow], after: Iterable[FileRow]) -> None:
    """Files that were there as ``before`` says are now as ``after`` says."""
    counted: Counter[FileRow] = Counter()
    counted.update(after)
    counted.subtract(before)
    changed = sorted(
        ((row, n) for row, n in counted.items() if n), key=lambda pair: pair[0].storage_id
    )
    for storage_id, group in groupby(changed, lambda pair: pair[0].storage_id):
        known = _known(connection, storage_id)
        added: _Counted = Counter()
        touched: Counter[tuple[str, Start]] = Counter()
        some = list(group)
        for order in ORDERS:
            starts = sorted(start for name, start in known if name == order.name)
            for (at, state, has_item), n in _spread(order, starts, some).items():
                start = starts[at] if at >= 0 else LOWEST
                added[storage_id, order.name, *start, state, has_item] += n
                touched[order.name, start] += n
        tallies.add(connection, spans, added)
        for order in ORDERS:
            for (name, start), n in touched.items():
                if name == order.name and known[name, start] + n > LONGEST:
                    _cut(connection, storage_id, order, start)


def _spread(
    order: Ordering, starts: Sequence[Start], changed: Iterable[tuple[FileRow, int]]
) -> Counter[tuple[int, str, bool]]:
    """How many files more or less, by the span's number from 0 (before the first: -1), state and
    belonging."""
    places = [order.place(start) for start in starts]
    place_of = order.place_of
    found: Counter[tuple[int, str, bool]] = Counter()
    for row, n in changed:
        found[bisect_right(places, place_of(row)) - 1, row.state, row.has_item] += n
    return found


def _known(connection: Connection, storage_id: int) -> Counter[tuple[str, Start]]:
    """How many files the spans of a storage have."""
    query = (
        sa.select(spans.c.ordering, *_BEGINNINGS, sa.func.sum(spans.c.n))
        .where(spans.c.storage_id == storage_id)
        .group_by(spans.c.ordering, *_BEGINNINGS)
    )
    return Counter({(name, Start(*start)): int(n) for name, *start, n in connection.execute(query)})


def _cut(connection: Connection, storage_id: int, order: Ordering, start: Start) -> None:
    """Cuts a span that has grown too long."""
    half = LONGEST // 2
    left = _kinds(connection, storage_id, order, start)
    while left.total() > LONGEST:
        behind = walk(connection, storage_id, order, start, more=(files.c.state, files.c.has_item))
        file_id, *values = tuple(connection.execute(behind.limit(1).offset(half)).one())[:-2]
        middle = order.start([*values, file_id])
        lower = behind.limit(half).subquery()
        counting = sa.select(lower.c.state, lower.c.has_item, sa.func.count())
        counting = counting.group_by(lower.c.state, lower.c.has_item)
        for state, has_item, n in connection.execute(counting):
            left[state, has_item] -= n
        moved: _Counted = Counter()
        for kind, n in left.items():
            moved[storage_id, order.name, *start, *kind] = -n
            moved[storage_id, order.name, *middle, *kind] = n
        tallies.add(connection, spans, moved)
        start = middle


def _kinds(
    connection: Connection, storage_id: int, order: Ordering, start: Start
) -> Counter[tuple[str, bool]]:
    """How many files of each state and belonging a span has."""
    query = sa.select(spans.c.state, spans.c.has_item, spans.c.n).where(
        spans.c.storage_id == storage_id,
        spans.c.ordering == order.name,
        spans.c.text == start.text,
        spans.c.number == start.number,
        spans.c.file_id == start.file_id,
    )
    rows = connection.execute(query)
    return Counter({(row.state, bool(row.has_item)): int(row.n) for row in rows})
