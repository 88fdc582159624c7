"""What a worker process is at, for the server to talk to while its batches run.

A batch in a thread of another process cannot be reached through the task that started it. The
server therefore calls `exchange` in that process a few times a second: it tells which batches are
to stop, that the others still count, which limits each of them has now, and what may be moved
below each limit, and hears how far they are.
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
    from server.work.flow import Limits
    from server.work.run import Assignment
    from server.work.shares import Demand

__all__ = ["Answer", "Message", "exchange", "run_here", "stop_here"]

_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Message:
    """From the server to a worker process.

    Attributes:
        stop: tokens of batches that are to end as soon as they can.
        valid_s: how long the others count from now.
        shares: bytes a second below each limit; None does not limit.
        limits: of each batch by its token, for source and target the names of the limits there
            are now. Batches that are not mentioned keep theirs.
    """

    stop: frozenset[str] = frozenset()
    valid_s: float = 0.0
    shares: Mapping[str, int | None] = field(default_factory=dict)
    limits: Mapping[str, tuple[Limits, Limits]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """Back: bytes each batch has moved, by its token, and what is wanted below each limit."""

    moved: Mapping[str, int]
    demands: Mapping[str, Demand]


class _Running:
    """A batch in a thread of this process, and what limits it."""

    def __init__(self, assignment: Assignment) -> None:
        self.pacers = ThrottlePacer({}), ThrottlePacer({})
        self.flow = assignment.flow(*self.pacers)

    def names(self) -> set[str]:
        """The names of its limits."""
        return {name for each in self.pacers for names in each.limits.values() for name in names}


class Station:
    """One to a process; any thread may call, nothing waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Told of each batch that ends.
        self._ended = threading.Condition(self._lock)
        self._running: dict[str, _Running] = {}
        # A batch may be told to stop before its thread has begun it.
        self._stopped: deque[str] = deque(maxlen=_REMEMBERED)
        self._limiters: dict[str, Limiter] = {}
        self._heard = time.monotonic()
        self._watch: threading.Thread | None = None

    def run(self, assignment: Assignment) -> Result:
        """Does an assignment in this thread."""
        running = _Running(assignment)
        with self._lock:
            self._running[assignment.token] = running
            self._limit(running, assignment.limits)
            if assignment.token in self._stopped:
                running.flow.stop.set()
        try:
            return run_assignment(assignment, running.flow)
        finally:
            with self._lock:
                del self._running[assignment.token]
                self._drop_limiters()
                self._ended.notify_all()

    def stop(self, patience_s: float) -> bool:
        """Tells every batch under way to stop; whether all have ended within that time."""
        with self._lock:
            for running in self._running.values():
                running.flow.stop.set()
            left = set(self._running)
            return self._ended.wait_for(lambda: left.isdisjoint(self._running), timeout=patience_s)

    def _limit(self, running: _Running, limits: tuple[Limits, Limits]) -> None:
        """Puts a batch below the limits of these names; with the lock."""
        for pacer, named in zip(running.pacers, limits, strict=True):
            if pacer.limits != named:
                pacer.follow(
                    {
                        direction: {name: self._limiter(name) for name in names}
                        for direction, names in named.items()
                    }
                )

    def _limiter(self, name: str) -> Limiter:
        """A limit's limiter; one that is new lets nothing through until a share is told."""
        if name not in self._limiters:
            self._limiters[name] = Limiter(0)
            if self._watch is None:
                self._watch = threading.Thread(
                    target=self._expire, name="pixfs-shares", daemon=True
                )
                self._watch.start()
        return self._limiters[name]

    def _drop_limiters(self) -> None:
        """Forgets the limits that no batch has any more; with the lock."""
        used = {name for running in self._running.values() for name in running.names()}
        for name in self._limiters.keys() - used:
            # Whoever waits for it waits for nothing any more.
            self._limiters.pop(name).limit = None

    def exchange(self, message: Message) -> Answer:
        """Hears the server and answers."""
        with self._lock:
            self._heard = time.monotonic()
            self._stopped.extend(message.stop - self._running.keys())
            for token, running in self._running.items():
                if token in message.stop:
                    running.flow.stop.set()
                else:
                    running.flow.extend(message.valid_s)
                if token in message.limits:
                    self._limit(running, message.limits[token])
            self._drop_limiters()
            moved = {token: running.flow.moved for token, running in self._running.items()}
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


_station = Station()


def run_here(assignment: Assignment) -> Result:
    """In a worker's thread: runs an assignment."""
    return _station.run(assignment)


def stop_here(patience_s: float) -> bool:
    """In any thread of a worker: has the batches under way stop, within a file, and waits for
    them; False when some are still at it after ``patience_s``."""
    return _station.stop(patience_s)


def exchange(message: Message) -> Answer:
    """In a worker's event loop: hears the server and answers, at once."""
    return _station.exchange(message)
