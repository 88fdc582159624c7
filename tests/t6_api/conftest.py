"""A core over a real SQLite file, for the faces' tests."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from server.core import Core
from server.core.database import Database, sqlite_url
from server.core.passwords import HashCost
from server.core.permissions import SYSTEM, Role
from server.core.sealing import Sealer
from server.serve import build
from tests.pixmover import PASSWORD, PixMover
from tests.serving import LOOPBACK, Served, served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

# Real argon2id, only cheaper: the tests log in hundreds of times.
CHEAP = HashCost(memory_kib=64, passes=1, lanes=1)


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    """A core without users."""
    with closing(Database(sqlite_url(tmp_path / "pixfs.sqlite"))) as database:
        yield Core(database, Sealer.from_file(tmp_path / "secrets.key"), hash_cost=CHEAP)


@pytest.fixture
async def server(core: Core) -> AsyncIterator[Served]:
    """The whole server on a real socket, with a user of each role."""
    for role in Role:
        await core.users.add(SYSTEM, role.value, role, PASSWORD)
    async with served(build(core, LOOPBACK)) as running:
        yield running


@pytest.fixture
async def as_admin(server: Served) -> AsyncIterator[PixMover]:
    """A client that is logged in as an administrator."""
    async with PixMover(server.port) as client:
        await client.login("admin")
        yield client


@pytest.fixture
async def as_wrangler(server: Served) -> AsyncIterator[PixMover]:
    """A client that is logged in as a wrangler."""
    async with PixMover(server.port) as client:
        await client.login("wrangler")
        yield client
