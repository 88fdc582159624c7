"""A Vidispine client for tests: HTTP Basic, JSON unless told otherwise."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import trio

from server.work.service import run_jobs
from tests.pixmover import PASSWORD

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from server.core import Core
    from server.notify.egress import Egress

__all__ = ["ENDED", "JSON", "PATH_TABLE", "TEXT", "XML", "Vidispine", "one_segment", "working"]

XML, JSON, TEXT = "application/xml", "application/json", "text/plain"
ENDED = ("FINISHED", "FINISHED_WARNING", "FAILED_TOTAL", "ABORTED")
WAIT_S = 120

# The reference's table: path, recursive, wildcard (None does not matter), and which are found of
# foo, foo/bar, foo/bar/baz and foo/bar/?az.
PATH_TABLE = [
    ("", False, None, "YNNN"),
    ("", True, None, "YYYY"),
    ("/", False, None, "YNNN"),
    ("/", True, None, "YYYY"),
    ("/foo", False, None, "YNNN"),
    ("/foo", True, None, "YYYY"),
    ("foo", False, None, "YNNN"),
    ("foo", True, None, "YYYY"),
    ("/foo/", False, None, "NYNN"),
    ("/foo/", True, None, "NYYY"),
    ("/foo/bar", False, None, "NYNN"),
    ("/foo/bar", True, None, "NYYY"),
    ("/foo/bar/", None, None, "NNYY"),
    ("\\foo\\bar\\", None, None, "NNNN"),
    ("/foo/bax///../bar/./", None, None, "NNYY"),
    ("/foo/b?r", False, True, "NYNN"),
    ("/foo/b??r", False, True, "NNNN"),
    ("/foo/*r", False, True, "NYNN"),
    ("/foo/**r", False, True, "NYNN"),
    ("/foo/bar/?az", False, False, "NNNY"),
    ("/foo/bar/?az", False, True, "NNYY"),
    ("/foo/bar/\\?az", False, False, "NNNN"),
    ("/foo/bar/\\?az", False, True, "NNNY"),
]


def one_segment(text: str) -> str:
    """A path or URI as one segment of a URL."""
    return quote(text, safe="")


class Vidispine:
    """Calls the Vidispine face of a server on the loopback as a user."""

    def __init__(self, port: int, user: str = "admin", **options: Any) -> None:  # noqa: ANN401
        options = {"auth": (user, PASSWORD), "headers": {"Accept": JSON}} | options
        self.http = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}/API", timeout=WAIT_S, **options
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.http.aclose()

    async def call(
        self,
        method: str,
        path: str,
        /,
        *,
        status: int | None = 200,
        accept: str = JSON,
        body: Any = None,  # noqa: ANN401
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
        **query: Any,  # noqa: ANN401
    ) -> httpx.Response:
        """One request; fails the test when its status is another than ``status``."""
        answer = await self.http.request(
            method,
            path,
            params=query or None,
            json=body,
            content=content,
            headers={"Accept": accept} | (headers or {}),
        )
        assert status in (None, answer.status_code), f"{answer.status_code}: {answer.text}"
        return answer

    async def json(self, method: str, path: str, /, **options: Any) -> dict[str, Any]:  # noqa: ANN401
        """One request and its answer's document."""
        found: dict[str, Any] = (await self.call(method, path, **options)).json()
        return found

    async def make_storage(self, root: Path, **more: object) -> str:
        """A storage on a directory; its id."""
        method = {"uri": root.as_uri() + "/", "read": True, "write": True, "browse": True}
        body = {"type": "LOCAL", "method": [method]} | more
        return str((await self.json("POST", "/storage", body=body))["id"])

    async def entity(self, storage: str, path: str) -> str:
        """An entity of a path; its id."""
        return str((await self.json("POST", f"/storage/{storage}/file", path=path))["id"])

    async def copy(self, file: str, target: str, **query: object) -> dict[str, Any]:
        """The job that copies a file, or moves it."""
        return await self.json("POST", f"/file/{file}/storage/{target}", **query)

    async def upload(self, storage: str, path: str, content: bytes, **query: Any) -> dict[str, Any]:  # noqa: ANN401
        """A new file; its document."""
        return await self.json(
            "POST", f"/storage/{storage}/file/data", content=content, path=path, **query
        )

    async def paths(self, resource: str = "/storage/file", **query: Any) -> list[str]:  # noqa: ANN401
        """The paths of a list, in its order."""
        answer = await self.json("GET", resource, **({"number": 1000} | query))
        return [file["path"] for file in answer["file"]]

    async def until_ended(self, job: dict[str, Any]) -> dict[str, Any]:
        """Waits until a job is over."""
        with trio.fail_after(WAIT_S):
            while True:
                found = await self.json("GET", f"/job/{job['jobId']}")
                if found["status"] in ENDED:
                    return found
                await trio.sleep(0.02)

    async def until_finished(self, job: dict[str, Any]) -> dict[str, Any]:
        """Waits until a job is over; fails the test unless it came to a good end."""
        found = await self.until_ended(job)
        assert found["status"] == "FINISHED", found
        return {pair["key"]: pair["value"] for pair in found["data"]}


@asynccontextmanager
async def working(core: Core, egress: Egress | None = None) -> AsyncIterator[None]:
    """The job engine, at work for the length of the block; ``egress`` is where webhooks may go."""
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(run_jobs, core, egress=egress))
        yield
        nursery.cancel_scope.cancel()
