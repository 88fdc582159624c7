"""The server on a real socket: how connections end, what is refused, how it stops."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, cast

import pytest
import trio
import trio.testing
from quart import Blueprint, Response, request

from server.app import Limits, create_app
from server.asgi import ASGIApp, wrap
from server.readers import Readers
from server.serve import LOOPBACK_NAMES, Bind, BindError, build, listen
from tests.serving import CLOSE, LOOPBACK, exchange, get, parse, served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from server.core import Core
    from tests.checklogs import ExpectLogs


async def test_healthz_tells_version_and_uptime(core: Core) -> None:
    async with served(build(core, LOOPBACK)) as server:
        status, headers, body = parse(await exchange(server.port, get("/healthz", CLOSE)))
    answer = json.loads(body)
    assert status == 200
    assert answer["status"] == "ok"
    assert answer["version"]
    assert answer["uptime_s"] >= 0
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert "server" not in headers


async def test_connection_close_really_closes(core: Core) -> None:
    """Without the shielded send the socket stays open for ever and this read never ends."""
    async with served(build(core, LOOPBACK)) as server:
        for _ in range(20):
            assert (await exchange(server.port, get("/", CLOSE))).startswith(b"HTTP/1.1 404")


async def test_http_1_0_closes(core: Core) -> None:
    async with served(build(core, LOOPBACK)) as server:
        answer = await exchange(server.port, get("/healthz", version="1.0"))
    assert b" 200 " in answer


async def test_keep_alive_answers_twice_on_one_connection(core: Core) -> None:
    async with served(build(core, LOOPBACK)) as server:
        answer = await exchange(server.port, get("/healthz") + get("/healthz", CLOSE))
    assert answer.count(b'"status":"ok"') == 2


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "127.0.0.1@evil", "[::1"]
)
async def test_unknown_host_is_refused(core: Core, host: str) -> None:
    async with served(build(core, LOOPBACK)) as server:
        status, headers, body = parse(await exchange(server.port, get("/healthz", host=host)))
    assert status == 400
    assert headers["connection"] == "close"
    assert json.loads(body)["code"] == "unknown-host"


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:9090", "127.0.0.1:1", "[::1]:9090", "nas"]
)
async def test_known_hosts_are_answered(core: Core, host: str) -> None:
    async with served(build(core, LOOPBACK, extra_hosts=["NAS"])) as server:
        status, _, _ = parse(await exchange(server.port, get("/healthz", CLOSE, host=host)))
    assert status == 200


async def test_http_1_0_without_a_host_is_answered_for_load_balancers(core: Core) -> None:
    async with served(build(core, LOOPBACK)) as server:
        status, _, _ = parse(await exchange(server.port, get("/healthz", version="1.0", host=None)))
    assert status == 200


async def test_unknown_path_and_wrong_method_share_one_error_shape(core: Core) -> None:
    async with served(build(core, LOOPBACK)) as server:
        missing = parse(await exchange(server.port, get("/no/such/path", CLOSE)))
        post = b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n"
        wrong = parse(await exchange(server.port, post + b"Connection: close\r\n\r\n"))
    for status, code, (got, headers, body) in (
        (404, "not-found", missing),
        (405, "method-not-allowed", wrong),
    ):
        answer = json.loads(body)
        assert (got, answer["code"]) == (status, code)
        assert set(answer) == {"code", "message", "hint", "request_id"}
        assert all(answer.values())
        assert answer["request_id"] == headers["x-request-id"]
        assert headers["content-type"] == "application/json"
    assert "GET" in wrong[1]["allow"]


async def test_request_id_is_kept_when_harmless_and_replaced_when_not(core: Core) -> None:
    async with served(build(core, LOOPBACK)) as server:
        kept = parse(await exchange(server.port, get("/healthz", CLOSE, "X-Request-Id: shot-42.a")))
        replaced = parse(
            await exchange(server.port, get("/healthz", CLOSE, "X-Request-Id: a b\x1b[31m"))
        )
    assert kept[1]["x-request-id"] == "shot-42.a"
    assert len(replaced[1].get("x-request-id", "-" * 32)) == 32


async def test_a_handshake_for_a_websocket_is_a_request_like_any_other(core: Core) -> None:
    handshake = get(
        "/healthz",
        "Connection: Upgrade, close",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    async with served(build(core, LOOPBACK)) as server:
        assert parse(await exchange(server.port, handshake))[0] == 200


# What HTTP/2 begins with, and its first frame: empty settings.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


def post(*headers: str, body: bytes = b"") -> bytes:
    lines = ["POST /eat HTTP/1.1", "Host: localhost", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (PREFACE, 505),
        (b"GET /healthz HTTP/3.7\r\nHost: localhost\r\n\r\n", 505),
        (b"GET /healthz\r\n\r\n", 400),
        (bytes(range(256)), 400),
        (post("Content-Length: 4", "Content-Length: 5", body=b"abcde"), 400),
        (post("Content-Length: 4", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400),
        (post("Content-Length: -4", body=b"abcd"), 400),
        (post("Content-Length: " + "9" * 5000), 400),
        (post("Transfer-Encoding: xchunked", body=b"0\r\n\r\n"), 501),
        (post("Transfer-Encoding: chunked", body=b"-4\r\nabcd\r\n0\r\n\r\n"), 400),
        (post("Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n"), 501),
        (post("Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"), 400),
        (post("Transfer-Encoding: chunked", body=b"0x3\r\nabc\r\n0\r\n\r\n"), 400),
        (post("Transfer-Encoding: chunked", body=b"3\r\nabcXX0\r\n\r\n"), 400),
        (post("Transfer-Encoding: chunked", body=b"3;" + b"a" * 100_000), 431),
        (
            b"POST /eat HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (post("Content-Length: +4", body=b"abcd"), 400),
        (get("/", "X: a\rGET / HTTP/1.1"), 400),
        (get("/", "X\nY: a"), 400),
        (post("Host : localhost"), 400),
        (get("/healthz", "Host: localhost"), 400),
        (get("/\0"), 400),
        (get("/healthz", "X-Large: " + "x" * 100_000), 431),
    ],
    ids=[
        "HTTP/2", "HTTP/3.7", "HTTP/0.9", "garbage", "two lengths", "length and chunks",
        "negative length", "long length", "coding", "chunk", "two codings",
        "coding's blank", "chunk in hex", "chunk's end", "chunk's extension", "chunks in 1.0",
        "length's sign", "bare CR", "bare LF", "header", "two hosts", "target",
        "large header",
    ],
)  # fmt: skip
async def test_what_is_no_request_is_refused_and_its_connection_closed(
    core: Core, sent: bytes, status: int
) -> None:
    """And the server goes on: the tests' logs hold nothing that would need to be looked at."""
    async with served(probe_app(core, ProbeFace())) as server:
        answer = await exchange(server.port, sent)
        assert parse(answer)[0] == status
        assert (await exchange(server.port, get("/", CLOSE))).startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize(
    "sent",
    [
        post("X-Long: a\r\n b", "Content-Length: 3", body=b"abc"),
        post("Transfer-Encoding:\r\n chunked", body=b"3\r\nabc\r\n0\r\n\r\n"),
        post("Transfer-Encoding: chunked", body=b"3;a=b\r\nabc\r\n0\r\nHost: evil\r\n\r\n"),
        post("Content-Length: 3", "Content-Length: 3", body=b"abc"),
        b"POST /eat HTTP/1.1\nHost: localhost\nContent-Length: 3\nConnection: close\n\nabc",
    ],
    ids=["fold", "folded coding", "extension and trailer", "one length twice", "line feeds"],
)
async def test_old_ways_to_write_a_request_leave_no_doubt_where_it_ends(
    core: Core, sent: bytes
) -> None:
    face = ProbeFace()
    async with served(probe_app(core, face)) as server:
        answer = await exchange(server.port, sent)
    assert parse(answer)[0] == 200
    assert answer.count(b"HTTP/1.1 ") == 1
    assert face.bodies == [3]


async def test_a_name_in_the_target_opens_nothing_to_another_host(core: Core) -> None:
    async with served(build(core, LOOPBACK)) as server:
        sent = get("http://localhost/healthz", host="evil.example")
        assert parse(await exchange(server.port, sent))[0] == 400


async def test_an_error_in_a_connection_ends_only_that(
    core: Core, monkeypatch: pytest.MonkeyPatch, expect_logs: ExpectLogs
) -> None:
    expect_logs(r"ERROR server\.connections: a connection has failed")

    async def fail(*_: object) -> None:
        raise RuntimeError("planted")

    async with served(build(core, LOOPBACK)) as server:
        with monkeypatch.context() as planted:
            planted.setattr("server.connections._Http1._create_stream", fail)
            assert await exchange(server.port, get("/healthz")) == b""
        assert parse(await exchange(server.port, get("/healthz", CLOSE)))[0] == 200


class ProbeFace:
    """Routes that only these tests need: a body eater, a failure, an endless answer."""

    name = "probe"

    def __init__(self) -> None:
        self.bodies: list[int] = []
        self.entered = trio.Event()
        self.go_on = trio.Event()
        self.ended = trio.Event()

    def blueprint(self, core: Core) -> Blueprint:
        routes = Blueprint(self.name, __name__)

        @routes.post("/eat")
        async def eat() -> Response:
            self.bodies.append(len(await request.get_data()))
            return Response("eaten")

        @routes.get("/fail")
        async def fail() -> Response:
            raise RuntimeError("secret path /etc/pixfs")

        @routes.get("/wait")
        async def wait() -> Response:
            self.entered.set()
            await self.go_on.wait()
            return Response("waited")

        @routes.get("/endless")
        async def endless() -> Response:
            async def chunks() -> AsyncIterator[bytes]:
                try:
                    while True:
                        self.entered.set()
                        yield b"x" * (1 << 20)
                finally:
                    self.ended.set()

            return Response(chunks())

        return routes


def probe_app(
    core: Core, face: ProbeFace, readers: Readers | None = None, max_body_bytes: int = 1000
) -> ASGIApp:
    app = create_app(core, [face], Limits(max_body_bytes=max_body_bytes))
    return wrap(
        cast(ASGIApp, app),
        hosts=LOOPBACK_NAMES,
        max_body_bytes=max_body_bytes,
        readers=readers,
    )


def chunked(path: str, size: int) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n".encode()
    head += b"Transfer-Encoding: chunked\r\n\r\n"
    chunk = b"64\r\n" + b"b" * 100 + b"\r\n"
    return head + chunk * (size // 100) + b"0\r\n\r\n"


async def test_a_body_within_the_limit_is_read_whole(core: Core) -> None:
    face = ProbeFace()
    async with served(probe_app(core, face)) as server:
        status, _, _ = parse(await exchange(server.port, chunked("/eat", 1000)))
    assert status == 200
    assert face.bodies == [1000]


async def test_a_chunked_body_cannot_pass_the_limit(core: Core) -> None:
    face = ProbeFace()
    async with served(probe_app(core, face)) as server:
        status, _, body = parse(await exchange(server.port, chunked("/eat", 1100)))
    assert status == 413
    assert json.loads(body)["code"] == "body-too-large"
    assert face.bodies == []


async def test_an_announced_body_above_the_limit_is_refused_before_it_is_sent(core: Core) -> None:
    face = ProbeFace()
    head = b"POST /eat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1001\r\n\r\n"
    async with served(probe_app(core, face)) as server:
        status, headers, _ = parse(await exchange(server.port, head))
    assert status == 413
    assert headers["connection"] == "close"
    assert face.bodies == []


async def test_a_failing_handler_answers_500_and_tells_nothing(
    core: Core, caplog: pytest.LogCaptureFixture, expect_logs: ExpectLogs
) -> None:
    expect_logs(r"ERROR server\.app: request \w+ failed")
    async with served(probe_app(core, ProbeFace())) as server:
        status, headers, body = parse(await exchange(server.port, get("/fail", CLOSE)))
    answer = json.loads(body)
    assert status == 500
    assert answer["code"] == "internal"
    assert b"/etc/pixfs" not in body
    records = [r for r in caplog.records if r.name == "server.app"]
    assert [headers["x-request-id"] in r.getMessage() for r in records] == [True]


async def test_stop_lets_a_running_request_finish(core: Core) -> None:
    face = ProbeFace()
    answers: list[bytes] = []

    async def ask(port: int) -> None:
        answers.append(await exchange(port, get("/wait")))

    async with (
        trio.open_nursery() as nursery,
        served(probe_app(core, face), graceful_s=60) as server,
    ):
        nursery.start_soon(ask, server.port)
        await face.entered.wait()
        server.stop.set()
        face.go_on.set()
        with trio.fail_after(120):
            await server.stopped.wait()
    assert b" 200 " in answers[0]
    assert answers[0].endswith(b"waited")


async def test_stop_cuts_off_a_client_that_has_stopped_reading(
    core: Core, expect_logs: ExpectLogs
) -> None:
    expect_logs("1 connections did not finish and were cut off")
    face = ProbeFace()
    async with served(probe_app(core, face), graceful_s=0.2) as server:
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        async with stream:
            await stream.send_all(get("/endless"))
            await face.entered.wait()
            server.stop.set()
            with trio.fail_after(120):
                await server.stopped.wait()


async def test_a_client_that_reads_nothing_is_cut_off(core: Core) -> None:
    face, readers = ProbeFace(), Readers(stall_s=0.2)
    async with served(probe_app(core, face, readers), readers=readers) as server:
        async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
            await stream.send_all(get("/endless"))
            with trio.fail_after(120):
                await face.ended.wait()
        assert (await exchange(server.port, get("/", CLOSE))).startswith(b"HTTP/1.1 404")


async def test_who_reads_at_all_is_not_cut_off(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One byte a minute is enough."""
    readers = Readers(stall_s=120)
    unread = {("reads", 1): 10**6, ("sleeps", 2): 10**6}

    class Connection:
        def __init__(self, peer: tuple[str, int]) -> None:
            self.peer = peer

        def shutdown(self, how: int) -> None:
            cut.append((self.peer[0], trio.current_time() - began))

    cut: list[tuple[str, float]] = []
    began = trio.current_time()
    monkeypatch.setattr(
        "server.readers.accepted_at", lambda port: [(Connection(each), each) for each in unread]
    )
    monkeypatch.setattr(
        "server.readers._unacknowledged", lambda connection: unread[connection.peer]
    )
    with ExitStack() as writes:
        for peer in unread:
            writes.enter_context(readers.writing(peer))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(readers.watch, 9090)
            for _ in range(30):
                await trio.sleep(60)
                unread["reads", 1] -= 1
            nursery.cancel_scope.cancel()
    first = dict(reversed(cut))
    assert first.keys() == {"sleeps"}
    assert 120 < first["sleeps"] <= 180


async def test_a_download_ends_when_its_client_goes(core: Core) -> None:
    """A body that never waits for anything but send() still ends with its connection."""
    face = ProbeFace()
    async with served(probe_app(core, face), graceful_s=60) as server:
        async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
            await stream.send_all(get("/endless"))
            await face.entered.wait()
        server.stop.set()
        with trio.fail_after(120):
            await server.stopped.wait()


async def test_a_taken_port_is_a_bind_error(core: Core) -> None:
    async with served(build(core, LOOPBACK)) as server:
        with pytest.raises(BindError, match="in use"):
            listen(Bind("127.0.0.1", server.port))


async def test_two_servers_live_side_by_side(core: Core) -> None:
    async with served(build(core, LOOPBACK)) as one, served(build(core, LOOPBACK)) as two:
        assert one.port != two.port
        for server in (one, two):
            assert (await exchange(server.port, get("/", CLOSE))).startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:9090", "127.0.0.1", 9090), ("[::1]:80", "::1", 80), ("nas:0", "nas", 0)],
)
def test_bind_is_read(text: str, host: str, port: int) -> None:
    assert Bind.parse(text) == Bind(host, port)


@pytest.mark.parametrize("text", ["", "9090", ":9090", "nas:", "nas:x", "nas:65536", "::1:80"])
def test_bad_bind_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"HOST:PORT|brackets"):
        Bind.parse(text)
