"""What somebody without credentials can have the server do: read little, and not wait for it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from server.api.pixmover.routes import BASE
from server.api.pixmover.routes import ENDPOINTS as PIXMOVER
from server.api.vidispine.routes import ENDPOINTS as VIDISPINE
from server.app import Limits
from server.core.permissions import SYSTEM, Role
from server.serve import build
from tests.pixmover import PASSWORD
from tests.serving import CLOSE, LOOPBACK, exchange, get, parse, served
from tests.t6_api.test_vidispine_contract import paths

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.core import Core
    from tests.serving import Served

LIMIT = Limits().max_open_body_bytes
LOGIN = f"{BASE}/login"
FORM = "Content-Type: application/x-www-form-urlencoded"


def head(target: str, *lines: str, method: str = "POST") -> bytes:
    every = [f"{method} {target} HTTP/1.1", "Host: localhost", FORM, *lines]
    return "\r\n".join([*every, "", ""]).encode()


def padded(size: int) -> bytes:
    """A login's form of this size; the field too many makes it refused once it has been read."""
    form = b"name=admin&password=" + PASSWORD.replace(" ", "+").encode() + b"&padding="
    return form + b"x" * (size - len(form))


def chunked(body: bytes) -> bytes:
    pieces = [body[at : at + 1000] for at in range(0, len(body), 1000)]
    return b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in pieces) + b"0\r\n\r\n"


def requests(target: str, size: int) -> Iterator[bytes]:
    """A body of this size, with its length announced and without."""
    yield head(target, f"Content-Length: {size}", CLOSE) + padded(size)
    yield head(target, "Transfer-Encoding: chunked", CLOSE) + chunked(padded(size))


@pytest.mark.parametrize("target", [LOGIN, f"http://localhost{LOGIN}", LOGIN.replace("in", "%69n")])
async def test_a_login_takes_a_small_body_only(server: Served, target: str) -> None:
    """However its path is written."""
    for request in requests(target, LIMIT):
        status, _, body = parse(await exchange(server.port, request))
        assert (status, json.loads(body)["field"]) == (400, "padding"), "it is read whole"
    for request in requests(target, LIMIT + 1):
        status, headers, body = parse(await exchange(server.port, request))
        problem = json.loads(body)
        assert (status, problem["code"]) == (413, "body-too-large")
        assert set(problem) == {"code", "message", "hint", "request_id"}
        assert problem["request_id"] == headers["x-request-id"]
        assert headers["connection"] == "close"


async def test_a_login_that_announces_too_much_is_refused_before_it_is_sent(server: Served) -> None:
    answer = await exchange(server.port, head(LOGIN, f"Content-Length: {LIMIT + 1}"))
    assert parse(answer)[0] == 413


async def test_who_is_logged_in_may_send_more(server: Served, core: Core) -> None:
    opened = await core.sessions.login("admin", PASSWORD)
    cookie = f"Cookie: pixfs_session={opened.token}"
    size = LIMIT * 2
    form = b"full_name=" + b"x" * (size - 10)
    sent = head(f"{BASE}/account", cookie, f"Content-Length: {size}", CLOSE, method="PUT") + form
    status, _, body = parse(await exchange(server.port, sent))
    assert (status, json.loads(body)["field"]) == (400, "full_name")


async def test_a_login_that_does_not_get_complete_is_not_waited_for_long(core: Core) -> None:
    await core.users.add(SYSTEM, "admin", Role.ADMIN, PASSWORD)
    limits = Limits(body_timeout_s=None, open_body_timeout_s=0.1)
    async with served(build(core, LOOPBACK, limits=limits)) as server:
        answer = await exchange(server.port, head(LOGIN, "Content-Length: 100") + b"name=adm")
    status, _, body = parse(answer)
    assert (status, json.loads(body)["code"]) == (408, "request-timeout")


async def test_nothing_else_reads_a_body_before_it_knows_who_sends_it(server: Served) -> None:
    """A body that is announced and never comes does not hold up the refusal."""
    targets = [
        (endpoint.method, BASE + endpoint.path.replace("{", "").replace("}", ""))
        for endpoint in PIXMOVER
        if endpoint.changes and endpoint.needs is not None
    ]
    targets += [
        (endpoint.method, prefix + path)
        for endpoint in VIDISPINE
        if endpoint.method != "GET"
        for path in paths(endpoint)
        for prefix in ("/API", "")
        if prefix or path.startswith("/storage")
    ]
    assert len(targets) > 100
    for method, target in targets:
        answer = await exchange(server.port, head(target, "Content-Length: 1000000", method=method))
        assert parse(answer)[0] == 401, (method, target)


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("http://localhost/healthz", 200),
        ("HTTP://LOCALHOST:1/healthz", 200),
        ("http://localhost/API/version", 401),
        ("http://localhost", 404),
        ("http://evil.example/healthz", 400),
        ("http://localhost@evil.example/healthz", 400),
        ("http://[x/healthz", 400),
        ("ftp://localhost/healthz", 400),
        ("healthz", 400),
        ("?a=b", 400),
        ("*", 400),
    ],
)
async def test_a_target_is_a_path_or_an_address_of_this_server(
    server: Served, target: str, status: int
) -> None:
    """And none makes the server fail: the tests' logs hold nothing that would need a look."""
    for method in ("GET", "OPTIONS"):
        sent = get(target, CLOSE).replace(b"GET", method.encode(), 1)
        expected = 405 if method == "OPTIONS" and status in (200, 401) else status
        assert parse(await exchange(server.port, sent))[0] == expected
