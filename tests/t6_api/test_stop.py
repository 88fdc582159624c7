"""A stop of the server does not wait for a bucket that does not answer: requests are cut off."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import sqlalchemy as sa
import trio

from server.core.catalog.tables import uploads
from server.core.permissions import SYSTEM, Role
from server.serve import build
from tests.pixmover import PASSWORD
from tests.s3 import client_of, s3_server
from tests.s3_faults import FaultyS3, faulty_s3
from tests.serving import LOOPBACK, served
from tests.t5_core.catalog_desk import CatalogDesk

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from server.core import Core

# Of itself a thread would be waited for a minute or an hour, and boto3 takes five minutes.
STOPS_WITHIN_S = 45
# More than one part.
LARGE = bytes(range(256)) * (17 << 12)
SMALL = LARGE[:100_000]


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture
def bucket(moto: str) -> Iterator[FaultyS3]:
    with faulty_s3(moto) as between:
        yield between


@pytest.fixture
def desk(core: Core, tmp_path: Path) -> CatalogDesk:
    return CatalogDesk(core.database, tmp_path)


async def cut_off(
    desk: CatalogDesk, bucket: FaultyS3, ask: Callable[[httpx.AsyncClient], Awaitable[object]]
) -> list[Any]:
    """What a client got whose request hung when the server was stopped."""
    await desk.core.users.add(SYSTEM, "admin", Role.ADMIN, PASSWORD)
    got: list[Any] = []
    app = build(desk.core, LOOPBACK)
    over = desk.core.closing.begin
    async with served(app, graceful_s=0.1, on_grace_over=over) as server:
        client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{server.port}/API", auth=("admin", PASSWORD), timeout=600
        )

        async def asking() -> None:
            try:
                got.append(await ask(client))
            except httpx.TransportError as error:
                got.append(error)

        async with client, trio.open_nursery() as nursery:
            nursery.start_soon(asking)
            await trio.to_thread.run_sync(bucket.hung.acquire)
            server.stop.set()
            with trio.fail_after(STOPS_WITHIN_S):
                await server.stopped.wait()
    return got


def left(endpoint: str, name: str) -> tuple[list[str], int]:
    """The keys in a bucket, and how many uploads of parts are under way there."""
    with closing(client_of(endpoint)) as client:
        keys = [found["Key"] for found in client.list_objects_v2(Bucket=name).get("Contents", [])]
        return keys, len(client.list_multipart_uploads(Bucket=name).get("Uploads", []))


def records(desk: CatalogDesk) -> int:
    with desk.database.reading() as connection:
        return len(connection.execute(sa.select(uploads)).all())


def is_put(method: str, path: str) -> bool:
    return method == "PUT" and "/shows/a.dpx" in path


def is_begin(method: str, path: str) -> bool:
    return method == "POST" and "uploads" in path


def is_complete(method: str, path: str) -> bool:
    return method == "POST" and "uploadId=" in path


@pytest.mark.parametrize(
    ("content", "which", "fault", "lands"),
    [
        (SMALL, is_put, "silence", False),
        (SMALL, is_put, "lost in silence", True),
        (LARGE, is_begin, "silence", False),
        (LARGE, is_put, "silence", False),
        (LARGE, is_complete, "silence", False),
        (LARGE, is_complete, "lost in silence", True),
    ],
)
async def test_an_upload_is_cut_off_and_leaves_nothing_half(
    desk: CatalogDesk,
    moto: str,
    bucket: FaultyS3,
    request: pytest.FixtureRequest,
    expect_logs: Callable[[str], None],
    content: bytes,
    which: Callable[[str, str], bool],
    fault: str,
    lands: bool,
) -> None:
    expect_logs("did not finish and were cut off")
    name = f"stopped{abs(hash(request.node.name))}"
    storage = await desk.make_bucket(bucket.url, name)
    bucket.spoil(which, fault, 1)
    # Nor does it answer what comes to tidy up.
    address = f"/storage/VX-{storage}/file/data"

    async def ask(client: httpx.AsyncClient) -> object:
        return await client.post(address, params={"path": "a.dpx"}, content=content)

    (got,) = await cut_off(desk, bucket, ask)
    assert isinstance(got, httpx.TransportError)
    keys, _ = left(moto, name)
    assert ("shows/a.dpx" in keys) == lands
    bucket.let_go()
    bucket.heal()
    # What the stopped server could not clear away, the next one does, or brings to its end.
    desk.restart()
    await desk.essence.recover(desk.clock())
    assert left(moto, name) == (["shows/a.dpx"] if lands else [], 0)
    assert await desk.paths() == (["a.dpx"] if lands else [])
    assert records(desk) == 0
    if not lands:
        await desk.upload(storage, "a.dpx", content)
    (file,) = (await desk.catalog.files(SYSTEM, _every())).files
    assert await desk.read(file) == content


def _every() -> Any:  # noqa: ANN401
    from server.core.catalog import FileQuery

    return FileQuery()


@pytest.mark.parametrize("fault", ["silence", "truncated in silence"])
async def test_a_download_is_cut_off(
    desk: CatalogDesk, bucket: FaultyS3, fault: str, expect_logs: Callable[[str], None]
) -> None:
    expect_logs("did not finish and were cut off")
    expect_logs("broken off: the server was stopped before the storage had answered")
    storage = await desk.make_bucket(bucket.url, f"read-{fault.split()[0]}")
    file = await desk.upload(storage, "a.dpx", LARGE)
    bucket.spoil(lambda method, path: method == "GET" and "/a.dpx" in path, fault, 1)

    async def ask(client: httpx.AsyncClient) -> object:
        return await client.get(f"/file/VX-{file.id}/data")

    (got,) = await cut_off(desk, bucket, ask)
    # It has its status, and not its length.
    assert isinstance(got, httpx.TransportError)
    bucket.let_go()
