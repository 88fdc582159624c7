"""Vidispine's uploads and downloads: whole, in pieces, in part, cut off, and what is left."""

from __future__ import annotations

import base64
import errno
import hashlib
import itertools
import json
import os
import subprocess
from typing import TYPE_CHECKING

import httpx
import pytest
import trio

from server.app import Limits
from server.core.access import AllowedPath
from server.core.permissions import SYSTEM, Role
from server.serve import build
from server.work.directory import DirectoryTarget
from tests.pixmover import PASSWORD, PixMover
from tests.serving import LOOPBACK, exchange, parse, read_to_eof, served
from tests.vidispine import JSON, TEXT, XML, Vidispine, one_segment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from server.core import Core
    from tests.checklogs import ExpectLogs
    from tests.serving import Served

MIB = 1 << 20
PART = ".pixfs-part"


def everything(root: Path) -> list[str]:
    """All files below but those that are still being received."""
    return sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file() and not path.name.endswith(PART)
    )


def leftovers(root: Path) -> list[str]:
    """The files that are still being received."""
    return sorted(path.name for path in root.rglob(f"*{PART}"))


def pattern(size: int) -> bytes:
    block = bytes(range(256)) * 16
    return (block * (size // len(block) + 1))[:size]


async def test_an_upload_is_a_file_and_its_entity(
    admin: Vidispine, storage: str, root: Path
) -> None:
    content = pattern(3 * MIB + 17)
    made = await admin.upload(storage, "dune/sh 010/a.dpx", content)
    assert (root / "dune/sh 010/a.dpx").read_bytes() == content
    assert (made["path"], made["state"], made["size"]) == (
        "dune/sh 010/a.dpx",
        "CLOSED",
        len(content),
    )
    assert made["hash"] == hashlib.sha1(content, usedforsecurity=False).hexdigest()
    listed = await admin.json("GET", "/storage/file", hash=made["hash"].upper(), algorithm="SHA-1")
    assert [file["id"] for file in listed["file"]] == [made["id"]]
    assert (await admin.json("GET", f"/file/{made['id']}"))["size"] == len(content)
    assert everything(root) == ["dune/sh 010/a.dpx"]
    assert leftovers(root) == []


async def test_an_upload_answers_in_text_and_takes_state_and_uri(
    admin: Vidispine, storage: str, root: Path
) -> None:
    uri = (root / "u.dpx").as_uri()
    answer = await admin.call(
        "POST", "/storage/file/data", content=b"x", uri=uri, state="ARCHIVED", accept=TEXT
    )
    number = answer.text.removesuffix("\r\n")
    assert (await admin.json("GET", f"/file/{number}"))["state"] == "ARCHIVED"
    assert (root / "u.dpx").read_bytes() == b"x"
    # A server with one storage needs no name of it, and a file needs no path.
    made = await admin.json("POST", "/storage/file/data", content=b"y")
    assert (root / made["path"]).read_bytes() == b"y"
    assert made["storage"] == storage


async def test_where_no_storage_is_named_the_first_one_takes_the_file(
    admin: Vidispine, tmp_path: Path
) -> None:
    """The first that can be written to, so that the pieces of a transfer come together."""
    for name in ("closed", "first", "second"):
        (tmp_path / name).mkdir()
    method = {"uri": (tmp_path / "closed").as_uri() + "/", "read": True, "write": False}
    refused = await admin.json("POST", "/storage/file/data", content=b"x", path="a", status=400)
    assert refused["invalidInput"]["context"] == "storage"
    await admin.json("POST", "/storage", body={"type": "LOCAL", "method": [method]})
    first = await admin.make_storage(tmp_path / "first")
    await admin.make_storage(tmp_path / "second")
    made = await admin.json("POST", "/storage/file/data", content=b"x", path="a/b.dpx")
    assert (made["storage"], made["path"]) == (first, "a/b.dpx")
    for start, part in ((3, b"def"), (0, b"abc")):
        await admin.call(
            "POST",
            "/storage/file/data",
            content=part,
            headers={"index": str(start), "size": "6"},
            transferId="t",
            path="pieces",
        )
    assert (tmp_path / "first/pieces").read_bytes() == b"abcdef"


async def test_an_empty_file_is_a_file(admin: Vidispine, storage: str, root: Path) -> None:
    made = await admin.upload(storage, "empty", b"")
    assert made["size"] == 0
    answer = await admin.call("GET", f"/file/{made['id']}/data")
    assert answer.content == b""


async def test_the_bytes_of_an_entity_are_uploaded(
    admin: Vidispine, storage: str, root: Path
) -> None:
    """The reference's other way: the entity first, then its data."""
    made = await admin.json("POST", f"/storage/{storage}/file", path="a.dpx")
    for address, content in (
        (f"/file/{made['id']}/data", b"first"),
        (f"/storage/{storage}/file/path/a.dpx/data/", b"second, longer"),
        (f"/storage/file/uri/{one_segment((root / 'a.dpx').as_uri())}/data", b"3rd"),
    ):
        answer = await admin.json("POST", address, content=content)
        assert (answer["id"], answer["size"]) == (made["id"], len(content))
        assert (root / "a.dpx").read_bytes() == content
        assert (await admin.call("GET", address)).content == content


async def test_a_file_that_is_there_is_not_overwritten_by_an_upload(
    admin: Vidispine, storage: str, root: Path
) -> None:
    await admin.upload(storage, "a.dpx", b"first")
    refused = await admin.json(
        "POST", f"/storage/{storage}/file/data", content=b"second", path="a.dpx", status=409
    )
    assert refused["fileAlreadyExists"]["path"] == "a.dpx"
    assert (root / "a.dpx").read_bytes() == b"first"
    assert leftovers(root) == []


def head(storage: str, length: str, path: str = "a.dpx", accept: str = JSON) -> bytes:
    credentials = base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
    return (
        f"POST /API/storage/{storage}/file/data?path={path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Basic {credentials}\r\nAccept: {accept}\r\n{length}\r\n\r\n"
    ).encode()


async def until(is_true: object) -> None:
    with trio.fail_after(120):
        while not is_true():  # type: ignore[operator]  # noqa: ASYNC110 - nobody tells
            await trio.sleep(0.02)


CUT = {
    JSON: b'{"notFound": null, "internalServer": null, "forbidden": null,'
    b' "notYetImplemented": null, "conflict": null, "invalidInput": {"context": "Content-Length",'
    b' "id": null, "explanation": "the body ended early", "value": null}, "licenseFault": null,'
    b' "fileAlreadyExists": null, "notAuthorized": null}',
    XML: b'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
    b'<ExceptionDocument xmlns="http://xml.vidispine.com/schema/vidispine"><invalidInput>'
    b"<context>Content-Length</context><explanation>the body ended early</explanation>"
    b"</invalidInput></ExceptionDocument>",
    TEXT: b"400 An invalid parameter was entered\r\nContext: Content-Length\r\n"
    b"Reason: the body ended early\r\n",
}


@pytest.mark.parametrize("accept", CUT)
@pytest.mark.parametrize("announced", ["Content-Length: 3000000", "Transfer-Encoding: chunked"])
async def test_less_than_was_announced_leaves_nothing_behind(
    admin: Vidispine, storage: str, root: Path, server: Served, accept: str, announced: str
) -> None:
    """A client that closes its half of the connection is told why, as it asks to be."""
    sent = b"x" * 2_999_999
    body = b"%x\r\n%s" % (len(sent) + 1, sent) if "chunked" in announced else sent
    with trio.fail_after(120):
        async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
            await stream.send_all(head(storage, announced, accept=accept) + body)
            await stream.send_eof()
            status, headers, answer = parse(await read_to_eof(stream))
    assert (status, answer) == (400, CUT[accept])
    assert headers["content-type"].startswith(accept)
    await until(lambda: not leftovers(root))
    assert everything(root) == []
    assert (await admin.json("GET", "/storage/file"))["hits"] == 0


async def test_a_client_that_vanishes_leaves_nothing_behind(
    admin: Vidispine, storage: str, root: Path, server: Served
) -> None:
    body = b"x" * (2 * MIB)
    for announced in ("Content-Length: 100000000", "Transfer-Encoding: chunked"):
        chunk = b"%x\r\n%s\r\n" % (len(body), body) if "chunked" in announced else body
        with trio.fail_after(120):
            async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
                await stream.send_all(head(storage, announced) + chunk)
                await until(lambda: list(root.rglob("*")))  # it has begun to be written
        await until(lambda: not leftovers(root))
        assert everything(root) == []
    assert (await admin.json("GET", "/storage/file"))["hits"] == 0


async def test_a_body_without_a_length_is_taken(admin: Vidispine, storage: str, root: Path) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for number in range(5):
            yield bytes([number]) * MIB

    answer = await admin.http.post(
        f"/storage/{storage}/file/data", params={"path": "a"}, content=chunks()
    )
    assert answer.status_code == 200, answer.text
    assert (root / "a").read_bytes() == b"".join(bytes([n]) * MIB for n in range(5))


@pytest.mark.parametrize("accept", [JSON, XML, TEXT])
async def test_where_there_is_no_room_nothing_is_left(
    admin: Vidispine,
    storage: str,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    accept: str,
) -> None:
    """The disk is full in the middle of the file; when there is room again, it is taken."""
    content = pattern(5 * MIB)
    write, written = DirectoryTarget.write, 0

    def full(target: DirectoryTarget, data: bytes) -> None:
        nonlocal written
        if written > MIB:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written += len(data)
        write(target, data)

    with monkeypatch.context() as patched:
        patched.setattr(DirectoryTarget, "write", full)
        answer = await admin.call(
            "POST",
            f"/storage/{storage}/file/data",
            content=content,
            path="a.dpx",
            accept=accept,
            status=507,
        )
    assert written > MIB
    assert "the storage is full" in answer.text
    assert answer.headers["content-type"].startswith(accept)
    assert everything(root) == leftovers(root) == []
    assert (await admin.json("GET", "/storage/file"))["hits"] == 0
    assert (await admin.upload(storage, "a.dpx", content))["size"] == len(content)


async def send_piece(
    admin: Vidispine, storage: str, content: bytes, start: int, end: int, **query: object
) -> httpx.Response:
    query = {"path": "a.dpx", "transferId": "t-1"} | query
    return await admin.call(
        "POST",
        f"/storage/{storage}/file/data",
        content=content[start:end],
        headers={"index": str(start), "size": str(len(content))},
        status=None,
        **query,
    )


async def test_pieces_come_in_any_order(admin: Vidispine, storage: str, root: Path) -> None:
    content = pattern(300_000)
    edges = (0, 100_000, 250_001, 300_000)
    for name, order in enumerate(itertools.permutations(range(3))):
        given = {"path": f"{name}.dpx", "transferId": f"t-{name}"}
        answers = []
        for number in order:
            assert not (root / f"{name}.dpx").exists()
            start, end = edges[number], edges[number + 1]
            answers.append(await send_piece(admin, storage, content, start, end, **given))
        assert [answer.status_code for answer in answers] == [200, 200, 200]
        assert [bool(answer.content) for answer in answers] == [False, False, True]
        assert answers[-1].json()["size"] == len(content)
        assert (root / f"{name}.dpx").read_bytes() == content
    assert leftovers(root) == []


async def test_pieces_come_at_once(admin: Vidispine, storage: str, root: Path) -> None:
    content = pattern(2_000_003)
    step = 123_457
    answers: list[httpx.Response] = []

    async def send(start: int) -> None:
        end = min(start + step, len(content))
        answers.append(
            await send_piece(admin, storage, content, start, end, transferPriority=start % 999 + 1)
        )

    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            for start in range(0, len(content), step):
                nursery.start_soon(send, start)
    assert {answer.status_code for answer in answers} == {200}, [a.text for a in answers]
    assert sum(bool(answer.content) for answer in answers) == 1
    assert (root / "a.dpx").read_bytes() == content


async def test_a_piece_of_an_entity(admin: Vidispine, storage: str, root: Path) -> None:
    made = await admin.json("POST", f"/storage/{storage}/file", path="b.dpx")
    for start, part in ((3, b"def"), (0, b"abc")):
        await admin.call(
            "POST",
            f"/file/{made['id']}/data",
            content=part,
            headers={"index": str(start), "size": "6"},
            transferId="t-2",
        )
    assert (root / "b.dpx").read_bytes() == b"abcdef"


SENSELESS: list[tuple[dict[str, str], dict[str, str]]] = [
    ({"index": "0"}, {"transferId": "t"}),
    ({"size": "5"}, {"transferId": "t"}),
    ({"index": "0", "size": "5"}, {}),
    ({"index": "9", "size": "5"}, {"transferId": "t"}),
    ({"index": "3", "size": "5"}, {"transferId": "t"}),  # it would end behind the end
    ({"index": "-1", "size": "5"}, {"transferId": "t"}),
    ({"index": "a", "size": "5"}, {"transferId": "t"}),
    ({"index": "0", "size": "5"}, {"transferId": "t" * 300}),
    ({}, {"transferPriority": "0"}),
    ({}, {"transferPriority": "1001"}),
    ({}, {"state": "BROKEN"}),
    ({}, {"path": "../../evil"}),
    ({}, {"uri": "file:///etc/evil"}),
    ({}, {"uri": "http://127.0.0.1/evil"}),
]


async def test_uploads_that_make_no_sense_are_refused(
    admin: Vidispine, storage: str, root: Path
) -> None:
    for headers, query in SENSELESS:
        answer = await admin.call(
            "POST",
            f"/storage/{storage}/file/data",
            content=b"xyz",
            headers=headers,
            status=None,
            **(({} if "uri" in query else {"path": "a"}) | query),
        )
        assert answer.status_code in (400, 404), (headers, query, answer.text)
        assert everything(root) == []


async def test_downloads_whole_and_in_part(admin: Vidispine, storage: str) -> None:
    content = pattern(3 * MIB + 5)
    made = await admin.upload(storage, 'ä "x".dpx', content)
    address = f"/file/{made['id']}/data"
    whole = await admin.call("GET", address, accept="application/octet-stream")
    assert whole.content == content
    assert whole.headers["content-type"] == "application/octet-stream"
    assert whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["content-length"] == str(len(content))
    assert "filename*=UTF-8''%C3%A4%20%22x%22.dpx" in whole.headers["content-disposition"]
    etag, changed = whole.headers["etag"], whole.headers["last-modified"]
    for given, start, end in (
        ("bytes=0-", 0, len(content)),
        ("bytes=0-0", 0, 1),
        ("bytes=-1", len(content) - 1, len(content)),
        ("bytes=1048575-2097153", 1048575, 2097154),
        (f"bytes={len(content) - 7}-", len(content) - 7, len(content)),
    ):
        for more in ({}, {"If-Range": etag}, {"If-Range": changed}):
            part = await admin.call("GET", address, headers={"Range": given} | more, status=206)
            assert part.content == content[start:end], given
            assert part.headers["content-range"] == f"bytes {start}-{end - 1}/{len(content)}"
    beyond = await admin.call("GET", address, headers={"Range": "bytes=9999999-"}, status=416)
    assert beyond.headers["content-range"] == f"bytes */{len(content)}"
    for ignored in ("bytes=5-2", "bytes=0-1," * 1000 + "5-6"):
        assert (await admin.call("GET", address, headers={"Range": ignored})).content == content
    stale = {"Range": "bytes=0-1", "If-Range": '"other"'}
    assert (await admin.call("GET", address, headers=stale)).content == content
    same = await admin.call("GET", address, headers={"If-None-Match": etag}, status=304)
    assert same.content == b""
    told = await admin.call("HEAD", address)
    assert told.headers["content-length"] == str(len(content))


async def test_a_download_takes_as_long_as_its_client_does(core: Core, root: Path) -> None:
    """The framework would end an answer after a while, with its status sent and nothing logged."""
    await core.users.add(SYSTEM, "admin", Role.ADMIN, PASSWORD)
    content = pattern(32 * MIB)
    app = build(core, LOOPBACK, limits=Limits(response_timeout_s=0.1))
    async with served(app) as server, Vidispine(server.port) as admin:
        made = await admin.upload(await admin.make_storage(root), "a.dpx", content)
        asked = request_head("GET", f"/API/file/{made['id']}/data", 0, Connection="close")
        with trio.fail_after(120):
            async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
                await stream.send_all(asked)
                begun = await stream.receive_some(1000)
                await trio.sleep(0.5)
                status, _, body = parse(begun + await read_to_eof(stream))
    assert (status, body == content) == (200, True)


async def test_other_bytes_have_another_etag(admin: Vidispine, storage: str) -> None:
    made = await admin.upload(storage, "a", b"first")
    address = f"/file/{made['id']}/data"
    first = (await admin.call("GET", address)).headers["etag"]
    await admin.call("POST", address, content=b"other")
    assert (await admin.call("GET", address)).headers["etag"] != first


async def test_a_file_that_is_gone_is_not_found(admin: Vidispine, storage: str, root: Path) -> None:
    made = await admin.upload(storage, "a", b"first")
    (root / "a").unlink()
    told = await admin.json("GET", f"/file/{made['id']}/data", status=404)
    assert told["notFound"] == {"type": "File", "id": made["id"], "context": None}


async def test_nothing_is_read_through_a_link_that_leads_out(
    admin: Vidispine, storage: str, root: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"canary")
    (root / "link").symlink_to(secret)
    (root / "up").symlink_to(tmp_path)
    for path in ("link", "up/secret"):
        made = await admin.json("POST", f"/storage/{storage}/file", path=path)
        answer = await admin.call("GET", f"/file/{made['id']}/data", status=None)
        assert answer.status_code == 404, path
        assert answer.json()["notFound"]["id"] == made["id"]
        assert b"canary" not in answer.content
    answer = await admin.call(
        "POST", f"/storage/{storage}/file/data", content=b"evil", path="up/made", status=None
    )
    assert answer.status_code == 404
    assert answer.json()["notFound"] == {"type": "File", "id": "up/made", "context": None}
    assert not (tmp_path / "made").exists()


async def test_a_link_leads_nobody_out_of_the_folders_that_are_allowed(
    core: Core, server: Served, admin: Vidispine, storage: str, root: Path
) -> None:
    """It stays in the storage, and led whoever may only reach a folder to all the others."""
    for folder in ("mine", "theirs"):
        (root / folder).mkdir()
    (root / "theirs/secret").write_bytes(b"canary")
    (root / "mine/link").symlink_to("../theirs/secret")
    (root / "mine/folder").symlink_to("../theirs")
    package = root / "theirs/ASSETMAP.xml"
    package.write_bytes(b"<AssetMap/>")
    name = (await core.storages.list(SYSTEM))[0].name
    reach = [AllowedPath(name, "mine")]
    await core.users.set_access(SYSTEM, "wrangler", all_paths=False, paths=reach)
    async with Vidispine(server.port, "wrangler") as wrangler:
        for path in ("mine/link", "mine/folder/secret", "mine/folder/ASSETMAP.xml"):
            made = await wrangler.json("POST", f"/storage/{storage}/file", path=path)
            told = await wrangler.json("GET", f"/file/{made['id']}/data", status=404)
            assert told["notFound"]["id"] == made["id"]
            imported = f"/file/{made['id']}/import/assetmap"
            await wrangler.json("POST", imported, status=404)
            if path != "mine/link":
                # An administrator reaches all folders; a link itself is no file to anybody.
                await admin.call("GET", f"/file/{made['id']}/data")
        for query, headers in (
            ({"path": "mine/folder/made"}, {}),
            ({"path": "mine/folder/made", "transferId": "t"}, {"index": "0", "size": "4"}),
        ):
            answer = await wrangler.json(
                "POST",
                f"/storage/{storage}/file/data",
                content=b"evil",
                headers=headers,
                status=404,
                **query,
            )
            assert answer["notFound"]["id"] == "mine/folder/made"
        made = await wrangler.upload(storage, "mine/own", b"own")
        assert (await wrangler.call("GET", f"/file/{made['id']}/data")).content == b"own"
    assert sorted(path.name for path in (root / "theirs").iterdir()) == ["ASSETMAP.xml", "secret"]
    assert leftovers(root) == []


def multipart(parts: int) -> bytes:
    """A form of very many parts, as a browser sends files; in the middle one form in another."""
    lines = []
    for number in range(parts):
        name = "../../evil" if number % 2 else "a.dpx"
        kind = "multipart/mixed; boundary=x" if number == parts // 2 else "image/x-dpx"
        lines.append(
            f'--x\r\nContent-Disposition: form-data; name="f{number}"; filename="{name}"\r\n'
            f"Content-Type: {kind}\r\n\r\n--x--x\r\n"
        )
    return "".join([*lines, "--x--\r\n"]).encode()


async def test_a_form_of_ten_thousand_parts_is_bytes_or_refused(
    admin: Vidispine, storage: str, root: Path, server: Served
) -> None:
    """Nothing takes one apart, so that nothing in it names a file."""
    body = multipart(10_000)
    assert len(body) > MIB
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    await admin.call(
        "POST", f"/storage/{storage}/file/data", content=body, headers=kind, path="form"
    )
    assert (root / "form").read_bytes() == body
    assert everything(root.parent / "one") == ["form"]
    assert not list(root.parent.glob("**/evil"))
    made = await admin.json("POST", f"/storage/{storage}/file", path="entity")
    small = multipart(2000)
    for method, address in (
        ("POST", "/storage"),
        ("PUT", f"/storage/{storage}"),
        ("POST", f"/storage/{storage}/file"),
        ("POST", f"/storage/{storage}/file/{made['id']}/import"),
    ):
        answer = await admin.call(method, address, content=small, headers=kind, status=None)
        assert answer.status_code == 400, (address, answer.text)
        announced = request_head(method, f"/API{address}", len(body), **kind)
        assert parse(await exchange(server.port, announced))[0] == 413, address
    async with PixMover(server.port) as client:
        await client.login("admin")
        cookie = f"pixfs_session={client.http.cookies['pixfs_session']}"
    for path in ("/jobs", "/users", "/login"):
        announced = request_head("POST", f"/pixmover/v1{path}", 10_000, Cookie=cookie, **kind)
        status, _, told = parse(await exchange(server.port, announced))
        assert (status, json.loads(told)["code"]) == (415, "unsupported-media-type")


def request_head(method: str, path: str, length: int, **headers: str) -> bytes:
    """What announces a body; a server that refuses it by that does not wait for it."""
    credentials = base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {length}"]
    lines += [f"Authorization: Basic {credentials}"]
    lines += [f"{name}: {text}" for name, text in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two MiB."""
    path = tmp_path / "small"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=0777", "none", path]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


async def test_an_upload_that_fills_the_storage_leaves_nothing(
    admin: Vidispine, small_disk: Path
) -> None:
    """Whether its length was announced or not, whole or in pieces; what was there stays."""
    storage = await admin.make_storage(small_disk)
    await admin.upload(storage, "before", b"x" * 1000)
    free = os.statvfs(small_disk).f_bavail

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(8):
            yield b"x" * MIB

    address = f"/storage/{storage}/file/data"
    for content in (chunks(), b"x" * (8 * MIB)):
        answer = await admin.http.post(address, params={"path": "large"}, content=content)
        assert answer.status_code == 507, answer.text
        assert everything(small_disk) == ["before"]
        assert leftovers(small_disk) == []
        assert os.statvfs(small_disk).f_bavail == free
    answer = await send_piece(
        admin, storage, b"x" * (8 * MIB), 0, 8 * MIB, path="pieces", transferId="t-9"
    )
    assert answer.status_code == 507, answer.text
    await until(lambda: not leftovers(small_disk))
    assert os.statvfs(small_disk).f_bavail == free
    listed = await admin.json("GET", "/storage/file")
    assert [file["path"] for file in listed["file"]] == ["before"]
    assert (await admin.call("GET", f"/file/{listed['file'][0]['id']}/data")).content == b"x" * 1000


@pytest.mark.parametrize("begun_bytes", [1, 2 * MIB])
@pytest.mark.parametrize("way", ["exchanged", "written to", "cut short", "removed"])
async def test_a_download_of_a_file_that_changes_is_broken_off(
    admin: Vidispine,
    server: Served,
    storage: str,
    root: Path,
    caplog: pytest.LogCaptureFixture,
    way: str,
    begun_bytes: int,
) -> None:
    """The client sees that it has not got all, and the log has one line, which is no failure of
    the server's. What is open already is sent to its end, though its name is another file's."""
    caplog.set_level("INFO")
    content = pattern(64 * MIB)
    (root / "a.dpx").write_bytes(content)
    address = f"/API/file/{await admin.entity(storage, 'a.dpx')}/data"
    with trio.fail_after(120):
        async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
            await stream.send_all(request_head("GET", address, 0))
            begun = b""
            while len(begun) < begun_bytes:
                begun += await stream.receive_some(begun_bytes - len(begun))
            match way:
                case "exchanged":
                    (root / "b.dpx").write_bytes(content[::-1])
                    os.replace(root / "b.dpx", root / "a.dpx")
                case "written to":
                    (root / "a.dpx").write_bytes(content[::-1])
                case "cut short":
                    os.truncate(root / "a.dpx", 40 * MIB)
                case "removed":
                    (root / "a.dpx").unlink()
            status, headers, body = parse(begun + await read_to_eof(stream))
    assert (status, headers["content-length"]) == (200, str(len(content)))
    assert content.startswith(body)
    told = [r for r in caplog.records if "broken off" in r.getMessage()]
    if len(body) == len(content):
        assert (begun_bytes, way) in [(2 * MIB, "exchanged"), (2 * MIB, "removed")]
        assert not told
        return
    (record,) = told
    assert (record.levelname, record.exc_info) == ("INFO", None)
    assert record.getMessage() == (
        f"{headers['x-request-id']} broken off: the file changed or went away while it was sent"
    )


async def test_a_download_from_a_storage_that_fails_is_broken_off(
    admin: Vidispine,
    storage: str,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    expect_logs: ExpectLogs,
) -> None:
    """Somebody has to look after the storage; a traceback would tell nothing of it."""
    expect_logs(r"WARNING server\.asgi: \w+ broken off: [^\n]+\Z")
    (root / "a.dpx").write_bytes(pattern(8 * MIB))
    file = await admin.entity(storage, "a.dpx")

    def fail(fd: int, length: int, offset: int) -> bytes:
        if offset:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return pread(fd, length, offset)

    pread = os.pread
    monkeypatch.setattr("server.work.readable.os.pread", fail)
    with pytest.raises(httpx.RemoteProtocolError):
        await admin.call("GET", f"/file/{file}/data")
