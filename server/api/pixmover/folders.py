"""Folders and files: list them as sequences with states and savings, arrange folders."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from server.api.contract import Call, Endpoints, value
from server.api.pixmover.schemas import AN_HOUR, Done
from server.core.errors import (
    InUse,
    NameTaken,
    NotFound,
    StorageFull,
    StorageRefused,
    StorageUnavailable,
)
from server.core.permissions import Action
from server.core.values import check_path
from server.work.files import MAX_PAGE
from server.work.listing import Item

__all__ = ["ENDPOINTS"]

ENDPOINTS = Endpoints("Folders and files")
_CHANGES = (NotFound, NameTaken, StorageRefused, StorageFull, StorageUnavailable)


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderQuery:
    """Which folder to list."""

    storage: str = value("The storage's name.", "nearline")
    path: str = value(
        "The folder; empty is the storage's root.", "shows/dune/sh010", default="", path=True
    )
    group: bool = value("Whether numbered files form sequences.", True, default=True)
    offset: int = value("How many lines to leave out.", 0, default=0, least=0)
    limit: int = value("How many lines to give.", 100, default=100, least=1, most=MAX_PAGE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemBody:
    """A line of a folder: a folder, a file, a link, or a sequence of files."""

    name: str = value("Its name; of a sequence with the frame range.", "bg.[1001-1240].dpx")
    kind: str = value("folder, file, link or other.", "file")
    frames: str = value('The frame range, "" for what is no sequence.', "1001-1240")
    count: int = value("How many files it stands for.", 240)
    size: int | None = value(
        "Bytes, as they are read; null for folders and where it was not looked.", 3057623040
    )
    stored_size: int | None = value(
        "Bytes they take on a PixFS storage; null elsewhere.", 1528811520
    )
    saved: float | None = value("What compression saves, as a part of size.", 0.5)
    states: dict[str, int] = value(
        "How many files are in which state, on a PixFS mount.", {"compressed": 240}
    )
    modified_at: datetime | None = value("When the newest of them was changed.", AN_HOUR)


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderBody:
    """A page of a folder: folders first, then the rest, each by name."""

    storage: str = value("The storage.", "nearline")
    path: str = value("The folder, in its one spelling.", "shows/dune/sh010")
    items: tuple[ItemBody, ...] = value("The lines of this page.", ())
    total: int = value("How many lines the folder has.", 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileQuery:
    """Which file or folder to look at."""

    storage: str = value("The storage's name.", "nearline")
    path: str = value("The file or folder.", "shows/dune/sh010/bg.1001.dpx", path=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDetails:
    """A file or folder."""

    storage: str = value("The storage.", "nearline")
    path: str = value("Its path, in its one spelling.", "shows/dune/sh010/bg.1001.dpx")
    kind: str = value("folder, file, link or other.", "file")
    size: int = value("Bytes, as they are read.", 12740096)
    stored_size: int | None = value("Bytes on a PixFS storage; null elsewhere.", 6370048)
    saved: float | None = value("What compression saves, as a part of size.", 0.5)
    modified_at: datetime = value("When it was changed.", AN_HOUR)
    mode: str = value("Its permission bits, octal.", "644")
    control: dict[str, Any] = value(
        "What the mount tells: state, reason, format, ratio, codec, level, hash, encoded_at.",
        {"state": "compressed", "format": "dpx 2048x1556 rgb 10-bit filled-a be"},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderForm:
    """A folder of a storage."""

    storage: str = value("The storage's name.", "nearline")
    path: str = value("The folder.", "shows/dune/sh020", path=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class RenameForm:
    """What to rename, and to what."""

    storage: str = value("The storage's name.", "nearline")
    path: str = value("The file or folder.", "shows/dune/sh020", path=True)
    new_path: str = value("Its new path on the same storage.", "shows/dune/sh030", path=True)


@ENDPOINTS.add(
    "GET",
    "/folders",
    needs=Action.SEE_FILES,
    takes=FolderQuery,
    gives=FolderBody,
    errors=(NotFound, StorageUnavailable),
)
async def list_folder(call: Call, query: FolderQuery) -> FolderBody:
    """List a folder, its numbered files as sequences, with states, sizes and savings."""
    path = check_path("path", query.path)
    page = await call.files.list(
        call.actor,
        query.storage,
        path,
        offset=query.offset,
        limit=query.limit,
        grouped=query.group,
    )
    items = tuple(_render(item) for item in page.items)
    return FolderBody(storage=query.storage, path=path, items=items, total=page.total)


@ENDPOINTS.add(
    "POST",
    "/folders",
    needs=Action.CHANGE_FILES,
    takes=FolderForm,
    gives=Done,
    errors=_CHANGES,
)
async def make_folder(call: Call, form: FolderForm) -> Done:
    """Make a folder, and those above it that are missing."""
    await call.files.make_folder(call.actor, form.storage, form.path)
    return Done()


@ENDPOINTS.add(
    "POST",
    "/folders/remove",
    needs=Action.CHANGE_FILES,
    takes=FolderForm,
    gives=Done,
    errors=(NotFound, InUse, StorageRefused, StorageUnavailable),
)
async def remove_folder(call: Call, form: FolderForm) -> Done:
    """Remove an empty folder. Files are deleted by a job, which tells what it did."""
    await call.files.remove_folder(call.actor, form.storage, form.path)
    return Done()


@ENDPOINTS.add(
    "GET",
    "/files",
    needs=Action.SEE_FILES,
    takes=FileQuery,
    gives=FileDetails,
    errors=(NotFound, StorageUnavailable),
)
async def get_file(call: Call, query: FileQuery) -> FileDetails:
    """Show one file or folder."""
    path = check_path("path", query.path)
    found = await call.files.details(call.actor, query.storage, path)
    return FileDetails(
        storage=query.storage,
        path=path,
        kind=found.kind,
        size=found.size,
        stored_size=found.stored,
        saved=_saved(found.size, found.stored),
        modified_at=_time(found.mtime_ns),
        mode=f"{found.mode:o}",
        control=dict(found.control),
    )


@ENDPOINTS.add(
    "POST",
    "/files/rename",
    needs=Action.CHANGE_FILES,
    takes=RenameForm,
    gives=Done,
    errors=(*_CHANGES, InUse),
)
async def rename_file(call: Call, form: RenameForm) -> Done:
    """Rename a file or folder within its storage; nothing is ever replaced."""
    await call.files.rename(call.actor, form.storage, form.path, form.new_path)
    return Done()


def _render(item: Item) -> ItemBody:
    return ItemBody(
        name=item.name,
        kind=item.kind,
        frames=item.frames,
        count=item.count,
        size=item.size,
        stored_size=item.stored,
        saved=_saved(item.size, item.stored),
        states=item.states,
        modified_at=None if item.mtime_ns is None else _time(item.mtime_ns),
    )


def _saved(size: int | None, stored: int | None) -> float | None:
    return round(1 - stored / size, 4) if size and stored is not None else None


def _time(ns: int) -> datetime:
    """A file's time; what no calendar holds becomes the nearest that one does."""
    seconds = min(max(ns / 1e9, -62135596800), 253402300799)
    return datetime.fromtimestamp(seconds, UTC)
