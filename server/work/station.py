"""What a worker process is at, for the server to talk to while its batches run.

A batch in a thread of another process cannot be reached through the task that started it. The
server therefore calls `exchange` in that process a few times a second: it tells which batches are
to stop, that the others still count, and what may be moved below each limit, and hears how far
they are.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pixfs.throttle import Limiter
from server.work.pacing import ThrottlePacer, demand_of
from server.work.run import run_assignment
from server.work.shares import SHARE_S

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.work.engine import Result
    from server.work.flow import Flow
    from server.work.run import Assignment
    from server.work.shares import Demand

__all__ = ["Answer", "Message", "exchange", "run_here"]

_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Message:
    """From the server to a worker process.

    Attributes:
        stop: tokens of batches that are to end as soon as they can.
        valid_s: how long the others count from now.
        shares: bytes a second below each limit; None does not limit.
    """

    stop: frozenset[str] = frozenset()
    valid_s: float = 0.0
    shares: Mapping[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """Back: bytes each batch has moved, by its token, and what is wanted below each limit."""

    moved: Mapping[str, int]
    demands: Mapping[str, Demand]


class Station:
    """One to a process; any thread may call, nothing waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flows: dict[str, Flow] = {}
        # A batch may be told to stop before its thread has begun it.
        self._stopped: deque[str] = deque(maxlen=_REMEMBERED)
        self._limiters: dict[str, Limiter] = {}
        # How many batches there are below each limit.
        self._used: dict[str, int] = {}
        self._heard = time.monotonic()
        self._watch: threading.Thread | None = None

    def run(self, assignment: Assignment) -> Result:
        """Does an assignment in this thread."""
        flow = assignment.flow(*(self._pacer(limits) for limits in assignment.limits))
        names = _names(assignment)
        with self._lock:
            self._flows[assignment.token] = flow
            if assignment.token in self._stopped:
                flow.stop.set()
        try:
            return run_assignment(assignment, flow)
        finally:
            with self._lock:
                del self._flows[assignment.token]
                for name in names:
                    self._used[name] -= 1
                    if not self._used[name]:
                        del self._used[name], self._limiters[name]

    def _pacer(self, limits: Mapping[str, tuple[str, ...]]) -> ThrottlePacer:
        with self._lock:
            found = {
                direction: {name: self._limiter(name) for name in names}
                for direction, names in limits.items()
            }
        return ThrottlePacer(found)

    def _limiter(self, name: str) -> Limiter:
        """A limit's limiter; one that is new lets nothing through until a share is told."""
        self._used[name] = self._used.get(name, 0) + 1
        if name not in self._limiters:
            self._limiters[name] = Limiter(0)
            if self._watch is None:
                self._watch = threading.Thread(
                    target=self._expire, name="pixfs-shares", daemon=True
                )
                self._watch.start()
        return self._limiters[name]

    def exchange(self, message: Message) -> Answer:
        """Hears the server and answers."""
        with self._lock:
            self._heard = time.monotonic()
            self._stopped.extend(message.stop - self._flows.keys())
            for token, flow in self._flows.items():
                if token in message.stop:
                    flow.stop.set()
                else:
                    flow.extend(message.valid_s)
            moved = {token: flow.moved for token, flow in self._flows.items()}
            limiters = dict(self._limiters)
        for name, share in message.shares.items():
            limiter = limiters.get(name)
            if limiter is not None and limiter.limit != share:
                limiter.limit = share
        return Answer(moved, {name: demand_of(limiter) for name, limiter in limiters.items()})

    def _expire(self) -> None:
        """Stops what goes on below limits when nobody tells any more what is ours of them."""
        while True:
            time.sleep(1)
            with self._lock:
                is_silent = time.monotonic() - self._heard > SHARE_S
                limiters = list(self._limiters.values())
            for limiter in limiters:
                if is_silent and limiter.limit != 0:
                    limiter.limit = 0


def _names(assignment: Assignment) -> list[str]:
    return [name for limits in assignment.limits for names in limits.values() for name in names]


_station = Station()


def run_here(assignment: Assignment) -> Result:
    """In a worker's thread: runs an assignment."""
    return _station.run(assignment)


def exchange(message: Message) -> Answer:
    """In a worker's event loop: hears the server and answers, at once."""
    return _station.exchange(message)
