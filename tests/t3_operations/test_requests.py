"""How a blocking call is run in a worker thread, and what becomes of its result."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest
import trio
import trio.testing

from pixfs.fuse import threads as fuse_threads
from pixfs.fuse.threads import WorkerThreads, in_thread


async def test_a_call_runs_in_another_thread() -> None:
    limiter = trio.CapacityLimiter(1)
    assert await in_thread(limiter, threading.get_ident) != threading.get_ident()
    assert limiter.borrowed_tokens == 0


async def test_what_a_call_raises_is_raised_here() -> None:
    limiter = trio.CapacityLimiter(1)

    def fail(code: int) -> None:
        raise OSError(code, "planted")

    with pytest.raises(OSError, match="planted"):
        await in_thread(limiter, fail, 5)
    assert limiter.borrowed_tokens == 0


async def test_no_more_calls_at_once_than_the_limiter_allows() -> None:
    limiter = trio.CapacityLimiter(2)
    may_end = threading.Event()
    at_once: list[int] = []
    inside = 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal inside
        with lock:
            inside += 1
            at_once.append(inside)
        may_end.wait()
        with lock:
            inside -= 1

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(in_thread, limiter, work)
        await trio.testing.wait_all_tasks_blocked()
        may_end.set()
    assert len(at_once) == 6
    assert max(at_once) <= 2


async def test_a_call_under_way_is_waited_for_when_the_request_is_withdrawn() -> None:
    limiter = trio.CapacityLimiter(1)
    begun, may_end = trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()
    ended: list[str] = []

    def work() -> None:
        token.run_sync_soon(begun.set)
        may_end.wait()
        ended.append("the call")

    async def request(scope: trio.CancelScope) -> None:
        with scope:
            await in_thread(limiter, work)
        ended.append("the request")

    scope = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(request, scope)
        await begun.wait()
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert ended == []
        may_end.set()
    assert ended == ["the call", "the request"]


async def test_a_prompt_call_runs_in_another_thread_and_yields_what_it_returns() -> None:
    threads = WorkerThreads()
    assert await threads.promptly(threads.lookups, threading.get_ident) != threading.get_ident()
    assert threads.metadata.borrowed_tokens == 0


async def test_what_a_prompt_call_raises_is_raised_here() -> None:
    threads = WorkerThreads()

    def fail() -> None:
        raise OSError(5, "planted")

    with pytest.raises(OSError, match="planted"):
        await threads.promptly(threads.lookups, fail)
    assert threads.metadata.borrowed_tokens == 0


async def test_a_prompt_call_that_takes_long_lets_others_run() -> None:
    threads = WorkerThreads()
    may_end = threading.Event()
    others: list[str] = []

    def work() -> str:
        may_end.wait()
        return "late"

    async def request() -> None:
        others.append(await threads.promptly(threads.changes, work))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(request)
        await trio.testing.wait_all_tasks_blocked()
        assert threads.data.borrowed_tokens == 3
        assert await threads.promptly(threads.lookups, lambda: "soon") == "soon"
        assert others == []
        may_end.set()
    assert others == ["late"] * 3


@pytest.mark.parametrize("is_waiting", [False, True])
@pytest.mark.parametrize("took_long", [False, True])
async def test_others_get_their_turn_first_only_after_one_that_kept_requests_waiting_for_long(
    monkeypatch: pytest.MonkeyPatch, is_waiting: bool, took_long: bool
) -> None:
    """A request that waits is no reason by itself: handing a short call over takes longer."""
    monkeypatch.setattr("pixfs.fuse.threads._PATIENCE_MS", 60_000)
    monkeypatch.setattr("pixfs.fuse.threads._SHORT_S", -1.0 if took_long else 60.0)
    threads = WorkerThreads()
    threads.is_request_waiting = lambda: is_waiting
    order: list[str] = []

    async def other() -> None:
        order.append("other")

    await threads.promptly(threads.changes, lambda: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await threads.promptly(threads.changes, lambda: None)
        order.append("call")
    assert order == (["other", "call"] if is_waiting and took_long else ["call", "other"])


async def test_prompt_calls_share_a_thread_beside_the_loop_until_one_takes_long() -> None:
    threads = WorkerThreads()
    may_end = threading.Event()
    everywhere = os.sched_getaffinity(0)

    def place() -> tuple[threading.Thread, set[int]]:
        return threading.current_thread(), os.sched_getaffinity(0)

    def place_late() -> tuple[threading.Thread, set[int]]:
        may_end.wait()
        return place()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("pixfs.fuse.threads._PATIENCE_MS", 60_000)
        first, processors = await threads.promptly(threads.changes, place)
        again, _ = await threads.promptly(threads.changes, place)
    assert again is first
    assert len(processors) == 1

    late: list[tuple[threading.Thread, set[int]]] = []

    async def request() -> None:
        late.append(await threads.promptly(threads.changes, place_late))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(request)
        await trio.testing.wait_all_tasks_blocked()
        may_end.set()
    assert late == [(first, everywhere)]
    await trio.to_thread.run_sync(first.join)


async def test_a_storage_that_stays_slow_is_hardly_ever_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ten milliseconds of the loop's thread for every three calls would be most of its time."""
    monkeypatch.setattr("pixfs.fuse.threads._PATIENCE_MS", 0)
    threads = WorkerThreads()
    may_end = threading.Event()
    may_end.set()
    waits: list[int] = []
    make = fuse_threads._Companion.make

    def slow(*given: Any) -> Any:  # noqa: ANN401
        waits.append(number)
        may_end.clear()
        result = make(*given)
        may_end.set()
        return result

    monkeypatch.setattr(fuse_threads._Companion, "make", slow)
    for number in range(800):  # noqa: B007 - the closure's
        await threads.promptly(threads.changes, may_end.wait)
    assert waits == [0, 3, 12, 45, 174, 687]
    # One that was short is the end of that.
    monkeypatch.setattr("pixfs.fuse.threads._PATIENCE_MS", 60_000)
    monkeypatch.setattr(fuse_threads._Companion, "make", make)
    threads.changes._left = 0
    await threads.promptly(threads.changes, may_end.wait)
    monkeypatch.setattr("pixfs.fuse.threads._PATIENCE_MS", 0)
    monkeypatch.setattr(fuse_threads._Companion, "make", slow)
    for number in range(1000, 1020):  # noqa: B007 - the closure's
        await threads.promptly(threads.changes, may_end.wait)
    assert waits[6:] == [1000, 1003, 1012]


async def test_one_kind_of_calls_that_takes_long_is_no_reason_to_hand_over_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a large read that was two requests, a small one need not change threads twice."""
    monkeypatch.setattr("pixfs.fuse.threads._PATIENCE_MS", 60_000)
    monkeypatch.setattr("pixfs.fuse.threads._SHORT_S", -1.0)
    threads = WorkerThreads()
    threads.is_request_waiting = lambda: True
    large = await threads.promptly(threads.large_reads, threading.current_thread)
    small = await threads.promptly(threads.small_reads, threading.current_thread)
    assert small is large
    for kind in (threads.large_reads, threads.small_reads):
        assert await threads.promptly(kind, threading.current_thread) is not large


async def test_the_thread_beside_the_loop_ends_with_its_owner() -> None:
    threads = WorkerThreads()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("pixfs.fuse.threads._PATIENCE_MS", 60_000)
        before = set(os.listdir("/proc/self/fd"))
        thread = await threads.promptly(threads.changes, threading.current_thread)
    assert set(os.listdir("/proc/self/fd")) - before
    del threads
    await trio.to_thread.run_sync(thread.join)
    assert set(os.listdir("/proc/self/fd")) <= before


async def test_a_call_is_made_that_no_thread_had_received_when_patience_ended() -> None:
    threads = WorkerThreads()
    may_begin = threading.Event()
    serve = fuse_threads._serve
    results: list[str] = []

    def serve_late(*given: Any) -> None:  # noqa: ANN401
        may_begin.wait()
        serve(*given)

    async def request() -> None:
        results.append(await threads.promptly(threads.changes, lambda: "made"))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fuse_threads, "_serve", serve_late)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(request)
            await trio.testing.wait_all_tasks_blocked()
            may_begin.set()
    assert results == ["made"]
