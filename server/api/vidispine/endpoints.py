"""What a call takes and gives, said once: route, role, parameters, OpenAPI and page follow.

``{storage-resource}`` and ``{file-resource}`` in a template stand for the forms that Vidispine's
reference gives them; each endpoint answers at all of them, with and without ``/API`` before it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeVar

from server.api.vidispine.parameters import MOST_NUMBER, Parameters
from server.core.permissions import Action

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from server.api.vidispine.documents import Document
    from server.core import Core
    from server.core.permissions import Actor
    from server.streaming import BodyStream
    from server.work.essence import Essence

__all__ = [
    "NEEDS",
    "Answer",
    "Call",
    "Endpoint",
    "Endpoints",
    "Parameter",
    "Role",
    "choice",
    "flag",
    "number",
    "text",
]


class Role(StrEnum):
    """Vidispine's roles, as far as this interface needs them."""

    FILE_READ = "_file_read"
    FILE_WRITE = "_file_write"
    STORAGE_READ = "_storage_read"
    STORAGE_WRITE = "_storage_write"
    IMPORT = "_import"
    JOB_READ = "_job_read"
    JOB_WRITE = "_job_write"
    ANYBODY = ""
    """Whoever is logged in."""


NEEDS: Mapping[Role, Action] = MappingProxyType(
    {
        Role.FILE_READ: Action.SEE_FILES,
        Role.FILE_WRITE: Action.CHANGE_FILES,
        Role.STORAGE_READ: Action.SEE_FILES,
        Role.STORAGE_WRITE: Action.MANAGE_STORAGES,
        Role.IMPORT: Action.RUN_JOBS,
        Role.JOB_READ: Action.SEE_JOBS,
        Role.JOB_WRITE: Action.RUN_JOBS,
        Role.ANYBODY: Action.USE_OWN_ACCOUNT,
    }
)
"""What each role is to the core, whose users have the server's roles."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query or matrix parameter as it is documented; clients may send each as either.

    Attributes:
        many: repeated, or joined by commas.
        default: as it is written, "" for none.
        least, most: of a whole number.
    """

    name: str
    says: str
    kind: Literal["string", "integer", "boolean"] = "string"
    where: Literal["query", "matrix", "header"] = "query"
    many: bool = False
    default: str = ""
    choices: tuple[str, ...] = ()
    required: bool = False
    least: int = 0
    most: int = MOST_NUMBER


def text(name: str, says: str, **more: object) -> Parameter:
    """A parameter that is text."""
    return Parameter(name, says, **more)  # type: ignore[arg-type]


def flag(name: str, says: str, default: bool, **more: object) -> Parameter:
    """A parameter that is true or false."""
    return Parameter(name, says, "boolean", default=str(default).lower(), **more)  # type: ignore[arg-type]


def number(name: str, says: str, **more: object) -> Parameter:
    """A parameter that is a whole number."""
    return Parameter(name, says, "integer", **more)  # type: ignore[arg-type]


def choice(name: str, says: str, choices: Sequence[str], **more: object) -> Parameter:
    """A parameter that is one of a few words."""
    return Parameter(name, says, choices=tuple(choices), **more)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Call:
    """One request on its way to a handler.

    Attributes:
        path: the variable parts of the path, decoded once.
        parameters: of query and matrix.
        headers: by lower-case name.
        read_body: the whole body, which is small.
        stream: the body of an endpoint that ``streams``.
        token: opens a session for the password that came along.
    """

    core: Core
    essence: Essence
    actor: Actor
    path: Mapping[str, str]
    parameters: Parameters
    headers: Mapping[str, str]
    read_body: Callable[[], Awaitable[bytes]]
    stream: Callable[[], BodyStream]
    token: Callable[[], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler gives back.

    Attributes:
        document: for XML and JSON; None where there is none.
        rows: for text: lines of fields. Where an endpoint gives a document and no text, a client
            that asks for text gets XML.
        body: bytes instead of either; produced while it is sent.
    """

    document: Document | None = None
    rows: Sequence[Sequence[object]] | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: AsyncIterator[bytes] | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path.

    Attributes:
        gives: the document of XML and JSON, None where only text or bytes are given.
        says: what text/plain is, "" where there is none.
        takes: documents that may come in the body.
        streams: the body is bytes of any size, read as it comes.
        bytes: the answer is application/octet-stream.
        conflicts: whether it may be answered with 409.
    """

    method: str
    template: str
    area: str
    summary: str
    role: Role
    gives: type[Document] | None
    says: str
    takes: tuple[str, ...]
    streams: bool
    gives_bytes: bool
    conflicts: bool
    parameters: tuple[Parameter, ...]
    handler: Callable[[Call], Awaitable[Answer]]

    @property
    def name(self) -> str:
        """A name unique among the endpoints, fit for identifiers."""
        return self.handler.__name__

    @property
    def paths(self) -> tuple[str, ...]:
        """Every path it answers at, without ``/API``."""
        return tuple(
            path
            for resource in _FILE_RESOURCE
            for path in _storage_forms(self.template.replace("{file-resource}", resource))
        ) if "{file-resource}" in self.template else _storage_forms(self.template)  # fmt: skip


_STORAGE_RESOURCE = ("/storage/{storage}", "/storage")
_FILE_RESOURCE = (
    "{storage-resource}/file/{file}",
    "{storage-resource}/file/path/{path}",
    "{storage-resource}/file/uri/{uri}",
    "/file/{file}",
)


def _storage_forms(template: str) -> tuple[str, ...]:
    if "{storage-resource}" not in template:
        return (template,)
    return tuple(template.replace("{storage-resource}", form) for form in _STORAGE_RESOURCE)


H = TypeVar("H", bound="Callable[[Call], Awaitable[Answer]]")


class Endpoints:
    """The endpoints of one area, filled by a decorator."""

    def __init__(self, area: str) -> None:
        self.area = area
        self.all: list[Endpoint] = []

    def add(
        self,
        method: str,
        template: str,
        *,
        role: Role,
        gives: type[Document] | None = None,
        says: str = "",
        takes: Sequence[str] = (),
        streams: bool = False,
        gives_bytes: bool = False,
        conflicts: bool = False,
        parameters: Sequence[Parameter] = (),
    ) -> Callable[[H], H]:
        """Declare the decorated coroutine as an endpoint; its docstring is the summary."""

        def declare(handler: H) -> H:
            self.all.append(
                Endpoint(
                    method=method,
                    template=template,
                    area=self.area,
                    summary=" ".join((handler.__doc__ or "").split()),
                    role=role,
                    gives=gives,
                    says=says,
                    takes=tuple(takes),
                    streams=streams,
                    gives_bytes=gives_bytes,
                    conflicts=conflicts,
                    parameters=tuple(parameters),
                    handler=handler,
                )
            )
            return handler

        return declare
