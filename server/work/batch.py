"""What a batch is and what comes of it: plain values that cross threads and machines."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.core.access import Reach

__all__ = ["Action", "Batch", "File", "Options", "Outcome", "Overwrite", "StorageSpec", "Verify"]

Action = Literal[
    "copy", "compress", "restore", "verify", "delete", "unlink-source", "rename", "index"
]
Overwrite = Literal["fail", "skip", "newer", "replace"]
Verify = Literal["hash", "size"]


@dataclass(frozen=True, slots=True)
class StorageSpec:
    """How a worker opens a storage.

    Attributes:
        kind: "pixfs", "directory" or "s3".
        root: a folder's absolute path, or ``s3://bucket/prefix``.
        settings: endpoint, region, credentials of a bucket; ``backing`` of a mount.
        reach: folders that links may lead to, None for the whole storage.
    """

    kind: Literal["pixfs", "directory", "s3"]
    root: str
    settings: dict[str, Any] = field(default_factory=dict, repr=False)
    reach: Reach | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """How a job wants its files treated.

    Attributes:
        verify: "hash" reads back what landed and compares; "size" trusts the storage.
        stored: move containers as they are stored, where both sides can.
        expected: by path, the hash (``sha1:HEX``, ``sha256:HEX``) that "index" must find.
    """

    overwrite: Overwrite = "fail"
    verify: Verify = "hash"
    stored: bool = True
    expected: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class File:
    """One file of a batch, as it was when the job was planned.

    Attributes:
        number: its place in the job; never changes.
        path: on the source storage.
        target: on the target storage; "" where there is none.
        version: of the source when it was listed; when its bytes were copied for
            "unlink-source".
    """

    number: int
    path: str
    target: str
    size: int
    mtime_ns: int
    kind: Literal["file", "link"] = "file"
    version: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some files of a job, to be worked on by one worker. Doing it twice does it once.

    Attributes:
        id: names the job and the batch in it; lower-case letters, digits and dashes.
        attempt: counts from 1; no two write under the same hidden names.
        lost: earlier attempts that may have left something: they were never heard of again, or
            were stopped within a large file.
        began_ns: when the first attempt was given out, 0 where nobody knows.
        announced: folders that it may make at the target, because their makers are known; None
            for any.
    """

    id: str
    attempt: int
    action: Action
    source: StorageSpec
    target: StorageSpec | None
    options: Options
    files: tuple[File, ...]
    lost: tuple[int, ...] = ()
    began_ns: int = 0
    announced: frozenset[str] | None = None

    def part(self, file: File, attempt: int | None = None) -> str:
        """The id of this attempt at one file."""
        return f"{self.id}-{attempt or self.attempt}-{file.number}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file.

    Attributes:
        state: "skipped" was right as it was, or was to be left by the overwrite policy.
        size: bytes as a reader sees them.
        stored: bytes that really moved.
        version: of the source the bytes were read from.
        code, reason: why it failed or was skipped.
        is_transient: whether trying again may help.
        is_proven: False of a verified file that could be read, and has nothing that says what it
            should be.
    """

    number: int
    state: Literal["done", "skipped", "failed"]
    size: int = 0
    stored: int = 0
    mtime_ns: int = 0
    version: str = ""
    digest: str = ""
    code: str = ""
    reason: str = ""
    is_transient: bool = False
    is_proven: bool = True
