"""The bytes of catalogued files: downloads, and uploads whole or in pieces.

What is known of files is for ``server.core.catalog``; this opens and writes them, in threads of
which each storage has its own, and tells the catalogue what has landed.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from server.core.access import access_of_actor
from server.core.catalog import uploads as records
from server.core.catalog.uploads import Transfer
from server.core.errors import (
    CoreError,
    FileExists,
    InvalidValue,
    NameTaken,
    NotFound,
    Ref,
    SizeMismatch,
    StorageUnavailable,
)
from server.core.permissions import SYSTEM, Action, require
from server.core.storages import StorageKind
from server.work.errors import FileError, StoppedError
from server.work.files import Files, as_core_errors, open_place
from server.work.priority import PriorityGate
from server.work.readable import open_readable
from server.work.uploads import PieceOfFile, WholeFile, complete, discard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from sqlalchemy.engine import Connection

    from server.core import Core
    from server.core.catalog import CatalogFile, FileState, ImportOptions
    from server.core.catalog.uploads import Announced, Landed
    from server.core.jobs import Job
    from server.core.permissions import Actor
    from server.core.storages import Storage
    from server.work.files import Space
    from server.work.flow import Direction
    from server.work.readable import Readable
    from server.work.storage import Storage as Place

__all__ = ["Download", "Essence", "Piece", "Upload", "Writer"]

log = logging.getLogger(__name__)
T = TypeVar("T")

# Bytes that are gathered before a thread is asked to write them.
_GATHERED = 1 << 20
_THREADS = 16
# Of one storage, so many write at a time; the rest waits by priority.
_WRITERS = 4
_PATIENCE_S = 60.0
_GLANCE_S = 5.0
# A transfer in pieces that nobody goes on with for so long is given up.
_KEPT = timedelta(days=3)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Upload:
    """Bytes that are about to come.

    Attributes:
        path: on the storage; None, without a ``file_id``, lets the server name the file.
        file_id: an entity whose bytes are replaced.
        state: of the file afterwards; None is CLOSED.
        size: bytes this request brings; None when that was not said.
        priority: 1 to 1000, of a file that comes in one request.
    """

    storage_id: int | None = None
    path: str | None = None
    file_id: int | None = None
    state: FileState | None = None
    size: int | None = None
    priority: int = 500


@dataclass(frozen=True, slots=True)
class Piece:
    """Where a request's bytes belong in a file that comes in several.

    Attributes:
        transfer_id: the client's name for the whole.
        offset: of the first byte.
        total: bytes of the whole file.
        priority: 1 to 1000; the highest goes first.
    """

    transfer_id: str
    offset: int
    total: int
    priority: int = 500


class Download:
    """A file open for reading; made by `Essence.open`.

    Attributes:
        size: bytes.
        etag: another one whenever the bytes may be others.
    """

    def __init__(
        self, essence: Essence, storage: Storage, readable: Readable, take: Callable[[int], None]
    ) -> None:
        entry = readable.entry
        self.size = entry.size
        self.mtime = _EPOCH + timedelta(microseconds=entry.mtime_ns // 1000)
        told = f"{storage.id}/{entry.path}/{entry.size}/{entry.mtime_ns}/{entry.version}"
        self.etag = hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        self._essence = essence
        self._storage = storage
        self._readable = readable
        self._take = take

    async def read(self, offset: int, length: int) -> bytes:
        """At most so many bytes, none behind the end. FileChanged: what was read before does not
        belong to what would follow. StorageUnavailable."""
        return await self._essence.on_thread(self._storage, self._read, offset, length)

    def _read(self, offset: int, length: int) -> bytes:
        data = self._readable.read(offset, length)
        if data:
            self._take(len(data))
        return data


def _answers(place: Place, upload: Announced) -> None:
    """Asks a storage something, whatever it says."""
    with suppress(OSError, FileError):
        place.stat(upload.path)


@contextmanager
def _telling_of(file: int | str) -> Iterator[None]:
    """A storage does not know which entity, or path, is not found on it."""
    try:
        yield
    except NotFound as error:
        if error.kind:
            raise
        raise NotFound(str(error), kind="File", id=file) from error


class Writer:
    """Where the bytes of one request go; made by `Essence.upload` and `Essence.piece`.

    Attributes:
        path: where the file will stand.
    """

    def __init__(
        self,
        essence: Essence,
        upload: Announced,
        incoming: WholeFile | PieceOfFile,
        size: int | None,
        priority: int,
        finish: Callable[[Writer], Any],
    ) -> None:
        self.path = upload.path
        self.upload = upload
        self.incoming = incoming
        self._essence = essence
        self._announced = size
        self._priority = priority
        self._finish = finish
        self._buffer = bytearray()
        self._come = 0

    async def write(self, data: bytes) -> None:
        """Takes the next bytes; SizeMismatch when there are more than were announced."""
        self._come += len(data)
        if self._announced is not None and self._come > self._announced:
            raise SizeMismatch("content-length", "more bytes came than were announced")
        self._buffer += data
        if len(self._buffer) >= _GATHERED:
            await self.flush()

    async def flush(self) -> None:
        """Writes what was gathered."""
        if self._buffer:
            gathered, self._buffer = bytes(self._buffer), bytearray()
            await self._essence.write(self.upload, self.incoming, gathered, self._priority)

    async def finish(self) -> CatalogFile | None:
        """Makes the bytes durable and, if the file is whole, gives it its name.

        None when other pieces are missing. SizeMismatch when fewer bytes came than were
        announced, FileExists when another file has taken the name meanwhile.
        """
        if self._announced is not None and self._come != self._announced:
            raise SizeMismatch("content-length", "fewer bytes came than were announced")
        await self.flush()
        found: CatalogFile | None = await self._finish(self)
        return found


class Essence:
    """Bytes of files as a face asks for them; to be used on the trio thread.

    Methods raise NotAllowed, NotFound, InvalidValue, StorageUnavailable; those that write
    StorageRefused, StorageFull, FileExists and SizeMismatch too.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._files = Files(core)
        self._limits: dict[int, trio.CapacityLimiter] = {}
        self._gates: dict[int, PriorityGate] = {}
        # How many pieces of each transfer are under way.
        self._pieces: Counter[int] = Counter()

    # Reading

    @asynccontextmanager
    async def open(self, actor: Actor, file_id: int) -> AsyncIterator[Download]:
        """A file's bytes. NotFound also when there is an entity without a file."""
        file = await self._core.catalog.file(actor, file_id)
        storage = await self._core.database.read(records.storage_of, file_id)
        place = await self.open_storage(actor, storage)
        try:
            with _telling_of(file.id):
                readable = await self.on_thread(storage, open_readable, place, file.path)
            try:
                yield Download(self, storage, readable, self._pace(storage, file.path, "read"))
            finally:
                await self._quietly(storage, readable.close)
        finally:
            await self._quietly(storage, place.close)

    async def room(self, actor: Actor, storage: Storage) -> Space:
        """Whether a storage answers, and how much room it has."""
        return await self._files.space(actor, storage)

    async def rescan(self, actor: Actor, storage_id: int) -> None:
        """Has a storage scanned soon."""
        require(actor, Action.MANAGE_STORAGES)
        await self._core.catalog.storage(actor, storage_id)
        self._core.on_scan_wanted(storage_id)

    async def import_package(self, actor: Actor, file_id: int, options: ImportOptions) -> Job:
        """Starts the import of all that an ASSETMAP names; PackageError tells what is missing."""
        from server.work.packages import read_package

        file = await self._core.catalog.file(actor, file_id)
        storage = await self._core.database.read(records.storage_of, file_id)
        place = await self.open_storage(actor, storage)
        try:
            with _telling_of(file.id):
                package = await self.on_thread(storage, read_package, place, file.path)
        finally:
            await self._quietly(storage, place.close)
        return await self._core.catalog.import_parts(actor, file_id, package.parts, options)

    # Writing

    @asynccontextmanager
    async def upload(self, actor: Actor, wanted: Upload) -> AsyncIterator[Writer]:
        """Takes a file that comes in one request. Leaving the block without `Writer.finish`
        leaves nothing of it."""
        upload = await self._begin(actor, wanted, None)
        is_gone = True
        try:
            async with self._writing(actor, upload) as place:
                try:
                    with _telling_of(upload.path):
                        whole = await self.on_thread(upload.storage, WholeFile, place, upload)
                except StorageUnavailable:
                    # A thread that is not waited for any more may still begin it.
                    is_gone = False
                    raise
                finish = partial(self._finish_whole, actor)
                try:
                    yield Writer(self, upload, whole, wanted.size, wanted.priority, finish)
                finally:
                    is_gone = await self._quietly(upload.storage, whole.abandon) or False
        finally:
            # What may be left is found by its record, when the storage answers again.
            if is_gone:
                with trio.CancelScope(shield=True):
                    await self._forget(upload)

    @asynccontextmanager
    async def piece(self, actor: Actor, wanted: Upload, piece: Piece) -> AsyncIterator[Writer]:
        """Takes a piece of a file; pieces may come in any order and at the same time. A piece
        that is not finished can be sent again."""
        if not 0 <= piece.offset <= piece.total:
            raise InvalidValue("index", "lies beyond the end of the file")
        upload = await self._begin(actor, wanted, piece)
        async with self._of_transfer(upload), self._writing(actor, upload) as place:
            with _telling_of(upload.path):
                part = await self.on_thread(
                    upload.storage, PieceOfFile, place, upload, piece.offset, self._core.spool
                )
            finish = partial(self._finish_piece, actor, place, piece)
            try:
                yield Writer(self, upload, part, wanted.size, piece.priority, finish)
            finally:
                await self._quietly(upload.storage, part.abandon)

    @asynccontextmanager
    async def _of_transfer(self, upload: Announced) -> AsyncIterator[None]:
        """A piece under way. A transfer whose only pieces have failed is no transfer."""
        self._pieces[upload.id] += 1
        try:
            yield
        except BaseException:
            self._pieces[upload.id] -= 1
            if not self._pieces[upload.id]:
                with trio.CancelScope(shield=True):
                    await self._drop_if_empty(upload)
            raise
        self._pieces[upload.id] -= 1
        if not self._pieces[upload.id]:
            self._pieces.pop(upload.id)

    async def _drop_if_empty(self, upload: Announced) -> None:
        self._pieces.pop(upload.id)
        try:
            if await self._core.database.write(records.forget_if_empty, upload.id):
                place = await self.open_storage(SYSTEM, upload.storage)
                await self._drop(place, upload)
                await self._quietly(upload.storage, place.close)
        except CoreError as error:
            log.info("a transfer's beginning stays for now: %s", error)

    async def _begin(self, actor: Actor, wanted: Upload, piece: Piece | None) -> Announced:
        require(actor, Action.CHANGE_FILES)
        return await self._core.database.write(
            records.begin,
            actor,
            wanted.storage_id,
            wanted.path,
            wanted.file_id,
            wanted.state,
            wanted.size,
            wanted.priority if piece is None else piece.priority,
            None if piece is None else Transfer(piece.transfer_id, piece.total),
            self._core.clock(),
        )

    @asynccontextmanager
    async def _writing(self, actor: Actor, upload: Announced) -> AsyncIterator[Place]:
        """The storage of an upload, open."""
        place = await self.open_storage(actor, upload.storage)
        try:
            yield place
        finally:
            await self._quietly(upload.storage, place.close)

    async def _forget(self, upload: Announced) -> None:
        try:
            await self._core.database.write(records.forget, upload.id)
        except CoreError as error:
            log.warning("an upload is forgotten by the next server only: %s", error)

    async def write(
        self, upload: Announced, incoming: WholeFile | PieceOfFile, data: bytes, priority: int
    ) -> None:
        """Writes bytes when it is their turn."""
        gate = self._gates.setdefault(upload.storage.id, PriorityGate(_WRITERS))
        take = self._pace(upload.storage, upload.path, "write")

        def work() -> None:
            take(len(data))
            incoming.write(data)

        async with gate.passing(priority):
            await self.on_thread(upload.storage, work)

    async def _finish_whole(self, actor: Actor, writer: Writer) -> CatalogFile:
        upload, whole = writer.upload, writer.incoming
        assert isinstance(whole, WholeFile)
        await self.on_thread(upload.storage, whole.finish)
        file: CatalogFile | None = None
        # From here on it happens, whoever hangs up.
        with trio.CancelScope(shield=True):
            await self._core.database.write(records.close, upload.id, whole.size)
            commit = partial(whole.commit, replace=upload.file_id is not None)
            file = await self._landed(actor, upload, await self._named(upload, commit))
        assert file is not None
        return file

    async def _finish_piece(
        self, actor: Actor, place: Place, piece: Piece, writer: Writer
    ) -> CatalogFile | None:
        upload, part = writer.upload, writer.incoming
        assert isinstance(part, PieceOfFile)
        size = part.size
        await self.on_thread(upload.storage, part.finish)
        file = None
        with trio.CancelScope(shield=True):
            is_whole = await self._core.database.write(
                records.note_piece, upload.id, piece.offset, size, self._core.clock()
            )
            if is_whole:
                file = await self._complete_now(actor, place, upload)
        return file

    async def _complete_now(self, actor: Actor, place: Place, upload: Announced) -> CatalogFile:
        try:
            return await self._complete(actor, place, upload)
        except CoreError:
            # Unless the next server is to do it, the client is told, and may send a piece again.
            if not self._core.closing.sign.is_set():
                await self._core.database.write(records.reopen, upload.id)
            raise

    async def _complete(self, actor: Actor, place: Place, upload: Announced) -> CatalogFile:
        work = partial(
            complete, place, upload, self._core.spool, replace=upload.file_id is not None
        )
        try:
            found = await self._named(upload, work)
        except (NameTaken, SizeMismatch, NotFound):
            # Nobody can mend it by sending a piece again.
            await self._drop(place, upload)
            raise
        return await self._landed(actor, upload, found)

    async def _named(self, upload: Announced, work: Callable[[], Landed]) -> Landed:
        try:
            return await self.on_thread(upload.storage, work, patience_s=3600.0)
        except NameTaken as error:
            if isinstance(error, FileExists):
                raise
            raise FileExists(upload.storage.id, upload.path, upload.file_id) from error

    async def _landed(self, actor: Actor, upload: Announced, found: Landed) -> CatalogFile:
        return await self._core.database.write(
            records.landed, actor, upload, found, self._core.clock()
        )

    async def _drop(self, place: Place, upload: Announced) -> None:
        try:
            await self.on_thread(upload.storage, discard, place, upload, self._core.spool)
        except CoreError as error:
            log.warning("something of an upload may be left on its storage: %s", error)
        await self._forget(upload)

    # What a server before this one has left

    async def recover(self, began: datetime) -> None:
        """Completes the uploads of servers before this one, which ``began`` then, that only lacked
        their names, and removes what others left.

        A storage that does not answer soon keeps its leftovers until the next time.
        """
        since = self._core.clock() - _KEPT
        read: Callable[[Connection], list[tuple[Announced, bool]]] = partial(
            records.left, untouched_since=since, began=began
        )
        away: set[int] = set()
        for upload, is_complete in await self._core.database.read(read):
            if upload.storage.id in away:
                continue
            try:
                await self._recover(upload, is_complete=is_complete)
            except StorageUnavailable as error:
                log.info("an upload's leftovers stay for now: %s", error)
                away.add(upload.storage.id)
            except CoreError as error:
                log.info("an upload could not be completed: %s", error)

    async def _recover(self, upload: Announced, *, is_complete: bool) -> None:
        place = await self.open_storage(SYSTEM, upload.storage)
        try:
            # A new server answers nobody before it has tried.
            await self.on_thread(upload.storage, _answers, place, upload, patience_s=_GLANCE_S)
            # A server that could not reach the storage at its start may have taken newer bytes.
            is_current = not await self._core.database.read(records.is_overtaken, upload)
            if is_complete and is_current:
                await self._complete(SYSTEM, place, upload)
            else:
                await self._drop(place, upload)
        finally:
            await self._quietly(upload.storage, place.close)

    # Threads

    async def open_storage(self, actor: Actor, storage: Storage) -> Place:
        """The storage, open; links in it are followed as far as the actor may reach.
        StorageUnavailable."""
        access = await self._core.database.read(access_of_actor, actor)
        account = None
        if storage.kind is StorageKind.S3:
            account = await self._core.s3_endpoints.account(storage.endpoint)
        reach, stop = access.reach(storage.id), self._core.closing.sign
        return await self.on_thread(storage, open_place, storage, account, reach, stop)

    async def on_thread(
        self,
        storage: Storage,
        work: Callable[..., T],
        *args: Any,  # noqa: ANN401
        patience_s: float = _PATIENCE_S,
    ) -> T:
        """Calls ``work`` in one of the storage's threads; its errors become the core's."""
        limit = self._limits.setdefault(storage.id, trio.CapacityLimiter(_THREADS))

        def run() -> T:
            with as_core_errors():
                return work(*args)

        # A cancellation waits for the thread: what it works with belongs to it as long as it does.
        with self._core.closing.patience(patience_s):
            return await trio.to_thread.run_sync(run, limiter=limit, abandon_on_cancel=True)
        raise StorageUnavailable(
            "the storage {storage} does not answer",
            terms={"storage": Ref("Storage", storage.id, storage.name)},
        )

    async def _quietly(self, storage: Storage, work: Callable[[], T]) -> T | None:
        """Closes something, also after a cancellation; a failure changes nothing any more."""
        done: T | None = None
        with trio.CancelScope(shield=True):
            try:
                done = await self.on_thread(storage, work)
            except CoreError as error:
                log.info("a file or storage was not closed well: %s", error)
        return done

    def _pace(self, storage: Storage, path: str, direction: Direction) -> Callable[[int], None]:
        """What waits in a thread until so many bytes may go. StoppedError at the server's end."""
        if self._core.pacer is None:
            return lambda size: None
        pacer, stop = self._core.pacer(storage.name, (path,)), self._core.closing.sign

        def take(size: int) -> None:
            pacer.take(direction, size, stop)
            # Told to stop while it waited, it has not been let through.
            if stop.is_set():
                raise StoppedError("the server has been stopped")

        return take
