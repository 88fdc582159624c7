"""One look into a folder of a storage, as a scan needs it: names, sizes and times, nothing opened.

Everything here blocks.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from server.core.catalog.entities import ns_of
from server.core.catalog.rows import is_cataloguable
from server.core.catalog.scans import Listing, Seen
from server.work.directory import Directory
from server.work.errors import StorageError
from server.work.s3.bucket import Bucket
from server.work.storage import is_part

if TYPE_CHECKING:
    from datetime import datetime

    from server.work.storage import Storage as Place

__all__ = ["look", "root_id"]

# A folder that changed less than this ago may change again without its time telling.
_RACY_NS = 2 * 10**9


def root_id(place: Place) -> str:
    """Tells a storage's root from another folder under the same path."""
    if isinstance(place, Directory):
        st = os.fstat(place.root.fd)
        return f"{st.st_dev:x}:{st.st_ino:x}"
    return "bucket"


def look(place: Place, path: str, now: datetime) -> Listing:
    """What is in a folder; links, devices and files that jobs are just writing are left out.

    ``now`` is the time before the look. OSError, FileError, StorageError.
    """
    if isinstance(place, Directory):
        return _look_into_directory(place, path, now)
    if isinstance(place, Bucket):
        return _look_into_bucket(place, path, now)
    raise StorageError("such a storage cannot be scanned")


def _look_into_directory(place: Directory, path: str, now: datetime) -> Listing:
    found: dict[str, Seen] = {}
    folders: list[str] = []
    refused = 0
    base = f"{path}/" if path else ""
    with place.root.folder(path) as fd:
        mtime_ns = os.fstat(fd).st_mtime_ns
        with os.scandir(fd) as entries:
            for entry in entries:
                if is_part(entry.name):
                    continue
                with suppress(FileNotFoundError):  # removed since it was listed
                    is_folder = entry.is_dir(follow_symlinks=False)
                    if not is_folder and not entry.is_file(follow_symlinks=False):
                        continue
                    if not is_cataloguable(base + entry.name):
                        refused += 1
                    elif is_folder:
                        folders.append(entry.name)
                    else:
                        st = os.stat(entry.name, dir_fd=fd, follow_symlinks=False)
                        if stat.S_ISREG(st.st_mode):
                            found[entry.name] = Seen(st.st_size, st.st_mtime_ns)
    is_racy = ns_of(now) - mtime_ns < _RACY_NS
    return Listing(path, 0 if is_racy else mtime_ns, now, found, tuple(folders), refused)


def _look_into_bucket(place: Bucket, path: str, now: datetime) -> Listing:
    found: dict[str, Seen] = {}
    folders: list[str] = []
    refused = 0
    base = f"{path}/" if path else ""
    for entry in place.entries(path):
        name = entry.path[len(base) :]
        if not is_cataloguable(entry.path):
            refused += 1
        elif entry.kind == "folder":
            folders.append(name)
        else:
            found[name] = Seen(entry.size, entry.mtime_ns, entry.version)
    return Listing(path, 0, now, found, tuple(folders), refused)
