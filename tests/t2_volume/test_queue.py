"""The queue of files that wait for compression."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from pixfs.volume.queue import ConversionQueue, Workers
from tests.t2_volume.clocks import ManualClock

if TYPE_CHECKING:
    import pytest


def node() -> Any:  # noqa: ANN401
    """Something that can wait; the queue looks at nothing in it."""
    return object()


def test_order_is_that_of_settling() -> None:
    clock = ManualClock()
    queue = ConversionQueue(clock, 10)
    first, second, third = node(), node(), node()
    assert queue.put(first, 3.0)
    assert queue.put(second, 1.0)
    assert queue.put(third, 2.0)
    # Written to once more.
    assert not queue.put(second, 9.0)
    clock.advance(5.0)
    assert queue.take() is third
    assert queue.take() is first
    clock.advance(5.0)
    assert queue.take() is second
    assert queue.snapshot() == {"queued": 0, "deferred": 0, "converting": 3, "looking": 0}


def test_limit_turns_away_and_asks_for_a_walk() -> None:
    queue = ConversionQueue(ManualClock(), 2)
    nodes = [node() for _ in range(3)]
    assert queue.put(nodes[0], 0)
    assert queue.put(nodes[1], 0)
    assert not queue.put(nodes[2], 0)
    assert not queue.is_waiting(nodes[2])
    for _ in range(2):
        queue.done(queue.take())  # type: ignore[arg-type]
    assert not queue.is_idle()
    assert queue.snapshot()["looking"] == 1
    assert queue.wait_overflowed()
    assert queue.snapshot()["looking"] == 1
    queue.walking(-1)
    assert queue.is_idle()
    assert queue.snapshot()["looking"] == 0


def test_deferred_is_not_waited_for() -> None:
    queue = ConversionQueue(ManualClock(), 10)
    item = node()
    assert queue.defer(item, 60.0)
    assert queue.is_idle()
    assert queue.is_waiting(item)
    assert not queue.put(item, 0.0)
    assert not queue.is_idle()
    assert queue.discard(item)
    assert not queue.discard(item)
    assert queue.wait_idle(0)


def test_close_with_and_without_draining() -> None:
    for drain in (True, False):
        queue = ConversionQueue(ManualClock(), 10)
        pending, deferred = node(), node()
        queue.put(pending, 1e9)
        queue.defer(deferred, 1e9)
        done: list[object] = []
        workers = Workers(queue, 2, done.append)
        workers.start()
        dropped = queue.close(drain=drain)
        workers.join()
        assert done == ([pending] if drain else [])
        assert set(dropped) == ({deferred} if drain else {pending, deferred})
        assert not queue.put(node(), 0)
        assert not queue.wait_for_room()
        assert not queue.wait_overflowed()


def test_node_queued_again_while_it_is_converted() -> None:
    queue = ConversionQueue(ManualClock(), 10)
    item = node()
    queue.put(item, 0)
    assert queue.take() is item
    assert queue.put(item, 0)
    queue.done(item)
    assert queue.is_waiting(item)
    assert queue.take() is item
    queue.done(item)
    assert queue.is_idle()


def test_wait_for_room_wakes_up() -> None:
    queue = ConversionQueue(ManualClock(), 4)
    items = [node() for _ in range(4)]
    for item in items:
        queue.put(item, 0)
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(queue.wait_for_room()))
    thread.start()
    for item in items:
        queue.discard(item)
    thread.join()
    assert answers == [True]


def test_converting_threads_yield_to_requests() -> None:
    queue = ConversionQueue(ManualClock(), 2)
    seen: list[int] = []
    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def work(_: object) -> None:
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    queue.put(node(), 0)
    workers = Workers(queue, 1, work)
    workers.start()
    queue.close(drain=True)
    workers.join()
    assert seen == [min(own + 5, 19)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == own


class CountingClock(ManualClock):
    """Counts how often anybody has begun to wait, and keeps what is waited on."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = 0
        self.waited_on: set[threading.Condition] = set()
        self._counted = threading.Condition()

    def wait(self, condition: threading.Condition, timeout_s: float | None) -> None:
        with self._counted:
            self.waits += 1
            self.waited_on.add(condition)
            self._counted.notify_all()
        super().wait(condition, timeout_s)

    def wait_for_waits(self, count: int) -> None:
        with self._counted:
            assert self._counted.wait_for(lambda: self.waits >= count, 60)


def test_converting_threads_sleep_while_files_are_closed_and_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each of them woke up for every file, and took the interpreter from the requests."""
    clock = CountingClock()
    queue = ConversionQueue(clock, 1000)
    workers = Workers(queue, 3, lambda node: None)
    workers.start()
    clock.wait_for_waits(3)
    assert queue.put(node(), 5.0)
    clock.wait_for_waits(4)
    woken: list[int] = []
    (condition,) = clock.waited_on
    with monkeypatch.context() as patch:
        patch.setattr(condition, "notify", lambda n=1: woken.append(n))
        for _ in range(10):
            closed = node()
            assert queue.put(closed, 6.0)
            assert queue.discard(closed)
            assert not queue.discard(closed)
    queue.close(drain=False)
    workers.join()
    assert woken == []


def test_one_thread_wakes_another_for_what_is_due_next() -> None:
    clock = CountingClock()
    queue = ConversionQueue(clock, 10)
    together = threading.Barrier(2, timeout=60)

    def meet(_: object) -> None:
        together.wait()

    workers = Workers(queue, 2, meet)
    workers.start()
    clock.wait_for_waits(2)
    assert queue.put(node(), 5.0)
    clock.wait_for_waits(3)
    assert queue.put(node(), 6.0)
    clock.advance(5.0)
    # The first is being converted, and the thread that nobody has woken yet waits for the second.
    clock.wait_for_waits(4)
    clock.advance(1.0)
    assert queue.wait_idle(60)
    queue.close(drain=False)
    workers.join()
