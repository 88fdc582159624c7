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
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from distributed import Client, Future
from distributed.scheduler import KilledWorker

from server.core.jobs.leases import Report
from server.core.jobs.workers import Seen
from server.work.engine import Result
from server.work.flow import UNPACED
from server.work.run import Assignment, run_assignment

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ClusterEngine", "run_remote"]

log = logging.getLogger(__name__)

# A batch goes on for its slice, and for the file it is at when the slice is over.
_SLOWEST_BPS = 2 << 20
_LEAST_VALID_S = 60.0


def run_remote(assignment: Assignment) -> Result:
    """In a worker's thread: runs an assignment whose result counts for as long as it can
    reasonably take, after which nothing is made visible any more."""
    return run_assignment(assignment, assignment.flow())


def valid_s(assignment: Assignment) -> float:
    """How long a batch may take: nobody can tell a worker that is cut off to stop."""
    largest = max((file.size for file in assignment.files), default=0)
    return _LEAST_VALID_S + assignment.slice_s + largest / _SLOWEST_BPS


class ClusterEngine:
    """The workers of one scheduler. A batch that is told to stop ends with its slice."""

    def __init__(self, scheduler: str, *, timeout_s: float = 10.0) -> None:
        """``scheduler`` is its address, ``tcp://host:8786``. OSError when it does not answer."""
        self._scheduler = scheduler
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._running: dict[str, tuple[str, Future[Result]]] = {}
        self._addresses: dict[str, str] = {}
        self._done: Callable[[Result], None] = lambda result: None
        self._client = self._connect()

    def _connect(self) -> Client:
        return Client(
            self._scheduler, timeout=self._timeout_s, set_as_default=False, name="pixfs-server"
        )

    def start(self, done: Callable[[Result], None]) -> None:
        """Notes who is to be told."""
        self._done = done

    def seen(self) -> list[Seen]:
        """The workers the scheduler knows of now; none while it does not answer. What was given
        to one that has gone is brought back as lost."""
        workers = self._workers()
        self._addresses = {str(known["name"]): address for address, known in workers.items()}
        self._lose(set(workers))
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
            gone = [
                (token, future)
                for token, (address, future) in self._running.items()
                if address not in present
            ]
        for token, future in gone:
            self._bring_back(_lost(token, "the worker has gone"))
            # The scheduler would wait for that worker for ever.
            future.cancel()

    def submit(self, worker: str, assignment: Assignment) -> None:
        """Hands an assignment to the worker of that name."""
        address = self._addresses.get(worker)
        if address is None:
            self._done(_lost(assignment.token, "the worker has gone"))
            return
        remote = replace(assignment, valid_s=valid_s(assignment), pacers=(UNPACED, UNPACED))
        future = self._client.submit(
            run_remote,
            remote,
            key=f"pixfs-{assignment.token}",
            workers=[address],
            allow_other_workers=False,
            retries=0,
            pure=False,
        )
        with self._lock:
            self._running[assignment.token] = (address, future)
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
        if known is not None:
            self._done(result)

    def moved(self) -> dict[str, int]:
        """What is under way; how many bytes it has moved only its end tells."""
        with self._lock:
            return dict.fromkeys(self._running, 0)

    def extend(self, valid_s: float) -> None:
        """Workers have been told how long a batch counts when they got it."""

    def stop(self, tokens: set[str]) -> None:
        """A thread elsewhere cannot be stopped: its batch ends within its slice."""

    def close(self) -> None:
        """Leaves the scheduler; what workers are at is done again by whoever comes next."""
        self._client.close(timeout=5)


def _lost(token: str, reason: str) -> Result:
    return Result(token, Report((), "lost", reason))
