"""A core over a real database, for the faces' tests: SQLite, and for lists PostgreSQL too."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import xmlschema

from server.api import vidispine
from server.core import Core
from server.core.database import Database, sqlite_url
from server.core.passwords import HashCost
from server.core.permissions import SYSTEM, Role
from server.core.sealing import Sealer
from server.serve import build
from tests.pixmover import PASSWORD, PixMover
from tests.postgres import empty_postgres, postgres_url
from tests.serving import LOOPBACK, Served, served
from tests.vidispine import Vidispine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from sqlalchemy.engine import URL

__all__ = ["empty_postgres", "postgres_url"]

# Real argon2id, only cheaper: the tests log in hundreds of times.
CHEAP = HashCost(memory_kib=64, passes=1, lanes=1)


# Lists and what moves in them are SQL of its own in each.
ON_BOTH = (
    "test_vidispine_files",
    "test_vidispine_data",
    "test_vidispine_imports",
    "test_vidispine_jobs",
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests of the catalogue's SQL on both databases."""
    if "database_url" in metafunc.fixturenames and metafunc.module.__name__.endswith(ON_BOTH):
        metafunc.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> URL:
    """Where an empty database is."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return sqlite_url(tmp_path / "pixfs.sqlite")
    url: URL = request.getfixturevalue("empty_postgres")
    return url


@pytest.fixture
def core(database_url: URL, tmp_path: Path) -> Iterator[Core]:
    """A core without users."""
    with closing(Database(database_url)) as database:
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


@pytest.fixture
async def admin(server: Served) -> AsyncIterator[Vidispine]:
    """A Vidispine client that acts as an administrator."""
    async with Vidispine(server.port) as client:
        yield client


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The directory of the only storage."""
    made = tmp_path / "one"
    made.mkdir()
    return made


@pytest.fixture
async def storage(admin: Vidispine, root: Path) -> str:
    """The only storage; its id."""
    return await admin.make_storage(root)


@pytest.fixture
async def storages(admin: Vidispine, tmp_path: Path) -> tuple[str, str]:
    """Two, on the directories "one" and "two"."""
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made.append(await admin.make_storage(tmp_path / name))
    return made[0], made[1]


@pytest.fixture(scope="module")
def schema() -> xmlschema.XMLSchema:
    """Of every document of the Vidispine face."""
    return xmlschema.XMLSchema(Path(vidispine.__file__).with_name("vidispine.xsd"))
