"""The core's files, storages and jobs as Vidispine's documents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from server.api.vidispine.documents import (
    Component,
    FileDocument,
    FileMetadata,
    Item,
    JobDocument,
    JobLog,
    JobProgress,
    JobTask,
    KeyValue,
    Shape,
    StorageDocument,
    StorageMethodDocument,
)
from server.api.vidispine.ids import vx
from server.api.vidispine.words import (
    JOB_STATES,
    JOB_TYPES,
    PRIORITIES,
    priority_name,
    task_word,
    word,
)
from server.core.catalog.uris import file_uri
from server.core.errors import InvalidValue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from server.api.vidispine.parameters import Parameters
    from server.core.catalog import CatalogFile, CatalogStorage, Method
    from server.core.catalog.catalog import Catalog
    from server.core.jobs import Job
    from server.core.permissions import Actor
    from server.work.files import Space

__all__ = [
    "UriChoice",
    "Views",
    "file_row",
    "job_document",
    "job_pairs",
    "job_row",
    "method_document",
    "priority_number",
    "storage_document",
]

# Data of a job that are numbers of the core, which clients know as ids.
_NUMBERS = frozenset({"fileId", "targetFileId", "item"})


def priority_number(parameters: Parameters) -> int:
    """The core's priority of the parameter ``priority``. Raises InvalidValue."""
    name = (parameters.text("priority") or "MEDIUM").strip().upper()
    if name not in PRIORITIES:
        raise InvalidValue("priority", f"one of {', '.join(PRIORITIES)}")
    return PRIORITIES[name]


@dataclass(frozen=True, slots=True)
class UriChoice:
    """Which of the URIs of a file a client asks for; "" and () do not choose.

    Attributes:
        method_type: "" means the methods without a type, as Vidispine does.
    """

    method_type: str = ""
    storage_type: str = ""
    scheme: str = ""
    method_metadata: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, parameters: Parameters) -> UriChoice:
        """What ``methodType``, ``storageType``, ``scheme`` and ``methodMetadata`` say."""
        pairs = [value.partition("=") for value in parameters.values("methodMetadata")]
        method_type = parameters.text("methodType") or ""
        return cls(
            "" if method_type.upper() == "NONE" else method_type,
            (parameters.text("storageType") or "").upper(),
            (parameters.text("scheme") or "").lower(),
            tuple((key, value) for key, _, value in pairs),
        )

    def takes(self, method: Method) -> bool:
        """Whether a method's URIs are wanted."""
        return (
            method.type.upper() == self.method_type.upper()
            and self.scheme in ("", urlsplit(method.uri).scheme.lower())
            and all(method.metadata.get(key) == value for key, value in self.method_metadata)
        )


class Views:
    """Files as documents; looks each storage up once for all of a request's files."""

    def __init__(self, catalog: Catalog, actor: Actor, choice: UriChoice) -> None:
        self._catalog = catalog
        self._actor = actor
        self._choice = choice
        self._storages: dict[int, CatalogStorage] = {}

    async def file(self, file: CatalogFile) -> FileDocument:
        """One file."""
        storage = self._storages.get(file.storage_id)
        if storage is None:
            storage = await self._catalog.storage(self._actor, file.storage_id)
            self._storages[file.storage_id] = storage
        uris: tuple[str, ...] = ()
        if self._choice.storage_type in ("", storage.traits.type):
            uris = tuple(
                file_uri(method, file.path)
                for method in storage.methods
                if self._choice.takes(method)
            )
        return FileDocument(
            id=vx(file.id),
            path=file.path,
            uri=uris,
            state=file.state.value,
            # A size that is not known is -1: some clients insist on a number.
            size=-1 if file.size is None else file.size,
            hash=file.hash or None,
            timestamp=file.timestamp,
            refresh_flag=file.refresh_flag,
            storage=vx(file.storage_id),
            item=None
            if file.items is None
            else tuple(
                Item(
                    id=vx(item.id),
                    shape=tuple(
                        Shape(
                            id=vx(shape.id),
                            component=tuple(Component(id=vx(each.id)) for each in shape.components),
                        )
                        for shape in item.shapes
                    ),
                )
                for item in file.items
            ),
        )

    async def files(self, files: Sequence[CatalogFile]) -> tuple[FileDocument, ...]:
        """Several files."""
        return tuple([await self.file(file) for file in files])


def file_row(file: CatalogFile) -> tuple[object, ...]:
    """A file as text: id, path, size, state, timestamp."""
    size = -1 if file.size is None else file.size
    return vx(file.id), file.path, size, file.state.value, file.timestamp


def method_document(method: Method) -> StorageMethodDocument:
    """A storage method."""
    return StorageMethodDocument(
        id=vx(method.id),
        uri=method.uri,
        bandwidth=method.bandwidth,
        read=method.read,
        write=method.write,
        browse=method.browse,
        last_success=method.last_success,
        last_failure=method.last_failure,
        failure_message=method.failure_message or None,
        type=method.type or "NONE",
        metadata=_metadata(method.metadata),
    )


def storage_document(storage: CatalogStorage, space: Space) -> StorageDocument:
    """A storage and its room."""
    traits = storage.traits
    is_ready = space.state == "available"
    fresh = storage.freshness
    known = dict(traits.metadata) | {
        "pixfs.name": storage.storage.name,
        "pixfs.kind": storage.storage.kind.value,
        "pixfs.index.state": fresh.state,
    }
    if fresh.error:
        known["pixfs.index.error"] = fresh.error
    return StorageDocument(
        id=vx(storage.storage.id),
        state="READY" if is_ready else "OFFLINE",
        type=traits.type,
        capacity=space.total_bytes if traits.capacity is None else traits.capacity,
        free_capacity=space.free_bytes,
        bandwidth=traits.bandwidth,
        timestamp=fresh.fresh_at,
        method=tuple(method_document(method) for method in storage.methods),
        metadata=_metadata(known),
        low_watermark=traits.low_watermark,
        high_watermark=traits.high_watermark,
        low_watermark_percentage=traits.low_watermark_percentage,
        high_watermark_percentage=traits.high_watermark_percentage,
        auto_detect=traits.auto_detect,
        show_importables=traits.show_importables,
        scan_interval=traits.scan_interval_s,
    )


def _metadata(values: Mapping[str, str]) -> FileMetadata | None:
    if not values:
        return None
    return FileMetadata(field=tuple(KeyValue(key=key, value=values[key]) for key in values))


def job_document(
    job: Job, data: Mapping[str, str] | None, *, whole: bool = False, error: str = ""
) -> JobDocument:
    """A job; ``whole`` with what it has done so far, and the ``error`` of the first of its files
    that failed."""
    error = job.message or error
    return JobDocument(
        job_id=vx(job.id),
        user=job.owner or "system",
        # A job that waits has not started; clients insist on a time all the same.
        started=job.started_at or job.created_at,
        finished=job.finished_at,
        status=JOB_STATES[job.state],
        type=JOB_TYPES[job.kind],
        priority=priority_name(job.priority),
        data=None if data is None else job_pairs(data, error if whole else ""),
        total_steps=1 if whole else None,
        log=JobLog(task=(_task(job, error),)) if whole else None,
    )


def job_pairs(data: Mapping[str, str], error: str) -> tuple[KeyValue, ...]:
    """A job's data as it is told, with why it failed where clients look for that."""
    told = {key: _datum(key, value) for key, value in data.items()}
    if error:
        told["errorMessage"] = error
    return tuple(KeyValue(key=key, value=value) for key, value in told.items())


def _datum(key: str, value: str) -> str:
    return vx(int(value)) if key in _NUMBERS and value.isdecimal() else value


def _task(job: Job, error: str) -> JobTask:
    if job.bytes_total:
        progress = JobProgress(
            total=job.bytes_total, unit="bytes", value=job.bytes_done + job.bytes_moving
        )
    else:
        ended = job.files_done + job.files_skipped + job.files_failed
        percent = 100 * ended // job.files_total if job.files_total else 0
        progress = JobProgress(total=100, unit="percent", value=percent)
    return JobTask(
        step=1,
        attempts=1,
        status=JOB_STATES[job.state],
        timestamp=job.finished_at or job.started_at or job.created_at,
        description=_description(job),
        progress=progress,
        error_message=error or None,
        id=job.id,
    )


def _description(job: Job) -> str:
    """What a job does, and what it waits for while it cannot."""
    text = f"{task_word(job.kind)} {job.label}".strip()
    return text if job.waits is None else f"{text}; {job.waits.told(word)}"


def job_row(job: Job) -> tuple[object, ...]:
    """A job as text: id, state, type, priority, start."""
    document = job_document(job, None)
    return document.job_id, document.status, document.type, document.priority, document.started
