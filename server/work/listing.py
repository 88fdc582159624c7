"""Folders as people see them: numbered files grouped into sequences, with sizes and states.

Synchronous, for threads. Names are all read, files only looked at for the page that is shown and
never more than a fixed number of them: a sequence of a million frames must not hold a page up.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from pixfs.sequences import FrameSequence, frame_range, group
from server.work.directory import Directory, kind_of
from server.work.errors import StorageError
from server.work.mounted import PixfsMount
from server.work.s3.bucket import Bucket
from server.work.storage import is_part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from server.work.storage import Kind, Storage

__all__ = ["Details", "Item", "Page", "details", "list_page"]

# What looking at the files of one page may cost; beyond, sizes and states are left out. A file on
# a mount takes three requests to its daemon, any other one system call.
_BUDGET = 200_000
_COST_ON_A_MOUNT = 20
_PREFIX = "user.pixfs."
_DETAILS = ("state", "reason", "format", "ratio", "codec", "level", "hash", "encoded_at")


@dataclass(frozen=True, slots=True)
class Name:
    """A name in a folder; size and time only where listing it told them."""

    name: str
    kind: Kind
    size: int | None = None
    mtime_ns: int | None = None


@dataclass(slots=True)
class Item:
    """One line of a listing: a folder, a file, a link, or a sequence of files.

    Attributes:
        name: of a sequence with its frame range in brackets.
        frames: the frame range, "" for what is no sequence.
        count: how many files it stands for.
        size: bytes as readers see them, all together; None when not looked at.
        stored: bytes they take on the storage; None when that is not known.
        states: how many files are in which state; empty off a PixFS mount.
        mtime_ns: the newest file's.
    """

    name: str
    kind: Kind
    frames: str = ""
    count: int = 1
    size: int | None = None
    stored: int | None = None
    mtime_ns: int | None = None
    states: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Page:
    """Some lines of a listing, and how many there are in all."""

    items: list[Item]
    total: int


@dataclass(frozen=True, slots=True)
class Details:
    """One file or folder; ``control`` is what the mount tells of a file, by its short names."""

    kind: Kind
    size: int
    stored: int | None
    mtime_ns: int
    mode: int
    control: dict[str, str]


def list_page(
    place: Storage,
    path: str,
    *,
    offset: int = 0,
    limit: int = 1000,
    grouped: bool = True,
    shown: Callable[[str], bool] = lambda name: True,
) -> Page:
    """A folder's lines from ``offset`` on: folders first, then the rest, each by name.

    ``shown`` says which names there are for whoever asks. Raises FileError, OSError, StorageError.
    """
    names = [found for found in _names(place, path) if shown(found.name)]
    if grouped:
        lines = _lines(names)
        total, chosen = len(lines), lines[offset : offset + limit]
    else:
        names.sort(key=lambda found: (found.kind != "folder", found.name))
        total, chosen = len(names), [_line(found) for found in names[offset : offset + limit]]
    look = _Look(place, path)
    try:
        items = [look.at(sequence, kind) for kind, sequence in chosen]
    finally:
        look.close()
    return Page(items, total)


def details(place: Storage, path: str) -> Details:
    """What is known of one file or folder. Raises FileError, OSError, StorageError."""
    entry = place.stat(path)
    control: dict[str, str] = {}
    stored: int | None = None
    if isinstance(place, PixfsMount) and entry.kind == "file":
        folder, _, name = path.rpartition("/")
        with place.root.folder(folder) as fd:
            for key in (*_DETAILS, "size.stored"):
                value = _control(fd, name, key)
                if value:
                    control[key] = value
        stored = int(control.pop("size.stored", "") or 0) or None
    return Details(entry.kind, entry.size, stored, entry.mtime_ns, entry.mode, control)


def _names(place: Storage, path: str) -> Iterator[Name]:
    if isinstance(place, Bucket):
        yield from _names_in_bucket(place, path)
        return
    if not isinstance(place, Directory):
        raise TypeError(f"{type(place).__name__} cannot be listed")
    with place.root.folder(path) as fd, os.scandir(fd) as entries:
        for entry in entries:
            if is_part(entry.name):
                continue
            kind: Kind = "other"
            if entry.is_symlink():
                kind = "link"
            elif entry.is_dir(follow_symlinks=False):
                kind = "folder"
            elif entry.is_file(follow_symlinks=False):
                kind = "file"
            yield Name(entry.name, kind)


def _names_in_bucket(bucket: Bucket, path: str) -> Iterator[Name]:
    # A key is the storage's prefix and the path; less the last letter it is the folder's prefix.
    prefix = bucket.key(f"{path}/x" if path else "x")[:-1]
    known = set(bucket.names(path))
    pages = bucket.client.pages("list_objects_v2", Bucket=bucket.name, Prefix=prefix, Delimiter="/")
    try:
        for page in pages:
            for found in page.get("CommonPrefixes", []):
                name = found["Prefix"][len(prefix) :].rstrip("/")
                if name in known:
                    yield Name(name, "folder")
            for found in page.get("Contents", []):
                name = found["Key"][len(prefix) :]
                if name in known:
                    mtime_ns = int(found["LastModified"].timestamp()) * 10**9
                    yield Name(name, "file", found["Size"], mtime_ns)
    except (BotoCoreError, ClientError) as error:
        raise StorageError(f"the bucket cannot be listed: {type(error).__name__}") from error


def _line(found: Name) -> tuple[Kind, FrameSequence[Name]]:
    return found.kind, FrameSequence(found.name, "", 0, ((None, found),))


def _lines(names: Iterable[Name]) -> list[tuple[Kind, FrameSequence[Name]]]:
    """The lines of a listing in their order; only files form sequences."""
    files: list[tuple[str, Name]] = []
    lines: list[tuple[Kind, FrameSequence[Name]]] = []
    for found in names:
        if found.kind == "file":
            files.append((found.name, found))
        else:
            lines.append(_line(found))
    lines += [("file", sequence) for sequence in group(files)]
    return sorted(lines, key=lambda line: (line[0] != "folder", line[1].name))


class _Look:
    """Looks at the files of a page, as long as its budget lasts."""

    def __init__(self, place: Storage, path: str) -> None:
        self._left = _BUDGET
        self._tells_states = isinstance(place, PixfsMount)
        self._cost = _COST_ON_A_MOUNT if self._tells_states else 1
        self._fd: int | None = None
        if isinstance(place, Directory):
            self._fd = place.root.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def close(self) -> None:
        """Close the folder."""
        if self._fd is not None:
            os.close(self._fd)

    def at(self, sequence: FrameSequence[Name], kind: Kind) -> Item:
        """The line of a sequence; of one that is larger than the budget no sizes."""
        numbers = [number for number, _ in sequence.frames if number is not None]
        several = len(sequence.frames) > 1
        only = sequence.frames[0][1]
        item = Item(
            name=sequence.name if several else only.name,
            kind=kind,
            frames=frame_range(numbers, sequence.width) if several else "",
            count=len(sequence.frames),
        )
        cost = len(sequence.frames) * self._cost
        if kind != "folder" and cost <= self._left:
            self._left -= cost
            self._measure(item, [found for _, found in sequence.frames])
        return item

    def _measure(self, item: Item, files: list[Name]) -> None:
        sizes, stored, times = 0, 0, []
        states: Counter[str] = Counter()
        for found in files:
            size, mtime_ns = found.size, found.mtime_ns
            if self._fd is not None:
                try:
                    st = os.stat(found.name, dir_fd=self._fd, follow_symlinks=False)
                except FileNotFoundError:  # removed since it was listed
                    continue
                size, mtime_ns = st.st_size, st.st_mtime_ns
                if stat.S_ISREG(st.st_mode) and self._tells_states:
                    states[_control(self._fd, found.name, "state") or "unknown"] += 1
                    text = _control(self._fd, found.name, "size.stored") or ""
                    stored += int(text) if text.isdecimal() else size
                item.kind = kind_of(st.st_mode)
            sizes += size or 0
            times.append(mtime_ns or 0)
        item.size = sizes
        item.stored = stored if self._tells_states and item.kind == "file" else None
        item.mtime_ns = max(times, default=None)
        item.states = dict(sorted(states.items()))


def _control(fd: int, name: str, key: str) -> str | None:
    """A control attribute of a file in an open folder, None when it has none.

    Through /proc: there is no getxattrat, and opening each file would count as reading it. The
    name's own link is not followed, and the folder is the one that is open.
    """
    try:
        value = os.getxattr(f"/proc/self/fd/{fd}/{name}", _PREFIX + key, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP, errno.ENOENT):
            return None
        raise
    return value.decode("utf-8", "replace")
