"""Jobs on a scheduler and workers that are processes of their own."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
import trio

from server.core.jobs import WorkerState
from server.core.jobs.leases import Report
from server.core.permissions import SYSTEM
from server.core.throttles import Direction, Throttles
from server.work.cluster import ClusterEngine
from server.work.dispatcher import Dispatcher, Timing
from server.work.pacing import Pacing
from tests.t5_core.desk import PATIENCE_S, Desk
from tests.t5_core.test_bucket_stop import assignment, bucket, silence
from tests.t5_core.work import tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from server.core.database import Database
    from server.work.engine import Result

pytestmark = [
    pytest.mark.slow,
    # distributed's own threads and sockets, when their peers are killed.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

TIMING = Timing(beat_s=0.1, slice_s=0.2)
FILES = 1500


class Cluster:
    """A scheduler and workers, all gone afterwards."""

    def __init__(self, directory: Path) -> None:
        self._log = (directory / "cluster.log").open("wb")
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        command = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", "0", "--no-dashboard"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=directory,
        )
        self.processes["scheduler"] = process
        assert process.stdout is not None
        seen = b""
        while not (found := re.search(rb"(tcp://127\.0\.0\.1:\d+)", seen)):
            line = process.stdout.readline()
            assert line, seen.decode()
            seen += line
        self.address = found[1].decode()
        self._directory = directory

    def add_worker(self, name: str) -> None:
        command = [sys.executable, "-m", "pixfs.cli", "worker", "--scheduler", self.address]
        self.processes[name] = subprocess.Popen(
            [*command, "--name", name, "--threads", "1"],
            stdout=self._log,
            stderr=self._log,
            cwd=self._directory,
        )

    def close(self) -> None:
        for process in reversed(self.processes.values()):
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            if process.stdout is not None:
                process.stdout.close()
        self._log.close()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    try:
        yield cluster
    finally:
        cluster.close()


async def test_workers_come_are_killed_and_are_drained(
    database: Database, tmp_path: Path, cluster: Cluster
) -> None:
    """A job over three workers, one killed in the middle and one drained, loses nothing."""
    desk = Desk(database, tmp_path)
    await desk.set_up()
    for number in range(FILES):
        (desk.one / f"f.{number:05d}.dpx").write_bytes(os.urandom(2000))
    for name in ("a", "b", "c"):
        cluster.add_worker(name)
    engine = await trio.to_thread.run_sync(ClusterEngine, cluster.address)
    async with desk.working(engine, TIMING):

        async def are_present() -> bool:
            seen = await desk.workers.every(SYSTEM)
            return [worker.name for worker in seen if worker.is_present] == ["a", "b", "c"]

        await desk.until_true(are_present)
        job = await desk.submit("move", "f.%05d.dpx")

        async def has_begun() -> bool:
            return (await desk.get(job)).files_done > 50

        await desk.until_true(has_begun)
        cluster.processes["a"].send_signal(signal.SIGKILL)
        await desk.workers.set_state(SYSTEM, "b", WorkerState.DRAINING)

        async def is_drained() -> bool:
            return not (await desk.workers.get(SYSTEM, "b")).tasks

        await desk.until_true(is_drained)
        job = await desk.until(job)
    assert (job.state, job.files_done, job.files_failed) == ("SUCCEEDED", FILES, 0)
    assert tree(desk.one) == {}
    assert len(tree(desk.two)) == FILES


async def test_limits_and_stops_reach_workers_within_a_file(
    database: Database, tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A throttle that pauses holds two workers in the middle of a file each; so held, their job
    can be paused; and when the throttle lets go, it ends."""
    desk = Desk(database, tmp_path)
    await desk.set_up()
    # Each file is a batch of its own.
    monkeypatch.setattr("server.core.jobs.tasks._BATCH_BYTES", 1 << 20)
    for name in ("a.mov", "b.mov"):
        (desk.one / name).write_bytes(os.urandom(8 << 20))
    for name in ("a", "b"):
        cluster.add_worker(name)
    throttles, pacing = Throttles(database, desk.clock), Pacing(database, desk.clock)
    await throttles.set(SYSTEM, "two", "", Direction.WRITE, 0)
    engine = await trio.to_thread.run_sync(ClusterEngine, cluster.address)
    engine.share(pacing.shares)
    dispatcher = Dispatcher(database, engine, pacers=pacing.pacer, timing=TIMING, clock=desk.clock)
    async with trio.open_nursery() as nursery:
        await nursery.start(pacing.run)
        await nursery.start(dispatcher.run)
        desk.dispatcher = dispatcher

        async def are_present() -> bool:
            seen = await desk.workers.every(SYSTEM)
            return [worker.name for worker in seen if worker.is_present] == ["a", "b"]

        await desk.until_true(are_present)
        job = await desk.submit("copy", "*.mov", limit_bps=1 << 40)

        async def are_both_at_it() -> bool:
            return (await desk.get(job)).tasks_running == 2

        await desk.until_true(are_both_at_it)
        await desk.jobs.pause(SYSTEM, job.id)

        async def are_both_stopped() -> bool:
            return (await desk.get(job)).tasks_running == 0

        await desk.until_true(are_both_stopped)
        job = await desk.get(job)
        assert (job.state, job.files_done, job.bytes_done) == ("PAUSED", 0, 0)
        await throttles.set(SYSTEM, "two", "", Direction.WRITE, 1 << 40)
        await desk.jobs.resume(SYSTEM, job.id)
        job = await desk.until(job)
        nursery.cancel_scope.cancel()
    assert (job.state, job.files_done) == ("SUCCEEDED", 2)
    assert {path.name for path in desk.two.iterdir()} == {"a.mov", "b.mov"}


async def test_a_new_throttle_holds_what_workers_are_at(
    database: Database, tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers are held in the middle of a file each; a throttle that is set then holds the
    one below its path when the first throttle has gone, in the attempt it was at."""
    desk = Desk(database, tmp_path)
    await desk.set_up()
    # Each file is a batch of its own.
    monkeypatch.setattr("server.core.jobs.tasks._BATCH_BYTES", 1 << 20)
    for name in ("a.mov", "b.mov"):
        (desk.one / name).write_bytes(os.urandom(8 << 20))
    for name in ("a", "b"):
        cluster.add_worker(name)
    throttles, pacing = Throttles(database, desk.clock), Pacing(database, desk.clock)
    first = await throttles.set(SYSTEM, "two", "", Direction.WRITE, 0)
    engine = await trio.to_thread.run_sync(ClusterEngine, cluster.address)
    engine.share(pacing.shares)
    dispatcher = Dispatcher(database, engine, pacers=pacing.pacer, timing=TIMING, clock=desk.clock)
    async with trio.open_nursery() as nursery:
        await nursery.start(pacing.run)
        await nursery.start(dispatcher.run)
        desk.dispatcher = dispatcher
        job = await desk.submit("copy", "*.mov")

        async def are_both_held() -> bool:
            return (await desk.get(job)).tasks_running == 2

        await desk.until_true(are_both_held)
        second = await throttles.set(SYSTEM, "two", "a.mov", Direction.WRITE, 0)
        await throttles.remove(SYSTEM, first.id)

        async def is_one_done() -> bool:
            return (await desk.get(job)).files_done == 1

        await desk.until_true(is_one_done)
        # The worker that is free does another job meanwhile.
        (desk.one / "c.mov").write_bytes(os.urandom(8 << 20))
        await desk.until(await desk.submit("copy", "c.mov"), "SUCCEEDED")
        assert sorted(path.name for path in desk.two.glob("*.mov")) == ["b.mov", "c.mov"]
        assert (await desk.get(job)).tasks_running == 1
        await throttles.remove(SYSTEM, second.id)
        job = await desk.until(job)
        nursery.cancel_scope.cancel()
    assert (job.state, job.files_done, job.files_failed) == ("SUCCEEDED", 2, 0)


def test_a_worker_that_is_told_to_stop_brings_back_what_it_is_at(cluster: Cluster) -> None:
    """Also where that waits for a bucket that does not answer."""
    results: queue.Queue[Result] = queue.Queue()
    cluster.add_worker("one")
    engine = ClusterEngine(cluster.address)
    try:
        engine.start(results.put)
        engine.extend(10**6)
        deadline = time.monotonic() + PATIENCE_S
        while not engine.seen():
            assert time.monotonic() < deadline, "the worker does not come"
        with silence() as server:
            engine.submit("one", assignment("verify", bucket(server)))
            server.requests.get(timeout=PATIENCE_S)
            assert results.empty()
            cluster.processes["one"].terminate()
            assert results.get(timeout=PATIENCE_S).report == Report((), "stopped")
            assert cluster.processes["one"].wait(PATIENCE_S) == 0
    finally:
        engine.close()
