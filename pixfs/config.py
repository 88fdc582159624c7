"""What a mount is told: a TOML file, ``-o`` options and flags, in this order of growing weight.

A configuration file holds ``backing``, ``mountpoint``, ``log``, ``options`` (a list of mount
options) and the policy's fields by their own names, all optional.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from pixfs.configfile import PATH_KEYS, read_table
from pixfs.errors import ConfigError
from pixfs.throttle import parse_rate
from pixfs.volume import Policy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Mount options handed to the kernel through libfuse.
KERNEL_OPTIONS = frozenset(
    {"ro", "rw", "suid", "nosuid", "dev", "nodev", "exec", "noexec"}
    | {"sync", "async", "dirsync", "atime", "noatime"}
)
# Mount options with a meaning of our own: who may use the mount, and mounting over files.
OWN_OPTIONS = frozenset({"allow_other", "noallow_other", "nonempty"})

_POLICY_TYPES: dict[str, type] = {
    "mode": str,
    "settle_s": float,
    "level": str,
    "include": tuple,
    "exclude": tuple,
    "encode_threads": int,
    "min_size": int,
    "cache_bytes": int,
    "encode_bytes": int,
    "reserve_bytes": int,
    "rescan": bool,
    "drain": bool,
    "list_xattrs": bool,
}
RATE_KEYS = ("throttle_read", "throttle_write")
POLICY_KEYS = tuple(f.name for f in fields(Policy))
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_BOOLEANS = {"": True, "yes": True, "true": True, "1": True}
_BOOLEANS |= {"no": False, "false": False, "0": False}


@dataclass(frozen=True)
class MountSettings:
    """Everything a mount is made from.

    Attributes:
        backing, mountpoint: as given; "" when still missing.
        log: file the daemon logs to, "" for its standard error.
        policy: the volume's.
        options: mount options, of `KERNEL_OPTIONS` and `OWN_OPTIONS`.
    """

    backing: str = ""
    mountpoint: str = ""
    log: str = ""
    policy: Policy = field(default_factory=Policy)
    options: frozenset[str] = frozenset()

    @property
    def is_read_only(self) -> bool:
        return "ro" in self.options

    def merged(self, values: Mapping[str, Any], options: Iterable[str] = ()) -> MountSettings:
        """These settings with some values (by configuration key) and options on top.

        Raises ConfigError for an unknown key, a value of the wrong type or out of range.
        """
        paths = {k: _text(k, v) for k, v in values.items() if k in PATH_KEYS}
        policy: dict[str, Any] = {
            k: _policy_value(k, v) for k, v in values.items() if k not in PATH_KEYS
        }
        merged = self.options
        for option in options:
            merged = merged - {_opposite(option)} | {_known_option(option)}
        try:
            rules = replace(self.policy, **policy)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        return replace(self, **paths, policy=rules, options=merged)


def read_config(path: str) -> MountSettings:
    """The settings of a TOML file; ConfigError says what is wrong and where."""
    values = read_table(path)
    options = values.pop("options", [])
    if not isinstance(options, list) or not all(isinstance(o, str) for o in options):
        raise ConfigError(f"{path}: options must be a list of texts")
    try:
        return MountSettings().merged(values, options)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def parse_option_lists(lists: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
    """Split ``-o`` arguments into values by configuration key and plain mount options.

    A key that takes a list (include, exclude) may stand more than once. Raises ConfigError.
    """
    values: dict[str, Any] = {}
    options: list[str] = []
    for item in (item for text in lists for item in text.split(",") if item):
        key, equals, value = item.partition("=")
        if key in ("include", "exclude"):
            values[key] = (*values.get(key, ()), value)
        elif key in POLICY_KEYS or key in PATH_KEYS:
            values[key] = value
        elif equals:
            raise ConfigError(f"unknown option {key!r}; known: {', '.join(POLICY_KEYS)}")
        else:
            options.append(_known_option(key))
    return values, options


def _known_option(option: str) -> str:
    if option not in KERNEL_OPTIONS | OWN_OPTIONS:
        known = ", ".join(sorted(KERNEL_OPTIONS | OWN_OPTIONS))
        raise ConfigError(f"unknown mount option {option!r}; known: {known}")
    return option


def _opposite(option: str) -> str:
    if option in ("ro", "rw"):
        return "rw" if option == "ro" else "ro"
    return option[2:] if option.startswith("no") else f"no{option}"


def _text(key: str, value: object) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{key} must be a text, not {value!r}")
    return value


def _policy_value(key: str, value: object) -> object:
    if key in RATE_KEYS:
        return _rate(key, value)
    wanted = _POLICY_TYPES.get(key)
    if wanted is None or key not in POLICY_KEYS:
        known = ", ".join((*PATH_KEYS, "options", *POLICY_KEYS))
        raise ConfigError(f"unknown key {key!r}; known: {known}")
    if wanted is tuple:
        return _globs(key, value)
    if isinstance(value, str) and wanted is not str:
        return _from_text(key, value, wanted)
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not wanted:
        raise ConfigError(f"{key} must be a {wanted.__name__}, not {value!r}")
    return value


def _rate(key: str, value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        return parse_rate(_text(key, value))
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from None


def _globs(key: str, value: object) -> tuple[str, ...]:
    globs = (value,) if isinstance(value, str) else value
    if not isinstance(globs, list | tuple) or not all(isinstance(g, str) for g in globs):
        raise ConfigError(f"{key} must be a list of globs, not {value!r}")
    return tuple(globs)


def _from_text(key: str, text: str, wanted: type) -> object:
    try:
        if wanted is bool:
            return _BOOLEANS[text.lower()]
        if wanted is float:
            return float(text)
        unit = _UNITS.get(text[-1:].upper())
        return int(text[:-1]) * unit if unit else int(text)
    except (KeyError, ValueError):
        raise ConfigError(f"{key}={text!r} is not a {wanted.__name__}") from None
