"""``pixfs serve`` and ``pixfs user`` as an operator runs them."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

WAIT_S = 60
PIXFS = (sys.executable, "-m", "pixfs.cli")
SECRET = "correct horse battery"


class Serve:
    """A running ``pixfs serve``; ``said`` is what it printed until it was ready."""

    def __init__(self, data: Path, *options: str) -> None:
        command = [*PIXFS, "serve", "--data", str(data), "--bind", "127.0.0.1:0", *options]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.said = ""

    def wait_ready(self) -> None:
        """Return when it answers requests."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line
            if line.startswith("serving on "):
                return
        pytest.fail(f"it ended instead of coming up: {self.process.communicate()[1]}")

    @property
    def url(self) -> str:
        """Where its PixMover interface is."""
        found = re.search(r"serving on (http://127\.0\.0\.1:\d+/)", self.said)
        assert found
        return f"{found[1]}pixmover/v1"

    @property
    def password(self) -> str:
        """The password that a first start tells."""
        found = re.search(r"log in as admin with the password (\S+)", self.said)
        assert found
        return found[1]

    def login(self, name: str, password: str) -> int:
        """The status of a login."""
        form = {"name": name, "password": password}
        return httpx.post(f"{self.url}/login", data=form, timeout=WAIT_S).status_code


@contextmanager
def serving(data: Path, *options: str, is_killed: bool = False) -> Iterator[Serve]:
    """A server that is stopped, and must stop well, or is killed, at the end of the block."""
    running = Serve(data, *options)
    try:
        running.wait_ready()
        yield running
        if is_killed:
            return
        running.process.send_signal(signal.SIGTERM)
        _, errors = running.process.communicate(timeout=WAIT_S)
        assert (running.process.returncode, errors) == (0, "")
    finally:
        running.process.kill()
        running.process.communicate()


def pixfs_user(data: Path, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PIXFS, "user", "--data", str(data), *arguments],
        input=given,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )


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
