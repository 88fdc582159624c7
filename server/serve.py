"""Runs the application on a socket, in a nursery of our own, until it is told to stop."""

from __future__ import annotations

import gc
import logging
import signal
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import trio
from hypercorn.config import Config

from server.admission import Admission
from server.api.operations import OperationsFace
from server.api.pixmover import PixMoverFace, is_open
from server.api.vidispine import VidispineFace, is_streamed, refusal
from server.app import Limits, create_app
from server.asgi import ASGIApp, wrap
from server.connections import serve_connections
from server.readers import Readers, accepted_at

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from server.api.operations import MonitorAccess
    from server.core import Core

__all__ = ["Bind", "BindError", "Certificate", "build", "listen", "serve", "serve_until_signalled"]

log = logging.getLogger(__name__)

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


class BindError(Exception):
    """The server cannot listen at the address it was given."""


@dataclass(frozen=True, slots=True)
class Bind:
    """A host and a port to listen at; port 0 lets the kernel choose one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Bind:
        """Read ``HOST:PORT`` or ``[IPV6]:PORT``; ValueError says what is wrong with it."""
        host, colon, port = text.rpartition(":")
        if not colon or not host or not port.isdecimal() or int(port) > 65535:
            raise ValueError(f"{text!r} is not HOST:PORT (for example 127.0.0.1:9090)")
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        if ":" in bare and bare == host:
            raise ValueError(f"{text!r}: write an IPv6 address in brackets, [::1]:9090")
        return cls(bare, int(port))

    @property
    def name(self) -> str:
        """The host as a Host header spells it."""
        return f"[{self.host}]" if ":" in self.host else self.host.lower()


def build(
    core: Core,
    bind: Bind,
    *,
    extra_hosts: Collection[str] = (),
    trusted_proxies: Collection[str] = (),
    limits: Limits | None = None,
    monitors: MonitorAccess | None = None,
    readers: Readers | None = None,
) -> ASGIApp:
    """The whole application as the server runs it, answering to the names of ``bind``; what it
    writes is noted in ``readers``, which `serve` then needs too."""
    limits = limits or Limits()
    readers = readers or Readers()
    app = create_app(core, [OperationsFace(monitors), PixMoverFace(), VidispineFace()], limits)
    hosts = LOOPBACK_NAMES | {bind.name} | {name.lower() for name in extra_hosts}
    return wrap(
        cast(ASGIApp, app),
        hosts=hosts,
        max_body_bytes=limits.max_body_bytes,
        max_open_body_bytes=limits.max_open_body_bytes,
        is_open=is_open,
        trusted_proxies=trusted_proxies,
        on_answered=core.metrics.request,
        readers=readers,
        is_streamed=is_streamed,
        said=refusal,
    )


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM files; ``check`` before they are served with."""

    chain: str
    private_key: str

    def check(self) -> None:
        """Raise BindError unless the two can be read and belong together."""
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
                self.chain, self.private_key
            )
        except (OSError, ValueError) as error:
            raise BindError(f"the certificate {self.chain} cannot be used: {error}") from None


async def serve(
    app: ASGIApp,
    listener: socket.socket,
    *,
    stop: trio.Event,
    graceful_s: float = 10.0,
    certificate: Certificate | None = None,
    readers: Readers | None = None,
    admission: Admission | None = None,
    on_grace_over: Callable[[], None] = lambda: None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve ``app`` until ``stop`` is set, then let running requests finish.

    Takes the ``listener`` (from ``listen``) over. Reports started when requests are answered.
    ``graceful_s`` seconds after the stop, requests still running are cancelled and their
    connections closed; those that wait for a silent client, sooner. ``on_grace_over`` is called
    on the trio thread when that begins: threads that requests wait for hear of no cancellation.
    ``admission`` limits the connections.
    """
    port = listener.getsockname()[1]
    config = _config(graceful_s, certificate)
    finished = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(_run, app, config, listener, stop, finished, admission or Admission())
        task_status.started()
        if readers is not None:
            nursery.start_soon(readers.watch, port)
        await stop.wait()
        with trio.move_on_after(graceful_s):
            await finished.wait()
        if not finished.is_set():
            on_grace_over()
            with trio.move_on_after(1):
                await finished.wait()
        if not finished.is_set():
            if count := _cut_off(port):
                log.warning("%d connections did not finish and were cut off", count)
            await finished.wait()
        nursery.cancel_scope.cancel()


async def serve_until_signalled(
    app: ASGIApp,
    listener: socket.socket,
    *,
    on_ready: Callable[[], None],
    graceful_s: float,
    certificate: Certificate | None = None,
    readers: Readers | None = None,
    admission: Admission | None = None,
    on_grace_over: Callable[[], None] = lambda: None,
    beside: Sequence[Callable[..., Awaitable[None]]] = (),
) -> None:
    """``serve`` until SIGTERM or SIGINT; a second signal stops at once.

    ``on_ready`` is called on the trio thread when requests are answered. ``beside`` runs along:
    started (``task_status``) before the first request, cancelled after the last one.
    """
    port = listener.getsockname()[1]
    stop = trio.Event()
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:

            async def serve_then_finish(task_status: trio.TaskStatus[None]) -> None:
                await serve(
                    app,
                    listener,
                    stop=stop,
                    graceful_s=graceful_s,
                    certificate=certificate,
                    readers=readers,
                    admission=admission,
                    on_grace_over=on_grace_over,
                    task_status=task_status,
                )
                nursery.cancel_scope.cancel()  # ends the wait for signals below

            for service in beside:
                await nursery.start(service)
            await nursery.start(serve_then_finish)
            on_ready()
            # What has been loaded stays for good: a collector that goes through all of it stops
            # every request for a tenth of a second.
            gc.freeze()
            async for _ in signals:
                if stop.is_set():
                    on_grace_over()
                    _cut_off(port)
                    nursery.cancel_scope.cancel()
                stop.set()


def listen(bind: Bind) -> socket.socket:
    """A socket that listens at ``bind``; BindError says why there is none.

    Blocks as long as it takes to look the host's name up: call it before the event loop runs.
    """
    try:
        infos = socket.getaddrinfo(bind.host, bind.port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = infos[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise BindError(f"cannot listen at {bind.name}:{bind.port}: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise BindError(f"cannot listen at {bind.name}:{bind.port}: {error.strerror}") from error
    return listener


def _config(graceful_s: float, certificate: Certificate | None) -> Config:
    config = Config()
    if certificate is not None:
        config.certfile, config.keyfile = certificate.chain, certificate.private_key
    config.accesslog = None
    config.errorlog = logging.getLogger("server.http")
    config.graceful_timeout = graceful_s
    # Closes idle connections and, because a connection counts as idle until its first request
    # is complete, those that dribble their headers. read_timeout stays off: it would also end a
    # download during which the client rightly sends nothing.
    config.keep_alive_timeout = 15
    config.ssl_handshake_timeout = 15
    # Bytes of headers.
    config.h11_max_incomplete_size = 1 << 15
    config.include_server_header = False
    return config


async def _run(
    app: ASGIApp,
    config: Config,
    listener: socket.socket,
    stop: trio.Event,
    finished: trio.Event,
    admission: Admission,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    try:
        await serve_connections(
            app, config, listener, stop=stop, admission=admission, task_status=task_status
        )
    finally:
        finished.set()


def _cut_off(port: int) -> int:
    """Shut down every connection accepted at ``port``; how many there were.

    Hypercorn shields its writes, so a client that has stopped reading would hold the server for
    ever: only shutting its socket down ends that write.
    """
    count = 0
    for connection, _ in accepted_at(port):
        connection.shutdown(socket.SHUT_RDWR)
        count += 1
    return count
