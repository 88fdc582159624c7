"""Child processes of ``pixfs up``: started, awaited until ready, stopped, never left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from typing import TYPE_CHECKING, TypeVar

import trio

from pixfs.cli.program import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

__all__ = ["Child", "describe_exit", "first_of"]

T = TypeVar("T")


class Child:
    """One ``pixfs`` verb running as a process of its own.

    Made and started on the main thread: the kernel ends the child with a SIGTERM should the
    thread that started it die, so it must not be one of trio's short-lived workers. The child
    leads a session of its own, so that Ctrl-C in the terminal reaches only its parent, which
    knows the order to stop in. Owns the process, its pidfd and its readiness socket until
    ``close``.
    """

    def __init__(self, name: str, arguments: Sequence[str]) -> None:
        self.name = name
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind("")  # the kernel chooses an abstract name
        address = "@" + self._socket.getsockname()[1:].decode("ascii")
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *PROGRAM, *arguments],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "NOTIFY_SOCKET": address},
        )
        self._pidfd = os.pidfd_open(self._process.pid)

    async def ready(self) -> None:
        """Return when the child has said READY=1 (sd_notify); for ever if it never does."""
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            if "READY=1" in self._socket.recv(4096).decode("utf-8", "replace").split("\n"):
                return

    async def exited(self) -> int:
        """Return its exit status once it has ended (negative: ended by that signal)."""
        while (status := self._process.poll()) is None:
            await trio.lowlevel.wait_readable(self._pidfd)
        return status

    def is_running(self) -> bool:
        """Whether the process has not ended yet."""
        return self._process.poll() is None

    def terminate(self) -> None:
        """Ask it to stop."""
        self._process.terminate()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    async def close(self) -> None:
        """End it if it still runs, and free what belongs to it."""
        with trio.CancelScope(shield=True):
            self.kill()
            await self.exited()
        os.close(self._pidfd)
        self._socket.close()


def describe_exit(status: int) -> str:
    """An exit status in words: ``exit status 1``, ``SIGKILL``."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


async def first_of(*waits: Callable[[], Awaitable[T]]) -> T:
    """Run all of ``waits`` at once; the first result, when the others have been cancelled."""
    results: list[T] = []
    async with trio.open_nursery() as nursery:

        async def run(wait: Callable[[], Awaitable[T]]) -> None:
            results.append(await wait())
            nursery.cancel_scope.cancel()

        for wait in waits:
            nursery.start_soon(run, wait)
    return results[0]
