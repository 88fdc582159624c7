"""The one shape of an error answer, wherever in the server it arises.

    {"code": "not-found", "message": "...", "hint": "...", "request_id": "..."}

``code`` is stable and made for programs, ``message`` says what was wrong, ``hint`` what to do
about it. None of them ever carries a path of the server, a trace or a version.
"""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of refusal: its HTTP status and what it tells the client."""

    status: int
    code: str
    message: str
    hint: str

    def body(self, request_id: str) -> bytes:
        """The answer's JSON, naming the request so that the log can be searched for it."""
        return json.dumps(
            {
                "code": self.code,
                "message": self.message,
                "hint": self.hint,
                "request_id": request_id,
            }
        ).encode()


UNKNOWN_HOST = Problem(
    400,
    "unknown-host",
    "this server does not answer to that Host",
    "use the address the server was started with, or start it with --allow-host NAME",
)
NO_PATH = Problem(
    400,
    "bad-request",
    "the request's target is no path",
    "begin the path with a slash",
)
BODY_TOO_LARGE = Problem(
    413,
    "body-too-large",
    "the request's body is larger than this path takes",
    "send less",
)
INTERNAL = Problem(
    500,
    "internal",
    "the server failed to answer",
    "give the request_id to whoever runs the server: its log tells why",
)

_BY_STATUS = {
    400: ("bad-request", "check the request's syntax and parameters"),
    403: ("forbidden", "ask whoever runs the server"),
    404: ("not-found", "check the path; /healthz tells whether the server is up"),
    405: ("method-not-allowed", "use one of the methods in the Allow header"),
    408: ("request-timeout", "send the body without long pauses"),
    413: (BODY_TOO_LARGE.code, BODY_TOO_LARGE.hint),
    415: (
        "unsupported-media-type",
        "send the body as application/x-www-form-urlencoded",
    ),
}


def from_status(status: int, message: str) -> Problem:
    """The problem for a refusal that only has an HTTP status and a text, whose first sentence
    says it: what follows is advice to somebody at a browser."""
    message = message.partition(". ")[0].removesuffix(".")
    code, hint = _BY_STATUS.get(status, (f"http-{status}", "check the request"))
    return Problem(status, code, message, hint)
