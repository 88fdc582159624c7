"""What a call takes and gives, said once: the route, its checks, OpenAPI and the page follow.

An `Endpoint` names a dataclass for what it takes (the query of a GET, the form of a POST or PUT)
and one for what it gives; their fields carry a sentence and an example each.
"""

from __future__ import annotations

import types
import typing
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Union

from server.core.errors import InvalidValue

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from server.core import Core
    from server.core.errors import CoreError
    from server.core.permissions import Action, Actor
    from server.work.files import Files

__all__ = [
    "MOST_NUMBER",
    "Call",
    "Endpoint",
    "Endpoints",
    "FieldFacts",
    "Nothing",
    "example_of",
    "facts_of",
    "is_text",
    "read_fields",
    "render",
    "value",
]

F = TypeVar("F")
G = TypeVar("G")

MOST_NUMBER = 10**15
"""The largest number where nothing else sets a limit; every JSON parser keeps it exactly."""


def value(
    says: str,
    example: object,
    *,
    default: Any = MISSING,  # noqa: ANN401
    secret: bool = False,
    path: bool = False,
    least: int | None = None,
    most: int = MOST_NUMBER,
) -> Any:  # noqa: ANN401
    """A dataclass field with its sentence and an example.

    ``secret`` values are in no repr. A ``path`` may hold bytes that are no text, as file names
    do; every other text is Unicode without NUL, which each database can hold. A whole number that
    is taken lies from ``least`` to ``most``.
    """
    facts = {"says": says, "example": example, "secret": secret, "path": path}
    facts["bounds"] = None if least is None else (least, most)
    if default is MISSING:
        return field(metadata=facts, repr=not secret)
    return field(default=default, metadata=facts, repr=not secret)


@dataclass(frozen=True, slots=True)
class Nothing:
    """No fields."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request on its way to a handler.

    Attributes:
        files: what the core's storages hold.
        actor: who is logged in; for endpoints that need nobody, a visitor without rights.
        token: the session's token, "" without one.
        path: the variable parts of the path.
        keep_token: makes this the token in the client's cookie; "" takes the cookie back.
    """

    core: Core
    files: Files
    actor: Actor
    token: str
    path: Mapping[str, str]
    keep_token: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Endpoint(Generic[F, G]):
    """One method of one path.

    Attributes:
        path: with its variable parts in braces, below the face's base path.
        area: the functional area it belongs to.
        needs: the action a role must include; None is open to everybody.
        errors: what the core may refuse it with, besides what is common to all.
        parameters: a sentence and an example for each variable part of the path.
    """

    method: str
    path: str
    area: str
    summary: str
    needs: Action | None
    takes: type[F]
    gives: type[G]
    errors: tuple[type[CoreError], ...]
    parameters: Mapping[str, tuple[str, str]]
    handler: Callable[[Call, F], Awaitable[G]]

    @property
    def name(self) -> str:
        """A name unique among a face's endpoints, fit for identifiers."""
        return self.handler.__name__

    @property
    def changes(self) -> bool:
        """Whether it may change something, which a foreign page must not make a browser do."""
        return self.method != "GET"


class Endpoints:
    """The endpoints of one functional area, filled by a decorator."""

    def __init__(self, area: str) -> None:
        self.area = area
        self.all: list[Endpoint[Any, Any]] = []

    def add(
        self,
        method: str,
        path: str,
        *,
        needs: Action | None,
        takes: type[F],
        gives: type[G],
        errors: Iterable[type[CoreError]] = (),
        parameters: Mapping[str, tuple[str, str]] | None = None,
    ) -> Callable[[Callable[[Call, F], Awaitable[G]]], Callable[[Call, F], Awaitable[G]]]:
        """Declare the decorated coroutine as an endpoint; its docstring is the summary."""

        def declare(
            handler: Callable[[Call, F], Awaitable[G]],
        ) -> Callable[[Call, F], Awaitable[G]]:
            self.all.append(
                Endpoint(
                    method=method,
                    path=path,
                    area=self.area,
                    summary=" ".join((handler.__doc__ or "").split()),
                    needs=needs,
                    takes=takes,
                    gives=gives,
                    errors=tuple(errors),
                    parameters=parameters or {},
                    handler=handler,
                )
            )
            return handler

        return declare


@dataclass(frozen=True, slots=True)
class FieldFacts:
    """What is known of one field.

    Attributes:
        kind: its type without None and without the tuple around it.
        many: a tuple: may be given several times.
        optional: None, or a default, stands for not given.
        has_none: may be null where it is given.
        bounds: the least and the most of a whole number that is taken; None of all else.
    """

    name: str
    kind: Any
    many: bool
    optional: bool
    has_none: bool
    says: str
    example: Any
    secret: bool
    path: bool
    bounds: tuple[int, int] | None


def facts_of(kind: type[Any]) -> list[FieldFacts]:
    """The fields of a dataclass made with `value`, in order."""
    hints = typing.get_type_hints(kind)
    found = []
    for each in fields(kind):
        bare, has_none = _without_none(hints[each.name])
        many = typing.get_origin(bare) is tuple
        found.append(
            FieldFacts(
                name=each.name,
                kind=typing.get_args(bare)[0] if many else bare,
                many=many,
                optional=each.default is not MISSING,
                has_none=has_none,
                says=each.metadata["says"],
                example=each.metadata["example"],
                secret=each.metadata["secret"],
                path=each.metadata["path"],
                bounds=each.metadata["bounds"],
            )
        )
    return found


def _without_none(hint: Any) -> tuple[Any, bool]:  # noqa: ANN401
    if typing.get_origin(hint) in (Union, types.UnionType):
        kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
        assert len(kinds) == 1, "a field has one type, and perhaps None"
        return kinds[0], True
    return hint, False


def read_fields(kind: type[F], pairs: Iterable[tuple[str, str]], *, is_form: bool) -> F:
    """A dataclass from the names and values of a form, or else of a query.

    Raises InvalidValue for a name that is unknown, missing, or given twice where one is meant,
    and for a value that is not of the field's type.
    """
    given: dict[str, list[str]] = {}
    for name, text in pairs:
        given.setdefault(name, []).append(text)
    read: dict[str, object] = {}
    for facts in facts_of(kind):
        texts = given.pop(facts.name, [])
        if facts.many and (texts or not facts.optional):
            # One empty text is the empty list: a form cannot say it in another way. A query leaves
            # a filter out that it does not want.
            kept = [] if is_form and texts == [""] else texts
            read[facts.name] = tuple(_value(facts, text) for text in kept)
        elif len(texts) > 1:
            raise InvalidValue(facts.name, "given more than once")
        elif texts:
            read[facts.name] = _value(facts, texts[0])
        elif not facts.optional:
            raise InvalidValue(facts.name, "this field is missing")
    if given:
        raise InvalidValue(_shown(min(given)), "there is no such field here")
    return kind(**read)


def is_text(text: str) -> bool:
    """Whether every database can hold it: Unicode, without the surrogates of stray bytes or NUL."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def _shown(name: str) -> str:
    """A field's name as a client sent it, fit to be sent back."""
    return name[:64].encode("unicode_escape").decode("ascii")


def _value(facts: FieldFacts, text: str) -> object:
    if facts.kind is str:
        if not (facts.path or is_text(text)):
            raise InvalidValue(facts.name, "this is not text")
        return text
    if facts.kind is bool:
        if text.lower() in ("true", "1", "yes"):
            return True
        if text.lower() in ("false", "0", "no"):
            return False
        raise InvalidValue(facts.name, "true or false")
    if facts.kind is int:
        return _number(facts, text)
    if issubclass(facts.kind, StrEnum):
        try:
            return facts.kind(text)
        except ValueError:
            choices = ", ".join(facts.kind)
            raise InvalidValue(facts.name, f"one of {choices}") from None
    raise TypeError(f"{facts.name}: a form cannot hold {facts.kind!r}")


def _number(facts: FieldFacts, text: str) -> int | None:
    if facts.has_none and text == "none":
        return None
    assert facts.bounds is not None, f"{facts.name} takes any number"
    least, most = facts.bounds
    digits = text[1:] if text[:1] == "-" else text
    is_number = digits.isascii() and digits.isdigit() and len(digits) <= 18
    if not is_number or not least <= int(text) <= most:
        or_none = ", or none" if facts.has_none else ""
        raise InvalidValue(facts.name, f"a whole number from {least} to {most}{or_none}")
    return int(text)


def render(answer: object) -> Any:  # noqa: ANN401
    """An answer as JSON's types: times in RFC 3339 with Z, enumerations as their texts."""
    if is_dataclass(answer) and not isinstance(answer, type):
        return {each.name: render(getattr(answer, each.name)) for each in fields(answer)}
    if isinstance(answer, datetime):
        return answer.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(answer, StrEnum):
        return answer.value
    if isinstance(answer, tuple | list):
        return [render(each) for each in answer]
    if isinstance(answer, dict):
        return {name: render(each) for name, each in answer.items()}
    return answer


def example_of(kind: type[Any]) -> dict[str, Any]:
    """An example of a dataclass as JSON, made of its fields' examples."""
    shown: dict[str, Any] = {}
    for facts in facts_of(kind):
        if is_dataclass(facts.kind) and facts.example is not None:
            inner = example_of(typing.cast("type[Any]", facts.kind))
            shown[facts.name] = [inner] if facts.many else inner
        else:
            shown[facts.name] = render(facts.example)
    return shown
