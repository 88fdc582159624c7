"""The bytes of files: uploads, whole or in pieces, and downloads, whole or a range."""

from __future__ import annotations

from email.utils import format_datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from server.api.vidispine.documents import FileDocument
from server.api.vidispine.endpoints import Answer, Call, Endpoints, Role, choice, number, text
from server.api.vidispine.ids import vx
from server.api.vidispine.ranges import Unsatisfiable, parse_range
from server.api.vidispine.resources import find_file, storage_id, views
from server.core.catalog import FileState
from server.core.errors import CoreError, InvalidValue
from server.work.essence import Piece, Upload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from server.core.catalog import CatalogFile

__all__ = ["ENDPOINTS"]

ENDPOINTS = Endpoints("File data")

_READ_BYTES = 1 << 20
_USUAL_PRIORITY = 500
_TRANSFER = (
    text("transferId", "Names the transfer; mandatory for one of several pieces."),
    number("transferPriority", "1 to 1000; the highest goes first."),
    number("index", "Offset of this piece in the file, in bytes.", where="header"),
    number("size", "Bytes of the whole file.", where="header"),
)
_PLACE = (
    text("path", "The file's path on the storage."),
    text("uri", "The file's absolute URI, beneath that of a storage method."),
    choice("state", "The file's state after it.", tuple(state.value for state in FileState)),
)


@ENDPOINTS.add(
    "POST",
    "{storage-resource}/file/data",
    role=Role.FILE_WRITE,
    gives=FileDocument,
    says="The file's id.",
    streams=True,
    conflicts=True,
    parameters=(*_TRANSFER, *_PLACE),
)
async def upload_file(call: Call) -> Answer:
    """Upload file to storage; where none is named, to the first that can be written to."""
    given = call.parameters
    state = given.text("state")
    storage, path = await _place(call)
    return await _receive(
        call,
        Upload(
            storage_id=storage,
            path=path,
            file_id=None,
            state=given.choice("state", FileState, FileState.NONE) if state else None,
            size=_content_length(call),
            priority=_priority(call),
        ),
    )


@ENDPOINTS.add(
    "POST",
    "{file-resource}/data",
    role=Role.FILE_WRITE,
    gives=FileDocument,
    says="The file's id.",
    streams=True,
    conflicts=True,
    parameters=_TRANSFER,
)
async def upload_file_data(call: Call) -> Answer:
    """Upload file data: the bytes of a file that has an entity."""
    file = await find_file(call)
    upload = Upload(
        storage_id=file.storage_id,
        path=file.path,
        file_id=file.id,
        state=None,
        size=_content_length(call),
        priority=_priority(call),
    )
    return await _receive(call, upload)


async def _place(call: Call) -> tuple[int, str | None]:
    """Where a new file goes: its storage, and its path unless it is to be named after its id."""
    storage = storage_id(call)
    path, uri = call.parameters.text("path"), call.parameters.text("uri")
    if storage is None and not uri:
        storage = await _first_storage(call)
    if path or uri:
        return await call.core.catalog.place_of(
            call.actor, storage_id=storage, path=path or None, uri=uri or None
        )
    assert storage is not None
    return storage, None


async def _first_storage(call: Call) -> int:
    """Where a file goes for which no storage is named: always the same, so that all pieces of a
    transfer do."""
    for one in await call.core.catalog.storages(call.actor):
        if one.storage.root and not one.storage.read_only:
            return one.storage.id
    raise InvalidValue("storage", "there is none that can be written to")


async def _receive(call: Call, upload: Upload) -> Answer:
    piece = _piece(call)
    body = call.stream()
    opened = (
        call.essence.upload(call.actor, upload)
        if piece is None
        else call.essence.piece(call.actor, upload, piece)
    )
    async with opened as writer:
        async for chunk in body:
            await writer.write(chunk)
        if upload.size is not None and body.received_bytes != upload.size:
            raise InvalidValue("content-length", "more or less was sent than it says")
        file: CatalogFile | None = await writer.finish()
    if file is None:
        # Other pieces are missing: there is no document to give yet.
        return Answer()
    return Answer(await views(call).file(file), [[vx(file.id)]])


def _content_length(call: Call) -> int | None:
    text = call.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else None


def _piece(call: Call) -> Piece | None:
    """The piece that the headers and the transfer's id describe; None for a whole file."""
    transfer = call.parameters.text("transferId") or ""
    if len(transfer) > 200:
        raise InvalidValue("transferId", "at most 200 characters")
    offset, total = _header_number(call, "index"), _header_number(call, "size")
    if offset is None and total is None:
        return None
    if not transfer:
        raise InvalidValue("transferId", "a piece needs the id of its transfer")
    if offset is None or total is None:
        raise InvalidValue("index", "a piece has both headers, index and size")
    if offset > total:
        raise InvalidValue("index", "the piece begins after the file's end")
    return Piece(transfer_id=transfer, offset=offset, total=total, priority=_priority(call))


def _priority(call: Call) -> int:
    priority = call.parameters.number("transferPriority", least=1, most=1000)
    return _USUAL_PRIORITY if priority is None else priority


def _header_number(call: Call, name: str) -> int | None:
    text = call.headers.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidValue(name, "a whole number")
    return int(text)


@ENDPOINTS.add("GET", "{file-resource}/data", role=Role.FILE_READ, gives_bytes=True)
async def download_file(call: Call) -> Answer:
    """Get file data."""
    file = await find_file(call)
    async with call.essence.open(call.actor, file.id) as found:
        size, changed, etag = found.size, found.mtime, found.etag
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": _disposition(file.path),
        "Accept-Ranges": "bytes",
        "ETag": f'"{etag}"',
        "Last-Modified": format_datetime(changed, usegmt=True),
    }
    if f'"{etag}"' in (part.strip() for part in call.headers.get("if-none-match", "").split(",")):
        return Answer(status=304, headers=headers)
    start, end, status = 0, size, 200
    if _is_range_wanted(call, etag, changed):
        try:
            wanted = parse_range(call.headers["range"], size)
        except Unsatisfiable:
            return Answer(status=416, headers=headers | {"Content-Range": f"bytes */{size}"})
        if wanted is not None:
            (start, end), status = wanted, 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    headers["Content-Length"] = str(end - start)
    return Answer(status=status, headers=headers, body=_bytes(call, file.id, etag, start, end))


def _is_range_wanted(call: Call, etag: str, changed: datetime) -> bool:
    if "range" not in call.headers:
        return False
    condition = call.headers.get("if-range", "").strip()
    return condition in ("", f'"{etag}"', format_datetime(changed, usegmt=True))


async def _bytes(call: Call, file_id: int, etag: str, start: int, end: int) -> AsyncIterator[bytes]:
    """The bytes of a file from start to end, as it was when its size was told.

    Opened again here, by whoever sends the answer: a client that goes away in between leaves
    nothing open. A file that was exchanged meanwhile, or a storage that fails, ends the answer
    short of its length, which every client notices.
    """
    async with call.essence.open(call.actor, file_id) as found:
        if found.etag != etag:
            raise ConnectionAbortedError("the file changed while it was sent")
        while start < end:
            try:
                chunk = await found.read(start, min(_READ_BYTES, end - start))
            except CoreError as error:
                raise ConnectionAbortedError(str(error)) from error
            if not chunk:
                raise ConnectionAbortedError("the file became shorter while it was sent")
            start += len(chunk)
            yield chunk


def _disposition(path: str) -> str:
    """The file's name for whoever saves it: quoted for old clients, exact for all others."""
    name = path.rpartition("/")[2]
    plain = "".join(c if " " <= c <= "~" and c not in '"\\' else "_" for c in name)
    exact = quote(name.encode("utf-8", "surrogateescape"), safe="")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}"
