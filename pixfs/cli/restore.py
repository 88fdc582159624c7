"""Turn compressed files back into the raw files they were; directories with all they contain.

Names, bytes, times and owners stay as they are; only the space the files take grows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

NAME = "restore"
HELP = "store files raw again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this verb's own arguments."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="file or directory")
    parser.add_argument("--jobs", metavar="N", type=int, help="files at once")


def run(args: argparse.Namespace) -> int:
    """Restore; 0 when all is raw, 1 when a file failed."""
    from pixfs.cli.conversion import convert_paths, default_jobs

    return convert_paths(NAME, "raw", args.paths, jobs=max(1, args.jobs or default_jobs()))
