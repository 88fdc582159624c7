"""Every whole number that PixMover takes: its least and its most, in the document and in fact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from scripts import pixmover_page
from server.api.contract import facts_of
from server.api.pixmover.routes import BASE, ENDPOINTS, openapi

if TYPE_CHECKING:
    import httpx

    from server.api.contract import Endpoint, FieldFacts
    from tests.pixmover import PixMover

NUMBERS = [
    (endpoint, facts)
    for endpoint in ENDPOINTS
    for facts in facts_of(endpoint.takes)
    if facts.kind is int
]
EXPECTED = {
    ("submit_job", "quiet_s"): (0, 3600),
    ("submit_job", "priority"): (0, 100),
    ("submit_job", "limit_bps"): (1, 2**50 - 1),
    ("list_jobs", "limit"): (1, 1000),
    ("list_jobs", "before"): (1, 10**15),
    ("list_job_files", "limit"): (1, 1000),
    ("list_job_files", "after"): (-1, 10**15),
    ("list_job_errors", "limit"): (1, 1000),
    ("list_job_errors", "after"): (-1, 10**15),
    ("prioritise_job", "priority"): (0, 100),
    ("set_worker_concurrency", "concurrency"): (1, 1024),
    ("set_throttle", "limit_bps"): (0, 2**50 - 1),
    ("list_folder", "offset"): (0, 10**15),
    ("list_folder", "limit"): (1, 1000),
    ("set_mail", "port"): (1, 65535),
    ("list_events", "before"): (1, 10**15),
    ("list_events", "limit"): (1, 1000),
}


def names(number: tuple[Endpoint[Any, Any], FieldFacts]) -> str:
    endpoint, facts = number
    return f"{endpoint.name}-{facts.name}"


def test_no_number_is_without_bounds() -> None:
    found = {(endpoint.name, facts.name): facts.bounds for endpoint, facts in NUMBERS}
    assert found == EXPECTED


@pytest.mark.parametrize("number", NUMBERS, ids=names)
def test_the_document_tells_the_bounds(number: tuple[Endpoint[Any, Any], FieldFacts]) -> None:
    endpoint, facts = number
    operation = openapi()["paths"][BASE + endpoint.path][endpoint.method.lower()]
    if endpoint.method == "GET":
        (schema,) = (p["schema"] for p in operation["parameters"] if p["name"] == facts.name)
    else:
        (content,) = operation["requestBody"]["content"].values()
        schema = content["schema"]["properties"][facts.name]
    schema = schema["anyOf"][0] if facts.has_none else schema
    least, most = EXPECTED[endpoint.name, facts.name]
    assert schema == {
        "type": "integer",
        "minimum": least,
        "maximum": most,
    } | {name: schema[name] for name in ("description", "examples") if name in schema}


@pytest.mark.parametrize("number", NUMBERS, ids=names)
async def test_a_number_out_of_bounds_is_refused_by_name(
    as_admin: PixMover, number: tuple[Endpoint[Any, Any], FieldFacts]
) -> None:
    endpoint, facts = number
    least, most = EXPECTED[endpoint.name, facts.name]
    beyond = [least - 1, most + 1, least - 10**6, 10**17, 10**30]
    for text in [*map(str, beyond), "", " 5", "5.0", "1e3", "+5", "0x10", "--5", "٥", "ten"]:
        answer = await call(as_admin, endpoint, facts, text)
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (400, "invalid-value"), text
        assert problem["field"] == facts.name
        assert f"a whole number from {least} to {most}" in problem["message"]
        assert problem["message"].endswith(", or none") == facts.has_none


@pytest.mark.parametrize("number", NUMBERS, ids=names)
async def test_a_number_at_its_bounds_is_taken(
    as_admin: PixMover, number: tuple[Endpoint[Any, Any], FieldFacts]
) -> None:
    """The call may be refused for something else: there is no such job, storage or worker here."""
    endpoint, facts = number
    for text in [*map(str, EXPECTED[endpoint.name, facts.name]), *["none"] * facts.has_none]:
        answer = await call(as_admin, endpoint, facts, text)
        assert answer.status_code in (200, 400, 404), answer.text
        assert answer.json().get("field") != facts.name, text


async def call(
    client: PixMover, endpoint: Endpoint[Any, Any], facts: FieldFacts, text: str
) -> httpx.Response:
    """The endpoint's own example, with one number exchanged."""
    path = pixmover_page.path_of(endpoint).removeprefix(BASE)
    fields: dict[str, Any] = {}
    for name, example in pixmover_page.fields_of(endpoint):
        fields.setdefault(name, []).append(example)
    fields[facts.name] = [text]
    if endpoint.method == "GET":
        return await client.http.get(path, params=fields)
    return await client.http.request(endpoint.method, path, data=fields)
