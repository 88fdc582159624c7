"""Jobs about file entities: what is asked of the job engine, and what is noted about it.

Functions run inside a writing transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from server.core.catalog import effects, entities, items, rows
from server.core.catalog.model import FileState
from server.core.catalog.storages import no_storage, require_writable, visible
from server.core.catalog.tables import files, import_queue
from server.core.errors import (
    InUse,
    InvalidValue,
    NotFound,
    Ref,
    WrongState,
)
from server.core.jobs import control
from server.core.jobs.lifecycle import job_row
from server.core.jobs.spec import JobRequest, Notify
from server.core.jobs.states import JobKind, JobState
from server.core.values import check_path

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from server.core.catalog.model import ImportOptions, JobOptions, TransferOptions
    from server.core.permissions import Actor
    from server.core.schema import AnyRow
    from server.core.storages import Storage

__all__ = ["Part", "copy_file", "delete_file", "import_parts", "job_data", "reindex", "repeat"]

# How long a file must have been left alone that nobody has said is complete.
_QUIET_S = 5.0
_MOST_TEXT = 16_384


@dataclass(frozen=True, slots=True)
class Part:
    """A file of a package.

    Attributes:
        path: beneath the storage's root.
        hash: ``sha1:HEX`` or ``sha256:HEX``, as the package names it; "" when it does not.
    """

    path: str
    hash: str = ""


def copy_file(
    connection: Connection,
    actor: Actor,
    file_id: int,
    target_id: int,
    options: TransferOptions,
    now: datetime,
) -> int:
    """A job that copies or moves a file; its number."""
    row = entities.row_of(connection, actor, file_id)
    source = _storage(connection, actor, row.storage_id)
    target = _storage(connection, actor, target_id)
    path = rows.join(row.folder, row.name)
    name = options.filename or path
    if not options.filename and options.use_original_filename and row.original_name:
        name = rows.join(row.folder, row.original_name)
    _, name = entities.checked_place(connection, actor, target_id, name)
    if (target_id, name) == (row.storage_id, path):
        raise InvalidValue("storage", "the file is there already; give it another filename")
    for storage in (target, source) if options.move else (target,):
        require_writable(storage)
    about = _about(options) | {
        "file": file_id,
        "path": path,
        "time_requirement_s": options.time_requirement_s,
    }
    request = JobRequest(
        kind=JobKind.MOVE if options.move else JobKind.COPY,
        source=source.name,
        sources=(path,),
        target=target.name,
        rename=name,
        limit_bps=options.limit_bps,
        exact=True,
        catalog=about,
        **_common(options, row),
    )
    return control.submit(connection, actor, request, source.id, target.id, now)


def delete_file(
    connection: Connection, actor: Actor, file_id: int, options: JobOptions, now: datetime
) -> int:
    """A job that deletes a file and its entity; its number."""
    row = entities.row_of(connection, actor, file_id)
    storage = _storage(connection, actor, row.storage_id)
    require_writable(storage)
    request = JobRequest(
        kind=JobKind.DELETE,
        source=storage.name,
        sources=(rows.join(row.folder, row.name),),
        exact=True,
        catalog=_about(options) | {"file": file_id, "path": rows.join(row.folder, row.name)},
        **(_common(options, row) | {"quiet_s": 0.0}),
    )
    return control.submit(connection, actor, request, storage.id, None, now)


def reindex(connection: Connection, actor: Actor, file_id: int, now: datetime) -> int:
    """A job that looks at a file again; its number."""
    row = entities.row_of(connection, actor, file_id)
    storage = _storage(connection, actor, row.storage_id)
    path = rows.join(row.folder, row.name)
    request = JobRequest(
        kind=JobKind.INDEX,
        source=storage.name,
        sources=(path,),
        exact=True,
        quiet_s=0.0,
        catalog={"file": file_id, "path": path, "parts": [file_id], "data": {}},
    )
    return control.submit(connection, actor, request, storage.id, None, now)


def import_parts(
    connection: Connection,
    actor: Actor,
    file_id: int,
    parts: tuple[Part, ...],
    options: ImportOptions,
    now: datetime,
) -> int:
    """A job that makes an item of a file, or of a package whose ASSETMAP it is; its number.

    InUse when one of the files is imported or being imported and that is not allowed.
    """
    row = entities.row_of(connection, actor, file_id)
    storage = _storage(connection, actor, row.storage_id)
    _check_options(connection, options)
    every = [Part(rows.join(row.folder, row.name)), *parts]
    numbers = [_entity(connection, actor, storage, part.path, now) for part in every]
    if not options.allow_reimport:
        _require_unused(connection, numbers)
    if options.filename:
        name = check_path("filename", options.filename).rpartition("/")[2]
        connection.execute(files.update().where(files.c.id == file_id).values(original_name=name))
    about = _about(options) | {
        "file": file_id,
        "path": every[0].path,
        "parts": numbers,
        "names": list(options.external_ids),
        "item_metadata": dict(options.item_metadata),
        "options": dict(options.options),
    }
    request = JobRequest(
        kind=JobKind.IMPORT,
        source=storage.name,
        sources=tuple(part.path for part in every),
        exact=True,
        expected={part.path: part.hash for part in every if part.hash},
        catalog=about,
        **_common(options, row),
    )
    job_id = control.submit(connection, actor, request, storage.id, None, now)
    effects.queue(connection, job_id, numbers)
    return job_id


def repeat(connection: Connection, actor: Actor, job_id: int, now: datetime) -> int:
    """A new job of what one that succeeded was asked for; its number.

    NotFound when its file has no entity any more, as after a deletion or a move; InUse when an
    import's files belong to its item.
    """
    job = job_row(connection, job_id)
    if job is None:
        raise NotFound("there is no such job", kind="Job", id=job_id)
    if job.state != JobState.SUCCEEDED:
        raise WrongState(
            "a job that is {state} cannot be started anew",
            terms={"state": JobState(job.state)},
            about=Ref("Job", job_id),
        )
    about = dict(job.spec.get("catalog") or {})
    for result in ("new_file", "item"):
        about.pop(result, None)
    parts = about.get("parts", [])
    for number in {about["file"], *parts} if about else ():
        entities.row_of(connection, actor, number)
    if job.kind == JobKind.IMPORT:
        _require_unused(connection, parts)
    spec = dict(job.spec) | ({"catalog": about} if about else {})
    number = control.repeat(connection, actor, job, spec, now)
    if job.kind == JobKind.IMPORT:
        effects.queue(connection, number, parts)
    return number


def _check_options(connection: Connection, options: ImportOptions) -> None:
    if options.tags and not options.no_transcode:
        raise InvalidValue(
            "tag", "nothing is transcoded at an import; leave it out, or give no-transcode=true"
        )
    if options.original and options.original not in options.tags:
        raise InvalidValue("original", "is one of the tags")
    for name in options.external_ids:
        if not 0 < len(name) <= 255 or not name.isprintable():
            raise InvalidValue("id", "an external id has 1 to 255 characters")
    items.require_free_names(connection, options.external_ids)


def _entity(
    connection: Connection, actor: Actor, storage: Storage, path: str, now: datetime
) -> int:
    _, checked = entities.checked_place(connection, actor, storage.id, path)
    there = entities.id_at(connection, [storage.id], checked)
    if there is not None:
        return there
    return entities.enter(connection, storage.id, checked, FileState.OPEN, entities.ns_of(now))


def _require_unused(connection: Connection, numbers: list[int]) -> None:
    used = sa.select(files.c.id).where(files.c.id.in_(numbers) & files.c.has_item)
    queued = sa.select(import_queue.c.file_id).where(import_queue.c.file_id.in_(numbers))
    if (number := connection.execute(used.limit(1)).scalar()) is not None:
        raise InUse(
            "the file has been imported",
            hint="give allowReimport=true, or abandon it",
            about=Ref("File", number),
        )
    if (number := connection.execute(queued.limit(1)).scalar()) is not None:
        raise InUse(
            "the file is being imported",
            hint="wait for the job, or abort it",
            about=Ref("File", number),
        )


def _storage(connection: Connection, actor: Actor, storage_id: int) -> Storage:
    found, _ = visible(connection, actor)
    if storage_id not in found:
        raise no_storage(storage_id)
    return found[storage_id]


def _about(options: JobOptions) -> dict[str, Any]:
    data = dict(options.metadata)
    if options.notification_data:
        data["notificationData"] = options.notification_data
    if sum(len(key) + len(value) for key, value in data.items()) > _MOST_TEXT:
        raise InvalidValue("jobmetadata", f"takes {_MOST_TEXT} characters at most")
    return {"data": data}


def _common(options: JobOptions, row: AnyRow) -> dict[str, Any]:
    return {
        "priority": options.priority,
        "notify": Notify(webhook=options.notification, form=options.notification_form),
        "quiet_s": 0.0 if row.state == FileState.CLOSED else _QUIET_S,
    }


def job_data(spec: Mapping[str, Any]) -> dict[str, str]:
    """What a job's spec tells whoever started it: its metadata as it was given, what an import
    was to be like, and the numbers of the file, the new file and the item."""
    about = spec.get("catalog")
    if not about:
        return {}
    told = {str(key): str(value) for key, value in about["data"].items()}
    told |= {str(key): str(value) for key, value in about.get("options", {}).items()}
    if about.get("names"):
        told["externalId"] = ",".join(about["names"])
    for key, name in (
        ("file", "fileId"),
        ("new_file", "targetFileId"),
        ("item", "item"),
        ("path", "filePath"),
        ("time_requirement_s", "timeRequirement"),
    ):
        if about.get(key) is not None:
            told[name] = str(about[key])
    if spec.get("rename"):
        told["filename"] = str(spec["rename"])
    if spec.get("limit_bps"):
        told["limitRate"] = str(spec["limit_bps"])
    return told
