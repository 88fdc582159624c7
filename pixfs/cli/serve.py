"""Run the REST server in the foreground until SIGTERM or Ctrl-C.

Requests that are running when it is stopped may finish first. It answers only to the host it
is bound to, to localhost and to the names it is told to allow. Its first start makes the user
"admin" and prints the password, once.
"""

from __future__ import annotations

import gc
import logging
import sys
from functools import partial
from typing import TYPE_CHECKING

import trio

from pixfs.errors import ConfigError
from pixfs.fuse.sdnotify import ServiceManager

if TYPE_CHECKING:
    import argparse

    from server.config import ServerConfig
    from server.core import Core
    from server.exclusive import Hold
    from server.serve import Bind

NAME = "serve"
HELP = "run the REST server until SIGTERM or Ctrl-C"
DEFAULT_BIND = "127.0.0.1:9090"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this verb's own arguments."""
    parser.add_argument("--config", metavar="FILE", help="read this TOML file first")
    parser.add_argument(
        "--bind",
        metavar="HOST:PORT",
        help=f"address to listen at (default {DEFAULT_BIND}; port 0 takes a free one)",
    )
    parser.add_argument(
        "--data", metavar="DIR", help="keep the server's state here (made if missing)"
    )
    parser.add_argument(
        "--allow-host",
        metavar="NAME",
        action="append",
        help="answer to this Host name too (may be given several times)",
    )
    parser.add_argument(
        "--graceful",
        metavar="SECONDS",
        type=float,
        help="let running requests finish for so long when stopped (default 10)",
    )
    parser.add_argument("--verbose", action="store_true", help="log each request")


def run(args: argparse.Namespace) -> int:
    """Serve until stopped: 0 after a stop that was asked for, 1 when it cannot listen, 2 usage."""
    # Imported here: the other verbs need not wait for the web framework.
    from server.exclusive import only_server
    from server.opening import open_core
    from server.serve import Bind, BindError

    config = _configured(args)
    try:
        bind = Bind.parse(config.network.bind)
    except ValueError as error:
        print(f"pixfs serve: --bind: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(
        level=logging.INFO if args.verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    with only_server(config) as hold, open_core(config) as core:
        try:
            return _serve(config, bind, core, hold)
        except BindError as error:
            print(f"pixfs serve: {error}; choose another with --bind", file=sys.stderr)
            return 1
        finally:
            # What is left goes with the process. Looking through it for garbage once more would
            # be most of what a stop takes: a second, or many on a busy machine.
            gc.freeze()


def _serve(config: ServerConfig, bind: Bind, core: Core, hold: Hold) -> int:
    from server.admission import Admission, room_for
    from server.api.operations import MonitorAccess
    from server.app import Limits
    from server.exclusive import LostHold
    from server.notify.egress import Egress
    from server.readers import Readers
    from server.serve import Bind, Certificate, build, listen, serve_until_signalled
    from server.work.catalogue import run_catalogue
    from server.work.service import make_engine, run_jobs

    certificate = None
    if config.network.certificate:
        certificate = Certificate(config.network.certificate, config.network.private_key)
        certificate.check()
    try:
        egress = Egress(config.notifications.allow_networks)
    except ValueError as error:
        raise ConfigError(f"notifications.allow_networks: {error}") from None
    try:
        monitors = MonitorAccess(config.metrics.allow_networks, config.metrics.token)
    except ValueError as error:
        raise ConfigError(f"metrics.allow_networks: {error}") from None
    engine = make_engine(config.jobs.threads, config.jobs.scheduler)
    listener = listen(bind)
    password = core.users.add_first_admin()
    if password is not None:
        print(f"first start: log in as admin with the password {password}", flush=True)
        print("it is not shown again; change it with: pixfs user passwd admin", flush=True)
    readers = Readers(config.requests.stall_s)
    app = build(
        core,
        bind,
        extra_hosts=config.network.allow_hosts,
        trusted_proxies=config.network.trusted_proxies,
        limits=Limits(max_body_bytes=config.requests.max_body_bytes),
        monitors=monitors,
        readers=readers,
    )
    scheme = "https" if certificate else "http"
    bound = Bind(bind.host, listener.getsockname()[1])
    serve = partial(
        serve_until_signalled,
        app,
        listener,
        on_ready=partial(_announce, f"{scheme}://{bound.name}:{bound.port}/"),
        graceful_s=config.network.graceful_s,
        certificate=certificate,
        readers=readers,
        admission=Admission(room_for(config.network.most_connections)),
        on_grace_over=core.closing.begin,
        beside=(
            hold.watch,
            partial(run_jobs, core, engine, egress=egress),
            partial(run_catalogue, core),
        ),
    )
    was_lost = False
    try:
        trio.run(serve)
    except* LostHold:
        was_lost = True
    if was_lost:
        raise LostHold("the database let go of this server; start it again")
    return 0


def _configured(args: argparse.Namespace) -> ServerConfig:
    """The configuration file, with what the command line says on top."""
    from server.config import read_server_config

    config = read_server_config(args.config)
    if args.data is not None:
        config = config.with_data(args.data)
    given = {
        "bind": args.bind,
        "allow_hosts": tuple(args.allow_host) if args.allow_host else None,
        "graceful_s": args.graceful,
    }
    return config.with_network(**{key: value for key, value in given.items() if value is not None})


def _announce(url: str) -> None:
    print(f"serving on {url}", flush=True)
    ServiceManager().notify("READY=1")
