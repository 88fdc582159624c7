"""Whether two paths, on whichever storages, are one place.

A folder that is copied into itself nests; a file that is moved onto itself would be deleted, since
its "copy" is whole. Names do not tell: one storage may lie in another, links and bind mounts lead
from one to the other, and a backing directory shows its files under each of its mounts. So folders
are told apart by what they are: device and inode number of the folder and, on a PixFS mount, of
the one behind it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

from pixfs.fuse.mountinfo import mount_of
from pixfs.transfer.places import backing_of, is_same_or_within
from server.work.beneath import split
from server.work.errors import FileError, OverlapError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from server.work.batch import StorageSpec
    from server.work.storage import Storage

__all__ = ["is_same_file", "may_overlap", "refuse_nesting", "refuse_own_backing"]

# Device and inode number, or a path where that cannot be looked at.
_Identity: TypeAlias = tuple[int, int] | str


def may_overlap(source: StorageSpec, target: StorageSpec) -> bool:
    """Whether anything on one storage can be on the other, too."""
    return (source.kind == "s3") == (target.kind == "s3")


def refuse_own_backing(source: StorageSpec, target: StorageSpec) -> None:
    """OverlapError when one storage is a mount and the other its backing directory: copying
    between them would replace a file by itself."""
    if {source.kind, target.kind} != {"pixfs", "directory"}:
        return
    mount, plain = (source, target) if source.kind == "pixfs" else (target, source)
    found = mount_of(os.path.realpath(mount.root))
    behind = mount.settings.get("backing") or (found.source if found is not None else "")
    if not behind:
        return
    real, behind = os.path.realpath(plain.root), os.path.realpath(behind)
    if is_same_or_within(real, behind) or is_same_or_within(behind, real):
        raise OverlapError("one storage is the other's backing directory: the same files twice")


def refuse_nesting(
    source: Storage, folders: Iterable[str], target: Storage, destination: str
) -> None:
    """OverlapError when the destination is one of these folders of the source, or lies in one."""
    above = set(_lineage(_nearest(target, destination)))
    for folder in folders:
        # One that has gone meanwhile holds nothing.
        with suppress(OSError, FileError):
            if not above.isdisjoint(_identities(source.location(folder))):
                name = repr(folder) if folder else "the storage as a whole"
                raise OverlapError(f"{name} would be copied or moved into itself")


def is_same_file(source: Storage, path: str, target: Storage, there: str) -> bool:
    """Whether both are one name in one folder, whatever leads there. OSError, FileError."""
    (folder, name), (target_folder, target_name) = split(path), split(there)
    if name != target_name:
        return False
    found = set(_identities(source.location(folder)))
    return not found.isdisjoint(_identities(target.location(target_folder)))


def _nearest(storage: Storage, path: str) -> str:
    """Where a folder is, or the nearest one above it that is there and may be used."""
    while path:
        try:
            return storage.location(path)
        except (OSError, FileError):
            path = split(path)[0]
    return storage.location("")


def _lineage(location: str) -> Iterator[_Identity]:
    """The identities of a folder and of all above it, also of those behind its mount."""
    for way in _ways(location):
        current, parent = way, os.path.dirname(way)
        yield _identity(current)
        while parent != current:
            current, parent = parent, os.path.dirname(parent)
            yield _identity(current)


def _identities(location: str) -> Iterator[_Identity]:
    for way in _ways(location):
        yield _identity(way)


def _ways(location: str) -> Iterator[str]:
    """A folder's own path, and the path behind it where it lies on a mount."""
    yield location
    mount = mount_of(location) if location.startswith("/") else None
    if mount is not None and mount.is_pixfs:
        # Where we may not look there is still the name that every mount of it tells.
        behind = backing_of(mount.mountpoint) or mount.source
        yield os.path.normpath(os.path.join(behind, os.path.relpath(location, mount.mountpoint)))


def _identity(location: str) -> _Identity:
    """What a folder is; buckets, and what this process may not see, are their names."""
    if not location.startswith("/"):
        return location
    try:
        found = os.stat(location)
    except OSError:
        return location
    return found.st_dev, found.st_ino
