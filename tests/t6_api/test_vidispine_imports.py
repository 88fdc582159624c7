"""Vidispine's imports: files and packages become items, and what becomes of these."""

from __future__ import annotations

import base64
import hashlib
import uuid
from typing import TYPE_CHECKING

from tests.vidispine import JSON, TEXT, XML, Vidispine, working

if TYPE_CHECKING:
    from pathlib import Path

    import xmlschema

    from server.core import Core


# What the import below tells of its parameters.
IMPORTED = {
    "externalId": "ext-1,ext-2",
    "tag": "proxy",
    "original": "proxy",
    "no-transcode": "true",
    "createPosters": "100,200",
    "settings": "VX-1",
    "fastStartLength": "5",
}


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
        assert data | IMPORTED == data
        item = data["item"]
        found = await admin.call("GET", f"/file/{made['id']};includeItem=true", accept=XML)
        schema.validate(found.text)
        assert f"<item><id>{item}</id><shape><id>VX-" in found.text
        assert await admin.paths(filter="item") == ["a.dpx"]
        assert await admin.paths(filter="noitem") == ["b.dpx"]
        importable = await admin.json("GET", "/storage/importable")
        assert [one["file"]["id"] for one in importable["element"]] == [other["id"]]
        refused = await admin.json("POST", f"/file/{made['id']}/import", status=409)
        assert refused["conflict"] == {
            "context": "file",
            "id": made["id"],
            "explanation": "the file has been imported",
            "value": None,
        }
        again = await admin.json("POST", f"/file/{made['id']}/import", allowReimport="true")
        await admin.until_finished(again)
        # The original name goes along with the file.
        job = await admin.copy(made["id"], two, useOriginalFilename="true")
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


WRONG_IMPORTS: list[tuple[dict[str, str], str]] = [
    ({"tag": "lowres"}, "tag"),
    ({"tag": "lowres", "no-transcode": "true", "original": "mezzanine"}, "original"),
    ({"priority": "URGENT"}, "priority"),
    ({"jobmetadata": "novalue"}, "jobmetadata"),
    ({"jobmetadata": "a=\x01"}, "jobmetadata"),
    ({"notificationData": "\x1b"}, "notificationData"),
    ({"settings": "\x1b"}, "settings"),
    ({"allowReimport": "perhaps"}, "allowReimport"),
    ({"createThumbnails": "perhaps"}, "createThumbnails"),
    ({"no-transcode": "perhaps"}, "no-transcode"),
    ({"overrideFastStart": "perhaps"}, "overrideFastStart"),
    ({"requireFastStart": "perhaps"}, "requireFastStart"),
    ({"fastStartLength": "long"}, "fastStartLength"),
    ({"notification": "file:///etc/passwd"}, "notification"),
    ({"id": "\x01"}, "id"),
]


async def test_an_import_that_cannot_be_is_refused(
    admin: Vidispine, storages: tuple[str, str], tmp_path: Path
) -> None:
    package(tmp_path / "one/good", b"essence")
    for path, call in (("good/track.mxf", "import"), ("good/ASSETMAP.xml", "import/assetmap")):
        number = await admin.entity(storages[0], path)
        for query, context in WRONG_IMPORTS:
            answer = await admin.json("POST", f"/file/{number}/{call}", status=400, **query)
            assert answer["invalidInput"]["context"] == context, (call, answer)
        for content in (b"<Other/>", b"<!DOCTYPE a><MetadataDocument/>", b'{"a": "\\u0001"}', b"["):
            kind = {"Content-Type": XML if content[:1] == b"<" else JSON}
            address = f"/file/{number}/{call}"
            refused = await admin.json("POST", address, content=content, headers=kind, status=400)
            assert refused["invalidInput"]["context"] == "body"
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


async def test_a_package_is_imported_by_its_assetmap(
    core: Core, admin: Vidispine, storages: tuple[str, str], tmp_path: Path
) -> None:
    package(tmp_path / "one/good", b"essence")
    package(tmp_path / "one/bad", b"essence", listed=b"another")
    package(tmp_path / "one/short", b"essence")
    (tmp_path / "one/short/track.mxf").unlink()
    async with working(core):
        number = await admin.entity(storages[0], "good/ASSETMAP.xml")
        job = await admin.json("POST", f"/file/{number}/import/assetmap")
        data = await admin.until_finished(job)
        listed = await admin.json("GET", "/storage/file;includeItem=true?path=/good/")
        items = {item["id"] for file in listed["file"] for item in file["item"]}
        assert data["item"] in items
        number = await admin.entity(storages[0], "bad/ASSETMAP.xml")
        answer = await admin.call("POST", f"/file/{number}/import/assetmap", status=None)
        if answer.status_code == 200:
            ended = await admin.until_ended(answer.json())
            assert ended["status"] == "FAILED_TOTAL"
        number = await admin.entity(storages[0], "short/ASSETMAP.xml")
        refused = await admin.json("POST", f"/file/{number}/import/assetmap", status=400)
        assert "track.mxf" in refused["invalidInput"]["explanation"]
    assert await admin.paths(path="/bad/", filter="item") == []


async def test_a_package_is_imported_with_all_that_an_import_takes(
    core: Core, admin: Vidispine, storages: tuple[str, str], tmp_path: Path
) -> None:
    package(tmp_path / "one/good", b"essence")
    number = await admin.entity(storages[0], "good/ASSETMAP.xml")
    address = f"/storage/{storages[0]}/file/path/good%2FASSETMAP.xml/import/assetmap"
    xml = b'<MetadataDocument xmlns="http://xml.vidispine.com/schema/vidispine"/>'
    query = {
        "id": "ext-1,ext-2",
        "tag": "proxy",
        "original": "proxy",
        "no-transcode": "true",
        "createThumbnails": "false",
        "thumbnailService": "VX-3",
        "createPosters": "100,200",
        "overrideFastStart": "false",
        "requireFastStart": "false",
        "fastStartLength": "5",
        "settings": "VX-1",
        "priority": "HIGHEST",
        "jobmetadata": "show=dune",
    }
    async with working(core):
        job = await admin.json("POST", address, content=xml, headers={"Content-Type": XML}, **query)
        assert (job["type"], job["priority"]) == ("IMPORT", "HIGHEST")
        data = await admin.until_finished(job)
        told = {key: query[key] for key in query if key not in ("id", "priority", "jobmetadata")}
        told |= {"externalId": "ext-1,ext-2", "show": "dune", "fileId": number}
        assert data | told == data
        await admin.json("POST", address, status=409)
        again = await admin.json("POST", address, allowReimport="true")
        assert (await admin.until_finished(again))["item"] != data["item"]
    taken = await admin.json("POST", address, allowReimport="true", id="ext-2", status=409)
    assert "ext-2" in taken["conflict"]["explanation"]


async def test_a_new_path_takes_the_item_along(
    core: Core, admin: Vidispine, storages: tuple[str, str]
) -> None:
    """The components point to the new file; of a duplicate, to both."""
    one, two = storages
    made = await admin.upload(one, "a.dpx", b"frame")

    async def items(number: str) -> list[str]:
        found = await admin.json("GET", f"/file/{number};includeItem=true")
        return [item["id"] for item in found["item"]]

    async with working(core):
        imported = await admin.json("POST", f"/file/{made['id']}/import")
        item = (await admin.until_finished(imported))["item"]
        again = await admin.json("POST", f"/file/{made['id']}/import", allowReimport="true")
        other = (await admin.until_finished(again))["item"]
    address = f"/file/{made['id']}/path"
    copy = await admin.json("POST", address, path="b.dpx", storage=two, duplicate="true")
    assert await items(copy["id"]) == await items(made["id"]) == [item, other]
    answer = await admin.call("POST", address, path="c.dpx", state="CLOSED", accept=TEXT)
    moved = answer.text.removesuffix("\r\n")
    assert await items(moved) == [item, other]
    await admin.call("GET", f"/file/{made['id']}", status=404)
    # From one item, then from what is left.
    told = await admin.json("PUT", f"/file/{moved}/abandon", item="VX-99", status=404)
    assert told["notFound"] == {"type": "Item", "id": "VX-99", "context": None}
    await admin.call("PUT", f"/file/{moved}/abandon", item=item)
    assert await items(moved) == [other]
    await admin.call("PUT", f"/file/{moved}/abandon")
    assert await items(moved) == []
    assert await items(copy["id"]) == [item, other]
    assert (await admin.json("GET", f"/file/{moved}"))["id"] == moved
