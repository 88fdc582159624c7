"""Do jobs for a server on this machine, as a worker of its dask.distributed scheduler.

The storages must be here under the same paths as on the server. SIGTERM or Ctrl-C ends the
batches under way within a file, and takes no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from distributed import Worker

NAME = "worker"
HELP = "do jobs for a server, on any machine"
_RECONNECT_S = 5.0
# How long batches that were told to stop are waited for; a storage may hang.
_STOP_S = 15.0
_FETCH_S, _FETCH_LOOKS = 5.0, 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this verb's own arguments."""
    parser.add_argument(
        "--scheduler", metavar="ADDRESS", required=True, help="such as tcp://host:8786"
    )
    parser.add_argument("--threads", metavar="N", type=int, help="batches at once")
    parser.add_argument("--name", help="what the server calls it (default: HOST-PID)")
    parser.add_argument("--host", help="address other machines reach this one at")


def run(args: argparse.Namespace) -> int:
    """Work until it is told to stop: 0 after that, 1 when the scheduler cannot be reached."""
    try:
        import distributed  # noqa: F401
    except ImportError:
        print("pixfs worker: pip install 'pixfs[cluster]' first", file=sys.stderr)
        return 1
    # Everything a batch needs, before the first one waits for it.
    import server.work.engine
    import server.work.s3.bucket
    import server.work.station  # noqa: F401

    threads = args.threads or max(2, min(8, len(os.sched_getaffinity(0)) * 2))
    name = args.name or f"{socket.gethostname()}-{os.getpid()}"
    try:
        asyncio.run(_work(args.scheduler, name, threads, args.host))
    except (OSError, TimeoutError) as error:
        print(f"pixfs worker: {args.scheduler}: {error}", file=sys.stderr)
        return 1
    return 0


async def _work(scheduler: str, name: str, threads: int, host: str | None) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    is_first = True
    while not stopped.is_set():
        try:
            await _work_until_lost(scheduler, name, threads, host, stopped)
        except (OSError, TimeoutError, RuntimeError) as error:
            # Distributed's own error when the scheduler is not there is a RuntimeError, too.
            if is_first:
                raise OSError(str(error)) from error
            print(f"worker {name}: {scheduler} does not answer: {error}", file=sys.stderr)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), _RECONNECT_S)
        is_first = False


async def _fetched(worker: Worker) -> None:
    """Returns when the server has fetched all results, or soon in any case: it may be gone."""
    for _ in range(_FETCH_LOOKS):
        if not worker.state.tasks:
            return
        await asyncio.sleep(_FETCH_S / _FETCH_LOOKS)


async def _work_until_lost(
    scheduler: str, name: str, threads: int, host: str | None, stopped: asyncio.Event
) -> None:
    """Works until it is told to stop or the scheduler is gone: a worker that has lost its
    scheduler never finds it again by itself."""
    from distributed import Worker
    from distributed.core import Status

    from server.work.station import stop_here

    worker = Worker(
        scheduler,
        nthreads=threads,
        name=name,
        host=host,
        memory_limit=0,
        death_timeout=10,
        dashboard=False,
    )
    async with worker:
        print(f"worker {name} with {threads} threads at {scheduler}", flush=True)
        stopping = asyncio.create_task(stopped.wait())
        finishing = asyncio.create_task(worker.finished())
        await asyncio.wait({stopping, finishing}, return_when=asyncio.FIRST_COMPLETED)
        if stopped.is_set():
            # What is brought back now is not done again by somebody else.
            worker.status = Status.paused
            if not await asyncio.to_thread(stop_here, _STOP_S):
                print(f"worker {name}: a storage does not answer", file=sys.stderr)
            await _fetched(worker)
            await worker.close_gracefully(reason="told to stop")
        await finishing
        stopping.cancel()
