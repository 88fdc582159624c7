"""``pixfs VERB ...``: parse, run the verb, map what it raises to a message and an exit code.

Exit codes: 0 done; 1 something was wrong with a file, a mount or the machine; 2 the command
itself was wrong (usage, configuration, a path it does not work on); 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import TYPE_CHECKING

from pixfs.cli.exits import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE
from pixfs.cli.verbs import VERBS
from pixfs.errors import ConfigError, PixfsError, TargetError

if TYPE_CHECKING:
    from collections.abc import Sequence

_EXIT_CODES = "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted."


def build_parser(verbs: Sequence[str] = VERBS) -> argparse.ArgumentParser:
    """The command line, whole or for some verbs."""
    parser = argparse.ArgumentParser(
        prog="pixfs",
        description="Store film frames losslessly smaller and read back the same bytes.",
        epilog=_EXIT_CODES,
    )
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name in verbs:
        verb = importlib.import_module(f"pixfs.cli.{name}")
        subparser = subparsers.add_parser(verb.NAME, help=verb.HELP, description=verb.__doc__)
        subparser.formatter_class = argparse.RawDescriptionHelpFormatter
        if "Exit codes" not in (verb.__doc__ or ""):
            subparser.epilog = _EXIT_CODES
        verb.add_arguments(subparser)
        subparser.set_defaults(run=verb.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code (argparse exits with 2 by itself)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # A daemon that has been killed is back the sooner, the less is loaded for it.
    named = [verb for verb in VERBS if arguments[:1] == [verb]]
    args = build_parser(named or VERBS).parse_args(arguments)
    args.argv = arguments
    try:
        return int(args.run(args))
    except (ConfigError, TargetError) as error:
        return _fail(args.verb, str(error), EXIT_USAGE)
    except PixfsError as error:
        return _fail(args.verb, str(error), EXIT_FAILED)
    except BrokenPipeError:
        # Whoever read our output (head, less) has seen enough; nothing may be written to it now.
        sys.stderr.close()
        return EXIT_FAILED
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else ""
        return _fail(args.verb, f"{where}{error.strerror or error}", EXIT_FAILED)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _fail(verb: str, message: str, code: int) -> int:
    print(f"pixfs {verb}: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
