"""Copy files and directories between volumes as they are stored, verified.

Between two volumes (mounted, or backing directories that are not mounted) the stored bytes are
copied: what is compressed arrives compressed, nothing is decoded or encoded. Elsewhere, and on
mounts whose backing directory this user may not work in, the bytes are copied as they are read.

Owner, mode, times to the nanosecond and extended attributes come along, symbolic links stay
links; a file with several names becomes a file of its own, and that is said. Every file is read
back from the destination and compared with what was read from the source before it gets its
name; under that name it is whole or not there.

Interrupted, the same command goes on: files that are there (same size and time, and for
compressed ones the same hash of the original; --thorough compares every byte) are left alone,
and a file that was cut off is continued. What is there and differs is not replaced unless
--overwrite is given. Source and destination that are one place by two names are refused.

The copy keeps to --limit, to the read limit of the mount it comes from and to the write limit of
the one it goes to, also when those change on the way.

Exit codes: 0 all is there, 1 something could not be copied, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

NAME = "cp"
HELP = "copy between volumes as stored, verified"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this verb's own arguments."""
    from pixfs.cli import transfers

    transfers.add_arguments(parser)
    parser.add_argument(
        "--thorough", action="store_true", help="compare every byte of files that are there"
    )


def run(args: argparse.Namespace) -> int:
    """Copy; 0 when all is there, 1 when something failed."""
    from pixfs.cli.transfers import transfer

    return transfer(NAME, args, move=False)
