"""Vidispine's ids, ``VX-123``, and the core's numbers."""

from __future__ import annotations

import re

from server.core.errors import InvalidValue, NotFound

__all__ = ["SITE", "number_of", "numbers_of", "vx"]

SITE = "VX"
_ID = re.compile(rf"(?:{SITE}-)?([0-9]{{1,18}})", re.IGNORECASE)


def vx(number: int) -> str:
    """A number as the id that is sent."""
    return f"{SITE}-{number}"


def number_of(kind: str, text: str) -> int:
    """The number of an id in a path; what is no id of this site belongs to nothing: NotFound."""
    match = _ID.fullmatch(text)
    if match is None:
        raise NotFound(f"there is no such {kind.lower()}", kind=kind, id=text[:64])
    return int(match[1])


def numbers_of(name: str, texts: tuple[str, ...]) -> tuple[int, ...]:
    """The numbers of ids in a parameter. Raises InvalidValue."""
    found = []
    for text in texts:
        match = _ID.fullmatch(text)
        if match is None:
            raise InvalidValue(name, f"ids are written {SITE}-123")
        found.append(int(match[1]))
    return tuple(found)
