"""What stands between the HTTP server and the application, for every request of every face.

The layers, outermost first: what trusted proxies say of the client, the request log (id, headers
every answer carries, one log line), the Host allowlist, the body limit (or, for uploads, the body
as a stream), the shielded send.
"""

from __future__ import annotations

import logging
import math
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import trio

from server.problems import BODY_TOO_LARGE, NO_PATH, UNKNOWN_HOST, Problem
from server.streaming import BodyStream, StreamedBodies

if TYPE_CHECKING:
    from server.readers import Readers

__all__ = [
    "FACE",
    "OPEN",
    "ASGIApp",
    "Message",
    "Receive",
    "Said",
    "Scope",
    "Send",
    "host_name",
    "request_id",
    "wrap",
]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
# A refusal's body and content type in the form of the face a request is for; None for the common.
Said = Callable[[Scope, Problem], tuple[bytes, str] | None]

log = logging.getLogger(__name__)

# In the scope of a request: the face that answers it.
FACE = "pixfs.face"
# In the scope of a request that carries a body and needs no credentials: True.
OPEN = "pixfs.open"
# In the scope of a request: the other end of its connection, perhaps a proxy.
_PEER = "pixfs.peer"
_REQUEST_ID = "pixfs.request_id"
_HSTS = (b"strict-transport-security", b"max-age=31536000")
_ABSOLUTE = re.compile(rb"(?i:https?)://(?P<host>[^/@]*)(?P<path>/.*)?", re.DOTALL)
_ACCEPTED_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


def wrap(
    app: ASGIApp,
    *,
    hosts: Collection[str],
    max_body_bytes: int,
    max_open_body_bytes: int = 0,
    is_open: Callable[[Scope], bool] = lambda scope: False,
    trusted_proxies: Collection[str] = (),
    on_answered: Callable[[str, str, int, float], None] = lambda *_: None,
    readers: Readers | None = None,
    is_streamed: Callable[[Scope], bool] = lambda scope: False,
    said: Said = lambda scope, problem: None,
) -> ASGIApp:
    """Put the layers around ``app``.

    ``hosts`` are the names (no port, lower case) that a request's Host may carry;
    ``max_open_body_bytes`` is the largest body where ``is_open`` says that a request needs no
    credentials; ``trusted_proxies`` the addresses whose word on the client is taken;
    ``on_answered`` is called after each request with its face ("none" where none took it),
    method, status (0 when the client went first) and seconds. What is written is noted in
    ``readers``. ``is_streamed`` tells the requests whose bodies may be of any size, and are read
    as they come (``server.streaming``), unless nothing comes for as long as a client may read
    nothing. ``said`` gives a refusal's body and content type for a face that has a form of its
    own.
    """
    shielded = _ShieldedSend(app, readers)
    stall_s = math.inf if readers is None else readers.stall_s
    limited = _BodyLimit(shielded, max_body_bytes, max_open_body_bytes, is_open, said)
    bodies = StreamedBodies(shielded, limited, is_streamed, stall_s=stall_s)
    allowed = _HostAllowlist(bodies, hosts, said)
    return _TrustedProxies(_RequestLog(allowed, on_answered), trusted_proxies)


def request_id(scope: Mapping[str, Any]) -> str:
    """The id of the request this scope belongs to ("-" outside the request log)."""
    return str(scope.get(_REQUEST_ID, "-"))


def host_name(host: str) -> str:
    """The name in a Host header, without its port: ``"[::1]:9090"`` gives ``"[::1]"``."""
    name, colon, port = host.rpartition(":")
    if colon and (port.isdigit() or not port) and (":" not in name or name.endswith("]")):
        return name.lower()
    return host.lower()


def _headers(scope: Scope, name: bytes) -> list[bytes]:
    return [value for key, value in scope["headers"] if key.lower() == name]


async def _refuse(problem: Problem, said: Said, scope: Scope, send: Send) -> None:
    """Answer with ``problem`` and ask for the connection to be closed.

    Closed because the rest of the request may still be on its way and nobody will read it.
    """
    own = problem.body(request_id(scope)), "application/json"
    body, kind = said(scope, problem) or own
    headers = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


class _ShieldedSend:
    """Lets a message that was begun reach the server's protocol whole.

    The application's own nursery is cancelled as soon as its handler is done or the client has
    gone. A cancellation that arrives inside send() leaves the protocol between two states, and
    after ``Connection: close`` or HTTP/1.0 the socket then stays open for ever.
    """

    def __init__(self, app: ASGIApp, readers: Readers | None) -> None:
        self._app = app
        self._readers = readers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        peer = tuple(scope.get(_PEER) or ())

        async def shielded_send(message: Message) -> None:
            with trio.CancelScope(shield=True):
                if self._readers is None or len(peer) != 2:
                    await send(message)
                else:
                    with self._readers.writing((peer[0], peer[1])):
                        await send(message)
            if message.get("more_body", True):
                # Between two messages is where a download whose client has gone must end: a
                # body that never waits for anything else would be produced to its last byte.
                await trio.lowlevel.checkpoint_if_cancelled()

        try:
            await self._app(scope, receive, shielded_send)
        except* ConnectionAbortedError as errors:
            # An answer that cannot be brought to its end: the connection is closed, as it is when
            # this returns before the last message.
            for error in _leaves(errors):
                log.info("%s the answer was cut short: %s", request_id(scope), error)


def _leaves(errors: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in errors.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


class _BodyLimit:
    """Refuses bodies above the limit by what arrives, not only by what was announced.

    A chunked body announces no length, so counting is the only check that holds. What strangers
    may send is small: everything else refuses them before it reads a body.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_bytes: int,
        max_open_bytes: int,
        is_open: Callable[[Scope], bool],
        said: Said,
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._max_open_bytes = max_open_bytes
        self._is_open = is_open
        self._said = said

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = self._max_bytes
        if self._is_open(scope):
            scope[OPEN] = True
            most = self._max_open_bytes
        if any(int(length) > most for length in _headers(scope, b"content-length")):
            await self._refuse(scope, receive, send)
            return
        received = 0
        answered = False

        async def counted_receive() -> Message:
            nonlocal received
            if received > most:
                return {"type": "http.disconnect"}
            message = await receive()
            received += len(message.get("body", b""))
            # The application is told that the client has gone: it stops, and stores nothing.
            return {"type": "http.disconnect"} if received > most else message

        async def watched_send(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
            await send(message)

        await self._app(scope, counted_receive, watched_send)
        if received > most and not answered:
            await self._refuse(scope, receive, send, is_coming=True)

    async def _refuse(
        self, scope: Scope, receive: Receive, send: Send, *, is_coming: bool = False
    ) -> None:
        """Answers while what comes is thrown away: the server's protocol ends no connection of
        which messages wait to be read. ``is_coming``: the client is sending, and looks later."""
        body = BodyStream(receive)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(body.pump)
            if is_coming:
                await body.leave()
            await _refuse(BODY_TOO_LARGE, self._said, scope, send)
            nursery.cancel_scope.cancel()


class _HostAllowlist:
    """Answers only to the server's own names, which stops DNS rebinding from a browser.

    HTTP/1.0 without a Host is let through: no browser sends that, load balancers do. A target may
    name the server, too (``http://nas/healthz``); what is further in sees the path alone.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], said: Said) -> None:
        self._app = app
        self._hosts = frozenset(hosts)
        self._said = said

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = self._problem(scope) if scope["type"] == "http" else None
        if problem is not None:
            await _refuse(problem, self._said, scope, send)
        else:
            await self._app(scope, receive, send)

    def _problem(self, scope: Scope) -> Problem | None:
        if not self._is_known(scope):
            return UNKNOWN_HOST
        if scope["raw_path"].startswith(b"/"):
            return None
        target = _ABSOLUTE.fullmatch(scope["raw_path"])
        if target is None:
            return NO_PATH
        if host_name(target["host"].decode("ascii")) not in self._hosts:
            return UNKNOWN_HOST
        scope["raw_path"] = target["path"] or b"/"
        scope["path"] = unquote(scope["raw_path"].decode("ascii"))
        return None

    def _is_known(self, scope: Scope) -> bool:
        names = _headers(scope, b"host")
        if not names:
            return bool(scope["http_version"] == "1.0")
        return len(names) == 1 and host_name(names[0].decode("latin1")) in self._hosts


class _TrustedProxies:
    """Takes the client's address and scheme from a proxy that is known, and from nobody else.

    Of X-Forwarded-For the last address counts that no trusted proxy has: what stands before it
    the client may have written itself.
    """

    def __init__(self, app: ASGIApp, trusted: Collection[str]) -> None:
        self._app = app
        self._trusted = frozenset(trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope[_PEER] = scope.get("client")
        if scope["type"] == "http" and client and client[0] in self._trusted:
            listed = b",".join(_headers(scope, b"x-forwarded-for")).decode("latin1")
            hops = [hop.strip() for hop in listed.split(",") if hop.strip()]
            for hop in reversed(hops):
                if hop not in self._trusted:
                    scope["client"] = (hop[:64], 0)
                    break
            schemes = _headers(scope, b"x-forwarded-proto")
            if len(schemes) == 1 and schemes[0].lower() in (b"http", b"https"):
                scope["scheme"] = schemes[0].lower().decode()
        await self._app(scope, receive, send)


class _RequestLog:
    """Gives each request an id, sets the headers every answer carries, logs one line."""

    def __init__(self, app: ASGIApp, on_answered: Callable[[str, str, int, float], None]) -> None:
        self._app = app
        self._on_answered = on_answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope[_REQUEST_ID] = _choose_id(_headers(scope, b"x-request-id"))
        status = 0
        started = time.monotonic()

        async def marked_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", scope[_REQUEST_ID].encode()),
                    (b"x-content-type-options", b"nosniff"),
                    *([_HSTS] if scope["scheme"] == "https" else []),
                ]
            await send(message)

        try:
            await self._app(scope, receive, marked_send)
        finally:
            elapsed_s = time.monotonic() - started
            face = scope.get(FACE) or "none"
            self._on_answered(face, scope["method"], status, elapsed_s)
            log.info(
                "%s %s %s %s %.1f ms",
                scope[_REQUEST_ID],
                scope["method"],
                _one_line(scope["path"]),
                status or "unanswered",
                elapsed_s * 1000,
            )


def _choose_id(offered: list[bytes]) -> str:
    """The client's own id when it is harmless to log, else a new one."""
    if len(offered) == 1 and _ACCEPTED_ID.fullmatch(offered[0]):
        return offered[0].decode("ascii")
    return uuid.uuid4().hex


def _one_line(text: str, limit: int = 200) -> str:
    """Text a client chose, fit for one line of a log: control and bidi characters escaped."""
    return text[:limit].encode("unicode_escape").decode("ascii")
