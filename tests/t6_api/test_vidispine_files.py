"""Vidispine's files: lists with all their parameters, entities, and the forms of an address."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from server.core.access import AllowedPath
from server.core.catalog import MAX_PAGE, scans
from server.core.permissions import SYSTEM
from tests.vidispine import JSON, TEXT, XML, Vidispine, one_segment

if TYPE_CHECKING:
    from pathlib import Path

    import xmlschema

    from server.core import Core
    from tests.serving import Served

NAMESPACE = "http://xml.vidispine.com/schema/vidispine"


async def add(client: Vidispine, storage: str, *paths: str, **query: Any) -> list[str]:  # noqa: ANN401
    """Entities of these paths; their ids."""
    return [
        (await client.json("POST", f"/storage/{storage}/file", path=path, **query))["id"]
        for path in paths
    ]


async def test_case_may_be_ignored(admin: Vidispine, storage: str) -> None:
    await add(admin, storage, "Shots/A.DPX", "shots/b.dpx")
    assert await admin.paths(path="/shots/*.dpx", wildcard="true") == ["shots/b.dpx"]
    assert await admin.paths(path="/shots/*.dpx", wildcard="true", ignorecase="True") == [
        "Shots/A.DPX",
        "shots/b.dpx",
    ]
    assert await admin.paths(path="/SHOTS/a.dpx", ignorecase="true") == ["Shots/A.DPX"]


async def test_items_are_told_only_when_they_are_asked_for(admin: Vidispine, storage: str) -> None:
    """An empty list would say that there are none."""
    (number,) = await add(admin, storage, "a")
    for address in (f"/file/{number}", f"/storage/file/{number};includeItem=false"):
        assert "item" not in await admin.json("GET", address)
    assert "item" not in (await files(admin))[0]
    for address in (
        f"/file/{number}?includeItem=True",
        f"/storage/file/{number}/;includeItem=true",
    ):
        assert (await admin.json("GET", address))["item"] == []
    assert (await files(admin, includeItem="true"))[0]["item"] == []


async def test_names_that_look_alike_are_different_files(
    admin: Vidispine, storage: str, tmp_path: Path
) -> None:
    """Composed and decomposed letters, and capitals, are never made the same."""
    names = ["é.dpx", "e\u0301.dpx", "É.dpx", "a.dpx", "A.dpx"]
    made = [await admin.upload(storage, name, name.encode()) for name in names]
    assert len({file["id"] for file in made}) == len(names)
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == sorted(names)
    for name, file in zip(names, made, strict=True):
        path = f"/storage/{storage}/file/path/{one_segment(name)}"
        assert (await admin.json("GET", path))["id"] == file["id"]
        assert (await admin.call("GET", f"{path}/data")).content == name.encode()
        assert await admin.paths(path=f"/{name}") == [name]


async def test_a_uri_of_another_storage_is_not_this_one_s(
    admin: Vidispine, storage: str, tmp_path: Path
) -> None:
    (tmp_path / "two").mkdir()
    other = await admin.make_storage(tmp_path / "two")
    await add(admin, other, "a")
    uri = (tmp_path / "two/a").as_uri()
    assert (await admin.json("GET", f"/storage/file/uri/{one_segment(uri)}"))["storage"] == other
    address = f"/storage/{storage}/file/uri/{one_segment(uri)}"
    told = await admin.json("GET", address, status=404)
    assert told["notFound"] == {"type": "File", "id": uri, "context": None}
    for more in ("", "/data"):
        resource = f"/storage/{storage}/file{more}"
        await admin.call("POST", resource, uri=f"{uri}b", content=b"x" if more else b"", status=404)
    assert not any((tmp_path / "one").iterdir())


async def test_hashes_are_found_by_their_algorithm_however_it_is_spelled(
    admin: Vidispine, storage: str
) -> None:
    one = await admin.upload(storage, "a", b"a")
    two = await admin.upload(storage, "b", b"b")
    for algorithm in ("SHA-1", "sha1", "SHA1", "sha-1", ""):
        query = {"hash": one["hash"], "algorithm": algorithm}
        assert await admin.paths(**query) == ["a"], algorithm
    assert await admin.paths(hash=one["hash"], algorithm="MD5") == []
    assert await admin.paths(hash=f"{one['hash']},{two['hash']}") == ["a", "b"]
    assert await admin.paths(hash=[two["hash"], "0" * 40]) == ["b"]
    assert await admin.paths(algorithm="MD5") == ["a", "b"]


async def test_a_list_in_each_form(
    admin: Vidispine, storage: str, schema: xmlschema.XMLSchema
) -> None:
    ids = await add(admin, storage, "a.dpx", "b.dpx")
    answer = await admin.call("GET", "/storage/file", accept=XML)
    assert answer.headers["content-type"] == "application/xml;charset=UTF-8"
    schema.validate(answer.text)
    assert f'<FileListDocument xmlns="{NAMESPACE}"><hits>2</hits><file><id>' in answer.text
    answer = await admin.call("GET", "/storage/file", accept=TEXT)
    assert answer.content == f"{ids[0]}\r\n{ids[1]}\r\n".encode()
    answer = await admin.call("GET", "/storage/file", accept=JSON)
    assert answer.headers["content-type"] == JSON
    assert answer.headers["x-pixfs-index-fresh-at"] == "never"
    listed = answer.json()
    assert listed["hits"] == 2
    assert listed["file"][0]["id"] == ids[0]
    assert listed["file"][0]["state"] == "OPEN"
    assert listed["file"][0]["storage"] == storage


async def test_matrix_parameters_in_all_three_forms(admin: Vidispine, storage: str) -> None:
    ids = await add(admin, storage, "a", "b", "c", "d")
    for path in (
        "/storage/file;first=1;number=2;sort=filename%20desc",
        "/storage/file/;first=1;number=2;sort=filename%20desc",
        "/storage/file?first=1&number=2&sort=filename+desc",
        "/storage/file/?start=1&number=2&sort=filename&sort-order=desc",
        f"/storage/{storage}/file;start=1;number=2;sort=filename%20desc?count=True",
        f"/storage/file;storage={storage},VX-99;first=1;number=2;sort=filename%20desc",
    ):
        answer = await admin.json("GET", path)
        assert answer["hits"] == 4
        assert [file["id"] for file in answer["file"]] == [ids[2], ids[1]], path


async def test_the_bare_paths_are_the_same(admin: Vidispine, storage: str, server: Served) -> None:
    ids = await add(admin, storage, "a")
    root = f"http://127.0.0.1:{server.port}"
    for path in ("/storage/file", f"/storage/{storage}/file/", "/API/storage/file"):
        assert (await admin.json("GET", root + path))["file"][0]["id"] == ids[0]
    assert (await admin.json("GET", f"{root}/storage/file/{ids[0]}"))["path"] == "a"


async def test_a_page_and_its_bounds(admin: Vidispine, storage: str) -> None:
    ids = await add(admin, storage, *(f"{number:02}" for number in range(12)))
    first = await admin.json("GET", "/storage/file")
    assert [file["id"] for file in first["file"]] == ids[:10]
    rest = await admin.json("GET", "/storage/file", first=10, number=1_000_000_000)
    assert [file["id"] for file in rest["file"]] == ids[10:]
    assert rest["hits"] == 12
    counted = await admin.json("GET", "/storage/file", count="false", number=0)
    assert counted == {"file": []}
    for query in ({"first": -1}, {"number": "many"}, {"sort": "colour"}, {"sort": "size sideways"}):
        await admin.call("GET", "/storage/file", status=400, **query)


async def test_each_key_sorts_both_ways(admin: Vidispine, storage: str) -> None:
    """Names, sizes and states are each in an order of their own; files come one after another."""
    for name, content, state in (
        ("b.a", b"xxx", "MISSING"),
        ("c/a.c", b"x", "CLOSED"),
        ("c.b", b"xx", "OPEN"),
    ):
        await admin.upload(storage, name, content, state=state)
    by_key = {
        "fileId": ["b.a", "c/a.c", "c.b"],
        "timestamp": ["b.a", "c/a.c", "c.b"],
        "size": ["c/a.c", "c.b", "b.a"],
        "state": ["c/a.c", "b.a", "c.b"],
        "filename": ["c/a.c", "b.a", "c.b"],
        "extension": ["b.a", "c.b", "c/a.c"],
    }
    for key, paths in by_key.items():
        for order in ("", " asc", " ASC"):
            assert await admin.paths(sort=f"{key}{order}") == paths, key
        assert await admin.paths(sort=f"{key} desc") == paths[::-1], key
    assert await admin.paths() == by_key["fileId"]


async def files(client: Vidispine, **query: object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await client.json("GET", "/storage/file", **query))["file"]
    return found


async def test_a_page_ends_however_many_are_asked_for(
    core: Core, admin: Vidispine, storage: str
) -> None:
    names = [f"{number:05}.dpx" for number in range(MAX_PAGE + 200)]
    found = scans.Listing("", 1, core.clock(), {name: scans.Seen(1, 1) for name in names}, ())
    number = int(storage.removeprefix("VX-"))
    await core.database.write(scans.record, number, [found], "")
    for asked in (MAX_PAGE, MAX_PAGE + 1, 10**9, 10**15):
        page = await admin.json("GET", "/storage/file", number=asked, sort="filename")
        assert [file["path"] for file in page["file"]] == names[:MAX_PAGE]
        assert page["hits"] == len(names)
    await admin.call("GET", "/storage/file", number=10**15 + 1, status=400)


async def test_several_keys_sort_one_after_another(admin: Vidispine, storage: str) -> None:
    await add(admin, storage, "b.exr", "a.exr", "c.dpx")
    assert await admin.paths(sort="extension desc,filename asc") == ["a.exr", "b.exr", "c.dpx"]
    assert await admin.paths(sort="extension,filename desc") == ["c.dpx", "b.exr", "a.exr"]
    assert await admin.paths(sort="state,fileId desc") == ["c.dpx", "a.exr", "b.exr"]


async def test_states_are_chosen_several_at_once(admin: Vidispine, storage: str) -> None:
    await add(admin, storage, "a", state="CLOSED")
    await add(admin, storage, "b", state="MISSING")
    await add(admin, storage, "c")
    assert await admin.paths(state=["CLOSED", "MISSING"]) == ["a", "b"]
    assert await admin.paths(state="open") == ["c"]
    await admin.call("GET", "/storage/file", state="BROKEN", status=400)


async def test_ids_and_storages_are_chosen(admin: Vidispine, storage: str, tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    other = await admin.make_storage(tmp_path / "two")
    ids = await add(admin, storage, "a", "b") + await add(admin, other, "c")
    assert await admin.paths(id=f"{ids[0]},{ids[2]}") == ["a", "c"]
    assert await admin.paths(id=[ids[0], ids[1]]) == ["a", "b"]
    assert await admin.paths(f"/storage/{other}/file") == ["c"]
    assert await admin.paths(storage=other) == ["c"]
    assert await admin.paths(f"/storage/file;storage={storage};storage={other}") == ["a", "b", "c"]
    assert await admin.paths(f"/storage/file;storage={other},{storage}") == ["a", "b", "c"]
    assert await admin.paths(id=f"VX-99,{ids[2]}") == ["c"]
    assert await admin.paths(f"/storage/{other}/file;storage={storage}") == []
    await admin.call("GET", "/storage/VX-99/file", status=404)
    await admin.call("GET", "/storage/file", id="a-b", status=400)


async def test_one_file_by_id_path_and_uri(admin: Vidispine, storage: str, tmp_path: Path) -> None:
    name = "sh 010/ä+%;=.1001.dpx"
    (number,) = await add(admin, storage, name)
    uri = (tmp_path / "one" / name).as_uri()
    path = one_segment(name)
    for address in (
        f"/file/{number}",
        f"/file/{number}/",
        f"/storage/file/{number}",
        f"/storage/{storage}/file/{number}",
        f"/storage/file/path/{path}",
        f"/storage/{storage}/file/path/{path}",
        f"/storage/{storage}/file/path/{one_segment(path)}",
        f"/storage/file/path/%2F{path}",
        f"/storage/file/uri/{one_segment(uri)}",
        f"/storage/{storage}/file/uri/{one_segment(uri)}/",
        f"/storage/file/uri/{one_segment(one_segment(uri))}",
    ):
        found = await admin.json("GET", address)
        assert (found["id"], found["path"], found["uri"]) == (number, name, [uri]), address
    row = (await admin.call("GET", f"/file/{number}", accept=TEXT)).text
    cells = row.removesuffix("\r\n").split("\t")
    assert cells[:2] == [number, name]
    assert cells[3] == "OPEN"
    assert cells[4].endswith("Z")


async def test_what_is_not_there_is_not_found(
    admin: Vidispine, storage: str, schema: xmlschema.XMLSchema
) -> None:
    for address, kind in (
        ("/file/VX-99", "File"),
        ("/storage/file/VX-99", "File"),
        (f"/storage/{storage}/file/path/none", "File"),
        ("/storage/VX-99", "Storage"),
        ("/job/VX-99", "Job"),
    ):
        answer = await admin.call("GET", address, status=404, accept=XML)
        schema.validate(answer.text)
        assert f"<notFound><type>{kind}</type>" in answer.text, answer.text
        told = await admin.json("GET", address, status=404)
        assert told["notFound"]["type"] == kind
        text = (await admin.call("GET", address, status=404, accept=TEXT)).text
        assert text.startswith(f"404 A resource could not be found\r\nType: {kind}\r\n")


async def test_paths_that_nobody_has(admin: Vidispine, server: Served) -> None:
    for path in ("/nothing", "/storage/VX-1/nothing", "/item/VX-1"):
        answer = await admin.call("GET", path, status=404, accept=TEXT)
        assert answer.json() == {"code": 404, "message": "HTTP 404 Not Found"}
    answer = await admin.call("PUT", "/storage/file", status=405)
    assert answer.headers["allow"] == "GET, HEAD, POST"


async def test_uris_are_chosen_by_their_method(
    admin: Vidispine, storage: str, tmp_path: Path
) -> None:
    (number,) = await add(admin, storage, "a b.dpx")
    plain = (tmp_path / "one/a b.dpx").as_uri()
    added = await admin.json(
        "PUT", f"/storage/{storage}/method", uri="file:///export/one/", type="NFS", write="false"
    )
    assert (added["type"], added["write"]) == ("NFS", False)
    tagged = {
        "uri": "file:///tagged/one/",
        "type": "S3-LIKE",
        "write": False,
        "metadata": {"field": [{"key": "a", "value": "b"}]},
    }
    await admin.json("PUT", f"/storage/{storage}", body={"method": [tagged]})
    for query, uris in (
        ({}, [plain]),
        ({"methodType": "NFS"}, ["file:///export/one/a%20b.dpx"]),
        ({"scheme": "s3"}, []),
        ({"scheme": "file"}, [plain]),
        ({"storageType": "ARCHIVE"}, []),
        ({"storageType": "LOCAL"}, [plain]),
        ({"methodMetadata": "a=b"}, []),
        ({"methodType": "S3-LIKE"}, ["file:///tagged/one/a%20b.dpx"]),
        ({"methodType": "S3-LIKE", "methodMetadata": "a=b"}, ["file:///tagged/one/a%20b.dpx"]),
        ({"methodType": "S3-LIKE", "methodMetadata": "a=c"}, []),
        ({"methodType": "S3-LIKE", "methodMetadata": ["a=b", "c=d"]}, []),
    ):
        assert (await admin.json("GET", f"/file/{number}", **query))["uri"] == uris, query
        listed = await admin.json("GET", "/storage/file", **query)
        assert listed["file"][0]["uri"] == uris, query


# The same document as different clients write it.
FORMS_OF_A_FILE = (
    '<FileDocument xmlns="{namespace}"><path>x0.dpx</path><state>OPEN</state></FileDocument>',
    '<v:FileDocument xmlns:v="{namespace}"><v:state>OPEN</v:state><v:path>x1.dpx</v:path>'
    "</v:FileDocument>",
    '<?xml version="1.0" encoding="UTF-8"?>\n<FileDocument xmlns="{namespace}">\n'
    "  <uri>{root}/x2.dpx</uri>\n  <state>closed</state>\n</FileDocument>\n",
    "<FileDocument><path>x3.dpx</path><state>OPEN</state></FileDocument>",
)


async def test_an_entity_is_created_by_parameters_or_document(
    admin: Vidispine, storage: str, tmp_path: Path, schema: xmlschema.XMLSchema
) -> None:
    made = await admin.json("POST", f"/storage/{storage}/file", path="/a//b/../c.dpx")
    assert (made["path"], made["state"]) == ("a/c.dpx", "OPEN")
    uri = (tmp_path / "one/u.dpx").as_uri()
    made = await admin.json("POST", "/storage/file", uri=uri, state="CLOSED")
    assert (made["path"], made["state"], made["storage"]) == ("u.dpx", "CLOSED", storage)
    body = {"path": "q.dpx", "state": "OPEN"}
    await admin.json("POST", f"/storage/{storage}/file", body=body)
    body = {"path": "r.dpx", "storage": storage, "state": "closed"}
    assert (await admin.json("POST", "/storage/file", body=body))["state"] == "CLOSED"
    for number, xml in enumerate(FORMS_OF_A_FILE):
        content = xml.format(namespace=NAMESPACE, root=(tmp_path / "one").as_uri()).encode()
        answer = await admin.call(
            "POST",
            f"/storage/{storage}/file",
            content=content,
            headers={"Content-Type": XML},
            accept=XML,
        )
        schema.validate(answer.text)
        assert f"<path>x{number}.dpx</path>" in answer.text
    text = await admin.call("POST", f"/storage/{storage}/file", path="t", accept=TEXT)
    assert text.text.startswith("VX-")
    assert not any((tmp_path / "one").iterdir())


async def test_an_entity_is_there_once(
    admin: Vidispine, storage: str, schema: xmlschema.XMLSchema
) -> None:
    (number,) = await add(admin, storage, "a")
    answer = await admin.call("POST", f"/storage/{storage}/file", path="/a", status=409, accept=XML)
    schema.validate(answer.text)
    assert (
        f"<fileAlreadyExists><storageId>{storage}</storageId><fileId>{number}</fileId>"
        "<path>a</path></fileAlreadyExists>"
    ) in answer.text
    query = {"path": "a", "createOnly": "False", "state": "CLOSED"}
    updated = await admin.json("POST", f"/storage/{storage}/file", **query)
    assert (updated["id"], updated["state"]) == (number, "CLOSED")
    made = await admin.json("POST", f"/storage/{storage}/file", path="b", createOnly="false")
    assert (made["path"], made["state"]) == ("b", "OPEN")
    body = {"path": "a", "state": "OPEN"}
    await admin.json("POST", f"/storage/{storage}/file", body=body, status=409)
    again = await admin.json("POST", f"/storage/{storage}/file?createOnly=false", body=body)
    assert (again["id"], again["state"]) == (number, "OPEN")


@pytest.mark.parametrize(
    ("query", "context"),
    [
        ({}, "path"),
        ({"path": "../x"}, "path"),
        ({"path": "a", "state": "BROKEN"}, "state"),
        ({"path": "a", "createOnly": "perhaps"}, "createOnly"),
        ({"path": "a" * 300}, "path"),
        ({"path": "a\0b"}, "path"),
        ({"uri": "http://127.0.0.1/x"}, "uri"),
        ({"uri": "file:///etc/passwd"}, None),
        ({"uri": "file:///etc/passwd", "path": "a"}, "uri"),
    ],
)
async def test_what_cannot_be_an_entity_is_refused(
    admin: Vidispine, storage: str, query: dict[str, str], context: str | None
) -> None:
    answer = await admin.call("POST", f"/storage/{storage}/file", status=None, **query)
    assert answer.status_code in ((400,) if context else (400, 404)), answer.text
    if context:
        assert answer.json()["invalidInput"]["context"] == context
    assert await admin.paths() == []


async def test_states_are_set(admin: Vidispine, storage: str) -> None:
    (number,) = await add(admin, storage, "a")
    changed = await admin.json("PUT", f"/storage/file/{number}/state/CLOSED")
    assert changed["state"] == "CLOSED"
    answer = await admin.call("PUT", f"/file/{number}/state/missing", accept=TEXT)
    assert answer.text == f"{number}\r\n"
    assert (await admin.json("GET", f"/file/{number}"))["state"] == "MISSING"
    refused = await admin.json("PUT", f"/file/{number}/state/BROKEN", status=400)
    assert refused["invalidInput"]["context"] == "state"


async def test_the_reference_s_example_as_it_is_answered(
    admin: Vidispine, storage: str, tmp_path: Path, server: Served
) -> None:
    """Element by element, at the address of the example."""
    made = await admin.upload(storage, "sample.mov", b"7889811")
    answer = await admin.call(
        "PUT",
        f"http://127.0.0.1:{server.port}/storage/file/{made['id']}/state/CLOSED",
        accept="*/*",
    )
    assert answer.headers["content-type"] == "application/xml;charset=UTF-8"
    (found,) = re.findall(rf'<FileDocument xmlns="{NAMESPACE}">(.*)</FileDocument>', answer.text)
    elements = re.findall(r"<(\w+)>([^<]*)</\1>", found)
    assert "".join(f"<{name}>{text}</{name}>" for name, text in elements) == found
    assert [name for name, _ in elements] == [
        "id",
        "path",
        "uri",
        "state",
        "size",
        "hash",
        "timestamp",
        "refreshFlag",
        "storage",
    ]
    told = dict(elements)
    assert (told["id"], told["path"], told["storage"]) == (made["id"], "sample.mov", storage)
    assert told["uri"] == (tmp_path / "one/sample.mov").as_uri()
    assert (told["state"], told["size"], told["hash"]) == ("CLOSED", "7", made["hash"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", told["timestamp"])
    text = await admin.call("PUT", f"/file/{made['id']}/state/OPEN", accept=TEXT)
    assert text.content == f"{made['id']}\r\n".encode()


async def test_an_entity_goes_and_its_file_stays(
    admin: Vidispine, storage: str, tmp_path: Path
) -> None:
    (tmp_path / "one/a").write_bytes(b"here")
    (number,) = await add(admin, storage, "a")
    answer = await admin.call("DELETE", f"/file/{number}/entity")
    assert answer.content == b""
    await admin.call("GET", f"/file/{number}", status=404)
    assert (tmp_path / "one/a").read_bytes() == b"here"


async def test_a_new_path_is_a_new_entity(admin: Vidispine, storage: str, tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    other = await admin.make_storage(tmp_path / "two")
    (number,) = await add(admin, storage, "a")
    moved = await admin.json("POST", f"/file/{number}/path", path="n/a", state="CLOSED")
    assert moved["id"] != number
    assert (moved["path"], moved["state"], moved["storage"]) == ("n/a", "CLOSED", storage)
    await admin.call("GET", f"/file/{number}", status=404)
    copied = await admin.json(
        "POST", f"/file/{moved['id']}/path", path="a", storage=other, duplicate="true"
    )
    assert copied["storage"] == other
    assert (await admin.json("GET", f"/file/{moved['id']}"))["path"] == "n/a"
    await admin.call("POST", f"/file/{moved['id']}/path", status=400)


@pytest.mark.parametrize("name", ["a%FF.dpx", "a%0Ab", "a%00b", "a%ED%A0%80b"])
async def test_names_that_are_no_text_are_refused_and_looked_for_in_vain(
    admin: Vidispine, storage: str, name: str
) -> None:
    """What a database cannot hold made requests fail inside it."""
    await admin.call("POST", f"/storage/{storage}/file?path={name}", status=400)
    for path in (f"/storage/{storage}/file/path/{name}", f"/storage/file/uri/file:%2F%2F%2F{name}"):
        for accept in (XML, JSON, TEXT):
            answer = await admin.call("GET", path, status=None, accept=accept)
            assert answer.status_code in (400, 404), answer.text
    for query in ("", "&wildcard=true", "&ignorecase=true", "&recursive=false"):
        answer = await admin.call("GET", f"/storage/file?path=/{name}*{query}", status=None)
        assert answer.status_code in (200, 400), answer.text
        assert answer.json().get("hits", 0) == 0


async def test_importable_files(
    admin: Vidispine, storage: str, schema: xmlschema.XMLSchema
) -> None:
    await add(admin, storage, "a", "b")
    for path in (
        "/storage/importable",
        f"/storage/{storage}/importable",
        "/storage/file/importable/",
        f"/storage/{storage}/file/importable/",
        f"/storage/{storage}/importable;number=5?auto=false",
    ):
        answer = await admin.json("GET", path)
        assert answer["hits"] == 2
        assert [one["file"]["path"] for one in answer["element"]] == ["a", "b"]
    schema.validate((await admin.call("GET", "/storage/importable", accept=XML)).text)
    nothing = await admin.json("GET", "/storage/importable;filter=item")
    assert nothing == {"hits": 0, "element": []}
    listed = await admin.json("GET", "/storage/importable;includeItem=true;sort=filename%20desc")
    assert [(one["file"]["path"], one["file"]["item"]) for one in listed["element"]] == [
        ("b", []),
        ("a", []),
    ]


@pytest.mark.parametrize("resource", ["importable", "file/importable"])
async def test_importable_files_that_cannot_be(
    admin: Vidispine, storage: str, resource: str
) -> None:
    """Nothing was counted where two storages were named, and a storage that is not there was not
    missed."""
    await add(admin, storage, "a")
    nothing = await admin.json("GET", f"/storage/{storage}/{resource};storage=VX-99")
    assert nothing == {"hits": 0, "element": []}
    told = await admin.json("GET", f"/storage/VX-99/{resource};filter=item", status=404)
    assert told["notFound"]["type"] == "Storage"
    refused = await admin.json("GET", f"/storage/{resource}", auto="perhaps", status=400)
    assert refused["invalidInput"]["context"] == "auto"
    counted = await admin.json("GET", f"/storage/{resource};filter=item?count=false")
    assert counted == {"element": []}


async def test_a_storage_may_keep_its_importables_to_itself(
    admin: Vidispine, storage: str, tmp_path: Path
) -> None:
    (tmp_path / "two").mkdir()
    quiet = await admin.make_storage(tmp_path / "two", showImportables=False)
    await add(admin, quiet, "a")
    assert (await admin.json("GET", "/storage/importable"))["hits"] == 0
    assert (await admin.json("GET", f"/storage/{quiet}/importable"))["hits"] == 1


async def test_a_user_who_reaches_a_part_sees_that_part(
    core: Core, server: Served, admin: Vidispine, storage: str
) -> None:
    ids = await add(admin, storage, "mine/a", "theirs/b")
    name = (await core.storages.list(SYSTEM))[0].name
    await core.users.set_access(
        SYSTEM, "wrangler", all_paths=False, paths=[AllowedPath(name, "mine")]
    )
    async with Vidispine(server.port, "wrangler") as wrangler:
        assert await wrangler.paths() == ["mine/a"]
        await wrangler.call("GET", f"/file/{ids[1]}", status=404)
        await wrangler.call("PUT", f"/file/{ids[1]}/state/CLOSED", status=404)
        await wrangler.call("DELETE", f"/file/{ids[1]}", status=404)
        await wrangler.call("GET", f"/storage/{storage}/file/path/theirs%2Fb", status=404)
        await wrangler.call("POST", f"/storage/{storage}/file", path="theirs/c", status=404)
