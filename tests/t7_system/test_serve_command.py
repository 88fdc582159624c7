"""``pixfs serve`` and ``pixfs user`` as an operator runs them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.serve_command import WAIT_S, Serve, pixfs_user, serving

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

SECRET = "correct horse battery"


def test_the_first_start_tells_the_password_and_no_other_does(tmp_path: Path) -> None:
    with serving(tmp_path) as first:
        password = first.password
        assert first.login("admin", password) == 200
        assert first.login("admin", "not the password") == 401
    with serving(tmp_path) as second:
        assert "password" not in second.said
        assert second.login("admin", password) == 200


def test_users_are_managed_while_the_server_runs(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        added = pixfs_user(
            tmp_path, "add", "ada", "--role", "wrangler", "--password-stdin", given=SECRET + "\n"
        )
        assert (added.returncode, added.stdout) == (0, "the password of ada is set\n")
        assert SECRET not in added.stdout + added.stderr
        assert server.login("ada", SECRET) == 200
        changed = pixfs_user(tmp_path, "passwd", "ada")
        (password,) = re.findall(r"the password of ada is (\S+) and", changed.stdout)
        assert server.login("ada", SECRET) == 401
        assert server.login("ada", password) == 200
        for _ in range(6):
            status = server.login("ada", "not the password")
        assert status == 429
        assert pixfs_user(tmp_path, "unlock", "ada").stdout.startswith("5 failed logins")
        assert server.login("ada", password) == 200
        listed = pixfs_user(tmp_path, "list").stdout.splitlines()
        assert [line.split()[:3] for line in listed[1:]] == [
            ["ada", "wrangler", "active"],
            ["admin", "admin", "active"],
        ]


@pytest.mark.parametrize(
    ("arguments", "given", "status", "says"),
    [
        (("add", "eve", "--role", "god"), "", 2, "invalid choice"),
        (("add", "eve", "--role", "admin", "--password-stdin"), "short\n", 2, "10 to 256"),
        (("add", "e v e", "--role", "admin"), "", 2, "letters a-z"),
        (("passwd", "nobody"), "", 2, "there is no such user"),
        (("unlock", "nobody"), "", 2, "there is no such user"),
    ],
)
def test_what_cannot_be_done_to_a_user_says_why(
    tmp_path: Path, arguments: tuple[str, ...], given: str, status: int, says: str
) -> None:
    done = pixfs_user(tmp_path, *arguments, given=given)
    assert done.returncode == status
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_server_on_the_same_data_is_refused(tmp_path: Path) -> None:
    with serving(tmp_path):
        second = Serve(tmp_path)
        _, errors = second.process.communicate(timeout=WAIT_S)
        assert second.process.returncode == 1
        assert "another pixfs serve is using" in errors


def test_a_file_configures_the_server_and_a_wrong_one_stops_it(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text("[requests]\nmax_body_bytes = 100\n")
    with serving(tmp_path / "data", "--config", str(file)) as server:
        assert server.login("admin", "x" * 200) == 413
    file.write_text("[requests]\nmax_body = 100\n")
    wrong = Serve(tmp_path / "data", "--config", str(file))
    _, errors = wrong.process.communicate(timeout=WAIT_S)
    assert wrong.process.returncode == 2
    assert "unknown key 'requests.max_body'" in errors


def test_a_killed_server_has_lost_nothing_it_answered(tmp_path: Path) -> None:
    names = [f"user{number}" for number in range(5)]
    with serving(tmp_path, is_killed=True) as server:
        password = server.password
        with httpx.Client(base_url=server.url, timeout=WAIT_S) as client:
            client.post("/login", data={"name": "admin", "password": password})
            for name in names:
                form = {"name": name, "role": "monitor", "password": SECRET}
                assert client.post("/users", data=form).status_code == 200
    with serving(tmp_path) as server:
        assert server.login(names[-1], SECRET) == 200
        assert server.login("admin", password) == 200
    assert set(names) <= set(pixfs_user(tmp_path, "list").stdout.split())
