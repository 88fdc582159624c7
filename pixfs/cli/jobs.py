"""Submit, list, watch and control jobs of a server.

    pixfs jobs login http://localhost:9090 --user ada
    pixfs jobs submit copy nearline:shows/dune/sh010 'nearline:sh020/bg.[1001-1240].dpx' \\
        --to archive:shows/dune --watch
    pixfs jobs list --state RUNNING
    pixfs jobs watch 17
    pixfs jobs cancel 17

The session of a login is kept in $XDG_STATE_HOME/pixfs/session.json, for its owner alone.
"""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pixfs.cli.jobs_progress import count_ended, describe, watch_jobs
from pixfs.cli.server_session import ServerError, Session, log_in
from pixfs.cli.sizes import format_size
from pixfs.errors import TargetError
from pixfs.throttle import parse_rate

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.table import Table

NAME = "jobs"
HELP = "submit, list, watch and control jobs of a server"
_KINDS = ("copy", "move", "compress", "restore", "verify", "delete")
_STATES = ("WAITING", "RUNNING", "PAUSED", "SUCCEEDED", "FAILED", "CANCELLED")
_OPTIONS = {
    "source": "source", "sources": "source", "target": "--to", "destination": "--to",
    "quiet_s": "--quiet", "limit_bps": "--limit", "priority": "--priority", "label": "--label",
    "overwrite": "--overwrite", "verify": "--verify", "webhook": "--webhook", "email": "--email",
}  # fmt: skip
"""By field of the interface: the option that fills it."""
_CONTROLS = {
    "pause": "let jobs rest, within a file",
    "resume": "let paused jobs go on",
    "cancel": "end jobs for good; what was copied stays",
    "retry": "try again what failed of jobs",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this verb's own arguments."""
    verbs = parser.add_subparsers(dest="jobs_verb", metavar="WHAT", required=True)
    login = verbs.add_parser("login", help="log in, for the commands that follow")
    login.add_argument("server", metavar="URL", type=_server, help="such as http://localhost:9090")
    login.add_argument("--user", default=getpass.getuser(), help="default: who you are here")
    login.add_argument("--password-stdin", action="store_true", help="read it from there")
    verbs.add_parser("logout", help="end the session")
    _add_submit(verbs.add_parser("submit", help="submit a job"))
    listing = verbs.add_parser("list", help="list jobs, the newest first")
    listing.add_argument(
        "--state", action="append", default=[], type=str.upper, choices=_STATES, metavar="STATE",
        help=f"only jobs in this one of {', '.join(_STATES)}; may be given several times",
    )  # fmt: skip
    listing.add_argument(
        "--kind", action="append", default=[], choices=_KINDS, metavar="KIND",
        help=f"only jobs of this one of {', '.join(_KINDS)}; may be given several times",
    )  # fmt: skip
    listing.add_argument("--mine", action="store_true", help="only your own")
    listing.add_argument(
        "--limit", type=_page_size, default=20, metavar="N", help="how many, 1 to 1000; default 20"
    )
    verbs.add_parser("storages", help="list the storages that jobs may name")
    watch = verbs.add_parser("watch", help="show progress until the jobs have ended")
    watch.add_argument("job", type=int, nargs="+", metavar="JOB")
    errors = verbs.add_parser("errors", help="list what failed, and why")
    errors.add_argument("job", type=int, metavar="JOB")
    for name, meaning in _CONTROLS.items():
        control = verbs.add_parser(name, help=meaning)
        control.add_argument("job", type=int, nargs="+", metavar="JOB")
    priority = verbs.add_parser("priority", help="give a job another priority")
    priority.add_argument("job", type=int, metavar="JOB")
    priority.add_argument(
        "priority", type=int, metavar="N", help="0 to 100; the highest goes first"
    )


def _add_submit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", choices=_KINDS, metavar="KIND", help=", ".join(_KINDS))
    parser.add_argument(
        "sources", metavar="STORAGE:PATH", nargs="+", type=_place,
        help="a folder, a file, a glob, or a sequence such as near:sh010/bg.[1001-1240].dpx",
    )  # fmt: skip
    parser.add_argument(
        "--to", metavar="STORAGE:FOLDER", type=_place, help="where a copy or move goes"
    )
    parser.add_argument(
        "--overwrite", choices=("fail", "skip", "newer", "replace"),
        help="what to do with another file of that name at the target; default fail",
    )  # fmt: skip
    parser.add_argument(
        "--verify", choices=("hash", "size"), help="how copies are compared; default hash"
    )
    parser.add_argument(
        "--quiet", metavar="SECONDS", type=int,
        help="wait until nothing was written to the sources for so long; default 5, 0 does not",
    )  # fmt: skip
    parser.add_argument("--priority", type=int, metavar="N", help="0 to 100; default 50")
    parser.add_argument(
        "--limit", metavar="RATE", type=_rate, help="bytes a second it may move, such as 50M"
    )
    parser.add_argument("--webhook", metavar="URL", help="takes a POST when it has ended")
    parser.add_argument("--email", metavar="ADDRESS", help="gets a mail when it has ended")
    parser.add_argument("--label", metavar="TEXT", help="a note, for people")
    parser.add_argument("--watch", action="store_true", help="show its progress until it has ended")


def _server(text: str) -> str:
    """The address of a server, as it is typed."""
    try:
        parts = urlsplit(text)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
        is_address = is_address and parts.path in ("", "/") and not parts.query
    except ValueError:
        is_address = False
    if not is_address:
        raise argparse.ArgumentTypeError(f"{text!r}: write http://HOST:PORT or https://HOST:PORT")
    return text.rstrip("/")


def _place(text: str) -> tuple[str, str]:
    """A storage and a path in it."""
    storage, colon, path = text.partition(":")
    if not storage or not colon:
        raise argparse.ArgumentTypeError(f"{text!r}: write STORAGE:PATH")
    return storage, path


def _rate(text: str) -> int:
    try:
        rate = parse_rate(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not rate:
        raise argparse.ArgumentTypeError("a job's own limit is at least one byte a second")
    return rate


def _page_size(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError("is a number from 1 to 1000")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Do it: 0 done; 1 the server refused, or a job that was watched did not succeed."""
    try:
        if args.jobs_verb == "login":
            return _login(args)
        with Session() as session:
            return _VERBS[args.jobs_verb](session, args)
    except ServerError as error:
        print(f"pixfs jobs: {error}", file=sys.stderr)
        return 1


def _login(args: argparse.Namespace) -> int:
    if args.password_stdin:
        password = sys.stdin.readline().rstrip("\n")
    else:
        password = os.environ.get("PIXFS_PASSWORD") or getpass.getpass(f"{args.user}'s password: ")
    who = log_in(args.server, args.user, password)
    print(f"logged in as {who['name']} ({who['role']})")
    return 0


def _logout(session: Session, args: argparse.Namespace) -> int:
    session.log_out()
    return 0


def _submit(session: Session, args: argparse.Namespace) -> int:
    job = session.send("POST", "/jobs", _form(args), _OPTIONS)
    print(f"job {job['id']}", flush=True)
    return watch_jobs(session, [job["id"]]) if args.watch else 0


def _form(args: argparse.Namespace) -> list[tuple[str, str]]:
    """A job as the interface takes it. TargetError where the command makes no sense."""
    if len({storage for storage, _ in args.sources}) != 1:
        raise TargetError("the sources of a job are all of one storage")
    if (args.kind in ("copy", "move")) != (args.to is not None):
        wants = "wants" if args.to is None else "takes no"
        raise TargetError(f"a {args.kind} {wants} --to STORAGE:FOLDER")
    form = [("kind", args.kind), ("source", args.sources[0][0])]
    form += [("sources", path) for _, path in args.sources]
    if args.to is not None:
        form += [("target", args.to[0]), ("destination", args.to[1])]
    options = {"quiet_s": args.quiet, "priority": args.priority, "label": args.label}
    options |= {"overwrite": args.overwrite, "verify": args.verify, "limit_bps": args.limit}
    options |= {"webhook": args.webhook, "email": args.email}
    return form + [(name, str(given)) for name, given in options.items() if given is not None]


def _list(session: Session, args: argparse.Namespace) -> int:
    from rich.table import Table

    query = [("state", state) for state in args.state] + [("kind", kind) for kind in args.kind]
    query += [("limit", str(args.limit)), ("mine", str(args.mine).lower())]
    table = Table(box=None, pad_edge=False)
    for name in ("job", "kind", "state", "files", "failed", "size", "owner", "what", "label"):
        table.add_column(name, justify="right" if name in ("job", "files", "failed") else "left")
    jobs = session.get("/jobs", query)["jobs"]
    for job in jobs:
        table.add_row(
            str(job["id"]),
            job["kind"],
            job["state"],
            f"{count_ended(job)}/{job['files_total']}",
            str(job["files_failed"]),
            format_size(job["bytes_total"]),
            job["owner"],
            describe(job),
            job["label"],
        )
    _print(table)
    for job in jobs:
        if job["message"]:
            print(f"job {job['id']}: {job['message']}")
    return 0


def _storages(session: Session, args: argparse.Namespace) -> int:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("storage", "kind", "state", "free", "root"):
        table.add_column(name)
    for storage in session.get("/storages", [])["storages"]:
        free = storage["free_bytes"]
        table.add_row(
            storage["name"],
            storage["kind"],
            storage["state"] + (", read-only" if storage["read_only"] else ""),
            "" if free is None else format_size(free),
            storage["root"],
        )
    _print(table)
    return 0


def _print(table: Table) -> None:
    """As wide as the terminal; a file or a pipe gets whole lines."""
    from rich.console import Console

    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = 1000
    console.print(table)


def _errors(session: Session, args: argparse.Namespace) -> int:
    after = -1
    while page := session.get(f"/jobs/{args.job}/errors", [("after", str(after))])["errors"]:
        for error in page:
            print(f"{error['path']}: {error['reason']} ({error['code']})")
        after = page[-1]["number"]
    return 0


def _watch(session: Session, args: argparse.Namespace) -> int:
    return watch_jobs(session, args.job)


def _control(session: Session, args: argparse.Namespace) -> int:
    for number in args.job:
        job = session.send("POST", f"/jobs/{number}/{args.jobs_verb}", [])
        print(f"job {number} is {job['state']}")
    return 0


def _priority(session: Session, args: argparse.Namespace) -> int:
    form = [("priority", str(args.priority))]
    job = session.send("PUT", f"/jobs/{args.job}/priority", form)
    print(f"job {args.job} has priority {job['priority']}")
    return 0


_VERBS: dict[str, Callable[[Session, argparse.Namespace], int]] = {
    "logout": _logout,
    "submit": _submit,
    "list": _list,
    "storages": _storages,
    "watch": _watch,
    "errors": _errors,
    "pause": _control,
    "resume": _control,
    "cancel": _control,
    "retry": _control,
    "priority": _priority,
}
