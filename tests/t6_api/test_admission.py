"""Clients that are slow on purpose: how long they are borne, and that nobody else pays for them."""

from __future__ import annotations

import math
import resource
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from quart import Blueprint, Response

from server.admission import Admission, network_of, room_for
from server.readers import Readers
from server.serve import build
from tests.certificates import make_certificate
from tests.serving import CLOSE, LOOPBACK, exchange, get, parse, read_to_eof, served
from tests.t6_api.test_serve import ProbeFace, post, probe_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from server.core import Core
    from tests.checklogs import ExpectLogs

FULL = r"WARNING server\.admission: all \d+ connections are taken"
MIB = 1 << 20
_SLOW_HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
_SLOW_LOGIN = (
    b"POST /pixmover/v1/login HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\nname=adm"
)


class Client:
    """A connection that only `Admission` looks at."""

    def __init__(self, network: str, moved_at: float, *, is_awaited: bool = True) -> None:
        self.network = network
        self.moved_at = moved_at
        self.is_awaited = is_awaited
        self.is_cut = False

    def cut_off(self) -> None:
        self.is_cut = True


def gone(clients: list[Client]) -> list[int]:
    return [number for number, client in enumerate(clients) if client.is_cut]


async def test_who_holds_the_most_makes_room_by_what_was_silent_for_longest(
    expect_logs: ExpectLogs,
) -> None:
    expect_logs(FULL)
    clients = [Client("many", 5), Client("many", 3), Client("many", 4), Client("one", 1)]
    admission = Admission(4)
    assert all(admission.admit(client) for client in clients)
    assert admission.admit(Client("new", 9))
    assert gone(clients) == [1]
    # Two of "many" are left: still more than anybody else has.
    assert admission.admit(Client("newer", 9))
    assert gone(clients) == [1, 2]
    assert admission.count == 4


async def test_nobody_who_is_being_answered_makes_room(expect_logs: ExpectLogs) -> None:
    expect_logs(FULL)
    busy = [Client("many", number, is_awaited=False) for number in range(3)]
    idle = Client("one", 9)
    admission = Admission(4)
    assert all(admission.admit(client) for client in [*busy, idle])
    newcomer = Client("new", 9, is_awaited=False)
    assert admission.admit(newcomer)
    assert (gone(busy), idle.is_cut) == ([], True)
    assert not admission.admit(Client("newer", 10))
    admission.leave(busy[0])
    admission.leave(busy[0])
    assert admission.admit(Client("newer", 10))


async def test_at_the_end_the_silent_go_first(mock_clock: trio.testing.MockClock) -> None:
    mock_clock.autojump_threshold = 0.01
    admission = Admission()
    silent, talks, works = Client("a", 0), Client("a", 1.5), Client("a", 0, is_awaited=False)
    for client in (silent, talks, works):
        assert admission.admit(client)
    with trio.move_on_after(3):
        await admission.see_off()
    assert gone([silent, talks, works]) == [0]
    assert admission.count == 2


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("elsewhere", "elsewhere"),
    ],
)
def test_a_client_is_its_address_or_its_64(host: str, network: str) -> None:
    assert network_of(host) == network


@pytest.mark.parametrize(
    ("hard", "room"),
    [(resource.RLIM_INFINITY, 2000), (65536, 2000), (2048, 1536), (1000, 500)],
)
def test_descriptors_are_left_to_others(
    monkeypatch: pytest.MonkeyPatch, expect_logs: ExpectLogs, hard: int, room: int
) -> None:
    raised = []
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (256, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: raised.append(limits))
    if room < 2000:
        expect_logs("descriptors are room for")
    assert room_for(2000) == room
    assert raised == ([] if hard == resource.RLIM_INFINITY else [(hard, hard)])


async def enter(admission: Admission, count: int) -> None:
    """Returns when so many connections have been let in."""
    with trio.fail_after(120):
        while admission.count < count:
            await trio.testing.wait_all_tasks_blocked(0.001)


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET / HTTP/1.1\r\nHost: lo", post("Content-Length: 9", body=b"x"), get("/endless")],
    ids=["nothing", "head", "body", "read"],
)
async def test_slow_clients_push_out_one_another_and_nobody_else(
    core: Core, expect_logs: ExpectLogs, sent: bytes
) -> None:
    """Six places, all taken by clients that are slow: everybody else is answered all the same."""
    expect_logs(FULL)
    admission = Admission(6)
    app = probe_app(core, ProbeFace())
    async with served(app, graceful_s=0.2, admission=admission) as server:
        slow: list[trio.SocketStream] = []
        for number in range(6):
            slow.append(await trio.open_tcp_stream("127.0.0.1", server.port))
            await slow[-1].send_all(sent)
            await enter(admission, number + 1)
        for _ in range(3):
            answer = await exchange(server.port, get("/", CLOSE))
            assert parse(answer)[0] == 404
            await enter(admission, 5)
        assert admission.count <= 6
        with trio.fail_after(120):
            await to_the_end(slow[0])
        for stream in slow:
            await trio.aclose_forcefully(stream)


async def to_the_end(stream: trio.SocketStream) -> bytes:
    """All that comes; a server that closes without having read all breaks the connection."""
    received = bytearray()
    with suppress(trio.BrokenResourceError):
        async for chunk in stream:
            received += chunk
    return bytes(received)


async def test_a_newcomer_is_turned_away_while_all_are_being_answered(
    core: Core, expect_logs: ExpectLogs
) -> None:
    expect_logs(FULL)
    face, admission = ProbeFace(), Admission(1)
    async with served(probe_app(core, face), admission=admission) as server:
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        await stream.send_all(get("/wait", CLOSE))
        await face.entered.wait()
        newcomer = await trio.open_tcp_stream("127.0.0.1", server.port)
        with trio.fail_after(120):
            await to_the_end(newcomer)
        face.go_on.set()
        assert (await read_to_eof(stream)).endswith(b"waited")
        for each in (stream, newcomer):
            await each.aclose()


async def dribble(stream: trio.SocketStream) -> None:
    with suppress(trio.BrokenResourceError):
        while True:
            await trio.sleep(5)
            await stream.send_all(b"x")


@pytest.mark.parametrize(
    ("sent", "after_s", "status"),
    [
        (b"", (15, 23), None),
        (_SLOW_HEAD, (15, 23), None),
        (post("Content-Length: 900"), (60, 65), 408),
    ],
    ids=["nothing", "head", "body"],
)
async def test_a_request_that_does_not_get_complete_is_closed(
    core: Core,
    mock_clock: trio.testing.MockClock,
    sent: bytes,
    after_s: tuple[float, float],
    status: int | None,
) -> None:
    """However steadily its bytes come."""
    mock_clock.autojump_threshold = 0.05
    async with served(probe_app(core, ProbeFace())) as server:
        began = trio.current_time()
        async with (
            await trio.open_tcp_stream("127.0.0.1", server.port) as stream,
            trio.open_nursery() as nursery,
        ):
            await stream.send_all(sent)
            if sent:
                nursery.start_soon(dribble, stream)
            answer = await to_the_end(stream)
            nursery.cancel_scope.cancel()
        assert after_s[0] <= trio.current_time() - began < after_s[1]
    assert (parse(answer)[0] if answer else None) == status


@pytest.mark.parametrize("sent", [b"", _SLOW_HEAD, _SLOW_LOGIN], ids=["nothing", "head", "login"])
async def test_clients_that_came_together_are_not_closed_together(
    core: Core, mock_clock: trio.testing.MockClock, sent: bytes
) -> None:
    """Everybody else waited for as long as a thousand endings take."""
    mock_clock.autojump_threshold = 0.05
    ends: list[float] = []

    async def hold(port: int) -> None:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(sent)
            await to_the_end(stream)
        ends.append(trio.current_time() - began)

    async with served(build(core, LOOPBACK)) as server:
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(hold, server.port)
    assert min(ends) >= 15
    assert max(ends) < 23
    assert max(ends) - min(ends) > 1


async def test_a_client_that_does_not_get_as_far_as_tls_is_closed(
    core: Core, tmp_path: Path, mock_clock: trio.testing.MockClock
) -> None:
    mock_clock.autojump_threshold = 0.05
    async with served(build(core, LOOPBACK), certificate=make_certificate(tmp_path)) as server:
        began = trio.current_time()
        async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
            assert await read_to_eof(stream) == b""
        assert 15 <= trio.current_time() - began < 20


@pytest.mark.parametrize("is_tls", [False, True], ids=["body", "handshake"])
async def test_a_stop_does_not_wait_for_who_is_silent(
    core: Core, tmp_path: Path, mock_clock: trio.testing.MockClock, is_tls: bool
) -> None:
    mock_clock.autojump_threshold = 0.05
    admission = Admission()
    certificate = make_certificate(tmp_path) if is_tls else None
    app = probe_app(core, ProbeFace())
    async with (
        served(app, 60, certificate, admission=admission) as server,
        await trio.open_tcp_stream("127.0.0.1", server.port) as stream,
    ):
        if not is_tls:
            await stream.send_all(post("Content-Length: 900", body=b"x"))
        await enter(admission, 1)
        await trio.sleep(1)
        began = trio.current_time()
        server.stop.set()
        await server.stopped.wait()
        assert trio.current_time() - began < 3


class LargeFace(ProbeFace):
    """One answer of twelve MiB, and a count of requests."""

    name = "large"

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def blueprint(self, core: Core) -> Blueprint:
        routes = super().blueprint(core)

        @routes.get("/large")
        async def large() -> Response:
            async def chunks() -> AsyncIterator[bytes]:
                for number in range(12):
                    yield bytes([number]) * MIB

            return Response(chunks(), headers={"Content-Length": str(12 * MIB)})

        @routes.get("/count")
        async def count() -> Response:
            self.asked += 1
            return Response("")

        return routes


async def test_a_download_of_many_minutes_comes_whole(
    core: Core, mock_clock: trio.testing.MockClock
) -> None:
    """The framework's own limit cut it off after a minute, with status 200 and half the bytes."""
    mock_clock.autojump_threshold = 0.05
    readers = Readers(stall_s=120)
    app = probe_app(core, LargeFace(), readers)
    async with served(app, readers=readers) as server:
        began = trio.current_time()
        with trio.socket.socket() as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
            await raw.connect(("127.0.0.1", server.port))
            stream = trio.SocketStream(raw)
            await stream.send_all(get("/large", CLOSE))
            received = bytearray()
            while chunk := await stream.receive_some(64 << 10):
                received += chunk
                if len(received) // MIB > (len(received) - len(chunk)) // MIB:
                    await trio.sleep(60)
        assert trio.current_time() - began >= 600
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert body == b"".join(bytes([number]) * MIB for number in range(12))


async def test_what_a_client_asked_for_before_it_went_is_not_done(core: Core) -> None:
    """One that asks for a hundred things at once and goes costs no more than one that goes."""
    face = LargeFace()
    async with served(probe_app(core, face), graceful_s=math.inf) as server:
        async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
            await stream.send_all(get("/endless") + get("/count") * 100)
            await face.entered.wait()
        with trio.fail_after(120):
            await face.ended.wait()
            server.stop.set()
            await server.stopped.wait()
    assert face.asked == 0


async def test_an_answer_that_meets_the_closing_of_its_connection_is_no_failure(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that went in the middle of its body, just when it was told that it took too long,
    had the server log a failure: the tests' logs hold nothing that would need to be looked at."""
    send_all = trio.SocketStream.send_all

    async def meet(self: trio.SocketStream, data: bytes) -> None:
        if self.socket.getsockname()[1] == server.port:
            raise trio.BusyResourceError
        await send_all(self, data)

    async with served(probe_app(core, ProbeFace())) as server:
        with monkeypatch.context() as planted:
            planted.setattr(trio.SocketStream, "send_all", meet)
            assert await exchange(server.port, get("/", CLOSE)) == b""
        assert parse(await exchange(server.port, get("/", CLOSE)))[0] == 404
