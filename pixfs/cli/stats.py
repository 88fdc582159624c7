"""Show what mounts have done and what they do now.

Without MOUNT: every mount of this user. --watch shows it anew every second, or as often as is
said, until interrupted. --prometheus prints counters and gauges named ``pixfs_*`` in Prometheus'
text format, for a scrape or node_exporter's textfile collector. --json prints the mount's own
``user.pixfs.stats``; with --watch, one line each time.

Exit codes: 0 done, 1 a mount went away, 2 no mount, 130 interrupted.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

from pixfs.cli.mounts import chosen_mounts, read_stats
from pixfs.cli.sizes import format_ratio, format_size
from pixfs.throttle import format_rate

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

NAME = "stats"
HELP = "show counters and live rates"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this verb's own arguments."""
    parser.add_argument("mounts", nargs="*", metavar="MOUNT", help="mount point")
    parser.add_argument(
        "--watch", metavar="SECONDS", nargs="?", const=1.0, type=float, help="show again and again"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--prometheus", action="store_true", help="print Prometheus' text format")


def run(args: argparse.Namespace) -> int:
    """Show; 0 when done."""
    mounts = chosen_mounts(args.mounts)
    while True:
        stats = {mount: read_stats(mount) for mount in mounts}
        _show(stats, args)
        if args.watch is None:
            return 0
        time.sleep(max(0.1, args.watch))


def _show(stats: Mapping[str, Mapping[str, Any]], args: argparse.Namespace) -> None:
    from pixfs.cli.prometheus import exposition

    if args.json:
        print(json.dumps({"mounts": stats}, indent=None if args.watch else 2), flush=True)
    elif args.prometheus:
        print(exposition(stats), end="", flush=True)
    else:
        if args.watch is not None and sys.stdout.isatty():
            print("\x1b[H\x1b[2J", end="")
        for mount, values in stats.items():
            print(_text(mount, values), flush=True)


def _text(mount: str, stats: Mapping[str, Any]) -> str:
    cache = stats["cache"]
    asked = cache["hits"] + cache["misses"]
    hits = f"{cache['hits'] / asked:.0%} of {asked} blocks" if asked else "nothing asked for"
    ratio = format_ratio(stats["bytes_in"], stats["bytes_out"])
    lines = [
        f"{mount} since {stats['since']}",
        *(_direction(name, state) for name, state in stats["throttle"].items()),
        f"  queue      {stats['queued']} waiting, {stats['converting']} converting,"
        f" {stats['deferred']} waiting for space",
        f"  files      {stats['converted']} compressed, {stats['verbatim']} left as they are,"
        f" {stats['restores']} restored, {stats['failed']} failed",
        f"  bytes      {format_size(stats['bytes_in'])} became {format_size(stats['bytes_out'])}"
        f" ({ratio})",
        f"  decoded    {stats['tiles_decoded']} tiles, {stats['eio']} reads failed",
        f"  cache      {format_size(cache['bytes'])} of {format_size(cache['budget_bytes'])},"
        f" {hits} found in it",
        f"  inodes     {stats['nodes']}",
        *_recovery(stats["recovered"]),
    ]
    return "\n".join(lines)


def _recovery(recovered: Mapping[str, int]) -> list[str]:
    """What the mount cleared up when it was made, if it had to."""
    if not any(recovered.values()):
        return []
    return [
        f"  recovered  {recovered['volumes']} killed daemons,"
        f" {recovered['interrupted']} interrupted conversions,"
        f" {recovered['superseded']} replaced originals, {recovered['rewrites']} rewrites,"
        f" {recovered['kept']} unknown files kept"
    ]


def _direction(name: str, state: Mapping[str, Any]) -> str:
    limit = "paused" if state["limit"] == 0 else format_rate(state["limit"])
    waiting = f", {state['waiting']} waiting" if state["waiting"] else ""
    rate, total = format_size(state["rate"]), format_size(state["bytes"])
    return f"  {name:9}  {rate}/s now, {total} in all, limit {limit}{waiting}"
