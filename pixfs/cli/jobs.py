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

import getpass
import os
import sys
from typing import TYPE_CHECKING, Any

from pixfs.cli.server_session import ServerError, Session, log_in

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

NAME = "jobs"
HELP = "submit, list, watch and control jobs of a server"
_KINDS = ("copy", "move", "compress", "restore", "verify", "delete")
_FINAL = ("SUCCEEDED", "FAILED", "CANCELLED")
_POLL_S = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this verb's own arguments."""
    verbs = parser.add_subparsers(dest="jobs_verb", metavar="WHAT", required=True)
    login = verbs.add_parser("login", help="log in, for the commands that follow")
    login.add_argument("server", metavar="URL", help="such as http://localhost:9090")
    login.add_argument("--user", default=getpass.getuser(), help="default: who you are here")
    login.add_argument("--password-stdin", action="store_true", help="read it from there")
    verbs.add_parser("logout", help="end the session")
    _add_submit(verbs.add_parser("submit", help="submit a job"))
    listing = verbs.add_parser("list", help="list jobs, the newest first")
    listing.add_argument("--state", action="append", default=[], type=str.upper)
    listing.add_argument("--kind", action="append", default=[], choices=_KINDS)
    listing.add_argument("--mine", action="store_true", help="only your own")
    listing.add_argument("--limit", type=int, default=20)
    watch = verbs.add_parser("watch", help="show progress until the jobs have ended")
    watch.add_argument("job", type=int, nargs="+")
    errors = verbs.add_parser("errors", help="list what failed, and why")
    errors.add_argument("job", type=int)
    for name in ("pause", "resume", "cancel", "retry"):
        control = verbs.add_parser(name, help=f"{name} jobs")
        control.add_argument("job", type=int, nargs="+")
    priority = verbs.add_parser("priority", help="give a job another priority")
    priority.add_argument("job", type=int)
    priority.add_argument("priority", type=int, help="0 to 100; the highest goes first")


def _add_submit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", choices=_KINDS)
    parser.add_argument("sources", metavar="STORAGE:PATH", nargs="+")
    parser.add_argument("--to", metavar="STORAGE:FOLDER", help="where a copy or move goes")
    parser.add_argument("--overwrite", choices=("fail", "skip", "newer", "replace"))
    parser.add_argument("--verify", choices=("hash", "size"))
    parser.add_argument("--quiet", metavar="SECONDS", type=int, help="nothing written for so long")
    parser.add_argument("--priority", type=int)
    parser.add_argument("--limit", metavar="BYTES", type=int, help="bytes a second it may move")
    parser.add_argument("--webhook", metavar="URL", help="takes a POST when it has ended")
    parser.add_argument("--email", metavar="ADDRESS", help="gets a mail when it has ended")
    parser.add_argument("--label")
    parser.add_argument("--watch", action="store_true", help="show its progress until it has ended")


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
    form: list[tuple[str, str]] = [("kind", args.kind)]
    storages = {text.partition(":")[0] for text in args.sources}
    if len(storages) != 1 or not all(":" in text for text in args.sources):
        raise ServerError("write each source as STORAGE:PATH, all of one storage")
    form.append(("source", storages.pop()))
    form += [("sources", text.partition(":")[2]) for text in args.sources]
    if args.to is not None:
        target, _, destination = args.to.partition(":")
        form += [("target", target), ("destination", destination)]
    options = {"quiet_s": args.quiet, "priority": args.priority, "label": args.label}
    options |= {"overwrite": args.overwrite, "verify": args.verify, "limit_bps": args.limit}
    options |= {"webhook": args.webhook, "email": args.email}
    form += [(name, str(given)) for name, given in options.items() if given is not None]
    job = session.send("POST", "/jobs", form)
    print(f"job {job['id']}")
    return _watch_jobs(session, [job["id"]]) if args.watch else 0


def _list(session: Session, args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    query = [("state", state) for state in args.state] + [("kind", kind) for kind in args.kind]
    query += [("limit", str(args.limit)), ("mine", str(args.mine).lower())]
    table = Table(box=None, pad_edge=False)
    for name in ("job", "kind", "state", "files", "failed", "size", "owner", "label"):
        table.add_column(name, justify="right" if name in ("job", "files", "failed") else "left")
    for job in session.get("/jobs", query)["jobs"]:
        table.add_row(
            str(job["id"]),
            job["kind"],
            job["state"],
            f"{_ended(job)}/{job['files_total']}",
            str(job["files_failed"]),
            _size(job["bytes_total"]),
            job["owner"],
            job["label"],
        )
    Console(markup=False, highlight=False).print(table)
    return 0


def _errors(session: Session, args: argparse.Namespace) -> int:
    after = -1
    while page := session.get(f"/jobs/{args.job}/errors", [("after", str(after))])["errors"]:
        for error in page:
            print(f"{error['path']}: {error['reason']} ({error['code']})")
        after = page[-1]["number"]
    return 0


def _watch(session: Session, args: argparse.Namespace) -> int:
    return _watch_jobs(session, args.job)


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


def _watch_jobs(session: Session, numbers: list[int]) -> int:
    """A bar for each job until all have ended; 1 when one did not succeed."""
    import time

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[facts]}", markup=False),
        TimeRemainingColumn(),
    )
    ended: dict[int, dict[str, Any]] = {}
    console = Console(stderr=True, highlight=False)
    with Progress(*columns, console=console, transient=True) as progress:
        bars = {number: progress.add_task(f"job {number}", facts="") for number in numbers}
        while True:
            for number in [n for n in numbers if n not in ended]:
                job = session.get(f"/jobs/{number}", [])
                _show(progress.update, bars[number], job)
                if job["state"] in _FINAL:
                    ended[number] = job
            if len(ended) == len(bars):
                break
            time.sleep(_POLL_S)
    for number in numbers:
        print(_summary(ended[number]))
    return 0 if all(job["state"] == "SUCCEEDED" for job in ended.values()) else 1


def _show(update: Callable[..., None], bar: Any, job: dict[str, Any]) -> None:  # noqa: ANN401
    # Files count beside bytes: a thousand empty frames are work, too.
    moved = job["bytes_done"] + job["bytes_moving"] + _ended(job)
    facts = f"{_ended(job)}/{job['files_total']} files, {_size(job['bytes_per_second'])}/s"
    update(
        bar,
        description=f"job {job['id']} {job['kind']} {job['state'].lower()}",
        completed=moved,
        total=(job["bytes_total"] + job["files_total"]) or None,
        facts=facts,
    )


def _summary(job: dict[str, Any]) -> str:
    text = f"job {job['id']} {job['state']}: {job['files_done']} done"
    text += f", {job['files_skipped']} skipped, {job['files_failed']} failed"
    if job["message"]:
        text += f"; {job['message']}"
    if job["files_failed"]:
        text += f"; pixfs jobs errors {job['id']} tells why"
    return text


def _ended(job: dict[str, Any]) -> int:
    return int(job["files_done"] + job["files_skipped"] + job["files_failed"])


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


_VERBS: dict[str, Callable[[Session, argparse.Namespace], int]] = {
    "logout": _logout,
    "submit": _submit,
    "list": _list,
    "watch": _watch,
    "errors": _errors,
    "pause": _control,
    "resume": _control,
    "cancel": _control,
    "retry": _control,
    "priority": _priority,
}
