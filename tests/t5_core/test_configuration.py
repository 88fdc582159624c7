"""The server's TOML file: what is read, what is refused, and that every key is documented."""

from __future__ import annotations

import os
import typing
from dataclasses import fields, replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from pixfs.errors import ConfigError
from server.config import DATABASE_VARIABLE, Data, ServerConfig, read_server_config
from server.exclusive import AlreadyServed, LockError, LostHold, only_server
from server.opening import DataError, open_core

if typing.TYPE_CHECKING:
    from sqlalchemy.engine import URL

ROOT = Path(__file__).parent.parent.parent


def read(tmp_path: Path, text: str, **environment: str) -> ServerConfig:
    (tmp_path / "server.toml").write_text(text)
    return read_server_config(str(tmp_path / "server.toml"), environment)


def test_without_a_file_everything_has_its_default() -> None:
    assert read_server_config(None, {}) == ServerConfig()


def test_a_file_changes_what_it_says_and_nothing_else(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        """
        [network]
        bind = "0.0.0.0:80"
        allow_hosts = ["nas"]
        graceful_s = 3
        [data]
        directory = "/srv/pixfs"
        """,
    )
    expected = ServerConfig().with_data("/srv/pixfs")
    expected = expected.with_network(bind="0.0.0.0:80", allow_hosts=("nas",), graceful_s=3.0)
    assert config == expected
    assert config.data_directory == Path("/srv/pixfs")


def test_the_environment_names_the_database(tmp_path: Path) -> None:
    text = '[data]\ndatabase = "sqlite:////a"'
    assert read(tmp_path, text).data.database == "sqlite:////a"
    told = read(tmp_path, text, **{DATABASE_VARIABLE: "postgresql://b/c"})
    assert told.data.database == "postgresql://b/c"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("netwrok = 1", "unknown key 'netwrok'"),
        ("network = 1", r"write \[network\]"),
        ("[network]\nbnid = 'x'", r"unknown key 'network\.bnid'; known: network\.bind"),
        ("[network]\nbind = 1", r"network\.bind must be a text"),
        ("[network]\nallow_hosts = 'nas'", "must be a list of texts"),
        ("[network]\nallow_hosts = [1]", "must be a list of texts"),
        ("[network]\ngraceful_s = 'x'", "must be a number"),
        ("[network]\ncertificate = '/x'", "go together"),
        ("[sessions]\nidle_minutes = 1.5", "must be a whole number"),
        ("[sessions]\nidle_minutes = true", "must be a whole number"),
        ("[sessions]\nidle_minutes = 0", "must be more than 0"),
        ("[logins]\nwindow_minutes = -1", "must be more than 0"),
        ("not toml", "server.toml"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read(tmp_path, text)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*: No such file"):
        read_server_config(str(tmp_path / "missing.toml"))


def test_every_key_and_its_default_is_documented() -> None:
    page = (ROOT / "docs/configuration.md").read_text()
    sections = typing.get_type_hints(ServerConfig)
    for section, kind in sections.items():
        assert f"## `[{section}]`" in page
        for each in fields(kind):
            (row,) = (r for r in page.splitlines() if f"| `{section}.{each.name}` |" in r)
            if (section, each.name) != ("data", "directory"):
                assert f"| `{documented(getattr(kind(), each.name))}` |" in row


def documented(value: object) -> str:
    if isinstance(value, tuple):
        return str(list(value)).replace("'", '"')
    return f'"{value}"' if isinstance(value, str) else str(value)


def test_the_data_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    config = ServerConfig().with_data(str(tmp_path / "a/data"))
    with open_core(config):
        pass
    assert (tmp_path / "a/data").stat().st_mode & 0o777 == 0o700
    assert sorted(p.name for p in (tmp_path / "a/data").iterdir()) == [
        "pixfs.sqlite",
        "secrets.key",
    ]


def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    config = ServerConfig().with_data(str(tmp_path / "file" / "data"))
    with pytest.raises(DataError, match="Not a directory"), open_core(config):
        pass


def test_one_server_uses_a_data_directory(tmp_path: Path) -> None:
    config = ServerConfig().with_data(str(tmp_path)).with_network(bind="127.0.0.1:9091")
    with (
        only_server(config),
        pytest.raises(AlreadyServed) as caught,
        only_server(config),
    ):
        pass
    said = str(caught.value)
    assert f"another pixfs serve is using {tmp_path}: process {os.getpid()} on" in said
    assert "bound to 127.0.0.1:9091, since 20" in said
    with only_server(config):
        pass


def test_one_server_uses_a_database_whatever_path_leads_to_it(
    tmp_path: Path, database_url: URL
) -> None:
    """Two data directories do not make it two databases."""
    text = database_url.render_as_string(hide_password=False)
    first, second = ServerConfig().with_data(str(tmp_path / "a")), ServerConfig()
    second = replace(second, data=Data(str(tmp_path / "b"), text))
    if database_url.get_backend_name() == "sqlite":
        (tmp_path / "link").symlink_to(tmp_path)
        first = replace(first, data=Data(str(tmp_path / "a"), f"sqlite:///{tmp_path}/pixfs.sqlite"))
        second = replace(
            second, data=Data(str(tmp_path / "b"), f"sqlite:///{tmp_path}/link/pixfs.sqlite")
        )
    else:
        first = replace(first, data=Data(str(tmp_path / "a"), text))
    with (
        only_server(first) as hold,
        pytest.raises(AlreadyServed, match=rf"process {os.getpid()} on .*since 20"),
        only_server(second),
    ):
        pass
    with only_server(second) as hold:
        hold.check()


def test_a_server_notices_when_the_database_lets_go_of_it(
    tmp_path: Path, empty_postgres: URL
) -> None:
    text = empty_postgres.render_as_string(hide_password=False)
    config = replace(ServerConfig(), data=Data(str(tmp_path), text))
    engine = sa.create_engine(
        empty_postgres.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
    )
    with only_server(config) as hold:
        hold.check()
        with engine.connect() as connection:
            connection.execute(
                sa.text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name LIKE 'pixfs serve%'"
                )
            )
        with pytest.raises(LostHold):
            hold.check()
    engine.dispose()


def test_a_database_that_does_not_answer_is_named(tmp_path: Path) -> None:
    config = replace(
        ServerConfig(), data=Data(str(tmp_path), f"postgresql://x@/none?host={tmp_path}")
    )
    with pytest.raises(LockError, match="does not answer"), only_server(config):
        pass
