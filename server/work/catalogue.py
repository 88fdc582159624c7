"""The catalogue as the server keeps it: uploads recovered, storages scanned when it is time.

Runs as a task beside the requests. Each storage is scanned in a thread of its own, two at a time
at most, so that one that hangs holds up nothing else.
"""

from __future__ import annotations

import logging
import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import trio

from server.core.catalog import scans
from server.core.errors import CoreError, DatabaseError, NotFound
from server.core.permissions import SYSTEM
from server.core.storages import StorageKind
from server.work.errors import FileError, StorageError
from server.work.essence import Essence
from server.work.mounted import PixfsMount
from server.work.scanner import Scan, ScanStopped, Timing

if TYPE_CHECKING:
    from datetime import datetime

    from server.core import Core
    from server.core.catalog.scans import Due
    from server.core.storages import Storage
    from server.work.storage import Storage as Place

__all__ = ["Catalogue", "run_catalogue"]

log = logging.getLogger(__name__)

_AT_ONCE = 2
# Between two looks at what is due, and two scans of one storage that somebody asks for.
_LOOK_S = 5.0
_LEAST_GAP = timedelta(seconds=2)
_RECOVERY_S = 3600.0
# How long a scan that was told to stop is waited for.
_GRACE_S = 10.0


async def run_catalogue(
    core: Core,
    timing: Timing | None = None,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Keeps the catalogue until it is cancelled; a scan under way goes on after a restart."""
    catalogue = Catalogue(core, timing)
    try:
        await Essence(core).recover(catalogue.began)
    except CoreError as error:
        log.warning("uploads of the last server are left as they are: %s", error)
    core.on_scan_wanted = catalogue.want
    core.on_jobs_ended = catalogue.jobs_ended
    try:
        await catalogue.run(task_status=task_status)
    finally:
        core.on_scan_wanted = lambda storage_id: None
        core.on_jobs_ended = lambda: None


class Catalogue:
    """To be used on the trio thread.

    Attributes:
        began: when this server did.
    """

    def __init__(self, core: Core, timing: Timing | None = None) -> None:
        self._core = core
        self.began = core.clock()
        self._essence = Essence(core)
        self._timing = timing or Timing()
        self._slots = trio.CapacityLimiter(_AT_ONCE)
        self._busy: set[int] = set()
        self._wanted: set[int] = set()
        self._ended_since: datetime | None = None
        self._last: dict[int, datetime] = {}
        self._wake = trio.Event()

    def want(self, storage_id: int) -> None:
        """Has a storage scanned soon."""
        self._wanted.add(storage_id)
        self._wake.set()

    def jobs_ended(self) -> None:
        """Has the storages scanned on which jobs have just ended."""
        if self._ended_since is None:
            self._ended_since = self._core.clock() - timedelta(seconds=_LOOK_S)
        self._wake.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Scans what is due until it is cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tidy)
            task_status.started()
            while True:
                self._wake = trio.Event()
                try:
                    for due in await self._due():
                        self._busy.add(due.storage.id)
                        self._wanted.discard(due.storage.id)
                        nursery.start_soon(self._scan, due)
                except DatabaseError as error:
                    log.warning("no storage can be scanned now: %s", error)
                with trio.move_on_after(_LOOK_S):
                    await self._wake.wait()
                # Several wakings in a row are one.
                await trio.sleep(min(1.0, _LEAST_GAP.total_seconds()))

    async def scan_now(self, storage_id: int) -> None:
        """One pass over a storage, whether it is due or not; NotFound when it cannot be scanned."""
        now = self._core.clock()
        for due in await self._core.database.read(scans.due, self._timing.interval, now):
            if due.storage.id == storage_id:
                await self._scan_storage(due.storage, is_ours=due.is_ours)
                return
        raise NotFound("there is no such storage", kind="Storage", id=storage_id)

    async def _due(self) -> list[Due]:
        now = self._core.clock()
        since, self._ended_since = self._ended_since, None
        if since is not None:
            self._wanted |= await self._core.database.read(scans.after_jobs, since)
        every = await self._core.database.read(scans.due, self._timing.interval, now)
        # What is wanted and cannot be scanned is wanted in vain.
        self._wanted &= {due.storage.id for due in every}
        return [
            due
            for due in every
            if due.storage.id not in self._busy
            and (due.at <= now or (due.storage.id in self._wanted and self._has_rested(due, now)))
        ]

    def _has_rested(self, due: Due, now: datetime) -> bool:
        last = self._last.get(due.storage.id)
        return last is None or now - last >= _LEAST_GAP

    async def _scan(self, due: Due) -> None:
        storage = due.storage
        try:
            async with self._slots:
                await self._scan_storage(storage, is_ours=due.is_ours)
        except DatabaseError as error:
            log.warning("a scan of %s could not be kept: %s", storage.name, error)
        finally:
            self._busy.discard(storage.id)
            self._last[storage.id] = self._core.clock()

    async def _scan_storage(self, storage: Storage, *, is_ours: bool) -> None:
        if is_ours and storage.kind is StorageKind.DIRECTORY:
            storage = await self._found_out(storage)
        try:
            place = await self._essence.open_storage(SYSTEM, storage)
        except CoreError as error:
            await self._fail(storage, str(error))
            return
        stop = threading.Event()
        scan = Scan(self._core.database, storage, place, self._core.clock, self._timing, stop)
        try:
            await self._in_thread(scan, place, stop)
        except ScanStopped:
            pass
        except (OSError, FileError, StorageError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            await self._fail(storage, reason or type(error).__name__)

    async def _in_thread(self, scan: Scan, place: Place, stop: threading.Event) -> None:
        """Runs a scan; a cancellation tells it to stop, and waits a while for that."""

        def run() -> None:
            try:
                scan.run()
            finally:
                place.close()

        patience = trio.CancelScope(shield=True)

        async def watch() -> None:
            try:
                await trio.sleep_forever()
            finally:
                stop.set()
                patience.deadline = trio.current_time() + _GRACE_S

        failure: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            with patience:
                # Not through the nursery, which would wrap it.
                try:
                    await trio.to_thread.run_sync(run, abandon_on_cancel=True)
                except Exception as error:
                    failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _found_out(self, storage: Storage) -> Storage:
        """A directory of ours that is on a PixFS mount is told as what it is."""

        def is_mounted() -> bool:
            try:
                PixfsMount(storage.root).close()
            except (StorageError, OSError):
                return False
            return True

        if not await self._essence.on_thread(storage, is_mounted):
            return storage
        await self._core.database.write(scans.set_kind, storage, StorageKind.PIXFS.value)
        found = await self._core.database.read(scans.due, self._timing.interval, self._core.clock())
        return next((due.storage for due in found if due.storage.id == storage.id), storage)

    async def _fail(self, storage: Storage, reason: str) -> None:
        log.info("the storage %s could not be scanned: %s", storage.name, reason)
        await self._core.database.write(scans.fail, storage.id, reason, self._core.clock())

    async def _tidy(self) -> None:
        """Gives up what nobody goes on with, and forgets storages that are no more."""
        while True:
            try:
                await self._essence.recover(self.began)
                while await self._core.database.write(scans.prune):
                    pass
            except CoreError as error:
                log.warning("the catalogue could not be tidied: %s", error)
            await trio.sleep(_RECOVERY_S)
