"""Converting every file below some paths, for ``compress`` and ``restore``."""

from __future__ import annotations

import errno
import os
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from pixfs.cli.progress import ProgressLine
from pixfs.cli.trees import opened_trees

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

    from pixfs.cli.trees import FrameFile, Tree

# Files asked for beyond those being worked on: enough to keep the threads busy, few enough that
# an interrupt stops soon and a tree of a million frames is not held in memory.
_AHEAD = 16


def convert_paths(
    verb: str, state: str, paths: Sequence[str], *, jobs: int, level: str | None = None
) -> int:
    """Set every regular file below paths to state; prints each failure with its reason.

    Returns 0 when every file is as asked or is left verbatim with a reason, 1 otherwise.
    """
    outcome: Counter[str] = Counter()
    progress = ProgressLine(verb)
    with opened_trees(paths, level=level) as trees, ThreadPoolExecutor(jobs) as threads:
        waiting: list[Future[tuple[str, str]]] = []
        done = 0
        for tree in trees:
            for file in tree.files():
                waiting.append(threads.submit(_convert, tree, file, state))
                progress.show(done, None, file.path)
                if len(waiting) >= jobs + _AHEAD:
                    done += 1
                    _note(outcome, progress, verb, *waiting.pop(0).result())
        for future in waiting:
            _note(outcome, progress, verb, *future.result())
    progress.clear()
    summary = ", ".join(f"{count} {result}" for result, count in sorted(outcome.items()))
    print(f"{verb}: {summary or 'no files'}")
    return 1 if outcome["failed"] else 0


def _note(
    outcome: Counter[str], progress: ProgressLine, verb: str, result: str, message: str
) -> None:
    outcome[result] += 1
    if message:
        progress.clear()
        print(f"pixfs {verb}: {message}", file=sys.stderr)


def _convert(tree: Tree, file: FrameFile, state: str) -> tuple[str, str]:
    """Convert one file; (resulting state, or "failed", and what to tell the user)."""
    try:
        tree.set(file, "state", state)
        return tree.get(file, "state") or "unknown", ""
    except OSError as error:
        return "failed", f"{file.path}: {_explain(tree, file, error)}"


def _explain(tree: Tree, file: FrameFile, error: OSError) -> str:
    if error.errno == errno.EPERM:
        return "only the file's owner or root may convert it"
    if error.errno == errno.ENOSPC:
        return "no space for the converted file beside the present one; free some first"
    if error.errno == errno.EBUSY:
        try:
            reason = tree.get(file, "reason")
        except OSError:
            # The file itself cannot be asked; the first error says more than the second.
            reason = None
        return f"cannot be converted now: {reason or 'in use'}; try again later"
    return error.strerror or os.strerror(error.errno or errno.EIO)


def default_jobs() -> int:
    """Conversions at once: one for each processor, a few at most."""
    return min(4, len(os.sched_getaffinity(0)))
