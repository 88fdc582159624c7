"""The wire form of what the operations face answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from server.core import Health


class HealthBody(TypedDict):
    """The answer to GET /healthz; an answer at all means that the server is up."""

    status: str
    version: str
    uptime_s: float


def render_health(health: Health) -> HealthBody:
    """The answer for ``health``, the uptime in seconds to the millisecond."""
    return {"status": "ok", "version": health.version, "uptime_s": round(health.uptime_s, 3)}
