"""Every endpoint's way in and out: session, origin, role, fields, core, JSON."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from quart import Blueprint, Request, Response, request

from server.api.contract import Call, Endpoint, is_text, read_fields, render
from server.api.openapi import About, document
from server.api.pixmover import (
    account,
    admin,
    auth,
    events,
    folders,
    jobs,
    login,
    settings,
    storages,
    throttling,
    workers,
)
from server.api.pixmover.auth import PLAIN_COOKIE, find_actor, is_cross_site, token_of, visitor
from server.api.pixmover.errors import CROSS_SITE, NOT_A_FORM, problem_of, problems_of
from server.asgi import request_id
from server.core.errors import CoreError, DatabaseError, InvalidValue, NotFound
from server.core.permissions import require
from server.work.files import Files

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from server.asgi import Scope
    from server.core import Core
    from server.problems import Problem

__all__ = ["ABOUT", "BASE", "ENDPOINTS", "PixMoverFace", "is_open", "openapi"]

log = logging.getLogger(__name__)

BASE = "/pixmover/v1"
_FORM = "application/x-www-form-urlencoded"
_MAX_FIELDS = 1000

ABOUT = About(
    title="PixMover",
    version="1",
    description="Move, compress and watch film frames. Log in first; the session is a cookie.",
    base=BASE,
    cookie=PLAIN_COOKIE,
)

# The one list of what the face answers; the order is that of the page and of OpenAPI.
ENDPOINTS: tuple[Endpoint[Any, Any], ...] = tuple(
    endpoint
    for area in (
        login.ENDPOINTS,
        storages.ENDPOINTS,
        jobs.ENDPOINTS,
        workers.ENDPOINTS,
        throttling.ENDPOINTS,
        folders.ENDPOINTS,
        admin.ENDPOINTS,
        account.ENDPOINTS,
        settings.ENDPOINTS,
        events.ENDPOINTS,
    )
    for endpoint in area.all
)


# None of these paths has variable parts, so that comparing them is enough.
_OPEN = frozenset(BASE + each.path for each in ENDPOINTS if each.needs is None and each.changes)


def is_open(scope: Scope) -> bool:
    """Whether a request may carry a body though nobody is logged in."""
    return scope["path"] in _OPEN


def openapi() -> dict[str, Any]:
    """The face's OpenAPI document."""
    return document(ABOUT, ENDPOINTS, problems_of)


class PixMoverFace:
    """PixMover's paths."""

    name = "pixmover"

    def blueprint(self, core: Core) -> Blueprint:
        """The face's routes, bound to ``core``."""
        routes = Blueprint(self.name, __name__)
        files = Files(core)
        for endpoint in ENDPOINTS:
            routes.add_url_rule(
                BASE + endpoint.path.replace("{", "<").replace("}", ">"),
                endpoint=f"{endpoint.method}_{endpoint.name}",
                view_func=_view(core, files, endpoint),
                methods=[endpoint.method],
                provide_automatic_options=False,
            )
        described = json.dumps(openapi()).encode()

        @routes.get(f"{BASE}/openapi.json")
        async def openapi_document() -> Response:
            return Response(described, content_type="application/json")

        return routes


def _view(
    core: Core, files: Files, endpoint: Endpoint[Any, Any]
) -> Callable[..., Awaitable[Response]]:
    async def view(**path: str) -> Response:
        try:
            return await _answer(core, files, endpoint, request, path)
        except CoreError as error:
            return _refuse(error, endpoint)

    return view


async def _answer(
    core: Core,
    files: Files,
    endpoint: Endpoint[Any, Any],
    request: Request,
    path: dict[str, str],
) -> Response:
    """Check in the order that tells strangers least: who, from where, may they, then what."""
    actor = visitor(request)
    if endpoint.needs is not None:
        actor = await find_actor(core, request)
        require(actor, endpoint.needs)
    if not all(is_text(part) for part in path.values()):
        raise NotFound("there is nothing of that name")
    pairs = _query(request)
    if endpoint.changes:
        if pairs:
            raise InvalidValue("query", "this path takes its fields in the body")
        if (problem := _refused_type(request)) is not None:
            return _problem(problem)
        body = await request.get_data(as_text=False)
        assert isinstance(body, bytes)
        pairs = _parse(body)
        if is_cross_site(request, dict(pairs), in_session=endpoint.needs is not None):
            return _problem(CROSS_SITE)
        pairs = [(name, text) for name, text in pairs if name != "csrf_token"]
    taken = read_fields(endpoint.takes, pairs, is_form=endpoint.changes)
    tokens: list[str] = []
    call = Call(core, files, actor, token_of(request), path, tokens.append)
    response = _json(200, render(await endpoint.handler(call, taken)))
    for token in tokens:
        if token:
            auth.set_cookie(request, response, token)
        else:
            auth.clear_cookie(request, response)
    return response


def _refused_type(request: Request) -> Problem | None:
    kind = request.headers.get("Content-Type", "")
    if kind.partition(";")[0].strip().lower() == _FORM:
        return None
    # A request without fields needs no body, and so no type for it.
    if not kind and request.headers.get("Content-Length", "0") == "0":
        return None
    return NOT_A_FORM


def _query(request: Request) -> list[tuple[str, str]]:
    return _parse(request.scope.get("query_string", b""))


def _parse(data: bytes) -> list[tuple[str, str]]:
    """The pairs of a form or a query, in order.

    Bytes that are no UTF-8 become surrogates, as in file names that are none either: such a
    name comes back as it was listed. Where text is shown to people they are refused.
    """
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        raise InvalidValue("body", "characters beyond ASCII must be percent-encoded") from None
    try:
        return parse_qsl(
            text,
            keep_blank_values=True,
            errors="surrogateescape",
            max_num_fields=_MAX_FIELDS,
        )
    except ValueError:
        raise InvalidValue("body", f"more than {_MAX_FIELDS} fields") from None


def _refuse(error: CoreError, endpoint: Endpoint[Any, Any]) -> Response:
    if isinstance(error, DatabaseError):
        log.error("%s: %s", endpoint.name, error, exc_info=error.__cause__)
    response = _problem(problem_of(error), field=getattr(error, "field", None))
    if (wait := getattr(error, "retry_after_s", None)) is not None:
        response.headers["Retry-After"] = str(wait)
    return response


def _problem(problem: Problem, field: str | None = None) -> Response:
    body = json.loads(problem.body(request_id(request.scope)))
    return _json(problem.status, body | ({"field": field} if field else {}))


def _json(status: int, body: object) -> Response:
    response = Response(json.dumps(body), status=status, content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response
