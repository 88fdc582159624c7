"""Reading a mount's TOML file, without what its keys mean (`pixfs.config`).

Loads none of the volume or the codec: who clears away after a killed daemon needs but the mount
point, and the next daemon waits for that.
"""

from __future__ import annotations

import tomllib
from typing import Any

from pixfs.errors import ConfigError


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
