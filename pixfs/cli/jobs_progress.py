"""How jobs of a server are shown: progress bars while they run, a line when they have ended."""

from __future__ import annotations

import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pixfs.cli.sizes import format_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from pixfs.cli.server_session import Session

__all__ = ["count_ended", "describe", "watch_jobs"]

_FINAL = ("SUCCEEDED", "FAILED", "CANCELLED")
_POLL_S = 0.5


def watch_jobs(session: Session, numbers: list[int]) -> int:
    """A bar for each job until all have ended; 1 when one did not succeed. ServerError."""
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
    waiting: set[int] = set()
    console = Console(stderr=True, highlight=False)
    shown = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    try:
        with shown as progress:
            bars = {number: progress.add_task(f"job {number}", facts="") for number in numbers}
            while True:
                for number in [n for n in numbers if n not in ended]:
                    job = session.get(f"/jobs/{number}", [])
                    _show(progress.update, bars[number], job)
                    if not console.is_terminal:
                        _tell_wait(job, waiting)
                    if job["state"] in _FINAL:
                        ended[number] = job
                if len(ended) == len(bars):
                    break
                time.sleep(_POLL_S)
    except KeyboardInterrupt:
        going = " ".join(str(number) for number in numbers if number not in ended)
        print(f"not watched any more, but going on: pixfs jobs cancel {going}", file=sys.stderr)
        raise
    for number in numbers:
        print(_summary(ended[number]))
    return 0 if all(job["state"] == "SUCCEEDED" for job in ended.values()) else 1


def count_ended(job: dict[str, Any]) -> int:
    """Files of a job that are done, skipped or failed."""
    return int(job["files_done"] + job["files_skipped"] + job["files_failed"])


def describe(job: dict[str, Any]) -> str:
    """What a job is about: ``hot:sh010, +2 -> near:show``."""
    sources = job["sources"]
    text = f"{job['source']}:{sources[0] if sources else ''}"
    if len(sources) > 1:
        text += f", +{len(sources) - 1}"
    if job["target"]:
        text += f" -> {job['target']}:{job['destination']}"
    return text


def _show(update: Callable[..., None], bar: Any, job: dict[str, Any]) -> None:  # noqa: ANN401
    # Files count beside bytes: a thousand empty frames are work, too.
    moved = job["bytes_done"] + job["bytes_moving"] + count_ended(job)
    update(
        bar,
        description=f"job {job['id']} {job['kind']} {job['state'].lower()}",
        completed=moved,
        total=(job["bytes_total"] + job["files_total"]) or None,
        facts=_facts(job),
    )


def _tell_wait(job: dict[str, Any], waiting: set[int]) -> None:
    """Says once that a job waits for more than its turn, where no bar does."""
    if job["state"] not in ("WAITING", "RUNNING") or not job["message"]:
        waiting.discard(job["id"])
    elif job["id"] not in waiting:
        waiting.add(job["id"])
        print(f"job {job['id']} {job['message']}", file=sys.stderr)


def _facts(job: dict[str, Any]) -> str:
    if job["state"] in ("WAITING", "RUNNING") and job["message"]:
        return str(job["message"])
    if job["state"] == "RUNNING" and not job["files_total"]:
        return "listing the sources"
    rate = f"{format_size(job['bytes_per_second'])}/s"
    return f"{count_ended(job)}/{job['files_total']} files, {rate}"


def _summary(job: dict[str, Any]) -> str:
    text = f"job {job['id']} {job['state']}: {job['files_done']} done"
    text += f", {job['files_skipped']} skipped, {job['files_failed']} failed"
    if job["bytes_done"]:
        text += f"; {format_size(job['bytes_done'])}{_duration(job)}"
    if job["message"]:
        text += f"; {job['message']}"
    if job["files_failed"]:
        text += f"; pixfs jobs errors {job['id']} tells why"
    return text


def _duration(job: dict[str, Any]) -> str:
    began, ended = job["started_at"], job["finished_at"]
    if not began or not ended:
        return ""
    took = datetime.fromisoformat(ended) - datetime.fromisoformat(began)
    return f" in {took.total_seconds():.0f} s"
