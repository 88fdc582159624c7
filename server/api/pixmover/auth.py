"""Cookies and what they prove: who asks, and that no foreign page made the browser ask."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from server.asgi import request_id
from server.core.errors import NotLoggedIn
from server.core.permissions import Actor, Role
from server.core.sessions import csrf_token

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quart import Request, Response

    from server.core import Core

__all__ = [
    "PLAIN_COOKIE",
    "SECURE_COOKIE",
    "clear_cookie",
    "find_actor",
    "is_cross_site",
    "set_cookie",
    "token_of",
    "visitor",
]

# The prefix makes browsers take the cookie only from this very host, over TLS, for every path.
SECURE_COOKIE = "__Host-pixfs_session"
PLAIN_COOKIE = "pixfs_session"
_CSRF_HEADER = "X-CSRF-Token"
_MAX_TOKEN = 128


def token_of(request: Request) -> str:
    """The session's token in a request's cookie, "" without one."""
    token: str = request.cookies.get(_cookie_name(request), "")
    return token if len(token) <= _MAX_TOKEN else ""


def visitor(request: Request) -> Actor:
    """Somebody of whom only the address is known."""
    address = request.scope.get("client")
    return Actor(
        user_id=None,
        name="",
        role=Role.MONITOR,
        address=str(address[0]) if address else "",
        request_id=request_id(request.scope),
    )


async def find_actor(core: Core, request: Request) -> Actor:
    """Who is logged in on this request. Raises NotLoggedIn."""
    token, known = token_of(request), visitor(request)
    if not token:
        raise NotLoggedIn("there is no session cookie")
    return await core.sessions.find(token, address=known.address, request_id=known.request_id)


def set_cookie(request: Request, response: Response, token: str) -> None:
    """Give the client a session; the cookie ends with the browser, the session by itself."""
    response.set_cookie(
        _cookie_name(request),
        token,
        path="/",
        secure=_is_secure(request),
        httponly=True,
        samesite="Lax",
    )


def clear_cookie(request: Request, response: Response) -> None:
    """Take the cookie back."""
    response.delete_cookie(
        _cookie_name(request),
        path="/",
        secure=_is_secure(request),
        httponly=True,
        samesite="Lax",
    )


def is_cross_site(request: Request, form: Mapping[str, str], *, in_session: bool) -> bool:
    """Whether a changing request may have been made by a page of another site.

    Browsers tell where a request comes from; programs say nothing and carry no cookies but
    their own. So a request that tells must come from this very origin, and, where a session
    speaks for it, prove that its page could read that session's token. A call that needs no
    session (``in_session`` is false) is not held to the token of one that may long have ended.
    """
    headers = request.headers
    origin = headers.get("Origin") or headers.get("Referer")
    site = headers.get("Sec-Fetch-Site")
    if origin is None and site is None:
        return False
    if site not in (None, "same-origin", "none"):
        return True
    if origin is not None and _origin_of(origin) != (
        request.scheme,
        headers.get("Host", "").lower(),
    ):
        return True
    token = token_of(request)
    if not in_session or not token:
        return False
    given = headers.get(_CSRF_HEADER) or form.get("csrf_token", "")
    return not hmac.compare_digest(
        given.encode("utf-8", "surrogatepass"), csrf_token(token).encode()
    )


def _origin_of(url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(url)
    except ValueError:
        return ("", "")
    return (parts.scheme.lower(), parts.netloc.lower())


def _is_secure(request: Request) -> bool:
    scheme: Any = request.scope.get("scheme", "http")
    return bool(scheme == "https")


def _cookie_name(request: Request) -> str:
    return SECURE_COOKIE if _is_secure(request) else PLAIN_COOKIE
