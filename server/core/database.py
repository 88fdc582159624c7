"""The server's database: SQLite beside the server, or PostgreSQL by URL.

Work is a function that takes a connection and does plain SQLAlchemy Core on it::

    def rename(connection: Connection, user_id: int, name: str) -> None:
        connection.execute(users.update().where(users.c.id == user_id).values(name=name))

    await database.write(rename, 7, "ada")        # from trio; commits, or raises and undoes all
    with database.writing() as connection: ...    # the same from an ordinary thread (blocks)

``write`` runs one transaction at a time, in every process that shares the database, so what a
transaction has read stays true until it commits: no lost updates, no retries. ``read`` sees one
unchanging snapshot and cannot write. Keep both short: a writer holds all others up.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa
import trio
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler

from server.core.errors import DatabaseError
from server.core.migrations import upgrade

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy.engine import URL, Connection, Engine

__all__ = ["Database", "sqlite_url", "with_driver"]

P = ParamSpec("P")
T = TypeVar("T")

# How long a writer waits for one in another process, and a client for a connection.
_LOCK_WAIT_S = 30
_READERS = 8
# PostgreSQL's advisory locks are numbers; this one means "a PixFS server writes".
_WRITER_LOCK = 0x50495846


def sqlite_url(path: str | os.PathLike[str]) -> URL:
    """The URL of a SQLite file, which `Database` makes (mode 0600) when it is missing."""
    return sa.URL.create("sqlite+pysqlite", database=os.fspath(path))


class Database:
    """Connections to one database, whose tables are those of this version.

    Safe to use from any thread; the coroutines from any trio task.

    Attributes:
        on_ended: called with "read" or "write" and the seconds each transaction of `read` and
            `write` took, in its thread.
    """

    def __init__(self, url: URL | str, *, backups: Path | None = None) -> None:
        """Connect, and bring the tables up to this version. Blocks: call it before trio runs.

        Before an older SQLite file is changed, a copy of it is put into ``backups`` (by default
        beside it). Raises SchemaError when a newer PixFS has written the database, DatabaseError
        when it cannot be reached or used.
        """
        self.on_ended: Callable[[str, float], None] = lambda kind, seconds: None
        self.url = with_driver(sa.make_url(url))
        self._writers = threading.Lock()
        self._write_limit = trio.CapacityLimiter(1)
        self._read_limit = trio.CapacityLimiter(_READERS)
        make_engine = _sqlite_engine if self.is_sqlite else _postgresql_engine
        self._writing = make_engine(self.url, writes=True)
        self._reading = make_engine(self.url, writes=False)
        try:
            if self.is_sqlite:
                _make_private_file(self.url)
            with _told_apart():
                upgrade(self._writing, backups=backups)
        except BaseException:
            self.close()
            raise

    @property
    def is_sqlite(self) -> bool:
        """Whether this is the embedded SQLite."""
        return self.url.get_backend_name() == "sqlite"

    def close(self) -> None:
        """Close every connection; nothing may be running."""
        self._reading.dispose()
        self._writing.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A read-only transaction that sees one snapshot. Blocks; not for a trio thread."""
        with _told_apart(), self._reading.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction alone in writing; commits at the end of the block, or undoes all.

        Durable when the block has ended. Blocks while another writes; not for a trio thread, and
        never inside itself.
        """
        with _told_apart(), self._writers, self._writing.begin() as connection:
            if not self.is_sqlite:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_WRITER_LOCK)))
            yield connection

    async def read(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call ``work(connection, ...)`` in a thread, in a transaction of `reading`.

        Raises what ``work`` raises, DatabaseError when the database does not answer. A
        cancellation is taken before it starts; once begun it is waited for.
        """

        def run() -> T:
            with self.reading() as connection:
                return work(connection, *args, **kwargs)

        return await self._timed("read", run, self._read_limit)

    async def write(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call ``work(connection, ...)`` in a thread, in a transaction of `writing`.

        When this returns, the transaction is on disk; when it raises, nothing has changed. A
        cancellation is taken before it starts; once begun it is waited for, and its result kept.
        """

        def run() -> T:
            with self.writing() as connection:
                return work(connection, *args, **kwargs)

        return await self._timed("write", run, self._write_limit)

    async def _timed(self, kind: str, run: Callable[[], T], limit: trio.CapacityLimiter) -> T:
        asked = time.monotonic()

        def timed() -> T:
            try:
                return run()
            finally:
                self.on_ended(kind, time.monotonic() - asked)

        return await trio.to_thread.run_sync(timed, limiter=limit)


def with_driver(url: URL) -> URL:
    """``postgresql://`` and ``postgres://`` mean psycopg 3; other databases are refused."""
    if url.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:"):
        return url.set(drivername="sqlite+pysqlite")
    raise DatabaseError(
        f"a database of kind {url.drivername!r} cannot be used",
        hint="give sqlite:////path/to/file or postgresql://user@host/name",
    )


def _make_private_file(url: URL) -> None:
    """Nobody but the server's user may read password hashes, so the file is never made wider."""
    assert url.database is not None
    try:
        os.close(os.open(url.database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise DatabaseError(
            f"the database {url.database} cannot be opened: {error.strerror}",
            hint="check that its directory exists and belongs to the server's user",
        ) from None


class _SqliteCompiler(SQLiteCompiler):
    """Says which index SQLite is to use where a statement does; SQLAlchemy's own leaves it out."""

    def get_from_hint_text(self, table: sa.FromClause, text: str | None) -> str | None:
        """The hint as it stands: ``INDEXED BY name``."""
        return text


def _sqlite_engine(url: URL, *, writes: bool) -> Engine:
    engine = sa.create_engine(
        url,
        poolclass=sa.QueuePool,
        pool_size=1 if writes else _READERS,
        max_overflow=-1,
        connect_args={"timeout": _LOCK_WAIT_S, "check_same_thread": False},
    )
    engine.dialect.statement_compiler = _SqliteCompiler
    # IMMEDIATE takes the write lock at once: a transaction that reads first and writes later
    # would otherwise fail when another has written between the two.
    begin = "BEGIN IMMEDIATE" if writes else "BEGIN"

    def connected(connection: sqlite3.Connection, record: object) -> None:
        connection.isolation_level = None  # SQLAlchemy begins and ends, not the driver
        connection.execute("PRAGMA journal_mode = WAL")
        # FULL, not NORMAL: in WAL mode NORMAL may lose the last commits in a power cut, and an
        # answer has then promised what is gone.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        # SQLite's own lower() knows only the letters of ASCII.
        connection.create_function("pixfs_lower", 1, str.lower, deterministic=True)
        if not writes:
            connection.execute("PRAGMA query_only = ON")

    def begun(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    sa.event.listen(engine, "connect", connected)
    sa.event.listen(engine, "begin", begun)
    return engine


def _postgresql_engine(url: URL, *, writes: bool) -> Engine:
    options: dict[str, Any] = {"isolation_level": "READ COMMITTED"}
    if not writes:
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    return sa.create_engine(
        url,
        pool_size=2 if writes else _READERS,
        pool_pre_ping=True,
        pool_timeout=_LOCK_WAIT_S,
        execution_options=options,
        connect_args={"connect_timeout": 10, "options": "-c timezone=utc"},
    )


@contextmanager
def _told_apart() -> Iterator[None]:
    """Turn the driver's "I cannot reach or use the database" into DatabaseError.

    Broken constraints and wrong statements stay what they are: those are our own mistakes, or
    something the caller looks for.
    """
    try:
        yield
    except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError) as error:
        cause = getattr(error, "orig", None) or error
        raise DatabaseError(f"the database does not answer ({type(cause).__name__})") from error
    except sa.exc.DatabaseError as error:
        if type(error) is not sa.exc.DatabaseError:
            raise
        raise DatabaseError("the database cannot be used: it is damaged or none") from error
