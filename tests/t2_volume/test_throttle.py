"""Rates, buckets, fair queues and limiters, without an event loop."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixfs.throttle import Limiter, Priority, Throttle, Ticket, format_rate, parse_rate
from pixfs.throttle.bucket import SAVED_S, TokenBucket
from pixfs.throttle.fairqueue import FairQueue
from pixfs.throttle.meter import Meter

if TYPE_CHECKING:
    from collections.abc import Callable

KIB, MIB = 1 << 10, 1 << 20


class Hand:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("0", 0),
        ("unlimited", None),
        (" Unlimited ", None),
        ("1", 1),
        ("800K", 800 * KIB),
        ("50m", 50 * MIB),
        ("1.5G", 3 << 29),
        ("10MiB/s", 10 * MIB),
        ("2GB", 2 << 30),
    ],
)
def test_rates_are_read(text: str, rate: int | None) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["", "fast", "-1", "1X", "0.1", "nan", "inf", "1e9", "9999T", "1 0", "١"]
)
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is "):
        parse_rate(text)


@given(st.none() | st.integers(0, 1 << 50))
def test_rates_come_back_from_their_text(rate: int | None) -> None:
    assert parse_rate(format_rate(rate)) == rate


@given(
    st.integers(1, 1 << 32),
    st.lists(st.tuples(st.integers(1, 4 * MIB), st.floats(0, 0.5)), min_size=1, max_size=50),
)
def test_a_bucket_lets_through_its_rate_and_no_more(
    limit: int, requests: list[tuple[int, float]]
) -> None:
    begun = now = 50.0
    bucket = TokenBucket(limit, now)
    moved = 0
    for size, idle_s in requests:
        now += bucket.opens_in(now)
        assert bucket.is_open(now)
        # What went through before the last request fits the time; the rest is what was saved.
        assert moved <= limit * (now - begun) + 1 + 1e-6 * moved
        bucket.spend(size)
        moved += size
        now += min(idle_s, SAVED_S)


def test_a_debt_is_paid_at_the_new_rate() -> None:
    bucket = TokenBucket(100, 0.0)
    bucket.spend(1000)
    assert bucket.opens_in(0.0) == pytest.approx(10.0)
    bucket.change(10_000, 1.0)
    assert bucket.opens_in(1.0) == pytest.approx(0.09)
    bucket.change(0, 1.0)
    assert not bucket.is_open(1e9)
    bucket.change(None, 1.0)
    assert bucket.is_open(1.0)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 1000)), min_size=1, max_size=60),
    st.randoms(use_true_random=False),
)
def test_a_fair_queue_hands_out_everything_once_and_keeps_each_flows_order(
    items: list[tuple[str, int]], chance: object
) -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    tagged = list(enumerate(items))
    for index, (flow, size) in tagged:
        queue.push(flow, size, (flow, index))
    dropped = {index for index, _ in tagged[::7]}
    for index, (flow, _) in tagged[::7]:
        match = next(i for f in [flow] for i in [(flow, index)])
        with pytest.raises(ValueError, match="not queued"):
            queue.remove(flow, (flow, -1))
        # Identity counts: the very object has to be found.
        queued = next(i for _, i in queue._waiting[flow].items if i == match)
        queue.remove(flow, queued)
    out = []
    while queue:
        head = queue.head()
        assert queue.pop() is head
        assert head is not None
        out.append(head)
    assert sorted(index for _, index in out) == [i for i, _ in tagged if i not in dropped]
    for name in "abc":
        mine = [index for flow, index in out if flow == name]
        assert mine == sorted(mine)
    with pytest.raises(IndexError):
        queue.pop()


def test_flows_get_the_same_bytes_whatever_their_sizes_and_numbers() -> None:
    queue: FairQueue[tuple[str, int, object]] = FairQueue()
    sizes = {"large": (1000, 20), "small": (10, 2000), "greedy": (1000, 400)}
    for flow, (size, count) in sizes.items():
        for _ in range(count):
            queue.push(flow, size, (flow, size, object()))
    served = dict.fromkeys(sizes, 0)
    while min(served.values()) < 20_000:
        flow, size, _ = queue.pop()
        served[flow] += size
        assert max(served.values()) - min(served.values()) <= 1000


def test_a_flow_that_comes_late_neither_waits_for_the_others_past_nor_overtakes_them() -> None:
    queue: FairQueue[str] = FairQueue()
    for _ in range(10):
        queue.push("old", 100, "old")
    for _ in range(5):
        queue.pop()
    for _ in range(3):
        queue.push("new", 100, "new")
    assert [queue.pop() for _ in range(6)] == ["old", "new"] * 3


def test_flows_that_ask_for_one_thing_at_a_time_get_the_same_bytes() -> None:
    queue: FairQueue[tuple[int, int]] = FairQueue()
    sizes = {0: 1 << 16, **dict.fromkeys(range(1, 8), 1 << 17), 8: 1 << 20}
    served = dict.fromkeys(sizes, 0)
    away: list[tuple[int, int]] = []
    for flow, size in sizes.items():
        queue.push(flow, size, (flow, size))
    for _ in range(5000):
        flow, size = queue.pop()
        served[flow] += size
        away.append((flow, size))
        # Whoever was served comes back only after the next one's turn.
        if len(away) == 2:
            flow, size = away.pop(0)
            queue.push(flow, size, (flow, size))
    assert max(served.values()) - min(served.values()) <= 2 << 20, served


def test_whoever_is_away_for_long_is_forgotten() -> None:
    queue: FairQueue[int] = FairQueue()
    for flow in range(1000):
        queue.push(flow, 1 << 16, flow)
        queue.pop()
    assert len(queue._away) <= 17
    for flow in range(2000, 4000):
        queue.push(flow, 1, flow)
        queue.pop()
    assert len(queue._away) <= 256
    for _ in range(3):
        queue.push(0, 1 << 20, 0)
    for _ in range(64):
        queue.push("new", 1 << 16, -1)
    # What it did not ask for meanwhile is not made up for.
    order = [queue.pop() for _ in range(20)]
    assert order.count(0) == 1


def test_a_meter_tells_what_moves_now() -> None:
    meter = Meter(0.0)
    for tick in range(100):
        meter.add(1000, tick * 0.1)
    assert meter.total == 100_000
    assert meter.rate(10.0) == pytest.approx(10_000, rel=0.05)
    assert meter.rate(30.0) == 0


def waiting(limiter: Limiter, flow: str, size: int, log: list[str], **kind: Priority) -> Ticket:
    """A ticket in the queue that notes each time it is woken."""
    priority = kind.get("priority", Priority.REQUEST)
    ticket = Ticket(flow, size, priority, lambda: log.append(flow))
    limiter.enter(ticket)
    return ticket


def test_background_gets_only_what_requests_leave() -> None:
    hand = Hand()
    limiter = Limiter(1000, clock=hand)
    assert limiter.try_acquire("busy", 1000)
    log: list[str] = []
    background = waiting(limiter, "convert", 1000, log, priority=Priority.BACKGROUND)
    limiter.dispatch(background)
    for _ in range(5):
        request = waiting(limiter, "reader", 1000, log)
        assert limiter.dispatch(request) == pytest.approx(1.0)
        hand.now += 1.0
        limiter.dispatch(request)
        assert request.granted
        assert not background.granted
    assert limiter.dispatch(background) == pytest.approx(1.0)
    hand.now += 1.0
    limiter.dispatch(background)
    assert background.granted


def test_one_holds_the_timer_and_hands_it_on() -> None:
    hand = Hand()
    limiter = Limiter(1000, clock=hand)
    assert limiter.try_acquire("busy", 500)
    log: list[str] = []
    first = waiting(limiter, "a", 500, log)
    second = waiting(limiter, "b", 500, log)
    assert limiter.dispatch(first) == pytest.approx(0.5)
    assert limiter.dispatch(second) == float("inf")
    limiter.withdraw(first)
    assert log == ["b"]
    assert limiter.dispatch(second) == pytest.approx(0.5)
    # A change wakes whoever has set a timer by the old limit.
    limiter.limit = 10
    assert log == ["b", "b"]
    assert limiter.dispatch(second) == pytest.approx(50.0)
    limiter.limit = None
    assert second.granted


def test_what_was_taken_and_not_moved_goes_back() -> None:
    hand = Hand()
    limiter = Limiter(1000, clock=hand)
    assert limiter.try_acquire("a", 10_000)
    assert not limiter.try_acquire("a", 1)
    limiter.refund(10_000)
    assert limiter.try_acquire("a", 100)
    ticket = waiting(limiter, "a", 700, [])
    hand.now += 0.1
    limiter.dispatch(ticket)
    assert ticket.granted
    limiter.withdraw(ticket)
    assert limiter.snapshot() == {"limit": 1000, "rate": 400, "bytes": 100, "waiting": 0}


def test_a_paused_limiter_holds_threads_and_lets_them_go() -> None:
    limiter = Limiter(0)
    moved: list[str] = []

    def worker(name: str) -> None:
        limiter.acquire(name, MIB, Priority.BACKGROUND)
        moved.append(name)

    threads = [threading.Thread(target=worker, args=(str(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    while limiter.snapshot()["waiting"] != 4:
        pass
    assert moved == []
    limiter.limit = 1 << 40
    for thread in threads:
        thread.join(60)
    assert sorted(moved) == ["0", "1", "2", "3"]
    assert limiter.snapshot()["bytes"] == 4 * MIB


def test_the_end_lets_a_class_pass_and_keeps_the_other() -> None:
    throttle = Throttle(0, 0)
    assert throttle.is_paused
    request = waiting(throttle.write, "w", 10, [])
    background = waiting(throttle.write, "c", 10, [], priority=Priority.BACKGROUND)
    throttle.exempt(Priority.REQUEST)
    assert request.granted
    assert not background.granted
    assert throttle.read.try_acquire("r", 10)
    throttle.exempt(*Priority)
    assert background.granted


def test_large_transfers_ask_for_pieces() -> None:
    assert Limiter(None).piece(50 * MIB) == 50 * MIB
    assert Limiter(10 * MIB).piece(50 * MIB) == 10 * MIB // 20
    assert Limiter(1000).piece(50 * MIB) == 16 * KIB
    assert Limiter(1 << 40).piece(50 * MIB) == MIB
    assert Limiter(0).piece(7) == 7


def test_a_negative_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        Limiter(-1)
    limiter = Limiter(5)
    with pytest.raises(ValueError, match="negative"):
        limiter.limit = -1
    assert limiter.limit == 5


@pytest.mark.parametrize("make", [Limiter, lambda: Limiter(1 << 40)])
def test_threads_lose_and_invent_no_byte(make: Callable[[], Limiter]) -> None:
    limiter = make()

    def worker(flow: int) -> None:
        for size in range(1, 200):
            limiter.acquire(flow, size)
            limiter.refund(size // 2)

    threads = [threading.Thread(target=worker, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert limiter.snapshot()["bytes"] == 4 * sum(size - size // 2 for size in range(1, 200))
    assert limiter.snapshot()["waiting"] == 0
