"""Wait until a mount has nothing queued, nothing being converted, and has looked through
what was there when it was mounted.

Files that cannot be converted now (open, hard-linked, no space) are not waited for.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from pixfs.cli.mounts import read_stats
from pixfs.cli.progress import ProgressLine

if TYPE_CHECKING:
    import argparse

NAME = "wait"
HELP = "wait until nothing is queued"

_POLL_S = 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this verb's own arguments."""
    parser.add_argument("mount", metavar="MOUNT", help="a mount point")
    parser.add_argument("--timeout", metavar="SECONDS", type=float, help="give up after so long")


def run(args: argparse.Namespace) -> int:
    """Wait; 0 when the queue is empty, 1 when it was not in time."""
    started = time.monotonic()
    progress = ProgressLine(NAME)
    while (pending := _pending(args.mount)) is not None:
        if args.timeout is not None and time.monotonic() - started >= args.timeout:
            progress.clear()
            print(f"pixfs wait: {_told(pending)}", file=sys.stderr)
            return 1
        progress.show(pending, None, "files pending")
        time.sleep(_POLL_S)
    progress.clear()
    return 0


def _pending(mount: str) -> int | None:
    """Files queued or being converted; None when there are none and none will come by
    themselves: a walk that has found nothing yet has not ended."""
    stats = read_stats(mount)
    pending = int(stats["queued"]) + int(stats["converting"])
    return pending if pending or stats["looking"] else None


def _told(pending: int) -> str:
    if not pending:
        return "the mount is still looking for files to compress"
    return f"{pending} files are still pending"
