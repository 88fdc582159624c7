"""Which files there are: lists, one file, and those that can be imported."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, cast

from server.api.vidispine.documents import (
    FileDocument,
    FileListDocument,
    ImportableFile,
    ImportableFileListDocument,
)
from server.api.vidispine.endpoints import (
    Answer,
    Call,
    Endpoints,
    Parameter,
    Role,
    choice,
    flag,
    number,
    text,
)
from server.api.vidispine.ids import numbers_of, vx
from server.api.vidispine.rendering import text_time
from server.api.vidispine.resources import find_file, storage_id, views
from server.api.vidispine.views import file_row
from server.core.catalog import (
    MAX_PAGE,
    FilePage,
    FileQuery,
    FileState,
    PathMatch,
    Sort,
    SortKey,
)
from server.core.errors import InvalidValue

if TYPE_CHECKING:
    from server.api.vidispine.parameters import Parameters

__all__ = ["ENDPOINTS", "FRESH_AT", "INCLUDE_ITEM", "URIS"]

ENDPOINTS = Endpoints("Information about files")

FRESH_AT = "X-PixFS-Index-Fresh-At"
"""The header of a list that says since when every change on the disks is in it."""

_FILTERS = ("all", "item", "noitem")
_ALGORITHMS = ("SHA-1",)
_STATES = tuple(state.value for state in FileState)

URIS: tuple[Parameter, ...] = (
    text("methodType", "URIs of storage methods of this type; by default of those without one."),
    text("storageType", "URIs only of files on storages of this type."),
    text("methodMetadata", "key=value that a storage method must have.", many=True),
    text("scheme", "URIs of this scheme only."),
)
INCLUDE_ITEM = flag(
    "includeItem", "Tell the items, shapes and components, too.", False, where="matrix"
)
_WHICH: tuple[Parameter, ...] = (
    text("id", "Files of these ids only.", many=True),
    text("path", "Files under this path; a trailing slash means what is in a folder.", default="/"),
    flag("ignorecase", "Capitals and small letters of the path are the same.", False),
    flag("recursive", "Whole trees; false is what lies directly in a folder.", True),
    flag("wildcard", "? and * in the path stand for others, \\ quotes them.", False),
    text("hash", "Files with one of these hashes, in hex.", many=True),
    text("algorithm", f"What the hashes are made with: {', '.join(_ALGORITHMS)}."),
    flag("count", "Whether to say how many there are in all.", True),
    choice("state", "Files in these states only.", _STATES, many=True),
    *URIS,
    number("first", "How many to leave out.", where="matrix", default="0"),
    number("number", f"How many to give, {MAX_PAGE} at most.", where="matrix", default="10"),
    text(
        "sort",
        f"Keys, each with asc or desc after it: {', '.join(SortKey)}.",
        where="matrix",
        many=True,
        default="fileId asc",
    ),
    text("storage", "Files on these storages only.", where="matrix", many=True),
    choice("filter", "Files that belong to an item, or to none.", _FILTERS, where="matrix"),
)
_LIST = (
    *_WHICH,
    flag("excludeQueued", "Leave out what an import is queued for.", False, where="matrix"),
    INCLUDE_ITEM,
)
_IMPORTABLE = (
    flag("auto", "Also those that rules will import by themselves; there are none.", False),
    *_WHICH,
    flag("excludeQueued", "Leave out what an import is queued for.", True, where="matrix"),
    INCLUDE_ITEM,
)


@ENDPOINTS.add(
    "GET",
    "{storage-resource}/file",
    role=Role.FILE_READ,
    gives=FileListDocument,
    says="Ids, one a line.",
    parameters=_LIST,
)
async def list_files(call: Call) -> Answer:
    """List files in storage."""
    page = await _page(call, _query(call, exclude_queued=False))
    return Answer(
        FileListDocument(hits=page.hits, file=await views(call).files(page.files)),
        [[vx(file.id)] for file in page.files],
        headers=_freshness(page),
    )


@ENDPOINTS.add(
    "GET",
    "{storage-resource}/importable",
    role=Role.STORAGE_READ,
    gives=ImportableFileListDocument,
    parameters=_IMPORTABLE,
)
async def list_importable_files(call: Call) -> Answer:
    """Get files that can be imported: those that belong to no component."""
    return await _importable(call)


@ENDPOINTS.add(
    "GET",
    "{storage-resource}/file/importable",
    role=Role.STORAGE_READ,
    gives=ImportableFileListDocument,
    parameters=_IMPORTABLE,
)
async def list_importable_files_too(call: Call) -> Answer:
    """Get files that can be imported, where Vidispine's own JavaScript client asks for them."""
    return await _importable(call)


@ENDPOINTS.add(
    "GET",
    "{file-resource}",
    role=Role.FILE_READ,
    gives=FileDocument,
    says="Id, path, size, state and timestamp, parted by tabs.",
    parameters=(*URIS, INCLUDE_ITEM),
)
async def get_file(call: Call) -> Answer:
    """Get status of file in storage."""
    include_item = call.parameters.flag("includeItem", False)
    file = await find_file(call, include_item=include_item)
    return Answer(await views(call).file(file), [file_row(file)])


async def _importable(call: Call) -> Answer:
    call.parameters.flag("auto", False)
    query = _query(call, exclude_queued=True)
    if query is not None:
        query = await _only_importable(call, query)
    page = await _page(call, query)
    documents = await views(call).files(page.files)
    elements = tuple(ImportableFile(file=document) for document in documents)
    return Answer(
        ImportableFileListDocument(hits=page.hits, element=elements), headers=_freshness(page)
    )


async def _only_importable(call: Call, query: FileQuery) -> FileQuery | None:
    """The same of files that belong to no item; None when nothing can be it."""
    storages = query.storages
    if not storages:
        known = await call.core.catalog.storages(call.actor)
        storages = tuple(one.storage.id for one in known if one.traits.show_importables)
    if query.filter == "item" or not storages:
        return None
    return replace(query, storages=storages, filter="noitem")


async def _page(call: Call, query: FileQuery | None) -> FilePage:
    storage = storage_id(call)
    if storage is not None:
        await call.core.catalog.storage(call.actor, storage)  # NotFound is the storage's
    if query is None:
        return FilePage((), 0 if call.parameters.flag("count", True) else None, None)
    return await call.core.catalog.files(call.actor, query)


def _query(call: Call, *, exclude_queued: bool) -> FileQuery | None:
    """What the parameters ask for; None when nothing can be it."""
    given = call.parameters
    storages = numbers_of("storage", given.words("storage"))
    storage = storage_id(call)
    if storage is not None:
        if storages and storage not in storages:
            return None
        storages = (storage,)
    wanted = (given.text("filter") or "all").strip().lower()
    if wanted not in _FILTERS:
        raise InvalidValue("filter", f"one of {', '.join(_FILTERS)}")
    first = given.number("first", "start", default=0)
    # A page has its limit; whoever asks for more gets as much, and asks again.
    many = given.number("number", default=10)
    return FileQuery(
        storages=storages,
        ids=numbers_of("id", given.words("id")),
        path=PathMatch(
            given.text("path") or "",
            recursive=given.flag("recursive", True),
            wildcard=given.flag("wildcard", False),
            ignorecase=given.flag("ignorecase", False),
        ),
        hashes=tuple(word.lower() for word in given.words("hash")),
        algorithm=_algorithm(given.text("algorithm") or ""),
        states=given.choices("state", FileState),
        filter=cast('Literal["all", "item", "noitem"]', wanted),
        exclude_queued=given.flag("excludeQueued", exclude_queued),
        first=first or 0,
        number=min(MAX_PAGE if many is None else many, MAX_PAGE),
        sort=_sort(given),
        count=given.flag("count", True),
        include_item=given.flag("includeItem", False),
    )


def _algorithm(text: str) -> str:
    """A hash algorithm by the name it has here, however a client spells it."""
    spelled = {_bare(name): name for name in _ALGORITHMS}
    return spelled.get(_bare(text), text)


def _bare(name: str) -> str:
    return "".join(char for char in name.lower() if char.isalnum())


def _sort(given: Parameters) -> tuple[Sort, ...]:
    keys = {key.value.lower(): key for key in SortKey}
    default = (given.text("sort-order") or "asc").strip().lower()
    found: dict[SortKey, Sort] = {}
    for word in given.words("sort"):
        name, _, order = word.partition(" ")
        order = order.strip().lower() or default
        key = keys.get(name.lower())
        if key is None or order not in ("asc", "desc"):
            raise InvalidValue("sort", f"keys are {', '.join(SortKey)}, each with asc or desc")
        found.setdefault(key, Sort(key, descending=order == "desc"))
    return tuple(found.values()) or (Sort(),)


def _freshness(page: FilePage) -> dict[str, str]:
    return {FRESH_AT: text_time(page.fresh_at) or "never"}
