"""Lists of a million files: how long a page takes, and what it costs to keep them current.

A catalogue is filled as scans fill it: shows, sequences, shots and takes of a hundred frames, some
files still open, few that belong to items. Then pages of every kind are asked for, each many times
with places and offsets drawn anew. Told are the median and the 99th percentile of the wall clock,
and of the thread's CPU time, which neighbours on the machine do not lengthen.
"""

from __future__ import annotations

import gc
import random
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from server.core.catalog import FileQuery, FileState, PathMatch, Sort, SortKey, items, listing, rows
from server.core.catalog import storages as storage_rows
from server.core.catalog.model import MethodChange, StorageChange
from server.core.catalog.rows import NewFile
from server.core.catalog.tables import files
from server.core.database import Database, sqlite_url
from server.core.permissions import SYSTEM

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
_FRAMES = 100
_EXTENSIONS = ("exr", "exr", "exr", "dpx", "dpx", "tif", "mov")
_GOAL_MS = 50.0


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds of many calls."""

    wall: list[float]
    cpu: list[float]

    def line(self, name: str) -> str:
        """One line of the table."""
        p50, p99 = _percentile(self.wall, 50), _percentile(self.wall, 99)
        c50, c99 = _percentile(self.cpu, 50), _percentile(self.cpu, 99)
        mark = "" if p99 < _GOAL_MS else "  over"
        return f"{name:36} {p50:8.1f} {p99:8.1f}   {c50:8.1f} {c99:8.1f}{mark}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be said about it."""
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--only", default="", help="queries whose name holds this")
    parser.add_argument("--rounds", type=int, default=100, help="calls of each query")
    parser.add_argument(
        "--database",
        help="a SQLite file, kept, or postgresql://...; by default one that is removed",
    )


def run(options: argparse.Namespace) -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="pixfs-catalog-", dir="/var/tmp") as scratch:
        place = options.database or str(Path(scratch) / "catalog.sqlite")
        url = place if "://" in place else sqlite_url(place)
        database = Database(url)
        try:
            storage = _filled(database, options.files)
            _measure(database, storage, options.rounds, options.only)
        finally:
            database.close()
    return 0


def _filled(database: Database, wanted: int) -> int:
    """The storage that has so many files; they are entered if they are not there."""
    with database.reading() as connection:
        storage = connection.execute(sa.select(sa.func.min(files.c.storage_id))).scalar()
    if storage is not None:
        return int(storage)
    change = StorageChange(methods=(MethodChange(uri="file:///srv/bench/"),))
    with database.writing() as connection:
        storage = storage_rows.add(connection, SYSTEM, change, NOON)
    began = time.perf_counter()
    batch: list[NewFile] = []
    for new in _files(wanted):
        batch.append(new)
        if len(batch) == 2000:
            _enter(database, storage, batch)
            batch = []
    _enter(database, storage, batch)
    took = time.perf_counter() - began
    with database.writing() as connection:
        query = sa.select(files.c.id).where(files.c.id % 200 == 7)
        for row in connection.execute(query).all():
            items.make_item(connection, (), {}, [row.id], NOON)
        if not database.is_sqlite:
            # PostgreSQL does by itself, soon after; SQLite never does.
            connection.exec_driver_sql("ANALYZE")
    print(f"{wanted} files entered at {wanted / took:.0f} a second")
    return int(storage)


def _enter(database: Database, storage: int, batch: list[NewFile]) -> None:
    with database.writing() as connection:
        rows.insert(connection, storage, batch)


def _files(wanted: int) -> Iterator[NewFile]:
    picked = random.Random(1)
    for number in range(wanted):
        take, frame = divmod(number, _FRAMES)
        show, sequence, shot = take % 10, take // 10 % 20, take // 200
        extension = _EXTENSIONS[take % len(_EXTENSIONS)]
        yield NewFile(
            f"show{show:02}/sq{sequence:03}/sh{shot:04}/plate",
            f"bg{take % 37:02}.{1001 + frame}.{extension}",
            FileState.OPEN if picked.random() < 0.01 else FileState.CLOSED,
            picked.randrange(1 << 26),
            1_700_000_000_000_000_000 + picked.randrange(10**16),
            NOON,
        )


def _measure(database: Database, storage: int, rounds: int, only: str) -> None:
    gc.freeze()  # as the server does when it is up
    print(f"{'':36} {'wall p50':>8} {'p99 ms':>8}   {'CPU p50':>8} {'p99 ms':>8}")
    for name, make in _queries(storage).items():
        if only not in name:
            continue
        picked = random.Random(name)
        queries = [make(picked) for _ in range(rounds)]
        _timed(database, queries[:2])
        print(_timed(database, queries).line(name), flush=True)


def _timed(database: Database, queries: list[FileQuery]) -> Timing:
    timing = Timing([], [])
    for query in queries:
        wall, cpu = time.perf_counter(), time.thread_time()
        with database.reading() as connection:
            listing.page(connection, SYSTEM, query)
        timing.cpu.append((time.thread_time() - cpu) * 1e3)
        timing.wall.append((time.perf_counter() - wall) * 1e3)
    return timing


def _queries(storage: int) -> dict[str, Callable[[random.Random], FileQuery]]:
    """Pages of every kind, each with its own way to draw what differs."""
    made: dict[str, Callable[[random.Random], FileQuery]] = {}

    def add(name: str, **fixed: object) -> None:
        def make(picked: random.Random) -> FileQuery:
            drawn = {k: v(picked) if callable(v) else v for k, v in fixed.items()}
            return FileQuery(**({"storages": (storage,), "number": 100} | drawn))  # type: ignore[arg-type]

        made[name] = make

    for key in SortKey:
        for descending in (False, True):
            order = (Sort(key, descending),)
            say = f"by {key.value}{' descending' if descending else ''}"
            add(f"{say}, first page", sort=order)
            add(f"{say}, any page", sort=order, first=lambda p: p.randrange(900_000))
    add("by size, then name", sort=(Sort(SortKey.SIZE), Sort(SortKey.FILENAME)))
    by_extension = (Sort(SortKey.EXTENSION), Sort(SortKey.FILENAME))
    add("by extension, then name", sort=by_extension)
    add(
        "by extension, then name, any page", sort=by_extension, first=lambda p: p.randrange(900_000)
    )
    add("a folder, by name", path=_take, sort=(Sort(SortKey.FILENAME),))
    add("a folder, not deep", path=lambda p: PathMatch(_take(p).text, recursive=False))
    add("a file", path=_frame)
    add("a sequence's subtree", path=_sequence)
    add("a show's subtree", path=_show)
    add("a show's subtree, by name", path=_show, sort=(Sort(SortKey.FILENAME),))
    add("a show's subtree, by time desc.", path=_show, sort=(Sort(SortKey.TIMESTAMP, True),))
    add("*.exr", path=PathMatch("*.exr", wildcard=True))
    add("*.exr, any page", path=PathMatch("*.exr", wildcard=True), first=_far)
    add("*.exr by name", path=PathMatch("*.exr", wildcard=True), sort=(Sort(SortKey.FILENAME),))
    add("*.EXR ignoring case", path=PathMatch("*.EXR", wildcard=True, ignorecase=True))
    add(
        "show/*/sh0003/*.dpx",
        path=lambda p: PathMatch(_show(p).text + "*/sh0003/*.dpx", wildcard=True),
    )
    add("a folder ignoring case", path=lambda p: PathMatch(_take(p).text.upper(), ignorecase=True))
    for piece in ("bg07.1042", "bg07", "bg", "1042", "104", "sh0003", "0003", "07/plate/bg"):
        add(f"*{piece}*", path=PathMatch(f"*{piece}*", wildcard=True))
    add("*bg07* by name", path=PathMatch("*bg07*", wildcard=True), sort=(Sort(SortKey.FILENAME),))
    add("*BG07.1042* ignoring case", path=PathMatch("*BG07.1042*", wildcard=True, ignorecase=True))
    add("state OPEN", states=(FileState.OPEN,))
    add("state CLOSED, any page", states=(FileState.CLOSED,), first=_far)
    add("with an item", filter="item")
    add("without an item", filter="noitem")
    add("without an item, any page", filter="noitem", first=_far)
    add(
        "importable, by time descending",
        filter="noitem",
        exclude_queued=True,
        sort=(Sort(SortKey.TIMESTAMP, True),),
    )
    add("without an item in a show", filter="noitem", path=_show)
    add("with items told", include_item=True)
    return made


def _far(picked: random.Random) -> int:
    return picked.randrange(400_000)


def _show(picked: random.Random) -> PathMatch:
    return PathMatch(f"show{picked.randrange(10):02}/")


def _sequence(picked: random.Random) -> PathMatch:
    return PathMatch(f"{_show(picked).text}sq{picked.randrange(20):03}/")


def _take(picked: random.Random) -> PathMatch:
    return PathMatch(f"{_sequence(picked).text}sh{picked.randrange(50):04}/plate/")


def _frame(picked: random.Random) -> PathMatch:
    take = picked.randrange(10_000)
    show, sequence, shot = take % 10, take // 10 % 20, take // 200
    extension = _EXTENSIONS[take % len(_EXTENSIONS)]
    folder = f"show{show:02}/sq{sequence:03}/sh{shot:04}/plate"
    return PathMatch(f"{folder}/bg{take % 37:02}.{1001 + picked.randrange(100)}.{extension}")


def _percentile(values: list[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
