"""Connections that are held open with as little as keeps them open, as slowhttptest does it.

usage: python -m tests.slowclients.attack PORT COUNT

A third sends the head of a request byte by byte, a third the body of a login, a third asks for
a large answer and reads hardly anything of it. What the server closes is opened again, so that
there are always COUNT. A line of standard output says when all are open; at the end of standard
input another tells how often each kind was closed.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import sys
from collections import Counter
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["DRIBBLE_S", "KINDS", "SlowClients"]

# Between two bytes of a connection.
DRIBBLE_S = 5.0
KINDS = ("head", "body", "read")
_HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
_BODY = (
    b"POST /pixmover/v1/login HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 10000\r\n\r\n"
)
_READ = b"GET /API/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2
_SMALLEST_BUFFER = 2048
# How long it takes to open all of them.
_OPENING_S = 2.0


class SlowClients:
    """Holds connections open to a port; ``closed`` counts by kind those the server has ended."""

    def __init__(self, port: int, *, dribble_s: float = DRIBBLE_S) -> None:
        self._port = port
        self._dribble_s = dribble_s
        self.closed: Counter[str] = Counter()
        self.open_count = 0

    async def hold(self, kind: str, delay_s: float = 0.0) -> None:
        """One connection, opened again and again until it is cancelled."""
        await trio.sleep(delay_s)
        while True:
            with contextlib.suppress(OSError):
                await self._one(kind)
            self.closed[kind] += 1
            await trio.sleep(self._dribble_s / 10)

    async def _one(self, kind: str) -> None:
        """Returns, or raises OSError, when the server has closed it."""
        with trio.socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            if kind == "read":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALLEST_BUFFER)
            await sock.connect(("127.0.0.1", self._port))
            self.open_count += 1
            try:
                if kind == "read":
                    await self._read(sock)
                else:
                    await self._send(sock, _HEAD if kind == "head" else _BODY)
            finally:
                self.open_count -= 1

    async def _read(self, sock: trio.socket.SocketType) -> None:
        await sock.send(_READ)
        while await sock.recv(1):  # noqa: ASYNC110 - slow on purpose
            await trio.sleep(self._dribble_s)

    async def _send(self, sock: trio.socket.SocketType, first: bytes) -> None:
        await sock.send(first)
        while True:
            with trio.move_on_after(self._dribble_s):
                # Whatever is said, it is the end: a refusal, or nothing.
                await sock.recv(4096)
                return
            await sock.send(b"x")


async def _until_told(slow: SlowClients, count: int) -> None:
    async with trio.open_nursery() as nursery:
        for number, kind in zip(range(count), itertools.cycle(KINDS), strict=False):
            nursery.start_soon(slow.hold, kind, number / count * _OPENING_S)
        await trio.sleep(2 * _OPENING_S)
        _tell("open")
        async for _ in _lines():
            _tell(json.dumps({"open": slow.open_count, **slow.closed}))
        nursery.cancel_scope.cancel()


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def _lines() -> AsyncIterator[str]:
    """Of standard input; each asks for the counts, the end of them ends the attack."""
    while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
        yield line


if __name__ == "__main__":
    trio.run(_until_told, SlowClients(int(sys.argv[1])), int(sys.argv[2]))
