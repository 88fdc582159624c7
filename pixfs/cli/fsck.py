"""Check the structure of backing directories that are not mounted.

Looks at every file's header and index and at what lies in the hidden area; --deep also decodes
every file and compares checksums and hashes, as pixfs verify does. Changes nothing unless
--repair is given. That does what the next mount would do by itself, and no more: it deletes
temporaries of a volume that was killed, finishes a rewrite that was cut off, and deletes what an
interrupted pixfs cp or mv has left behind. Files that are damaged stay as they are.

Each problem is one line: its path below BACKING, and what is wrong. Kinds (in --json): damaged,
leftover, unfinished, kept, unknown, unreadable.

Exit codes: 0 sound, 1 problems were found (with --repair: are left), 2 wrong usage or mounted,
130 interrupted.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from pixfs.errors import TargetError

if TYPE_CHECKING:
    import argparse

    from pixfs.volume.fsck import Problem

NAME = "fsck"
HELP = "check the structure of an unmounted volume"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this verb's own arguments."""
    parser.add_argument("backing", nargs="+", metavar="BACKING", help="backing directory")
    parser.add_argument("--deep", action="store_true", help="decode every file, too")
    parser.add_argument("--repair", action="store_true", help="clear away leftovers")
    parser.add_argument("--json", action="store_true", help="print JSON, one object a problem")


def run(args: argparse.Namespace) -> int:
    """Check; 0 when nothing is wrong."""
    for path in args.backing:
        _check_target(path)
    volumes = [_examine(path, args) for path in args.backing]
    if args.json:
        print(json.dumps({"volumes": volumes}, indent=2))
    return 1 if any(volume["problems"] for volume in volumes) else 0


def _check_target(path: str) -> None:
    from pixfs.transfer.places import HIDDEN_AREA, locate

    if not os.path.isdir(path):
        raise TargetError(f"{path} is no directory")
    place = locate(path)
    if place.mountpoint is not None:
        raise TargetError(f"{path} is on a mount; give the backing directory, unmounted")
    if not os.path.isdir(os.path.join(path, HIDDEN_AREA)):
        raise TargetError(f"{path} is no backing directory: it has never been mounted")


def _examine(path: str, args: argparse.Namespace) -> dict[str, object]:
    from pixfs.volume.fsck import REPAIRABLE, examine, repair

    cleared = repair(path) if args.repair else 0
    problems: list[Problem] = []
    for problem in examine(path, decode=args.deep):
        problems.append(problem)
        if not args.json:
            print(f"{path}: {problem}")
    if not args.json:
        helped = sum(problem.kind in REPAIRABLE for problem in problems)
        hint = f"; {helped} can be cleared away with --repair" if helped else ""
        done = f", {cleared} leftovers cleared" if args.repair else ""
        print(f"{path}: {len(problems)} problems{done}{hint}", file=sys.stderr)
    found = [asdict(problem) for problem in problems]
    return {"backing": os.path.realpath(path), "cleared": cleared, "problems": found}
