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
from server.work.pacing import Pacing, ThrottlePacer
from tests.t5_core.desk import TIMING, Desk
from tests.t5_core.work import tree

if TYPE_CHECKING:
    from pathlib import Path

    from server.core.database import Database


@pytest.fixture
async def desk(database: Database, tmp_path: Path) -> Desk:
    desk = Desk(database, tmp_path)
    await desk.set_up()
    return desk


async def test_a_throttle_covers_what_is_below_its_path(desk: Desk) -> None:
    throttles, pacing = Throttles(desk.database, desk.clock), Pacing(desk.database, desk.clock)
    await throttles.set(SYSTEM, "one", "shows/dune", Direction.READ, 1000)
    await pacing.refresh()
    assert isinstance(pacing.pacer("one", ["shows/dune/sh010/a"]), ThrottlePacer)
    assert pacing.pacer("one", ["shows/dunes/a"]) is UNPACED
    assert pacing.pacer("two", ["shows/dune/a"]) is UNPACED


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
    pacer = ThrottlePacer({"write": [limiter]})
    waiting = threading.Thread(target=pacer.take, args=("write", 1 << 20, stop))
    waiting.start()
    stop.set()
    waiting.join(60)
    assert not waiting.is_alive()
    assert limiter.snapshot()["waiting"] == 0
