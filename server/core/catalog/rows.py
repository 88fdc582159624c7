"""Every change to the rows of ``files``, with the counts that follow from it.

A list of a million files cannot count them each time, so ``file_counts``, ``storage_counts``,
``series`` and ``spans`` say how many there are of each sort. They are true because nothing else
writes to ``files``.
Functions run inside a writing transaction.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from server.core.catalog import spans, tallies
from server.core.catalog.model import FileState
from server.core.catalog.numbering import series_of
from server.core.catalog.tables import file_counts, files, series, storage_counts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from sqlalchemy.engine import Connection

__all__ = [
    "COUNTED",
    "FileRow",
    "NewFile",
    "change",
    "delete",
    "extension_of",
    "insert",
    "is_cataloguable",
    "join",
    "split",
]

# States that a scan may change by itself.
_RESTLESS = frozenset({FileState.OPEN, FileState.MISSING, FileState.TO_APPEAR})
# What of a row can change and has a part in counts.
_MOVING = frozenset({"state", "has_item", "size", "mtime_ns"})
_IDS_AT_ONCE = 500
_LONGEST_PATH = 1024
_UNTOLD = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")


class NewFile(NamedTuple):
    """A file to be entered. ``size`` is -1 and ``changed_at`` None when it was never seen."""

    folder: str
    name: str
    state: FileState
    size: int
    mtime_ns: int
    changed_at: datetime | None
    original_name: str = ""
    version: str = ""


COUNTED = (
    files.c.id,
    files.c.storage_id,
    files.c.folder,
    files.c.name,
    files.c.extension,
    files.c.state,
    files.c.has_item,
    files.c.size,
    files.c.mtime_ns,
)
"""The columns of a `FileRow`."""


class FileRow(NamedTuple):
    """What the counts need to know of a row that is there."""

    id: int
    storage_id: int
    folder: str
    name: str
    extension: str
    state: str
    has_item: bool
    size: int
    mtime_ns: int


def split(path: str) -> tuple[str, str]:
    """(folder, name) of a path."""
    folder, _, name = path.rpartition("/")
    return folder, name


def join(folder: str, name: str) -> str:
    """The path of a name in a folder."""
    return f"{folder}/{name}" if folder else name


def is_cataloguable(path: str) -> bool:
    """Whether a path can stand in the documents that lists are, and in every database: text
    without control characters, line ends and what XML has no characters for, not too long."""
    return len(path) <= _LONGEST_PATH and _UNTOLD.search(path) is None


def extension_of(name: str) -> str:
    """What follows a name's last dot."""
    return name.rpartition(".")[2] if "." in name else ""


def refresh_flag(state: str) -> int:
    """1 for a state that a scan may change."""
    return int(state in _RESTLESS)


def insert(connection: Connection, storage_id: int, new: Sequence[NewFile]) -> None:
    """Enters files; their places must be free."""
    if not new:
        return
    last = connection.execute(sa.select(sa.func.max(files.c.id))).scalar() or 0
    connection.execute(
        files.insert(),
        [
            {
                "storage_id": storage_id,
                "folder": one.folder,
                "name": one.name,
                "extension": extension_of(one.name),
                "state": one.state.value,
                "size": one.size,
                "mtime_ns": one.mtime_ns,
                "refresh_flag": refresh_flag(one.state),
                "has_item": False,
                "changed_at": one.changed_at,
                "missing_since": None,
                "version": one.version,
                "original_name": one.original_name,
            }
            for one in new
        ],
    )
    counted: Counter[_Key] = Counter()
    for one in new:
        name, extension = series_of(one.name), extension_of(one.name)
        counted[_Key(storage_id, one.folder, name, extension, one.state.value, False)] += 1
    _apply(connection, counted)
    # Ids are counted up, and nobody else is writing.
    entered = sa.select(*COUNTED).where(files.c.id > last)
    spans.move(connection, (), map(FileRow._make, connection.execute(entered)))


def change(connection: Connection, changes: Iterable[tuple[FileRow, dict[str, Any]]]) -> None:
    """Changes columns other than those of the place."""
    counted: Counter[_Key] = Counter()
    rows_before: list[FileRow] = []
    rows_after: list[FileRow] = []
    alike: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row, given in changes:
        values = dict(given)
        if "state" in values:
            values["state"] = FileState(values["state"]).value
            values["refresh_flag"] = refresh_flag(values["state"])
        now = row._replace(**{name: values[name] for name in _MOVING & values.keys()})
        counted[_key(row)] -= 1
        counted[_key(now)] += 1
        rows_before.append(row)
        rows_after.append(now)
        names = tuple(sorted(values))
        alike.setdefault(names, []).append({"row_id": row.id} | values)
    for names, rows in alike.items():
        update = files.update().where(files.c.id == sa.bindparam("row_id"))
        connection.execute(update.values({name: sa.bindparam(name) for name in names}), rows)
    _apply(connection, counted)
    spans.move(connection, rows_before, rows_after)


def delete(connection: Connection, rows: Sequence[FileRow]) -> None:
    """Removes entities; what refers to them goes, too."""
    counted: Counter[_Key] = Counter()
    for start in range(0, len(rows), _IDS_AT_ONCE):
        some = rows[start : start + _IDS_AT_ONCE]
        connection.execute(files.delete().where(files.c.id.in_([row.id for row in some])))
        for row in some:
            counted[_key(row)] -= 1
    _apply(connection, counted)
    spans.move(connection, rows, ())


class _Key(NamedTuple):
    storage_id: int
    folder: str
    series: str
    extension: str
    state: str
    has_item: bool


def _key(row: FileRow) -> _Key:
    return _Key(
        row.storage_id,
        row.folder,
        series_of(row.name),
        row.extension,
        row.state,
        bool(row.has_item),
    )


def _apply(connection: Connection, counted: Counter[_Key]) -> None:
    """Adds to the counts; those that come to nothing go."""
    by_series: Counter[tuple[Any, ...]] = Counter()
    by_folder: Counter[tuple[Any, ...]] = Counter()
    by_storage: Counter[tuple[Any, ...]] = Counter()
    for (storage_id, folder, name, *sort), n in counted.items():
        extension, state, has_item = sort
        by_series[storage_id, folder, name, state, has_item] += n
        by_folder[storage_id, folder, extension, state, has_item] += n
        by_storage[storage_id, extension, state, has_item] += n
    for table, counts in (
        (series, by_series),
        (file_counts, by_folder),
        (storage_counts, by_storage),
    ):
        tallies.add(connection, table, counts)
