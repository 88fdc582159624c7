"""An OpenAPI 3.1 document of the face, made from its endpoints and documents."""

from __future__ import annotations

import types
import typing
from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, Union

from server.api.vidispine.documents import Document, ExceptionDocument
from server.api.vidispine.endpoints import NEEDS, Role
from server.api.vidispine.rendering import JSON, TEXT, XML, wire_name
from server.core.permissions import ALLOWED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from server.api.vidispine.endpoints import Endpoint, Parameter

__all__ = ["document"]

_TYPES = {str: "string", int: "integer", bool: "boolean"}
_PATHS = {
    "storage": ("A storage's id.", "VX-1"),
    "file": ("A file's id.", "VX-1"),
    "path": ("A file's path in one segment: a slash in it is %2F.", "shots/a.0001.dpx"),
    "uri": ("A file's URI in one segment: a slash in it is %2F.", "file:///srv/a.dpx"),
    "target": ("The target storage's id.", "VX-1"),
    "state": ("A file's state.", "CLOSED"),
    "method": ("A storage method's id.", "VX-1"),
    "job": ("A job's id.", "VX-1"),
}
# Besides what an endpoint says of itself, whatever it is.
_REFUSED = {
    "400": "A parameter or the body cannot be used.",
    "401": "Nobody is logged in.",
    "403": "The role does not include it, or the storage does not take it.",
    "404": "There is no such thing, or none that may be seen.",
    "429": "Too many failed logins.",
    "503": "A storage or the database does not answer.",
}


def document(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """The document. Each endpoint is in it at every path it answers, below ``/API``."""
    schemas: dict[str, Any] = {}
    _reference(ExceptionDocument, schemas)
    paths: dict[str, Any] = {}
    areas: list[str] = []
    for endpoint in endpoints:
        if endpoint.area not in areas:
            areas.append(endpoint.area)
        for index, path in enumerate(endpoint.paths):
            name = endpoint.name if index == 0 else f"{endpoint.name}_{index + 1}"
            operation = _operation(endpoint, path, name, schemas)
            paths.setdefault(f"/API{path}", {})[endpoint.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Vidispine Files",
            "version": "1",
            "description": "Files on storages, and the jobs between them. The same paths are "
            "answered without /API. Matrix parameters may be sent as such, or in the query.",
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": area} for area in areas],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"basic": {"type": "http", "scheme": "basic"}},
        },
    }


def _operation(endpoint: Endpoint, path: str, name: str, schemas: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": name,
        "tags": [endpoint.area],
        "summary": endpoint.summary,
        "parameters": _path_parameters(path) + [_parameter(each) for each in endpoint.parameters],
        "responses": {**_answers(endpoint, schemas), **_refusals(endpoint)},
        "security": [{"basic": []}],
        "x-roles": sorted(role.value for role in ALLOWED[NEEDS[endpoint.role]]),
    }
    if endpoint.role is not Role.ANYBODY:
        made["x-vidispine-role"] = endpoint.role.value
    if endpoint.streams:
        made["requestBody"] = {"required": True, "content": {"application/octet-stream": {}}}
    elif endpoint.takes:
        made["requestBody"] = {
            "required": False,
            "content": {JSON: {"schema": {"type": "object"}}, XML: {}},
        }
    return made


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {
            "name": part[1:-1],
            "in": "path",
            "required": True,
            "description": _PATHS[part[1:-1]][0],
            "schema": {"type": "string"},
            "example": _PATHS[part[1:-1]][1],
        }
        for part in path.split("/")
        if part.startswith("{")
    ]


def _parameter(parameter: Parameter) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": parameter.kind}
    if parameter.kind == "integer":
        schema |= {"minimum": parameter.least, "maximum": parameter.most}
    elif parameter.required and parameter.kind == "string":
        schema["minLength"] = 1
    if parameter.choices:
        schema["enum"] = list(parameter.choices)
    if parameter.default and not parameter.many:
        schema["default"] = _default(parameter)
    made: dict[str, Any] = {
        "name": parameter.name,
        "in": "header" if parameter.where == "header" else "query",
        "required": parameter.required,
        "description": parameter.says,
        "schema": {"type": "array", "items": schema} if parameter.many else schema,
    }
    is_text = parameter.kind == "string" and not parameter.choices
    if parameter.where != "header" and not parameter.required and not is_text:
        # It is as if it had not been given; an empty text is a text anyhow.
        made["allowEmptyValue"] = True
    if parameter.where == "matrix":
        made["x-matrix"] = True
    return made


def _default(parameter: Parameter) -> str | int | bool:
    if parameter.kind == "boolean":
        return parameter.default == "true"
    return int(parameter.default) if parameter.kind == "integer" else parameter.default


def _answers(endpoint: Endpoint, schemas: dict[str, Any]) -> dict[str, Any]:
    if endpoint.gives_bytes:
        content: dict[str, Any] = {"application/octet-stream": {}}
        return {
            "200": {"description": "The whole file.", "content": content},
            "206": {"description": "The range that was asked for.", "content": content},
            "304": {"description": "The file is the one the client has."},
            "416": {"description": "No byte of the file lies in the range."},
        }
    content = {}
    if endpoint.gives is not None:
        content = {XML: {}, JSON: {"schema": _reference(endpoint.gives, schemas)}}
    if endpoint.says:
        content[TEXT] = {"schema": {"type": "string", "description": endpoint.says}}
    answer = {"description": "Done."} | ({"content": content} if content else {})
    return {"200": answer} if content else {"200": answer, "204": {"description": "Done."}}


def _refusals(endpoint: Endpoint) -> dict[str, Any]:
    refused = dict(_REFUSED)
    if endpoint.conflicts:
        refused["409"] = "It does not go with what there is."
    if endpoint.takes:
        refused["408"] = "The body did not come."
        refused["413"] = "The body is larger than any document."
    if endpoint.method == "POST":
        refused["507"] = "There is no room left on the storage."
    content = {
        XML: {},
        JSON: {"schema": {"$ref": "#/components/schemas/ExceptionDocument"}},
        TEXT: {"schema": {"type": "string"}},
    }
    return {
        status: {"description": says, "content": content}
        for status, says in sorted(refused.items())
    }


def _reference(kind: type[Document], schemas: dict[str, Any]) -> dict[str, Any]:
    if kind.__name__ not in schemas:
        schemas[kind.__name__] = {}  # so that it may hold itself
        schemas[kind.__name__] = _object(kind, schemas)
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def _object(kind: type[Document], schemas: dict[str, Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    properties: dict[str, Any] = {}
    required: list[str] = []
    for each in fields(kind):  # type: ignore[arg-type]
        bare, has_none = _without_none(hints[each.name])
        schema = _schema(bare, schemas)
        if has_none and kind.keeps_none:
            schema = {"anyOf": [schema, {"type": "null"}]}
        properties[wire_name(each.name)] = schema
        if not has_none or kind.keeps_none:
            required.append(wire_name(each.name))
    return {
        "type": "object",
        "description": " ".join((kind.__doc__ or "").split()),
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _without_none(hint: Any) -> tuple[Any, bool]:  # noqa: ANN401
    if typing.get_origin(hint) in (Union, types.UnionType):
        kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
        return kinds[0], True
    return hint, False


def _schema(kind: Any, schemas: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401
    if typing.get_origin(kind) is tuple:
        return {"type": "array", "items": _schema(typing.get_args(kind)[0], schemas)}
    if kind is datetime:
        # Without a colon in the zone, which no format of JSON Schema allows.
        return {"type": "string", "examples": ["2020-10-02T15:36:54.047+0000"]}
    if kind in _TYPES:
        return {"type": _TYPES[kind]}
    return _reference(kind, schemas)
