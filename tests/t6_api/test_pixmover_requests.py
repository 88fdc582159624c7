"""Requests nobody should send: malformed, oversized, or made to leave traces in the log."""

from __future__ import annotations

import json
import logging
import re
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from server.app import Limits
from server.core.permissions import SYSTEM, Role
from server.serve import build
from tests.pixmover import PASSWORD, PixMover
from tests.serving import CLOSE, LOOPBACK, exchange, parse, served

if TYPE_CHECKING:
    import httpx

    from server.core import Core
    from tests.serving import Served

FORM = "application/x-www-form-urlencoded"


async def send(
    client: PixMover, path: str, body: bytes, kind: str | None = FORM, method: str = "POST"
) -> tuple[int, dict[str, str]]:
    headers = {} if kind is None else {"Content-Type": kind}
    answer = await client.http.request(method, path, content=body, headers=headers)
    return answer.status_code, answer.json()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "name"),
        (b"name=eve", "role"),
        (b"name=eve&role=admin", "password"),
        (b"name=eve&role=god&password=0123456789a", "role"),
        (b"name=eve&name=ada&role=admin&password=0123456789a", "name"),
        (b"name=eve&role=admin&password=0123456789a&is_root=1", "is_root"),
        (b"name=eve&role=admin&password=0123456789a&all_paths=maybe", "all_paths"),
        (b"name=eve&role=admin&password=0123456789a&paths=nowhere", "paths"),
        (b"name=eve%0d%0aSet-Cookie:x&role=admin&password=0123456789a", "name"),
        (b"name=%00&role=admin&password=0123456789a", "name"),
        (b"name=%ff&role=admin&password=0123456789a", "name"),
        (b"name=\xff&role=admin", "body"),
        (b"full_name=%ff&name=eve&role=admin&password=0123456789a", "full_name"),
        (b"&".join(b"a%d=1" % n for n in range(1001)), "body"),
        (b"name=eve&role=admin&password=0123456789%00a", "password"),
        (b"=x&name=eve&role=admin&password=0123456789a", ""),
        (b'{"name": "eve"}', "name"),
    ],
)
async def test_a_malformed_form_is_refused_by_the_name_of_its_field(
    core: Core, as_admin: PixMover, body: bytes, field: str
) -> None:
    before = await core.events.list(SYSTEM)
    status, problem = await send(as_admin, "/users", body)
    assert (status, problem["code"]) == (400, "invalid-value"), problem
    assert problem.get("field", "") == field
    assert {"message", "hint", "request_id"} <= problem.keys()
    assert await core.events.list(SYSTEM) == before


@pytest.mark.parametrize(
    "kind",
    [None, "application/json", "multipart/form-data; boundary=x", "text/plain", "application/xml"],
)
async def test_only_forms_are_taken(as_admin: PixMover, kind: str | None) -> None:
    status, problem = await send(as_admin, "/users", b"name=eve", kind)
    assert (status, problem["code"]) == (415, "unsupported-media-type")


async def test_a_filter_is_left_out_not_left_empty(as_admin: PixMover) -> None:
    """The document's list of kinds has no empty one; a form says the empty list so, a query not."""
    answer = await as_admin.http.get("/jobs?kind=")
    assert answer.status_code == 400
    assert (answer.json()["code"], answer.json()["field"]) == ("invalid-value", "kind")
    status, account = await send(as_admin, "/account", b"notify=", method="PUT")
    assert (status, account["notify"]) == (200, [])


async def test_a_form_may_name_its_character_set(as_admin: PixMover) -> None:
    kind = "Application/X-WWW-Form-Urlencoded; charset=UTF-8"
    status, user = await send(as_admin, "/account", b"full_name=Ad%C3%A0", kind, method="PUT")
    assert (status, user["full_name"]) == (200, "Adà")


async def test_a_change_has_no_query_and_a_get_no_unknown_field(as_admin: PixMover) -> None:
    for answer in (
        await as_admin.http.post("/users?name=eve", data={"role": "admin"}),
        await as_admin.get("/users", verbose="1"),
        await as_admin.http.get("/events?limit=1&limit=2"),
        await as_admin.http.get("/events?limit=0x10"),
        await as_admin.http.get("/events?limit=١٢"),
        await as_admin.http.get("/events?limit=-5"),
        await as_admin.http.get("/events?before=" + "9" * 40),
    ):
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid-value"), answer.url


@pytest.mark.parametrize("name", ["%ff", "%00", "a%00b", "%ed%a0%80", "x" * 5000, "%0a", ".."])
async def test_a_name_no_database_can_hold_is_simply_not_there(
    server: Served, as_admin: PixMover, name: str
) -> None:
    for answer in (
        await as_admin.http.get(f"/users/{name}"),
        await as_admin.http.post(f"/users/{name}/suspend"),
        await as_admin.http.post(f"/storages/{name}/remove"),
    ):
        assert answer.status_code in (404, 405), answer.text
    body = f"name={name}&password=0123456789a".encode()
    status, _ = await send(as_admin, "/login", body)
    assert status in (400, 401)


@pytest.mark.parametrize("method", ["DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
async def test_other_methods_are_refused(as_admin: PixMover, method: str) -> None:
    answer = await as_admin.http.request(method, "/users")
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}


async def test_a_body_beyond_the_limit_is_not_read(core: Core) -> None:
    await core.users.add(SYSTEM, "admin", Role.ADMIN, PASSWORD)
    app = build(core, LOOPBACK, limits=Limits(max_body_bytes=2000))
    async with served(app) as server, PixMover(server.port) as client:
        await client.login("admin")
        status, problem = await send(client, "/users", b"name=" + b"e" * 3000)
        assert (status, problem["code"]) == (413, "body-too-large")


async def test_headers_and_paths_beyond_any_measure_are_refused(server: Served) -> None:
    base = "GET /pixmover/v1/whoami HTTP/1.1\r\nHost: localhost\r\n"
    cookie = f"{base}Cookie: pixfs_session={'a' * 4000}\r\n{CLOSE}\r\n\r\n"
    status, _, body = parse(await exchange(server.port, cookie.encode()))
    assert (status, json.loads(body)["code"]) == (401, "not-logged-in")
    flood = base + "".join(f"X-Header-{n}: {'a' * 100}\r\n" for n in range(2000)) + "\r\n"
    assert b" 200 " not in (await exchange(server.port, flood.encode()))[:20]
    long_path = f"GET /pixmover/v1/users/{'a' * 100_000} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert b" 200 " not in (await exchange(server.port, long_path.encode()))[:20]


@pytest.mark.parametrize(
    "smuggled",
    [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /healthz",
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
        "Content-Length: -1\r\n\r\n",
        "Content-Length: five\r\n\r\n",
        "Con tent-Length: 5\r\n\r\n",
    ],
)
async def test_ambiguous_framing_is_refused(server: Served, smuggled: str) -> None:
    head = "POST /pixmover/v1/login HTTP/1.1\r\nHost: localhost\r\n" + smuggled
    answer = await exchange(server.port, head.encode())
    assert answer == b"" or answer.split()[1] in (b"400", b"501", b"415"), answer
    assert answer.count(b"HTTP/1.1") <= 1


async def test_what_a_client_sends_stays_on_one_line_of_the_log(
    core: Core, server: Served, as_admin: PixMover, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for path in ("x\r\nFAKE admin logged in", "\x1b[2J", "\u202egnik", "a" * 10_000):
        await as_admin.http.get(f"/users/{quote(path, safe='')}")
        await as_admin.post("/users", name=path, role="admin", password=PASSWORD)
    lines = [record.getMessage() for record in caplog.records if record.name == "server.asgi"]
    assert len(lines) >= 8
    for line in lines:
        assert re.fullmatch(r"[ -~]{1,400}", line), line


CANARIES = {
    "password": "canary-password-1",
    "wrong": "canary-password-2",
    "mail": "canary-mail-3",
    "s3": "canary-s3-4",
}


async def test_no_secret_reaches_a_log_an_event_or_an_answer(
    core: Core, server: Served, as_admin: PixMover, caplog: pytest.LogCaptureFixture
) -> None:
    """Each secret is sent in every way a client would, also where it is refused."""
    caplog.set_level(logging.DEBUG)
    answers: list[httpx.Response] = []

    async def keep(answer: httpx.Response) -> None:
        answers.append(answer)

    for role in ("monitor", "bad-role"):
        await keep(
            await as_admin.post("/users", name="eve", role=role, password=CANARIES["password"])
        )
    await keep(await as_admin.put("/users/eve/password", password=CANARIES["password"]))
    await keep(await as_admin.put("/users/nobody/password", password=CANARIES["password"]))
    await keep(
        await as_admin.put("/account/password", current=CANARIES["wrong"], password="a new secret")
    )
    await keep(await as_admin.post("/login", name=CANARIES["wrong"], password=CANARIES["wrong"]))
    mail = {"host": "smtp.example.com", "sender": "a@example.com", "password": CANARIES["mail"]}
    await keep(await as_admin.put("/settings/mail", **mail))
    await keep(await as_admin.put("/settings/mail", **mail | {"port": "x"}))
    s3 = {"name": "vault", "access_key": "AKIA", "secret_key": CANARIES["s3"]}
    await keep(await as_admin.post("/settings/s3", **s3))
    await keep(await as_admin.post("/settings/s3", **s3))
    for path in ("/settings/mail", "/settings/s3", "/users", "/events"):
        await keep(await as_admin.get(path))
    token = as_admin.http.cookies["pixfs_session"]
    told = "".join(answer.text for answer in answers)
    told += repr(await core.events.list(SYSTEM, limit=1000))
    told += "\n".join(
        record.getMessage() + str(record.exc_info)
        for record in caplog.records
        # The client's own lines stand in the same log; they are not the server's.
        if not record.name.startswith(("httpx", "httpcore"))
    )
    assert len(answers) == 14
    for canary in (*CANARIES.values(), token, PASSWORD):
        assert canary not in told
