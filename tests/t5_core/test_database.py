"""The database: tables as declared, one writer, snapshots, upgrades that lose nothing."""

from __future__ import annotations

import re
import sqlite3
import stat
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
import trio
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from server.core import migrations
from server.core.database import Database, sqlite_url
from server.core.errors import DatabaseError, SchemaError
from server.core.jobs import tables as job_tables
from server.core.schema import metadata
from server.core.tables import events, sessions, settings, users

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.engine import URL, Connection

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def put(connection: Connection, name: str, value: object) -> None:
    connection.execute(settings.delete().where(settings.c.name == name))
    connection.execute(settings.insert().values(name=name, value=value, changed_at=NOON))


def value_of(connection: Connection, name: str) -> object:
    return connection.execute(sa.select(settings.c.value).where(settings.c.name == name)).scalar()


def test_the_steps_make_the_declared_tables(database: Database) -> None:
    with database.reading() as connection:
        assert job_tables.jobs.metadata is metadata
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert migrations.current_version(connection) == migrations.known_versions()[-1]


def test_the_steps_make_the_declared_checks(tmp_path: Path) -> None:
    """compare_metadata does not look at CHECK constraints, so SQLite's own texts are compared."""
    Database(sqlite_url(tmp_path / "migrated")).close()
    declared = sa.create_engine(sqlite_url(tmp_path / "declared"))
    metadata.create_all(declared)
    declared.dispose()
    made = [statements(tmp_path / name) for name in ("migrated", "declared")]
    made[0].pop("alembic_version")
    assert made[0] == made[1]


def statements(file: Path) -> dict[str, list[str]]:
    with closing(sqlite3.connect(file)) as connection:
        rows = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'index')"
            " AND sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
        ).fetchall()
    # A column that was added later stands in the line of the one before it.
    return {
        name: sorted(part.strip(" ,\t") for part in re.split(r",\s+(?=\w+ [A-Z])|\n", sql))
        for name, sql in rows
    }


def test_opening_again_changes_nothing(database_url: URL) -> None:
    with closing(Database(database_url)) as first, first.writing() as connection:
        put(connection, "mail", {"host": "smtp"})
    with closing(Database(database_url)) as second, second.reading() as connection:
        assert value_of(connection, "mail") == {"host": "smtp"}


def test_a_newer_schema_is_refused_and_left_alone(database_url: URL) -> None:
    with closing(Database(database_url)) as first, first.writing() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaError, match="9999, which is newer"):
        Database(database_url)


def test_an_upgrade_keeps_a_copy_of_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = sqlite_url(tmp_path / "pixfs.sqlite")
    with closing(Database(url)) as database, database.writing() as connection:
        put(connection, "mail", 1)
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'before'")
    monkeypatch.setattr(migrations, "known_versions", lambda: ["before", "after"])
    upgraded: list[str] = []
    monkeypatch.setattr(
        migrations.command, "upgrade", lambda config, target: upgraded.append(target)
    )
    Database(url).close()
    copy = tmp_path / "pixfs.sqlite.version-before"
    assert upgraded == ["head"]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with closing(sqlite3.connect(copy)) as kept:
        assert kept.execute("SELECT value FROM settings").fetchall() == [(1,)]


def test_a_step_that_fails_changes_nothing(
    database_url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = migrations.command.upgrade

    def fail_late(config: object, target: str) -> None:
        real(config, target)  # type: ignore[arg-type]
        raise RuntimeError("planted")

    with monkeypatch.context() as patch:
        patch.setattr(migrations.command, "upgrade", fail_late)
        with pytest.raises(RuntimeError, match="planted"):
            Database(database_url)
    engine = sa.create_engine(
        database_url.set(drivername="postgresql+psycopg")
        if database_url.get_backend_name() == "postgresql"
        else database_url
    )
    assert sa.inspect(engine).get_table_names() == []
    engine.dispose()
    Database(database_url).close()


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    with closing(Database(sqlite_url(tmp_path / "db"))) as database, database.writing() as c:
        put(c, "x", 1)
        modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()}
    assert modes == {"db": 0o600, "db-wal": 0o600, "db-shm": 0o600}


@pytest.mark.parametrize("url", ["mysql://h/d", "sqlite://", "sqlite:///:memory:"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(DatabaseError, match="cannot be used"):
        Database(url)


def test_a_database_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="cannot be opened: No such file"):
        Database(sqlite_url(tmp_path / "missing" / "db"))
    with pytest.raises(DatabaseError, match="does not answer"):
        Database(f"postgresql://nobody@/none?host={tmp_path}")


def test_a_file_that_is_no_database_says_so(tmp_path: Path) -> None:
    (tmp_path / "db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(DatabaseError, match="cannot be used"):
        Database(sqlite_url(tmp_path / "db"))


async def test_what_raises_is_undone(database: Database) -> None:
    def fail(connection: Connection) -> None:
        put(connection, "mail", 1)
        raise KeyError("planted")

    with pytest.raises(KeyError, match="planted"):
        await database.write(fail)
    assert await database.read(value_of, "mail") is None


async def test_a_reader_sees_one_snapshot_and_cannot_write(database: Database) -> None:
    await database.write(put, "mail", 1)

    def look_twice(connection: Connection) -> list[object]:
        seen = [value_of(connection, "mail")]
        with database.writing() as writer:
            put(writer, "mail", 2)
        return [*seen, value_of(connection, "mail")]

    assert await database.read(look_twice) == [1, 1]
    assert await database.read(value_of, "mail") == 2
    with pytest.raises((sa.exc.DBAPIError, DatabaseError)):
        await database.read(put, "mail", 3)
    assert await database.read(value_of, "mail") == 2


async def test_no_update_is_lost_between_two_servers(database_url: URL) -> None:
    """Two Databases stand for two processes: only the database itself can hold them apart."""

    def count_up(connection: Connection) -> None:
        seen = value_of(connection, "count")
        put(connection, "count", (seen if isinstance(seen, int) else 0) + 1)

    with closing(Database(database_url)) as one, closing(Database(database_url)) as two:

        async def count(database: Database) -> None:
            for _ in range(20):
                await database.write(count_up)

        async with trio.open_nursery() as nursery:
            for database in (one, two, one, two):
                nursery.start_soon(count, database)
        assert await one.read(value_of, "count") == 80


async def test_threads_and_tasks_take_turns(database: Database) -> None:
    inside = 0

    def enter(connection: Connection) -> None:
        nonlocal inside
        inside += 1
        assert inside == 1
        put(connection, "x", 1)
        inside -= 1

    def from_a_thread() -> None:
        for _ in range(20):
            with database.writing() as connection:
                enter(connection)

    thread = threading.Thread(target=from_a_thread)
    thread.start()
    for _ in range(20):
        await database.write(enter)
    await trio.to_thread.run_sync(thread.join)


async def test_a_write_that_has_begun_is_not_cancelled(database: Database) -> None:
    with trio.CancelScope() as scope:

        def cancel_then_put(connection: Connection) -> str:
            trio.from_thread.run_sync(scope.cancel)
            put(connection, "mail", "kept")
            return "done"

        assert await database.write(cancel_then_put) == "done"
    assert await database.read(value_of, "mail") == "kept"


def add_user(connection: Connection, name: str, created_at: datetime = NOON) -> int:
    row = users.insert().values(
        name=name,
        role="monitor",
        state="active",
        all_paths=True,
        notify=[],
        created_at=created_at,
    )
    (number,) = connection.execute(row).inserted_primary_key or (0,)
    return int(number)


async def test_times_come_back_in_utc_and_in_order(database: Database) -> None:
    paris = timezone(timedelta(hours=1))
    times = [NOON + timedelta(microseconds=1), NOON.astimezone(paris), NOON - timedelta(days=1)]

    def add(connection: Connection) -> list[datetime]:
        for index, time in enumerate(times):
            add_user(connection, f"u{index}", time)
        query = sa.select(users.c.created_at).order_by(users.c.created_at)
        later = query.where(users.c.created_at >= NOON)
        assert len(connection.execute(later).all()) == 2
        return list(connection.execute(query).scalars())

    seen = await database.write(add)
    assert seen == sorted(times)
    assert {time.tzinfo for time in seen} == {UTC}


async def test_a_time_without_a_zone_is_refused(database: Database) -> None:
    with pytest.raises(sa.exc.StatementError, match="has no time zone"):
        await database.write(add_user, "ada", datetime(2026, 3, 1))


async def test_foreign_keys_hold(database: Database) -> None:
    def orphan(connection: Connection) -> None:
        connection.execute(
            sessions.insert().values(
                token_hash="x",
                user_id=99,
                created_at=NOON,
                last_seen_at=NOON,
                expires_at=NOON,
                address="",
            )
        )

    with pytest.raises(sa.exc.IntegrityError):
        await database.write(orphan)


@pytest.mark.parametrize("change", [events.update().values(kind="forged"), events.delete()])
async def test_history_cannot_be_changed(database: Database, change: sa.Executable) -> None:
    def add(connection: Connection) -> None:
        connection.execute(
            events.insert().values(at=NOON, kind="user.added", address="", request_id="", detail={})
        )

    await database.write(add)
    with pytest.raises(sa.exc.DBAPIError, match="append-only"):
        await database.write(lambda connection: connection.execute(change))
