"""Worker threads: where a request's blocking calls are made.

Handing a call to a thread and coming back by way of the event loop costs more than most calls
themselves. For a call that is short as a rule, the loop's thread waits a moment instead
(`WorkerThreads.promptly`): a millisecond at most, however long the storage takes, and not while
other requests are there that it would hold up.
"""

from __future__ import annotations

import contextlib
import functools
import os
import queue
import threading
from typing import TYPE_CHECKING, TypeVar, cast

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

    import outcome

R = TypeVar("R")

_PATIENCE_S = 0.001
# How many calls are handed over without a wait after one that took too long or kept others waiting.
_WARY_CALLS = 8


class WorkerThreads:
    """Bounded sets of worker threads, so that one kind of work cannot starve another.

    Attributes:
        metadata: everything by name or inode; short.
        data: reads, writes and closes of open files.
        syncs: fsync and fsyncdir; may take seconds each on a busy disk.
        conversions: conversions and verifications asked for by extended attribute; seconds.
        turns_per_file: threads of ``data`` that one file handle may hold at once.
        is_request_waiting: whether the kernel has a request for us; never blocks.
    """

    def __init__(self) -> None:
        cpus = len(os.sched_getaffinity(0))
        self.turns_per_file = max(4, cpus)
        self.metadata = trio.CapacityLimiter(max(16, 2 * cpus))
        self.data = trio.CapacityLimiter(8 * self.turns_per_file)
        self.syncs = trio.CapacityLimiter(16)
        self.conversions = trio.CapacityLimiter(max(2, cpus))
        self.is_request_waiting: Callable[[], bool] = lambda: False
        self._wary = 0

    async def promptly(
        self, limiter: trio.CapacityLimiter, call: Callable[..., R], *args: object
    ) -> R:
        """`in_thread` for a call that is expected to be short; a checkpoint only if it is not."""
        if self._wary or self.is_request_waiting():
            self._wary = max(0, self._wary - 1)
            return await in_thread(limiter, call, *args)
        async with Turn(limiter):
            handed = _Call(call, args)
            result = handed.wait(_PATIENCE_S)
            if result is None or self.is_request_waiting():
                self._wary = _WARY_CALLS
            if result is None:
                return cast("R", await handed.returned())
            return cast("R", result.unwrap())


async def in_thread(limiter: trio.CapacityLimiter, call: Callable[..., R], *args: object) -> R:
    """Run a blocking call in a worker thread; it is waited for even when we are cancelled.

    This is `trio.to_thread.run_sync` for calls that never come back to the event loop. Its
    contexts, thread names and checkpoints cost more than most of the calls made here.
    """
    async with Turn(limiter):
        return cast("R", await _Call(call, args, is_awaited=True).returned())


class Turn:
    """``async with limiter``, but a checkpoint only if there is no turn left."""

    __slots__ = ("_limiter",)

    def __init__(self, limiter: trio.CapacityLimiter) -> None:
        self._limiter = limiter

    async def __aenter__(self) -> None:
        try:
            self._limiter.acquire_nowait()
        except trio.WouldBlock:
            await self._limiter.acquire()

    async def __aexit__(self, *_: object) -> None:
        self._limiter.release()


class _Call:
    """A call handed to a worker thread. Its result may be waited for in both ways: first by the
    loop's thread, then by the task."""

    def __init__(
        self, call: Callable[..., object], args: tuple[object, ...], *, is_awaited: bool = False
    ) -> None:
        """``is_awaited``: only the task will wait for it."""
        self._task = trio.lowlevel.current_task()
        self._token = trio.lowlevel.current_trio_token()
        self._results: queue.SimpleQueue[outcome.Outcome[object]] = queue.SimpleQueue()
        # Whoever takes it decides where the result goes, and never gives it back.
        self._decision = threading.Lock()
        if is_awaited:
            self._decision.acquire()
        trio.lowlevel.start_thread_soon(functools.partial(call, *args), self._deliver)

    def wait(self, seconds: float) -> outcome.Outcome[object] | None:
        """The result if it comes so soon; if not, `returned` has to be called next."""
        try:
            return self._results.get(timeout=seconds)
        except queue.Empty:
            if self._decision.acquire(blocking=False):
                return None
            # It is being put there at this moment.
            return self._results.get()

    async def returned(self) -> object:
        """The result; raises what the call raised."""
        return await trio.lowlevel.wait_task_rescheduled(_never_give_up)

    def _deliver(self, result: outcome.Outcome[object]) -> None:
        if self._decision.acquire(blocking=False):
            self._results.put(result)
            return
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(trio.lowlevel.reschedule, self._task, result)


def _never_give_up(_raise_cancel: object) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.FAILED
