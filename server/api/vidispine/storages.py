"""Storages and the methods by which they are reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from server.api.vidispine.bodies import flag_of, mapping_of, number_of, read_document
from server.api.vidispine.documents import (
    StorageDocument,
    StorageListDocument,
    StorageMethodDocument,
    StorageMethodListDocument,
)
from server.api.vidispine.endpoints import (
    Answer,
    Call,
    Endpoints,
    Parameter,
    Role,
    flag,
    number,
    text,
)
from server.api.vidispine.ids import number_of as id_of
from server.api.vidispine.ids import vx
from server.api.vidispine.resources import storage_id
from server.api.vidispine.views import method_document, storage_document
from server.core.catalog import MethodChange, StorageChange
from server.core.errors import InvalidValue, NotFound

if TYPE_CHECKING:
    from server.core.catalog import CatalogStorage, Method
    from server.safexml import Element

__all__ = ["ENDPOINTS"]

ENDPOINTS = Endpoints("Storages")

_NAME = "pixfs.name"
"""The field of a storage's metadata that is its name in the other interfaces."""
_SHOWN_ONLY = ("pixfs.kind", "pixfs.index.state", "pixfs.index.error")

_METHOD: tuple[Parameter, ...] = (
    text("uri", "file:///absolute/folder/ or s3://bucket/prefix/; also called url."),
    flag("read", "Files may be read through it.", True),
    flag("write", "Files may be written through it.", True),
    flag("browse", "The storage is scanned through it.", True),
    number("bandwidth", "Bytes a second; told, not kept to."),
    text("type", "Whoever asks for URIs of this type gets this method's."),
)


@ENDPOINTS.add("GET", "/storage", role=Role.STORAGE_READ, gives=StorageListDocument, says="Ids.")
async def list_storages(call: Call) -> Answer:
    """List the storages."""
    known = await call.core.catalog.storages(call.actor)
    documents: dict[int, StorageDocument] = {}

    async def look(storage: CatalogStorage) -> None:
        documents[storage.storage.id] = await _document(call, storage)

    async with trio.open_nursery() as nursery:
        for storage in known:
            nursery.start_soon(look, storage)
    ordered = tuple(documents[storage.storage.id] for storage in known)
    return Answer(StorageListDocument(storage=ordered), [[document.id] for document in ordered])


@ENDPOINTS.add(
    "POST",
    "/storage",
    role=Role.STORAGE_WRITE,
    gives=StorageDocument,
    says="The storage's id.",
    takes=("StorageDocument",),
    conflicts=True,
)
async def create_storage(call: Call) -> Answer:
    """Create a storage; the first of its methods that can be written to is its root."""
    wanted = await _change(call)
    if not wanted.methods:
        raise InvalidValue("method", "a storage needs one, with the uri of a folder or bucket")
    added = await call.core.catalog.add_storage(call.actor, wanted)
    return Answer(await _document(call, added), [[vx(added.storage.id)]])


@ENDPOINTS.add(
    "GET", "/storage/{storage}", role=Role.STORAGE_READ, gives=StorageDocument, says="The id."
)
async def get_storage(call: Call) -> Answer:
    """Get a storage with its methods and its room."""
    found = await call.core.catalog.storage(call.actor, _number(call))
    return Answer(await _document(call, found), [[vx(found.storage.id)]])


@ENDPOINTS.add(
    "PUT",
    "/storage/{storage}",
    role=Role.STORAGE_WRITE,
    gives=StorageDocument,
    says="The storage's id.",
    takes=("StorageDocument",),
    conflicts=True,
)
async def update_storage(call: Call) -> Answer:
    """Change what the document names of a storage; its methods are added, or changed."""
    changed = await call.core.catalog.change_storage(call.actor, _number(call), await _change(call))
    return Answer(await _document(call, changed), [[vx(changed.storage.id)]])


@ENDPOINTS.add("DELETE", "/storage/{storage}", role=Role.STORAGE_WRITE, conflicts=True)
async def delete_storage(call: Call) -> Answer:
    """Forget a storage and its file entities; nothing on it is touched."""
    await call.core.catalog.remove_storage(call.actor, _number(call))
    return Answer(status=204)


@ENDPOINTS.add("POST", "/storage/{storage}/rescan", role=Role.STORAGE_WRITE)
async def rescan_storage(call: Call) -> Answer:
    """Look at the whole storage again soon."""
    found = await call.core.catalog.storage(call.actor, _number(call))
    await call.essence.rescan(call.actor, found.storage.id)
    return Answer()


@ENDPOINTS.add(
    "GET",
    "/storage/{storage}/method",
    role=Role.STORAGE_READ,
    gives=StorageMethodListDocument,
    says="Id, URI and type, parted by tabs.",
)
async def list_methods(call: Call) -> Answer:
    """List the methods of a storage."""
    found = await call.core.catalog.storage(call.actor, _number(call))
    documents = tuple(method_document(method) for method in found.methods)
    return Answer(
        StorageMethodListDocument(method=documents), [_row(document) for document in documents]
    )


@ENDPOINTS.add(
    "PUT",
    "/storage/{storage}/method",
    role=Role.STORAGE_WRITE,
    gives=StorageMethodDocument,
    says="Id, URI and type, parted by tabs.",
    parameters=_METHOD,
)
async def add_method(call: Call) -> Answer:
    """Add a method to a storage; one of the same URI and type is changed instead."""
    method = await call.core.catalog.add_method(call.actor, _number(call), _method(call))
    return _answer(method)


@ENDPOINTS.add(
    "GET",
    "/storage/{storage}/method/{method}",
    role=Role.STORAGE_READ,
    gives=StorageMethodDocument,
    says="Id, URI and type, parted by tabs.",
)
async def get_method(call: Call) -> Answer:
    """Get a method of a storage."""
    wanted = id_of("storage-method", call.path["method"])
    found = await call.core.catalog.storage(call.actor, _number(call))
    for method in found.methods:
        if method.id == wanted:
            return _answer(method)
    raise NotFound("there is no such method", kind="storage-method", id=wanted)


@ENDPOINTS.add(
    "PUT",
    "/storage/{storage}/method/{method}",
    role=Role.STORAGE_WRITE,
    gives=StorageMethodDocument,
    says="Id, URI and type, parted by tabs.",
    parameters=_METHOD,
)
async def update_method(call: Call) -> Answer:
    """Change a method of a storage."""
    wanted = id_of("storage-method", call.path["method"])
    return _answer(
        await call.core.catalog.change_method(call.actor, _number(call), wanted, _method(call))
    )


@ENDPOINTS.add("DELETE", "/storage/{storage}/method/{method}", role=Role.STORAGE_WRITE)
async def delete_method(call: Call) -> Answer:
    """Remove a method of a storage."""
    wanted = id_of("storage-method", call.path["method"])
    await call.core.catalog.remove_method(call.actor, _number(call), wanted)
    return Answer()


def _number(call: Call) -> int:
    number = storage_id(call)
    assert number is not None, "the template names a storage"
    return number


async def _document(call: Call, storage: CatalogStorage) -> StorageDocument:
    return storage_document(storage, await call.essence.room(call.actor, storage.storage))


def _answer(method: Method) -> Answer:
    document = method_document(method)
    return Answer(document, [_row(document)])


def _row(document: StorageMethodDocument) -> tuple[object, ...]:
    return document.id, document.uri, document.type


def _method(call: Call) -> MethodChange:
    given = call.parameters
    return MethodChange(
        uri=given.text("uri") or given.text("url"),
        read=given.flag("read", True) if given.has("read") else None,
        write=given.flag("write", True) if given.has("write") else None,
        browse=given.flag("browse", True) if given.has("browse") else None,
        bandwidth=given.number("bandwidth"),
        type=_method_type(given.text("type")),
    )


def _method_type(text: str | None) -> str | None:
    return "" if text is not None and text.upper() == "NONE" else text


async def _change(call: Call) -> StorageChange:
    body = read_document(
        await call.read_body(), call.headers.get("content-type", ""), "StorageDocument"
    )
    if body is None:
        raise InvalidValue("body", "a StorageDocument is taken here")
    metadata = mapping_of(body, "metadata")
    name = None
    if metadata is not None:
        name = metadata.pop(_NAME, None)
        metadata = {key: metadata[key] for key in metadata if key not in _SHOWN_ONLY}
    kind = body.text_of("type")
    return StorageChange(
        name=name,
        type=kind.upper() if kind else None,
        capacity=number_of(body, "capacity"),
        bandwidth=number_of(body, "bandwidth"),
        low_watermark=number_of(body, "lowWatermark"),
        high_watermark=number_of(body, "highWatermark"),
        low_watermark_percentage=number_of(body, "lowWatermarkPercentage"),
        high_watermark_percentage=number_of(body, "highWatermarkPercentage"),
        auto_detect=flag_of(body, "autoDetect"),
        show_importables=flag_of(body, "showImportables"),
        scan_interval_s=number_of(body, "scanInterval"),
        metadata=metadata,
        methods=tuple(_method_of(method) for method in body.all("method")),
    )


def _method_of(element: Element) -> MethodChange:
    return MethodChange(
        uri=element.text_of("uri"),
        read=flag_of(element, "read"),
        write=flag_of(element, "write"),
        browse=flag_of(element, "browse"),
        bandwidth=number_of(element, "bandwidth"),
        type=_method_type(element.text_of("type")),
        metadata=mapping_of(element, "metadata"),
    )
