"""The documents of Vidispine's interface, each field in the order that its schema gives.

A document is a frozen dataclass; ``rendering`` makes XML, JSON and text of it. The wire's name of a
field is its own in camel case; a tuple is an element that may come several times; None is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

__all__ = [
    "Component",
    "Conflict",
    "Document",
    "ExceptionDocument",
    "FileAlreadyExists",
    "FileDocument",
    "FileListDocument",
    "FileMetadata",
    "Forbidden",
    "ImportableFile",
    "ImportableFileListDocument",
    "InvalidInput",
    "Item",
    "JobDocument",
    "JobListDocument",
    "JobLog",
    "JobProblem",
    "JobProblemListDocument",
    "JobProgress",
    "JobTask",
    "KeyValue",
    "Message",
    "NotFoundFault",
    "Nothing",
    "Shape",
    "StorageDocument",
    "StorageListDocument",
    "StorageMethodDocument",
    "StorageMethodListDocument",
    "VersionComponent",
    "VersionDocument",
]


class Document:
    """Base of everything that is sent; ``attributes`` are those fields that XML writes as such.

    ``content`` names the field that is an element's own text, when it has one.
    """

    attributes: ClassVar[frozenset[str]] = frozenset()
    content: ClassVar[str | None] = None
    keeps_none: ClassVar[bool] = False
    """Whether JSON shows what is None, too, as error documents do."""


@dataclass(frozen=True, kw_only=True)
class KeyValue(Document):
    """One pair of metadata or of a job's data."""

    key: str
    value: str


@dataclass(frozen=True, kw_only=True)
class FileMetadata(Document):
    """What is known of a file besides: names and values."""

    field: tuple[KeyValue, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Component(Document):
    """A component of a shape that a file belongs to."""

    id: str


@dataclass(frozen=True, kw_only=True)
class Shape(Document):
    """A shape of an item that a file belongs to."""

    id: str
    component: tuple[Component, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Item(Document):
    """An item that a file belongs to."""

    id: str
    shape: tuple[Shape, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FileDocument(Document):
    """A file: ``size`` in bytes, ``timestamp`` when it was last seen to change; ``item`` only
    where the items were asked for."""

    id: str
    path: str
    uri: tuple[str, ...] = ()
    state: str
    size: int | None = None
    hash: str | None = None
    timestamp: datetime | None = None
    refresh_flag: int | None = None
    storage: str | None = None
    item: tuple[Item, ...] | None = None
    metadata: FileMetadata | None = None


@dataclass(frozen=True, kw_only=True)
class FileListDocument(Document):
    """A page of files; ``hits`` is how many there are in all."""

    hits: int | None = None
    file: tuple[FileDocument, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ImportableFile(Document):
    """A file that belongs to no component, with what was found out about it."""

    file: FileDocument
    metadata: FileMetadata | None = None


@dataclass(frozen=True, kw_only=True)
class ImportableFileListDocument(Document):
    """A page of importable files."""

    hits: int | None = None
    element: tuple[ImportableFile, ...] = ()


@dataclass(frozen=True, kw_only=True)
class JobProgress(Document):
    """How far a task is."""

    attributes = frozenset({"total", "unit"})
    content = "value"

    total: int
    unit: str
    value: int


@dataclass(frozen=True, kw_only=True)
class JobTask(Document):
    """A step of a job."""

    attributes = frozenset({"id"})

    step: int
    attempts: int
    status: str
    timestamp: datetime
    description: str | None = None
    progress: JobProgress | None = None
    error_message: str | None = None
    id: int | None = None


@dataclass(frozen=True, kw_only=True)
class JobLog(Document):
    """A job's steps."""

    task: tuple[JobTask, ...] = ()


@dataclass(frozen=True, kw_only=True)
class JobDocument(Document):
    """A job; ``data`` where one job is told of. Of the fields that clients insist on none is
    optional."""

    job_id: str
    user: str | None = None
    started: datetime | None = None
    finished: datetime | None = None
    status: str
    type: str
    priority: str
    data: tuple[KeyValue, ...] | None = None
    total_steps: int | None = None
    log: JobLog | None = None


@dataclass(frozen=True, kw_only=True)
class JobListDocument(Document):
    """A page of jobs."""

    hits: int | None = None
    job: tuple[JobDocument, ...] = ()


@dataclass(frozen=True, kw_only=True)
class JobProblem(Document):
    """Something that holds jobs up."""

    id: str
    type: str


@dataclass(frozen=True, kw_only=True)
class JobProblemListDocument(Document):
    """What holds jobs up."""

    problem: tuple[JobProblem, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StorageMethodDocument(Document):
    """A way to a storage's files."""

    id: str | None = None
    uri: str
    bandwidth: int | None = None
    read: bool
    write: bool
    browse: bool
    last_success: datetime | None = None
    last_failure: datetime | None = None
    failure_message: str | None = None
    type: str | None = None
    metadata: FileMetadata | None = None


@dataclass(frozen=True, kw_only=True)
class StorageMethodListDocument(Document):
    """A storage's methods."""

    method: tuple[StorageMethodDocument, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StorageDocument(Document):
    """A storage: capacities in bytes."""

    id: str
    state: str
    type: str
    capacity: int | None = None
    free_capacity: int | None = None
    bandwidth: int | None = None
    timestamp: datetime | None = None
    method: tuple[StorageMethodDocument, ...] = ()
    metadata: FileMetadata | None = None
    low_watermark: int | None = None
    high_watermark: int | None = None
    low_watermark_percentage: int | None = None
    high_watermark_percentage: int | None = None
    auto_detect: bool | None = None
    show_importables: bool | None = None
    scan_interval: int | None = None


@dataclass(frozen=True, kw_only=True)
class StorageListDocument(Document):
    """The storages there are."""

    storage: tuple[StorageDocument, ...] = ()


@dataclass(frozen=True, kw_only=True)
class VersionComponent(Document):
    """A part of the system and its version."""

    name: str
    version: str


@dataclass(frozen=True, kw_only=True)
class VersionDocument(Document):
    """The versions of what answers."""

    component: tuple[VersionComponent, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NotFoundFault(Document):
    """There is no such thing."""

    keeps_none = True

    type: str | None = None
    id: str | None = None
    context: str | None = None


@dataclass(frozen=True, kw_only=True)
class Message(Document):
    """A failure, or a refusal, that only has a sentence."""

    keeps_none = True

    message: str | None = None


@dataclass(frozen=True, kw_only=True)
class Forbidden(Document):
    """It may not be done."""

    keeps_none = True

    context: str | None = None
    id: str | None = None
    explanation: str | None = None


@dataclass(frozen=True, kw_only=True)
class Conflict(Document):
    """It does not go with what there is."""

    keeps_none = True

    context: str | None = None
    id: str | None = None
    explanation: str | None = None
    value: str | None = None


@dataclass(frozen=True, kw_only=True)
class InvalidInput(Conflict):
    """A parameter or body that cannot be used; ``context`` names it."""


@dataclass(frozen=True, kw_only=True)
class FileAlreadyExists(Document):
    """There is a file of that path."""

    keeps_none = True

    storage_id: str | None = None
    file_id: str | None = None
    path: str | None = None


@dataclass(frozen=True, kw_only=True)
class Nothing(Document):
    """An element without content."""


@dataclass(frozen=True, kw_only=True)
class ExceptionDocument(Document):
    """A refusal: exactly one of these is given."""

    keeps_none = True

    not_found: NotFoundFault | None = None
    internal_server: Message | None = None
    forbidden: Forbidden | None = None
    not_yet_implemented: Nothing | None = None
    conflict: Conflict | None = None
    invalid_input: InvalidInput | None = None
    license_fault: Message | None = None
    file_already_exists: FileAlreadyExists | None = None
    not_authorized: Message | None = None
