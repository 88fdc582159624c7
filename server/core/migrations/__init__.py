"""Makes and upgrades the tables; run at every start, in one transaction.

Each file of ``versions/`` is one step. Steps are numbered "0001", "0002" ...; a step that has
been released is never edited again. ``tests/t5_core/test_database.py`` holds the steps against
the MetaData, so a table cannot be declared and forgotten here.
"""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from server.core.errors import DatabaseError, SchemaError

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

__all__ = ["current_version", "known_versions", "upgrade"]

log = logging.getLogger(__name__)
# What alembic tells of each step is told below in our own words.
logging.getLogger("alembic").setLevel(logging.WARNING)

# PostgreSQL: two servers that start at once must not both make the tables.
_UPGRADE_LOCK = 0x50495847


def known_versions() -> list[str]:
    """The versions this PixFS can upgrade through, oldest first."""
    steps = ScriptDirectory.from_config(_config()).walk_revisions()
    return [step.revision for step in steps][::-1]


def current_version(connection: Connection) -> str | None:
    """The version of the tables in this database, None when it has none of ours."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade(engine: Engine, *, backups: Path | None) -> None:
    """Bring the tables to the newest known version; nothing happens when they are there.

    Raises SchemaError for a database that a newer PixFS has written. An existing SQLite file is
    copied first, to ``backups`` or beside itself.
    """
    known = known_versions()
    with engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            # Rebuilding a table drops it for a moment; with the keys on, what refers to it goes
            # too. The pragma has no effect inside a transaction.
            _set_foreign_keys(connection, on=False)
        try:
            with connection.begin():
                _upgrade_in_transaction(connection, known, backups)
        finally:
            if connection.dialect.name == "sqlite":
                _set_foreign_keys(connection, on=True)


def _upgrade_in_transaction(connection: Connection, known: list[str], backups: Path | None) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_UPGRADE_LOCK)))
    version = current_version(connection)
    if version == known[-1]:
        return
    if version is not None and version not in known:
        raise SchemaError(
            f"the database's tables are of version {version}, which is newer than this PixFS"
            f" (it knows up to {known[-1]})"
        )
    if version is not None:
        _back_up(connection, version, known[-1], backups)
    command.upgrade(_config(connection), "head")
    if connection.dialect.name == "sqlite":
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
        if broken:
            raise SchemaError(f"{len(broken)} rows refer to nothing after the upgrade")
    log.info("the database's tables are now of version %s", known[-1])


def _set_foreign_keys(connection: Connection, *, on: bool) -> None:
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    driver.execute(f"PRAGMA foreign_keys = {'ON' if on else 'OFF'}")


def _back_up(connection: Connection, version: str, target: str, backups: Path | None) -> None:
    """Copy a SQLite file as it stands before the upgrade; the copy must not exist yet."""
    if connection.dialect.name != "sqlite":
        log.info("upgrading the tables from version %s to %s", version, target)
        return
    file = Path(str(connection.exec_driver_sql("PRAGMA database_list").one()[2]))
    copy = (backups or file.parent) / f"{file.name}.version-{version}"
    try:
        copy.touch(mode=0o600, exist_ok=True)
        # A connection of its own: the upgrade's transaction has changed nothing yet, and SQLite
        # shows other readers the committed state.
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(copy)) as made:
            source.backup(made)
    except (OSError, sqlite3.Error) as error:
        raise DatabaseError(
            f"the database cannot be copied to {copy} before its upgrade: {error}",
            hint="make room beside it, then start again",
        ) from None
    log.info("upgrading the tables from version %s; the old ones are in %s", version, copy)


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    return config
