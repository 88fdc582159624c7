"""Show or set how many bytes a second may be read from and written to a mount.

RATE is bytes a second: 800K, 50M, 1.5G (powers of 1024), ``0`` to pause, or ``unlimited``. A
change applies at once, also to requests that wait, and holds until it is changed again or the
volume is unmounted; the settings throttle_read and throttle_write say what a mount begins with.

Requests of users come first and share a limit evenly, file by file; conversions get what those
leave. What the kernel has in its page cache is read without asking the mount and is not limited.

Setting needs root, or the user who made the mount. Exit codes: 0 done, 1 not permitted or no
answer, 2 no mount or no rate.
"""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING

from pixfs.cli.mounts import read_stats
from pixfs.cli.sizes import format_size
from pixfs.errors import ConfigError, MountError
from pixfs.throttle import format_rate, parse_rate

if TYPE_CHECKING:
    import argparse

NAME = "throttle"
HELP = "show or set a mount's bandwidth limits"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this verb's own arguments."""
    parser.add_argument("mount", metavar="MOUNT", help="a mount point")
    parser.add_argument("--read", metavar="RATE", help="limit reading")
    parser.add_argument("--write", metavar="RATE", help="limit writing")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Set what was asked for, then show; 0 when done."""
    read_stats(args.mount)
    for direction, text in (("read", args.read), ("write", args.write)):
        if text is not None:
            _set(args.mount, direction, text)
    throttle = read_stats(args.mount)["throttle"]
    if args.json:
        print(json.dumps(throttle, indent=2))
        return 0
    for direction, state in throttle.items():
        limit = "paused" if state["limit"] == 0 else format_rate(state["limit"])
        waiting = f", {state['waiting']} waiting" if state["waiting"] else ""
        print(f"{direction:5}  {limit}  (now {format_size(state['rate'])}/s{waiting})")
    return 0


def _set(mount: str, direction: str, text: str) -> None:
    try:
        parse_rate(text)
    except ValueError as error:
        raise ConfigError(f"--{direction}: {error}") from None
    try:
        os.setxattr(mount, f"user.pixfs.throttle.{direction}", text.encode())
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES):
            raise MountError("only root or the user who made the mount may set a limit") from None
        raise
