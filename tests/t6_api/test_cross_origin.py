"""Pages of other sites: the server tells their browsers nothing, and lets them change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from scripts import pixmover_page
from server.api.pixmover.routes import BASE
from server.api.pixmover.routes import ENDPOINTS as PIXMOVER
from server.api.vidispine.routes import ENDPOINTS as VIDISPINE
from server.core.permissions import SYSTEM
from tests.pixmover import PASSWORD, PixMover
from tests.t6_api.test_vidispine_contract import paths

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from server.core import Core
    from tests.serving import Served

EVIL = "https://evil.example"
OTHERS = (
    "/healthz",
    "/readyz",
    "/metrics",
    f"{BASE}/openapi.json",
    "/API/openapi.json",
    "/storage",
    "/no/such/path",
    "/",
)


def targets() -> list[tuple[str, str]]:
    """Every method of every path of every face."""
    found = [(each.method, pixmover_page.path_of(each)) for each in PIXMOVER]
    found += [(each.method, f"/API{path}") for each in VIDISPINE for path in paths(each)]
    return found + [("GET", path) for path in OTHERS]


@pytest.fixture
async def browser(server: Served) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody's browser that is logged in: it has the cookie, and adds the password."""
    async with PixMover(server.port) as logged_in:
        await logged_in.login("admin")
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{server.port}",
            auth=("admin", PASSWORD),
            cookies=logged_in.http.cookies,
            timeout=120,
        ) as client:
            # The first one with the password opens a session.
            assert (await client.get("/API/whoami")).status_code == 200
            yield client


def allowances(answer: httpx.Response) -> list[str]:
    return [name for name in answer.headers if name.startswith("access-control-")]


async def test_no_answer_lets_another_site_read_it(browser: httpx.AsyncClient) -> None:
    """Also where the request itself is answered, as those that only look are."""
    looked = 0
    for method, path in targets():
        for origin in (EVIL, "null", str(browser.base_url).rstrip("/")):
            answer = await browser.request(method, path, headers={"Origin": origin})
            assert allowances(answer) == [], (method, path, origin)
            looked += method == "GET" and answer.status_code == 200
    assert looked > 30


async def test_no_preflight_is_granted(browser: httpx.AsyncClient) -> None:
    for method, path in targets():
        asked = {
            "Origin": EVIL,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": "x-csrf-token, authorization, content-type",
        }
        answer = await browser.options(path, headers=asked)
        assert allowances(answer) == [], path
        assert answer.status_code in (404, 405), path


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": EVIL},
        {"Origin": "null"},
        {"Referer": f"{EVIL}/page"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
    ids=["origin", "opaque origin", "referer", "fetch metadata"],
)
async def test_no_change_is_made_for_another_site(
    core: Core, browser: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    before = await core.events.list(SYSTEM)
    changes = [(method, path) for method, path in targets() if method != "GET"]
    assert {method for method, _ in changes} == {"POST", "PUT", "DELETE"}
    for method, path in changes:
        form = {"name": "eve"} if path.startswith(BASE) else None
        answer = await browser.request(method, path, headers=headers, data=form)
        assert answer.status_code == 403, (method, path, answer.text)
    assert await core.events.list(SYSTEM) == before
