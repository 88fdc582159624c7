"""The connections of the HTTP server: HTTP/1.1, and what goes wrong on one ends only that one.

Hypercorn's parts do the work; they are put together here because its own loop ends the whole
server with the first error in any connection, and lets each client turn a connection into HTTP/2
or a WebSocket. HTTP/2 is not spoken: frames gain nothing by streams, of which a client may hold
many without ever making room for them, unseen by the kernel whose counters tell who still reads
(`server.readers`). Where it is wanted, a reverse proxy speaks it.
"""

from __future__ import annotations

import logging
import socket
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import h11
import trio
from hypercorn.events import Closed, RawData
from hypercorn.protocol.events import Request
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import MAX_RECV, TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr, wrap_app

from server.admission import Admission, network_of
from server.patience import patience_s
from server.streaming import BODY_CUT, has_stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hypercorn.config import Config
    from hypercorn.events import Event
    from hypercorn.typing import LifespanState

    from server.asgi import ASGIApp

__all__ = ["serve_connections"]

log = logging.getLogger(__name__)

_VERSIONS = (b"1.0", b"1.1")
# For so long an answer is waited for whose client sends nothing more and may still read.
_LAST_ANSWER_S = 10.0

_Stream: TypeAlias = "trio.SSLStream[trio.SocketStream] | trio.SocketStream"


class _Http1(H11Protocol):
    """HTTP/1.1 and 1.0. A client that proposes another protocol, HTTP/2 or WebSockets, is answered
    in this one, as it must expect."""

    is_over = False
    _is_cut = False

    def __init__(self, *given: Any) -> None:  # noqa: ANN401
        super().__init__(*given)
        self._answered = trio.Event()

    @property
    def is_complete(self) -> bool:
        """Whether a request has come, whole, and its answer is to be made."""
        return self.connection.their_state in (h11.DONE, h11.MUST_CLOSE)

    async def handle(self, event: Event) -> None:
        """Bytes from the client, or that it has gone."""
        if isinstance(event, Closed):
            self.is_over = True
        elif isinstance(event, RawData) and not event.data and self._is_streaming:
            # Nothing more comes of this body; why that is refused may still be read.
            self._is_cut = True
            await cast(Any, self.stream).app_put({"type": BODY_CUT})
            return
        await super().handle(event)

    @property
    def _is_streaming(self) -> bool:
        """Whether a body is on its way that is read as it comes."""
        stream = self.stream
        if not isinstance(stream, HTTPStream) or self.connection.their_state is not h11.SEND_BODY:
            return False
        return has_stream(stream.scope)

    async def see_out(self) -> None:
        """Returns when a client that has ended what it sends in the middle has its answer, or when
        that takes too long for one that has perhaps gone altogether."""
        if self._is_cut:
            with trio.move_on_after(_LAST_ANSWER_S):
                await self._answered.wait()

    async def _close_stream(self) -> None:
        await super()._close_stream()
        self._answered.set()

    async def _check_protocol(self, event: h11.Request) -> None:
        """Takes no upgrade."""

    async def _create_stream(self, request: h11.Request) -> None:
        if self.is_over:
            # It had asked several things at once before it went; nobody takes their answers.
            return
        if (status := _refusal(request)) is not None:
            await self._send_error_response(status)
            await self.send(Closed())
            return
        self._answered = trio.Event()
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
    # A proxy in front may go by the length, or know no chunks, and take what follows for another
    # request.
    names = {name for name, _ in request.headers}
    if b"transfer-encoding" not in names:
        return None
    return 400 if b"content-length" in names or request.http_version == b"1.0" else None


class _Connection(TCPServer):
    """One client, from the handshake to the end.

    Attributes:
        network: who it is, as `server.admission` counts clients.
        moved_at: when bytes last came from it or were taken by it.
    """

    def __init__(self, *given: Any, admission: Admission) -> None:  # noqa: ANN401
        super().__init__(*given)
        self._admission = admission
        self._http: _Http1 | None = None
        self._socket = _transport(self.stream).socket
        self._reading = trio.CancelScope()
        self._is_receiving = False
        self._sends = 0
        self._patience_s = patience_s(self.config.keep_alive_timeout)
        self.network = ""
        self.moved_at = trio.current_time()

    @property
    def is_awaited(self) -> bool:
        """Whether it is the client's turn, to send or to read."""
        if self._http is None or self._sends:
            return True
        return self._is_receiving and not self._http.is_complete

    def cut_off(self) -> None:
        """Ends the connection; also a write that waits for the client, which is shielded."""
        with suppress(OSError):  # it has ended already
            self._socket.shutdown(socket.SHUT_RDWR)

    async def run(self) -> None:
        """Returns when the connection is closed."""
        try:
            self.network = network_of(self._socket.getpeername()[0])
            if not self._admission.admit(self) or not await self._is_ready():
                return
            async with TaskGroup() as self._task_group:
                self._http = self._protocol()
                self.protocol = cast(Any, self._http)
                await self.idle_task.restart(self._task_group, self._idle_timeout)
                await self._read_data()
        except OSError:
            # The client has gone; nobody is left to be told.
            pass
        finally:
            self._admission.leave(self)
            await self._close()

    async def _read_data(self) -> None:
        assert self._http is not None
        data = b"begin"
        with self._reading:
            while data:
                try:
                    self._is_receiving = True
                    data = bytes(await self.stream.receive_some(MAX_RECV))
                except (trio.ClosedResourceError, trio.BrokenResourceError):
                    break
                finally:
                    self._is_receiving = False
                self.moved_at = trio.current_time()
                await self._http.handle(RawData(data))
            await self._http.see_out()
        await self._http.handle(Closed())

    async def protocol_send(self, event: Event) -> None:
        """What the protocol has for the client, or says of the connection."""
        assert self._http is not None
        if isinstance(event, RawData):
            try:
                with self._sending():
                    await super().protocol_send(event)
            except trio.BusyResourceError:
                # The reading task closes it at this moment: the client went in mid-request.
                await self._http.handle(Closed())
        else:
            await super().protocol_send(event)
        if self._http.is_over:
            # Who has sent the next request with this one, and gone, would be waited for: the
            # protocol takes the next up when this one is answered, which it never will be.
            self._reading.cancel()

    @contextmanager
    def _sending(self) -> Iterator[None]:
        self._sends += 1
        self.moved_at = trio.current_time()
        try:
            yield
        finally:
            self._sends -= 1
            self.moved_at = trio.current_time()

    async def _idle_timeout(self) -> None:
        """Ends it when no request has begun in time, or the server is stopping."""
        with trio.move_on_after(self._patience_s):
            await self.context.terminated.wait()
        with trio.CancelScope(shield=True):
            await self._initiate_server_close()

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
        end = self._socket
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


def _transport(stream: _Stream) -> trio.SocketStream:
    return stream.transport_stream if isinstance(stream, trio.SSLStream) else stream


async def serve_connections(
    app: ASGIApp,
    config: Config,
    listener: socket.socket,
    *,
    stop: trio.Event,
    admission: Admission,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer requests until ``stop`` is set, and then those that are under way for the graceful
    time of ``config``, unless their clients fall silent; takes the listener over."""
    config.alpn_protocols = ["http/1.1"]
    wrapped = wrap_app(cast(Any, app), config.wsgi_max_body_size, "asgi")
    context, state = WorkerContext(None), cast("LifespanState", {})
    plain = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
    tls = config.create_ssl_context()
    accepting = plain if tls is None else trio.SSLListener(plain, tls, https_compatible=True)

    async def connected(stream: _Stream) -> None:
        try:
            given = wrapped, config, context, state, cast(Any, stream)
            await _Connection(*given, admission=admission).run()
        except* Exception as errors:
            log.error("a connection has failed", exc_info=errors)

    async with trio.open_nursery() as lifespans:
        lifespan = Lifespan(wrapped, config, state)
        await lifespans.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        async with trio.open_nursery() as stopping:
            async with trio.open_nursery() as connections:
                listening = partial(
                    trio.serve_listeners, connected, [accepting], handler_nursery=connections
                )
                async with trio.open_nursery() as accepts:
                    accepts.start_soon(listening)
                    task_status.started()
                    await stop.wait()
                    accepts.cancel_scope.cancel()
                await context.terminated.set()
                stopping.start_soon(admission.see_off)
                connections.cancel_scope.deadline = trio.current_time() + config.graceful_timeout
            stopping.cancel_scope.cancel()
        await lifespan.wait_for_shutdown()
        lifespans.cancel_scope.cancel()
