"""Paths of folders, files and jobs that try to leave a storage, with the system calls of a real
server and its workers looked at."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import httpx
import pytest

from tests.hostile import SECRET, escaped_paths, escapes, plant
from tests.serve_command import WAIT_S, serving
from tests.tracing import OPENS, opened_in, traced

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")
# The storage itself and links as such, which may well be taken away: at the end.
_OWN = (".", "out", "file")
_PATTERNS = (
    "out/*",
    "../outside/*",
    "**/secret",
    "*/../../outside/*",
    "[.][.]/outside/secret",
    "??/outside/secret",
    "out/secret.[1-3].dpx",
    "../outside/%04d.dpx",
)


class Face:
    """The PixMover face as somebody uses it who looks for ways out."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self._jobs: list[int] = []

    def add_storage(self, name: str, root: Path) -> None:
        made = self._client.post(
            "/storages", data={"name": name, "kind": "directory", "root": str(root)}
        )
        assert made.status_code == 200, made.text

    def ask(self, method: str, path: str, escaped: str, /, **more: str) -> httpx.Response:
        """A request with fields that stand there as they are; it must not fail, nor tell."""
        fields = "&".join([escaped, urlencode(more)])
        if method == "GET":
            answer = self._client.get(f"{path}?{fields}")
        else:
            answer = self._client.post(path, content=fields, headers=FORM)
        assert answer.status_code < 500 or answer.status_code == 503, (path, fields, answer.text)
        assert SECRET not in answer.content, (path, fields)
        return answer

    def submit(self, escaped: str, /, **more: str) -> None:
        answer = self.ask("POST", "/jobs", escaped, quiet_s="0", **more)
        if answer.status_code == 200:
            self._jobs.append(answer.json()["id"])

    def until_ended(self) -> int:
        """Waits for every job; how many there were."""
        deadline = time.monotonic() + WAIT_S
        for job in self._jobs:
            while (found := self._client.get(f"/jobs/{job}").json())["state"] not in ENDED:
                assert time.monotonic() < deadline, found
                time.sleep(0.05)
        return len(self._jobs)


def _try_requests(face: Face, path: str, spare: Path) -> None:
    spare.touch()  # The one before may have got another name, which is none of ours.
    face.ask("GET", "/folders", f"path={path}", storage="one")
    face.ask("GET", "/files", f"path={path}", storage="one")
    face.ask("POST", "/folders", f"path={path}%2Fmade", storage="one")
    face.ask("POST", "/folders/remove", f"path={path}", storage="one")
    if path not in _OWN:
        face.ask("POST", "/files/rename", f"path={path}", storage="one", new_path="a/taken")
    face.ask("POST", "/files/rename", f"new_path={path}%2Fin", storage="one", path="a/spare")


def _try_jobs(face: Face, path: str) -> None:
    for kind in ("copy", "move", "verify", "compress", "restore", "delete"):
        if path in _OWN and kind in ("move", "delete"):
            continue
        more = {"target": "two", "destination": "got"} if kind in ("copy", "move") else {}
        face.submit(f"sources={path}", kind=kind, source="one", **more)
    # "out/in" and what else a destination makes of it must not come to be outside.
    face.submit(
        f"destination={path}", kind="copy", source="one", sources="a/in", target="two",
        overwrite="replace",
    )  # fmt: skip


def _contents(*roots: Path) -> Iterator[bytes]:
    for root in roots:
        for path in root.rglob("*"):
            if path.is_file() and not path.is_symlink():
                yield path.read_bytes()


def test_no_request_and_no_job_opens_anything_outside_its_storages(tmp_path: Path) -> None:
    one, two, log = tmp_path / "one", tmp_path / "two", tmp_path / "calls"
    plant(one, tmp_path / "outside")
    plant(two, tmp_path / "beyond")
    (one / "a" / "in").write_bytes(b"inside")
    with (
        serving(tmp_path / "data") as running,
        httpx.Client(base_url=running.url, timeout=WAIT_S) as client,
    ):
        form = {"name": "admin", "password": running.password}
        client.post("/login", data=form).raise_for_status()
        face = Face(client)
        face.add_storage("one", one)
        face.add_storage("two", two)
        # Whatever a first job of a kind loads is loaded before it counts.
        face.submit("sources=a", kind="copy", source="one", target="two", destination="first")
        face.submit("sources=a", kind="verify", source="one")
        face.until_ended()
        with traced(running.process.pid, log, OPENS):
            for path in escaped_paths(tmp_path / "outside"):
                _try_requests(face, path, one / "a" / "spare")
                _try_jobs(face, path)
            for pattern in _PATTERNS:
                _try_jobs(face, urlencode({"": pattern})[1:])
            # Links that lead out are not taken along; those to other links are.
            face.submit("sources=.", kind="copy", source="one", target="two", destination="all")
            assert face.until_ended() > 100
            for link in ("all/out", "all/relative", "all/proc/tmp", "all/chain1"):
                face.submit(
                    "sources=a/in", kind="copy", source="one", target="two", destination=link
                )
            face.until_ended()
            face.submit("sources=out", kind="delete", source="one")
            face.submit("sources=file", kind="move", source="one", target="two", destination="all")
            face.until_ended()
    opened = opened_in(log)
    assert f"{one}/a/in" in opened, "the trace has not seen an open that there was"
    assert escapes(opened, running.process.pid, one, two, tmp_path / "data") == set()
    for outside in (tmp_path / "outside", tmp_path / "beyond"):
        assert [(p.name, p.read_bytes()) for p in outside.iterdir()] == [("secret", SECRET)]
    assert SECRET not in b"".join(_contents(one, two))
    assert (two / "all" / "a" / "in").read_bytes() == b"inside"
    assert not (two / "all" / "out").is_symlink()
    assert (two / "all" / "chain2").readlink() == Path("chain1")
    assert not (one / "out").is_symlink()
    assert (one / "file").is_symlink()
    assert {path.name for path in tmp_path.iterdir()} == {
        "beyond", "calls", "data", "one", "outside", "two",
    }  # fmt: skip
