"""The composition root: the core and the faces put together into one application."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from quart import Blueprint, Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from server.asgi import FACE, OPEN, request_id
from server.patience import patience_s
from server.problems import INTERNAL, Problem, from_status

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping, Sequence

    from server.core import Core

log = logging.getLogger(__name__)


class Face(Protocol):
    """One documented REST interface over the core."""

    name: str

    def blueprint(self, core: Core) -> Blueprint:
        """The face's routes, bound to ``core``."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may take. The framework's own defaults break films, so each is set here.

    Attributes:
        max_body_bytes: largest request body, counted as it arrives (``server.asgi``). A route
            that takes frames must raise it for itself.
        body_timeout_s: longest wait for a whole body.
        max_open_body_bytes, open_body_timeout_s: the same for what needs no credentials; the
            wait is the shortest that may end (``server.patience``).
        response_timeout_s: None, because a limit here cuts a long download off in the middle
            with status 200 and nothing in the log.
    """

    max_body_bytes: int = 1 << 20
    body_timeout_s: float | None = 60.0
    max_open_body_bytes: int = 16 << 10
    open_body_timeout_s: float = 15.0
    response_timeout_s: float | None = None


def create_app(core: Core, faces: Sequence[Face], limits: Limits | None = None) -> QuartTrio:
    """An application with these faces; nothing of it is global, so two may run side by side."""
    limits = limits or Limits()
    app = QuartTrio("server", static_folder=None)
    app.config.update(
        MAX_CONTENT_LENGTH=limits.max_body_bytes,
        BODY_TIMEOUT=limits.body_timeout_s,
        RESPONSE_TIMEOUT=limits.response_timeout_s,
        # No page of another site may ask anything of this server, so none need be told what
        # it could ask.
        PROVIDE_AUTOMATIC_OPTIONS=False,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
    )
    app.register_error_handler(HTTPException, _render_refusal)
    app.register_error_handler(Exception, _render_failure)

    @app.before_request
    async def prepare() -> None:
        scope = cast("MutableMapping[str, Any]", request.scope)
        scope[FACE] = request.blueprint
        if scope.get(OPEN):
            cast(Any, request).body_timeout = patience_s(limits.open_body_timeout_s)

    for face in faces:
        app.register_blueprint(face.blueprint(core))
    return app


async def _render_refusal(error: HTTPException) -> Response:
    response = _render(from_status(error.code or 500, error.description or error.name))
    for name, value in error.get_headers():
        if name.lower() == "allow":
            response.headers[name] = value
    return response


async def _render_failure(error: Exception) -> Response:
    log.error("request %s failed", _id_of_request(), exc_info=error)
    return _render(INTERNAL)


def _render(problem: Problem) -> Response:
    return Response(
        problem.body(_id_of_request()),
        status=problem.status,
        content_type="application/json",
    )


def _id_of_request() -> str:
    return request_id(cast("Mapping[str, Any]", request.scope))
