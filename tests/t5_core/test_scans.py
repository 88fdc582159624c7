"""Scans: the catalogue follows the disk, goes on after a restart, and says how fresh it is."""

from __future__ import annotations

import os
import shutil
import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
import trio

from server.core.catalog import FileQuery, FileState, StorageChange, items, scans
from server.core.catalog.tables import files, folders
from server.core.permissions import SYSTEM
from server.work import scanner
from server.work.catalogue import run_catalogue
from server.work.directory import Directory
from server.work.scanner import Scan, ScanStopped, Timing
from tests.t5_core.catalog_desk import PATIENCE_S, CatalogDesk

if TYPE_CHECKING:
    from pathlib import Path

    from server.core.database import Database

OLD_NS = 10**18


@pytest.fixture
def desk(database: Database, tmp_path: Path) -> CatalogDesk:
    return CatalogDesk(database, tmp_path)


def put(path: Path, data: bytes = b"x", *, age: bool = True) -> None:
    """A file; with ``age`` one that has come to rest long ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    if age:
        os.utime(path, ns=(OLD_NS, OLD_NS))
        at = path.parent
        while at.name != "one":
            os.utime(at, ns=(OLD_NS, OLD_NS))
            at = at.parent
        os.utime(at, ns=(OLD_NS, OLD_NS))


async def states(desk: CatalogDesk) -> dict[str, str]:
    page = await desk.catalog.files(SYSTEM, FileQuery(number=1000))
    assert page.hits == len(page.files)
    return {file.path: file.state.value for file in page.files}


async def test_what_is_there_becomes_entities(desk: CatalogDesk) -> None:
    storage = await desk.make_storage("one")
    root = desk.base / "one"
    put(root / "a.dpx", b"12345")
    put(root / "show/sq/b.exr")
    put(root / "show/new.exr", age=False)
    (root / "show/link").symlink_to(root / "a.dpx")
    os.mkfifo(root / "show/fifo")
    (root / "show/.upload-7.pixfs-part").write_bytes(b"x")
    os.close(os.open(os.fsencode(root) + b"/bad\xff.dpx", os.O_CREAT))
    os.close(os.open(os.fsencode(root) + b"/line\n.dpx", os.O_CREAT))
    await desk.scan(storage)
    assert await states(desk) == {
        "a.dpx": "CLOSED",
        "show/sq/b.exr": "CLOSED",
        "show/new.exr": "OPEN",
    }
    file = await desk.catalog.file_at(SYSTEM, "a.dpx")
    assert (file.size, file.timestamp.timestamp()) == (5, OLD_NS / 1e9)
    found = (await desk.catalog.storage(SYSTEM, storage)).freshness
    assert (found.state, found.files_seen, found.error) == ("fresh", 3, "")
    page = await desk.catalog.files(SYSTEM, FileQuery())
    assert page.fresh_at == found.fresh_at is not None


async def test_names_that_look_alike_are_told_apart(desk: CatalogDesk) -> None:
    storage = await desk.make_storage("one")
    names = ["caf\u00e9.dpx", "cafe\u0301.dpx", "A.dpx", "a.dpx", "a\u00a0b.dpx", "\u202eb.dpx"]
    for name in names:
        put(desk.base / "one" / name)
    await desk.scan(storage)
    assert sorted(await states(desk)) == sorted(names)
    for name in names:
        assert (await desk.catalog.file_at(SYSTEM, name)).path == name


async def test_a_file_comes_to_rest_changes_goes_and_comes_back(desk: CatalogDesk) -> None:
    storage = await desk.make_storage("one")
    path = desk.base / "one/a.dpx"
    put(path, age=False)
    await desk.scan(storage)
    assert await states(desk) == {"a.dpx": "OPEN"}
    first = await desk.catalog.file_at(SYSTEM, "a.dpx")
    desk.clock.advance(40)
    await desk.scan(storage)
    assert await states(desk) == {"a.dpx": "CLOSED"}
    # Written to again, in place, which the folder's time does not tell.
    desk.clock.advance(4000)
    path.write_bytes(b"longer")
    await desk.scan(storage, Timing(thorough=timedelta()))
    assert (await desk.catalog.file_at(SYSTEM, "a.dpx")).size == 6
    path.unlink()
    await desk.scan(storage)
    assert await states(desk) == {"a.dpx": "MISSING"}
    put(path)
    await desk.scan(storage)
    assert await states(desk) == {"a.dpx": "CLOSED"}
    assert (await desk.catalog.file_at(SYSTEM, "a.dpx")).id == first.id


async def test_what_is_missing_for_long_is_forgotten_or_lost(desk: CatalogDesk) -> None:
    storage = await desk.make_storage("one")
    for name in ("a", "b"):
        put(desk.base / "one/shot" / f"{name}.dpx")
    await desk.scan(storage)
    kept = await desk.catalog.file_at(SYSTEM, "shot/a.dpx")
    with desk.database.writing() as connection:
        items.make_item(connection, (), {}, [kept.id], desk.clock())
    ghost = await desk.catalog.add_file(SYSTEM, storage, "shot/to-come.dpx")
    shutil.rmtree(desk.base / "one/shot")
    await desk.scan(storage)
    assert await states(desk) == {
        "shot/a.dpx": "MISSING",
        "shot/b.dpx": "MISSING",
        "shot/to-come.dpx": "OPEN",
    }
    desk.clock.advance(90_000)
    await desk.scan(storage)
    assert await states(desk) == {"shot/a.dpx": "LOST", "shot/to-come.dpx": "OPEN"}
    assert (await desk.catalog.file(SYSTEM, ghost.id)).size is None


async def test_states_that_people_set_are_left(desk: CatalogDesk) -> None:
    storage = await desk.make_storage("one")
    path = desk.base / "one/a.dpx"
    put(path)
    await desk.scan(storage)
    file = await desk.catalog.file_at(SYSTEM, "a.dpx")
    await desk.catalog.set_state(SYSTEM, file.id, FileState.ARCHIVED)
    path.unlink()
    await desk.scan(storage)
    assert await states(desk) == {"a.dpx": "ARCHIVED"}


async def test_unchanged_folders_are_not_looked_into(
    desk: CatalogDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = await desk.make_storage("one")
    for name in ("a/1.dpx", "a/b/2.dpx", "c/3.dpx"):
        put(desk.base / "one" / name)
    await desk.scan(storage)
    looked: list[str] = []
    real = scanner.look
    monkeypatch.setattr(
        scanner, "look", lambda place, path, now: looked.append(path) or real(place, path, now)
    )
    await desk.scan(storage)
    assert looked == []
    put(desk.base / "one/a/b/new.dpx", age=False)
    await desk.scan(storage)
    assert looked == ["a/b"]
    # A file that may still grow, and a folder that has just changed, are looked at again.
    await desk.scan(storage)
    assert looked == ["a/b", "a/b"]
    desk.clock.advance(4000)
    await desk.scan(storage)
    assert looked[2:] == ["", "a", "a/b", "c"]


@pytest.mark.parametrize("after", range(6))
async def test_a_scan_goes_on_where_it_was_cut_off(
    desk: CatalogDesk, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    storage = await desk.make_storage("one")
    names = ["0.dpx", "a/1.dpx", "a/b/2.dpx", "a/b/c/3.dpx", "a-x/4.dpx", "d/5.dpx"]
    for name in names:
        put(desk.base / "one" / name)
    stop = threading.Event()
    looked: list[str] = []
    real = scanner.look

    def look(place: object, path: str, now: object) -> object:
        looked.append(path)
        if len(looked) == after + 1:
            stop.set()
        return real(place, path, now)  # type: ignore[arg-type]

    monkeypatch.setattr(scanner, "look", look)
    found = (await desk.catalog.storage(SYSTEM, storage)).storage
    place = Directory(found.root)
    try:
        scan = Scan(desk.database, found, place, desk.clock, Timing(), stop)
        if after < 5:
            with pytest.raises(ScanStopped):
                scan.run()
            assert (await desk.catalog.storage(SYSTEM, storage)).freshness.state == "scanning"
            assert len(await states(desk)) == after + 1
            desk.restart()
            Scan(desk.database, found, place, desk.clock, Timing(), threading.Event()).run()
        else:
            scan.run()
    finally:
        place.close()
    assert looked == ["", "a", "a/b", "a/b/c", "a-x", "d"]
    assert sorted(await states(desk)) == sorted(names)
    assert (await desk.catalog.storage(SYSTEM, storage)).freshness.state == "fresh"


async def test_an_empty_mount_point_is_no_empty_storage(desk: CatalogDesk) -> None:
    storage = await desk.make_storage("one")
    root = desk.base / "one"
    put(root / "a.dpx")
    await desk.scan(storage)
    root.rename(desk.base / "kept")
    root.mkdir()
    await desk.scan(storage)
    assert await states(desk) == {"a.dpx": "CLOSED"}
    found = (await desk.catalog.storage(SYSTEM, storage)).freshness
    assert found.state == "failed"
    assert "is it mounted?" in found.error
    root.rmdir()
    await desk.scan(storage)
    assert (await desk.catalog.storage(SYSTEM, storage)).freshness.state == "failed"
    (desk.base / "kept").rename(root)
    await desk.scan(storage)
    assert (await desk.catalog.storage(SYSTEM, storage)).freshness.state == "fresh"
    # The same folder may be emptied.
    (root / "a.dpx").unlink()
    await desk.scan(storage)
    assert await states(desk) == {"a.dpx": "MISSING"}


async def test_what_comes_during_a_look_is_not_missed_or_invented(desk: CatalogDesk) -> None:
    storage = await desk.make_storage("one")
    put(desk.base / "one/old.dpx")
    await desk.scan(storage)
    seen = {"old.dpx": scans.Seen(1, OLD_NS)}
    earlier = scans.Listing("", 5, desk.clock(), seen, ())
    uploaded = await desk.upload(storage, "new.dpx", b"new")
    async with desk.working():
        old = await desk.catalog.file_at(SYSTEM, "old.dpx")
        from server.core.catalog import JobOptions

        await desk.done(await desk.catalog.delete_file(SYSTEM, old.id, JobOptions()))
    with desk.database.writing() as connection:
        scans.record(connection, storage, [earlier], "")
        at = connection.execute(sa.select(folders.c.mtime_ns)).scalar()
    assert at == 0
    assert await states(desk) == {"new.dpx": "CLOSED"}
    assert (await desk.catalog.file(SYSTEM, uploaded.id)).state is FileState.CLOSED


async def test_a_folder_nobody_may_look_into_does_not_end_the_scan(
    desk: CatalogDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = await desk.make_storage("one")
    for name in ("a/1.dpx", "b/2.dpx"):
        put(desk.base / "one" / name)
    real = scanner.look

    def look(place: object, path: str, now: object) -> object:
        if path == "a":
            raise PermissionError(13, "denied")
        return real(place, path, now)  # type: ignore[arg-type]

    monkeypatch.setattr(scanner, "look", look)
    await desk.scan(storage)
    assert await states(desk) == {"b/2.dpx": "CLOSED"}
    found = (await desk.catalog.storage(SYSTEM, storage)).freshness
    assert (found.state, found.error) == ("fresh", "1 folders cannot be looked into: 'a'")


async def test_the_server_scans_by_itself_and_when_asked(desk: CatalogDesk) -> None:
    storage = await desk.make_storage("one")
    hidden = await desk.make_storage("two")
    await desk.catalog.change_storage(SYSTEM, hidden, StorageChange(auto_detect=False))
    put(desk.base / "one/a.dpx")
    put_two = desk.base / "two/b.dpx"
    put_two.write_bytes(b"x")
    async with trio.open_nursery() as nursery:
        await nursery.start(run_catalogue, desk.core)
        with trio.fail_after(PATIENCE_S):
            while await states(desk) != {"a.dpx": "CLOSED"}:  # noqa: ASYNC110
                await trio.sleep(0.05)
            put(desk.base / "one/c.dpx")
            os.utime(desk.base / "one", ns=(OLD_NS + 1, OLD_NS + 1))
            while "c.dpx" not in await states(desk):
                await desk.essence.rescan(SYSTEM, storage)
                await trio.sleep(0.2)
        nursery.cancel_scope.cancel()
    assert await states(desk) == {"a.dpx": "CLOSED", "c.dpx": "CLOSED"}


async def test_storages_that_another_face_removed_are_forgotten(desk: CatalogDesk) -> None:
    storage = await desk.make_storage("one")
    put(desk.base / "one/a.dpx")
    await desk.scan(storage)
    name = (await desk.catalog.storage(SYSTEM, storage)).storage.name
    await desk.core.storages.remove(SYSTEM, name)
    assert await states(desk) == {}
    while await desk.core.database.write(scans.prune):
        pass
    with desk.database.reading() as connection:
        assert connection.execute(sa.select(files)).all() == []
        assert connection.execute(sa.select(folders)).all() == []
