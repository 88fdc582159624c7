"""For the core's tests: databases (PostgreSQL where it is there), the server of a bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from server.core.database import Database, sqlite_url
from server.work.s3.bucket import Bucket
from tests.postgres import empty_postgres, postgres_url
from tests.s3 import s3_server, settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy.engine import URL

__all__ = ["empty_postgres", "postgres_url"]


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> URL:
    """Where an empty database of each kind is."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "pixfs.sqlite")
    url: URL = request.getfixturevalue("empty_postgres")
    return url


@pytest.fixture
def database(database_url: URL) -> Iterator[Database]:
    """An open database with empty tables."""
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Of an S3-speaking server that a module's tests share."""
    with s3_server() as url:
        yield url


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """An empty directory."""
    path = tmp_path / "target"
    path.mkdir()
    return path


@pytest.fixture
def bucket(endpoint: str, request: pytest.FixtureRequest) -> Iterator[Bucket]:
    """A bucket of the test's own."""
    name = f"b{abs(hash(request.node.nodeid)):x}"
    bucket = Bucket(f"s3://{name}/shows", settings(endpoint))
    bucket.client.create_bucket(Bucket=name)
    yield bucket
    bucket.close()
