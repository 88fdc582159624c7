"""Tasks that wait for a limit, on a clock that jumps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from trio.testing import MockClock, wait_all_tasks_blocked

from pixfs.throttle import Limiter, Priority
from pixfs.throttle.tasks import acquire

if TYPE_CHECKING:
    from collections.abc import Iterator

KIB, MIB = 1 << 10, 1 << 20


@pytest.fixture
def limiter(autojump_clock: MockClock) -> Iterator[Limiter]:
    """A limiter on the test's clock; at the end nobody waits and nothing is owed for ever."""
    limiter = Limiter(10 * MIB, clock=autojump_clock.current_time)
    yield limiter
    assert not any(limiter._queues.values())
    assert limiter._timed is None


class Reader:
    """Moves pieces of one size until it is cancelled, and notes when."""

    def __init__(self, limiter: Limiter, size: int, priority: Priority) -> None:
        self._limiter = limiter
        self._size = size
        self._priority = priority
        self.moved = 0
        self.times: list[float] = []

    async def run(self, depth: int) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(depth):
                nursery.start_soon(self._one)

    async def _one(self) -> None:
        while True:
            await acquire(self._limiter, self, self._size, self._priority)
            self.moved += self._size
            self.times.append(trio.current_time())
            await trio.lowlevel.checkpoint()

    def longest_stall(self) -> float:
        return max(b - a for a, b in zip(self.times, self.times[1:], strict=False))


async def read_for(
    limiter: Limiter, seconds: float, *kinds: tuple[int, int, Priority]
) -> list[Reader]:
    """Readers of (size, depth, priority) at once, for so long."""
    readers = [Reader(limiter, size, priority) for size, _, priority in kinds]
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for reader, (_, depth, _) in zip(readers, kinds, strict=True):
                nursery.start_soon(reader.run, depth)
    return readers


@pytest.mark.parametrize("rate", [100 * KIB, MIB, 10 * MIB, 333 * MIB + 1])
@pytest.mark.parametrize("size", [4 * KIB, 128 * KIB, MIB])
async def test_ten_seconds_move_ten_seconds_worth(
    autojump_clock: MockClock, limiter: Limiter, rate: int, size: int
) -> None:
    if rate / size > 20_000 or size / rate > 0.5:
        rate = 20 * size
    limiter.limit = rate
    (reader,) = await read_for(limiter, 10, (size, 3, Priority.REQUEST))
    assert reader.moved == pytest.approx(10 * rate, rel=0.05)
    assert reader.longest_stall() <= max(0.25, 1.01 * size / rate)


async def test_four_readers_share_evenly_and_none_stalls(
    autojump_clock: MockClock,
    limiter: Limiter,
) -> None:
    readers = await read_for(
        limiter,
        10,
        (128 * KIB, 1, Priority.REQUEST),
        (128 * KIB, 8, Priority.REQUEST),
        (4 * KIB, 2, Priority.REQUEST),
        (MIB, 2, Priority.REQUEST),
    )
    moved = [reader.moved for reader in readers]
    assert sum(moved) == pytest.approx(100 * MIB, rel=0.05)
    # A reader that asks for the next piece only when it has the last is waited for by nobody.
    assert min(moved[1:]) == pytest.approx(max(moved[1:]), abs=2 * MIB)
    assert moved[0] > 10 * MIB
    assert max(reader.longest_stall() for reader in readers[:3]) <= 0.25


async def test_background_keeps_out_of_the_way_and_takes_the_rest(
    autojump_clock: MockClock,
    limiter: Limiter,
) -> None:
    request, background = await read_for(
        limiter, 10, (128 * KIB, 4, Priority.REQUEST), (512 * KIB, 4, Priority.BACKGROUND)
    )
    assert background.moved <= MIB
    assert request.moved == pytest.approx(100 * MIB, rel=0.05)
    limiter.limit = 20 * MIB
    (alone,) = await read_for(limiter, 10, (512 * KIB, 1, Priority.BACKGROUND))
    assert alone.moved == pytest.approx(200 * MIB, rel=0.05)


async def test_a_change_reaches_whoever_waits(
    autojump_clock: MockClock,
    limiter: Limiter,
) -> None:
    limiter.limit = 1
    await acquire(limiter, "first", 1000)
    done = trio.Event()

    async def second() -> None:
        await acquire(limiter, "second", 1000)
        done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(second)
        await wait_all_tasks_blocked()
        start = trio.current_time()
        limiter.limit = 10_000
        await done.wait()
        assert trio.current_time() - start == pytest.approx(0.1, abs=0.001)


async def test_a_pause_lasts_until_it_is_lifted(
    autojump_clock: MockClock,
    limiter: Limiter,
) -> None:
    limiter.limit = 0
    done: list[int] = []

    async def wait(number: int) -> None:
        await acquire(limiter, number, 1)
        done.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(wait, number)
        await trio.sleep(3600)
        assert done == []
        assert limiter.snapshot()["waiting"] == 5
        limiter.limit = None
    assert sorted(done) == [0, 1, 2, 3, 4]


async def test_who_gives_up_leaves_nothing_behind(
    autojump_clock: MockClock,
    limiter: Limiter,
) -> None:
    limiter.limit = 0
    async with trio.open_nursery() as nursery:
        for number in range(20):

            async def give_up(number: int = number) -> None:
                with trio.move_on_after(0.01 * number):
                    await acquire(limiter, number % 3, MIB)

            nursery.start_soon(give_up)
    assert limiter.snapshot() == {"limit": 0, "rate": 0, "bytes": 0, "waiting": 0}
    limiter.limit = 10 * MIB
    start = trio.current_time()
    await acquire(limiter, "next", 1)
    assert trio.current_time() == start


async def test_who_gives_up_half_way_gets_back_what_it_has_paid(
    autojump_clock: MockClock,
    limiter: Limiter,
) -> None:
    with trio.move_on_after(0.5) as scope:
        await acquire(limiter, "a", 10 * MIB)
    assert scope.cancelled_caught
    assert limiter.snapshot()["bytes"] == limiter.snapshot()["waiting"] == 0
    start = trio.current_time()
    await acquire(limiter, "b", 4 * KIB)
    assert trio.current_time() == start


async def test_a_large_request_keeps_nobody_else_waiting(
    autojump_clock: MockClock,
    limiter: Limiter,
) -> None:
    # Let through at once, it left a debt of seconds that every other reader waited for.
    limiter.limit = MIB
    small, _ = await read_for(
        limiter, 10, (16 * KIB, 1, Priority.REQUEST), (4 * MIB, 1, Priority.REQUEST)
    )
    assert small.longest_stall() <= 0.25
    assert small.moved >= 4 * MIB


async def test_bytes_granted_to_someone_cancelled_at_that_moment_go_back(
    autojump_clock: MockClock,
    limiter: Limiter,
) -> None:
    limiter.limit = 0
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(acquire, limiter, "a", 7 * MIB)
            await wait_all_tasks_blocked()
            scope.cancel()
            limiter.limit = None
    # Granted in the same instant: whichever came first, the task has ended and counts once.
    assert limiter.snapshot()["waiting"] == 0
    assert limiter.snapshot()["bytes"] in (0, 7 * MIB)


async def test_tasks_and_threads_stand_in_one_queue() -> None:
    limiter = Limiter(0)
    order: list[str] = []

    async def task() -> None:
        await acquire(limiter, "task", MIB)
        order.append("task")

    def thread() -> None:
        limiter.acquire("thread", MIB)
        order.append("thread")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(task)
        nursery.start_soon(trio.to_thread.run_sync, thread)
        while limiter.snapshot()["waiting"] != 2:
            await trio.lowlevel.checkpoint()
        assert order == []
        limiter.limit = 100 * MIB
    assert sorted(order) == ["task", "thread"]
    assert limiter.snapshot()["bytes"] == 2 * MIB
