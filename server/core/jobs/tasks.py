"""The files of tasks: how they are cut, kept and counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from server.core.jobs.states import JobState
from server.core.jobs.tables import jobs, tasks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from sqlalchemy.engine import Connection

__all__ = ["TaskFile", "add_tasks", "cut", "kept_path", "shown_path", "task_values"]

# What one worker takes at a time. It works for two seconds and brings back the rest, so these
# only bound what a row holds and how finely a job spreads over workers.
_BATCH_FILES = 512
_BATCH_BYTES = 512 << 20


@dataclass(frozen=True, slots=True)
class TaskFile:
    """One file of a task.

    Attributes:
        number: its place in the job; never changes.
        version: of the source when it was listed, or when it was copied.
        tries: how often it has failed in a way that may pass.
    """

    number: int
    path: str
    target: str
    size: int
    mtime_ns: int
    kind: str = "file"
    version: str = ""
    tries: int = 0

    def row(self) -> list[Any]:
        """As it stands in the tasks' files column."""
        return [
            self.number,
            kept_path(self.path),
            kept_path(self.target),
            self.size,
            self.mtime_ns,
            self.kind,
            self.version,
            self.tries,
        ]

    @classmethod
    def of(cls, row: Sequence[Any]) -> TaskFile:
        """From that column."""
        number, path, target, size, mtime_ns, kind, version, tries = row
        return cls(
            number, shown_path(path), shown_path(target), size, mtime_ns, kind, version, tries
        )


def kept_path(path: str) -> str:
    """A path as JSON can hold it in every database: no name's bytes that are not UTF-8."""
    if path.isascii() or not _has_escapes(path):
        return path
    return "\x01" + path.encode("utf-8", "surrogateescape").hex()


def _has_escapes(path: str) -> bool:
    return any("\udc80" <= character <= "\udcff" for character in path)


def shown_path(kept: str) -> str:
    """The path a column holds."""
    if kept.startswith("\x01"):
        return bytes.fromhex(kept[1:]).decode("utf-8", "surrogateescape")
    return kept


def cut(files: Iterable[TaskFile]) -> Iterator[list[TaskFile]]:
    """The files in batches."""
    batch: list[TaskFile] = []
    size = 0
    for file in files:
        if batch and (len(batch) >= _BATCH_FILES or size + file.size > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += file.size
    if batch:
        yield batch


def task_values(
    job_id: int,
    stage: int,
    action: str,
    files: Sequence[TaskFile],
    *,
    priority: int,
    now: datetime,
    state: JobState = JobState.WAITING,
) -> dict[str, Any]:
    """The values of a new task."""
    return {
        "job_id": job_id,
        "stage": stage,
        "action": action,
        "state": state,
        "priority": priority,
        "attempt": 0,
        "lost": [],
        "setbacks": 0,
        "not_before": now,
        "files": [file.row() for file in files],
        "files_total": len(files),
        "bytes_total": sum(file.size for file in files),
        "files_ended": 0,
        "files_failed": 0,
        "results": [],
        "token": "",
        "worker": "",
        "moved": 0,
    }


def add_tasks(connection: Connection, job_id: int, rows: list[dict[str, Any]]) -> None:
    """Puts tasks of a job's present stage in; those that wait are open."""
    if not rows:
        return
    connection.execute(tasks.insert(), rows)
    waiting = sum(not JobState(row["state"]).is_final for row in rows)
    connection.execute(
        jobs.update().where(jobs.c.id == job_id).values(tasks_open=jobs.c.tasks_open + waiting)
    )
