"""Every request's way in and out: path, who asks, role, parameters, core, document."""

from __future__ import annotations

import json
import logging
import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from quart import Blueprint, Request, Response, request
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter

from server.api.vidispine import (
    data,
    entities,
    imports,
    jobs,
    listing,
    storages,
    system,
    transfers,
)
from server.api.vidispine.addressing import Address, Pattern, parse_path, parse_query
from server.api.vidispine.auth import Logins, is_cross_site
from server.api.vidispine.endpoints import NEEDS, Answer, Call, Endpoint
from server.api.vidispine.errors import Fault, fault_of, fault_of_problem, render_fault
from server.api.vidispine.notices import FORM, notice
from server.api.vidispine.openapi import document
from server.api.vidispine.parameters import Parameters
from server.api.vidispine.rendering import JSON, TEXT, XML, lines, negotiate, to_json, to_xml
from server.core.errors import CoreError, DatabaseError, InvalidValue, NotAllowed
from server.core.permissions import may
from server.problems import INTERNAL, Problem, from_status
from server.streaming import ClientGone, body_of
from server.work.essence import Essence

if TYPE_CHECKING:
    from collections.abc import Iterable

    from quart.blueprints import BlueprintSetupState

    from server.asgi import Scope
    from server.core import Core
    from server.core.permissions import Actor

__all__ = ["ENDPOINTS", "VidispineFace", "is_streamed", "openapi", "refusal"]

log = logging.getLogger(__name__)

_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
_FAULTS = (XML, JSON, TEXT)
_OWN_PATH = re.compile(rb"/(API|storage)(?=[/;]|\Z)")
_CROSS_SITE = Problem(403, "cross-site", "the request comes from another site's page", "")

# The one list of what the face answers; the order is that of the page and of OpenAPI.
ENDPOINTS: tuple[Endpoint, ...] = tuple(
    endpoint
    for area in (
        listing.ENDPOINTS,
        data.ENDPOINTS,
        imports.ENDPOINTS,
        transfers.ENDPOINTS,
        entities.ENDPOINTS,
        storages.ENDPOINTS,
        jobs.ENDPOINTS,
        system.ENDPOINTS,
    )
    for endpoint in area.all
)


class _Routes:
    """Which endpoint a path and a method mean."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        by_length: defaultdict[int, list[tuple[Pattern, Endpoint]]] = defaultdict(list)
        for endpoint in endpoints:
            for path in endpoint.paths:
                pattern = Pattern.of(path)
                by_length[len(pattern.parts)].append((pattern, endpoint))
        self._by_length = {
            length: sorted(found, key=lambda pair: pair[0].precision, reverse=True)
            for length, found in by_length.items()
        }

    def find(
        self, method: str, segments: tuple[str, ...]
    ) -> tuple[Endpoint | None, dict[str, str], set[str]]:
        """The endpoint with the path's variable parts, and the methods this path takes.

        Of the patterns that fit, only the most exact ones count: ``/storage/file`` is no storage.
        """
        if segments[:1] == ("API",):
            segments = segments[1:]
        methods: set[str] = set()
        best: tuple[bool, ...] | None = None
        for pattern, endpoint in self._by_length.get(len(segments), ()):
            if best is not None and pattern.precision != best:
                break
            found = pattern.match(segments)
            if found is not None:
                best = pattern.precision
                methods.add(endpoint.method)
                if method in (endpoint.method, "HEAD" if endpoint.method == "GET" else ""):
                    return endpoint, found, methods
        return None, {}, methods | ({"HEAD"} if "GET" in methods else set())


_ROUTES = _Routes(ENDPOINTS)


def is_streamed(scope: Scope) -> bool:
    """Whether a request carries a frame, of whatever size (see ``server.streaming``)."""
    if scope["method"] != "POST":
        return False
    try:
        address = parse_path(scope["raw_path"])
    except InvalidValue:
        return False
    endpoint, _, _ = _ROUTES.find("POST", address.segments)
    return endpoint is not None and endpoint.streams


def refusal(scope: Scope, problem: Problem) -> tuple[bytes, str] | None:
    """The body and content type of a refusal that a request for this face meets on its way; None
    when it is for another face."""
    if _OWN_PATH.match(scope["raw_path"]) is None:
        return None
    accept = b",".join(value for name, value in scope["headers"] if name.lower() == b"accept")
    kind = negotiate(accept.decode("latin-1"), _FAULTS) or XML
    return render_fault(fault_of_problem(problem), kind), _content_type(kind)


def openapi() -> dict[str, Any]:
    """The face's OpenAPI document."""
    return document(ENDPOINTS)


class VidispineFace:
    """Vidispine's paths, with and without ``/API`` before them."""

    name = "vidispine"

    def blueprint(self, core: Core) -> Blueprint:
        """The face's routes, bound to ``core``."""
        blueprint = Blueprint(self.name, __name__)
        desk = _Desk(core)
        core.message_forms[FORM] = notice
        # The framework only sees decoded paths, in which a file's path is not one segment any
        # more; so it hands over everything below these, and the raw path is taken apart here.
        blueprint.record(_add_converter)
        for index, rule in enumerate(("/API/<all:rest>", "/storage", "/storage/<all:rest>")):
            blueprint.add_url_rule(
                rule,
                endpoint=f"any_{index}",
                view_func=desk.answer,
                methods=list(_METHODS),
                provide_automatic_options=False,
                strict_slashes=False,
                merge_slashes=False,
            )
        described = json.dumps(openapi()).encode()

        @blueprint.get("/API/openapi.json")
        async def openapi_document() -> Response:
            return Response(described, content_type=JSON)

        return blueprint


class _Everything(BaseConverter):
    """The rest of a path, whatever is in it: line ends and doubled slashes, too."""

    regex = r"[\s\S]*"
    part_isolating = False


def _add_converter(state: BlueprintSetupState) -> None:
    state.app.url_map.converters["all"] = _Everything


class _Desk:
    """Answers the requests of one core."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._essence = Essence(core)
        self._logins = Logins(core)

    async def answer(self, rest: str = "") -> Response:
        """Answer the request of this context."""
        kind = negotiate(request.headers.get("Accept", ""), _FAULTS) or XML
        try:
            return await self._route(request, kind)
        except CoreError as error:
            if isinstance(error, DatabaseError):
                log.error("%s: %s", request.method, error, exc_info=error.__cause__)
            response = _refuse(fault_of(error), kind)
            if (wait := getattr(error, "retry_after_s", None)) is not None:
                response.headers["Retry-After"] = str(wait)
            return response
        except ClientGone:
            # It may have closed its sending side only; and the log tells what became of it.
            return _refuse(fault_of(InvalidValue("content-length", "the body ended early")), kind)
        except HTTPException as error:
            # The framework's: a body that does not come, or is more than it takes.
            problem = from_status(error.code or 500, error.description or error.name)
            return _refuse(fault_of_problem(problem), kind)
        except Exception:
            log.exception("%s %r failed", request.method, request.path[:200])
            return _refuse(fault_of_problem(INTERNAL), kind)

    async def _route(self, request: Request, kind: str) -> Response:
        address = parse_path(request.scope["raw_path"])
        endpoint, path, methods = _ROUTES.find(request.method, address.segments)
        if endpoint is None:
            return _unroutable(methods)
        # In the order that tells strangers least: who, from where, may they, then what.
        actor = await self._logins.find(request)
        if endpoint.method != "GET" and is_cross_site(request):
            return _refuse(fault_of_problem(_CROSS_SITE), kind)
        if not may(actor.role, NEEDS[endpoint.role]):
            raise NotAllowed(f"this needs the role {endpoint.role}")
        answer = await endpoint.handler(self._call(request, actor, address, path))
        return _response(endpoint, answer, request)

    def _call(self, request: Request, actor: Actor, address: Address, path: dict[str, str]) -> Call:
        async def read_body() -> bytes:
            body = await request.get_data(as_text=False)
            assert isinstance(body, bytes)
            return body

        async def token() -> str:
            return await self._logins.token(request)

        query = parse_query(request.scope["query_string"])
        return Call(
            core=self._core,
            essence=self._essence,
            actor=actor,
            path=path,
            # A query parameter goes before a matrix parameter of the same name.
            parameters=Parameters((*address.matrix, *query)),
            headers={name.lower(): value for name, value in request.headers.items()},
            read_body=read_body,
            stream=lambda: body_of(request.scope),
            token=token,
        )


def _unroutable(methods: set[str]) -> Response:
    """What Vidispine's own server says where it has nothing, whatever the client accepts."""
    status, reason = (405, "Method Not Allowed") if methods else (404, "Not Found")
    body = json.dumps({"code": status, "message": f"HTTP {status} {reason}"}).encode()
    response = Response(body, status=status, content_type=JSON)
    if methods:
        response.headers["Allow"] = ", ".join(sorted(methods))
    return response


def _refuse(fault: Fault, kind: str) -> Response:
    response = Response(
        render_fault(fault, kind), status=fault.status, content_type=_content_type(kind)
    )
    response.headers["Cache-Control"] = "no-store"
    if fault.status == 401:
        response.headers["WWW-Authenticate"] = 'Basic realm="PixFS", charset="UTF-8"'
    return response


def _content_type(kind: str) -> str:
    return kind if kind == JSON else f"{kind};charset=UTF-8"


def _response(endpoint: Endpoint, answer: Answer, request: Request) -> Response:
    response = _with_content(endpoint, answer, request)
    response.headers.setdefault("Cache-Control", "no-store")
    for name, value in answer.headers.items():
        response.headers[name] = value
    response.status_code = answer.status
    return response


def _with_content(endpoint: Endpoint, answer: Answer, request: Request) -> Response:
    if answer.body is not None:
        if request.method == "HEAD":
            return Response(b"")
        response = Response(answer.body)
        # Of a length that is known; a limit on its time would cut long ones off.
        response.timeout = None
        return response
    offered = [XML, JSON] if answer.document is not None else []
    offered += [TEXT] if endpoint.says and answer.rows is not None else []
    if not offered:
        response = Response(b"")
        response.headers.pop("Content-Type", None)
        return response
    # A client that takes none of them gets the first all the same: it has been done.
    kind = negotiate(request.headers.get("Accept", ""), offered) or offered[0]
    if kind == TEXT:
        assert answer.rows is not None
        return Response(lines(answer.rows), content_type=_content_type(TEXT))
    assert answer.document is not None
    body = to_json(answer.document) if kind == JSON else to_xml(answer.document)
    return Response(body, content_type=_content_type(kind))
