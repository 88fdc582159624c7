"""A core over a real SQLite file, for the faces' tests."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from server.core import Core
from server.core.database import Database, sqlite_url
from server.core.passwords import HashCost
from server.core.sealing import Sealer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Real argon2id, only cheaper: the tests log in hundreds of times.
CHEAP = HashCost(memory_kib=64, passes=1, lanes=1)


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    """A core without users."""
    with closing(Database(sqlite_url(tmp_path / "pixfs.sqlite"))) as database:
        yield Core(database, Sealer.from_file(tmp_path / "secrets.key"), hash_cost=CHEAP)
