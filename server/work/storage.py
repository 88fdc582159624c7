"""What every storage looks like to the work done on it.

A storage is opened for one batch and closed after it, so that a mount that was restarted, or
credentials that were changed, are met afresh. Paths are normalised text relative to the
storage's root. All calls may block; each object belongs to one thread.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from pixfs.transfer.attributes import Attributes

__all__ = ["Entry", "Finding", "Kind", "Source", "Storage", "Target", "part_name"]

Kind = Literal["file", "folder", "link", "other"]

_PART = re.compile(r"\.[0-9a-z-]+\.pixfs-part\Z")


@dataclass(frozen=True, slots=True)
class Entry:
    """One name on a storage.

    Attributes:
        path: normalised, relative to the root.
        size: bytes as a reader sees them.
        version: changes whenever the bytes may have changed, where the storage has such a
            thing beyond size and mtime; "" where it has not.
        changed_ns: when bytes, name or attributes last changed, by the storage's own clock.
    """

    path: str
    kind: Kind
    size: int
    mtime_ns: int
    mode: int = 0o644
    version: str = ""
    changed_ns: int = 0

    def is_same_as(self, other: Entry) -> bool:
        """Whether both were taken from the same bytes under the same name of one storage."""
        return (self.size, self.mtime_ns, self.version) == (
            other.size,
            other.mtime_ns,
            other.version,
        )


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found out about a file's bytes.

    Attributes:
        damages: a line for each damaged part; empty when all of it can be read.
        is_proven: they have been held against something that says what they should be.
    """

    damages: tuple[str, ...] = ()
    is_proven: bool = True


class Source(Protocol):
    """A file open for reading, from its beginning to its end; ``with`` closes it.

    Attributes:
        entry: the file as it was when it was opened.
        is_stored: the bytes are those of a PXF container that holds the file.
        size: bytes there are to read.
        original: XXH3-128 of the file in hex where the container tells it, else "".
    """

    entry: Entry
    attributes: Attributes
    is_stored: bool
    size: int
    original: str

    def read(self, size: int) -> bytes:
        """The next bytes, at most ``size``; empty at the end. FileError, OSError."""

    def check(self) -> None:
        """Raises FileError ("changed") unless the file still is what it was when opened."""

    def close(self) -> None:
        """Ends the reading."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Target(Protocol):
    """A file being written that nobody sees until it is committed.

    In this order: for each piece ``holds`` and, if it does not, ``write``; ``written``;
    ``prepare``; perhaps `Storage.settle`, then ``fetch`` of what is to be read back; ``finish``;
    perhaps ``digest``; ``commit``. ``keep`` or ``abandon`` at any moment, also after a failed
    commit; after a commit both do nothing. They never raise.
    """

    path: str

    def holds(self, data: bytes) -> bool:
        """Whether an earlier attempt has written this piece, which follows the one before; it
        then need not be written. At the first difference the rest of its work is dropped."""

    def write(self, data: bytes) -> None:
        """Appends."""

    def written(self) -> None:
        """After the last byte: the storage may begin to write what it holds back."""

    def prepare(self) -> None:
        """Sets the attributes."""

    def fetch(self) -> None:
        """Begins to read back from the storage what ``digest`` will want, where that is known to
        be durable: so the storage reads many small files at once."""

    def finish(self) -> None:
        """Makes bytes and attributes durable, unless the storage has been settled since."""

    def digest(self, check: Callable[[], None]) -> str:
        """XXH3-128 in hex of what landed, read back from the storage; ``check`` is called now
        and then, and may raise to end it."""

    def commit(self, *, replace: bool) -> None:
        """Gives the file its name at once and whole; FileExistsError without ``replace``."""

    def keep(self) -> bool:
        """Leaves what was written for a later attempt to go on with, if that is worth while;
        False when it was abandoned instead."""

    def abandon(self) -> bool:
        """Removes what has not been committed; False where something may be left."""


class Storage(Protocol):
    """One storage, open. OSError and FileError concern one path, StorageError all of them.

    Attributes:
        made: the folders it has made.
    """

    made: list[str]

    @property
    def takes_containers(self) -> bool:
        """Whether files can be written as the PXF containers that hold them."""

    def close(self) -> None: ...

    def stat(self, path: str) -> Entry:
        """The entry of a path, a link's own; FileNotFoundError."""

    def location(self, folder: str) -> str:
        """Where a folder really is, links followed: two storages that hold the same one tell the
        same. An absolute path, or what stands for one in a bucket."""

    def walk(self, path: str) -> Iterator[Entry]:
        """Everything below a folder, folders before what is in them, by name. Links are not
        followed; what other jobs are just writing is left out."""

    def names(self, path: str) -> list[str]:
        """The names in one folder, sorted."""

    def open(self, path: str, *, stored: bool) -> Source:
        """Opens a regular file; with ``stored`` as its container if that is how it is kept."""

    def create(
        self,
        path: str,
        attributes: Attributes,
        *,
        part: str,
        stored: bool,
        earlier: Sequence[str] = (),
    ) -> Target:
        """Begins a file. ``part`` is the id of this attempt at it, ``earlier`` are those of others
        that may have left something to go on with; ``stored`` says that what will be written is a
        container."""

    def settle(self, targets: Sequence[Target]) -> None:
        """Makes many prepared files durable at once, where that is quicker than one by one; what
        it cannot is left to each file's ``finish``."""

    def clear_part(self, path: str, part: str, *, resumes: bool) -> None:
        """Removes what an attempt that was cut off has left of ``path``. With ``resumes``
        another attempt follows, and what it can go on with is kept."""

    def missing(self, folders: Iterable[str]) -> list[str]:
        """Which of these folders, and of those above them, are not there; outermost first."""

    def make_folder(self, path: str) -> None:
        """Makes a folder and those above it, where there are none."""

    def set_folder_attributes(self, path: str, mode: int, mtime_ns: int) -> None:
        """Sets a folder's mode and time, after everything in it is there."""

    def read_link(self, path: str) -> str:
        """A symbolic link's target."""

    def make_link(self, path: str, target: str, *, replace: bool) -> None:
        """Makes a symbolic link."""

    def rename(self, source: str, target: str, *, replace: bool) -> None:
        """Renames a file within the storage, at once; FileExistsError without ``replace``."""

    def remove(self, path: str) -> None:
        """Removes a file or a link."""

    def remove_folder(self, path: str) -> None:
        """Removes an empty folder; OSError (ENOTEMPTY) otherwise."""

    def sync(self, folders: Iterable[str]) -> None:
        """Makes the names in these folders durable."""

    def set_state(self, path: str, state: Literal["compressed", "raw"]) -> str:
        """Converts a file on a PixFS mount and returns its state. FileError elsewhere."""

    def find_damage(self, path: str) -> Finding:
        """What can be found out about a file's bytes. May read it all."""


def part_name(part: str) -> str:
    """The name under which an attempt writes: hidden, and no other attempt's."""
    return f".{part}.pixfs-part"


def is_part(name: str) -> bool:
    """Whether a name is that of a file some job is just writing."""
    return _PART.match(name) is not None
