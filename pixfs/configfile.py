"""A mount's paths: what is known of one without what all its keys mean (`pixfs.config`).

Loads none of the volume or the codec: who clears away after a killed daemon needs but the mount
point, and the next daemon waits for that; and who starts a daemon need not load all that it loads.
"""

from __future__ import annotations

import os
import tomllib
from typing import TYPE_CHECKING, Any

from pixfs.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

PATH_KEYS = ("backing", "mountpoint", "log")


def read_table(path: str) -> dict[str, Any]:
    """The file's keys and values; ConfigError says what is wrong and where."""
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from None


def mountpoint_in(path: str) -> str:
    """The mount point that the file names; ConfigError when it names none."""
    mountpoint = read_table(path).get("mountpoint", "")
    if not isinstance(mountpoint, str) or not mountpoint:
        raise ConfigError(f"{path} names no mountpoint")
    return mountpoint


def paths_in(path: str | None, option_lists: Iterable[str]) -> dict[str, str]:
    """The paths that a file names, and ``-o`` options on top, by their keys.

    ConfigError when the file cannot be read; whatever else is wrong is for who reads it all to say.
    """
    table = read_table(path) if path else {}
    found = {key: value for key in PATH_KEYS if isinstance(value := table.get(key), str)}
    for item in (item for text in option_lists for item in text.split(",")):
        key, equals, value = item.partition("=")
        if key in PATH_KEYS and equals:
            found[key] = value
    return found


def default_log_path(mountpoint: str) -> str:
    """Where a daemon in the background logs to; the directory is made when it is missing."""
    if os.geteuid() == 0:
        base = "/var/log/pixfs"
    else:
        state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
        base = os.path.join(state, "pixfs")
    os.makedirs(base, mode=0o750, exist_ok=True)
    name = mountpoint.strip("/").replace("/", "-")[-200:] or "root"
    return os.path.join(base, f"{name}.log")
