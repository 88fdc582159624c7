"""Who asks: HTTP Basic with a user's password or an API key, or a token.

Each request carries the password, and checking one takes a fifth of a second on purpose. So the
first opens a session, and whoever sends the same again within its time goes on with that one:
the session still ends with a new password, a suspension or a logout everywhere.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import trio

from server.asgi import request_id
from server.core.errors import BadCredentials, NotAllowed, NotFound, NotLoggedIn
from server.core.permissions import Action, Actor, may
from server.core.user_rows import UserState

if TYPE_CHECKING:
    from quart import Request

    from server.core import Core

__all__ = ["Logins", "is_cross_site"]

_API_KEY = re.compile("[0-9a-f]{24}")
_REMEMBERED = 1000
_MAX_HEADER = 4096


@dataclass(slots=True)
class _Login:
    """What was logged in with before; ``lock`` makes those that come at once wait for one."""

    lock: trio.Lock
    token: str = ""


class Logins:
    """Finds out who a request is from."""

    def __init__(self, core: Core) -> None:
        self._core = core
        # Nothing in here can be turned back into a password, not even by a dump of the memory.
        self._key = secrets.token_bytes(32)
        self._logins: OrderedDict[bytes, _Login] = OrderedDict()

    async def find(self, request: Request) -> Actor:
        """Who asks. Raises NotLoggedIn, BadCredentials, AccountSuspended, NotAllowed ..."""
        header = request.headers.get("Authorization", "")
        client = request.scope.get("client")
        address = str(client[0]) if client else ""
        actor = await self._authenticate(header, address, request_id(request.scope))
        wanted = request.headers.get("RunAs", "").strip()
        return await self._run_as(actor, wanted) if wanted else actor

    async def token(self, request: Request) -> str:
        """A token that stands for the password of this request for as long as a session lasts."""
        client = request.scope.get("client")
        name, password = _basic(request.headers.get("Authorization", ""))
        opened = await self._core.sessions.login(
            name,
            password,
            address=str(client[0]) if client else "",
            request_id=request_id(request.scope),
        )
        return opened.token

    async def _authenticate(self, header: str, address: str, request: str) -> Actor:
        scheme, _, rest = header.partition(" ")
        if scheme.lower() in ("token", "bearer") and len(rest) <= _MAX_HEADER:
            return await self._core.sessions.find(rest.strip(), address=address, request_id=request)
        name, password = _basic(header)
        if _API_KEY.fullmatch(name):
            with suppress(BadCredentials):  # a user may be called like one
                return await self._core.credentials.verify(
                    "api-key", name, password, address=address, request_id=request
                )
        login = self._remembered(name, password, address)
        async with login.lock:
            if login.token:
                try:
                    return await self._core.sessions.find(
                        login.token, address=address, request_id=request
                    )
                except NotLoggedIn:
                    login.token = ""
            opened = await self._core.sessions.login(
                name, password, address=address, request_id=request
            )
            login.token = opened.token
            return opened.actor

    def _remembered(self, name: str, password: str, address: str) -> _Login:
        said = "\0".join((name, password, address)).encode("utf-8", "surrogatepass")
        key = hmac.new(self._key, said, hashlib.sha256).digest()
        login = self._logins.setdefault(key, _Login(trio.Lock()))
        self._logins.move_to_end(key)
        while len(self._logins) > _REMEMBERED:
            self._logins.popitem(last=False)
        return login

    async def _run_as(self, actor: Actor, name: str) -> Actor:
        """Somebody else, for an administrator."""
        if name.lower() == actor.name:
            return actor
        if not may(actor.role, Action.MANAGE_USERS):
            raise NotAllowed("only an administrator may run something as somebody else")
        try:
            user = await self._core.users.get(actor, name.lower())
        except NotFound:
            user = None
        if user is None or user.state is not UserState.ACTIVE:
            raise NotAllowed("there is nobody of that name to run it as")
        return replace(actor, user_id=user.id, name=user.name, role=user.role, session_id=None)


def _basic(header: str) -> tuple[str, str]:
    """Name and password of an Authorization header. Raises NotLoggedIn."""
    scheme, _, rest = header.partition(" ")
    if scheme.lower() != "basic" or len(header) > _MAX_HEADER:
        raise NotLoggedIn("send a user's name and password with HTTP Basic")
    try:
        name, colon, password = (
            base64.b64decode(rest.strip(), validate=True).decode().partition(":")
        )
    except (binascii.Error, UnicodeDecodeError):
        raise NotLoggedIn("the Authorization header cannot be read") from None
    if not colon or "\0" in name:
        raise NotLoggedIn("the Authorization header cannot be read")
    return name, password


def is_cross_site(request: Request) -> bool:
    """Whether a page of another site made a browser send this: it adds passwords by itself."""
    site = request.headers.get("Sec-Fetch-Site")
    if site not in (None, "same-origin", "none"):
        return True
    origin = request.headers.get("Origin") or request.headers.get("Referer")
    if origin is None:
        return False
    try:
        parts = urlsplit(origin)
    except ValueError:
        return True
    host = request.headers.get("Host", "").lower()
    return (parts.scheme.lower(), parts.netloc.lower()) != (request.scheme, host)
