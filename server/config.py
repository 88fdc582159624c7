"""What the server is told: one TOML file, then the environment, then the command line.

The dataclasses below are the whole of it: a section of the file is a class, a key a field, and a
value must be of the field's type. docs/configuration.md tells what each does.
"""

from __future__ import annotations

import os
import tomllib
import types
import typing
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pixfs.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DATABASE_VARIABLE", "ServerConfig", "read_server_config"]

DATABASE_VARIABLE = "PIXFS_DATABASE_URL"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Network:
    """Section ``[network]``: where the server listens and whom it answers.

    Attributes:
        allow_hosts: Host names answered to besides the one bound to.
        trusted_proxies: addresses whose X-Forwarded-For and -Proto are believed.
        certificate, private_key: PEM files; with both the server speaks https.
        graceful_s: how long running requests may go on after a stop.
        most_connections: how many there may be at once.
    """

    bind: str = "127.0.0.1:9090"
    allow_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    certificate: str = ""
    private_key: str = ""
    graceful_s: float = 10.0
    most_connections: int = 2000


@dataclass(frozen=True, slots=True)
class Data:
    """Section ``[data]``: where the server keeps its state.

    Attributes:
        directory: holds the SQLite database and the key file; "" takes the default place.
        database: URL of another database; "" is SQLite in ``directory``.
    """

    directory: str = ""
    database: str = ""


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Section ``[sessions]``: how long a login lasts."""

    idle_minutes: int = 30
    longest_hours: int = 12


@dataclass(frozen=True, slots=True)
class LoginLimits:
    """Section ``[logins]``: how many failures are taken within the window."""

    failures_per_account: int = 5
    failures_per_address: int = 20
    window_minutes: int = 15


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Section ``[requests]``: what a request may take.

    Attributes:
        stall_s: for so long a client may read nothing of its answer, or send nothing of an upload.
    """

    max_body_bytes: int = 1 << 20
    stall_s: float = 120.0


@dataclass(frozen=True, slots=True)
class JobEngine:
    """Section ``[jobs]``: who does the jobs.

    Attributes:
        threads: of the server itself; 0 takes two for each processor, eight at most.
        scheduler: address of a dask.distributed scheduler whose workers do them instead.
    """

    threads: int = 0
    scheduler: str = ""


@dataclass(frozen=True, slots=True)
class Notifications:
    """Section ``[notifications]``: where webhooks may go.

    Attributes:
        allow_networks: networks that are not public and may be connected to all the same.
    """

    allow_networks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MetricsAccess:
    """Section ``[metrics]``: who may read ``/metrics``.

    Attributes:
        allow_networks: networks it answers; empty answers nobody.
        token: must be sent as a bearer token when it is not "".
    """

    allow_networks: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """The whole configuration of ``pixfs serve``."""

    network: Network = field(default_factory=Network)
    data: Data = field(default_factory=Data)
    sessions: SessionLimits = field(default_factory=SessionLimits)
    logins: LoginLimits = field(default_factory=LoginLimits)
    requests: RequestLimits = field(default_factory=RequestLimits)
    jobs: JobEngine = field(default_factory=JobEngine)
    notifications: Notifications = field(default_factory=Notifications)
    metrics: MetricsAccess = field(default_factory=MetricsAccess)

    @property
    def data_directory(self) -> Path:
        """Where the server's files are."""
        return Path(self.data.directory) if self.data.directory else _default_directory()

    def with_data(self, directory: str) -> ServerConfig:
        """The same with another data directory."""
        return replace(self, data=replace(self.data, directory=directory))

    def with_network(self, **values: Any) -> ServerConfig:  # noqa: ANN401
        """The same with other values in ``[network]``."""
        return replace(self, network=replace(self.network, **values))


def read_server_config(
    path: str | None, environment: Mapping[str, str] = os.environ
) -> ServerConfig:
    """The configuration of a file (None: the defaults) and the environment.

    Raises ConfigError, which names the key and what it may be.
    """
    config = _read_file(path) if path is not None else ServerConfig()
    url = environment.get(DATABASE_VARIABLE, "")
    if url:
        config = replace(config, data=replace(config.data, database=url))
    return config


def _read_file(path: str) -> ServerConfig:
    try:
        with open(path, "rb") as file:
            values = tomllib.load(file)
        config = _read(ServerConfig, values, "")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, ConfigError) as error:
        raise ConfigError(f"{path}: {error}") from None
    if bool(config.network.certificate) != bool(config.network.private_key):
        raise ConfigError(f"{path}: network.certificate and network.private_key go together")
    return config


def _read(kind: type[T], values: Mapping[str, Any], prefix: str) -> T:
    """A dataclass from a table of the file; unknown keys and wrong types are ConfigErrors."""
    hints = typing.get_type_hints(kind)
    known = {f.name: hints[f.name] for f in fields(typing.cast(Any, kind))}
    read: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            names = ", ".join(prefix + name for name in known)
            raise ConfigError(f"unknown key {prefix + key!r}; known: {names}")
        read[key] = _value(known[key], value, prefix + key)
    return kind(**read)


def _value(kind: Any, value: Any, name: str) -> Any:  # noqa: ANN401
    if is_dataclass(kind):
        if not isinstance(value, dict):
            raise ConfigError(f"{name} is a section: write [{name}]")
        return _read(typing.cast("type[Any]", kind), value, f"{name}.")
    if isinstance(kind, types.GenericAlias):
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ConfigError(f"{name} must be a list of texts")
        return tuple(value)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        words = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
        raise ConfigError(f"{name} must be {words[kind]}, not {value!r}")
    if kind in (int, float) and value <= 0:
        raise ConfigError(f"{name} must be more than 0")
    return value


def _default_directory() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/pixfs")
    base = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return Path(base) / "pixfs"
