"""GET /healthz, /readyz and /metrics."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from quart import Blueprint, Response, abort, jsonify, request

from server.api.operations.access import MonitorAccess
from server.api.operations.schemas import render_health
from server.core.errors import DatabaseError
from server.core.metrics import CONTENT_TYPE

if TYPE_CHECKING:
    from server.core import Core

log = logging.getLogger(__name__)


class OperationsFace:
    """The paths a monitor polls."""

    name = "operations"

    def __init__(self, monitors: MonitorAccess | None = None) -> None:
        """``monitors`` may read the metrics; by default whoever is on this machine."""
        self._monitors = monitors or MonitorAccess()

    def blueprint(self, core: Core) -> Blueprint:
        """The face's routes, bound to ``core``."""
        routes = Blueprint(self.name, __name__)

        @routes.get("/healthz")
        async def healthz() -> Response:
            response = jsonify(render_health(core.health()))
            response.headers["Cache-Control"] = "no-store"
            return response

        @routes.get("/readyz")
        async def readyz() -> Response:
            try:
                await core.check_ready()
            except DatabaseError as error:
                log.error("not ready: %s", error, exc_info=error.__cause__)
                response = jsonify({"status": "unavailable", "reason": error.code})
                response.status_code = 503
            else:
                response = jsonify({"status": "ok"})
            response.headers["Cache-Control"] = "no-store"
            return response

        @routes.get("/metrics")
        async def metrics() -> Response:
            authorization = request.headers.get("Authorization", "")
            if not self._monitors.allows(request.remote_addr or "", authorization):
                abort(403, "this server's metrics are not for this address, or need their token")
            try:
                text = await core.exposition()
            except DatabaseError as error:
                log.error("no metrics: %s", error, exc_info=error.__cause__)
                abort(503, "the database does not answer")
            response = Response(text, content_type=CONTENT_TYPE)
            response.headers["Cache-Control"] = "no-store"
            return response

        return routes
