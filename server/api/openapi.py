"""An OpenAPI 3.1 document from a face's endpoints."""

from __future__ import annotations

import typing
from dataclasses import dataclass, is_dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from server.api.contract import Endpoint, FieldFacts, Nothing, example_of, facts_of, render
from server.core.permissions import ALLOWED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from server.problems import Problem

__all__ = ["About", "document", "path_of"]

_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}


@dataclass(frozen=True, slots=True)
class About:
    """What a face says of itself: the cookie's name is that of its session."""

    title: str
    version: str
    description: str
    base: str
    cookie: str


def path_of(base: str, endpoint: Endpoint[Any, Any]) -> str:
    """The whole path of an endpoint."""
    return base + endpoint.path


def document(
    about: About,
    endpoints: Iterable[Endpoint[Any, Any]],
    problems_of: typing.Callable[[Endpoint[Any, Any]], Iterable[Problem]],
) -> dict[str, Any]:
    """The document. ``problems_of`` gives what an endpoint may be refused with."""
    schemas: dict[str, Any] = {"Problem": _problem_schema()}
    paths: dict[str, Any] = {}
    areas: list[str] = []
    for endpoint in endpoints:
        operation = _operation(endpoint, list(problems_of(endpoint)), schemas)
        paths.setdefault(path_of(about.base, endpoint), {})[endpoint.method.lower()] = operation
        if endpoint.area not in areas:
            areas.append(endpoint.area)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": about.title,
            "version": about.version,
            "description": about.description,
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": area} for area in areas],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "session": {"type": "apiKey", "in": "cookie", "name": about.cookie}
            },
        },
    }


def _operation(
    endpoint: Endpoint[Any, Any], problems: list[Problem], schemas: dict[str, Any]
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "tags": [endpoint.area],
        "summary": endpoint.summary,
        "parameters": _parameters(endpoint),
        "responses": {
            "200": _answer("Done.", endpoint.gives, schemas),
            **_refusals(problems),
        },
    }
    if endpoint.needs is not None:
        roles = [role.value for role in ALLOWED[endpoint.needs]]
        operation["security"] = [{"session": []}]
        operation["x-roles"] = sorted(roles)
    if endpoint.changes and endpoint.takes is not Nothing:
        operation["requestBody"] = {
            "required": any(not facts.optional for facts in facts_of(endpoint.takes)),
            "content": {
                "application/x-www-form-urlencoded": {
                    "schema": _object(endpoint.takes, schemas, is_form=True)
                }
            },
        }
    return operation


def _parameters(endpoint: Endpoint[Any, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": says,
            # What has a number for a name is one of the database's.
            "schema": {"type": "integer", "minimum": 1}
            if example.isdigit()
            else {"type": "string"},
            "example": int(example) if example.isdigit() else example,
        }
        for name, (says, example) in endpoint.parameters.items()
    ]
    if not endpoint.changes:
        found += [
            {
                "name": facts.name,
                "in": "query",
                "required": not facts.optional,
                "description": facts.says,
                "schema": _field(facts, {}, is_form=True),
            }
            for facts in facts_of(endpoint.takes)
        ]
    return found


def _answer(says: str, kind: type[Any], schemas: dict[str, Any]) -> dict[str, Any]:
    content = {"schema": _reference(kind, schemas), "example": example_of(kind)}
    return {"description": says, "content": {"application/json": content}}


def _refusals(problems: list[Problem]) -> dict[str, Any]:
    by_status: dict[int, list[Problem]] = {}
    for problem in problems:
        by_status.setdefault(problem.status, []).append(problem)
    return {
        str(status): {
            "description": "; ".join(sorted({problem.code for problem in group})),
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status, group in sorted(by_status.items())
    }


def _reference(kind: type[Any], schemas: dict[str, Any]) -> dict[str, Any]:
    told = _object(kind, schemas)
    for each in told["properties"].values():
        # A secret that an answer does tell, once, is not for writing only.
        each.pop("writeOnly", None)
    if schemas.setdefault(kind.__name__, told) != told:
        raise ValueError(f"two answers are called {kind.__name__}")
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def _object(kind: type[Any], schemas: dict[str, Any], *, is_form: bool = False) -> dict[str, Any]:
    every = facts_of(kind)
    properties = {facts.name: _field(facts, schemas, is_form=is_form) for facts in every}
    required = [facts.name for facts in every if not facts.optional]
    made: dict[str, Any] = {
        "type": "object",
        "description": " ".join((kind.__doc__ or "").split()),
        "properties": properties,
        "additionalProperties": False,
    }
    return made | ({"required": required} if required else {})


def _field(facts: FieldFacts, schemas: dict[str, Any], *, is_form: bool = False) -> dict[str, Any]:
    """The schema of a field; a form or a query has no null: nothing is given, or, where that
    would leave a number as it is, the word none."""
    made = _kind(facts.kind, schemas)
    if facts.bounds is not None:
        made["minimum"], made["maximum"] = facts.bounds
    if facts.many:
        made = {"type": "array", "items": made}
    if facts.has_none and not is_form:
        made = {"anyOf": [made, {"type": "null"}]}
    elif facts.has_none and facts.kind is int:
        made = {"anyOf": [made, {"type": "string", "const": "none"}]}
    made["description"] = facts.says
    if not is_dataclass(facts.kind):
        made["examples"] = [render(facts.example)]
    if facts.secret:
        made["writeOnly"] = True
    return made


def _kind(kind: Any, schemas: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401
    if is_dataclass(kind):
        return _reference(typing.cast("type[Any]", kind), schemas)
    if kind in _TYPES:
        return {"type": _TYPES[kind]}
    if kind is datetime:
        return {"type": "string", "format": "date-time"}
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return {"type": "string", "enum": [each.value for each in kind]}
    if typing.get_origin(kind) is dict:
        return {"type": "object"}
    raise TypeError(f"no schema for {kind!r}")


def _problem_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "description": "Why a request was refused, the same everywhere.",
        "properties": {
            "code": {"type": "string", "description": "Stable, for programs."},
            "message": {"type": "string", "description": "What was wrong."},
            "hint": {"type": "string", "description": "What to do about it."},
            "request_id": {"type": "string", "description": "Finds the request in the log."},
        },
        "required": ["code", "message", "hint", "request_id"],
        "additionalProperties": True,
    }
