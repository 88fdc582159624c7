"""Every call at once: who may make it, that its example works, that its description is true."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from scripts import pixmover_page
from server.api.pixmover.errors import CROSS_SITE, NOT_A_FORM, STATUS
from server.api.pixmover.routes import BASE, ENDPOINTS, openapi
from server.core import errors
from server.core.jobs.workers import Seen, note_seen
from server.core.permissions import ALLOWED, SYSTEM, Role
from server.problems import BODY_TOO_LARGE
from tests.pixmover import PASSWORD, PixMover

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from server.api.contract import Endpoint
    from server.core import Core
    from tests.serving import Served

AREAS_OF_ADMINS = {"Admin control", "System settings", "Workers", "Bandwidth throttling"}
WHOSE = [None, *Role]


async def call(client: PixMover, endpoint: Endpoint[Any, Any]) -> httpx.Response:
    """The endpoint's own example."""
    path = pixmover_page.path_of(endpoint).removeprefix(BASE)
    fields: dict[str, Any] = {}
    for name, text in pixmover_page.fields_of(endpoint):
        fields.setdefault(name, []).append(text)
    if endpoint.method == "GET":
        return await client.http.get(path, params=fields)
    return await client.http.request(endpoint.method, path, data=fields)


@pytest.mark.parametrize("role", WHOSE)
async def test_a_role_may_do_what_the_table_says_and_nothing_else(
    core: Core, server: Served, role: Role | None
) -> None:
    """Every endpoint's example: refused ones must not have left an event behind."""
    async with PixMover(server.port) as client:
        for endpoint in ENDPOINTS:
            if role is not None and (await client.get("/whoami")).status_code == 401:
                await client.login(role.value)
            before = await core.events.list(SYSTEM)
            answer = await call(client, endpoint)
            refused = (answer.status_code, answer.json().get("code"))
            if endpoint.needs is None:
                assert refused == (401, "bad-credentials")
            elif role is None:
                assert refused == (401, "not-logged-in"), endpoint.name
                assert await core.events.list(SYSTEM) == before
            elif role in ALLOWED[endpoint.needs]:
                assert refused[0] not in (403, 405, 415, 500), f"{endpoint.name}: {answer.text}"
                assert refused[1] not in ("not-logged-in", "not-allowed"), endpoint.name
            else:
                assert refused == (403, "not-allowed"), endpoint.name
                assert await core.events.list(SYSTEM) == before


def test_a_monitor_changes_nothing_but_the_own_account() -> None:
    """Said again and in other words than the table, so that a slip in it is seen."""
    changes = {e.area for e in ENDPOINTS if e.changes and e.needs and allows(Role.MONITOR, e)}
    assert changes == {"Login", "User settings"}
    assert all(allows(Role.ADMIN, e) for e in ENDPOINTS)
    for endpoint in ENDPOINTS:
        if endpoint.area in AREAS_OF_ADMINS or (endpoint.changes and "/storages" in endpoint.path):
            assert not allows(Role.WRANGLER, endpoint), endpoint.name
        else:
            assert allows(Role.WRANGLER, endpoint), endpoint.name
    assert [e.name for e in ENDPOINTS if e.needs is None] == ["login"]


def allows(role: Role, endpoint: Endpoint[Any, Any]) -> bool:
    return endpoint.needs is None or role in ALLOWED[endpoint.needs]


def test_methods_are_get_put_and_post_only() -> None:
    assert {endpoint.method for endpoint in ENDPOINTS} == {"GET", "PUT", "POST"}
    assert len({(e.method, e.path) for e in ENDPOINTS}) == len(ENDPOINTS)
    assert len({e.name for e in ENDPOINTS}) == len(ENDPOINTS)


async def test_the_examples_work_and_answer_as_described(
    core: Core, server: Served, as_admin: PixMover, tmp_path: Path
) -> None:
    """The page's calls one after the other, as an administrator would try them out."""
    described = openapi()
    folder = tmp_path / "nearline" / "shows/dune/sh010"
    folder.mkdir(parents=True)
    for number in range(1001, 1005):
        (folder / f"bg.{number}.dpx").write_bytes(b"not a frame")
    worker = Seen("local@render-01", "local", 8, 0.5)
    await core.database.write(note_seen, [worker], core.clock())
    used = set()
    for endpoint in sorted(ENDPOINTS, key=order):
        if endpoint.name in NEED_A_SERVER:
            continue
        answer = await call_adapted(as_admin, endpoint, str(tmp_path / "nearline"))
        assert answer.status_code == 200, f"{endpoint.name}: {answer.text}"
        operation = described["paths"][BASE + endpoint.path]
        schema = operation[endpoint.method.lower()]["responses"]["200"]
        check(answer.json(), schema["content"]["application/json"]["schema"], described)
        used.add(endpoint.name)
    assert used == {endpoint.name for endpoint in ENDPOINTS} - NEED_A_SERVER


# Tried out in test_pixmover_settings.py, each with the server it talks to.
NEED_A_SERVER = {"try_mail", "try_endpoint"}
# Whatever makes something stands before what needs it, whatever ends it last.
ENDS = (
    "remove_folder",
    "change_storage",
    "remove_storage",
    "remove_endpoint",
    "delete_user",
    "change_password",
    "logout",
    "login",
)
MAKES = ("add_storage", "add_user", "add_endpoint", "make_folder", "submit_job", "set_throttle")
CONTROLS = (
    "pause_job",
    "resume_job",
    "cancel_job",
    "retry_job",
    "remove_throttle",
    "forget_worker",
)


def order(endpoint: Endpoint[Any, Any]) -> tuple[int, int]:
    if endpoint.name in MAKES:
        return (0, MAKES.index(endpoint.name))
    if endpoint.name == "rename_file":
        return (1, 0)
    if endpoint.name in CONTROLS:
        return (3, CONTROLS.index(endpoint.name))
    return (4, ENDS.index(endpoint.name)) if endpoint.name in ENDS else (2, 0)


async def call_adapted(client: PixMover, endpoint: Endpoint[Any, Any], root: str) -> httpx.Response:
    """The example, with the few values that are of this very server."""
    if endpoint.name == "add_storage":
        return await client.post("/storages", name="nearline", kind="directory", root=root)
    if endpoint.name == "submit_job":
        form = {"kind": "copy", "source": "nearline", "target": "nearline", "destination": "x"}
        return await client.post("/jobs", sources="shows/dune", **form)
    if "{job}" in endpoint.path:
        path = endpoint.path.format(job=1)
        if endpoint.method == "GET":
            return await client.get(path)
        if endpoint.method == "PUT":
            return await client.put(path, priority="80")
        return await client.post(path)
    if endpoint.name == "remove_throttle":
        return await client.post("/throttles/1/remove")
    if endpoint.name == "remove_folder":
        return await client.post("/folders/remove", storage="nearline", path="shows/dune/sh030")
    if endpoint.name == "remove_storage":
        # As long as its job is open it stays.
        await client.post("/jobs/1/cancel")
        return await client.post("/storages/nearline-2/remove")
    if endpoint.name == "change_password":
        return await client.put("/account/password", current=PASSWORD, password="a new secret")
    if endpoint.name == "login":
        return await client.post("/login", name="admin", password="a new secret")
    return await call(client, endpoint)


def check(body: object, schema: dict[str, Any], described: dict[str, Any]) -> None:
    """Hold an answer against its schema; every description forbids fields it does not name."""
    whole = schema | {"components": described["components"]}
    jsonschema.Draft202012Validator(whole).validate(body)


def test_the_description_is_openapi() -> None:
    OpenAPIV31SpecValidator(openapi()).validate()


async def test_the_description_is_served(server: Served) -> None:
    async with PixMover(server.port) as client:
        assert (await client.get("/openapi.json")).json() == openapi()


def test_the_page_describes_every_call_as_it_is() -> None:
    """After a change: .venv/bin/python -m scripts.pixmover_page"""
    text = pixmover_page.PAGE.read_text()
    assert pixmover_page.page(text) == text


def test_every_refusal_is_on_the_page() -> None:
    text = pixmover_page.PAGE.read_text()
    told = set(re.findall(r"^\| (\d{3}) \| `([a-z-]+)` \|", text, re.MULTILINE))
    ours = {(str(status), kind.code) for kind, status in STATUS.items()}
    ours |= {(str(p.status), p.code) for p in (CROSS_SITE, NOT_A_FORM, BODY_TOO_LARGE)}
    assert told == ours


def test_the_description_of_what_is_sent_is_what_can_be_sent() -> None:
    """A form has no null, and what has a number for a name is no text."""
    sent = []
    for path, operations in openapi()["paths"].items():
        for operation in operations.values():
            sent.append([each["schema"] for each in operation["parameters"]])
            sent.append(operation.get("requestBody", {}))
            for each in operation["parameters"]:
                is_number = each["name"] in ("job", "throttle")
                if each["in"] == "path":
                    assert (each["schema"]["type"] == "integer") is is_number, path
    assert '"null"' not in json.dumps(sent)
    assert '"none"' in json.dumps(sent)


def test_every_error_of_the_core_has_a_status() -> None:
    def leaves(kind: type[errors.CoreError]) -> list[type[errors.CoreError]]:
        return [kind, *(leaf for child in kind.__subclasses__() for leaf in leaves(child))]

    known = {kind for kind in leaves(errors.CoreError) if kind.__module__ == errors.__name__}
    assert known - {errors.CoreError} == set(STATUS)
