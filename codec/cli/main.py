"""``python -m codec``: frames to containers and back, without a file system."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from codec import LEVELS, CodecError
from codec.cli import actions, bench, licence
from codec.cli.errors import Refused
from codec.cli.files import SUFFIX, gather
from codec.cli.report import Report

if TYPE_CHECKING:
    from collections.abc import Callable

    from codec.cli.actions import Outcome

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143

_EPILOG = """\
Nothing is replaced unasked, and an output appears whole or not at all. A directory, with
--recursive, stands for the frames in it (compress, bench) or the containers in it (the others).

Exit codes: 0 all done; 1 a file failed, its reason is on standard error; 2 wrong usage; 130
interrupted, 143 terminated: what was finished stays, what was not leaves no trace.
"""


def start() -> int:
    """Run the command line of this process, and clean up when it is told to end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))
    return main()


def main(arguments: list[str] | None = None) -> int:
    """Run one command over its files; the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if "whole" in options:
        return _whole(options)
    try:
        found = gather(options.files, recursive=options.recursive, containers=options.containers)
        if getattr(options, "output", None) is not None and len(found) > 1:
            parser.error("--output goes with one FILE")
        if options.run is None:
            return bench.run(found, options)
        with Report(options.command, found) as report:
            for one in found:
                report.begin(one)
                reason = one.reason or _attempt(options.run, one.path, options)
                if not isinstance(reason, str):
                    report.done(one, reason)
                    continue
                report.fail(one, reason)
                if not options.keep_going:
                    break
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return EXIT_FAILED if report.failed else 0


def _whole(options: argparse.Namespace) -> int:
    """Run a command that is not about files one by one."""
    try:
        options.whole(options)
    except (CodecError, OSError, Refused) as error:
        print(f"{options.command}: {error}", file=sys.stderr)
        return EXIT_FAILED
    return 0


def _attempt(
    run: Callable[[Path, argparse.Namespace], Outcome], file: Path, options: argparse.Namespace
) -> Outcome | str:
    """What came of a file, or the reason it failed."""
    try:
        return run(file, options)
    except (CodecError, Refused) as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)
    except MemoryError:
        return "too large for this machine's memory"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m codec",
        description="Frames to containers and back, without a file system.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")

    def add(
        name: str, run: Callable[[Path, argparse.Namespace], Outcome] | None, text: str
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text, epilog=_EPILOG)
        command.formatter_class = argparse.RawDescriptionHelpFormatter
        command.add_argument("files", nargs="+", type=Path, metavar="FILE")
        command.add_argument("-r", "--recursive", action="store_true", help="go into directories")
        command.set_defaults(run=run, containers=name not in ("compress", "bench"))
        return command

    writing = [
        add("compress", actions.compress, f"encode each FILE into FILE{SUFFIX}"),
        add("decompress", actions.decompress_file, f"decode each FILE{SUFFIX} into FILE"),
    ]
    checking = [
        add("verify", actions.verify, "decode each container and check every byte of it"),
        add("info", actions.info, "say what each container holds"),
    ]
    for command in writing:
        command.add_argument("-o", "--output", type=Path, help="write here (one FILE only)")
        command.add_argument("-f", "--force", action="store_true", help="replace outputs")
        command.add_argument("-t", "--threads", type=_count, default=os.cpu_count() or 1)
    writing[0].add_argument("-l", "--level", choices=LEVELS, default="balanced")
    for command in (*writing, *checking):
        command.add_argument(
            "--keep-going",
            action=argparse.BooleanOptionalAction,
            default=True,
            help="go on with the other files after one has failed (the default)",
        )
    measuring = add(
        "bench", None, "measure ratio and one-thread speed on each FILE; writes nothing"
    )
    measuring.add_argument("-l", "--levels", nargs="+", choices=LEVELS, default=list(LEVELS))
    measuring.add_argument("--rounds", type=_count, default=3, help="rounds; the best counts (3)")
    measuring.add_argument("--no-peers", action="store_true", help="leave other codecs out")
    text = "make and show licence keys"
    licence.add_to(commands.add_parser("licence", help=text, description=text))
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
