"""Run the REST server in the foreground until SIGTERM or Ctrl-C.

Requests that are running when it is stopped may finish first. It answers only to the host it
is bound to, to localhost and to the names given with --allow-host.
"""

from __future__ import annotations

import logging
import sys
from functools import partial
from typing import TYPE_CHECKING

import trio

from pixfs.fuse.sdnotify import ServiceManager

if TYPE_CHECKING:
    import argparse

    from server.serve import Bind

NAME = "serve"
HELP = "run the REST server until SIGTERM or Ctrl-C"
DEFAULT_BIND = "127.0.0.1:9090"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this verb's own arguments."""
    parser.add_argument(
        "--bind",
        metavar="HOST:PORT",
        default=DEFAULT_BIND,
        help=f"address to listen at (default {DEFAULT_BIND}; port 0 takes a free one)",
    )
    parser.add_argument(
        "--allow-host",
        metavar="NAME",
        action="append",
        default=[],
        help="answer to this Host name too (may be given several times)",
    )
    parser.add_argument(
        "--graceful",
        metavar="SECONDS",
        type=float,
        default=10.0,
        help="let running requests finish for so long when stopped (default 10)",
    )
    parser.add_argument("--verbose", action="store_true", help="log each request")


def run(args: argparse.Namespace) -> int:
    """Serve until stopped: 0 after a stop that was asked for, 1 when it cannot listen, 2 usage."""
    # Imported here: the other verbs need not wait for the web framework.
    from server.serve import Bind, BindError, build, listen, serve_until_signalled

    try:
        bind = Bind.parse(args.bind)
    except ValueError as error:
        print(f"pixfs serve: --bind: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(
        level=logging.INFO if args.verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    try:
        listener = listen(bind)
    except BindError as error:
        print(f"pixfs serve: {error}; choose another with --bind", file=sys.stderr)
        return 1
    bound = Bind(bind.host, listener.getsockname()[1])
    trio.run(
        partial(
            serve_until_signalled,
            build(bind, args.allow_host),
            listener,
            on_ready=partial(_announce, bound),
            graceful_s=args.graceful,
        )
    )
    return 0


def _announce(bound: Bind) -> None:
    print(f"serving on http://{bound.name}:{bound.port}/", flush=True)
    ServiceManager().notify("READY=1")
