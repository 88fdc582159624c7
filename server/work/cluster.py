"""An engine of many machines: batches run in the workers of a dask.distributed scheduler.

The tables stay the only truth: the scheduler is told of single batches and may die with all it
knows. Its client runs in a thread of its own. A batch whose worker dies is not run again by the
scheduler, which knows nothing of attempts: it comes back as lost and is given out anew.

A worker's process runs ``pixfs worker``. It must see the storages under the same paths.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from distributed import Client, Future
from distributed.scheduler import KilledWorker

from server.core.jobs.leases import Report
from server.core.jobs.workers import Seen
from server.work.engine import Result
from server.work.flow import UNPACED
from server.work.shares import Demand, Shares
from server.work.station import Message, exchange, run_here

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from server.work.flow import Limits, Pacer
    from server.work.run import Assignment
    from server.work.station import Answer

__all__ = ["ClusterEngine"]

log = logging.getLogger(__name__)

# A batch goes on for its slice, and for the file it is at when the slice is over.
_SLOWEST_BPS = 2 << 20
_LEAST_VALID_S = 60.0
# Between two exchanges with a worker; a stop and a batch with a limit do not wait for it.
_EXCHANGE_S = 0.5
_UNHEARD = Demand(0, is_waiting=True)


def valid_s(assignment: Assignment) -> float:
    """How long a batch counts with a worker that is cut off, and whom nobody can tell to stop."""
    largest = max((file.size for file in assignment.files), default=0)
    return _LEAST_VALID_S + assignment.slice_s + largest / _SLOWEST_BPS


@dataclass(frozen=True, slots=True)
class _Batch:
    """A batch under way: where, and the pacers that know its limits."""

    address: str
    future: Future[Result]
    pacers: tuple[Pacer, Pacer]

    def limits(self) -> tuple[Limits, Limits]:
        """Those of now, of source and target."""
        source, target = self.pacers
        return source.limits, target.limits


class _Line(threading.Thread):
    """Talks with one worker while its batches run. A worker that hangs holds up only its own."""

    def __init__(self, engine: ClusterEngine, name: str, address: str) -> None:
        super().__init__(name=f"pixfs-line-{name}", daemon=True)
        self.worker = name
        self.address = address
        self.hurry = threading.Event()
        self.is_closed = False
        self._engine = engine

    def close(self) -> None:
        """Ends with the exchange that is under way."""
        self.is_closed = True
        self.hurry.set()

    def run(self) -> None:
        """Exchanges until it is closed."""
        demands: Mapping[str, Demand] = {}
        while not self.is_closed:
            demands = self._engine.exchange(self, demands)
            self.hurry.wait(_EXCHANGE_S)
            self.hurry.clear()
        self._engine.shares.leave(self.worker)


class ClusterEngine:
    """The workers of one scheduler."""

    def __init__(self, scheduler: str, *, timeout_s: float = 10.0) -> None:
        """``scheduler`` is its address, ``tcp://host:8786``. OSError when it does not answer."""
        self._scheduler = scheduler
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._running: dict[str, _Batch] = {}
        self._addresses: dict[str, str] = {}
        self._done: Callable[[Result], None] = lambda result: None
        self._lines: dict[str, _Line] = {}
        self._moved: dict[str, int] = {}
        self._stopping: set[str] = set()
        self._valid_s = 0.0
        self.shares = Shares()
        self._client = self._connect()

    def _connect(self) -> Client:
        return Client(
            self._scheduler, timeout=self._timeout_s, set_as_default=False, name="pixfs-server"
        )

    def start(self, done: Callable[[Result], None]) -> None:
        """Notes who is to be told."""
        self._done = done

    def share(self, shares: Shares) -> None:
        """The limits that workers keep together with us; before ``start``."""
        self.shares = shares

    def seen(self) -> list[Seen]:
        """The workers the scheduler knows of now; none while it does not answer. What was given
        to one that has gone is brought back as lost."""
        workers = self._workers()
        self._addresses = {str(known["name"]): address for address, known in workers.items()}
        self._lose(set(workers))
        self._draw_lines()
        found = []
        for known in workers.values():
            threads = int(known["nthreads"])
            load = float(known.get("metrics", {}).get("cpu", 0.0)) / 100 / threads
            found.append(Seen(str(known["name"]), "dask", threads, round(min(1.0, load), 2)))
        return found

    def _workers(self) -> dict[str, Any]:
        try:
            if self._client.status != "running":
                # It gives up for good after a while, and the scheduler may have been restarted.
                self._client.close(timeout=1)
                self._client = self._connect()
            info = self._client.scheduler_info(n_workers=-1)
        except (OSError, TimeoutError) as error:
            log.info("the scheduler does not answer (%s)", type(error).__name__)
            return {}
        workers: dict[str, Any] = dict(info.get("workers", {}))
        return workers

    def _lose(self, present: set[str]) -> None:
        with self._lock:
            gone = {
                token: batch
                for token, batch in self._running.items()
                if batch.address not in present
            }
        for token, batch in gone.items():
            self._bring_back(_lost(token, "the worker has gone"))
            # The scheduler would wait for that worker for ever.
            batch.future.cancel()

    def _draw_lines(self) -> None:
        """A line to each worker there is, none to one that has gone or came back elsewhere."""
        for name, line in list(self._lines.items()):
            if self._addresses.get(name) != line.address:
                line.close()
                del self._lines[name]
        for name, address in self._addresses.items():
            if name not in self._lines:
                self._lines[name] = _Line(self, name, address)
                self._lines[name].start()

    def exchange(self, line: _Line, demands: Mapping[str, Demand]) -> Mapping[str, Demand]:
        """In a line's thread: tells a worker what to stop, its batches' limits and what it may
        move below each, and hears how far it is and what it wants, which is given back."""
        with self._lock:
            mine = {
                token: batch
                for token, batch in self._running.items()
                if batch.address == line.address
            }
            stop = frozenset(self._stopping & mine.keys())
        if not mine and not demands:
            return {}
        limits = {token: batch.limits() for token, batch in mine.items()}
        # It has said nothing yet of limits that are new to its batches.
        demands = dict.fromkeys(_named(limits), _UNHEARD) | dict(demands)
        shares = self.shares.exchange(line.worker, demands)
        message = Message(stop, self._valid_s, shares, limits)
        try:
            answers = self._client.run(exchange, message, workers=[line.address])
            answer: Answer = answers[line.address]
        except Exception as error:
            # Whatever it is, `seen` and the lease find out whether the worker has gone; until it
            # is heard of again, its share stays its own.
            log.debug("a worker did not answer: %s", error)
            return demands
        with self._lock:
            self._moved |= {
                token: size for token, size in answer.moved.items() if token in self._running
            }
        return answer.demands

    def submit(self, worker: str, assignment: Assignment) -> None:
        """Hands an assignment to the worker of that name."""
        address = self._addresses.get(worker)
        if address is None:
            self._done(_lost(assignment.token, "the worker has gone"))
            return
        source, target = assignment.pacers
        remote = replace(
            assignment,
            valid_s=valid_s(assignment),
            pacers=(UNPACED, UNPACED),
            limits=(source.limits, target.limits),
        )
        future = self._client.submit(
            run_here,
            remote,
            key=f"pixfs-{assignment.token}",
            workers=[address],
            allow_other_workers=False,
            retries=0,
            pure=False,
        )
        with self._lock:
            self._running[assignment.token] = _Batch(address, future, assignment.pacers)
        if remote.limits != ({}, {}) and (line := self._lines.get(worker)) is not None:
            # Until it is told its share, it moves nothing.
            line.hurry.set()
        future.add_done_callback(partial(self._ended, assignment.token))

    def _ended(self, token: str, future: Future[Result]) -> None:
        """In a thread of the client's."""
        try:
            result: Result = future.result(timeout=self._timeout_s)
        except (KilledWorker, CancelledError, TimeoutError, OSError) as error:
            result = _lost(token, f"the worker was lost ({type(error).__name__})")
        except Exception:
            log.exception("a batch failed in a worker")
            result = _lost(token, "an error of the worker; its log tells more")
        self._bring_back(result)

    def _bring_back(self, result: Result) -> None:
        """Tells of an assignment's end, once."""
        with self._lock:
            known = self._running.pop(result.token, None)
            self._moved.pop(result.token, None)
            self._stopping.discard(result.token)
        if known is not None:
            self._done(result)

    def moved(self) -> dict[str, int]:
        """What is under way, with the bytes it had moved when its worker was last heard of."""
        with self._lock:
            return {token: self._moved.get(token, 0) for token in self._running}

    def extend(self, valid_s: float) -> None:
        """Workers are told so the next time."""
        self._valid_s = valid_s

    def stop(self, tokens: set[str]) -> None:
        """Workers are told so at once."""
        with self._lock:
            fresh = tokens & self._running.keys() - self._stopping
            self._stopping |= fresh
        if fresh:
            for line in list(self._lines.values()):
                line.hurry.set()

    def close(self) -> None:
        """Leaves the scheduler; what workers are at is done again by whoever comes next."""
        for line in self._lines.values():
            line.close()
        self._client.close(timeout=5)


def _named(limits: Mapping[str, tuple[Limits, Limits]]) -> set[str]:
    """The names of the limits that batches have."""
    return {
        name
        for both in limits.values()
        for each in both
        for names in each.values()
        for name in names
    }


def _lost(token: str, reason: str) -> Result:
    return Result(token, Report((), "lost", reason))
