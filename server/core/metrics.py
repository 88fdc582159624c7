"""What the server counts of itself, for a monitor to draw curves of.

Counters go up from the start of the process, in whatever thread something happens. What stands
in the tables is read when somebody asks, by queries that indexes answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest

from server.core.jobs.states import JobState
from server.core.jobs.tables import deliveries, jobs, tasks
from server.core.jobs.workers import list_workers
from server.core.throttles import list_throttles

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from prometheus_client.core import Metric
    from sqlalchemy.engine import Connection

    from server.core.jobs.leases import FileResult
    from server.core.jobs.workers import Worker
    from server.core.throttles import Throttle

__all__ = ["CONTENT_TYPE", "Figures", "Metrics", "read_figures"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# The time each counter was made says nothing that the process's start does not.
disable_created_metrics()  # type: ignore[no-untyped-call]

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REQUEST_S = (0.005, 0.02, 0.1, 0.5, 2, 10, 60)
_TRANSACTION_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10)
_OPEN = (JobState.WAITING, JobState.RUNNING, JobState.PAUSED)


@dataclass(frozen=True, slots=True)
class Figures:
    """What the tables say at one moment.

    Attributes:
        jobs: how many are in which state.
        tasks: batches that wait and that are given out, by state.
        files_waiting: files of jobs that have not ended which have not ended themselves.
        deliveries_waiting: messages to be sent, and the age in seconds of the oldest.
    """

    jobs: Mapping[str, int]
    tasks: Mapping[str, int]
    files_waiting: int
    workers: Sequence[Worker]
    throttles: Sequence[Throttle]
    deliveries_waiting: int
    oldest_delivery_s: float


def read_figures(connection: Connection, now: datetime) -> Figures:
    """One look at the tables; inside a reading transaction."""
    by_state = sa.select(jobs.c.state, sa.func.count()).group_by(jobs.c.state)
    counted = {row[0]: row[1] for row in connection.execute(by_state)}
    ended = jobs.c.files_done + jobs.c.files_skipped + jobs.c.files_failed
    left = sa.select(sa.func.sum(jobs.c.files_total - ended)).where(jobs.c.state.in_(_OPEN))
    # One query a state, each with a literal: only then does a partial index serve.
    batches = {
        state: connection.execute(
            sa.select(sa.func.count())
            .select_from(tasks)
            .where(tasks.c.state == sa.literal_column(f"'{state}'"))
        ).scalar_one()
        for state in ("WAITING", "RUNNING")
    }
    waiting = deliveries.c.state == sa.literal_column("'WAITING'")
    count, oldest = connection.execute(
        sa.select(sa.func.count(), sa.func.min(deliveries.c.created_at)).where(waiting)
    ).one()
    return Figures(
        jobs={state: counted.get(state, 0) for state in JobState},
        tasks=batches,
        files_waiting=int(connection.execute(left).scalar() or 0),
        workers=list_workers(connection, now),
        throttles=list_throttles(connection),
        deliveries_waiting=count,
        oldest_delivery_s=0.0 if oldest is None else (now - oldest).total_seconds(),
    )


class Metrics:
    """The counters of one server; any thread may call."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "pixfs_requests", "Requests answered.", ("face", "method", "status"),
            registry=self._registry,
        )  # fmt: skip
        self._request_s = Histogram(
            "pixfs_request_seconds", "From a request's head to the last byte of its answer.",
            ("face",), buckets=_REQUEST_S, registry=self._registry,
        )  # fmt: skip
        self._transaction_s = Histogram(
            "pixfs_database_seconds", "How long transactions took, with the wait for their turn.",
            ("kind",), buckets=_TRANSACTION_S, registry=self._registry,
        )  # fmt: skip
        self._files = Counter(
            "pixfs_job_files", "Files of jobs that have ended, by what was done and how it went.",
            ("action", "result"), registry=self._registry,
        )  # fmt: skip
        self._bytes = Counter(
            "pixfs_job_bytes", "Bytes of these files as they are read.", ("action",),
            registry=self._registry,
        )  # fmt: skip
        self._stored = Counter(
            "pixfs_job_stored_bytes", "Bytes that really moved.", ("action",),
            registry=self._registry,
        )  # fmt: skip
        self._deliveries = Counter(
            "pixfs_notifications",
            "Attempts to send a message: sent, failed (tried again) or given-up.",
            ("kind", "result"), registry=self._registry,
        )  # fmt: skip
        for kind in ("webhook", "email"):
            for result in ("sent", "failed", "given-up"):
                self._deliveries.labels(kind, result)

    def request(self, face: str, method: str, status: int, seconds: float) -> None:
        """A request was answered; status 0 when its client went first."""
        shown = method if method in _METHODS else "other"
        self._requests.labels(face, shown, str(status) if status else "none").inc()
        self._request_s.labels(face).observe(seconds)

    def transaction(self, kind: str, seconds: float) -> None:
        """A transaction ended; ``kind`` is read or write."""
        self._transaction_s.labels(kind).observe(seconds)

    def worked(self, action: str, results: Iterable[FileResult]) -> None:
        """A batch was brought back."""
        for result in results:
            self._files.labels(action, result.state).inc()
            if result.state != "failed":
                self._bytes.labels(action).inc(result.size)
                self._stored.labels(action).inc(result.stored)

    def delivered(self, kind: str, result: str) -> None:
        """A message was sent, or an attempt at it failed, or it was given-up."""
        self._deliveries.labels(kind, result).inc()

    def exposition(
        self, figures: Figures, live: Mapping[int, tuple[int | None, int]], uptime_s: float
    ) -> bytes:
        """All of it in Prometheus' text format; ``live`` are the throttles' limits and rates."""
        now = CollectorRegistry(auto_describe=False)
        now.register(_Gauges([*_gauges(figures), *_throttle_gauges(figures, live)]))
        uptime = GaugeMetricFamily("pixfs_uptime_seconds", "Since the server came up.", uptime_s)
        now.register(_Gauges([uptime]))
        return bytes(generate_latest(now) + generate_latest(self._registry))


class _Gauges:
    """What is shown once."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _labelled(name: str, says: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, says, labels=[label])
    for text, value in values.items():
        family.add_metric([text.lower()], value)
    return family


def _gauges(figures: Figures) -> list[Metric]:
    capacity = GaugeMetricFamily(
        "pixfs_worker_slots", "Batches a worker takes at once.", labels=["worker", "state"]
    )
    running = GaugeMetricFamily(
        "pixfs_worker_batches", "Batches a worker is at.", labels=["worker"]
    )
    load = GaugeMetricFamily(
        "pixfs_worker_load", "Share of a worker's processors in use.", labels=["worker"]
    )
    for worker in figures.workers:
        if worker.is_present:
            slots = worker.concurrency or worker.capacity
            capacity.add_metric([worker.name, worker.state.value], slots)
            running.add_metric([worker.name], len(worker.tasks))
            load.add_metric([worker.name], worker.load)
    return [
        _labelled("pixfs_jobs", "Jobs by state.", "state", figures.jobs),
        _labelled("pixfs_batches", "Batches of jobs by state.", "state", figures.tasks),
        GaugeMetricFamily(
            "pixfs_files_waiting", "Files of open jobs to be worked on.", figures.files_waiting
        ),
        capacity,
        running,
        load,
        GaugeMetricFamily(
            "pixfs_notifications_waiting", "Messages to be sent.", figures.deliveries_waiting
        ),
        GaugeMetricFamily(
            "pixfs_notifications_oldest_seconds", "Age of the oldest of them.",
            figures.oldest_delivery_s,
        ),
    ]  # fmt: skip


def _throttle_gauges(figures: Figures, live: Mapping[int, tuple[int | None, int]]) -> list[Metric]:
    labels = ["storage", "path", "direction"]
    limit = GaugeMetricFamily(
        "pixfs_throttle_limit_bytes_per_second", "+Inf without a limit, 0 paused.", labels=labels
    )
    rate = GaugeMetricFamily(
        "pixfs_throttle_bytes_per_second", "What goes through of late.", labels=labels
    )
    for throttle in figures.throttles:
        if throttle.id not in live:
            continue
        limit_bps, rate_bps = live[throttle.id]
        key = [throttle.storage, _text(throttle.path), throttle.direction.value]
        limit.add_metric(key, float("inf") if limit_bps is None else limit_bps)
        rate.add_metric(key, rate_bps)
    return [limit, rate]


def _text(path: str) -> str:
    """A path as UTF-8 can carry it."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
