"""Show how much space files take, would take raw, and what is saved.

PATH is a mount, a directory on one, or a backing directory that is not mounted; without PATH,
every mount of this user. Every file is looked at: a million take a while. Logical is what the
files hold, stored what they take on the storage (as du counts); a file with several names is
counted once.

Exit codes: 0 done, 1 something could not be read, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from pixfs.cli.mounts import chosen_mounts
from pixfs.cli.sizes import format_ratio, format_size
from pixfs.cli.trees import opened_trees

if TYPE_CHECKING:
    import argparse

    from pixfs.cli.trees import Tree

NAME = "df"
HELP = "show space taken and saved"


@dataclass(frozen=True)
class Usage:
    """Totals below one path, in bytes; saved may be negative for many tiny files."""

    path: str
    files: int
    logical: int
    stored: int
    saved: int
    free: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this verb's own arguments."""
    parser.add_argument("paths", nargs="*", metavar="PATH", help="mount or directory")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Count and show; 0 when done."""
    paths = chosen_mounts(args.paths)
    with opened_trees(paths) as trees:
        usages = [_usage(path, tree) for path, tree in zip(paths, trees, strict=True)]
    if args.json:
        print(json.dumps({"paths": [asdict(usage) for usage in usages]}, indent=2))
    else:
        _print(usages)
    return 0


def _usage(path: str, tree: Tree) -> Usage:
    seen: set[int] = set()
    logical = stored = 0
    for file in tree.files():
        if file.inode in seen:
            continue
        seen.add(file.inode)
        logical += file.size
        stored += file.stored
    space = os.statvfs(path)
    free = space.f_bavail * space.f_frsize
    return Usage(os.path.abspath(path), len(seen), logical, stored, logical - stored, free)


def _print(usages: list[Usage]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("path", overflow="fold")
    for title in ("files", "logical", "stored", "saved", "ratio", "free"):
        table.add_column(title, justify="right")
    for usage in usages:
        share = f" ({usage.saved / usage.logical:.0%})" if usage.logical else ""
        sign = "-" if usage.saved < 0 else ""
        table.add_row(
            usage.path,
            str(usage.files),
            format_size(usage.logical),
            format_size(usage.stored),
            f"{sign}{format_size(abs(usage.saved))}{share}",
            format_ratio(usage.logical, usage.stored),
            format_size(usage.free),
        )
    Console(width=None if sys.stdout.isatty() else 200, soft_wrap=True).print(table)
