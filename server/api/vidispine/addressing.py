"""The path of a request, taken apart before its escapes are undone.

A file's path or URI is one segment: ``/storage/file/path/a%2Fb.dpx/data`` names the data of
``a/b.dpx``, which a path that is already decoded cannot tell from ``a/b.dpx/data``. Matrix
parameters (``;name=value``) may stand on any segment, also on an empty last one.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from server.core.errors import InvalidValue

__all__ = ["Address", "Pattern", "parse_path", "parse_query", "unescape"]

_MAX_PATH = 16_384
_MAX_PARAMETERS = 1000


@dataclass(frozen=True, slots=True)
class Address:
    """A path's segments, decoded, and the matrix parameters on it, in order."""

    segments: tuple[str, ...]
    matrix: tuple[tuple[str, str], ...]


def unescape(text: str) -> str:
    """Undo percent-escapes; bytes that are no UTF-8 become surrogates, as in file names."""
    return unquote_to_bytes(text.encode("utf-8", "surrogateescape")).decode(
        "utf-8", "surrogateescape"
    )


def parse_path(raw: bytes) -> Address:
    """Take a path apart as it was sent, without its query. Raises InvalidValue."""
    if len(raw) > _MAX_PATH:
        raise InvalidValue("path", f"at most {_MAX_PATH} bytes")
    segments: list[str] = []
    matrix: list[tuple[str, str]] = []
    for segment in raw.decode("utf-8", "surrogateescape").split("/"):
        name, *parameters = segment.split(";")
        matrix += [_pair(parameter) for parameter in parameters if parameter]
        # Doubled and trailing slashes name nothing.
        if name:
            segments.append(unescape(name))
    _limit(matrix)
    return Address(tuple(segments), tuple(matrix))


def parse_query(raw: bytes) -> tuple[tuple[str, str], ...]:
    """The names and values of a query, in order; ``+`` is a blank. Raises InvalidValue."""
    text = raw.decode("utf-8", "surrogateescape").replace("+", " ")
    pairs = [_pair(parameter) for parameter in text.split("&") if parameter]
    _limit(pairs)
    return tuple(pairs)


def _limit(pairs: list[tuple[str, str]]) -> None:
    if len(pairs) > _MAX_PARAMETERS:
        raise InvalidValue("query", f"at most {_MAX_PARAMETERS} parameters")


def _pair(parameter: str) -> tuple[str, str]:
    name, _, value = parameter.partition("=")
    return unescape(name), unescape(value)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A path with variable parts, ``/storage/{storage}/file``."""

    parts: tuple[str, ...]

    @classmethod
    def of(cls, template: str) -> Pattern:
        """Read a template."""
        return cls(tuple(part for part in template.split("/") if part))

    def match(self, segments: tuple[str, ...]) -> dict[str, str] | None:
        """The variable parts of a path that fits, else None."""
        if len(segments) != len(self.parts):
            return None
        found: dict[str, str] = {}
        for part, segment in zip(self.parts, segments, strict=True):
            if part.startswith("{"):
                found[part[1:-1]] = segment
            elif part != segment:
                return None
        return found

    @property
    def precision(self) -> tuple[bool, ...]:
        """Orders the patterns that fit a path: what is said outright goes before what varies."""
        return tuple(not part.startswith("{") for part in self.parts)
