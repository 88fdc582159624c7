"""Worker threads: where a request's blocking calls are made.

Handing a call to a thread and coming back by way of the event loop costs more than most calls
themselves. For a call that is short as a rule, the loop's thread waits a moment instead
(`WorkerThreads.promptly`): ten milliseconds at most, however long the storage takes, and for a
while not at all after a call of its kind that held up other requests for longer than handing it
over would have cost. The call is then made by a thread that is kept on the processor of the loop's
thread (`_Companion`).
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import select
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, TypeVar, cast

import outcome
import trio

from pixfs.fuse.caution import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

R = TypeVar("R")

# Past the scheduler's next tick: a timer that comes before it would be set in the processor, and
# taken back, for each call, which in a virtual machine costs as much as all else of handing over.
_PATIENCE_MS = 10
# What handing a call over and coming back costs all the requests together.
_SHORT_S = 0.0002
_libc = ctypes.PyDLL(None)


class WorkerThreads:
    """Bounded sets of worker threads, so that one kind of work cannot starve another.

    Attributes:
        metadata: everything by name or inode; short.
        data: reads, writes and closes of open files.
        syncs: fsync and fsyncdir; may take seconds each on a busy disk.
        conversions: conversions and verifications asked for by extended attribute; seconds.
        lookups: short calls by name or inode.
        changes: short calls of open files, other than reads.
        small_reads, large_reads: reads of raw bytes that wait for one turn of the storage, and
            those that may be one of several requests which a program's one read became.
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
        self.lookups = Kind(self.metadata)
        self.changes = Kind(self.data)
        self.small_reads = Kind(self.data)
        self.large_reads = Kind(self.data)
        self.is_request_waiting: Callable[[], bool] = lambda: False
        self._companion: _Companion | None = None

    async def promptly(self, kind: Kind, call: Callable[..., R], *args: object) -> R:
        """`in_thread` for a call that is expected to be short; a checkpoint only if it is not."""
        if kind.hands_over():
            return await in_thread(kind.limiter, call, *args)
        async with Turn(kind.limiter):
            companion, self._companion = self._companion or _Companion(), None
            companion.come_near()
            handed = _Call(call, args)
            begun = time.monotonic()
            result = companion.make(handed, _PATIENCE_MS)
            took_s = time.monotonic() - begun
            if result is None:
                kind.was_long()
                companion.leave()
                return cast("R", await handed.returned())
            if took_s > _SHORT_S and self.is_request_waiting():
                kind.was_long()
            else:
                kind.was_short()
            # Only now: one that a signal's handler kept us from waiting for has a result left.
            self._companion = companion
            return cast("R", result.unwrap())


async def in_thread(limiter: trio.CapacityLimiter, call: Callable[..., R], *args: object) -> R:
    """Run a blocking call in a worker thread; it is waited for even when we are cancelled.

    This is `trio.to_thread.run_sync` for calls that never come back to the event loop. Its
    contexts, thread names and checkpoints cost more than most of the calls made here.
    """
    async with Turn(limiter):
        handed = _Call(call, args)
        handed.give_to_task()
        trio.lowlevel.start_thread_soon(handed.make, handed.tell_task)
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
    written are in that processor's cache, and no idle one has to be woken. Each wakes the other by
    an eventfd: a lock or a queue would be let go while the waker still holds the interpreter, and
    the other would wake only to wait for that. For the loop's thread.
    """

    def __init__(self) -> None:
        self._channel = _Channel()
        self._returned = select.poll()
        self._returned.register(self._channel.returned, select.POLLIN)
        self._allowed = os.sched_getaffinity(0)
        self._processor = -1
        self._thread = threading.Thread(
            target=_serve, args=(self._channel,), name="pixfs-companion", daemon=True
        )
        self._thread.start()
        # Its thread must not keep it: it ends with who owns it.
        self._end = weakref.finalize(self, self._channel.send, None)

    def come_near(self) -> None:
        """Go where the caller is."""
        processor = _libc.sched_getcpu()
        if processor != self._processor:
            self._processor = processor
            self._move({processor})

    def make(self, call: _Call, patience_ms: int) -> outcome.Outcome[object] | None:
        """What comes of a call, if it comes so soon; if not, the task is told, and there has to be
        another companion."""
        self._channel.send(call)
        if not self._returned.poll(patience_ms) and call.give_to_task():
            return None
        os.eventfd_read(self._channel.returned)
        return call.result

    def leave(self) -> None:
        """Go anywhere, and end after the call under way, which takes long: the loop's thread needs
        its processor."""
        self._move(self._allowed)
        self._end()

    def _move(self, processors: set[int]) -> None:
        # Refused in some sandboxes, where it runs wherever the kernel puts it.
        with contextlib.suppress(OSError):
            os.sched_setaffinity(self._thread.native_id or 0, processors)


class _Channel:
    """Between the loop's thread and a companion's.

    Attributes:
        returned: an eventfd, readable when the loop's thread has a result to take.
    """

    def __init__(self) -> None:
        self._sent = os.eventfd(0, os.EFD_SEMAPHORE | os.EFD_CLOEXEC)
        self.returned = os.eventfd(0)
        # A call that no thread has received yet when the end is sent is made before it.
        self._calls: deque[_Call | None] = deque()

    def send(self, call: _Call | None) -> None:
        """Hand over the next call, or None for the end."""
        self._calls.append(call)
        os.eventfd_write(self._sent, 1)

    def receive(self) -> _Call | None:
        """The next call; waits for it."""
        os.eventfd_read(self._sent)
        return self._calls.popleft()

    def close(self) -> None:
        """When neither side uses it any more."""
        os.close(self._sent)
        os.close(self.returned)


def _serve(channel: _Channel) -> None:
    while (call := channel.receive()) is not None:
        result = outcome.capture(call.make)
        if call.give_back(result):
            os.eventfd_write(channel.returned, 1)
        else:
            call.tell_task(result)
        # What was written is not kept until the next call.
        del call, result
    channel.close()


class _Call:
    """A call that a worker thread makes. Its result goes to the loop's thread while that waits for
    it, or else to the task; made in that task."""

    def __init__(self, call: Callable[..., object], args: tuple[object, ...]) -> None:
        self.make = functools.partial(call, *args)
        self.result: outcome.Outcome[object] | None = None
        self._task = trio.lowlevel.current_task()
        self._token = trio.lowlevel.current_trio_token()
        # Whoever takes it decides where the result goes, and never gives it back.
        self._decision = threading.Lock()

    def give_to_task(self) -> bool:
        """Have the task told, which then has to wait in `returned`; False if the loop's thread is
        being told at this moment."""
        return self._decision.acquire(blocking=False)

    def give_back(self, result: outcome.Outcome[object]) -> bool:
        """Leave the result to the loop's thread; False if the task has to be told.

        Worker thread.
        """
        if not self._decision.acquire(blocking=False):
            return False
        self.result = result
        return True

    def tell_task(self, result: outcome.Outcome[object]) -> None:
        """Give the task its result. Worker thread."""
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(trio.lowlevel.reschedule, self._task, result)

    async def returned(self) -> object:
        """The result; raises what the call raised."""
        return await trio.lowlevel.wait_task_rescheduled(_never_give_up)


def _never_give_up(_raise_cancel: object) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.FAILED
