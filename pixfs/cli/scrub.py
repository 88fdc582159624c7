"""Read and check every stored file, at a limited rate, going on where the last run stopped.

PATH is a mount, a directory on one, or a backing directory that is not mounted; --config takes
the mount point from a volume's configuration file, as the systemd units do. Every checksum is
compared and every tile decoded, in the order of the paths. How far it has come is noted after
each file: a run that is interrupted, stopped or killed is continued by the next, and a pass that
is complete is followed by a new one. --restart begins anew, --status only tells.

Damage is printed as it is found, one line for each damaged part, and summed up over all runs of
a pass. A limit counts bytes as stored: 50M is 50 MiB a second.

Exit codes: 0 nothing damaged in this pass, 1 damage was found or a file could not be read, 2
wrong usage, 130 interrupted or stopped by SIGTERM.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pixfs.errors import ConfigError

if TYPE_CHECKING:
    import argparse

    from pixfs.cli.trees import FrameFile, Tree
    from pixfs.scrubbing import ScrubPass
    from pixfs.throttle import Limiter

NAME = "scrub"
HELP = "check all stored bits, bit by bit over time"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this verb's own arguments."""
    parser.add_argument("path", nargs="?", metavar="PATH", help="mount or directory")
    parser.add_argument("--config", metavar="FILE", help="take the mount point from this file")
    parser.add_argument("--limit", metavar="RATE", default="unlimited", help="bytes a second")
    parser.add_argument("--restart", action="store_true", help="begin a new pass")
    parser.add_argument("--status", action="store_true", help="tell how far it is, check nothing")
    parser.add_argument("--quiet", action="store_true", help="print damage only, no summary")
    parser.add_argument("--json", action="store_true", help="print the pass as JSON at the end")


def run(args: argparse.Namespace) -> int:
    """Scrub; 0 when nothing in the pass is damaged."""
    from pixfs import scrubbing
    from pixfs.cli.trees import opened_trees
    from pixfs.throttle import Limiter, parse_rate

    path = _path(args)
    try:
        limiter = Limiter(parse_rate(args.limit))
    except ValueError as error:
        raise ConfigError(f"--limit: {error}") from None
    if limiter.limit == 0:
        raise ConfigError("--limit 0 would never end")
    found = scrubbing.load(path)
    if args.status:
        return _show(found, path, args)
    if found is None or found.finished or args.restart:
        found = scrubbing.ScrubPass(path, _now())
    signal.signal(signal.SIGTERM, _interrupt)
    with opened_trees([path]) as trees:
        for file in trees[0].files():
            if not found.is_past(file.path):
                _check(trees[0], file, limiter, found)
    found.finished = _now()
    found.save()
    return _show(found, path, args)


def _path(args: argparse.Namespace) -> str:
    if args.path:
        return os.path.abspath(str(args.path))
    if args.config:
        from pixfs.config import read_config

        if mountpoint := read_config(args.config).mountpoint:
            return os.path.abspath(mountpoint)
    raise ConfigError("scrub what? give PATH, or a --config that has a mountpoint")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _check(tree: Tree, file: FrameFile, limiter: Limiter, found: ScrubPass) -> None:
    from pixfs.cli.verify import find_damage
    from pixfs.throttle import Priority

    limiter.acquire(None, file.stored, Priority.BACKGROUND)
    for line in find_damage(tree, file):
        found.damaged.append((file.path, line))
        print(f"pixfs scrub: {file.path}: {line}", file=sys.stderr)
    found.last = file.path
    found.files += 1
    found.bytes += file.stored
    found.save()


def _show(found: ScrubPass | None, path: str, args: argparse.Namespace) -> int:
    from pixfs.cli.sizes import format_size

    if args.json:
        print(json.dumps(asdict(found) if found is not None else None, indent=2))
    elif found is None:
        print(f"{path} has not been scrubbed yet")
    elif not args.quiet:
        until = f"finished {found.finished}" if found.finished else f"at {found.last or 'nothing'}"
        print(
            f"{found.files} files, {format_size(found.bytes)} checked,"
            f" {len({name for name, _ in found.damaged})} damaged"
            f" (pass begun {found.started}, {until})"
        )
    return 1 if found is not None and found.damaged else 0
