"""``pixfs serve`` killed in the middle of uploads: nothing half is ever seen, pieces go on."""

from __future__ import annotations

import socket
import time
from base64 import b64encode
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import httpx
import pytest

from tests.serve_command import WAIT_S, serving

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.serve_command import Serve

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# Half a piece is more than the server gathers before it writes.
CONTENT = bytes(range(256)) * (12 << 12)
PIECE = len(CONTENT) // 3


class Place:
    """A storage of a server that comes and goes."""

    def __init__(self, base: Path) -> None:
        self.root, self.data = base / "files", base / "data"
        self.root.mkdir()
        self.password = ""
        self.storage = ""

    def begin(self, server: Serve) -> None:
        """The storage, on the first server."""
        self.password = server.password
        method = {"uri": self.root.as_uri() + "/", "read": True, "write": True, "browse": True}
        with self.client(server) as client:
            answer = client.post("/storage", json={"type": "LOCAL", "method": [method]})
            self.storage = answer.raise_for_status().json()["id"]

    def client(self, server: Serve) -> httpx.Client:
        url = server.url.removesuffix("/pixmover/v1") + "/API"
        return httpx.Client(
            base_url=url,
            auth=("admin", self.password),
            headers={"Accept": "application/json"},
            timeout=WAIT_S,
        )

    def listed(self, server: Serve) -> list[str]:
        with self.client(server) as client:
            found = client.get("/storage/file", params={"number": 1000}).raise_for_status().json()
        return [file["path"] for file in found["file"]]

    def visible(self) -> list[str]:
        return sorted(path.name for path in self.root.rglob("*") if not is_hidden(path))

    def hidden(self) -> list[Path]:
        return [path for path in self.root.rglob("*") if is_hidden(path)]

    def begin_body(
        self, server: Serve, sent: int, path: str, query: str = "", headers: str = "", size: int = 0
    ) -> socket.socket:
        """A request whose body stops after so many bytes, when those have arrived on the disk."""
        account = b64encode(f"admin:{self.password}".encode()).decode()
        size = size or len(CONTENT)
        head = (
            f"POST /API/storage/{self.storage}/file/data?path={quote(path)}{query} HTTP/1.1\r\n"
            f"Host: localhost\r\nAuthorization: Basic {account}\r\n{headers}"
            f"Content-Type: application/octet-stream\r\nContent-Length: {size}\r\n\r\n"
        )
        connection = socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0))
        connection.sendall(head.encode() + CONTENT[:sent])
        return connection


def is_hidden(path: Path) -> bool:
    return "pixfs-part" in path.name


def until(is_so: Callable[[], bool]) -> None:
    """Returns when something has come true."""
    end = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < end
        # Gives the processor to the server that is waited for.
        time.sleep(0.02)


def test_a_whole_upload_that_is_cut_off_by_a_kill_was_never_there(tmp_path: Path) -> None:
    place = Place(tmp_path)
    for round_, sent in enumerate((1 << 16, len(CONTENT) // 2, len(CONTENT) - 1)):
        with serving(place.data, is_killed=True) as server:
            if not place.storage:
                place.begin(server)
            # What the kill before this one has left is cleared away.
            until(lambda: not place.hidden())
            assert place.listed(server) == []
            assert place.visible() == []
            with place.begin_body(server, sent, f"cut{round_}.dpx"):
                until(lambda: bool(place.hidden()))
                assert place.listed(server) == []
                assert place.visible() == []
                server.process.kill()
                server.process.wait()
        assert len(place.hidden()) == 1
    with serving(place.data) as server:
        until(lambda: not place.hidden())
        assert place.listed(server) == []
        assert place.visible() == []
        with place.client(server) as client:
            url = f"/storage/{place.storage}/file/data"
            client.post(url, params={"path": "cut0.dpx"}, content=CONTENT).raise_for_status()
        assert place.listed(server) == place.visible() == ["cut0.dpx"]
    assert (place.root / "cut0.dpx").read_bytes() == CONTENT


def test_pieces_go_on_behind_a_kill(tmp_path: Path) -> None:
    place = Place(tmp_path)

    def send(server: Serve, number: int) -> httpx.Response:
        start = number * PIECE
        with place.client(server) as client:
            return client.post(
                f"/storage/{place.storage}/file/data",
                params={"path": "whole.dpx", "transferId": "t-1"},
                headers={"index": str(start), "size": str(len(CONTENT))},
                content=CONTENT[start : start + PIECE],
            ).raise_for_status()

    with serving(place.data, is_killed=True) as server:
        place.begin(server)
        assert send(server, 2).content == b""
        headers = f"index: 0\r\nsize: {len(CONTENT)}\r\n"
        with place.begin_body(
            server, PIECE // 2, "whole.dpx", "&transferId=t-1", headers, size=PIECE
        ):
            begun = CONTENT[:256]
            until(lambda: any(path.read_bytes().startswith(begun) for path in place.hidden()))
            server.process.kill()
            server.process.wait()
    for number in (1, 0):
        with serving(place.data, is_killed=True) as server:
            assert place.listed(server) == []
            assert place.visible() == []
            answer = send(server, number)
    # The last server was killed right behind its answer.
    assert answer.json()["size"] == len(CONTENT)
    with serving(place.data) as server:
        assert place.listed(server) == place.visible() == ["whole.dpx"]
        assert place.hidden() == []
    assert (place.root / "whole.dpx").read_bytes() == CONTENT
