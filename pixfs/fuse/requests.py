"""How a request is run and how its failure is answered."""

from __future__ import annotations

import errno
import functools
import logging
import os
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar, cast

import pyfuse3
import trio
from trio.to_thread import run_sync

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import Any

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
    """Run a blocking call in a worker thread; it is waited for even when we are cancelled."""
    return await run_sync(call, *args, limiter=limiter, abandon_on_cancel=False)
