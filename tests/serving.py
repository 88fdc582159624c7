"""Servers under test on real sockets, and the least it takes to talk to them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from server.serve import Bind, Certificate, listen, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from server.admission import Admission
    from server.asgi import ASGIApp
    from server.readers import Readers

LOOPBACK = Bind("127.0.0.1", 0)


@dataclass
class Served:
    """A server under test: its port and how to stop it."""

    port: int
    stop: trio.Event
    stopped: trio.Event


@asynccontextmanager
async def served(
    app: ASGIApp,
    graceful_s: float = 5.0,
    certificate: Certificate | None = None,
    readers: Readers | None = None,
    admission: Admission | None = None,
    on_grace_over: Callable[[], None] = lambda: None,
) -> AsyncIterator[Served]:
    """Serve ``app`` at a free port of the loopback for the length of the block."""
    stop, stopped = trio.Event(), trio.Event()

    listener = listen(LOOPBACK)
    port = listener.getsockname()[1]

    async def run(task_status: trio.TaskStatus[None]) -> None:
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
        stopped.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        try:
            yield Served(port, stop, stopped)
        finally:
            stop.set()


async def exchange(port: int, sent: bytes) -> bytes:
    """Send raw bytes and return all that comes back until the server closes the connection."""
    with trio.fail_after(120):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(sent)
            return await read_to_eof(stream)


async def read_to_eof(stream: trio.SocketStream) -> bytes:
    received = bytearray()
    async for chunk in stream:
        received += chunk
    return bytes(received)


def parse(response: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (lower-case names) and body of a raw response with Content-Length."""
    head, _, body = response.partition(b"\r\n\r\n")
    lines = head.decode("latin1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), {k.lower(): v for k, v in headers.items()}, body


def get(path: str, *extra: str, version: str = "1.1", host: str | None = "127.0.0.1") -> bytes:
    lines = [f"GET {path} HTTP/{version}", *([f"Host: {host}"] if host else []), *extra]
    return "\r\n".join([*lines, "", ""]).encode()


CLOSE = "Connection: close"
