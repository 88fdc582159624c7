"""Show what is compressed, what was saved, and why the rest is as it is.

Without PATH: every mount of this user with its totals and queue. With PATH: the files at or
below it, numbered frames grouped into sequences, with their states, sizes and reasons.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pixfs import runfiles
from pixfs.cli.sizes import format_ratio, format_size
from pixfs.cli.trees import FrameFile, Tree, opened_trees
from pixfs.sequences import FrameSequence, group

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from rich.table import Table

NAME = "status"
HELP = "show states, sizes and savings"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this verb's own arguments."""
    parser.add_argument("paths", nargs="*", metavar="PATH", help="mount, directory or file")
    parser.add_argument("--json", action="store_true", help="print JSON, one object a file")


@dataclass(frozen=True)
class FileStatus:
    """One file's state, as its control attributes tell it; sizes in bytes."""

    path: str
    state: str
    reason: str
    format: str
    logical: int
    stored: int


def run(args: argparse.Namespace) -> int:
    """Show; 0 when nothing is in state ``error``, 1 when something is."""
    if not args.paths:
        return _show_mounts(as_json=args.json)
    asked = (_mount_status(path) for path in args.paths if os.path.ismount(path))
    mounts = [mount for mount in asked if mount is not None]
    with opened_trees(args.paths) as trees:
        files = [read_status(tree, file) for tree in trees for file in tree.files()]
    if args.json:
        print(json.dumps({"mounts": mounts, "files": [asdict(file) for file in files]}, indent=2))
    else:
        _print_mounts(mounts)
        _print_files(files)
    return 1 if any(file.state == "error" for file in files) else 0


def read_status(tree: Tree, file: FrameFile) -> FileStatus:
    """Ask for one file's attributes; a file that cannot be asked is in state ``error``."""
    try:
        state = tree.get(file, "state") or "unknown"
        compressed = state == "compressed"
        return FileStatus(
            path=file.path,
            state=state,
            reason="" if compressed else tree.get(file, "reason") or "",
            format=(tree.get(file, "format") or "") if compressed else "",
            logical=file.size,
            stored=int(tree.get(file, "size.stored") or file.size),
        )
    except OSError as error:
        reason = error.strerror or str(error)
        return FileStatus(file.path, "error", reason, "", file.size, file.size)


# Mounts


def _mount_status(path: str) -> dict[str, Any] | None:
    try:
        stats = json.loads(os.getxattr(path, "user.pixfs.stats"))
    except OSError:
        return None
    space = os.statvfs(path)
    return {
        "mountpoint": os.path.abspath(path),
        "free_bytes": space.f_bavail * space.f_frsize,
        "stats": stats,
    }


def _show_mounts(*, as_json: bool) -> int:
    found = []
    for daemon in runfiles.daemons():
        status = _mount_status(daemon.mountpoint)
        found.append({"backing": daemon.backing, "pid": daemon.pid, **(status or {})})
        if status is None:
            found[-1] |= {"mountpoint": daemon.mountpoint, "stats": None}
    if as_json:
        print(json.dumps({"mounts": found}, indent=2))
    elif not found:
        print("nothing is mounted; mount with: pixfs mount BACKING MOUNTPOINT", file=sys.stderr)
    else:
        _print_mounts(found)
    return 0


def _print_mounts(mounts: Iterable[dict[str, Any]]) -> None:
    for mount in mounts:
        stats = mount["stats"]
        if stats is None:
            print(f"{mount['mountpoint']}: ending (pid {mount['pid']})")
            continue
        print(
            f"{mount['mountpoint']}: {stats['converted']} compressed,"
            f" {stats['verbatim']} left as they are, {stats['failed']} failed since"
            f" {stats['since']}; {stats['queued']} queued, {stats['converting']} converting;"
            f" {format_size(mount['free_bytes'])} free"
        )


# Files


def _print_files(files: list[FileStatus]) -> None:
    from rich.console import Console

    table = _table()
    by_directory: dict[str, list[FileStatus]] = defaultdict(list)
    for file in files:
        by_directory[os.path.dirname(file.path)].append(file)
    for directory, members in sorted(by_directory.items()):
        named = ((os.path.basename(file.path), file) for file in members)
        for sequence in group(named):
            table.add_row(*_row(directory, sequence))
    if len(files) > 1:
        table.add_section()
        table.add_row(*_totals(files))
    # A terminal's width when there is one; in a pipe, wide enough to keep a row on its line.
    Console(width=None if sys.stdout.isatty() else 200, soft_wrap=True).print(table)


def _table() -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("name", overflow="fold")
    table.add_column("files", justify="right")
    table.add_column("state")
    table.add_column("logical", justify="right")
    table.add_column("stored", justify="right")
    table.add_column("ratio", justify="right")
    table.add_column("reason", overflow="fold")
    return table


def _row(directory: str, sequence: FrameSequence[FileStatus]) -> tuple[str, ...]:
    files = [file for _, file in sequence.frames]
    count, *rest = _summary(files)
    frames = f"{count} frames" if len(files) > 1 else count
    return (os.path.join(directory, sequence.name), frames, *rest)


def _totals(files: list[FileStatus]) -> tuple[str, ...]:
    name, reason = "total", ""
    return (name, *_summary(files)[:-1], reason)


def _summary(files: list[FileStatus]) -> tuple[str, ...]:
    states = Counter(file.state for file in files)
    state = next(iter(states)) if len(states) == 1 else _counted(states)
    logical, stored = sum(f.logical for f in files), sum(f.stored for f in files)
    reasons = Counter(file.reason for file in files if file.reason)
    reason = next(iter(reasons)) if len(reasons) == 1 else _counted(reasons)
    ratio = format_ratio(logical, stored)
    return str(len(files)), state, format_size(logical), format_size(stored), ratio, reason


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{text} {count}" for text, count in counts.most_common())
