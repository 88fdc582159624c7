"""What the catalogue tells and is asked: plain values, all of them immutable.

A *file* here is an entity: an id that stands for one path of one storage for ever. A path change
makes a new entity. Bytes are for ``server.work``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from server.core.storages import Storage

__all__ = [
    "MAX_PAGE",
    "CatalogFile",
    "CatalogStorage",
    "ComponentRef",
    "FilePage",
    "FileQuery",
    "FileState",
    "Freshness",
    "ImportOptions",
    "ItemRef",
    "JobOptions",
    "Method",
    "MethodChange",
    "PathMatch",
    "ShapeRef",
    "Sort",
    "SortKey",
    "StorageChange",
    "StorageTraits",
    "TransferOptions",
]

# Files of one answer; whoever wants more asks again.
MAX_PAGE = 1000


class FileState(StrEnum):
    """What is known of a file.

    OPEN is still being written to, CLOSED has come to rest, MISSING was there and is not,
    LOST has been missing for long. The others are set by whoever knows better.
    """

    NONE = "NONE"
    OPEN = "OPEN"
    CLOSED = "CLOSED"
    UNKNOWN = "UNKNOWN"
    MISSING = "MISSING"
    LOST = "LOST"
    TO_APPEAR = "TO_APPEAR"
    TO_BE_DELETED = "TO_BE_DELETED"
    BEING_READ = "BEING_READ"
    ARCHIVED = "ARCHIVED"
    AWAITING_SYNC = "AWAITING_SYNC"


@dataclass(frozen=True, slots=True)
class ComponentRef:
    """A component of a shape: one file, or none any more."""

    id: int


@dataclass(frozen=True, slots=True)
class ShapeRef:
    """A rendition of an item."""

    id: int
    components: tuple[ComponentRef, ...]


@dataclass(frozen=True, slots=True)
class ItemRef:
    """An item, with those of its shapes and components that a file belongs to."""

    id: int
    shapes: tuple[ShapeRef, ...]


@dataclass(frozen=True, slots=True)
class CatalogFile:
    """A file entity.

    Attributes:
        path: beneath the storage's root, no leading slash.
        size: bytes as a reader sees them, None when the file was never seen.
        timestamp: when the file was last written to, or, when it was never seen, when its entity
            last changed.
        hash: SHA-1 in hex, "" while it is not known.
        refresh_flag: 1 while the state may still change by itself.
        items: None unless they were asked for.
    """

    id: int
    storage_id: int
    path: str
    state: FileState
    size: int | None
    timestamp: datetime
    hash: str
    refresh_flag: int
    items: tuple[ItemRef, ...] | None = None


class SortKey(StrEnum):
    """What a list can be sorted by."""

    FILE_ID = "fileId"
    SIZE = "size"
    STATE = "state"
    TIMESTAMP = "timestamp"
    FILENAME = "filename"
    EXTENSION = "extension"


@dataclass(frozen=True, slots=True)
class Sort:
    """One key of an order."""

    key: SortKey = SortKey.FILE_ID
    descending: bool = False


@dataclass(frozen=True, slots=True)
class PathMatch:
    """Which paths are meant, as a client wrote it.

    Attributes:
        text: "" and "/" are the whole storage; with a slash at its end a folder's contents,
            without one a path and what lies beneath it. Dots and doubled slashes are resolved.
        recursive: also what lies deeper.
        wildcard: "?" is one character, "*" any number, "\\" quotes; without ``recursive`` they
            stay within one name.
        ignorecase: capitals and small letters are the same.
    """

    text: str = ""
    recursive: bool = True
    wildcard: bool = False
    ignorecase: bool = False


@dataclass(frozen=True, slots=True)
class FileQuery:
    """Which files to list, and how.

    Attributes:
        storages: none are all.
        hashes, algorithm: hex; without an algorithm any of those known.
        filter: whether the files belong to an item.
        exclude_queued: leave those out that an import job has been started for.
        first: how many to leave out, from 0.
        number: 0 to `MAX_PAGE`.
        count: whether ``hits`` is wanted.
    """

    storages: tuple[int, ...] = ()
    ids: tuple[int, ...] = ()
    path: PathMatch = PathMatch()
    hashes: tuple[str, ...] = ()
    algorithm: str = ""
    states: tuple[FileState, ...] = ()
    filter: Literal["all", "item", "noitem"] = "all"
    exclude_queued: bool = False
    first: int = 0
    number: int = 10
    sort: tuple[Sort, ...] = (Sort(),)
    count: bool = True
    include_item: bool = False


@dataclass(frozen=True, slots=True)
class Freshness:
    """How far what is listed follows the disk.

    Attributes:
        state: "never" scanned, "scanning", "fresh" after a whole scan, "failed".
        fresh_at: everything on the storage was seen as it was at this time or later; None before
            the first whole scan.
        error: why the last scan came to nothing, "" if it did not.
    """

    state: Literal["never", "scanning", "fresh", "failed"]
    fresh_at: datetime | None
    files_seen: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class FilePage:
    """A page of a list.

    Attributes:
        hits: how many there are in all, None when that was not asked for.
        fresh_at: of the storage of those listed that was scanned longest ago; None when one was
            never scanned.
    """

    files: tuple[CatalogFile, ...]
    hits: int | None
    fresh_at: datetime | None


@dataclass(frozen=True, slots=True)
class Method:
    """A way to reach a storage's files.

    Attributes:
        uri: ends in a slash; a file's URI is this and its escaped path.
        type: "" for the ordinary ones.
    """

    id: int
    uri: str
    read: bool = True
    write: bool = True
    browse: bool = True
    bandwidth: int | None = None
    type: str = ""
    last_success: datetime | None = None
    last_failure: datetime | None = None
    failure_message: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MethodChange:
    """A method as somebody wants it; None leaves a value as it is, or at its default.

    ``uri`` is ``file:///absolute/folder/`` or ``s3://bucket/prefix/``; an S3 method names the
    endpoint in ``metadata`` ("endpoint") unless the server has only one.
    """

    uri: str | None = None
    read: bool | None = None
    write: bool | None = None
    browse: bool | None = None
    bandwidth: int | None = None
    type: str | None = None
    metadata: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class StorageTraits:
    """What a storage says of itself beyond its root.

    Attributes:
        type: LOCAL, SHARED, REMOTE, EXTERNAL, ARCHIVE or EXPORT.
        capacity: bytes; None is the disk's own.
        low_watermark, high_watermark: bytes.
        scan_interval_s: None is the server's default.
    """

    type: str = "LOCAL"
    capacity: int | None = None
    bandwidth: int | None = None
    low_watermark: int | None = None
    high_watermark: int | None = None
    low_watermark_percentage: int | None = None
    high_watermark_percentage: int | None = None
    auto_detect: bool = True
    show_importables: bool = True
    scan_interval_s: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StorageChange:
    """A storage as somebody wants it; None leaves a value as it is, or at its default.

    Attributes:
        name: a new storage gets ``vx-NUMBER`` when there is none.
        methods: of a new storage; the first that can be written to is its root.
    """

    name: str | None = None
    type: str | None = None
    capacity: int | None = None
    bandwidth: int | None = None
    low_watermark: int | None = None
    high_watermark: int | None = None
    low_watermark_percentage: int | None = None
    high_watermark_percentage: int | None = None
    auto_detect: bool | None = None
    show_importables: bool | None = None
    scan_interval_s: int | None = None
    metadata: Mapping[str, str] | None = None
    methods: tuple[MethodChange, ...] = ()


@dataclass(frozen=True, slots=True)
class CatalogStorage:
    """A storage with its traits, methods and freshness. Its room is for ``server.work``."""

    storage: Storage
    traits: StorageTraits
    methods: tuple[Method, ...]
    freshness: Freshness


@dataclass(frozen=True, slots=True)
class JobOptions:
    """What every job takes.

    Attributes:
        priority: 0 to 100.
        notification: an http(s) URL that is told of the end; "" for none.
        notification_form: the face in whose words it is told (`Notify.form`).
        metadata: what a caller gives along and gets back, unread.
    """

    priority: int = 50
    notification: str = ""
    notification_data: str = ""
    notification_form: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TransferOptions(JobOptions):
    """How a file is copied or moved.

    Attributes:
        filename: path on the target; "" keeps the file's own path.
        use_original_filename: take the name the file had when it was imported, if known.
        time_requirement_s: how long the copy must stay before rules may move it.
        limit_bps: at most so many bytes a second; None is no limit of its own.
    """

    move: bool = False
    filename: str = ""
    use_original_filename: bool = False
    time_requirement_s: int | None = None
    limit_bps: int | None = None


@dataclass(frozen=True, slots=True)
class ImportOptions(JobOptions):
    """How a file becomes an item.

    Attributes:
        filename: the file's original name; "" is the name it has.
        external_ids: names of others for the item.
        tags, original, no_transcode: shape tags; asking for a transcode is refused.
        options: the remaining documented parameters as they came, kept with the job.
        item_metadata: initial metadata, an opaque JSON document.
    """

    filename: str = ""
    allow_reimport: bool = False
    external_ids: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    original: str = ""
    no_transcode: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    item_metadata: Mapping[str, Any] = field(default_factory=dict)
