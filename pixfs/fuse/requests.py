"""How a request is run and how its failure is answered."""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar, cast

import pyfuse3
import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import Any

    import outcome

log = logging.getLogger(__name__)

S = TypeVar("S")
P = ParamSpec("P")
R = TypeVar("R")


def answered(
    handler: Callable[Concatenate[S, P], Awaitable[R]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, R]]:
    """Turn whatever a handler raises into an errno: any other exception would end the mount."""

    @functools.wraps(handler)
    async def guarded(self: S, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await handler(self, *args, **kwargs)
        except pyfuse3.FUSEError:
            raise
        except OSError as error:
            raise pyfuse3.FUSEError(errno_of(error)) from None
        except Exception:
            log.exception("%s failed; answering EIO", handler.__name__)
            raise pyfuse3.FUSEError(errno.EIO) from None

    return cast("Callable[Concatenate[S, P], Coroutine[Any, Any, R]]", guarded)


def errno_of(error: OSError) -> int:
    """The errno to answer for error, never ENOSYS: the kernel would not ask again."""
    if error.errno is None or error.errno <= 0:
        log.error("error without a number; answering EIO", exc_info=error)
        return errno.EIO
    if error.errno == errno.ENOSYS:
        return errno.ENOTSUP
    return error.errno


class WorkerThreads:
    """Bounded sets of worker threads, so that one kind of work cannot starve another.

    Attributes:
        metadata: everything by name or inode; short.
        data: reads, writes and closes of open files.
        syncs: fsync and fsyncdir; may take seconds each on a busy disk.
        conversions: conversions and verifications asked for by extended attribute; seconds.
        turns_per_file: threads of ``data`` that one file handle may hold at once.
    """

    def __init__(self) -> None:
        cpus = len(os.sched_getaffinity(0))
        self.turns_per_file = max(4, cpus)
        self.metadata = trio.CapacityLimiter(max(16, 2 * cpus))
        self.data = trio.CapacityLimiter(8 * self.turns_per_file)
        self.syncs = trio.CapacityLimiter(16)
        self.conversions = trio.CapacityLimiter(max(2, cpus))


async def in_thread(limiter: trio.CapacityLimiter, call: Callable[..., R], *args: object) -> R:
    """Run a blocking call in a worker thread; it is waited for even when we are cancelled.

    This is `trio.to_thread.run_sync` for calls that never come back to the event loop. Its
    contexts, thread names and checkpoints cost more than most of the calls made here.
    """
    try:
        limiter.acquire_nowait()
    except trio.WouldBlock:
        await limiter.acquire()
    try:
        return await _hand_over(call, args)
    finally:
        limiter.release()


async def _hand_over(call: Callable[..., R], args: tuple[object, ...]) -> R:
    task = trio.lowlevel.current_task()
    token = trio.lowlevel.current_trio_token()

    def deliver(result: outcome.Outcome[R]) -> None:
        with contextlib.suppress(trio.RunFinishedError):
            token.run_sync_soon(trio.lowlevel.reschedule, task, result)

    trio.lowlevel.start_thread_soon(functools.partial(call, *args), deliver)
    # An Error that a task is rescheduled with is raised here.
    return cast("R", await trio.lowlevel.wait_task_rescheduled(_never_give_up))


def _never_give_up(_raise_cancel: object) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.FAILED
