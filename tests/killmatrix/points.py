"""A pixfs command that halts, once, when a job reaches a step, so that somebody can be killed.

usage: python -m tests.killmatrix.points VERB ARGUMENT...

``PIXFS_KILL_PHASE`` names the step. Whoever reaches it first writes its process number into
``reached`` below ``PIXFS_KILL_DIR`` and waits there until ``released`` appears.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from pixfs.cli.main import main
from server.notify.webhook import Webhook
from server.work.directory import Directory, DirectoryTarget
from server.work.dispatcher import Dispatcher

if TYPE_CHECKING:
    from collections.abc import Callable

PHASES = ("planned", "copying", "verifying", "renaming", "deleting", "notifying")
_PATIENCE_S = 240
_CALLS: dict[str, tuple[type, str]] = {
    "copying": (DirectoryTarget, "write"),
    "verifying": (DirectoryTarget, "digest"),
    "renaming": (DirectoryTarget, "commit"),
    "deleting": (Directory, "remove"),
}


def halt(directory: Path) -> None:
    """Waits until released, if nobody was here before."""
    try:
        fd = os.open(directory / "reached.new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    os.write(fd, str(os.getpid()).encode())
    os.close(fd)
    os.rename(directory / "reached.new", directory / "reached")
    # The name stays taken, so that nobody else halts.
    (directory / "reached.new").touch()
    deadline = time.monotonic() + _PATIENCE_S
    while not (directory / "released").exists() and time.monotonic() < deadline:
        time.sleep(0.01)


def install(phase: str, directory: Path) -> None:
    """Puts the halt before a call of a worker's, or after one of the server's."""
    if phase == "planned":
        _after(Dispatcher, "_record", directory, lambda _, result: result.looked is not None)
    elif phase == "notifying":
        _after(Webhook, "send", directory, lambda *_: True)
    else:
        _before(*_CALLS[phase], directory)


def _before(owner: type, name: str, directory: Path) -> None:
    call = getattr(owner, name)

    @functools.wraps(call)
    def halting(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        halt(directory)
        return call(*args, **kwargs)

    setattr(owner, name, halting)


def _after(owner: type, name: str, directory: Path, when: Callable[..., bool]) -> None:
    call = getattr(owner, name)

    @functools.wraps(call)
    async def halting(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        await call(*args, **kwargs)
        if when(*args):
            await trio.to_thread.run_sync(halt, directory)

    setattr(owner, name, halting)


if __name__ == "__main__":
    install(os.environ["PIXFS_KILL_PHASE"], Path(os.environ["PIXFS_KILL_DIR"]))
    sys.exit(main(sys.argv[1:]))
