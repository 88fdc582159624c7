"""A worker's process: what the server says reaches batches that are under way there."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from server.core.jobs import JobKind
from server.core.jobs.leases import Report
from server.work.batch import StorageSpec
from server.work.engine import Result
from server.work.errors import StoppedError
from server.work.run import Assignment
from server.work.shares import Demand
from server.work.station import Message, Station

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pytest

    from server.work.flow import Flow, Limits

WAIT_S = 60
HELD = "limit"


class Writer:
    """Stands for what a batch does: it writes a byte whenever it is asked to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, limits: tuple[Limits, Limits]) -> None:
        self.station = Station()
        self.asked = threading.Semaphore(0)
        self.written = threading.Semaphore(0)
        self.ended = ""
        monkeypatch.setattr("server.work.station.run_assignment", self._write)
        self._assignment = Assignment(
            token="t", task_id=1, job_id=1, kind=JobKind.COPY, action="copy", attempt=1, lost=(),
            files=(), source=StorageSpec("directory", "/"), target=None, spec={}, folders=(),
            valid_s=WAIT_S, limits=limits,
        )  # fmt: skip

    def _write(self, assignment: Assignment, flow: Flow) -> Result:
        while self.asked.acquire(timeout=WAIT_S):
            try:
                flow.write(1)
            except StoppedError:
                self.ended = "stopped"
                break
            self.written.release()
        return Result(assignment.token, Report())

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """The batch runs for the length of the block, or until it is stopped."""
        thread = threading.Thread(target=self.station.run, args=(self._assignment,))
        thread.start()
        try:
            yield
        finally:
            self.station.exchange(Message(stop=frozenset({"t"})))
            self.asked.release()
            thread.join(WAIT_S)
        assert not thread.is_alive()

    def tell(self, limits: Limits | None, **shares: int | None) -> Mapping[str, Demand]:
        """One exchange; what is wanted."""
        named: Mapping[str, tuple[Limits, Limits]] = {} if limits is None else {"t": ({}, limits)}
        message = Message(valid_s=WAIT_S, shares=shares, limits=named)
        return self.station.exchange(message).demands

    def write(self) -> bool:
        """Whether the next byte is written."""
        self.asked.release()
        return self.written.acquire(timeout=WAIT_S)

    def is_held(self) -> None:
        """Waits until a byte waits below the limit."""
        while not self.tell(None)[HELD].is_waiting:
            pass


def test_a_limit_that_is_new_holds_a_batch_until_its_share_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    writer = Writer(monkeypatch, ({}, {}))
    with writer.at_work():
        assert writer.write()
        assert writer.tell({"write": (HELD,)}, limit=0) == {HELD: Demand(0, False)}
        writer.asked.release()
        writer.is_held()
        assert not writer.written.acquire(blocking=False)
        writer.tell(None, limit=1 << 20)
        assert writer.written.acquire(timeout=WAIT_S)
    assert writer.ended == "stopped"


def test_a_limit_that_has_gone_lets_go_of_who_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer(monkeypatch, ({}, {"write": (HELD,)}))
    with writer.at_work():
        writer.asked.release()
        writer.is_held()
        assert writer.tell({}) == {}
        assert writer.written.acquire(timeout=WAIT_S)
        assert writer.write()


def test_a_batch_that_nothing_is_said_of_keeps_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer(monkeypatch, ({}, {"write": (HELD,)}))
    with writer.at_work():
        writer.asked.release()
        writer.is_held()
        assert writer.tell(None).keys() == {HELD}
        assert not writer.written.acquire(blocking=False)
