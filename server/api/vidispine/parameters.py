"""What a request's parameters say, whichever of their forms a client has chosen.

Query and matrix parameters are the same to the server: clients send either for each. Names that
are not known are passed over, as Vidispine does: its clients send some everywhere.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

from server.api.contract import is_text
from server.core.errors import InvalidValue

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["MOST_NUMBER", "Parameters"]

E = TypeVar("E", bound=StrEnum)


def _checked(name: str, value: str) -> str:
    if not is_text(value):
        raise InvalidValue(name, "this is not text")
    return value


MOST_NUMBER = 10**15
"""The highest number that a parameter takes unless it says another."""


class Parameters:
    """Names and values; every reader raises InvalidValue that names the parameter.

    Capitals in names do not matter: clients write ``jobMetadata`` and ``jobmetadata``.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name.lower(), []).append(value)

    def has(self, *names: str) -> bool:
        """Whether one of the names was given a value."""
        return any(self._values.get(name.lower(), [""]) != [""] for name in names)

    def text(self, *names: str) -> str | None:
        """The value of the first of the names that was given; the last one when it was repeated."""
        for name in names:
            if given := self._values.get(name.lower()):
                return _checked(name, given[-1])
        return None

    def words(self, *names: str) -> tuple[str, ...]:
        """A list: the parameter repeated, its values joined by commas, or both."""
        found = [
            word.strip()
            for name in names
            for value in self._values.get(name.lower(), [])
            for word in value.split(",")
            if word.strip()
        ]
        return tuple(dict.fromkeys(_checked(names[0], word) for word in found))

    def values(self, name: str) -> tuple[str, ...]:
        """A list whose values may hold commas: only the repeated ones are its members."""
        return tuple(_checked(name, value) for value in self._values.get(name.lower(), []) if value)

    def flag(self, name: str, default: bool) -> bool:
        """A truth value in any case; an empty one is the default."""
        text = (self.text(name) or "").strip().lower()
        if not text:
            return default
        if text in ("true", "1", "yes"):
            return True
        if text in ("false", "0", "no"):
            return False
        raise InvalidValue(name, "true or false")

    def number(
        self, *names: str, default: int | None = None, least: int = 0, most: int = MOST_NUMBER
    ) -> int | None:
        """A whole number between the two, or the default where none is given."""
        text = (self.text(*names) or "").strip()
        if not text:
            return default
        digits = text[1:] if text[:1] in "+-" else text
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
            raise InvalidValue(names[0], "a whole number")
        if not least <= int(text) <= most:
            raise InvalidValue(names[0], f"from {least} to {most}")
        return int(text)

    def choice(self, name: str, kind: type[E], default: E) -> E:
        """One of an enumeration, in any case."""
        text = (self.text(name) or "").strip()
        return self._choose(name, kind, text) if text else default

    def choices(self, name: str, kind: type[E]) -> tuple[E, ...]:
        """Several of an enumeration."""
        return tuple(self._choose(name, kind, word) for word in self.words(name))

    @staticmethod
    def _choose(name: str, kind: type[E], text: str) -> E:
        for member in kind:
            if member.value.lower() == text.lower():
                return member
        raise InvalidValue(name, f"one of {', '.join(kind)}")
