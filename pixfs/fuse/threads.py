"""Worker threads: where a request's blocking calls are made.

Handing a call to a thread and coming back by way of the event loop costs more than most calls
themselves. For a call that is short as a rule, the loop's thread waits a moment instead
(`WorkerThreads.promptly`): a millisecond at most, however long the storage takes, and not while
other requests are there that it would hold up. The call is then made by a thread that is kept on
the processor of the loop's thread (`_Companion`).
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import queue
import threading
import weakref
from typing import TYPE_CHECKING, TypeVar, cast

import outcome
import trio

if TYPE_CHECKING:
    from collections.abc import Callable

    _Deliver = Callable[[outcome.Outcome[object]], object]

R = TypeVar("R")

_PATIENCE_S = 0.001
# How many calls are handed over without a wait after one that took too long or kept others waiting.
_WARY_CALLS = 8
_libc = ctypes.PyDLL(None)


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
        self._companion: _Companion | None = None

    async def promptly(
        self, limiter: trio.CapacityLimiter, call: Callable[..., R], *args: object
    ) -> R:
        """`in_thread` for a call that is expected to be short; a checkpoint only if it is not."""
        if self._wary or self.is_request_waiting():
            self._wary = max(0, self._wary - 1)
            return await in_thread(limiter, call, *args)
        async with Turn(limiter):
            companion = self._companion or _Companion()
            self._companion = companion
            companion.come_near()
            handed = _Call(call, args, companion.start)
            result = handed.wait(_PATIENCE_S)
            if result is None or self.is_request_waiting():
                self._wary = _WARY_CALLS
            if result is None:
                companion.leave()
                self._companion = None
                return cast("R", await handed.returned())
            return cast("R", result.unwrap())


async def in_thread(limiter: trio.CapacityLimiter, call: Callable[..., R], *args: object) -> R:
    """Run a blocking call in a worker thread; it is waited for even when we are cancelled.

    This is `trio.to_thread.run_sync` for calls that never come back to the event loop. Its
    contexts, thread names and checkpoints cost more than most of the calls made here.
    """
    async with Turn(limiter):
        handed = _Call(call, args, trio.lowlevel.start_thread_soon, is_awaited=True)
        return cast("R", await handed.returned())


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


class _Companion:
    """A thread that makes one call after the other while the loop's thread sleeps.

    It is kept on the processor where the loop's thread has just read the request: the bytes to be
    written are in that processor's cache, and no idle one has to be woken. For the loop's thread.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[[], object], _Deliver] | None] = (
            queue.SimpleQueue()
        )
        self._allowed = os.sched_getaffinity(0)
        self._processor = -1
        self._thread = threading.Thread(
            target=_serve, args=(self._calls,), name="pixfs-companion", daemon=True
        )
        self._thread.start()
        # Its thread must not keep it: it ends with who owns it.
        self._end = weakref.finalize(self, self._calls.put, None)

    def come_near(self) -> None:
        """Go where the caller is."""
        processor = _libc.sched_getcpu()
        if processor != self._processor:
            self._processor = processor
            self._move({processor})

    def start(self, call: Callable[[], object], deliver: _Deliver) -> None:
        """Make a call in the thread."""
        self._calls.put((call, deliver))

    def leave(self) -> None:
        """Go anywhere, and end after the call under way, which takes long: the loop's thread needs
        its processor."""
        self._move(self._allowed)
        self._end()

    def _move(self, processors: set[int]) -> None:
        # Refused in some sandboxes, where it runs wherever the kernel puts it.
        with contextlib.suppress(OSError):
            os.sched_setaffinity(self._thread.native_id or 0, processors)


def _serve(calls: queue.SimpleQueue[tuple[Callable[[], object], _Deliver] | None]) -> None:
    while (handed := calls.get()) is not None:
        call, deliver = handed
        deliver(outcome.capture(call))
        # What was written is not kept until the next call.
        del handed, call, deliver


class _Call:
    """A call handed to a worker thread. Its result may be waited for in both ways: first by the
    loop's thread, then by the task."""

    def __init__(
        self,
        call: Callable[..., object],
        args: tuple[object, ...],
        start: Callable[[Callable[[], object], _Deliver], None],
        *,
        is_awaited: bool = False,
    ) -> None:
        """``start`` has a thread make the call and deliver what comes of it; ``is_awaited``: only
        the task will wait for it."""
        self._task = trio.lowlevel.current_task()
        self._token = trio.lowlevel.current_trio_token()
        self._results: queue.SimpleQueue[outcome.Outcome[object]] = queue.SimpleQueue()
        # Whoever takes it decides where the result goes, and never gives it back.
        self._decision = threading.Lock()
        if is_awaited:
            self._decision.acquire()
        start(functools.partial(call, *args), self._deliver)

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
