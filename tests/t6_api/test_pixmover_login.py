"""Who gets in, for how long, and what a stranger, a thief or a foreign page can do about it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from server.core.sessions import csrf_token
from tests.pixmover import PASSWORD, PixMover

if TYPE_CHECKING:
    import httpx

    from server.core import Core
    from tests.serving import Served

COOKIE = "pixfs_session"


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_login_opens_a_session_and_logout_ends_it(server: Served) -> None:
    async with PixMover(server.port) as client:
        who = await client.login("wrangler")
        assert (who["name"], who["role"]) == ("wrangler", "wrangler")
        assert "run-jobs" in who["actions"]
        assert "manage-users" not in who["actions"]
        token = client.http.cookies[COOKIE]
        assert (await client.get("/whoami")).json() == who
        assert (await client.post("/logout")).json() == {}
        assert COOKIE not in client.http.cookies
        client.http.cookies.set(COOKIE, token)
        assert code(await client.get("/whoami")) == (401, "not-logged-in")


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(server: Served) -> None:
    async with PixMover(server.port) as client:
        answer = await client.post("/login", name="admin", password=PASSWORD)
    flags = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")[1:]}
    assert flags == {"httponly", "path=/", "samesite=lax"}
    assert answer.headers["cache-control"] == "no-store"


async def test_a_session_planted_before_the_login_is_worth_nothing(server: Served) -> None:
    async with PixMover(server.port) as client:
        client.http.cookies.set(COOKIE, "planted-by-an-attacker", domain="127.0.0.1")
        await client.login("admin")
        tokens = [cookie.value for cookie in client.http.cookies.jar]
    assert tokens[-1] != "planted-by-an-attacker"
    async with PixMover(server.port) as attacker:
        attacker.http.cookies.set(COOKIE, "planted-by-an-attacker")
        assert code(await attacker.get("/whoami")) == (401, "not-logged-in")


async def test_wrong_name_and_wrong_password_are_told_alike(server: Served) -> None:
    async with PixMover(server.port) as client:
        wrong = [
            await client.post("/login", name="admin", password="not the password"),
            await client.post("/login", name="nobody", password="not the password"),
        ]
    bodies = [answer.json() for answer in wrong]
    for body in bodies:
        del body["request_id"]
    assert [answer.status_code for answer in wrong] == [401, 401]
    assert bodies[0] == bodies[1]
    assert all("set-cookie" not in answer.headers for answer in wrong)


async def test_too_many_failures_refuse_even_the_right_password(server: Served) -> None:
    async with PixMover(server.port) as client:
        for _ in range(5):
            answer = await client.post("/login", name="admin", password="a wrong password")
            assert code(answer) == (401, "bad-credentials")
        locked = await client.post("/login", name="admin", password=PASSWORD)
        assert code(locked) == (429, "too-many-attempts")
        assert 0 < int(locked.headers["retry-after"]) <= 15 * 60
        # Another account is not locked by it.
        await client.login("wrangler")


async def test_a_page_of_another_site_cannot_act_for_its_visitor(
    server: Served, as_admin: PixMover
) -> None:
    token = csrf_token(as_admin.http.cookies[COOKIE])
    own = f"http://127.0.0.1:{server.port}"
    form = {"full_name": "Ada"}
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": f"{own}0"},
        {"Origin": own.replace("http:", "https:")},
        {"Referer": "https://evil.example/page", "X-CSRF-Token": token},
        {"Sec-Fetch-Site": "cross-site", "X-CSRF-Token": token},
        {"Sec-Fetch-Site": "same-site", "Origin": own, "X-CSRF-Token": token},
        {"Origin": own},
        {"Origin": own, "X-CSRF-Token": "0" * 64},
    ):
        answer = await as_admin.http.put("/account", data=form, headers=headers)
        assert code(answer) == (403, "cross-site"), headers
    assert (await as_admin.get("/account")).json()["full_name"] == ""
    # This server's own page, by header and by field, and a script that is no page.
    for headers, fields in (
        ({"Origin": own, "X-CSRF-Token": token}, form),
        (
            {"Referer": f"{own}/users", "Sec-Fetch-Site": "same-origin"},
            form | {"csrf_token": token},
        ),
        ({}, form),
    ):
        answer = await as_admin.http.put("/account", data=fields, headers=headers)
        assert answer.status_code == 200, headers


async def test_a_login_cannot_be_forced_from_another_site(server: Served) -> None:
    async with PixMover(server.port) as client:
        answer = await client.http.post(
            "/login",
            data={"name": "admin", "password": PASSWORD},
            headers={"Origin": "https://evil.example"},
        )
    assert code(answer) == (403, "cross-site")
    assert "set-cookie" not in answer.headers


async def test_a_page_logs_in_again_after_its_session_has_ended(server: Served) -> None:
    """The old cookie is out of the page's reach, and so is the token that belongs to it."""
    async with PixMover(server.port) as client:
        client.http.cookies.set(COOKIE, "of-a-session-that-has-ended", domain="127.0.0.1")
        answer = await client.http.post(
            "/login",
            data={"name": "admin", "password": PASSWORD},
            headers={"Origin": f"http://127.0.0.1:{server.port}", "Sec-Fetch-Site": "same-origin"},
        )
    assert answer.status_code == 200


async def test_a_token_that_is_no_text_is_refused(as_admin: PixMover) -> None:
    own = {"Sec-Fetch-Site": "same-origin"}
    body = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await as_admin.http.post("/logout", content=b"csrf_token=%ff", headers=own | body)
    assert code(answer) == (403, "cross-site")


async def test_a_changed_password_ends_the_other_sessions_at_once(server: Served) -> None:
    async with PixMover(server.port) as here, PixMover(server.port) as there:
        await here.login("monitor")
        await there.login("monitor")
        answer = await here.put("/account/password", current=PASSWORD, password="another secret")
        assert answer.status_code == 200
        assert (await here.get("/whoami")).status_code == 200
        assert code(await there.get("/whoami")) == (401, "not-logged-in")
        await there.login("monitor", "another secret")


async def test_the_current_password_is_needed_to_change_it(as_wrangler: PixMover) -> None:
    for _ in range(4):
        answer = await as_wrangler.put(
            "/account/password", current="a wrong password", password="another secret"
        )
        assert code(answer) == (401, "bad-credentials")


@pytest.mark.parametrize(
    ("action", "form"),
    [
        ("suspend", {}),
        ("delete", {}),
        ("role", {"role": "monitor"}),
        ("password", {"password": "another secret"}),
    ],
)
async def test_what_an_admin_takes_away_is_gone_from_the_next_request_on(
    as_admin: PixMover, as_wrangler: PixMover, action: str, form: dict[str, str]
) -> None:
    change = as_admin.put if form else as_admin.post
    assert (await change(f"/users/wrangler/{action}", **form)).status_code == 200
    assert code(await as_wrangler.get("/whoami")) == (401, "not-logged-in")


async def test_a_suspended_user_is_told_so_only_with_the_right_password(
    as_admin: PixMover, server: Served
) -> None:
    await as_admin.post("/users/wrangler/suspend")
    async with PixMover(server.port) as client:
        right = await client.post("/login", name="wrangler", password=PASSWORD)
        wrong = await client.post("/login", name="wrangler", password="a wrong password")
        assert code(right) == (403, "account-suspended")
        assert code(wrong) == (401, "bad-credentials")
        await as_admin.post("/users/wrangler/restore")
        await client.login("wrangler")


async def test_a_token_is_kept_as_a_hash_only(core: Core, as_admin: PixMover) -> None:
    token = as_admin.http.cookies[COOKIE]
    stored = database_bytes(core)
    assert b"session.opened" in stored
    assert token.encode() not in stored
    assert PASSWORD.encode() not in stored


def database_bytes(core: Core) -> bytes:
    """Everything SQLite has written so far."""
    name = core.database.url.database
    assert name is not None
    return b"".join(Path(name + suffix).read_bytes() for suffix in ("", "-wal"))
