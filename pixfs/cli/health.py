"""Tell whether mounts are there for everybody and answer.

Without MOUNT: every mount of this user. It never hangs on a mount that does. Run by the systemd
unit once the daemon is ready, since only from outside it can be seen that a mount is visible to
the daemon alone; monitoring can run it too.

Exit codes: 0 all are well, 1 something is wrong with one (the reason is on standard error), 2 no
mount, 130 interrupted.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pixfs.cli.mounts import chosen_mounts
from pixfs.configfile import mountpoint_in

if TYPE_CHECKING:
    import argparse

NAME = "health"
HELP = "tell whether a mount is there and answers"

_TIMEOUT_S = 20.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this verb's own arguments."""
    parser.add_argument("mounts", nargs="*", metavar="MOUNT", help="mount point")
    parser.add_argument("--config", metavar="FILE", help="take the mount point from this file")
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        default=_TIMEOUT_S,
        help=f"how long a mount may take to answer (default {_TIMEOUT_S:g})",
    )


def run(args: argparse.Namespace) -> int:
    """Look at each; 0 when all are well."""
    from pixfs.fuse import health, mountinfo

    status = 0
    for mount in _mounts(args):
        path = mountinfo.resolve_parent(mount)
        wrong = health.problem(path, args.timeout)
        if wrong is None:
            print(f"{path}: well")
        else:
            print(f"pixfs health: {path}: {wrong}", file=sys.stderr)
            status = 1
    return status


def _mounts(args: argparse.Namespace) -> list[str]:
    named = list(args.mounts)
    if args.config:
        named.append(mountpoint_in(args.config))
    return chosen_mounts(named)
