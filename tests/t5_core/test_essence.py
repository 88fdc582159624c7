"""Bytes of catalogued files: uploads whole and in pieces, downloads, what a crash leaves."""

from __future__ import annotations

import ctypes
import hashlib
import os
import random
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
import trio

from server.core.catalog import FileQuery, FileState
from server.core.catalog import uploads as records
from server.core.catalog.tables import upload_pieces, uploads
from server.core.errors import (
    FileExists,
    InvalidValue,
    NotFound,
    SizeMismatch,
    StorageFull,
    StorageUnavailable,
    WrongState,
)
from server.core.permissions import SYSTEM
from server.work.errors import StorageError
from server.work.essence import Piece, Upload
from server.work.priority import PriorityGate
from tests.t5_core.catalog_desk import CatalogDesk

if TYPE_CHECKING:
    from pathlib import Path

    from server.core.database import Database

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
DATA = random.Random(3).randbytes(3_000_000)


@pytest.fixture
def desk(database: Database, tmp_path: Path) -> CatalogDesk:
    return CatalogDesk(database, tmp_path)


def is_clean(desk: CatalogDesk) -> bool:
    """Nothing of any upload is left, in the tables or on the disk."""
    with desk.database.reading() as connection:
        rows = connection.execute(sa.select(uploads)).all()
        pieces = connection.execute(sa.select(upload_pieces)).all()
    return not rows and not pieces and not desk.hidden()


async def test_an_upload_lands_whole_and_is_read_from_anywhere(desk: CatalogDesk) -> None:
    storage = await desk.make_storage("one")
    file = await desk.upload(storage, "shot/a b.dpx", DATA)
    assert (file.path, file.state, file.size) == ("shot/a b.dpx", FileState.CLOSED, len(DATA))
    assert file.hash == hashlib.sha1(DATA).hexdigest()
    assert (desk.base / "one/shot/a b.dpx").read_bytes() == DATA
    assert await desk.read(file) == DATA
    async with desk.essence.open(SYSTEM, file.id) as found:
        assert found.size == len(DATA)
        assert found.mtime == file.timestamp
        assert await found.read(2_999_990, 100) == DATA[-10:]
        assert await found.read(5, 3) == DATA[5:8]
        assert await found.read(len(DATA), 1) == b""
        etag = found.etag
    assert is_clean(desk)
    again = await desk.upload(storage, "shot/a b.dpx", b"new", file_id=file.id)
    assert (again.id, again.size, again.hash) == (file.id, 3, hashlib.sha1(b"new").hexdigest())
    async with desk.essence.open(SYSTEM, file.id) as found:
        assert found.etag != etag


async def test_a_file_that_is_there_is_not_written_over(desk: CatalogDesk) -> None:
    storage = await desk.make_storage("one")
    file = await desk.upload(storage, "a.dpx", b"old")
    with pytest.raises(FileExists) as caught:
        await desk.upload(storage, "a.dpx", b"new")
    assert caught.value.file_id == file.id
    # One that no scan has seen yet is only met when the name is given.
    (desk.base / "one/b.dpx").write_bytes(b"old")
    with pytest.raises(FileExists):
        await desk.upload(storage, "b.dpx", b"new")
    assert (desk.base / "one/b.dpx").read_bytes() == b"old"
    assert is_clean(desk)
    # An entity without a file waits for it.
    await desk.catalog.add_file(SYSTEM, storage, "c.dpx")
    assert (await desk.upload(storage, "c.dpx", b"new")).size == 3
    nameless = Upload(storage, size=1)
    async with desk.essence.upload(SYSTEM, nameless) as writer:
        await writer.write(b"x")
        made = await writer.finish()
    assert made is not None
    assert (desk.base / "one" / made.path).read_bytes() == b"x"


@pytest.mark.parametrize("sent", [DATA[:-1], DATA + b"x", b""])
async def test_another_length_than_announced_leaves_nothing(desk: CatalogDesk, sent: bytes) -> None:
    storage = await desk.make_storage("one")

    async def send() -> None:
        wanted = Upload(storage, "a.dpx", size=len(DATA))
        async with desk.essence.upload(SYSTEM, wanted) as writer:
            for start in range(0, len(sent), 700_000):
                await writer.write(sent[start : start + 700_000])
            await writer.finish()

    with pytest.raises(SizeMismatch):
        await send()
    assert await desk.paths() == []
    assert list((desk.base / "one").iterdir()) == []
    assert is_clean(desk)


async def test_who_hangs_up_leaves_nothing(desk: CatalogDesk) -> None:
    storage = await desk.make_storage("one")
    with trio.CancelScope() as scope:
        async with desk.essence.upload(SYSTEM, Upload(storage, "a.dpx")) as writer:
            await writer.write(DATA)
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert is_clean(desk)
    assert list((desk.base / "one").iterdir()) == []


async def test_pieces_come_in_any_order_at_the_same_time_and_across_a_restart(
    desk: CatalogDesk,
) -> None:
    storage = await desk.make_storage("one")
    size = 400_000
    offsets = list(range(0, len(DATA), size))
    random.Random(5).shuffle(offsets)
    results = []

    async def send(offset: int) -> None:
        piece = DATA[offset : offset + size]
        found = await desk.send_piece(storage, "a/b.mov", "t-1", offset, piece, len(DATA))
        results.append(found)

    await send(offsets[0])
    await send(offsets[0])
    # A piece that broke off counts for nothing.
    with trio.CancelScope() as scope:
        wanted = Upload(storage, "a/b.mov")
        begun = desk.essence.piece(SYSTEM, wanted, Piece("t-1", offsets[1], len(DATA)))
        async with begun as writer:
            await writer.write(b"wrong" * 100)
            await writer.flush()
            scope.cancel()
            await trio.lowlevel.checkpoint()
    desk.restart()
    await desk.essence.recover(desk.clock())
    assert await desk.paths() == []
    async with trio.open_nursery() as nursery:
        for offset in offsets[1:]:
            nursery.start_soon(send, offset)
    whole = [found for found in results if found is not None]
    assert len(whole) == 1
    assert whole[0].size == len(DATA)
    assert whole[0].hash == hashlib.sha1(DATA).hexdigest()
    assert (desk.base / "one/a/b.mov").read_bytes() == DATA
    assert is_clean(desk)


async def test_pieces_must_fit_the_transfer_they_belong_to(desk: CatalogDesk) -> None:
    storage = await desk.make_storage("one")
    await desk.send_piece(storage, "a.mov", "t", 0, b"12345", 10)
    for path, total in (("b.mov", 10), ("a.mov", 11)):
        with pytest.raises(InvalidValue, match="transfer"):
            await desk.send_piece(storage, path, "t", 5, b"12345", total)
    with pytest.raises(SizeMismatch):
        await desk.send_piece(storage, "a.mov", "t", 5, b"123456", 10)
    with pytest.raises(InvalidValue):
        await desk.send_piece(storage, "a.mov", "t", 11, b"", 10)
    assert await desk.send_piece(storage, "a.mov", "t", 5, b"67890", 10) is not None
    assert (desk.base / "one/a.mov").read_bytes() == b"1234567890"
    empty = await desk.send_piece(storage, "empty.mov", "t-2", 0, b"", 0)
    assert empty is not None
    assert empty.size == 0


async def test_a_first_piece_that_is_refused_leaves_nothing(desk: CatalogDesk) -> None:
    storage = await desk.make_storage("one")
    with pytest.raises(SizeMismatch):
        await desk.send_piece(storage, "a.mov", "t", 5, b"123456", 10)
    assert is_clean(desk)
    await desk.send_piece(storage, "a.mov", "t", 0, b"12345", 10)
    with pytest.raises(SizeMismatch):
        await desk.send_piece(storage, "a.mov", "t", 5, b"123456", 10)
    assert len(desk.hidden()) == 1


async def test_a_transfer_that_could_not_be_completed_is_with_its_next_piece(
    desk: CatalogDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was "just being completed" until the server was started anew."""

    def fail(*_: object, **__: object) -> None:
        raise StorageError("planted")

    storage = await desk.make_storage("one")
    await desk.send_piece(storage, "a.mov", "t", 0, b"12345", 10)
    with monkeypatch.context() as away:
        away.setattr("server.work.essence.complete", fail)
        with pytest.raises(StorageUnavailable):
            await desk.send_piece(storage, "a.mov", "t", 5, b"67890", 10)
    file = await desk.send_piece(storage, "a.mov", "t", 5, b"67890", 10)
    assert file is not None
    assert await desk.read(file) == b"1234567890"
    assert is_clean(desk)


async def test_a_transfer_nobody_goes_on_with_is_given_up(desk: CatalogDesk) -> None:
    began = desk.clock()
    storage = await desk.make_storage("one")
    await desk.send_piece(storage, "a.mov", "t", 0, b"12345", 10)
    await desk.essence.recover(began)
    assert len(desk.hidden()) == 1
    desk.clock.advance(4 * 86_400)
    await desk.essence.recover(began)
    assert is_clean(desk)


async def begun(
    desk: CatalogDesk, storage: int, data: bytes, *, replaces: int | None = None
) -> records.Announced:
    """A whole upload whose server was killed when all bytes were durable."""
    found = await desk.core.database.write(
        records.begin,
        SYSTEM,
        storage,
        "a.dpx",
        replaces,
        None,
        len(data),
        500,
        None,
        desk.clock(),
    )
    (desk.base / "one" / f".{found.part}.pixfs-part").write_bytes(data)
    return found


async def test_a_crash_before_an_upload_was_whole_leaves_nothing(desk: CatalogDesk) -> None:
    storage = await desk.make_storage("one")
    await begun(desk, storage, b"some")
    desk.restart()
    await desk.essence.recover(desk.clock())
    assert is_clean(desk)
    assert await desk.paths() == []


@pytest.mark.parametrize("has_name", [False, True])
async def test_a_crash_while_an_upload_took_its_name_is_made_up_for(
    desk: CatalogDesk, has_name: bool
) -> None:
    storage = await desk.make_storage("one")
    upload = await begun(desk, storage, DATA)
    await desk.core.database.write(records.close, upload.id, len(DATA))
    if has_name:
        (desk.base / "one" / f".{upload.part}.pixfs-part").rename(desk.base / "one/a.dpx")
    desk.restart()
    await desk.essence.recover(desk.clock())
    assert await desk.paths() == ["a.dpx"]
    assert (desk.base / "one/a.dpx").read_bytes() == DATA
    assert is_clean(desk)


@pytest.mark.parametrize("is_newer", [False, True])
async def test_an_upload_that_waited_for_its_storage_replaces_nothing_newer(
    desk: CatalogDesk, is_newer: bool
) -> None:
    """A server whose storage is away when it starts completes the upload only hours later."""
    storage = await desk.make_storage("one")
    file = await desk.upload(storage, "a.dpx", b"oldest")
    desk.clock.advance(60)
    upload = await begun(desk, storage, b"late", replaces=file.id)
    await desk.core.database.write(records.close, upload.id, 4)
    desk.restart()
    desk.clock.advance(60)
    if is_newer:
        async with desk.essence.upload(SYSTEM, Upload(file_id=file.id, size=5)) as writer:
            await writer.write(b"newer")
            await writer.finish()
        desk.clock.advance(60)
    await desk.essence.recover(desk.clock())
    assert (desk.base / "one/a.dpx").read_bytes() == (b"newer" if is_newer else b"late")
    assert is_clean(desk)


async def test_a_piece_does_not_meddle_with_the_completion(desk: CatalogDesk) -> None:
    storage = await desk.make_storage("one")
    await desk.send_piece(storage, "a.mov", "t", 0, b"12345", 10)
    with desk.database.writing() as connection:
        connection.execute(uploads.update().values(is_closing=True))
    with pytest.raises(WrongState):
        await desk.send_piece(storage, "a.mov", "t", 5, b"67890", 10)


async def test_links_never_lead_out(desk: CatalogDesk) -> None:
    storage = await desk.make_storage("one")
    outside = desk.base / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (desk.base / "one/out").symlink_to(outside)
    (desk.base / "one/file").symlink_to(outside / "secret")
    for path in ("out/secret", "file"):
        entity = await desk.catalog.add_file(SYSTEM, storage, path)
        with pytest.raises((NotFound, InvalidValue, StorageUnavailable)):
            await desk.read(entity)
    with pytest.raises(NotFound):
        await desk.upload(storage, "out/new.dpx", b"x")
    assert sorted(p.name for p in outside.iterdir()) == ["secret"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_race_for_a_folder_gains_nothing(desk: CatalogDesk) -> None:
    """Folder and link change places 100,000 times; what is read and written stays inside."""
    storage = await desk.make_storage("one")
    outside = desk.base / "outside"
    outside.mkdir()
    (outside / "a.dpx").write_bytes(b"outside")
    root = desk.base / "one"
    (root / "real").mkdir()
    (root / "real/a.dpx").write_bytes(b"inside")
    (root / "swap").symlink_to(outside)
    entity = await desk.catalog.add_file(SYSTEM, storage, "swap/a.dpx")
    stop = threading.Event()
    swaps = 0

    def swap() -> None:
        nonlocal swaps
        libc = ctypes.CDLL(None, use_errno=True)
        names = os.fsencode(root / "swap"), os.fsencode(root / "real")
        while not stop.is_set():
            libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE)
            swaps += 1

    swapper = threading.Thread(target=swap)
    swapper.start()
    read = []
    try:
        number = 0
        while number < 60 or swaps < 100_000:
            number += 1
            with suppress(NotFound, InvalidValue, StorageUnavailable):
                read.append(await desk.read(entity))
            with suppress(NotFound, InvalidValue, StorageUnavailable):
                await desk.upload(storage, f"swap/up{number}", b"uploaded")
    finally:
        stop.set()
        swapper.join()
    assert swaps >= 100_000
    assert set(read) <= {b"inside"}
    assert sorted(p.name for p in outside.iterdir()) == ["a.dpx"]


async def test_a_file_that_changes_while_it_is_read_is_not_mixed(desk: CatalogDesk) -> None:
    storage = await desk.make_storage("one")
    file = await desk.upload(storage, "a.dpx", DATA)
    async with desk.essence.open(SYSTEM, file.id) as found:
        await found.read(0, 10)
        with (desk.base / "one/a.dpx").open("ab") as more:
            more.write(b"more")
        with pytest.raises(StorageUnavailable):
            await found.read(10, 10)


async def test_the_important_go_first() -> None:
    gate = PriorityGate(1)
    order: list[str] = []
    release = trio.Event()

    async def hold() -> None:
        async with gate.passing(1):
            await release.wait()

    async def go(name: str, priority: int) -> None:
        async with gate.passing(priority):
            order.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold)
        await trio.testing.wait_all_tasks_blocked()
        for name, priority in (("low", 1), ("first", 900), ("second", 900), ("middle", 500)):
            nursery.start_soon(go, name, priority)
            await trio.testing.wait_all_tasks_blocked()
        cancelled = trio.CancelScope()

        async def give_up() -> None:
            with cancelled:
                await go("never", 1000)

        nursery.start_soon(give_up)
        await trio.testing.wait_all_tasks_blocked()
        cancelled.cancel()
        await trio.testing.wait_all_tasks_blocked()
        release.set()
    assert order == ["first", "second", "middle", "low"]
    async with gate.passing(1):
        pass


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_bucket_takes_files_and_pieces_in_any_order(
    desk: CatalogDesk, endpoint: str
) -> None:
    storage = await desk.make_bucket(endpoint, "catalogued")
    file = await desk.upload(storage, "a/x.dpx", DATA)
    assert await desk.read(file) == DATA
    async with desk.essence.open(SYSTEM, file.id) as found:
        assert await found.read(1_000_000, 10) == DATA[1_000_000:1_000_010]
        assert await found.read(7, 10) == DATA[7:17]
        assert await found.read(len(DATA), 10) == b""
    size = 1_000_000
    pieces = [2 * size, 0, size]
    sent = [
        await desk.send_piece(storage, "a/y.mov", "t", at, DATA[at : at + size], len(DATA))
        for at in pieces
    ]
    assert sent[:2] == [None, None]
    assert sent[2] is not None
    assert sent[2].hash == hashlib.sha1(DATA).hexdigest()
    assert await desk.read(sent[2]) == DATA
    assert is_clean(desk)
    with pytest.raises(FileExists):
        await desk.upload(storage, "a/x.dpx", b"other")
    await desk.scan(storage)
    page = await desk.catalog.files(SYSTEM, FileQuery())
    assert [(f.id, f.path, f.size, f.state) for f in page.files] == [
        (file.id, "a/x.dpx", len(DATA), FileState.CLOSED),
        (sent[2].id, "a/y.mov", len(DATA), FileState.CLOSED),
    ]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_pieces_for_a_bucket_do_not_fill_the_server_s_own_disk(
    desk: CatalogDesk, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is there, too: some of it is kept free."""
    storage = await desk.make_bucket(endpoint, "large")
    real = os.fstatvfs

    def nearly_full(fd: int) -> os.statvfs_result:
        disk = list(real(fd))
        disk[4] = (1 << 20) // disk[1]  # f_bavail, in units of f_frsize
        return os.statvfs_result(disk)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fstatvfs", nearly_full)
        with pytest.raises(StorageFull, match="no room to gather"):
            await desk.send_piece(storage, "a/y.mov", "t", 0, DATA, len(DATA))
    assert is_clean(desk)
    assert await desk.send_piece(storage, "a/y.mov", "t", 0, DATA, len(DATA)) is not None
