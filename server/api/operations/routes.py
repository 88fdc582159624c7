"""GET /healthz and /readyz."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from quart import Blueprint, Response, jsonify

from server.api.operations.schemas import render_health
from server.core.errors import DatabaseError

if TYPE_CHECKING:
    from server.core import Core

log = logging.getLogger(__name__)


class OperationsFace:
    """The paths a monitor polls."""

    name = "operations"

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

        return routes
