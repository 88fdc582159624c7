"""Check every checksum and decode every tile of stored files; names what is damaged."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from pixfs.cli.progress import ProgressLine
from pixfs.cli.trees import FrameFile, Tree, opened_trees

if TYPE_CHECKING:
    import argparse
    from collections import deque
    from concurrent.futures import Future

NAME = "verify"
HELP = "check stored files against their checksums"

_AHEAD = 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this verb's own arguments."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="file or directory")
    parser.add_argument("--jobs", metavar="N", type=int, help="files at once")
    parser.add_argument("--quiet", action="store_true", help="print damage only, no summary")


def run(args: argparse.Namespace) -> int:
    """Verify; 0 when every file is sound, 1 when one is damaged or cannot be read."""
    from collections import deque

    from pixfs.cli.conversion import default_jobs

    jobs = max(1, args.jobs or default_jobs())
    checked = damaged = 0
    progress = ProgressLine(NAME)
    waiting: deque[tuple[FrameFile, Future[list[str]]]] = deque()

    with opened_trees(args.paths) as trees, ThreadPoolExecutor(jobs) as threads:
        for tree in trees:
            for file in tree.files():
                waiting.append((file, threads.submit(find_damage, tree, file)))
                progress.show(checked, None, file.path)
                if len(waiting) >= jobs + _AHEAD:
                    checked, damaged = checked + 1, damaged + _report(waiting, progress)
        while waiting:
            checked, damaged = checked + 1, damaged + _report(waiting, progress)
    progress.clear()
    if not args.quiet:
        print(f"{checked} files checked, {damaged} damaged")
    return 1 if damaged else 0


def find_damage(tree: Tree, file: FrameFile) -> list[str]:
    """One line for each damaged part of a file; empty when it is sound."""
    try:
        found = tree.get(file, "verify") or "ok"
    except OSError as error:
        return [f"cannot be read: {error.strerror}"]
    return [] if found == "ok" else found.splitlines()


def _report(waiting: deque[tuple[FrameFile, Future[list[str]]]], progress: ProgressLine) -> int:
    """Print the oldest result; 1 when that file is damaged."""
    file, future = waiting.popleft()
    lines = future.result()
    if lines:
        progress.clear()
    for line in lines:
        print(f"pixfs verify: {file.path}: {line}", file=sys.stderr)
    return 1 if lines else 0
