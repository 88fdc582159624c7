"""GET /healthz."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Blueprint, Response, jsonify

from server.api.operations.schemas import render_health

if TYPE_CHECKING:
    from server.core import Core


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

        return routes
