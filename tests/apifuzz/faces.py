"""A server with something in it, and somebody of each role logged in at each face."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

from tests.pixmover import PASSWORD
from tests.serve_command import WAIT_S, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.serve_command import Serve

__all__ = ["FACES", "ROLES", "Stage", "staged"]

ROLES = ("admin", "wrangler", "monitor")
# None that an example or a guess names.
_NAME = "of-schemathesis"
# What is asked for about any user that a list has told of, also about the one who asks.
_ENDING = r"users/\{user\}/(delete|suspend|password|role)"


@dataclass(frozen=True, slots=True)
class Stage:
    """A face of a running server.

    Attributes:
        url: of the face; its document is ``openapi.json`` there.
        headers: of each request of the user.
        settings: schemathesis' own, for what it has to know to leave the user out of a request.
        left_out: schemathesis' options that leave out what would end the user's session.
        last: those that ask for some of that at the end, when the user may go; () for none.
        check: fails unless the user still is who it was.
    """

    url: str
    headers: tuple[str, ...]
    settings: str
    left_out: tuple[str, ...]
    last: tuple[str, ...]
    check: Callable[[], None]


@contextmanager
def staged(face: str, role: str, directory: Path) -> Iterator[Stage]:
    """A server of its own; a line in its log that somebody must act on fails at the end."""
    (directory / "shows").mkdir()
    with serving(directory / "data") as server, httpx.Client(timeout=WAIT_S) as client:
        form = {"name": "admin", "password": server.password}
        client.post(f"{server.url}/login", data=form).raise_for_status()
        user = {"name": _NAME, "role": role, "password": PASSWORD}
        client.post(f"{server.url}/users", data=user).raise_for_status()
        stage = FACES[face](server, client, directory / "shows", (_NAME, PASSWORD))
        yield stage


def _pixmover(server: Serve, client: httpx.Client, shows: Path, user: tuple[str, str]) -> Stage:
    made = {"name": "nearline", "kind": "directory", "root": str(shows)}
    client.post(f"{server.url}/storages", data=made).raise_for_status()
    form = {"name": user[0], "password": user[1]}
    client.post(f"{server.url}/login", data=form).raise_for_status()

    def check() -> None:
        answer = client.get(f"{server.url}/whoami")
        assert answer.json().get("name") == user[0], answer.text

    return Stage(
        server.url,
        (),
        f'[auth.openapi.session]\napi_key = "{client.cookies["pixfs_session"]}"\n',
        ("--exclude-path-regex", f"/(login|logout|account/password|{_ENDING})$"),
        ("--include-path-regex", f"/({_ENDING})$"),
        check,
    )


def _vidispine(server: Serve, client: httpx.Client, shows: Path, user: tuple[str, str]) -> Stage:
    url = server.url.replace("/pixmover/v1", "/API")
    admin = ("admin", server.password)
    method = {"uri": shows.as_uri() + "/", "read": True, "write": True}
    made = client.post(f"{url}/storage", json={"type": "LOCAL", "method": [method]}, auth=admin)
    assert made.status_code == 200, made.text
    for name in ("a", "b", "c"):
        query = {"path": f"{name}.dpx"}
        client.post(f"{url}/storage/VX-1/file/data", params=query, content=b"x", auth=admin)

    def check() -> None:
        assert client.get(f"{url}/whoami", auth=user).text == f"{user[0]}\r\n"

    return Stage(
        url,
        (f"Authorization: token {client.get(f'{url}/token', auth=user).text.strip()}",),
        "",
        # A token is only given for a password.
        ("--exclude-operation-id-regex", "^get_token$"),
        (),
        check,
    )


FACES = {"pixmover": _pixmover, "vidispine": _vidispine}
"""By a face's name, what sets it up for a user."""
