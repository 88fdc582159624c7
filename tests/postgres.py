"""A PostgreSQL server of the tests' own, on a Unix socket in a directory of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import URL

# PostgreSQL refuses to run as root; Debian's package makes this user.
_ACCOUNT = "postgres"


def binaries() -> Path | None:
    """The directory of the newest PostgreSQL server's programs, None when there is none."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: float(p.parts[-3])
    )
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    return Path(initdb).resolve().parent if initdb else None


def postgres_available() -> str | None:
    """Why no PostgreSQL can be started here, or None when it can."""
    if binaries() is None:
        return "PostgreSQL is not installed (Debian: apt-get install postgresql)"
    if os.geteuid() == 0 and not _has_account():
        return f"PostgreSQL does not run as root and there is no user {_ACCOUNT}"
    return None


@contextmanager
def postgres_server() -> Iterator[str]:
    """A running server; yields the URL of its empty database, to which databases may be added."""
    programs = binaries()
    assert programs is not None
    # Not pytest's directory: that is closed to other users, and a socket's path must be short.
    directory = Path(tempfile.mkdtemp(prefix="pixfs-pg-"))
    if os.geteuid() == 0:
        account = pwd.getpwnam(_ACCOUNT)
        os.chown(directory, account.pw_uid, account.pw_gid)
    data = directory / "data"
    try:
        _run(programs / "initdb", "-D", data, "-U", "pixfs", "-A", "trust", "-N", "-E", "UTF8")
        options = f"-c listen_addresses='' -k {directory} -c fsync=off"
        control = (programs / "pg_ctl", "-D", data, "-w")
        _run(*control, "-o", options, "-l", directory / "log", "start")
        try:
            yield f"postgresql://pixfs@/postgres?host={directory}"
        finally:
            _run(*control, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(directory)


def _has_account() -> bool:
    try:
        pwd.getpwnam(_ACCOUNT)
    except KeyError:
        return False
    return True


def _run(*command: str | Path) -> None:
    user = _ACCOUNT if os.geteuid() == 0 else None
    done = subprocess.run(
        [str(part) for part in command],
        user=user,
        cwd="/",
        # Not a pipe: the server inherits it and would keep it open for as long as it runs.
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
        timeout=120,
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed with {done.returncode}")


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server for the whole run; skips where there is none."""
    reason = postgres_available()
    if reason is not None:
        pytest.skip(reason)
    with postgres_server() as url:
        yield url


@pytest.fixture
def empty_postgres(postgres_url: str, request: pytest.FixtureRequest) -> Iterator[URL]:
    """An empty PostgreSQL database of the test's own."""
    name = f"test_{abs(hash(request.node.nodeid)):x}"
    server = sa.create_engine(
        sa.make_url(postgres_url).set(drivername="postgresql+psycopg"),
        isolation_level="AUTOCOMMIT",
    )
    with server.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    try:
        yield sa.make_url(postgres_url).set(database=name)
    finally:
        with server.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
        server.dispose()
