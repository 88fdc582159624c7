"""File entities: what the catalogue knows of a file, apart from its bytes."""

from __future__ import annotations

from server.api.vidispine.bodies import read_document
from server.api.vidispine.documents import FileDocument
from server.api.vidispine.endpoints import Answer, Call, Endpoints, Role, choice, flag, text
from server.api.vidispine.ids import number_of, numbers_of, vx
from server.api.vidispine.resources import find_file, storage_id, views
from server.core.catalog import FileState
from server.core.errors import InvalidValue

__all__ = ["ENDPOINTS"]

ENDPOINTS = Endpoints("Managing files")
_STATES = tuple(state.value for state in FileState)


@ENDPOINTS.add(
    "POST",
    "{storage-resource}/file",
    role=Role.FILE_WRITE,
    gives=FileDocument,
    says="The file's id.",
    takes=("FileDocument",),
    conflicts=True,
    parameters=(
        text("path", "The file's path on the storage."),
        text("uri", "The file's absolute URI, beneath that of a storage method."),
        choice("state", "The file's state.", _STATES, default="OPEN"),
        flag("createOnly", "Fail when there is a file of that path.", True),
    ),
)
async def create_file(call: Call) -> Answer:
    """Create a file entity in the database; no physical file is made."""
    given = call.parameters
    body = read_document(
        await call.read_body(), call.headers.get("content-type", ""), "FileDocument"
    )
    path, uri, state = given.text("path"), given.text("uri"), given.text("state")
    storage = storage_id(call)
    if body is not None:
        path, uri = path or body.text_of("path"), uri or body.text_of("uri")
        state = state or body.text_of("state")
        if storage is None and (named := body.text_of("storage")):
            storage = number_of("Storage", named)
    if not (path or uri):
        raise InvalidValue("path", "give the file's path, or its uri")
    where = await call.core.catalog.place_of(
        call.actor, storage_id=storage, path=path or None, uri=uri or None
    )
    file = await call.core.catalog.add_file(
        call.actor,
        *where,
        state=_state("state", state) if state else None,
        create_only=given.flag("createOnly", True),
    )
    return Answer(await views(call).file(file), [[vx(file.id)]])


@ENDPOINTS.add("DELETE", "{file-resource}/entity", role=Role.FILE_WRITE)
async def delete_file_entity(call: Call) -> Answer:
    """Delete a file entity from the database; the physical file is not touched."""
    file = await find_file(call)
    await call.core.catalog.remove_file(call.actor, file.id)
    return Answer()


@ENDPOINTS.add(
    "POST",
    "{file-resource}/path",
    role=Role.FILE_WRITE,
    gives=FileDocument,
    says="The file's id.",
    conflicts=True,
    parameters=(
        text("storage", "The new storage; by default the same."),
        text("path", "The new path.", required=True),
        choice("state", "The file's new state.", _STATES),
        flag("duplicate", "The old entity stays: both are of the same components.", False),
    ),
)
async def set_file_path(call: Call) -> Answer:
    """Set new file path, after the file was moved by other means."""
    given = call.parameters
    path, storage, state = given.text("path"), given.text("storage"), given.text("state")
    if not path:
        raise InvalidValue("path", "this parameter is missing")
    file = await find_file(call)
    moved = await call.core.catalog.set_path(
        call.actor,
        file.id,
        path,
        storage_id=numbers_of("storage", (storage,))[0] if storage else None,
        state=_state("state", state) if state else None,
        duplicate=given.flag("duplicate", False),
    )
    return Answer(await views(call).file(moved), [[vx(moved.id)]])


@ENDPOINTS.add(
    "PUT",
    "{file-resource}/state/{state}",
    role=Role.FILE_WRITE,
    gives=FileDocument,
    says="The file's id.",
)
async def set_file_state(call: Call) -> Answer:
    """Set file state."""
    state = _state("state", call.path["state"])
    file = await find_file(call)
    changed = await call.core.catalog.set_state(call.actor, file.id, state)
    return Answer(await views(call).file(changed), [[vx(changed.id)]])


@ENDPOINTS.add(
    "PUT",
    "{file-resource}/abandon",
    role=Role.FILE_WRITE,
    parameters=(text("item", "The item to part it from; by default all of them."),),
)
async def abandon_file(call: Call) -> Answer:
    """Unassociate a file with an item."""
    item = call.parameters.text("item")
    file = await find_file(call)
    number = number_of("Item", item) if item else None
    await call.core.catalog.abandon(call.actor, file.id, number)
    return Answer()


@ENDPOINTS.add(
    "PUT",
    "{file-resource}/re-index",
    role=Role.FILE_WRITE,
    says="The id of the job that looks at the file again.",
)
async def reindex_file(call: Call) -> Answer:
    """Re-index file: look at it again, and queue its hash to be found anew."""
    file = await find_file(call)
    job = await call.core.catalog.reindex(call.actor, file.id)
    return Answer(rows=[[vx(job.id)]])


def _state(name: str, text: str) -> FileState:
    try:
        return FileState(text.strip().upper())
    except ValueError:
        raise InvalidValue(name, f"one of {', '.join(_STATES)}") from None
