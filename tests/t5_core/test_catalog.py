"""The catalogue: paths as the specification's table has them, lists, counts, entities, items."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from server.core.catalog import (
    Catalog,
    CatalogFile,
    FileQuery,
    FileState,
    MethodChange,
    PathMatch,
    Sort,
    SortKey,
    StorageChange,
    far,
    items,
    rows,
    spans,
)
from server.core.catalog import storages as storage_rows
from server.core.catalog.numbering import MARK, DigitRun, names_with, series_of
from server.core.catalog.rows import NewFile
from server.core.catalog.tables import (
    file_counts,
    file_hashes,
    files,
    import_queue,
    series,
    storage_counts,
)
from server.core.catalog.tables import spans as span_counts
from server.core.database import Database
from server.core.errors import FileExists, InUse, InvalidValue, NameTaken, NotAllowed, NotFound
from server.core.jobs import JobKind, JobRequest, Jobs
from server.core.permissions import SYSTEM, Actor, Role
from server.core.tables import user_paths, users
from tests.vidispine import PATH_TABLE

if TYPE_CHECKING:
    from sqlalchemy.engine import URL, Connection

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SEED_FILES = ("foo", "foo/bar", "foo/bar/baz", "foo/bar/?az")


@pytest.fixture
def catalog(database: Database) -> Catalog:
    clock = lambda: NOON  # noqa: E731
    return Catalog(database, Jobs(database, clock), clock)


async def make_storage(catalog: Catalog, root: str = "/srv/media") -> int:
    made = await catalog.add_storage(
        SYSTEM, StorageChange(methods=(MethodChange(uri=f"file://{root}/"),))
    )
    return made.storage.id


def enter(database: Database, storage_id: int, *paths: str, **values: object) -> None:
    with database.writing() as connection:
        new = []
        for path in paths:
            folder, name = rows.split(path)
            new.append(
                NewFile(
                    folder,
                    name,
                    FileState(str(values.get("state", "CLOSED"))),
                    int(str(values.get("size", 1))),
                    int(str(values.get("mtime_ns", 10**18))),
                    NOON,
                )
            )
        rows.insert(connection, storage_id, new)


def wrangler(database: Database, storage_id: int, *folders: str) -> Actor:
    """Who may reach these folders only."""
    with database.writing() as connection:
        values = {"name": "ada", "role": "wrangler", "state": "active", "all_paths": False}
        key = connection.execute(
            users.insert().values(values | {"notify": [], "created_at": NOON})
        ).inserted_primary_key
        assert key is not None
        for path in folders:
            connection.execute(
                user_paths.insert().values(user_id=key[0], storage_id=storage_id, path=path)
            )
    return Actor(user_id=int(key[0]), name="ada", role=Role.WRANGLER)


def check_counts(database: Database) -> None:
    """The tables of counts are what counting gives."""
    with database.reading() as connection:
        columns = ["storage_id", "folder", "extension", "state", "has_item"]
        for table, names in ((file_counts, columns), (storage_counts, [columns[0], *columns[2:]])):
            grouped = [files.c[name] for name in names]
            counting = sa.select(*grouped, sa.func.count()).group_by(*grouped)
            real = {tuple(row[:-1]): row[-1] for row in connection.execute(counting)}
            kept = sa.select(*[table.c[name] for name in names], table.c.n)
            assert {tuple(row[:-1]): row[-1] for row in connection.execute(kept)} == real
        of_series: Counter[tuple[object, ...]] = Counter()
        columns = ["storage_id", "folder", "name", "state", "has_item"]
        for row in connection.execute(sa.select(*[files.c[name] for name in columns])):
            of_series[(*row[:2], series_of(row.name), *row[3:])] += 1
        found = connection.execute(sa.select(*[series.c[name] for name in columns], series.c.n))
        assert {tuple(row[:-1]): row[-1] for row in found} == of_series
        check_spans(connection)


def check_spans(connection: Connection) -> None:
    """The spans hold what lies between their beginnings, and none is too long."""
    entered = [rows.FileRow(*row) for row in connection.execute(sa.select(*rows.COUNTED))]
    kept: dict[tuple[int, str], Counter[tuple[spans.Start, str, bool]]] = defaultdict(Counter)
    for row in connection.execute(span_counts.select()):
        start = spans.Start(row.text, row.number, row.file_id)
        kept[row.storage_id, row.ordering][start, row.state, row.has_item] = row.n
    assert set(kept) == {(f.storage_id, o.name) for f in entered for o in spans.ORDERS}
    for (storage_id, ordering), counted in kept.items():
        order = next(order for order in spans.ORDERS if order.name == ordering)
        starts = sorted({start for start, *_ in counted})
        real: Counter[tuple[spans.Start, str, bool]] = Counter()
        for file in entered:
            if file.storage_id == storage_id:
                start = max(s for s in starts if order.place(s) <= order.place_of(file))
                real[start, file.state, file.has_item] += 1
        assert counted == real
        for start in starts:
            assert sum(n for (s, *_), n in real.items() if s == start) <= spans.LONGEST


# The specification's table: path, recursive, wildcard (None does not matter), found of SEED_FILES.
TABLE = [
    *PATH_TABLE,
    # Beyond the table: across slashes when recursive, beneath what matches, quoted backslash.
    ("*az", True, True, "NNYY"),
    ("/foo/b*", True, True, "NYYY"),
    ("/foo/*/", True, True, "NNYY"),
    ("/foo/*/", False, True, "NNYY"),
    ("f*/\\bar/", False, True, "NNYY"),
    ("/*", False, True, "YNNN"),
    ("*", True, True, "YYYY"),
]


@pytest.mark.parametrize("ignorecase", [False, True])
async def test_paths_mean_what_the_table_says(
    catalog: Catalog, database: Database, ignorecase: bool
) -> None:
    storage = await make_storage(catalog)
    enter(database, storage, *SEED_FILES)
    for text, recursive, wildcard, expected in TABLE:
        for deep in (True, False) if recursive is None else (recursive,):
            for wild in (True, False) if wildcard is None else (wildcard,):
                match = PathMatch(text, recursive=deep, wildcard=wild, ignorecase=ignorecase)
                page = await catalog.files(SYSTEM, FileQuery(path=match))
                found = {file.path for file in page.files}
                told = "".join("Y" if path in found else "N" for path in SEED_FILES)
                assert told == expected, match
                assert page.hits == expected.count("Y")


async def test_capitals_are_the_same_only_if_asked(catalog: Catalog, database: Database) -> None:
    storage = await make_storage(catalog)
    enter(database, storage, "Shots/A.EXR", "shots/a.exr", "shots/É.exr")

    async def find(text: str, *, wildcard: bool = False, ignorecase: bool = True) -> set[str]:
        match = PathMatch(text, wildcard=wildcard, ignorecase=ignorecase)
        page = await catalog.files(SYSTEM, FileQuery(path=match))
        assert page.hits == len(page.files)
        return {file.path for file in page.files}

    assert await find("SHOTS/a.exr") == {"Shots/A.EXR", "shots/a.exr"}
    assert await find("shots/") == {"Shots/A.EXR", "shots/a.exr", "shots/É.exr"}
    assert await find("shots/é*", wildcard=True) == {"shots/É.exr"}
    assert await find("*.exr", wildcard=True, ignorecase=False) == {"shots/a.exr", "shots/É.exr"}
    assert await find("*.EXR", wildcard=True) == {"Shots/A.EXR", "shots/a.exr", "shots/É.exr"}
    assert await find("shots/[a].exr", wildcard=True) == set()
    assert await find("shots%", wildcard=True) == set()


async def test_a_path_that_leads_out_is_refused(catalog: Catalog) -> None:
    for text in ("..", "/../x", "foo/../../x", "a\0b"):
        for wildcard in (True, False):
            with pytest.raises(InvalidValue):
                await catalog.files(SYSTEM, FileQuery(path=PathMatch(text, wildcard=wildcard)))


async def test_an_extension_also_finds_what_lies_in_folders_of_such_names(
    catalog: Catalog, database: Database
) -> None:
    storage = await make_storage(catalog)
    enter(database, storage, "a.exr", "b.dpx", "d/c.exr")
    query = FileQuery(path=PathMatch("*.exr", wildcard=True))
    assert [f.path for f in (await catalog.files(SYSTEM, query)).files] == ["a.exr", "d/c.exr"]
    enter(database, storage, "odd.exr/x.dpx")
    page = await catalog.files(SYSTEM, query)
    assert [f.path for f in page.files] == ["a.exr", "d/c.exr", "odd.exr/x.dpx"]
    assert page.hits == 3


async def test_an_extension_in_capitals_too(catalog: Catalog, database: Database) -> None:
    storage = await make_storage(catalog)
    enter(database, storage, "a.exr", "b.EXR", "c.Exr", "d.dpx", "noexr", "e.exr2")
    for sort in (Sort(), Sort(SortKey.FILENAME, True)):
        match = PathMatch("*.eXr", wildcard=True, ignorecase=True)
        page = await catalog.files(SYSTEM, FileQuery(path=match, sort=(sort,)))
        names = ["a.exr", "b.EXR", "c.Exr"]
        assert [f.path for f in page.files] == names[:: -1 if sort.descending else 1]
        assert page.hits == 3
    match = PathMatch("*.none", wildcard=True, ignorecase=True)
    assert (await catalog.files(SYSTEM, FileQuery(path=match))).hits == 0


PIECES = (
    "a",
    "A",
    "sh",
    "sh01",
    "0",
    "1",
    "10",
    "101",
    "1010",
    "7",
    "v2",
    "_",
    "%",
    "[",
    ".exr",
    "?",
)


async def test_every_pattern_finds_and_counts_what_a_look_at_each_path_gives(
    catalog: Catalog, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = await make_storage(catalog)
    picked = random.Random(3)
    folders = ["", "sh01", "sh02/a", "sh02/v2_1010", "x%[y", "sh01/Plate"]
    names = [
        "a.{:04}.exr",
        "sh01_{}.dpx",
        "A{:03}v2.exr",
        "{:04}",
        "b",
        "take_10.mov",
        "é{:05}.exr",
    ]
    paths = {
        f"{folder}/{picked.choice(names).format(picked.randrange(2000))}".lstrip("/")
        for folder in folders
        for _ in range(40)
    }
    closed = {path for path in paths if picked.random() < 0.7}
    enter(database, storage, *closed)
    enter(database, storage, *paths - closed, state="OPEN")
    ada = wrangler(database, storage, "sh02", "sh01/Plate")
    for number in range(500):
        most = picked.choice([0, 3, 10_000])
        monkeypatch.setattr("server.core.catalog.patterns._MOST_NAMES", most)
        monkeypatch.setattr("server.core.catalog.verdicts._MOST_NAMES", picked.choice([3, 2_000]))
        text = "*".join(picked.choice(PIECES) for _ in range(picked.choice([1, 1, 1, 2])))
        match = PathMatch(
            f"*{text}*" if number % 3 else f"*{text}",
            wildcard=True,
            ignorecase=picked.random() < 0.3,
        )
        actor = picked.choice([SYSTEM, ada])
        states = picked.choice([(), (FileState.CLOSED,)])
        wanted = sorted(
            path
            for path in (closed if states else paths)
            if (actor is SYSTEM or path.startswith(("sh02/", "sh01/Plate/")))
            and _matches(path, match)
        )
        page = await catalog.files(actor, FileQuery(path=match, states=states, number=1000))
        assert sorted(file.path for file in page.files) == wanted, match
        assert page.hits == len(wanted), match


def _matches(path: str, match: PathMatch) -> bool:
    """Whether a path, or a folder it lies in, fits a recursive pattern."""
    text = re.escape(match.text).replace("\\*", ".*").replace("\\?", ".")
    return re.fullmatch(f"{text}(/.*)?", path, re.IGNORECASE if match.ignorecase else 0) is not None


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("bg.1001.exr", "bg.####.exr"),
        ("a1_v02.mp4", "a1_v##.mp4"),
        ("take7", "take#"),
        ("b.exr", "b.exr"),
        (".7", ".7"),
        ("7", "#"),
        ("é٣12.dpx", "é٣##.dpx"),
    ],
)
def test_the_last_number_before_the_extension_makes_a_series(name: str, wanted: str) -> None:
    assert series_of(name) == wanted.replace("#", MARK)


def test_the_names_of_a_series_that_hold_digits() -> None:
    inside = DigitRun("10", begins=False, ends=False)
    found = names_with([f"a.{MARK * 3}.exr", "b.exr"], [inside], 100)
    assert found is not None
    assert set(found) == {f"a.{n:03}.exr" for n in range(1000) if "10" in f"{n:03}"}
    whole = DigitRun("10", begins=True, ends=True)
    assert names_with([MARK * 3, MARK], [whole], 100) == []
    assert names_with([MARK * 2], [whole], 100) == ["10"]
    assert names_with([f"a.{MARK * 3}.exr"], [inside], 10) is None


def fill(database: Database, storage_id: int, seed: int) -> None:
    """Files of every sort, with equal names, sizes and times among them."""
    picked = random.Random(seed)
    with database.writing() as connection:
        new = [
            NewFile(
                picked.choice(["", "a", "a/b", "a-b", "c", "c/d/e"]),
                f"f{number % 17}_{number}{'_' * seed}.{picked.choice(['exr', 'dpx', 'mov'])}",
                picked.choice([FileState.CLOSED, FileState.CLOSED, FileState.OPEN]),
                picked.randrange(5),
                picked.randrange(4) * 10**9,
                NOON,
            )
            for number in range(120)
        ]
        rows.insert(connection, storage_id, new)
        ids = [row[0] for row in connection.execute(sa.select(files.c.id))]
        for number in picked.sample(ids, 10):
            items.make_item(connection, (), {}, [number], NOON)


@pytest.fixture
def short_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred files are many."""
    monkeypatch.setattr(spans, "LONGEST", 10)
    monkeypatch.setattr(far, "FAR", 0)


@pytest.mark.usefixtures("short_spans")
def test_spans_follow_every_change(database: Database) -> None:
    with database.writing() as connection:
        wanted = StorageChange(methods=(MethodChange(uri="file:///srv/1/"),))
        storage = storage_rows.add(connection, SYSTEM, wanted, NOON)
    picked = random.Random(5)
    for seed in range(6):
        fill(database, storage, seed)
        with database.writing() as connection:
            entered = [rows.FileRow(*r) for r in connection.execute(sa.select(*rows.COUNTED))]
            changes: list[tuple[rows.FileRow, dict[str, object]]] = [
                (file, {name: picked.choice(values)})
                for file in picked.sample(entered, 30)
                for name, values in [picked.choice(list(CHANGES.items()))]
            ]
            rows.change(connection, changes)
        check_counts(database)
        with database.writing() as connection:
            entered = [rows.FileRow(*r) for r in connection.execute(sa.select(*rows.COUNTED))]
            picked.shuffle(entered)
            # Whole spans go, the first among them.
            entered.sort(key=lambda file: file.size)
            rows.delete(connection, entered[: picked.choice([0, 70, 110])])
        check_counts(database)
    with database.writing() as connection:
        entered = [rows.FileRow(*r) for r in connection.execute(sa.select(*rows.COUNTED))]
        rows.delete(connection, entered)
        assert connection.execute(span_counts.select()).first() is None


def test_an_older_catalogue_is_cut_into_spans(database_url: URL) -> None:
    with closing(Database(database_url)) as database:
        with database.writing() as connection:
            for number in (1, 2):
                wanted = StorageChange(methods=(MethodChange(uri=f"file:///srv/{number}/"),))
                storage_rows.add(connection, SYSTEM, wanted, NOON)
        for number in (1, 2):
            fill(database, number, number)
        with database.writing() as connection:
            # What the migrations after the fourth have brought.
            for table in ("job_folders", "job_waits", "spans"):
                connection.exec_driver_sql(f"DROP TABLE {table}")
            connection.exec_driver_sql("ALTER TABLE jobs DROP COLUMN files_unproven")
            connection.exec_driver_sql("DROP INDEX ix_series_by_name")
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0004'")
    with closing(Database(database_url)) as database:
        check_counts(database)


@pytest.mark.usefixtures("short_spans")
async def test_every_far_page_is_the_one_that_walking_gives(
    catalog: Catalog, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = await make_storage(catalog)
    for seed in range(2):
        fill(database, storage, seed)
    taken = 0
    page_ids = far.page_ids

    def counting(*given: Any) -> list[int] | None:  # noqa: ANN401
        nonlocal taken
        ids = page_ids(*given)
        taken += ids is not None
        return ids

    monkeypatch.setattr(far, "page_ids", counting)
    picked = random.Random(9)
    for _ in range(150):
        extension = picked.choice(["", "*.exr", "*.mov"])
        keys = picked.choice([[k] for k in SortKey] + [[SortKey.EXTENSION, SortKey.FILENAME]])
        descending = picked.random() < 0.5
        query = FileQuery(
            storages=(storage,),
            path=PathMatch(extension, wildcard=True),
            states=picked.choice([(), (FileState.CLOSED,), tuple(FileState)]),
            filter=picked.choice(["all", "noitem"]),
            exclude_queued=picked.random() < 0.2,
            sort=tuple(Sort(key, descending) for key in keys),
            first=picked.randrange(200),
            number=picked.choice([1, 7, 50]),
            count=picked.random() < 0.5,
        )
        found = await catalog.files(SYSTEM, query)
        with monkeypatch.context() as patched:
            patched.setattr(far, "page_ids", lambda *given: None)
            assert found == await catalog.files(SYSTEM, query), query
    assert taken > 50


# What can become of a file.
CHANGES: dict[str, list[object]] = {
    "state": [FileState.CLOSED, FileState.LOST],
    "size": [0, 3, 9],
    "mtime_ns": [0, 7],
    "original_name": ["a"],
}


async def test_every_page_of_every_order_is_the_one_that_sorting_gives(
    catalog: Catalog, database: Database
) -> None:
    storages = [await make_storage(catalog, f"/srv/{n}") for n in (1, 2)]
    for storage in storages:
        fill(database, storage, storage)
    keys = {
        SortKey.FILE_ID: lambda f: f.id,
        SortKey.SIZE: lambda f: f.size,
        SortKey.STATE: lambda f: f.state,
        SortKey.TIMESTAMP: lambda f: f.timestamp,
        SortKey.FILENAME: lambda f: f.path.rpartition("/")[2],
        SortKey.EXTENSION: lambda f: rows.extension_of(f.path),
    }
    everything = (await catalog.files(SYSTEM, FileQuery(number=1000, include_item=True))).files
    assert len(everything) == 240
    picked = random.Random(7)
    for _ in range(120):
        order = [Sort(k, picked.random() < 0.5) for k in picked.sample(list(SortKey), 2)]
        query = FileQuery(
            storages=picked.choice([(), (storages[0],)]),
            path=PathMatch(picked.choice(["", "a", "a/", "c/d", "a/b/"]), picked.random() < 0.7),
            states=picked.choice([(), (FileState.OPEN,)]),
            filter=picked.choice(["all", "item", "noitem"]),
            sort=tuple(order),
            first=picked.randrange(0, 90),
            number=picked.choice([0, 5, 50]),
            count=picked.random() < 0.7,
        )
        wanted = [f for f in everything if _is_wanted(f, query)]
        for sort in reversed([*order, Sort(SortKey.FILE_ID, order[-1].descending)]):
            wanted.sort(key=keys[sort.key], reverse=sort.descending)
        page = await catalog.files(SYSTEM, query)
        assert [f.id for f in page.files] == [
            f.id for f in wanted[query.first : query.first + query.number]
        ], query
        assert page.hits == (len(wanted) if query.count else None)
    check_counts(database)


def _is_wanted(file: object, query: FileQuery) -> bool:
    assert isinstance(file, CatalogFile)
    folder = file.path.rpartition("/")[0]
    text = query.path.text
    base = text.rstrip("/")
    if text.endswith("/") or not text:
        within = folder == base
        if query.path.recursive:
            within = within or not base or folder.startswith(f"{base}/")
    else:
        within = file.path == base
        if query.path.recursive:
            within = within or folder == base or folder.startswith(f"{base}/")
    return (
        within
        and (not query.storages or file.storage_id in query.storages)
        and (not query.states or file.state in query.states)
        and (query.filter == "all" or bool(file.items) == (query.filter == "item"))
    )


async def test_hashes_ids_and_the_import_queue_restrict_a_list(
    catalog: Catalog, database: Database
) -> None:
    storage = await make_storage(catalog)
    enter(database, storage, "a.dpx", "b.dpx", "c.dpx")
    a, b, c = (await catalog.files(SYSTEM, FileQuery())).files
    job = await Jobs(database, lambda: NOON).submit(
        SYSTEM, JobRequest(JobKind.VERIFY, f"vx-{storage}", ("a.dpx",))
    )
    with database.writing() as connection:
        for algorithm, value in (("SHA-1", "ab" * 20), ("XXH3-128", "cd" * 16)):
            values = {"file_id": b.id, "algorithm": algorithm, "value": value}
            connection.execute(file_hashes.insert().values(values))
        connection.execute(import_queue.insert().values(file_id=c.id, job_id=job.id))

    async def find(**wanted: object) -> list[int]:
        page = await catalog.files(SYSTEM, FileQuery(**wanted))  # type: ignore[arg-type]
        assert page.hits == len(page.files)
        return [file.id for file in page.files]

    assert await find(hashes=("AB" * 20,)) == [b.id]
    assert await find(hashes=("cd" * 16,), algorithm="SHA-1") == []
    assert await find(ids=(c.id, a.id, 999)) == [a.id, c.id]
    assert await find(exclude_queued=True) == [a.id, b.id]
    assert await find(exclude_queued=True, path=PathMatch("c.dpx")) == []
    assert (await catalog.file(SYSTEM, b.id)).hash == "ab" * 20


async def test_entities_are_made_once_and_change(catalog: Catalog, database: Database) -> None:
    storage = await make_storage(catalog)
    made = await catalog.add_file(SYSTEM, storage, "/shots//a.dpx")
    assert (made.path, made.state, made.size, made.refresh_flag) == (
        "shots/a.dpx",
        FileState.OPEN,
        None,
        1,
    )
    with pytest.raises(FileExists) as caught:
        await catalog.add_file(SYSTEM, storage, "shots/a.dpx")
    assert (caught.value.storage_id, caught.value.file_id) == (storage, made.id)
    again = await catalog.add_file(
        SYSTEM, storage, "shots/a.dpx", state=FileState.CLOSED, create_only=False
    )
    assert (again.id, again.state, again.refresh_flag) == (made.id, FileState.CLOSED, 0)
    assert (await catalog.set_state(SYSTEM, made.id, FileState.ARCHIVED)).state == "ARCHIVED"
    check_counts(database)
    await catalog.remove_file(SYSTEM, made.id)
    with pytest.raises(NotFound) as missing:
        await catalog.file(SYSTEM, made.id)
    assert (missing.value.kind, missing.value.id) == ("File", made.id)
    check_counts(database)


async def test_files_are_found_by_path_and_uri(catalog: Catalog) -> None:
    outer = await make_storage(catalog, "/srv/my media")
    inner = await make_storage(catalog, "/srv/my media/inner")
    one = await catalog.add_file(SYSTEM, outer, "a b/c#1.dpx")
    two = await catalog.add_file(SYSTEM, inner, "x.dpx")
    method = (await catalog.storage(SYSTEM, outer)).methods[0]
    assert method.uri == "file:///srv/my%20media/"
    from server.core.catalog.uris import file_uri

    uri = file_uri(method, one.path)
    assert uri == "file:///srv/my%20media/a%20b/c%231.dpx"
    assert (await catalog.file_of_uri(SYSTEM, uri)).id == one.id
    assert (await catalog.file_at(SYSTEM, "/a b//c#1.dpx")).id == one.id
    inner_uri = "file://localhost/srv/my%20media/inner/x.dpx"
    assert (await catalog.file_of_uri(SYSTEM, inner_uri)).id == two.id
    with pytest.raises(NotFound):
        await catalog.file_of_uri(SYSTEM, inner_uri, storage_id=outer)
    for bad in ("file:///etc/passwd", "file:///srv/my%20media/../x"):
        with pytest.raises(NotFound):
            await catalog.file_of_uri(SYSTEM, bad)
    for bad in ("http://host/x", "file://u:p@/srv/x", "nonsense"):
        with pytest.raises(InvalidValue):
            await catalog.file_of_uri(SYSTEM, bad)


async def test_a_path_change_takes_the_components_along(
    catalog: Catalog, database: Database
) -> None:
    storage = await make_storage(catalog)
    old = await catalog.add_file(SYSTEM, storage, "old.dpx", state=FileState.CLOSED)
    with database.writing() as connection:
        item = items.make_item(connection, ("clip-1",), {}, [old.id], NOON)
    copy = await catalog.set_path(SYSTEM, old.id, "copy.dpx", duplicate=True)
    assert copy.state is FileState.CLOSED
    new = await catalog.set_path(SYSTEM, old.id, "new.dpx", state=FileState.OPEN)
    assert new.state is FileState.OPEN
    with pytest.raises(NotFound):
        await catalog.file(SYSTEM, old.id)
    for number in (copy.id, new.id):
        found = (await catalog.file(SYSTEM, number, include_item=True)).items
        assert found is not None
        assert [one.id for one in found] == [item]
    check_counts(database)
    with pytest.raises(InUse):
        await catalog.remove_storage(SYSTEM, storage)
    with pytest.raises(NotFound):
        await catalog.abandon(SYSTEM, new.id, item + 1)
    await catalog.abandon(SYSTEM, new.id, item)
    await catalog.abandon(SYSTEM, copy.id)
    page = await catalog.files(SYSTEM, FileQuery(filter="noitem"))
    assert {file.id for file in page.files} == {new.id, copy.id}
    check_counts(database)
    await catalog.remove_storage(SYSTEM, storage)
    assert (await catalog.files(SYSTEM, FileQuery())).hits == 0
    with pytest.raises(NotFound):
        await catalog.storage(SYSTEM, storage)


async def test_methods_say_where_a_storage_is(catalog: Catalog) -> None:
    made = await catalog.add_storage(
        SYSTEM, StorageChange(type="SHARED", capacity=10**12, metadata={"site": "Köln"})
    )
    number = made.storage.id
    assert (made.storage.root, made.methods, made.storage.name) == ("", (), f"vx-{number}")
    slow = await catalog.add_method(
        SYSTEM, number, MethodChange(uri="file:///mnt/slow", write=False)
    )
    assert (await catalog.storage(SYSTEM, number)).storage.read_only
    fast = await catalog.add_method(SYSTEM, number, MethodChange(uri="file:///mnt/fast/"))
    found = await catalog.storage(SYSTEM, number)
    assert (found.storage.root, found.storage.read_only) == ("/mnt/fast", False)
    assert [m.uri for m in found.methods] == ["file:///mnt/slow/", "file:///mnt/fast/"]
    await catalog.add_method(SYSTEM, number, MethodChange(uri="file:///mnt/slow/", bandwidth=5))
    assert [m.bandwidth for m in (await catalog.storage(SYSTEM, number)).methods] == [5, None]
    await catalog.change_method(SYSTEM, number, fast.id, MethodChange(uri="file:///mnt/faster"))
    assert (await catalog.storage(SYSTEM, number)).storage.root == "/mnt/faster"
    await catalog.remove_method(SYSTEM, number, fast.id)
    assert (await catalog.storage(SYSTEM, number)).storage.root == "/mnt/slow"
    with pytest.raises(NotFound) as missing:
        await catalog.remove_method(SYSTEM, number, fast.id)
    assert missing.value.kind == "storage-method"
    changed = await catalog.change_storage(SYSTEM, number, StorageChange(name="tier-1", capacity=5))
    assert (changed.storage.name, changed.traits.capacity, changed.traits.type) == (
        "tier-1",
        5,
        "SHARED",
    )
    with pytest.raises(NameTaken):
        await catalog.add_storage(SYSTEM, StorageChange(name="tier-1"))
    for bad in ("/mnt/x", "file:///", "ftp://host/", "s3://bucket/"):
        with pytest.raises(InvalidValue):
            await catalog.add_method(SYSTEM, number, MethodChange(uri=bad))
    assert slow.id != fast.id


async def test_who_may_reach_a_folder_sees_its_files_only(
    catalog: Catalog, database: Database
) -> None:
    storage = await make_storage(catalog)
    enter(database, storage, "a/1.dpx", "a/b/2.dpx", "a-x/3.dpx", "c/4.dpx")
    ada = wrangler(database, storage, "a", "a/b")
    page = await catalog.files(ada, FileQuery())
    assert [f.path for f in page.files] == ["a/1.dpx", "a/b/2.dpx"]
    assert page.hits == 2
    wild = FileQuery(path=PathMatch("*.dpx", wildcard=True))
    assert (await catalog.files(ada, wild)).hits == 2
    hidden = (await catalog.file_at(SYSTEM, "c/4.dpx")).id
    for ask in (
        lambda: catalog.file(ada, hidden),
        lambda: catalog.file_at(ada, "c/4.dpx"),
        lambda: catalog.set_state(ada, hidden, FileState.LOST),
        lambda: catalog.remove_file(ada, hidden),
        lambda: catalog.add_file(ada, storage, "c/new.dpx"),
    ):
        with pytest.raises(NotFound):
            await ask()
    monitor = Actor(user_id=ada.user_id, name="ada", role=Role.MONITOR)
    with pytest.raises(NotAllowed):
        await catalog.add_file(monitor, storage, "a/new.dpx")
    with pytest.raises(NotAllowed):
        await catalog.add_storage(ada, StorageChange())


async def test_a_page_tells_how_fresh_it_is(catalog: Catalog, database: Database) -> None:
    from server.core.catalog.tables import scans

    storage = await make_storage(catalog)
    assert (await catalog.files(SYSTEM, FileQuery())).fresh_at is None
    earlier = NOON - timedelta(minutes=5)
    with database.writing() as connection:
        connection.execute(
            scans.insert().values(
                storage_id=storage,
                state="fresh",
                started_at=earlier,
                fresh_at=earlier,
                cursor="",
                files_seen=3,
                names_refused=0,
                root_id="",
                error="",
            )
        )
    assert (await catalog.files(SYSTEM, FileQuery())).fresh_at == earlier
    assert (await catalog.storage(SYSTEM, storage)).freshness.files_seen == 3
