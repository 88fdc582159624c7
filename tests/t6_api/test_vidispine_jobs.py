"""Vidispine's jobs: copies, moves, deletions, imports, packages; lists and controls of them."""

from __future__ import annotations

import base64
import hashlib
import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import xmlschema

import server.api.vidispine
from server.core.permissions import SYSTEM
from tests.vidispine import TEXT, XML, Vidispine, working

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from server.core import Core
    from tests.serving import Served


@pytest.fixture(scope="module")
def schema() -> xmlschema.XMLSchema:
    return xmlschema.XMLSchema(Path(server.api.vidispine.__file__).with_name("vidispine.xsd"))


@pytest.fixture
async def admin(server: Served) -> AsyncIterator[Vidispine]:
    async with Vidispine(server.port) as client:
        yield client


@pytest.fixture
async def storages(admin: Vidispine, tmp_path: Path) -> tuple[str, str]:
    """Two, on the directories "one" and "two"."""
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made.append(await admin.make_storage(tmp_path / name))
    return made[0], made[1]


async def copy(client: Vidispine, file: str, target: str, **query: object) -> dict[str, Any]:
    return await client.json("POST", f"/file/{file}/storage/{target}", **query)


async def test_a_file_is_copied_and_found_there(
    core: Core,
    admin: Vidispine,
    storages: tuple[str, str],
    tmp_path: Path,
    schema: xmlschema.XMLSchema,
) -> None:
    one, two = storages
    made = await admin.upload(one, "dune/a.dpx", b"frame")
    query = {
        "filename": "copies/b.dpx",
        "priority": "HIGHEST",
        "limitRate": "1000000000",
        "timeRequirement": "60",
        "jobmetadata": ["show=dune", "shot%3Dsh010"],
    }
    async with working(core):
        job = await copy(admin, made["id"], two, **query)
        assert (job["type"], job["priority"], job["user"]) == ("COPY_FILE", "HIGHEST", "admin")
        data = await admin.until_finished(job)
        assert (data["show"], data["shot"]) == ("dune", "sh010")
        assert (data["fileId"], data["limitRate"]) == (made["id"], "1000000000")
        copied = await admin.json("GET", f"/file/{data['targetFileId']}")
        assert (copied["path"], copied["storage"]) == ("copies/b.dpx", two)
        assert copied["hash"] == made["hash"]
    assert (tmp_path / "two/copies/b.dpx").read_bytes() == b"frame"
    assert (tmp_path / "one/dune/a.dpx").read_bytes() == b"frame"
    for path in (f"/job/{job['jobId']}", "/job"):
        schema.validate((await admin.call("GET", path, accept=XML)).text)
    row = (await admin.call("GET", f"/job/{job['jobId']}", accept=TEXT)).text
    assert row.split("\t")[:4] == [job["jobId"], "FINISHED", "COPY_FILE", "HIGHEST"]
    # It is the same job in every interface.
    seen = await core.jobs.get(SYSTEM, int(job["jobId"].removeprefix("VX-")))
    assert seen.state == "SUCCEEDED"


async def test_a_moved_file_leaves_its_place(
    core: Core, admin: Vidispine, storages: tuple[str, str], tmp_path: Path
) -> None:
    one, two = storages
    made = await admin.upload(one, "a.dpx", b"frame")
    async with working(core):
        job = await copy(admin, made["id"], two, move="True")
        assert job["type"] == "MOVE_FILE"
        await admin.until_finished(job)
    assert not (tmp_path / "one/a.dpx").exists()
    assert (tmp_path / "two/a.dpx").read_bytes() == b"frame"
    assert await admin.paths(f"/storage/{two}/file", state="CLOSED") == ["a.dpx"]
    assert await admin.paths(f"/storage/{one}/file", state="CLOSED") == []


async def test_a_deleted_file_is_gone_with_its_entity(
    core: Core, admin: Vidispine, storages: tuple[str, str], tmp_path: Path
) -> None:
    made = await admin.upload(storages[0], "a.dpx", b"frame")
    async with working(core):
        job = await admin.json("DELETE", f"/file/{made['id']}", priority="LOW")
        assert (job["type"], job["priority"]) == ("DELETE_FILE", "LOW")
        await admin.until_finished(job)
    assert not (tmp_path / "one/a.dpx").exists()
    await admin.call("GET", f"/file/{made['id']}", status=404)


async def test_an_imported_file_belongs_to_an_item(
    core: Core, admin: Vidispine, storages: tuple[str, str], schema: xmlschema.XMLSchema
) -> None:
    one, two = storages
    made = await admin.upload(one, "a.dpx", b"frame")
    other = await admin.upload(one, "b.dpx", b"frame 2")
    body = {"timespan": [{"field": [{"name": "title", "value": [{"value": "Dune"}]}]}]}
    async with working(core):
        job = await admin.json(
            "POST",
            f"/file/{made['id']}/import",
            body=body,
            filename="orig name.dpx",
            id="ext-1,ext-2",
            tag="proxy",
            original="proxy",
            createPosters="100,200",
            settings="VX-1",
            fastStartLength="5",
            **{"no-transcode": "true"},
        )
        assert job["type"] == "IMPORT"
        data = await admin.until_finished(job)
        item = data["item"]
        found = await admin.call("GET", f"/file/{made['id']};includeItem=true", accept=XML)
        schema.validate(found.text)
        assert f"<item><id>{item}</id><shape><id>VX-" in found.text
        assert await admin.paths(filter="item") == ["a.dpx"]
        assert await admin.paths(filter="noitem") == ["b.dpx"]
        importable = await admin.json("GET", "/storage/importable")
        assert [one["file"]["id"] for one in importable["element"]] == [other["id"]]
        refused = await admin.json("POST", f"/file/{made['id']}/import", status=409)
        assert refused["conflict"] is not None
        again = await admin.json("POST", f"/file/{made['id']}/import", allowReimport="true")
        await admin.until_finished(again)
        # The original name goes along with the file.
        job = await copy(admin, made["id"], two, useOriginalFilename="true")
        copied = (await admin.until_finished(job))["targetFileId"]
        assert (await admin.json("GET", f"/file/{copied}"))["path"] == "orig name.dpx"
    await admin.call("DELETE", f"/storage/{one}", status=409)
    answer = await admin.call("PUT", f"/file/{made['id']}/abandon", item=item)
    assert answer.content == b""
    await admin.call("PUT", f"/file/{made['id']}/abandon")
    assert await admin.paths(filter="item", storage=one) == []


async def test_what_is_queued_for_import_may_be_left_out(
    admin: Vidispine, storages: tuple[str, str]
) -> None:
    """No engine is at work, so the job stays where it is."""
    made = await admin.upload(storages[0], "a.dpx", b"frame")
    await admin.json("POST", f"/file/{made['id']}/import")
    assert await admin.paths() == ["a.dpx"]
    assert await admin.paths(excludeQueued="true") == []
    assert (await admin.json("GET", "/storage/importable"))["hits"] == 0
    assert (await admin.json("GET", "/storage/importable;excludeQueued=False"))["hits"] == 1
    await admin.call("POST", f"/file/{made['id']}/import", status=409)


@pytest.mark.parametrize(
    ("query", "context"),
    [
        ({"tag": "lowres"}, "tag"),
        ({"tag": "lowres", "no-transcode": "true", "original": "mezzanine"}, "original"),
        ({"priority": "URGENT"}, "priority"),
        ({"jobmetadata": "novalue"}, "jobmetadata"),
        ({"createThumbnails": "perhaps"}, "createThumbnails"),
        ({"fastStartLength": "long"}, "fastStartLength"),
        ({"notification": "file:///etc/passwd"}, None),
    ],
)
async def test_an_import_that_cannot_be_is_refused(
    admin: Vidispine, storages: tuple[str, str], query: dict[str, str], context: str | None
) -> None:
    made = await admin.upload(storages[0], "a.dpx", b"frame")
    answer = await admin.json("POST", f"/file/{made['id']}/import", status=400, **query)
    if context is not None:
        assert answer["invalidInput"]["context"] == context
    assert (await admin.json("GET", "/job"))["hits"] == 0


def sha1(content: bytes) -> str:
    return base64.b64encode(hashlib.sha1(content, usedforsecurity=False).digest()).decode()


def package(folder: Path, essence: bytes, *, listed: bytes | None = None) -> None:
    """An IMF package of one track file, its packing list and its ASSETMAP."""
    folder.mkdir()
    track, pkl = uuid.UUID(int=1), uuid.UUID(int=2)
    (folder / "track.mxf").write_bytes(essence)
    (folder / "pkl.xml").write_text(
        '<PackingList xmlns="http://www.smpte-ra.org/schemas/429-8/2007/PKL">'
        f"<Id>urn:uuid:{pkl}</Id><AssetList><Asset><Id>urn:uuid:{track}</Id>"
        f"<Hash>{sha1(essence if listed is None else listed)}</Hash><Size>{len(essence)}</Size>"
        "<Type>application/mxf</Type></Asset></AssetList></PackingList>"
    )
    (folder / "ASSETMAP.xml").write_text(
        '<AssetMap xmlns="http://www.smpte-ra.org/schemas/429-9/2007/AM">'
        f"<Id>urn:uuid:{uuid.UUID(int=3)}</Id><VolumeCount>1</VolumeCount><AssetList>"
        f"<Asset><Id>urn:uuid:{pkl}</Id><PackingList>true</PackingList><ChunkList><Chunk>"
        "<Path>pkl.xml</Path></Chunk></ChunkList></Asset>"
        f"<Asset><Id>urn:uuid:{track}</Id><ChunkList><Chunk><Path>track.mxf</Path>"
        f"<VolumeIndex>1</VolumeIndex><Offset>0</Offset><Length>{len(essence)}</Length>"
        "</Chunk></ChunkList></Asset></AssetList></AssetMap>"
    )


async def entity(client: Vidispine, storage: str, path: str) -> str:
    return str((await client.json("POST", f"/storage/{storage}/file", path=path))["id"])


async def test_a_package_is_imported_by_its_assetmap(
    core: Core, admin: Vidispine, storages: tuple[str, str], tmp_path: Path
) -> None:
    package(tmp_path / "one/good", b"essence")
    package(tmp_path / "one/bad", b"essence", listed=b"another")
    package(tmp_path / "one/short", b"essence")
    (tmp_path / "one/short/track.mxf").unlink()
    async with working(core):
        number = await entity(admin, storages[0], "good/ASSETMAP.xml")
        job = await admin.json("POST", f"/file/{number}/import/assetmap")
        data = await admin.until_finished(job)
        listed = await admin.json("GET", "/storage/file;includeItem=true?path=/good/")
        items = {item["id"] for file in listed["file"] for item in file["item"]}
        assert data["item"] in items
        number = await entity(admin, storages[0], "bad/ASSETMAP.xml")
        answer = await admin.call("POST", f"/file/{number}/import/assetmap", status=None)
        if answer.status_code == 200:
            ended = await admin.until_ended(answer.json())
            assert ended["status"] == "FAILED_TOTAL"
        number = await entity(admin, storages[0], "short/ASSETMAP.xml")
        refused = await admin.json("POST", f"/file/{number}/import/assetmap", status=400)
        assert "track.mxf" in refused["invalidInput"]["explanation"]
    assert await admin.paths(path="/bad/", filter="item") == []


async def test_jobs_are_listed_and_controlled(
    admin: Vidispine, storages: tuple[str, str], schema: xmlschema.XMLSchema
) -> None:
    """No engine is at work: jobs stay as they are told to be."""
    one, two = storages
    jobs = []
    for name in "abc":
        made = await admin.upload(one, name, b"frame")
        jobs.append((await copy(admin, made["id"], two))["jobId"])

    async def listed(path: str = "/job", **query: object) -> list[str]:
        return [job["jobId"] for job in (await admin.json("GET", path, **query))["job"]]

    assert (await admin.json("GET", "/job"))["hits"] == 3
    assert await listed() == jobs[::-1]
    assert await listed("/job;first=2;number=1") == [jobs[1]]
    assert await listed("/job/;first=0;number=2") == [jobs[2], jobs[1]]
    assert await listed(sort="jobId asc", number=2) == jobs[:2]
    assert await listed(sort="jobId asc", first=3, number=2) == jobs[2:]
    assert await listed(first=9) == []
    assert await listed(user="true") == jobs[::-1]
    changed = await admin.json("PUT", f"/job/{jobs[0]}", priority="IMMEDIATE")
    assert changed["priority"] == "IMMEDIATE"
    aborted = await admin.json("DELETE", f"/job/{jobs[1]}", reason="wrong one")
    assert aborted["status"] == "ABORTED"
    assert await listed(state="ABORTED") == [jobs[1]]
    assert await listed(state="READY,STARTED") == [jobs[2], jobs[0]]
    assert await listed(type="MOVE_FILE") == []
    assert await listed(type="copy_file", state="aborted") == [jobs[1]]
    refused = await admin.json("DELETE", f"/job/{jobs[1]}", status=409)
    assert refused["conflict"]["explanation"]
    again = await admin.json("POST", f"/job/{jobs[1]}/re-run")
    assert again["status"] == "READY"
    await admin.call("POST", f"/job/{jobs[1]}/re-run", status=409)
    assert (await admin.json("GET", "/job/problem")) == {"problem": []}
    schema.validate((await admin.call("GET", "/job/problem", accept=XML)).text)
    for query in ({"state": "BROKEN"}, {"type": "DANCE"}, {"sort": "colour"}, {"first": "x"}):
        await admin.call("GET", "/job", status=400, **query)
    await admin.call("PUT", f"/job/{jobs[0]}", status=400)


async def test_a_finished_job_is_run_again_as_a_new_one(
    core: Core, admin: Vidispine, storages: tuple[str, str], tmp_path: Path
) -> None:
    one, two = storages
    made = await admin.upload(one, "a.dpx", b"frame")
    async with working(core):
        first = await copy(admin, made["id"], two)
        data = await admin.until_finished(first)
        (tmp_path / "two/a.dpx").unlink()
        await admin.call("DELETE", f"/file/{data['targetFileId']}/entity")
        again = await admin.json("POST", f"/job/{first['jobId']}/re-run")
        assert again["jobId"] != first["jobId"]
        told = {field["key"]: field["value"] for field in again["data"]}
        assert told["fileId"] == made["id"]
        assert "targetFileId" not in told
        data = await admin.until_finished(again)
        assert (tmp_path / "two/a.dpx").read_bytes() == b"frame"
        assert await admin.paths(storage=two) == ["a.dpx"]
        imported = await admin.json("POST", f"/file/{made['id']}/import")
        item = (await admin.until_finished(imported))["item"]
        rerun = f"/job/{imported['jobId']}/re-run"
        await admin.call("POST", rerun, status=409)
        await admin.call("PUT", f"/file/{made['id']}/abandon", item=item)
        data = await admin.until_finished(await admin.json("POST", rerun))
        assert data["item"] != item
        removed = await admin.json("DELETE", f"/file/{made['id']}")
        await admin.until_finished(removed)
        await admin.call("POST", f"/job/{removed['jobId']}/re-run", status=404)


async def test_a_file_is_looked_at_again(
    core: Core, admin: Vidispine, storages: tuple[str, str], tmp_path: Path
) -> None:
    made = await admin.upload(storages[0], "a.dpx", b"frame")
    (tmp_path / "one/a.dpx").write_bytes(b"another, longer frame")
    os.utime(tmp_path / "one/a.dpx", (1, 1))
    async with working(core):
        answer = await admin.call("PUT", f"/file/{made['id']}/re-index", accept=TEXT)
        await admin.until_finished({"jobId": answer.text.strip()})
    found = await admin.json("GET", f"/file/{made['id']}")
    assert found["size"] == 21
    assert (
        found["hash"] == hashlib.sha1(b"another, longer frame", usedforsecurity=False).hexdigest()
    )


async def test_a_storage_from_its_making_to_its_end(
    admin: Vidispine, tmp_path: Path, schema: xmlschema.XMLSchema
) -> None:
    (tmp_path / "one").mkdir()
    uri = (tmp_path / "one").as_uri() + "/"
    xml = (
        '<StorageDocument xmlns="http://xml.vidispine.com/schema/vidispine"><type>LOCAL</type>'
        f"<capacity>1500000</capacity><method><uri>{uri}</uri><read>true</read><write>true</write>"
        "<browse>true</browse></method><lowWatermark>5</lowWatermark></StorageDocument>"
    )
    answer = await admin.call(
        "POST", "/storage", content=xml.encode(), headers={"Content-Type": XML}, accept=XML
    )
    schema.validate(answer.text)
    listed = (await admin.json("GET", "/storage"))["storage"]
    assert len(listed) == 1
    made = listed[0]
    assert (made["type"], made["capacity"], made["lowWatermark"]) == ("LOCAL", 1500000, 5)
    assert made["method"][0]["uri"] == uri
    assert (await admin.call("GET", "/storage", accept=TEXT)).text == f"{made['id']}\r\n"
    schema.validate((await admin.call("GET", "/storage", accept=XML)).text)
    field = [{"key": "pixfs.name", "value": "nearline"}, {"key": "a", "value": "b"}]
    changed = await admin.json(
        "PUT",
        f"/storage/{made['id']}",
        body={"capacity": "7", "metadata": {"field": field}, "highWatermarkPercentage": "90"},
    )
    assert (changed["capacity"], changed["highWatermarkPercentage"]) == (7, 90)
    fields = {pair["key"]: pair["value"] for pair in changed["metadata"]["field"]}
    assert (fields["pixfs.name"], fields["a"]) == ("nearline", "b")
    method = f"/storage/{made['id']}/method"
    row = (await admin.call("PUT", f"{method}/?url=file:///export/", accept=TEXT)).text
    number, shown, kind = row.removesuffix("\r\n").split("\t")
    assert (shown, kind) == ("file:///export/", "NONE")
    assert len((await admin.json("GET", f"{method}/"))["method"]) == 2
    changed = await admin.json("PUT", f"{method}/{number}/", read="false", type="NFS")
    assert (changed["read"], changed["type"]) == (False, "NFS")
    assert await admin.json("GET", f"{method}/{number}") == changed
    for path in (method, f"{method}/{number}"):
        schema.validate((await admin.call("GET", path, accept=XML)).text)
    assert (await admin.call("DELETE", f"{method}/{number}")).content == b""
    missing = await admin.call("GET", f"{method}/{number}", status=404, accept=TEXT)
    assert "Type: storage-method\r\n" in missing.text
    await admin.call("POST", f"/storage/{made['id']}/rescan")
    gone = await admin.call("DELETE", f"/storage/{made['id']}", status=204)
    assert gone.content == b""
    await admin.call("GET", f"/storage/{made['id']}", status=404)
    for body in ({}, {"type": "LOCAL"}, {"method": [{"uri": "http://x/"}]}, {"method": [{}]}):
        await admin.call("POST", "/storage", status=400, body=body)
