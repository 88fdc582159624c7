"""Where batches run: the interface of engines, and the one with threads of this process."""

from __future__ import annotations

import logging
import os
import queue
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from server.core.jobs.leases import Report
from server.core.jobs.workers import Seen
from server.work.run import run_assignment

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.core.jobs.planning import Looked
    from server.work.flow import Flow
    from server.work.run import Assignment
    from server.work.shares import Shares

__all__ = ["Engine", "Result", "ThreadEngine"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Result:
    """What an engine brings back of one assignment.

    Attributes:
        looked: what a plan found; None for other assignments, and for a plan that found nothing.
        refusal: why a plan found nothing that could be worked on; "" otherwise.
    """

    token: str
    report: Report
    looked: Looked | None = None
    refusal: str = ""


class Engine(Protocol):
    """Runs assignments somewhere. Any thread may call; ``seen``, ``submit`` and ``close`` may
    block, the others do not."""

    def start(self, done: Callable[[Result], None]) -> None:
        """Begins; ``done`` is called, in any thread, once for each assignment that ends."""

    def share(self, shares: Shares) -> None:
        """Processes elsewhere keep to these limits together with this one; before ``start``."""

    def seen(self) -> list[Seen]:
        """The workers there are now."""

    def submit(self, worker: str, assignment: Assignment) -> None:
        """Runs an assignment on one of them."""

    def moved(self) -> dict[str, int]:
        """The tokens of what runs, with the bytes each has moved."""

    def extend(self, valid_s: float) -> None:
        """What runs still counts, for so long from now."""

    def stop(self, tokens: set[str]) -> None:
        """Lets these end as soon as they can; each is still brought back."""

    def close(self) -> None:
        """Stops everything and waits for it."""


class ThreadEngine:
    """Threads of this process, as one worker named after the machine."""

    def __init__(self, threads: int | None = None) -> None:
        self._capacity = threads or max(2, min(8, len(os.sched_getaffinity(0)) * 2))
        self._name = f"local@{socket.gethostname()}"
        self._queue: queue.SimpleQueue[Assignment | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._flows: dict[str, Flow] = {}
        self._threads: list[threading.Thread] = []
        self._done: Callable[[Result], None] = lambda result: None
        self._closing = False

    def start(self, done: Callable[[Result], None]) -> None:
        """Starts the threads."""
        self._done = done
        for number in range(self._capacity):
            thread = threading.Thread(target=self._work, name=f"pixfs-job-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def share(self, shares: Shares) -> None:
        """Its batches pass this process's own limiters."""

    def seen(self) -> list[Seen]:
        """This machine."""
        processors = len(os.sched_getaffinity(0))
        load = min(1.0, os.getloadavg()[0] / processors)
        return [Seen(self._name, "local", self._capacity, round(load, 2))]

    def submit(self, worker: str, assignment: Assignment) -> None:
        """Queues an assignment for a thread that is free."""
        with self._lock:
            self._flows[assignment.token] = assignment.flow()
        self._queue.put(assignment)

    def moved(self) -> dict[str, int]:
        """What runs or is queued."""
        with self._lock:
            return {token: flow.moved for token, flow in self._flows.items()}

    def extend(self, valid_s: float) -> None:
        """Lets all go on."""
        with self._lock:
            for flow in self._flows.values():
                flow.extend(valid_s)

    def stop(self, tokens: set[str]) -> None:
        """Sets their stop signs."""
        with self._lock:
            for token in tokens & self._flows.keys():
                self._flows[token].stop.set()

    def close(self) -> None:
        """Stops what runs, within a file, and ends the threads."""
        self._closing = True
        with self._lock:
            for flow in self._flows.values():
                flow.stop.set()
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _work(self) -> None:
        while (assignment := self._queue.get()) is not None:
            with self._lock:
                flow = self._flows[assignment.token]
            try:
                result = run_assignment(assignment, flow)
            except BaseException:
                # Without a result the task would wait for its lease to run out.
                log.exception("task %d failed", assignment.task_id)
                result = Result(
                    assignment.token,
                    Report((), "storage", "an error of the server; its log tells more"),
                )
            with self._lock:
                self._flows.pop(assignment.token, None)
            self._done(result)
