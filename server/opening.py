"""Opens the core of a configuration: the data directory, the key file, the database."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from pixfs.errors import PixfsError
from server.core import Core
from server.core.database import Database, sqlite_url
from server.core.errors import CoreError
from server.core.lockout import LockoutPolicy
from server.core.sealing import Sealer
from server.core.sessions import SessionPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import URL

    from server.config import ServerConfig
    from server.core.passwords import HashCost

__all__ = ["DataError", "database_url", "open_core"]

_DATABASE = "pixfs.sqlite"
_KEY = "secrets.key"
_SPOOL = "uploads"


class DataError(PixfsError):
    """The data directory or the database cannot be used."""


def database_url(config: ServerConfig) -> URL | str:
    """Where the configured database is."""
    return config.data.database or sqlite_url(config.data_directory / _DATABASE)


@contextmanager
def open_core(config: ServerConfig, *, hash_cost: HashCost | None = None) -> Iterator[Core]:
    """The core over the configured database, closed at the end of the block.

    Makes the data directory (mode 0700), the key file and the tables when they are missing.
    Blocks: open it before trio runs. Raises DataError.
    """
    directory = config.data_directory
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        sealer = Sealer.from_file(directory / _KEY)
        database = Database(database_url(config), backups=directory)
    except OSError as error:
        raise DataError(f"{error.filename or directory}: {error.strerror}") from None
    except CoreError as error:
        raise DataError(f"{error}; {error.hint}") from None
    try:
        yield Core(
            database,
            sealer,
            sessions=SessionPolicy(
                idle=timedelta(minutes=config.sessions.idle_minutes),
                longest=timedelta(hours=config.sessions.longest_hours),
            ),
            lockout=LockoutPolicy(
                per_account=config.logins.failures_per_account,
                per_address=config.logins.failures_per_address,
                window=timedelta(minutes=config.logins.window_minutes),
            ),
            hash_cost=hash_cost,
            private=_private(config, database),
            spool=directory / _SPOOL,
        )
    finally:
        database.close()


def _private(config: ServerConfig, database: Database) -> list[str]:
    """Where the server keeps passwords' hashes, keys and certificates."""
    places = [str(config.data_directory), config.network.private_key]
    if database.is_sqlite:
        places.append(str(database.url.database))
    return [place for place in places if place]
