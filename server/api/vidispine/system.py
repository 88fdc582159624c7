"""The version, who is asking, and tokens."""

from __future__ import annotations

from server.api.vidispine.documents import VersionComponent, VersionDocument
from server.api.vidispine.endpoints import Answer, Call, Endpoints, Role

__all__ = ["ENDPOINTS"]

ENDPOINTS = Endpoints("System")


@ENDPOINTS.add(
    "GET", "/version", role=Role.ANYBODY, gives=VersionDocument, says="Names and versions."
)
async def get_version(call: Call) -> Answer:
    """Tell the version of what answers."""
    version = call.core.health().version
    component = VersionComponent(name="API", version=version)
    return Answer(VersionDocument(component=(component,)), [["API", version]])


@ENDPOINTS.add("GET", "/whoami", role=Role.ANYBODY, says="The user's name.")
async def whoami(call: Call) -> Answer:
    """Tell who is asking."""
    return Answer(rows=[[call.actor.name]])


@ENDPOINTS.add("GET", "/token", role=Role.ANYBODY, says="A token.")
async def get_token(call: Call) -> Answer:
    """Open a session; as long as it lasts, Authorization: token TOKEN does for the password."""
    return Answer(rows=[[await call.token()]], headers={"Cache-Control": "no-store"})
