"""Mount a volume and run the server, each a process of its own, until Ctrl-C or SIGTERM.

If one of the two ends by itself the other is stopped too. Frames that wait for compression are
left for the next time.
"""

from __future__ import annotations

import signal
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from pixfs.cli import demo
from pixfs.cli.children import Child, describe_exit, first_of
from pixfs.cli.serve import DEFAULT_BIND
from pixfs.fuse.mountinfo import mount_at, resolve_parent

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator

NAME = "up"
HELP = "mount a volume and run the server until Ctrl-C, for a laptop or a try-out"

READY_TIMEOUT_S = 120.0
SERVER_STOP_S = 20.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this verb's own arguments."""
    parser.add_argument(
        "--volume",
        metavar="DIR",
        type=Path,
        default=Path("var/volume"),
        help="backing directory, made if missing (default var/volume)",
    )
    parser.add_argument(
        "--mount",
        metavar="DIR",
        type=Path,
        default=Path("var/mnt"),
        help="where the volume appears, made if missing (default var/mnt)",
    )
    parser.add_argument(
        "--bind",
        metavar="HOST:PORT",
        default=DEFAULT_BIND,
        help=f"address of the server (default {DEFAULT_BIND})",
    )
    parser.add_argument(
        "--data",
        metavar="DIR",
        type=Path,
        default=Path("var/server"),
        help="where the server keeps its state, made if missing (default var/server)",
    )
    parser.add_argument(
        "--settle",
        metavar="SECONDS",
        help="compress a file when it has been closed for so long (default: as pixfs mount)",
    )
    parser.add_argument(
        "--level",
        metavar="LEVEL",
        help="compression level: fast, balanced or max (default: as pixfs mount)",
    )
    parser.add_argument(
        "--demo", action="store_true", help="run pixfs demo on the mount, then stop"
    )
    group = parser.add_argument_group("with --demo")
    demo.add_sequence_arguments(group)


def run(args: argparse.Namespace) -> int:
    """Stay up until stopped: 0 after a clean stop, 1 when a part failed.

    With ``--demo`` the status is the demo's.
    """
    if _is_mount_point(args.mount) and args.mount.is_dir():
        print(
            f"pixfs up: {args.mount} is mounted already: unmount it (pixfs umount {args.mount})"
            " or choose another place with --mount",
            file=sys.stderr,
        )
        return 1
    try:
        for directory in (args.volume, args.mount):
            # A mount whose daemon has died is "no directory"; pixfs mount clears it away.
            if not directory.is_dir() and not _is_mount_point(directory):
                directory.mkdir(parents=True)
    except OSError as error:
        print(f"pixfs up: cannot make {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return trio.run(partial(_stay_up, _Plan.of(args)))


def _is_mount_point(directory: Path) -> bool:
    """Whether the kernel lists a mount here, be its daemon alive or dead."""
    return mount_at(resolve_parent(directory)) is not None


@dataclass(frozen=True)
class _Plan:
    """The command lines of the parts."""

    mount_at: Path
    mount: list[str]
    serve: list[str]
    demo: list[str] | None

    @classmethod
    def of(cls, args: argparse.Namespace) -> _Plan:
        mount = ["mount", "--foreground", str(args.volume), str(args.mount)]
        for option in ("settle", "level"):
            if getattr(args, option) is not None:
                mount += [f"--{option}", getattr(args, option)]
        return cls(
            mount_at=args.mount,
            mount=mount,
            serve=["serve", "--bind", args.bind, "--data", str(args.data)],
            demo=["demo", str(args.mount), *demo.sequence_options(args)] if args.demo else None,
        )


class _Failed(Exception):
    """A part did not come up or ended by itself; the message says which and how."""


async def _stay_up(plan: _Plan) -> int:
    """Bring the parts up, wait for a reason to stop, take them down in the other order."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        try:
            async with AsyncExitStack() as parts:
                mount = await _start(parts, "mount", plan.mount, signals)
                if mount is None:
                    return 0
                try:
                    status = await _serve_and_wait(plan, mount, signals)
                finally:
                    with trio.CancelScope(shield=True):
                        drained = await _unmount(mount, plan.mount_at, signals)
        except _Failed as failure:
            print(f"pixfs up: {failure}", file=sys.stderr)
            return 1
    return status if drained else 1


async def _start(
    parts: AsyncExitStack, name: str, arguments: list[str], signals: AsyncIterator[int]
) -> Child | None:
    """Start a part and wait until it is ready; None when a signal came first."""
    child = Child(name, arguments)
    parts.push_async_callback(child.close)

    async def ready() -> str:
        await child.ready()
        return "ready"

    async def exited() -> str:
        return describe_exit(await child.exited())

    async def signalled() -> str:
        await anext(signals)
        return "stop"

    with trio.move_on_after(READY_TIMEOUT_S):
        outcome = await first_of(ready, exited, signalled)
        if outcome == "ready":
            return child
        if outcome == "stop":
            child.terminate()
            await child.exited()
            return None
        raise _Failed(f"the {name} did not come up ({outcome}); what it said stands above")
    raise _Failed(f"the {name} did not come up within {READY_TIMEOUT_S:.0f} s")


async def _serve_and_wait(plan: _Plan, mount: Child, signals: AsyncIterator[int]) -> int:
    """The server, and the demo if asked for, over a ready mount; the exit status for all."""
    async with AsyncExitStack() as parts:
        server = await _start(parts, "server", plan.serve, signals)
        if server is None:
            return 0
        try:
            if plan.demo is None:
                _print_how_to_use(plan)
                return await _wait_for_a_reason(signals, mount, server)
            player = Child("demo", plan.demo)
            parts.push_async_callback(player.close)
            return await _wait_for_a_reason(signals, mount, server, demo=player)
        finally:
            with trio.CancelScope(shield=True):
                server.terminate()
                with trio.move_on_after(SERVER_STOP_S):
                    await server.exited()


async def _wait_for_a_reason(
    signals: AsyncIterator[int], *parts: Child, demo: Child | None = None
) -> int:
    """Return when a signal came (0) or the demo ended (its status); _Failed when a part did."""

    async def signalled() -> int | _Failed:
        await anext(signals)
        return 0

    async def ended(part: Child) -> int | _Failed:
        status = await part.exited()
        if part is demo:
            return 0 if status == 0 else 1
        return _Failed(f"the {part.name} ended by itself ({describe_exit(status)})")

    watched = [*parts, demo] if demo is not None else [*parts]
    reason = await first_of(signalled, *(partial(ended, part) for part in watched))
    if isinstance(reason, _Failed):
        raise reason
    return reason


async def _unmount(mount: Child, mount_at: Path, signals: AsyncIterator[int]) -> bool:
    """Stop the mount and wait until it has finished its work; whether it ended well.

    Killing the daemon loses nothing (what was not compressed stays raw), so that is what a
    second and third signal come to.
    """
    if mount.is_running():
        mount.terminate()
    stubborn = iter((mount.terminate, mount.kill))

    async def signalled() -> None:
        await anext(signals)
        return

    while (status := await first_of(mount.exited, signalled)) is None:
        print("pixfs up: not waiting for the mount to finish its work", file=sys.stderr)
        next(stubborn, mount.kill)()
    if _is_mount_point(mount_at):
        await trio.run_process(["fusermount3", "-u", "-z", str(mount_at)], check=False)
    if status == 0:
        return True
    print(f"pixfs up: the mount ended with {describe_exit(status)}", file=sys.stderr)
    return False


def _print_how_to_use(plan: _Plan) -> None:
    mount = plan.mount_at
    print(
        f"""
{mount} is the volume: write frames there and read them back.
  cp shot.*.dpx {mount}/            they are made smaller in the background
  pixfs status {mount}              what is there, in what state, how much is saved
  pixfs demo {mount}                write, compress, read back and compare a short sequence
Ctrl-C stops the server and unmounts.""",
        flush=True,
    )
