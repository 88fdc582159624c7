"""Throttles on jobs: what a limit covers, and that a change reaches a batch that waits."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
import trio

from pixfs.throttle import Limiter
from server.core.permissions import SYSTEM
from server.core.throttles import Direction, Throttles, Window
from server.work.dispatcher import Dispatcher
from server.work.engine import ThreadEngine
from server.work.flow import UNPACED
from server.work.pacing import JobLimit, Pacing, ThrottlePacer
from tests.t5_core.desk import TIMING, Desk
from tests.t5_core.work import tree

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from server.core.database import Database
    from server.work.flow import Pacer


@pytest.fixture
async def desk(database: Database, tmp_path: Path) -> Desk:
    desk = Desk(database, tmp_path)
    await desk.set_up()
    return desk


async def test_a_throttle_covers_what_is_below_its_path(desk: Desk) -> None:
    throttles, pacing = Throttles(desk.database, desk.clock), Pacing(desk.database, desk.clock)
    await throttles.set(SYSTEM, "one", "shows/dune", Direction.READ, 1000)
    await pacing.refresh()
    (throttle,) = await throttles.list(SYSTEM)
    read = {"read": (f"throttle-{throttle.id}",)}
    assert pacing.pacer("one", ["shows/dune/sh010/a"]).limits == read
    assert pacing.pacer("one", ["shows/dunes/a"]).limits == {}
    assert pacing.pacer("two", ["shows/dune/a"]).limits == {}


async def test_a_throttle_holds_batches_that_are_under_way(desk: Desk) -> None:
    throttles, pacing = Throttles(desk.database, desk.clock), Pacing(desk.database, desk.clock)
    await pacing.refresh()
    pacer, stop = pacing.pacer("two", ["a"]), threading.Event()
    pacer.take("write", 1 << 30, stop)
    made = await throttles.set(SYSTEM, "two", "", Direction.WRITE, 0)
    await pacing.refresh()
    held = threading.Thread(target=pacer.take, args=("write", 1 << 20, stop))
    held.start()
    limiter = pacing.limiters("two", ["a"], None)["write"][f"throttle-{made.id}"]

    async def is_waiting() -> bool:
        return limiter.snapshot()["waiting"] == 1

    await desk.until_true(is_waiting)
    await throttles.remove(SYSTEM, made.id)
    await pacing.refresh()
    await trio.to_thread.run_sync(held.join, 120)
    assert not held.is_alive()


async def test_a_schedule_changes_the_limit(desk: Desk) -> None:
    throttles, pacing = Throttles(desk.database, desk.clock), Pacing(desk.database, desk.clock)
    always = Window(frozenset(range(7)), 0, 0, 0)
    made = await throttles.set(SYSTEM, "one", "", Direction.READ, 500, windows=[always])
    await pacing.refresh()
    assert pacing.live() == {made.id: (0, 0)}
    await throttles.set(SYSTEM, "one", "", Direction.READ, 500)
    await pacing.refresh()
    assert [limit for limit, _ in pacing.live().values()] == [500]


async def test_a_paused_path_waits_and_goes_on(desk: Desk) -> None:
    """A limit of 0 holds a job that runs; taking it away lets it end."""
    throttles, pacing = Throttles(desk.database, desk.clock), Pacing(desk.database, desk.clock)
    for number in range(5):
        (desk.one / f"f.{number}").write_bytes(bytes(5000))
    made = await throttles.set(SYSTEM, "two", "", Direction.WRITE, 0)
    dispatcher = Dispatcher(
        desk.database,
        ThreadEngine(1),
        pacers=pacing.pacer,
        timing=TIMING,
        clock=desk.clock,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(pacing.run)
        await nursery.start(dispatcher.run)
        job = await desk.submit("copy", "f.*")

        async def is_waiting() -> bool:
            return bool((await desk.get(job)).tasks_running)

        await desk.until_true(is_waiting)
        assert tree(desk.two) == {} or all("pixfs-part" in name for name in tree(desk.two))
        await throttles.remove(SYSTEM, made.id)
        await desk.until(job, "SUCCEEDED")
        nursery.cancel_scope.cancel()
    assert len(tree(desk.two)) == 5


def test_a_batch_that_waits_for_bandwidth_can_be_stopped() -> None:
    limiter, stop = Limiter(0), threading.Event()
    pacer = ThrottlePacer({"write": {"a": limiter}})
    waiting = threading.Thread(target=pacer.take, args=("write", 1 << 20, stop))
    waiting.start()
    stop.set()
    waiting.join(60)
    assert not waiting.is_alive()
    assert limiter.snapshot()["waiting"] == 0


async def test_a_jobs_own_limit_is_one_for_all_its_batches(desk: Desk) -> None:
    pacing = Pacing(desk.database, desk.clock)
    job = await desk.submit("copy", "f.*", limit_bps=1000)
    limit = JobLimit(job.id, 1000, "write")
    first, second = (pacing.pacer("two", ["a"], limit) for _ in range(2))
    assert isinstance(first, ThrottlePacer)
    assert isinstance(second, ThrottlePacer)
    name = f"job-{job.id}"
    assert first.limits == second.limits == {"write": (name,)}
    limiter = first._limiters["write"][name]
    assert second._limiters["write"][name] is limiter
    await pacing.refresh()
    assert limiter.limit == 1000
    again = pacing.pacer("two", ["b"], limit)
    assert isinstance(again, ThrottlePacer)
    assert again._limiters["write"][name] is limiter, "a later batch begins where they are"


@pytest.mark.parametrize(
    ("kind", "expected"), [("copy", ("one", "two")), ("verify", ("one",))], ids=["copy", "verify"]
)
async def test_a_jobs_own_limit_holds_once(
    desk: Desk, kind: str, expected: tuple[str, ...]
) -> None:
    """Where its bytes arrive; of a job whose bytes arrive nowhere, where they are read."""
    (desk.one / "f.1").write_bytes(bytes(5000))
    asked: list[tuple[str, str | None]] = []

    def pacers(storage: str, paths: Collection[str], job: JobLimit | None) -> Pacer:
        if paths:
            asked.append((storage, job and job.direction))
        return UNPACED

    dispatcher = Dispatcher(
        desk.database, ThreadEngine(1), pacers=pacers, timing=TIMING, clock=desk.clock
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(dispatcher.run)
        await desk.until(await desk.submit(kind, "f.*", limit_bps=10**9), "SUCCEEDED")
        nursery.cancel_scope.cancel()
    limited = [storage for storage, direction in asked if direction]
    assert [storage for storage, _ in asked] == list(expected)
    assert limited == [expected[-1]]
