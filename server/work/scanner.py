"""Keeps the catalogue to what is on the storages, one scan after another.

A scan goes through the folders of a storage in their order. A folder whose own time is as before
has lost and got no name since, so only the folders in it are looked for; every so often its
files are looked at one by one nevertheless, as they are where some may still be written to. What
differs is written in batches, with the place the scan has come to: a restart goes on from there.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from server.core.catalog import scans
from server.work.errors import FileError, StorageError, file_error
from server.work.glance import look, root_id

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from datetime import datetime

    from server.core.catalog.scans import Known, Listing
    from server.core.database import Database
    from server.core.storages import Storage
    from server.work.storage import Storage as Place

__all__ = ["Scan", "ScanStopped", "Timing"]

log = logging.getLogger(__name__)

_BATCH_FILES = 2000
_BATCH_FOLDERS = 200
_MOST_TOLD = 3


class ScanStopped(Exception):
    """The server ends; the pass goes on with the next one."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How often is looked.

    Attributes:
        interval: between the end of a pass and the next one, where a storage does not say.
        thorough: after so long the files of an unchanged folder are looked at, too.
    """

    interval: timedelta = timedelta(seconds=60)
    thorough: timedelta = timedelta(hours=1)


class Scan:
    """One pass over a storage. Blocks: it runs in a thread, and `stop` may be set by any."""

    def __init__(
        self,
        database: Database,
        storage: Storage,
        place: Place,
        clock: Callable[[], datetime],
        timing: Timing,
        stop: threading.Event,
    ) -> None:
        self._database = database
        self._storage = storage
        self._place = place
        self._clock = clock
        self._timing = timing
        self._stop = stop
        self._listings: list[Listing] = []
        self._gathered = 0
        self._unreadable: list[str] = []

    def run(self) -> None:
        """Does the pass. ScanStopped, StorageError, OSError, FileError, DatabaseError; whoever
        called notes a storage's failure by `scans.fail`."""
        identity = root_id(self._place)
        with self._database.writing() as connection:
            begun = scans.begin(connection, self._storage.id, identity, self._clock())
        self._refuse_unmounted(begun.root_id, identity)
        last = ""
        waiting = [""]
        while waiting:
            if self._stop.is_set():
                self._write(last)
                raise ScanStopped
            path = waiting.pop()
            children = self._visit(path, begun.cursor)
            last = path
            if len(self._listings) >= _BATCH_FOLDERS or self._gathered >= _BATCH_FILES:
                self._write(last)
            waiting += sorted(children, key=_order, reverse=True)
        self._write(last)
        with self._database.writing() as connection:
            scans.finish(connection, self._storage.id, self._told(), self._clock())
        self._expire()

    def _refuse_unmounted(self, known: str, identity: str) -> None:
        """An empty folder in place of a storage with files is a mount point without its mount."""
        if known in ("", identity):
            return
        found = look(self._place, "", self._clock())
        with self._database.reading() as connection:
            n = scans.present(connection, self._storage.id)
        if n and not found.files and not found.folders:
            raise StorageError(
                f"the storage is empty and another folder than before, with {n} files known:"
                " is it mounted?"
            )

    def _visit(self, path: str, cursor: str | None) -> list[str]:
        """Looks into a folder if that is needed; the folders in it that are still to be visited."""
        with self._database.reading() as connection:
            known = scans.known_folder(connection, self._storage.id, path)
        if cursor is not None and _order(path) <= _order(cursor):
            # Done before the restart; those in it that come later are not.
            return [c for c in known.children if not _is_over(c, cursor)]
        try:
            found = self._look(path, known)
        except FileNotFoundError:
            if not path:
                raise
            # Gone since the folder above was looked into; the next pass tells it from there.
            return []
        except (OSError, FileError) as error:
            why = error if isinstance(error, FileError) else file_error(error)
            if why.code not in ("permission", "outside", "not-a-file") or not path:
                raise
            self._unreadable.append(path)
            return list(known.children)
        if found is None:
            return list(known.children)
        self._listings.append(found)
        self._gathered += len(found.files)
        base = f"{path}/" if path else ""
        return [base + name for name in found.folders]

    def _look(self, path: str, known: Known) -> Listing | None:
        """What is in a folder, None when that is known."""
        now = self._clock()
        before = known.folder
        if before is not None and before.mtime_ns and not known.is_restless:
            is_recent = now - before.looked_at < self._timing.thorough
            if is_recent and self._place.stat(path).mtime_ns == before.mtime_ns:
                return None
        return look(self._place, path, now)

    def _write(self, cursor: str) -> None:
        if not self._listings:
            return
        with self._database.writing() as connection:
            scans.record(connection, self._storage.id, self._listings, cursor)
        self._listings, self._gathered = [], 0

    def _told(self) -> str:
        if not self._unreadable:
            return ""
        some = ", ".join(repr(path) for path in self._unreadable[:_MOST_TOLD])
        return f"{len(self._unreadable)} folders cannot be looked into: {some}"

    def _expire(self) -> None:
        while True:
            with self._database.writing() as connection:
                if not scans.expire(connection, self._storage.id, self._clock()):
                    return


def _order(path: str) -> list[bytes]:
    """Folders in the order of a pass: a folder before what is in it."""
    return [part.encode("utf-8", "surrogateescape") for part in path.split("/")] if path else []


def _is_over(path: str, cursor: str) -> bool:
    """Whether a folder and everything in it lie before the cursor."""
    mine, done = _order(path), _order(cursor)
    return mine < done[: len(mine)]
