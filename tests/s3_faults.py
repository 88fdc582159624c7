"""What stands between a client and a server that speaks S3, and spoils what it is told to."""

from __future__ import annotations

import http.client
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["FAULTS", "FaultyS3", "faulty_s3"]


@dataclass
class Answer:
    """What the server behind says."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


@dataclass
class Fault:
    """What becomes of a request.

    Attributes:
        reaches: whether the server behind gets it.
        answer: what of the answer is sent, None for nothing; how much of the body before the
            connection ends.
        hangs: it does not end before the test lets go.
    """

    reaches: bool
    answer: Callable[[Answer], tuple[Answer, int] | None]
    hangs: bool = False


def _error(status: int, code: str) -> Fault:
    body = f"<Error><Code>{code}</Code><Message>planted</Message></Error>".encode()
    answer = Answer(status, [("Content-Type", "application/xml")], body)
    return Fault(False, lambda _: (answer, len(body)))


def _flipped(answer: Answer) -> tuple[Answer, int]:
    body = bytearray(answer.body)
    if body:
        body[len(body) // 2] ^= 1
    return Answer(answer.status, answer.headers, bytes(body)), len(body)


FAULTS = {
    "500": _error(500, "InternalError"),
    "503": _error(503, "SlowDown"),
    "hang-up": Fault(False, lambda _: None),
    # The server has done it, and nobody hears of that.
    "lost": Fault(True, lambda _: None),
    "silence": Fault(False, lambda _: None, hangs=True),
    # The server has done it, and the answer does not come.
    "lost in silence": Fault(True, lambda _: None, hangs=True),
    "truncated in silence": Fault(True, lambda answer: (answer, len(answer.body) // 2), hangs=True),
    "truncated": Fault(True, lambda answer: (answer, len(answer.body) // 2)),
    "flipped": Fault(True, _flipped),
}


class FaultyS3:
    """Passes requests on; `spoil` says which not.

    Attributes:
        seen: method and path of each request, with the query.
        hung: counts the requests that hang until `let_go`.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = urlsplit(upstream)
        self._lock = threading.Lock()
        self._plan: list[tuple[Callable[[str, str], bool], Fault, int]] = []
        self.seen: list[tuple[str, str]] = []
        self.hung = threading.Semaphore(0)
        self.is_let_go = threading.Event()
        self.url = ""

    def spoil(self, which: Callable[[str, str], bool], fault: str, times: int) -> None:
        """The next so many requests of which ``which`` (method, path) is true."""
        with self._lock:
            self._plan.append((which, FAULTS[fault], times))

    def let_go(self) -> None:
        """Ends the connections that hang."""
        self.is_let_go.set()

    def heal(self) -> None:
        """Spoils nothing any more."""
        with self._lock:
            self._plan.clear()
            self.seen.clear()

    def fault_of(self, method: str, path: str) -> Fault | None:
        """What to do with a request."""
        with self._lock:
            self.seen.append((method, path))
            for at, (which, fault, times) in enumerate(self._plan):
                if times and which(method, path):
                    self._plan[at] = (which, fault, times - 1)
                    return fault
        return None

    def ask(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """What the server behind answers."""
        assert self._upstream.hostname
        assert self._upstream.port
        behind = http.client.HTTPConnection(
            self._upstream.hostname, self._upstream.port, timeout=180
        )
        try:
            behind.request(method, path, body, headers)
            answer = behind.getresponse()
            return Answer(answer.status, answer.getheaders(), answer.read())
        finally:
            behind.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    between: FaultyS3

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        fault = self.between.fault_of(self.command, self.path)
        answer = Answer(0, [], b"")
        if fault is None or fault.reaches:
            answer = self.between.ask(self.command, self.path, dict(self.headers), body)
        if fault is None:
            self._send(answer, len(answer.body))
            return
        # Whatever was spoiled, the connection is no good any more.
        self.close_connection = True
        if (spoiled := fault.answer(answer)) is not None:
            self._send(*spoiled)
        if fault.hangs:
            self.wfile.flush()
            self.between.hung.release()
            self.between.is_let_go.wait()

    def _send(self, answer: Answer, size: int) -> None:
        self.send_response(answer.status)
        has_length = False
        for name, value in answer.headers:
            if name.lower() not in ("connection", "transfer-encoding", "date", "server"):
                self.send_header(name, value)
                has_length |= name.lower() == "content-length"
        if not has_length:
            self.send_header("Content-Length", str(len(answer.body)))
        if self.close_connection:
            # A client that is not told may send its next request before it notices.
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body[:size])

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def faulty_s3(upstream: str) -> Iterator[FaultyS3]:
    """One before the server at this URL."""
    between = FaultyS3(upstream)
    handler = type("Handler", (_Handler,), {"between": between})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listener:
        listener.daemon_threads = True
        between.url = f"http://127.0.0.1:{listener.server_address[1]}"
        thread = threading.Thread(target=listener.serve_forever)
        thread.start()
        try:
            yield between
        finally:
            between.let_go()
            listener.shutdown()
            thread.join()
