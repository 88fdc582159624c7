"""What the end of a job means to the catalogue, in the transaction that ends it.

Functions run inside a writing transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from server.core.catalog import entities, items, rows
from server.core.catalog.model import FileState
from server.core.catalog.tables import component_files, file_hashes, files, folders, import_queue
from server.core.catalog.uploads import Landed, note_landed, set_hashes
from server.core.jobs.states import JobKind, JobState
from server.core.jobs.tables import jobs, tasks
from server.core.jobs.tasks import TaskFile

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from server.core.schema import AnyRow

__all__ = ["job_ended", "job_retried", "queue"]


def queue(connection: Connection, job_id: int, file_ids: list[int]) -> None:
    """Files that an import has been started for."""
    for number in file_ids:
        connection.execute(import_queue.delete().where(import_queue.c.file_id == number))
        connection.execute(import_queue.insert().values(file_id=number, job_id=job_id))


def job_retried(connection: Connection, job: AnyRow) -> None:
    """An import that is tried again has its files queued again."""
    if job.kind == JobKind.IMPORT:
        queue(connection, job.id, _present(connection, job.spec["catalog"]["parts"]))


def job_ended(connection: Connection, job: AnyRow, now: datetime) -> None:
    """Brings the entities of a job up to what it has done."""
    connection.execute(import_queue.delete().where(import_queue.c.job_id == job.id))
    if job.state != JobState.SUCCEEDED:
        return
    about = dict(job.spec["catalog"])
    kind = JobKind(job.kind)
    if kind in (JobKind.COPY, JobKind.MOVE):
        about |= _copied(connection, job, about, now)
    elif kind is JobKind.DELETE:
        _delete(connection, [about["file"]], now)
    else:
        _indexed(connection, job, about["parts"], now)
        if kind is JobKind.IMPORT:
            about["item"] = _imported(connection, about, now)
    if about != job.spec["catalog"]:
        spec = dict(job.spec) | {"catalog": about}
        connection.execute(jobs.update().where(jobs.c.id == job.id).values(spec=spec))


def _present(connection: Connection, file_ids: list[int]) -> list[int]:
    """Those of the files that still have an entity."""
    query = sa.select(files.c.id).where(files.c.id.in_(file_ids))
    there = {row.id for row in connection.execute(query)}
    return [number for number in file_ids if number in there]


def _rows(connection: Connection, file_ids: list[int]) -> list[AnyRow]:
    query = sa.select(files).where(files.c.id.in_(file_ids))
    return list(connection.execute(query).all())


def _delete(connection: Connection, file_ids: list[int], now: datetime) -> None:
    gone = _rows(connection, file_ids)
    rows.delete(connection, [entities.counted(row) for row in gone])
    for row in gone:
        here = (folders.c.storage_id == row.storage_id) & (folders.c.path == row.folder)
        connection.execute(folders.update().where(here).values(taken_at=now))


def _copied(
    connection: Connection, job: AnyRow, about: dict[str, Any], now: datetime
) -> dict[str, int]:
    """The copy has an entity of its own, which belongs to the same components; after a move the
    old one goes."""
    query = sa.select(tasks.c.files).where(
        (tasks.c.job_id == job.id) & tasks.c.action.in_(("copy", "rename"))
    )
    moved = [TaskFile.of(row) for task in connection.execute(query) for row in task.files]
    if not moved:
        return {}
    file = moved[-1]
    old = _present(connection, [about["file"]])
    hashes = {}
    if old:
        known = sa.select(file_hashes).where(file_hashes.c.file_id == old[0])
        hashes = {row.algorithm: row.value for row in connection.execute(known)}
    target_id = job.target_id
    found = Landed(file.size, file.mtime_ns, hashes)
    new = note_landed(connection, target_id, file.target, found, FileState.CLOSED, now)
    if old and old[0] != new:
        having = sa.select(component_files.c.component_id).where(
            component_files.c.file_id == old[0]
        )
        for row in connection.execute(having).all():
            items.connect(connection, row.component_id, new)
        if job.kind == JobKind.MOVE:
            _delete(connection, old, now)
    return {"new_file": new}


def _indexed(connection: Connection, job: AnyRow, parts: list[int], now: datetime) -> None:
    """What was read of the files is what is known of them."""
    found: dict[str, tuple[int, int, str]] = {}
    query = sa.select(tasks.c.files, tasks.c.results).where(
        (tasks.c.job_id == job.id) & (tasks.c.action == "index")
    )
    for task in connection.execute(query):
        paths = {row[0]: TaskFile.of(row).path for row in task.files}
        for number, size, mtime_ns, digest in task.results:
            found[paths[number]] = (size, mtime_ns, digest)
    for row in _rows(connection, parts):
        path = rows.join(row.folder, row.name)
        if path not in found:
            continue
        size, mtime_ns, digest = found[path]
        values = {
            "size": size,
            "mtime_ns": mtime_ns,
            "changed_at": row.changed_at or now,
            "missing_since": None,
        }
        if row.state in (FileState.OPEN, FileState.MISSING, FileState.LOST, FileState.TO_APPEAR):
            values["state"] = FileState.CLOSED.value
        rows.change(connection, [(entities.counted(row), values)])
        set_hashes(connection, row.id, {entities.HASH: digest})


def _imported(connection: Connection, about: dict[str, Any], now: datetime) -> int:
    parts = _present(connection, about["parts"])
    return items.make_item(connection, about["names"], about["item_metadata"], parts, now)
