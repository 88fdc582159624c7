"""Move files and directories between volumes as they are stored.

Like pixfs cp, and then the source is deleted: file by file, once the copy has been read back and
compared, it and its name are durable, and the source is still what was copied. A source that
changed meanwhile or is open for writing is kept, and that is said. A file that is there already
is compared byte by byte before its source is deleted. Within one volume, or one file system, it
is a rename.

Interrupted at any moment, every file is whole at the source, at the destination, or at both; the
same command goes on.

Exit codes: 0 all is moved, 1 something could not be moved, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

NAME = "mv"
HELP = "move between volumes as stored, verified"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this verb's own arguments."""
    from pixfs.cli import transfers

    transfers.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Move; 0 when all is moved, 1 when something failed."""
    from pixfs.cli.transfers import transfer

    return transfer(NAME, args, move=True)
