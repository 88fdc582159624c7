"""Jobs about file entities: copies, moves, deletions, imports, packages, re-indexing."""

from __future__ import annotations

import base64
import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from server.core.catalog import (
    FileQuery,
    FileState,
    ImportOptions,
    JobOptions,
    StorageChange,
    TransferOptions,
)
from server.core.errors import (
    InUse,
    InvalidValue,
    NameTaken,
    NotFound,
    PackageError,
    StorageRefused,
)
from server.core.jobs import JobKind, JobRequest, JobState
from server.core.permissions import SYSTEM
from tests.t5_core.catalog_desk import CatalogDesk

if TYPE_CHECKING:
    from pathlib import Path

    from server.core.catalog.model import CatalogFile
    from server.core.database import Database

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
DATA = b"pixels" * 1000


@pytest.fixture
def desk(database: Database, tmp_path: Path) -> CatalogDesk:
    return CatalogDesk(database, tmp_path)


async def test_a_copy_has_an_entity_of_its_own(desk: CatalogDesk) -> None:
    one, two = await desk.make_storage("one"), await desk.make_storage("two")
    # A name full of pattern characters means itself only.
    file = await desk.upload(one, "shot/a[1-2].*.dpx", DATA)
    await desk.upload(one, "shot/a1.x.dpx", DATA)
    options = TransferOptions(
        filename="keep/b.dpx", limit_bps=10_000_000, metadata={"ticket": "42"}, priority=70
    )
    async with desk.working():
        job = await desk.done(await desk.catalog.copy_file(SYSTEM, file.id, two, options))
    copy = await desk.catalog.file_at(SYSTEM, "keep/b.dpx", storage_id=two)
    assert (copy.size, copy.hash, copy.state) == (len(DATA), file.hash, FileState.CLOSED)
    assert copy.timestamp == file.timestamp
    assert await desk.read(copy) == DATA
    assert desk.catalog.job_data(job) == {
        "ticket": "42",
        "fileId": str(file.id),
        "targetFileId": str(copy.id),
        "filePath": "shot/a[1-2].*.dpx",
        "filename": "keep/b.dpx",
        "limitRate": "10000000",
    }
    assert await desk.paths(storages=(two,)) == ["keep/b.dpx"]
    assert job.priority == 70


async def test_a_copy_does_not_write_over_a_file(desk: CatalogDesk) -> None:
    one, two = await desk.make_storage("one"), await desk.make_storage("two")
    file = await desk.upload(one, "a.dpx", DATA)
    (desk.base / "two/a.dpx").write_bytes(b"other")
    async with desk.working():
        job = await desk.catalog.copy_file(SYSTEM, file.id, two, TransferOptions())
        assert (await desk.until_ended(job)).state is JobState.FAILED
    assert (desk.base / "two/a.dpx").read_bytes() == b"other"
    with pytest.raises(InvalidValue):
        await desk.catalog.copy_file(SYSTEM, file.id, one, TransferOptions())
    with pytest.raises(NotFound):
        await desk.catalog.copy_file(SYSTEM, file.id, 99, TransferOptions())
    with pytest.raises(InvalidValue):
        await desk.catalog.copy_file(SYSTEM, file.id, two, TransferOptions(filename="../x"))


@pytest.mark.parametrize("within", [False, True])
async def test_a_move_takes_item_and_original_name_along(desk: CatalogDesk, within: bool) -> None:
    one, two = await desk.make_storage("one"), await desk.make_storage("two")
    file = await desk.upload(one, "in/VX-7.dpx", DATA)
    async with desk.working():
        options = ImportOptions(filename="plate.1001.dpx", external_ids=("sh010",))
        imported = await desk.done(await desk.catalog.import_file(SYSTEM, file.id, options))
        item = int(desk.catalog.job_data(imported)["item"])
        move = TransferOptions(move=True, use_original_filename=True)
        target = one if within else two
        await desk.done(await desk.catalog.copy_file(SYSTEM, file.id, target, move))
    page = await desk.catalog.files(SYSTEM, FileQuery(include_item=True))
    moved = page.files[0]
    assert [(f.storage_id, f.path) for f in page.files] == [(target, "in/plate.1001.dpx")]
    assert moved.items is not None
    assert [one.id for one in moved.items] == [item]
    with pytest.raises(NotFound):
        await desk.catalog.file(SYSTEM, file.id)
    assert not (desk.base / "one/in/VX-7.dpx").exists()


async def test_a_deletion_takes_file_and_entity(desk: CatalogDesk) -> None:
    one = await desk.make_storage("one")
    file = await desk.upload(one, "a/*.dpx", DATA)
    await desk.upload(one, "a/b.dpx", DATA)
    ghost = await desk.catalog.add_file(SYSTEM, one, "never/there.dpx")
    folder = await desk.catalog.add_file(SYSTEM, one, "a")
    async with desk.working():
        await desk.done(await desk.catalog.delete_file(SYSTEM, file.id, JobOptions()))
        await desk.done(await desk.catalog.delete_file(SYSTEM, ghost.id, JobOptions()))
        # A folder has taken the place of what was meant.
        refused = await desk.catalog.delete_file(SYSTEM, folder.id, JobOptions())
        assert (await desk.until_ended(refused)).state is JobState.FAILED
    assert await desk.paths(sort=()) == ["a/b.dpx", "a"]
    assert [p.name for p in (desk.base / "one/a").iterdir()] == ["b.dpx"]


async def test_an_import_makes_an_item_once(desk: CatalogDesk) -> None:
    one = await desk.make_storage("one")
    path = desk.base / "one/a.dpx"
    path.write_bytes(DATA)
    os.utime(path, ns=(10**18, 10**18))
    await desk.scan(one)
    (file,) = (await desk.catalog.files(SYSTEM, FileQuery(filter="noitem"))).files
    options = ImportOptions(external_ids=("clip",), item_metadata={"title": "x"})
    job = await desk.catalog.import_file(SYSTEM, file.id, options)
    assert job.kind is JobKind.IMPORT
    assert await desk.paths(filter="noitem", exclude_queued=True) == []
    assert await desk.paths(filter="noitem") == ["a.dpx"]
    with pytest.raises(InUse):
        await desk.catalog.import_file(SYSTEM, file.id, ImportOptions())
    async with desk.working():
        await desk.done(job)
        found = await desk.catalog.file(SYSTEM, file.id, include_item=True)
        assert found.hash == hashlib.sha1(DATA).hexdigest()
        assert found.items is not None
        assert len(found.items) == len(found.items[0].shapes) == 1
        assert len(found.items[0].shapes[0].components) == 1
        with pytest.raises(InUse):
            await desk.catalog.import_file(SYSTEM, file.id, ImportOptions())
        again = ImportOptions(allow_reimport=True, external_ids=("clip",))
        with pytest.raises(NameTaken):
            await desk.catalog.import_file(SYSTEM, file.id, again)
        again = ImportOptions(allow_reimport=True)
        await desk.done(await desk.catalog.import_file(SYSTEM, file.id, again))
    found = await desk.catalog.file(SYSTEM, file.id, include_item=True)
    assert found.items is not None
    assert len(found.items) == 2
    with pytest.raises(InvalidValue, match="transcode"):
        await desk.catalog.import_file(SYSTEM, file.id, ImportOptions(tags=("mp4",)))


async def test_an_import_that_failed_can_be_run_again(desk: CatalogDesk) -> None:
    one = await desk.make_storage("one")
    file = await desk.catalog.add_file(SYSTEM, one, "a.dpx", state=FileState.CLOSED)
    async with desk.working():
        job = await desk.catalog.import_file(SYSTEM, file.id, ImportOptions())
        assert (await desk.until_ended(job)).state is JobState.FAILED
        assert await desk.paths(exclude_queued=True) == ["a.dpx"]
        (desk.base / "one/a.dpx").write_bytes(DATA)
        await desk.core.jobs.retry(SYSTEM, job.id)
        assert "item" in desk.catalog.job_data(await desk.done(job))


async def test_reindexing_looks_at_the_file_again(desk: CatalogDesk) -> None:
    one = await desk.make_storage("one")
    file = await desk.upload(one, "a.dpx", DATA)
    (desk.base / "one/a.dpx").write_bytes(b"changed")
    async with desk.working():
        job = await desk.done(await desk.catalog.reindex(SYSTEM, file.id))
    assert job.kind is JobKind.INDEX
    found = await desk.catalog.file(SYSTEM, file.id)
    assert (found.size, found.hash) == (7, hashlib.sha1(b"changed").hexdigest())


async def test_only_the_catalogue_starts_such_jobs(desk: CatalogDesk) -> None:
    one = await desk.make_storage("one")
    name = (await desk.catalog.storage(SYSTEM, one)).storage.name
    for kind in (JobKind.IMPORT, JobKind.INDEX):
        with pytest.raises(InvalidValue, match="catalogue"):
            await desk.core.jobs.submit(SYSTEM, JobRequest(kind, name, ("a",)))


async def test_nothing_is_moved_from_or_to_a_closed_storage(desk: CatalogDesk) -> None:
    one, two = await desk.make_storage("one"), await desk.make_storage("two")
    file = await desk.upload(one, "a.dpx", DATA)
    names = [(await desk.catalog.storage(SYSTEM, n)).storage.name for n in (one, two)]
    await desk.core.storages.change(SYSTEM, names[1], read_only=True)
    with pytest.raises(StorageRefused, match="read-only"):
        await desk.catalog.copy_file(SYSTEM, file.id, two, TransferOptions())
    await desk.core.storages.change(SYSTEM, names[0], read_only=True)
    with pytest.raises(StorageRefused, match="read-only"):
        await desk.catalog.delete_file(SYSTEM, file.id, JobOptions())
    await desk.catalog.change_storage(SYSTEM, one, StorageChange(capacity=1))


# Packages

_SMPTE_AM = "http://www.smpte-ra.org/schemas/429-9/2007/AM"
_INTEROP_AM = "http://www.digicine.com/PROTO-ASDCP-AM-20040311#"
_SMPTE_PKL = "http://www.smpte-ra.org/schemas/429-8/2007/PKL"


def uuid(number: int) -> str:
    return f"urn:uuid:00000000-0000-4000-8000-{number:012d}"


def make_package(
    folder: Path, essence: dict[str, bytes], *, interop: bool = False, algorithm: str = "sha1"
) -> None:
    """A DCP with these files: ASSETMAP.xml and PKL.xml beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    uris = {
        "sha1": "http://www.w3.org/2000/09/xmldsig#sha1",
        "sha256": "http://www.w3.org/2001/04/xmlenc#sha256",
    }
    said = "" if interop else f'<HashAlgorithm Algorithm="{uris[algorithm]}"/>'
    packed, chunks = [], []
    for number, (name, data) in enumerate(essence.items(), 2):
        (folder / name).write_bytes(data)
        digest = base64.b64encode(hashlib.new(algorithm, data).digest()).decode()
        packed.append(
            f"<Asset><Id>{uuid(number)}</Id><Hash>{digest}</Hash><Size>{len(data)}</Size>"
            f"<Type>application/mxf</Type>{said}</Asset>"
        )
        path = f"file:///{name}" if interop else name
        chunks.append(
            f"<Asset><Id>{uuid(number)}</Id><ChunkList><Chunk><Path>{path}</Path>"
            f"<VolumeIndex>1</VolumeIndex><Length>{len(data)}</Length></Chunk></ChunkList></Asset>"
        )
    (folder / "PKL.xml").write_text(
        f'<PackingList xmlns="{_SMPTE_PKL}"><Id>{uuid(1)}</Id>'
        f"<AssetList>{''.join(packed)}</AssetList></PackingList>"
    )
    mark = "<PackingList/>" if interop else "<PackingList>true</PackingList>"
    chunks.insert(
        0,
        f"<Asset><Id>{uuid(1)}</Id>{mark}<ChunkList><Chunk><Path>PKL.xml</Path></Chunk>"
        "</ChunkList></Asset>",
    )
    namespace = _INTEROP_AM if interop else _SMPTE_AM
    (folder / "ASSETMAP.xml").write_text(
        f'<?xml version="1.0" encoding="UTF-8"?><AssetMap xmlns="{namespace}"><Id>{uuid(0)}</Id>'
        f"<VolumeCount>1</VolumeCount><AssetList>{''.join(chunks)}</AssetList></AssetMap>"
    )


ESSENCE = {"picture.mxf": DATA, "sound.mxf": b"sound" * 500, "CPL.xml": b"<CPL/>"}


async def assetmap(desk: CatalogDesk, storage: int) -> CatalogFile:
    return await desk.catalog.add_file(
        SYSTEM, storage, "dcp/ASSETMAP.xml", state=FileState.CLOSED, create_only=False
    )


@pytest.mark.parametrize(
    ("interop", "algorithm"), [(False, "sha1"), (True, "sha1"), (False, "sha256")]
)
async def test_a_package_becomes_one_item(desk: CatalogDesk, interop: bool, algorithm: str) -> None:
    one = await desk.make_storage("one")
    make_package(desk.base / "one/dcp", ESSENCE, interop=interop, algorithm=algorithm)
    file = await assetmap(desk, one)
    async with desk.working():
        job = await desk.essence.import_package(SYSTEM, file.id, ImportOptions())
        await desk.done(job)
    page = await desk.catalog.files(SYSTEM, FileQuery(filter="item", include_item=True))
    names = {f.path for f in page.files}
    assert names == {f"dcp/{n}" for n in (*ESSENCE, "ASSETMAP.xml", "PKL.xml")}
    assert len({one.items[0].id for one in page.files if one.items}) == 1


async def test_a_package_with_other_bytes_fails(desk: CatalogDesk) -> None:
    one = await desk.make_storage("one")
    make_package(desk.base / "one/dcp", ESSENCE)
    (desk.base / "one/dcp/sound.mxf").write_bytes(b"SOUND" * 500)
    file = await assetmap(desk, one)
    async with desk.working():
        job = await desk.essence.import_package(SYSTEM, file.id, ImportOptions())
        assert (await desk.until_ended(job)).state is JobState.FAILED
    errors = await desk.core.jobs.errors(SYSTEM, job.id)
    assert [(e.path, e.code) for e in errors] == [("dcp/sound.mxf", "hash-mismatch")]
    assert await desk.paths(filter="item") == []


BROKEN = {
    "missing": (lambda f: (f / "sound.mxf").unlink(), "chunks are missing: 'sound.mxf'"),
    "no list": (lambda f: (f / "PKL.xml").unlink(), "chunks are missing: 'PKL.xml'"),
    "short": (lambda f: (f / "sound.mxf").write_bytes(b"x"), "not the size"),
    "a link": (
        lambda f: ((f / "sound.mxf").unlink(), (f / "sound.mxf").symlink_to("/etc/passwd")),
        "not the size",
    ),
    "elsewhere": (lambda f: edit(f, ">sound.mxf<", ">sub/sound.mxf<"), "does not lie in"),
    "climbing": (lambda f: edit(f, ">sound.mxf<", ">../sound.mxf<"), "does not lie in"),
    "no xml": (lambda f: (f / "ASSETMAP.xml").write_bytes(b"\0"), "cannot be read"),
    "entity": (lambda f: edit(f, "<AssetMap", "<!DOCTYPE a><AssetMap"), "cannot be read"),
    "other root": (lambda f: edit(f, "AssetMap", "AssetMaps"), "not a AssetMap"),
    "twice": (lambda f: edit(f, uuid(3), uuid(2)), "twice"),
    "no mark": (lambda f: edit(f, "<PackingList>true</PackingList>", ""), "no packing list"),
    "bad hash": (lambda f: edit(f, "<Hash>", "<Hash>!", "PKL.xml"), "no proper hash"),
    "bad size": (lambda f: edit(f, "<Size>", "<Size>x", "PKL.xml"), "no number"),
    "unmapped": (lambda f: edit(f, uuid(3), uuid(9), "PKL.xml"), "no chunk for"),
}


def edit(folder: Path, old: str, new: str, name: str = "ASSETMAP.xml") -> None:
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_package_is_refused_and_says_why(desk: CatalogDesk, name: str) -> None:
    one = await desk.make_storage("one")
    make_package(desk.base / "one/dcp", ESSENCE)
    break_it, expected = BROKEN[name]
    break_it(desk.base / "one/dcp")
    file = await assetmap(desk, one)
    with pytest.raises(PackageError, match=expected):
        await desk.essence.import_package(SYSTEM, file.id, ImportOptions())
    assert await desk.paths() == ["dcp/ASSETMAP.xml"]
