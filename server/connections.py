"""The connections of the HTTP server: HTTP/1.1, and what goes wrong on one ends only that one.

Hypercorn's parts do the work; they are put together here because its own loop ends the whole
server with the first error in any connection, and lets each client turn a connection into HTTP/2
or a WebSocket. HTTP/2 is not spoken: frames gain nothing by streams, of which a client may hold
many without ever making room for them, unseen by the kernel whose counters tell who still reads
(`server.readers`). Where it is wanted, a reverse proxy speaks it.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import trio
from hypercorn.events import Closed
from hypercorn.protocol.events import Request
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr, wrap_app

if TYPE_CHECKING:
    import socket

    import h11
    from hypercorn.config import Config
    from hypercorn.typing import LifespanState

    from server.asgi import ASGIApp

__all__ = ["serve_connections"]

log = logging.getLogger(__name__)

_VERSIONS = (b"1.0", b"1.1")

_Stream: TypeAlias = "trio.SSLStream[trio.SocketStream] | trio.SocketStream"


class _Http1(H11Protocol):
    """HTTP/1.1 and 1.0. A client that proposes another protocol, HTTP/2 or WebSockets, is answered
    in this one, as it must expect."""

    async def _check_protocol(self, event: h11.Request) -> None:
        """Takes no upgrade."""

    async def _create_stream(self, request: h11.Request) -> None:
        if (status := _refusal(request)) is not None:
            await self._send_error_response(status)
            await self.send(Closed())
            return
        self.stream = HTTPStream(
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.ssl,
            self.client,
            self.server,
            self.stream_send,
            STREAM_ID,
        )
        await self.stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=list(request.headers),
                http_version=request.http_version.decode("ascii"),
                method=request.method.decode("ascii").upper(),
                raw_path=request.target,
                state=self.connection_state,
            )
        )
        self.keep_alive_requests += 1


def _refusal(request: h11.Request) -> int | None:
    """The status for what is no request in HTTP/1.1, though it looks like one."""
    if request.http_version not in _VERSIONS:
        return 505
    # A proxy in front may go by the other one, and take what follows for another request.
    names = {name for name, _ in request.headers}
    return 400 if {b"content-length", b"transfer-encoding"} <= names else None


class _Connection(TCPServer):
    """One client, from the handshake to the end."""

    async def run(self) -> None:
        """Returns when the connection is closed."""
        try:
            if not await self._is_ready():
                return
            async with TaskGroup() as self._task_group:
                self.protocol = cast(Any, self._protocol())
                await self.idle_task.restart(self._task_group, self._idle_timeout)
                await self._read_data()
        except OSError:
            # The client has gone; nobody is left to be told.
            pass
        finally:
            await self._close()

    async def _is_ready(self) -> bool:
        """False when a client does not get as far as TLS."""
        if isinstance(self.stream, trio.SSLStream):
            try:
                with trio.fail_after(self.config.ssl_handshake_timeout):
                    await self.stream.do_handshake()
            except (trio.BrokenResourceError, trio.TooSlowError):
                return False
        return True

    def _protocol(self) -> _Http1:
        stream: _Stream = self.stream
        is_tls = isinstance(stream, trio.SSLStream)
        transport = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
        end = transport.socket
        return _Http1(
            self.app,
            self.config,
            self.context,
            self._task_group,
            ConnectionState(self.state),
            is_tls,
            parse_socket_addr(end.family, end.getpeername()),
            parse_socket_addr(end.family, end.getsockname()),
            self.protocol_send,
        )


async def serve_connections(
    app: ASGIApp,
    config: Config,
    listener: socket.socket,
    *,
    stop: trio.Event,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer requests until ``stop`` is set, and then those that are under way for the graceful
    time of ``config``; takes the listener over."""
    config.alpn_protocols = ["http/1.1"]
    wrapped = wrap_app(cast(Any, app), config.wsgi_max_body_size, "asgi")
    context, state = WorkerContext(None), cast("LifespanState", {})
    plain = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
    tls = config.create_ssl_context()
    accepting = plain if tls is None else trio.SSLListener(plain, tls, https_compatible=True)

    async def connected(stream: _Stream) -> None:
        try:
            await _Connection(wrapped, config, context, state, cast(Any, stream)).run()
        except* Exception as errors:
            log.error("a connection has failed", exc_info=errors)

    async with trio.open_nursery() as lifespans:
        lifespan = Lifespan(wrapped, config, state)
        await lifespans.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepts:
                accepts.start_soon(
                    partial(
                        trio.serve_listeners, connected, [accepting], handler_nursery=connections
                    )
                )
                task_status.started()
                await stop.wait()
                accepts.cancel_scope.cancel()
            await context.terminated.set()
            connections.cancel_scope.deadline = trio.current_time() + config.graceful_timeout
        await lifespan.wait_for_shutdown()
        lifespans.cancel_scope.cancel()
