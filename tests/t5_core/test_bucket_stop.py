"""A batch that is told to stop does not wait for a bucket that does not answer."""

from __future__ import annotations

import queue
import socket
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from server.core.jobs.leases import Report
from server.core.jobs.states import JobKind
from server.core.jobs.tasks import TaskFile
from server.work.batch import StorageSpec
from server.work.engine import Result, ThreadEngine
from server.work.run import Assignment, run_assignment
from server.work.s3.calls import Calls
from tests.s3 import settings
from tests.t5_core.desk import PATIENCE_S
from tests.t5_core.work import directory, tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# What a bucket says of an object of which it then sends only the beginning.
BEGUN = (
    b'HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\nETag: "x"\r\n'
    b"Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n" + b"x" * 1000
)
SIZE = 1000


def nothing(asked: bytes) -> bytes:
    """To no request."""
    return b""


def beginning(asked: bytes) -> bytes:
    """The beginning of an object, and no more."""
    return BEGUN


def emptiness(asked: bytes) -> bytes:
    """That there is nothing in the bucket; what is put into it is not answered."""
    if asked.startswith(b"HEAD "):
        return b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n"
    if asked.startswith(b"GET "):
        listing = b"<ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>"
        head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        return head % len(listing) + listing
    return b""


class Silence:
    """A server that takes connections and requests, and of itself says nothing.

    Attributes:
        requests: those that are not answered to their end.
    """

    def __init__(self, says: Callable[[bytes], bytes]) -> None:
        self._says = says
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open = ExitStack()
        self.requests: queue.Queue[bytes] = queue.Queue()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.enter_context(connection)
            asked = connection.recv(1 << 16)
            if not asked:
                continue
            said = self._says(asked)
            connection.sendall(said)
            if b"Connection: close" in said:
                connection.close()
            else:
                self.requests.put(asked)

    def hang_up(self) -> None:
        """Closes what is open, which the other side sees, and takes new connections."""
        self._open.close()
        self._open = ExitStack()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(PATIENCE_S)
        self._open.close()


@contextmanager
def silence(says: Callable[[bytes], bytes] = nothing) -> Iterator[Silence]:
    server = Silence(says)
    try:
        yield server
    finally:
        server.close()


def assignment(action: str, source: StorageSpec, target: StorageSpec | None = None) -> Assignment:
    spec = {"sources": ["a"], "destination": "", "overwrite": "fail", "verify": "hash"}
    files = (TaskFile(0, "a", "a", SIZE, 10**18),) if action not in ("plan", "finish") else ()
    return Assignment(
        token=action,
        task_id=1,
        job_id=1,
        kind=JobKind.VERIFY if target is None else JobKind.COPY,
        action=action,
        attempt=2,
        lost=(1,) if action == "clear" else (),
        files=files,
        source=source,
        target=target,
        spec=spec | {"stored": True, "quiet_s": 0},
        folders=[["shot", "shot", 0o755, 0]],
        valid_s=10**6,
    )


def bucket(server: Silence) -> StorageSpec:
    return StorageSpec("s3", "s3://frames/x", settings(server.url))


@pytest.fixture
def local(tmp_path: Path) -> StorageSpec:
    (tmp_path / "a").write_bytes(b"f" * SIZE)
    return directory(tmp_path)


def callers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "pixfs-s3"]


def until_alone() -> None:
    """Waits for the threads that calls have been left to."""
    for thread in callers():
        thread.join(PATIENCE_S)
    assert callers() == []


def stopped_in_the_middle(given: Assignment, server: Silence) -> Result:
    """Runs a batch and tells it to stop when the bucket has been asked something."""
    flow = given.flow()
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(run_assignment(given, flow)))
    thread.start()
    server.requests.get(timeout=PATIENCE_S)
    flow.stop.set()
    # Of itself it would give up after five minutes, with another result.
    thread.join()
    (result,) = results
    return result


@pytest.mark.parametrize("action", ["plan", "copy", "verify", "index", "delete", "clear"])
def test_a_batch_leaves_a_bucket_that_does_not_answer(action: str, local: StorageSpec) -> None:
    with silence() as server:
        source, target = (local, bucket(server)) if action == "clear" else (bucket(server), local)
        given = assignment(action, source, None if action in ("verify", "index") else target)
        result = stopped_in_the_middle(given, server)
        assert result.report == Report((), "stopped")
        # Boto3 takes the end of the connection for something to try again.
        server.hang_up()
        until_alone()
        assert server.requests.empty()


def test_a_file_on_its_way_to_a_bucket_is_given_back(local: StorageSpec) -> None:
    """Nobody knows what came of the request: the next attempt has to look."""
    with silence(emptiness) as server:
        found = stopped_in_the_middle(assignment("copy", local, bucket(server)), server)
        assert found.report == Report((), "stopped", kept=True)
        server.hang_up()
        until_alone()
        assert server.requests.empty()


def test_an_object_that_stops_coming_is_left(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    with silence(beginning) as server:
        given = assignment("copy", bucket(server), directory(target))
        assert stopped_in_the_middle(given, server).report == Report((), "stopped")
        assert tree(target) == {}
        server.hang_up()
        until_alone()


def test_a_server_stops_though_a_bucket_does_not_answer(local: StorageSpec) -> None:
    engine = ThreadEngine(2)
    results: queue.Queue[Result] = queue.Queue()
    engine.start(results.put)
    with silence() as server:
        for token in ("one", "two"):
            given = replace(assignment("verify", bucket(server)), token=token)
            engine.submit(engine.seen()[0].name, given)
        for _ in range(2):
            server.requests.get(timeout=PATIENCE_S)
        engine.close()
        ended = [results.get_nowait(), results.get_nowait()]
        assert {result.report.ended for result in ended} == {"stopped"}
        server.hang_up()
        until_alone()


def test_a_bucket_that_answers_late_is_waited_for() -> None:
    """A stop takes nothing back that is just being done."""
    asked, answered = threading.Event(), threading.Event()
    stop = threading.Event()
    calls = Calls(stop)

    def work() -> str:
        asked.set()
        assert answered.wait(PATIENCE_S)
        return "done"

    def tell() -> None:
        assert asked.wait(PATIENCE_S)
        stop.set()
        answered.set()

    teller = threading.Thread(target=tell)
    teller.start()
    assert calls(work) == "done"
    # Tidying up after a stop is still possible.
    assert calls(lambda: "aborted") == "aborted"
    teller.join()
    calls.close()
    until_alone()


def test_what_a_call_raises_is_raised() -> None:
    calls = Calls(threading.Event())
    with pytest.raises(KeyError):
        calls({}.__getitem__, "a")
    assert calls(max, [1, 2], key=lambda n: -n) == 1
    calls.close()
    until_alone()
