"""All of Vidispine's endpoints at once: who may, what is described, what strangers try."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio
from openapi_spec_validator import OpenAPIV31SpecValidator

import server.api.vidispine
from scripts import vidispine_page
from server.api.vidispine.endpoints import NEEDS
from server.api.vidispine.endpoints import Role as VidispineRole
from server.api.vidispine.routes import ENDPOINTS, openapi
from server.app import Limits
from server.core.permissions import ALLOWED, SYSTEM, Role
from server.serve import build
from tests.pixmover import PASSWORD
from tests.serving import LOOPBACK, exchange, parse, served
from tests.vidispine import JSON, TEXT, XML, Vidispine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.api.vidispine.endpoints import Endpoint
    from server.core import Core
    from tests.serving import Served

EXAMPLES = {
    "storage": "VX-98",
    "file": "VX-99",
    "path": "a",
    "uri": "file:%2F%2F%2Fa",
    "target": "VX-1",
    "state": "CLOSED",
    "method": "VX-1",
    "job": "VX-99",
}


def paths(endpoint: Endpoint) -> Iterator[str]:
    for path in endpoint.paths:
        yield path.format(**EXAMPLES)


@pytest.mark.parametrize("role", [None, *Role])
async def test_a_role_may_do_what_the_table_says_and_nothing_else(
    core: Core, server: Served, role: Role | None
) -> None:
    """Every endpoint at each of its paths; nothing that is refused leaves an event behind."""
    options = {"auth": None} if role is None else {}
    async with Vidispine(server.port, role.value if role else "", **options) as client:
        if role is not None:
            await client.call("GET", "/whoami")
        before = await core.events.list(SYSTEM)
        for endpoint in ENDPOINTS:
            if endpoint.name == "get_token" and role is not None:
                continue
            for path in paths(endpoint):
                answer = await client.call(endpoint.method, path, status=None)
                if role is None:
                    assert answer.status_code == 401, path
                    assert answer.headers["www-authenticate"].startswith("Basic ")
                    assert answer.json()["notAuthorized"] is not None
                elif role in ALLOWED[NEEDS[endpoint.role]]:
                    assert answer.status_code in (200, 400, 404), f"{path}: {answer.text}"
                else:
                    assert answer.status_code == 403, f"{path}: {answer.text}"
                    assert answer.json()["forbidden"] is not None
        assert await core.events.list(SYSTEM) == before


def test_the_reference_s_roles() -> None:
    """Said again and in other words than the endpoints do, so that a slip is seen."""
    needed = {endpoint.name: endpoint.role for endpoint in ENDPOINTS}
    assert {name for name, role in needed.items() if role is VidispineRole.FILE_READ} == {
        "list_files",
        "get_file",
        "download_file",
    }
    assert needed["list_importable_files"] is VidispineRole.STORAGE_READ
    assert {name for name, role in needed.items() if role is VidispineRole.IMPORT} == {
        "import_file",
        "import_package",
    }
    for endpoint in ENDPOINTS:
        if endpoint.method != "GET":
            assert Role.MONITOR not in ALLOWED[NEEDS[endpoint.role]], endpoint.name
        if "_storage_write" in endpoint.role:
            assert ALLOWED[NEEDS[endpoint.role]] == {Role.ADMIN}


def test_no_two_endpoints_are_one() -> None:
    assert len({endpoint.name for endpoint in ENDPOINTS}) == len(ENDPOINTS)
    every = [(endpoint.method, path) for endpoint in ENDPOINTS for path in endpoint.paths]
    assert len(set(every)) == len(every)
    for endpoint in ENDPOINTS:
        assert endpoint.summary.endswith("."), endpoint.name


def test_the_description_is_openapi() -> None:
    OpenAPIV31SpecValidator(openapi()).validate()


async def test_the_description_is_served(server: Served) -> None:
    async with Vidispine(server.port) as client:
        assert await client.json("GET", "/openapi.json") == openapi()


def test_the_page_describes_every_call_as_it_is() -> None:
    """After a change: .venv/bin/python -m scripts.vidispine_page"""
    text = vidispine_page.PAGE.read_text()
    assert vidispine_page.page(text) == text


def test_the_coverage_names_every_endpoint() -> None:
    text = Path(server.api.vidispine.__file__).with_name("COVERAGE.md").read_text()
    told = set(re.findall(r"`([a-z_]+)`", text))
    assert {endpoint.name for endpoint in ENDPOINTS} <= told


def test_the_coverage_names_tests_that_there_are() -> None:
    text = Path(server.api.vidispine.__file__).with_name("COVERAGE.md").read_text()
    told = set(re.findall(r"`(test_\w+)`", text))
    known: set[str] = set()
    for path in Path(__file__).parent.parent.rglob("test_*.py"):
        known |= set(re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE))
    assert len(told) > 40
    assert told <= known, told - known


async def test_what_is_given_without_a_value_is_as_if_it_were_not_given(
    server: Served, tmp_path: Path
) -> None:
    """Also a flag, a number and one of a few words; the document says so."""
    async with Vidispine(server.port) as admin:
        storage = await admin.make_storage(tmp_path)
        await admin.upload(storage, "a.dpx", b"frame")
        for path in ("/storage/importable", "/storage/file", f"/storage/{storage}/file", "/job"):
            described = openapi()["paths"][f"/API{path.replace(storage, '{storage}')}"]["get"]
            optional = [each for each in described["parameters"] if not each["required"]]
            assert optional
            said = [
                each.get("allowEmptyValue")
                for each in optional
                if each["schema"]["type"] in ("boolean", "integer") or "enum" in each["schema"]
            ]
            assert said
            assert all(said)
            names = [each["name"] for each in optional]
            given = await admin.json("GET", path)
            assert await admin.json("GET", path, **dict.fromkeys(names, "")) == given


async def test_who_is_asking(server: Served, core: Core) -> None:
    async with Vidispine(server.port) as admin:
        told = await admin.call("GET", "/whoami", accept=JSON)
        assert (told.text, told.headers["content-type"]) == ("admin\r\n", f"{TEXT};charset=UTF-8")
        assert (await admin.json("GET", "/version"))["component"][0]["name"] == "API"
        text = (await admin.call("GET", "/version", accept=TEXT)).text
        assert re.fullmatch(r"API\t[0-9.]+\r\n", text)
        token = (await admin.call("GET", "/token")).text.strip()
        as_wrangler = await admin.call("GET", "/whoami", headers={"RunAs": "wrangler"})
        assert as_wrangler.text == "wrangler\r\n"
        await admin.call("DELETE", "/storage/VX-1", headers={"RunAs": "monitor"}, status=403)
        await admin.call("GET", "/whoami", headers={"RunAs": "nobody"}, status=403)
    issued = await core.credentials.issue(await _actor(core, "wrangler"), "api-key", "script")
    key = (issued.credential.identifier, issued.secret)
    base = f"http://127.0.0.1:{server.port}/API/whoami"
    async with httpx.AsyncClient(timeout=120) as client:
        for scheme in ("token", "Bearer"):
            answer = await client.get(base, headers={"Authorization": f"{scheme} {token}"})
            assert answer.text == "admin\r\n"
        assert (await client.get(base, auth=key)).text == "wrangler\r\n"
        assert (await client.get(base, auth=(key[0], "wrong"))).status_code == 401
        for header in ("", "Basic", "Basic !!!", "Basic YQ==", "Digest a", "token " + "x" * 5000):
            refused = await client.get(base, headers={"Authorization": header, "Accept": TEXT})
            assert refused.status_code == 401
            assert refused.text.startswith("401 Not authorized\r\n")


async def _actor(core: Core, name: str) -> Any:  # noqa: ANN401
    return (await core.sessions.login(name, PASSWORD)).actor


async def test_a_suspended_user_is_out_at_once(server: Served, core: Core) -> None:
    """Also one whose password was checked a moment ago."""
    async with Vidispine(server.port, "wrangler") as wrangler:
        await wrangler.call("GET", "/whoami")
        await core.users.suspend(SYSTEM, "wrangler")
        await wrangler.call("GET", "/whoami", status=403)
        await core.users.restore(SYSTEM, "wrangler")
        await wrangler.call("GET", "/whoami")
        await core.users.set_password(SYSTEM, "wrangler", "another password")
        await wrangler.call("GET", "/whoami", status=401)


async def test_a_page_of_another_site_changes_nothing(server: Served) -> None:
    """Browsers add a password they know to any request, from whatever page it comes."""
    own = f"http://127.0.0.1:{server.port}"
    async with Vidispine(server.port) as admin:
        for headers in (
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site", "Origin": own},
        ):
            for accept in (JSON, XML, TEXT):
                await admin.call(
                    "DELETE", "/file/VX-1/entity", headers=headers, accept=accept, status=403
                )
        await admin.call("DELETE", "/file/VX-1/entity", headers={"Origin": own}, status=404)


async def test_failures_tell_nothing(
    server: Served,
    monkeypatch: pytest.MonkeyPatch,
    expect_logs: Any,  # noqa: ANN401
) -> None:
    async def fail(*given: object, **more: object) -> None:
        raise RuntimeError("/srv/secret/path")

    monkeypatch.setattr("server.core.catalog.Catalog.files", fail)
    expect_logs("/srv/secret/path")
    async with Vidispine(server.port) as admin:
        for accept in (JSON, XML, TEXT):
            answer = await admin.call("GET", "/storage/file", accept=accept, status=500)
            assert "secret" not in answer.text
            assert "Traceback" not in answer.text
        assert answer.text.startswith("500 The server failed to do it\r\n")


@pytest.mark.parametrize("accept", [XML, JSON, TEXT])
async def test_what_is_refused_on_its_way_is_told_in_the_same_form(
    server: Served, accept: str
) -> None:
    """A body that is too large, and a name that is not the server's, never reach the face."""
    credentials = base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
    head = (
        "POST /API/storage HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Accept: {accept}\r\nAuthorization: Basic {credentials}\r\n"
    )
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    for sent in (
        f"{head}Content-Length: 2000000\r\n\r\n".encode(),
        f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunk * 32 + b"0\r\n\r\n",
    ):
        status, headers, body = parse(await exchange(server.port, sent))
        assert status == 413
        check_fault(status, headers["content-type"], body.decode(), accept)
    async with Vidispine(server.port) as admin:
        elsewhere = {"Host": "elsewhere.example"}
        for path in ("/version", f"http://127.0.0.1:{server.port}/storage"):
            strange = await admin.call("GET", path, accept=accept, headers=elsewhere, status=400)
            check_fault(400, strange.headers["content-type"], strange.text, accept)
        other = f"http://127.0.0.1:{server.port}/pixmover/v1/whoami"
        told = await admin.call("GET", other, headers=elsewhere, status=400)
        assert told.json()["code"] == "unknown-host"


def check_fault(status: int, kind: str, body: str, accept: str) -> None:
    """An error document in the form that was asked for, with one fault."""
    assert kind.startswith(accept)
    if accept == JSON:
        assert [name for name, value in json.loads(body).items() if value] == ["invalidInput"]
    elif accept == XML:
        assert '<ExceptionDocument xmlns="http://xml.vidispine.com/schema/vidispine">' in body
        assert "<invalidInput><explanation>" in body
    else:
        assert body.startswith(f"{status} An invalid parameter was entered\r\nReason: ")
        assert body.endswith("\r\n")


async def test_a_body_that_does_not_come_is_no_failure_of_the_server(core: Core) -> None:
    """It was answered with 500, and logged as a failure."""
    await core.users.add(SYSTEM, "admin", Role.ADMIN, PASSWORD)
    credentials = base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
    head = (
        "POST /API/storage HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/plain\r\n"
        f"Authorization: Basic {credentials}\r\nContent-Length: 10\r\n\r\n{{"
    )
    app = build(core, LOOPBACK, limits=Limits(body_timeout_s=0.1))
    with trio.fail_after(120):
        async with (
            served(app) as server,
            await trio.open_tcp_stream("127.0.0.1", server.port) as stream,
        ):
            await stream.send_all(head.encode())
            answer = b""
            while b"Reason: " not in answer:
                answer += await stream.receive_some()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"\r\n\r\n408 An invalid parameter was entered\r\n" in answer


NASTY = (
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e%2fetc%2fpasswd",
    "%252e%252e%252fetc%252fpasswd",
    "..%5c..%5cetc",
    "%c0%ae%c0%ae%c0%afetc",
    "a%00b",
    "%2fetc%2fpasswd",
    "%2e",
    "%2e%2e",
    "a" * 5000,
    "CON",
    "%",
    "%zz",
    "a%2f..%2f..%2fb",
    "a%0d%0aX-Evil:%201",
    "%e2%80%ae",
)


async def test_nasty_paths_are_refused_politely(server: Served, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "passwd").write_text("canary")
    async with Vidispine(server.port) as admin:
        storage = await admin.make_storage(tmp_path / "one")
        for nasty in NASTY:
            for address in (
                f"/storage/{storage}/file/path/{nasty}",
                f"/storage/{storage}/file/path/{nasty}/data",
                f"/storage/file/uri/{nasty}",
                f"/storage/file/uri/file:%2F%2F{nasty}/data",
                f"/storage/{storage}/file/{nasty}",
                f"/storage/{nasty}",
                f"/file/{nasty}/data",
                f"/job/{nasty}",
            ):
                answer = await admin.call("GET", address, status=None)
                assert answer.status_code in (400, 404), (address, answer.status_code)
                assert "canary" not in answer.text
                assert str(tmp_path) not in answer.text
            for method, address in (
                ("POST", f"/storage/{storage}/file?path=/{nasty}"),
                ("POST", f"/storage/{storage}/file/data?path=/../{nasty}"),
                ("GET", f"/storage/{storage}/file?path={nasty}&wildcard=true"),
            ):
                answer = await admin.call(method, address, status=None)
                assert answer.status_code in (200, 400, 404), (address, answer.text)
        assert not any(path.is_file() for path in (tmp_path / "one").rglob("*"))


async def test_wildcards_take_no_time(server: Served, tmp_path: Path) -> None:
    """``*a*a*a*b`` made matchers that go back over and over again take for ever."""
    (tmp_path / "one").mkdir()
    async with Vidispine(server.port) as admin:
        storage = await admin.make_storage(tmp_path / "one")
        for number in range(20):
            await admin.json("POST", f"/storage/{storage}/file", path="a" * 200 + str(number))
        for pattern in ("*a" * 30 + "*b", "?" * 60 + "*b", "*" * 500 + "b"):
            for ignorecase in ("true", "false"):
                query = {"path": pattern, "wildcard": "true", "ignorecase": ignorecase}
                answer = await admin.json("GET", "/storage/file", **query)
                assert answer["hits"] == 0
        query = {"path": "?" * 200, "wildcard": "true"}
        await admin.call("GET", "/storage/file", status=400, **query)
