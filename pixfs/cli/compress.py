"""Compress files now, without waiting for the policy; directories with all they contain.

A file that is not understood, or would not get smaller, is left as it is with a reason (see
pixfs status); that is no failure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

NAME = "compress"
HELP = "compress files now"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this verb's own arguments."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="file or directory")
    parser.add_argument("--jobs", metavar="N", type=int, help="files at once")
    parser.add_argument("--level", metavar="LEVEL", help="fast, balanced or max; unmounted only")


def run(args: argparse.Namespace) -> int:
    """Compress; 0 when all is as it can be, 1 when a file failed."""
    from pixfs.cli.conversion import convert_paths, default_jobs

    jobs = max(1, args.jobs or default_jobs())
    return convert_paths(NAME, "compressed", args.paths, jobs=jobs, level=args.level)
