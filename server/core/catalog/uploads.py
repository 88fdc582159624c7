"""Uploads under way: what was announced, which pieces are safe, what has landed.

The bytes are written by ``server.work.uploads`` under a hidden name that carries the upload's
number, so that whatever a crash leaves can be found again. Functions run inside a transaction of
the caller's, a writing one unless they say otherwise.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from server.core.catalog import entities, rows
from server.core.catalog.model import CatalogFile, FileState
from server.core.catalog.storages import no_storage, require_writable
from server.core.catalog.tables import file_hashes, files, upload_pieces, uploads
from server.core.errors import FileExists, InvalidValue, WrongState
from server.core.events import record
from server.core.storages import list_storages

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from server.core.permissions import Actor
    from server.core.schema import AnyRow
    from server.core.storages import Storage

__all__ = [
    "Announced",
    "Landed",
    "Transfer",
    "begin",
    "close",
    "forget",
    "forget_if_empty",
    "landed",
    "left",
    "note_landed",
    "note_piece",
    "storage_of",
]

_LONGEST_ID = 255


@dataclass(frozen=True, slots=True)
class Transfer:
    """A transfer that comes in pieces, as its client describes it.

    Attributes:
        total: bytes of the whole file.
    """

    id: str
    total: int


@dataclass(frozen=True, slots=True)
class Announced:
    """An upload that may begin, or go on.

    Attributes:
        path: where the bytes go.
        file_id: the entity whose bytes are replaced; None for a file that is not there yet.
    """

    id: int
    storage: Storage
    path: str
    file_id: int | None
    state: FileState
    size: int
    priority: int

    @property
    def part(self) -> str:
        """What the hidden name of its bytes is made of."""
        return f"upload-{self.id}"


@dataclass(frozen=True, slots=True)
class Landed:
    """A file as it stands on its storage.

    Attributes:
        hashes: hex by algorithm, of exactly these bytes.
        version: of an object in a bucket.
    """

    size: int
    mtime_ns: int
    hashes: Mapping[str, str]
    version: str = ""


def begin(
    connection: Connection,
    actor: Actor,
    storage_id: int | None,
    path: str | None,
    file_id: int | None,
    state: FileState | None,
    size: int | None,
    priority: int,
    transfer: Transfer | None,
    now: datetime,
) -> Announced:
    """Takes an upload on, or finds the one that a piece belongs to.

    Raises NotFound, InvalidValue (also for a transfer that began otherwise), FileExists,
    StorageRefused; WrongState for a transfer that is just being completed.
    """
    if not 1 <= priority <= 1000:
        raise InvalidValue("transferPriority", "is a number from 1 to 1000")
    if size is not None and size < 0:
        raise InvalidValue("size", "is not negative")
    if transfer is not None:
        _check_transfer(transfer)
        known = _known(connection, actor, transfer)
        if known is not None:
            return _go_on(connection, actor, known, storage_id, path, file_id, transfer, now)
    place = _place(connection, actor, storage_id, path, file_id)
    storage = _storage(connection, place[0])
    require_writable(storage)
    _require_free(connection, *place, file_id)
    inserted = connection.execute(
        uploads.insert().values(
            transfer_id=transfer.id if transfer is not None else secrets.token_hex(16),
            is_whole=transfer is None,
            owner_id=actor.user_id,
            storage_id=place[0],
            path=place[1],
            file_id=file_id,
            state="" if state is None else state.value,
            size=transfer.total if transfer is not None else -1 if size is None else size,
            priority=priority,
            is_closing=False,
            created_at=now,
            touched_at=now,
        )
    ).inserted_primary_key
    assert inserted is not None
    return _announced(connection, _row(connection, int(inserted[0])))


def _check_transfer(transfer: Transfer) -> None:
    if not 0 < len(transfer.id) <= _LONGEST_ID or not transfer.id.isprintable():
        raise InvalidValue("transferId", f"is text of 1 to {_LONGEST_ID} characters")
    if not 0 <= transfer.total <= 2**62:
        raise InvalidValue("size", "is a number of bytes")


def _known(connection: Connection, actor: Actor, transfer: Transfer) -> AnyRow | None:
    mine = (uploads.c.transfer_id == transfer.id) & (
        uploads.c.owner_id.is_not_distinct_from(actor.user_id)
    )
    return connection.execute(sa.select(uploads).where(mine)).first()


def _go_on(
    connection: Connection,
    actor: Actor,
    known: AnyRow,
    storage_id: int | None,
    path: str | None,
    file_id: int | None,
    transfer: Transfer,
    now: datetime,
) -> Announced:
    """The transfer a piece belongs to; what it says of it must be what was said before."""
    is_same = known.size == transfer.total and known.file_id == file_id
    if file_id is None and storage_id is not None:
        is_same = is_same and known.storage_id == storage_id
    if file_id is None and path is not None:
        is_same = is_same and entities.checked_place(connection, actor, known.storage_id, path) == (
            known.storage_id,
            known.path,
        )
    if not is_same:
        raise InvalidValue("transferId", "this transfer was begun for another file or size")
    if known.is_closing:
        raise WrongState("the transfer is just being completed")
    connection.execute(uploads.update().where(uploads.c.id == known.id).values(touched_at=now))
    return _announced(connection, known)


def _place(
    connection: Connection,
    actor: Actor,
    storage_id: int | None,
    path: str | None,
    file_id: int | None,
) -> tuple[int, str]:
    if file_id is not None:
        row = entities.row_of(connection, actor, file_id, storage_id)
        return row.storage_id, rows.join(row.folder, row.name)
    if storage_id is None:
        raise InvalidValue("storage", "say which storage the file goes to")
    return entities.checked_place(connection, actor, storage_id, path or secrets.token_hex(16))


def _require_free(connection: Connection, storage_id: int, path: str, file_id: int | None) -> None:
    """An entity whose file was never seen, or is gone, is waiting for it."""
    there = entities.id_at(connection, [storage_id], path)
    if there is None or there == file_id:
        return
    row = connection.execute(sa.select(files).where(files.c.id == there)).one()
    if row.size >= 0 and row.missing_since is None:
        raise FileExists(storage_id, path, there)


def _row(connection: Connection, upload_id: int) -> AnyRow:
    return connection.execute(sa.select(uploads).where(uploads.c.id == upload_id)).one()


def _storage(connection: Connection, storage_id: int) -> Storage:
    for storage in list_storages(connection):
        if storage.id == storage_id:
            return storage
    raise no_storage(storage_id)


def storage_of(connection: Connection, file_id: int) -> Storage:
    """The storage of a file that is known to be there; a reading transaction will do."""
    query = sa.select(files.c.storage_id).where(files.c.id == file_id)
    number = connection.execute(query).scalar()
    if number is None:
        raise entities.no_file(file_id)
    return _storage(connection, number)


def _announced(connection: Connection, row: AnyRow) -> Announced:
    return Announced(
        id=row.id,
        storage=_storage(connection, row.storage_id),
        path=row.path,
        file_id=row.file_id,
        state=FileState(row.state or FileState.CLOSED),
        size=row.size,
        priority=row.priority,
    )


def note_piece(
    connection: Connection, upload_id: int, start: int, length: int, now: datetime
) -> bool:
    """Notes bytes that are durable; whether the file is whole now, and the caller is the one to
    complete it."""
    row = connection.execute(sa.select(uploads).where(uploads.c.id == upload_id)).first()
    if row is None or row.is_closing:
        return False
    mine = (upload_pieces.c.upload_id == upload_id) & (upload_pieces.c.start == start)
    there = connection.execute(sa.select(upload_pieces.c.length).where(mine)).scalar()
    if there is None:
        connection.execute(
            upload_pieces.insert().values(upload_id=upload_id, start=start, length=length)
        )
    elif there < length:
        connection.execute(upload_pieces.update().where(mine).values(length=length))
    query = sa.select(upload_pieces.c.start, upload_pieces.c.length).where(
        upload_pieces.c.upload_id == upload_id
    )
    pieces = [(int(at), int(n)) for at, n in connection.execute(query)]
    is_whole = bool(_reaches(pieces) >= row.size)
    connection.execute(
        uploads.update()
        .where(uploads.c.id == upload_id)
        .values(touched_at=now, is_closing=is_whole)
    )
    return is_whole


def _reaches(pieces: Iterable[tuple[int, int]]) -> int:
    """How far pieces go without a gap."""
    end = 0
    for start, length in sorted(pieces):
        if start > end:
            break
        end = max(end, start + length)
    return end


def close(connection: Connection, upload_id: int, size: int) -> None:
    """From now on the upload's bytes, which are durable and so many, are put under the file's
    name; should this be cut off, the next server does it."""
    this = uploads.c.id == upload_id
    connection.execute(uploads.update().where(this).values(is_closing=True, size=size))


def is_overtaken(connection: Connection, upload: Announced) -> bool:
    """Whether other bytes have come under the file's name since this upload's last piece did. A
    reading transaction will do."""
    number = entities.id_at(connection, [upload.storage.id], upload.path)
    query = (
        sa.select(files.c.id)
        .join(uploads, uploads.c.id == upload.id)
        .where((files.c.id == number) & (files.c.changed_at > uploads.c.touched_at))
    )
    return number is not None and connection.execute(query).first() is not None


def reopen(connection: Connection, upload_id: int) -> None:
    """The upload's pieces could not be put under the file's name: the next one that is sent has
    it tried again."""
    this = uploads.c.id == upload_id
    connection.execute(uploads.update().where(this).values(is_closing=False))


def landed(
    connection: Connection, actor: Actor, upload: Announced, found: Landed, now: datetime
) -> CatalogFile:
    """Enters a file that an upload has brought, and ends the upload."""
    number = note_landed(connection, upload.storage.id, upload.path, found, upload.state, now)
    connection.execute(uploads.delete().where(uploads.c.id == upload.id))
    record(connection, actor, "file.uploaded", now, number, path=upload.path, size=found.size)
    return entities.files_of_ids(connection, [number], include_item=False)[0]


def note_landed(
    connection: Connection,
    storage_id: int,
    path: str,
    found: Landed,
    state: FileState,
    now: datetime,
) -> int:
    """The entity of a file whose bytes have just been written, changed or new; its number."""
    number = entities.id_at(connection, [storage_id], path)
    if number is None:
        number = entities.enter(
            connection,
            storage_id,
            path,
            state,
            found.mtime_ns,
            size=found.size,
            changed_at=now,
            version=found.version,
        )
    else:
        row = connection.execute(sa.select(files).where(files.c.id == number)).one()
        values = {
            "state": state.value,
            "size": found.size,
            "mtime_ns": found.mtime_ns,
            "changed_at": now,
            "missing_since": None,
            "version": found.version,
        }
        rows.change(connection, [(entities.counted(row), values)])
    set_hashes(connection, number, found.hashes)
    return number


def set_hashes(connection: Connection, file_id: int, hashes: Mapping[str, str]) -> None:
    """The hashes of a file's bytes; those of earlier bytes go."""
    connection.execute(file_hashes.delete().where(file_hashes.c.file_id == file_id))
    for algorithm, value in hashes.items():
        connection.execute(
            file_hashes.insert().values(file_id=file_id, algorithm=algorithm, value=value)
        )


def forget(connection: Connection, upload_id: int) -> None:
    """Ends an upload that came to nothing."""
    connection.execute(uploads.delete().where(uploads.c.id == upload_id))


def forget_if_empty(connection: Connection, upload_id: int) -> bool:
    """Ends an upload of which no piece is safe yet; whether it has."""
    pieces = sa.select(upload_pieces.c.start).where(upload_pieces.c.upload_id == upload_id)
    if connection.execute(pieces.limit(1)).first() is not None:
        return False
    forget(connection, upload_id)
    return True


def left(
    connection: Connection, untouched_since: datetime, began: datetime
) -> list[tuple[Announced, bool]]:
    """The uploads that will not go on by themselves: each with whether all of its bytes are there
    and only the name is missing. These are the whole ones and those being completed that are of a
    server before this one, which ``began`` then, and all that nobody has touched for very long. A
    reading transaction will do."""
    over = uploads.c.touched_at < untouched_since
    over &= sa.not_(uploads.c.is_closing)
    over |= (uploads.c.is_whole | uploads.c.is_closing) & (uploads.c.touched_at < began)
    # Who clears up after one in a bucket takes away what is there of the other, too.
    newer = uploads.alias()
    over &= ~sa.exists().where(
        (newer.c.storage_id == uploads.c.storage_id)
        & (newer.c.path == uploads.c.path)
        & (newer.c.touched_at >= began)
        & (newer.c.id > uploads.c.id)
    )
    active = {storage.id for storage in list_storages(connection)}
    return [
        (_announced(connection, row), bool(row.is_closing))
        for row in connection.execute(sa.select(uploads).where(over))
        if row.storage_id in active
    ]
