"""One server for each database: who comes second is told who is there, and ends.

Two servers on one database would take each other's tasks for those of a dead predecessor. For
SQLite the kernel keeps a lock on a file beside the database; for PostgreSQL the database keeps an
advisory lock for as long as a connection of ours lives. Both go with the process, however that
ends. The file says who holds it; PostgreSQL's own list of connections does.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
import trio

from pixfs.errors import PixfsError
from server.core.database import with_driver
from server.core.errors import DatabaseError
from server.opening import database_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import URL, Connection

    from server.config import ServerConfig

__all__ = ["AlreadyServed", "Hold", "LockError", "LostHold", "only_server"]

log = logging.getLogger(__name__)

# PostgreSQL's advisory locks are numbers; this one means "a PixFS server serves".
_SERVER_LOCK = 0x50495853
_LOOK_S = 10.0
_LOCK = "server.lock"


class LockError(PixfsError):
    """It cannot be made sure that no other server is on the database."""


class AlreadyServed(LockError):
    """Another server is on the database; the text says which."""


class LostHold(LockError):
    """The database has let go of us, and another server may be on it."""


class Hold:
    """The right to serve, while the block of `only_server` lasts."""

    def __init__(self, session: Connection | None) -> None:
        self._session = session

    async def watch(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Looks now and then whether it still holds; raises LostHold when it does not.

        A file's lock cannot be lost. PostgreSQL's goes when the connection does, as when the
        database is restarted.
        """
        task_status.started()
        while self._session is not None:
            await trio.sleep(_LOOK_S)
            await trio.to_thread.run_sync(self.check)

    def check(self) -> None:
        """One look; blocks. LostHold."""
        if self._session is None:
            return
        try:
            self._session.execute(sa.select(1))
        except sa.exc.DBAPIError:
            raise LostHold("the connection that kept other servers off is gone") from None


@contextmanager
def only_server(config: ServerConfig) -> Iterator[Hold]:
    """Be the only server of a data directory and its database for the length of the block.

    Blocks. Raises AlreadyServed, LockError.
    """
    directory = config.data_directory
    with ExitStack() as held:
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise LockError(f"{error.filename or directory}: {error.strerror}") from None
        held.enter_context(_locked_file(directory / _LOCK, str(directory), config))
        session = None
        url = _url(config)
        if url.get_backend_name() == "sqlite":
            # The same file must mean the same lock, whatever path leads to it.
            path = Path(os.path.realpath(str(url.database)))
            lock = path.with_name(path.name + ".lock")
            held.enter_context(_locked_file(lock, str(path), config))
        else:
            session = held.enter_context(_locked_session(url))
        yield Hold(session)


def _url(config: ServerConfig) -> URL:
    try:
        return with_driver(sa.make_url(database_url(config)))
    except (DatabaseError, sa.exc.ArgumentError) as error:
        raise LockError(f"data.database: {error}") from None


@contextmanager
def _locked_file(path: Path, what: str, config: ServerConfig) -> Iterator[None]:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise LockError(f"{error.filename or path}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyServed(
                f"another pixfs serve is using {what}: {_who(fd)}; stop it, or give this one"
                " another --data DIR"
            ) from None
        _sign(fd, config)
        yield
    finally:
        os.close(fd)


def _sign(fd: int, config: ServerConfig) -> None:
    """Writes down who holds the lock, for whoever comes second."""
    holder = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "bind": config.network.bind,
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    os.ftruncate(fd, 0)
    os.pwrite(fd, json.dumps(holder).encode() + b"\n", 0)


def _who(fd: int) -> str:
    try:
        holder: dict[str, Any] = json.loads(os.pread(fd, 4096, 0))
        return (
            f"process {holder['pid']} on {holder['host']}, bound to {holder['bind']},"
            f" since {holder['since']}"
        )
    except (ValueError, KeyError, TypeError):
        # It has the lock and has not written yet, or was stopped while it did.
        return "a process that has not said which"


@contextmanager
def _locked_session(url: URL) -> Iterator[Connection]:
    """A connection of its own, on which PostgreSQL keeps the lock until it ends."""
    name = f"pixfs serve, process {os.getpid()} on {socket.gethostname()}"[:63]
    engine = sa.create_engine(
        url,
        poolclass=sa.NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args={
            "connect_timeout": 10,
            "application_name": name,
            # A server whose machine is gone must not keep the next one out for hours.
            "options": "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10"
            " -c tcp_keepalives_count=3",
        },
    )
    try:
        with closing(engine.connect()) as connection:
            taken = connection.execute(sa.select(sa.func.pg_try_advisory_lock(_SERVER_LOCK)))
            if not taken.scalar():
                raise AlreadyServed(
                    f"another pixfs serve is using the database {url.database}:"
                    f" {_holder(connection)}; stop it, or give this one another database"
                )
            yield connection
    except sa.exc.OperationalError as error:
        raise LockError(
            f"the database does not answer ({type(error.orig).__name__}); check data.database"
        ) from None
    finally:
        engine.dispose()


def _holder(connection: Connection) -> str:
    row = connection.execute(
        sa.text(
            "SELECT a.application_name, a.client_addr, a.backend_start"
            " FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid"
            " WHERE l.locktype = 'advisory' AND l.granted AND l.classid = 0 AND l.objid = :lock"
            " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        ),
        {"lock": _SERVER_LOCK},
    ).first()
    if row is None:
        return "it has just gone"
    address = f" from {row.client_addr}" if row.client_addr else ""
    since = "" if row.backend_start is None else f", since {row.backend_start:%Y-%m-%d %H:%M:%S %Z}"
    return f"{row.application_name or 'a program without a name'}{address}{since}"
