"""A receiver of webhooks for tests."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["DRIPS", "NEVER", "Receiver", "receiving"]

# What is no answer but a way not to answer.
NEVER, DRIPS = b"never", b"drips"


@dataclass
class Receiver:
    """Takes requests; answers with the next of ``answers``, the last one for ever."""

    url: str = ""
    answers: list[bytes] = field(default_factory=lambda: [b"HTTP/1.1 204 No Content\r\n\r\n"])
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    async def handle(self, stream: trio.SocketStream) -> None:
        async with stream:
            data = b""
            while b"\r\n\r\n" not in data:
                data += await stream.receive_some(65536)
            head, body = data.split(b"\r\n\r\n", 1)
            lines = head.decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines[1:])
            while len(body) < int(headers["content-length"]):
                body += await stream.receive_some(65536)
            self.requests.append((headers, body))
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if answer == NEVER:
                await trio.sleep_forever()
            if answer == DRIPS:
                # Always something, and never an answer.
                with suppress(trio.BrokenResourceError):
                    await stream.send_all(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                    while True:
                        await stream.send_all(b"x")
                        await trio.sleep(0.05)
                return
            with suppress(trio.BrokenResourceError):
                await stream.send_all(answer)


@asynccontextmanager
async def receiving(*answers: bytes) -> AsyncIterator[Receiver]:
    receiver = Receiver()
    if answers:
        receiver.answers = list(answers)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    receiver.url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/hook?x=1"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, receiver.handle, listeners)
        yield receiver
        nursery.cancel_scope.cancel()
