"""Clients that ask a small thing at a steady pace, and how long each answer took them."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

import trio

__all__ = ["NormalClients", "Times"]

# Between two requests of a client.
_PACE_S = 1.0
_PATIENCE_S = 30.0


@dataclass
class Times:
    """Seconds of each answer, and why requests got none."""

    seconds: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        """Answers."""
        return len(self.seconds)

    @property
    def failed(self) -> int:
        """Requests without the right answer."""
        return self.failures.total()

    def quantile_ms(self, quantile: float) -> float:
        """Milliseconds that this part of the answers took at most."""
        rank = max(1, math.ceil(quantile * self.count))
        return sorted(self.seconds)[rank - 1] * 1000


class NormalClients:
    """Half of them keep their connection, the others make a new one for each request."""

    def __init__(self, port: int, cookie: str, count: int) -> None:
        self._port = port
        self._count = count
        head = f"GET /pixmover/v1/whoami HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n"
        self._last = f"{head}Connection: close\r\n\r\n".encode()
        self._next = f"{head}\r\n".encode()

    async def ask(self, seconds: float) -> Times:
        """All of them for so long."""
        times = Times()
        async with trio.open_nursery() as nursery:
            for number in range(self._count):
                nursery.start_soon(self._client, number, seconds, times)
        return times

    async def _client(self, number: int, seconds: float, times: Times) -> None:
        begin = trio.current_time() + number / self._count * _PACE_S
        kept: trio.SocketStream | None = None
        for turn in range(int(seconds / _PACE_S)):
            due = begin + turn * _PACE_S
            await trio.sleep_until(due)
            try:
                with trio.fail_after(_PATIENCE_S):
                    stream = kept or await trio.open_tcp_stream("127.0.0.1", self._port)
                    await self._exchange(stream, self._next if number % 2 else self._last)
            except (OSError, trio.BrokenResourceError, trio.TooSlowError, ValueError) as error:
                times.failures[repr(error)[:100]] += 1
                kept = None
                continue
            # From when it was due: who waits for the answer before waits for this one as well.
            times.seconds.append(trio.current_time() - due)
            if number % 2:
                kept = stream
            else:
                await stream.aclose()

    async def _exchange(self, stream: trio.SocketStream, sent: bytes) -> None:
        """A request and its whole answer; ValueError when it is not the right one."""
        await stream.send_all(sent)
        received = bytearray()
        while b"\r\n\r\n" not in received or not received.endswith(b"}"):
            chunk = await stream.receive_some(65536)
            received += chunk
            if not chunk:
                break
        if not received.startswith(b"HTTP/1.1 200 ") or b'"admin"' not in received:
            raise ValueError(bytes(received[:100]))
