"""What ``cp`` and ``mv`` share: arguments, limits, progress and the summary."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING

from pixfs.cli.progress import ProgressLine
from pixfs.cli.sizes import format_size
from pixfs.errors import ConfigError, TargetError
from pixfs.throttle import parse_rate

if TYPE_CHECKING:
    import argparse

    from pixfs.transfer import Outcome, Place


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of both verbs."""
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="file or directory")
    parser.add_argument("target", metavar="TARGET", help="new name, or an existing directory")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace what is there and differs"
    )
    parser.add_argument("--limit", metavar="RATE", help="bytes a second, such as 50M")
    parser.add_argument("--quiet", action="store_true", help="print failures only")
    parser.add_argument("--json", action="store_true", help="print JSON, one object an entry")


class _Report:
    """Counts and shows what a transfer does."""

    def __init__(self, verb: str, *, quiet: bool, total: int) -> None:
        self._verb = verb
        self._quiet = quiet
        self._total = total
        self._line = ProgressLine(verb)
        self._bytes = 0
        self._current = ""
        self.outcomes: list[Outcome] = []

    def progress(self, size: int) -> None:
        self._bytes += size
        done = f"{format_size(self._bytes)} of {format_size(self._total)}"
        self._line.show(len(self.outcomes), None, f"done, {done} {self._current}")

    def report(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self._current = outcome.source
        failed = outcome.result == "failed"
        if outcome.notes and (failed or not self._quiet):
            self._line.clear()
            for note in outcome.notes:
                print(f"pixfs {self._verb}: {outcome.source}: {note}", file=sys.stderr)

    def finish(self, *, as_json: bool) -> int:
        """Print the summary; the exit code."""
        self._line.clear()
        counts = Counter(outcome.result for outcome in self.outcomes)
        if as_json:
            moved = sum(outcome.size for outcome in self.outcomes)
            entries = [asdict(outcome) for outcome in self.outcomes]
            print(json.dumps({"counts": counts, "bytes": moved, "entries": entries}, indent=2))
        elif not self._quiet:
            moved = sum(outcome.size for outcome in self.outcomes)
            summary = ", ".join(f"{count} {result}" for result, count in sorted(counts.items()))
            print(f"{self._verb}: {summary or 'nothing to do'}, {format_size(moved)}")
        return 1 if counts["failed"] else 0


def transfer(verb: str, args: argparse.Namespace, *, move: bool) -> int:
    """Copy or move what args say; 0 when everything is where it should be, 1 otherwise."""
    from pixfs.transfer import Options, Transfer
    from pixfs.transfer.limits import FollowedLimits

    try:
        own = None if args.limit is None else parse_rate(args.limit)
    except ValueError as error:
        raise ConfigError(f"--limit: {error}") from None
    pairs = _pairs(args.sources, args.target)
    report = _Report(verb, quiet=args.quiet, total=sum(_size(s.path) for s, _ in pairs))
    mounts = [(s.mountpoint, "read") for s, _ in pairs] + [
        (t.mountpoint, "write") for _, t in pairs
    ]
    wanted = dict.fromkeys((mount, way) for mount, way in mounts if mount is not None)
    with ExitStack() as held:
        options = Options(
            limiter=held.enter_context(FollowedLimits(own, wanted)),
            move=move,
            overwrite=args.overwrite,
            thorough=getattr(args, "thorough", False),
            progress=report.progress,
            report=report.report,
        )
        # All are made first: a wrong one among them is told before anything has been done.
        transfers = [Transfer(source, target, options) for source, target in pairs]
        for work in transfers:
            work.run()
    return report.finish(as_json=args.json)


def _pairs(sources: list[str], target: str) -> list[tuple[Place, Place]]:
    from pixfs.transfer import locate

    into = os.path.isdir(target)
    if not into and (len(sources) > 1 or target.endswith("/")):
        raise TargetError(f"{target} is no directory")
    pairs = []
    for path in sources:
        if not os.path.lexists(path):
            raise TargetError(f"{path} does not exist")
        source = locate(path, follow=False)
        name = os.path.basename(source.path)
        if into and not name:
            raise TargetError(f"{path} has no name to give to its copy")
        pairs.append((source, locate(target).inside(name) if into else locate(target)))
    return pairs


def _size(path: str) -> int:
    """Bytes as stored, below a path, for the progress line."""
    found = os.lstat(path)
    total = min(found.st_size, found.st_blocks * 512) if not os.path.isdir(path) else 0
    for directory, _, names in os.walk(path):
        for name in names:
            try:
                entry = os.lstat(os.path.join(directory, name))
            except FileNotFoundError:
                continue
            total += min(entry.st_size, entry.st_blocks * 512)
    return total
