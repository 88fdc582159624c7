"""Large request bodies: read as they come, no faster, and answered also when nobody reads them."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from server.asgi import wrap
from server.readers import Readers
from server.streaming import BodyStream, ClientGone, body_of
from tests.serving import parse, read_to_eof, served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from server.asgi import ASGIApp, Message, Receive, Scope, Send

MIB = 1 << 20
WAIT_S = 60


def request(length: int) -> bytes:
    return (
        f"POST /data HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n"
        "Connection: close\r\n\r\n"
    ).encode()


async def answer(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def send_for_ever(stream: trio.SocketStream, piece: bytes = b"x" * MIB) -> None:
    while True:
        await stream.send_all(piece)


@asynccontextmanager
async def connected(
    handle: ASGIApp, *, is_streamed: bool = True, stall_s: float = math.inf
) -> AsyncIterator[trio.SocketStream]:
    """A connection to a server whose only handler this is; bodies are limited to 1000 bytes."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await handle(scope, receive, send)
            return
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})

    wrapped = wrap(
        app,
        hosts={"127.0.0.1"},
        max_body_bytes=1000,
        readers=Readers(stall_s),
        is_streamed=lambda scope: is_streamed,
    )
    with trio.fail_after(WAIT_S):
        async with (
            served(wrapped) as server,
            await trio.open_tcp_stream("127.0.0.1", server.port) as stream,
        ):
            yield stream


async def post(handle: ASGIApp, length: int) -> tuple[int, bytes]:
    """What a handler answers to a body that its client sends before it looks."""
    async with connected(handle) as stream:
        await stream.send_all(request(length) + b"x" * length)
        status, _, content = parse(await read_to_eof(stream))
    return status, content


class Messages:
    """What a server hands an application: chunks, and then the client is silent."""

    def __init__(self, *messages: Message) -> None:
        self._messages = list(messages)
        self.taken = 0

    async def receive(self) -> Message:
        if self.taken == len(self._messages):
            await trio.sleep_forever()
        self.taken += 1
        return self._messages[self.taken - 1]


def chunk(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_a_chunk_is_taken_when_the_one_before_was_read() -> None:
    """Else a client that is faster than the disk fills the memory."""
    messages = Messages(*(chunk(b"x" * 9) for _ in range(50)))
    body = BodyStream(messages.receive)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(body.pump)
        await trio.testing.wait_all_tasks_blocked()
        assert messages.taken == 1
        assert await body.__anext__() == b"x" * 9
        await trio.testing.wait_all_tasks_blocked()
        assert messages.taken == 2
        assert body.received_bytes == 9
        nursery.cancel_scope.cancel()


async def test_a_client_that_goes_leaves_no_whole_body() -> None:
    messages = Messages(chunk(b"half"), {"type": "http.disconnect"})
    body = BodyStream(messages.receive)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(body.pump)
        assert await body.__anext__() == b"half"
        with pytest.raises(ClientGone):
            await body.__anext__()


async def test_a_whole_body_ends() -> None:
    body = BodyStream(Messages(chunk(b"a"), chunk(b""), chunk(b"b", more=False)).receive)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(body.pump)
        assert [part async for part in body] == [b"a", b"b"]
        nursery.cancel_scope.cancel()


async def test_a_body_far_beyond_the_limit_reaches_the_handler() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["more_body"] is False  # what the framework is told
        count = 0
        async for part in body_of(scope):
            count += len(part)
        await answer(send, 200, str(count).encode())

    assert await post(app, 3 * MIB) == (200, str(3 * MIB).encode())


@pytest.mark.parametrize("length", [100, 3 * MIB])
async def test_a_refusal_is_seen_by_who_still_sends(length: int) -> None:
    """The server's protocol queues ten messages and then waited for ever for somebody to read."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, 401, b"who are you?")

    assert await post(app, length) == (401, b"who are you?")


async def test_a_body_that_never_ends_is_not_read_for_ever() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, 401, b"who are you?")

    async with connected(app) as stream:
        await stream.send_all(request(1 << 50))
        with pytest.raises(trio.BrokenResourceError):
            await send_for_ever(stream)


async def test_a_handler_is_told_when_its_client_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.connections._LAST_ANSWER_S", 0.1)
    told = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(ClientGone):
            async for _ in body_of(scope):
                pass
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        told.set()

    async with connected(app) as stream:
        await stream.send_all(request(1000) + b"x" * 10)
        await stream.aclose()
        await told.wait()


async def test_who_ends_in_the_middle_and_still_reads_is_answered() -> None:
    """The HTTP server answered in the handler's place, and without a word."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(ClientGone):
            async for _ in body_of(scope):
                pass
        await answer(send, 400, b"that is not all of it")

    async with connected(app) as stream:
        await stream.send_all(request(1000) + b"x" * 10)
        await stream.send_eof()
        status, _, body = parse(await read_to_eof(stream))
    assert (status, body) == (400, b"that is not all of it")


async def test_other_requests_keep_their_limit() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] == "http.request":
            if not message.get("more_body", False):
                await answer(send, 200, b"")
                return

    async with connected(app, is_streamed=False) as stream:
        await stream.send_all(request(1001))
        status, _, _ = parse(await read_to_eof(stream))
    assert status == 413


async def test_a_body_in_chunks_keeps_the_limit_and_its_connection_ends() -> None:
    """The refusal waited for ever for the application to read the rest."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] == "http.request":
            pass

    head = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    async with connected(app, is_streamed=False) as stream:
        await stream.send_all(head + piece * 48 + b"0\r\n\r\n")
        status, _, _ = parse(await read_to_eof(stream))
    assert status == 413
    async with connected(app, is_streamed=False) as stream:
        await stream.send_all(head)
        with pytest.raises(trio.BrokenResourceError):
            await send_for_ever(stream, piece)


async def test_a_client_that_sends_no_more_is_given_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """One that sends a little now and then is not; after the whole body silence is right."""
    sender: trio.MemorySendChannel[Message]
    sender, receiver = trio.open_memory_channel(0)
    body = BodyStream(receiver.receive, stall_s=120)

    async def send() -> None:
        for _ in range(10):
            await trio.sleep(100)
            await sender.send(chunk(b"x"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(body.pump)
        nursery.start_soon(send)
        for _ in range(10):
            assert await body.__anext__() == b"x"
        with pytest.raises(ClientGone):
            await body.__anext__()
    assert trio.current_time() == pytest.approx(1000 + 120)

    waiting = BodyStream(Messages(chunk(b"x", more=False)).receive, stall_s=120)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiting.pump)
        assert [part async for part in waiting] == [b"x"]
        await trio.sleep(1000)
        assert not waiting.gone.is_set()
        nursery.cancel_scope.cancel()


async def test_who_is_given_up_is_told() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(ClientGone):
            async for _ in body_of(scope):
                pass
        await answer(send, 400, b"go on")

    async with connected(app, stall_s=0.2) as stream:
        await stream.send_all(request(1000) + b"x" * 10)
        status, _, content = parse(await read_to_eof(stream))
    assert (status, content) == (400, b"go on")
