"""Request bodies of any size, handed to a route as they arrive and no faster than it takes them.

The framework collects a body in memory without ever holding the client back. For the requests
that a face says carry frames, this layer keeps the body to itself: the framework sees an empty
one, and the handler reads chunks from `body_of` its scope.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Self

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from server.asgi import ASGIApp, Message, Receive, Scope, Send

__all__ = [
    "BODY_CUT",
    "BodyStream",
    "BrokenOff",
    "ClientGone",
    "StreamedBodies",
    "body_of",
    "has_stream",
]

_BODY = "pixfs.body"
# The message of a client that ends what it sends in the middle of a body, and may still read.
BODY_CUT = "pixfs.body.cut"
# What is still read of a refused body so that its client gets to see the refusal: closing a
# socket with unread data makes the kernel throw the answer away.
_LINGER_BYTES = 8 << 20
_LINGER_S = 5.0


class ClientGone(Exception):
    """The client went away, or fell silent, before its body was complete."""


class BrokenOff(Exception):
    """An answer that has begun cannot be gone on with, and its connection is closed before its
    end, which every client notices. The text says why, for the log.

    Attributes:
        is_failure: whether somebody must look after what the server works with.
    """

    def __init__(self, why: str, *, is_failure: bool = False) -> None:
        super().__init__(why)
        self.is_failure = is_failure


class BodyStream:
    """The chunks of one request's body, in order; read by one task, once.

    Attributes:
        received_bytes: how much has been read so far.
    """

    def __init__(self, receive: Receive, *, stall_s: float = math.inf) -> None:
        """``stall_s`` is how long a client may send nothing of what is still to come."""
        self.received_bytes = 0
        self._stall_s = stall_s
        self._receive = receive
        self._sender, self._receiver = trio.open_memory_channel[bytes](0)
        self._is_complete = self._is_cut = False
        self._thrown_away_bytes = 0
        self.gone = trio.Event()
        self._over = trio.Event()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """The next chunk; raises ClientGone when there will be no end to them."""
        try:
            chunk = await self._receiver.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            if not self._is_complete:
                raise ClientGone("the body ended in the middle") from None
            raise StopAsyncIteration from None
        self.received_bytes += len(chunk)
        return chunk

    async def pump(self) -> None:
        """Take messages from the server until the client has gone, or has been silent too long.

        Each is taken only when the one before was read, which holds the client back; when nobody
        will read any more they are thrown away, because the server's protocol waits for each.
        """
        async with self._sender:
            while not self.gone.is_set():
                message = await self._next()
                if message is None:
                    self._over.set()
                    return
                if message["type"] == BODY_CUT:
                    self._is_cut = True
                    self._over.set()
                    await self._sender.aclose()
                elif message["type"] == "http.disconnect":
                    self.gone.set()
                    self._over.set()
                elif chunk := message.get("body", b""):
                    await self._pass_on(chunk)
                if message["type"] == "http.request" and not message.get("more_body", False):
                    self._is_complete = True
                    self._over.set()
                    await self._sender.aclose()

    async def _next(self) -> Message | None:
        """The next message; None when the client sends nothing of a body it has announced."""
        is_over = self._is_complete or self._is_cut
        with trio.move_on_after(math.inf if is_over else self._stall_s):
            return await self._receive()
        return None

    async def _pass_on(self, chunk: bytes) -> None:
        try:
            await self._sender.send(chunk)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._thrown_away_bytes += len(chunk)
            if self._thrown_away_bytes > _LINGER_BYTES:
                self._over.set()

    async def leave(self) -> None:
        """Read no more; returns when an answer may be sent that the client will see."""
        await self._receiver.aclose()
        with trio.move_on_after(_LINGER_S):
            await self._over.wait()


def body_of(scope: Mapping[str, object]) -> BodyStream:
    """The body of a request that `StreamedBodies` has taken charge of."""
    body = scope[_BODY]
    assert isinstance(body, BodyStream)
    return body


def has_stream(scope: Mapping[str, object]) -> bool:
    """Whether `StreamedBodies` has taken charge of a request's body."""
    return _BODY in scope


class StreamedBodies:
    """The layer: goes outside of what limits bodies, which these requests pass by."""

    def __init__(
        self,
        app: ASGIApp,
        limited: ASGIApp,
        is_streamed: Callable[[Scope], bool],
        *,
        stall_s: float = math.inf,
    ) -> None:
        """``app`` gets the requests for which ``is_streamed``; ``limited`` all others. A body of
        which nothing comes for ``stall_s`` is given up."""
        self._stall_s = stall_s
        self._app = app
        self._limited = limited
        self._is_streamed = is_streamed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._is_streamed(scope):
            await self._limited(scope, receive, send)
            return
        body = BodyStream(receive, stall_s=self._stall_s)
        scope[_BODY] = body
        was_told = False

        async def empty_receive() -> Message:
            nonlocal was_told
            if not was_told:
                was_told = True
                return {"type": "http.request", "body": b"", "more_body": False}
            await body.gone.wait()
            return {"type": "http.disconnect"}

        async def leaving_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                with trio.CancelScope(shield=True):
                    await body.leave()
            await send(message)

        # Also when the request is cancelled: its answer, which then is still sent, may find that
        # the client has gone, and the protocol waits for a reader of that message.
        pumping = trio.CancelScope(shield=True)

        async def pump() -> None:
            with pumping:
                await body.pump()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(pump)
            try:
                await self._app(scope, empty_receive, leaving_send)
            finally:
                pumping.cancel()
