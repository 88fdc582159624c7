"""The catalogue as a face asks it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.core.schema import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from server.core.catalog.model import (
        CatalogFile,
        CatalogStorage,
        FilePage,
        FileQuery,
        FileState,
        ImportOptions,
        JobOptions,
        Method,
        MethodChange,
        StorageChange,
        TransferOptions,
    )
    from server.core.database import Database
    from server.core.jobs import Job, Jobs
    from server.core.permissions import Actor

__all__ = ["Catalog"]


class Catalog:
    """File entities and what belongs to them. Safe to call from the trio thread.

    Every method raises NotAllowed, NotFound (with ``kind`` and ``id``; also for what the actor
    may not reach) and InvalidValue.
    """

    def __init__(
        self, database: Database, jobs: Jobs, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._clock = clock

    # Storages

    async def storages(self, actor: Actor) -> list[CatalogStorage]:
        """The storages the actor may see any part of, by id."""
        raise NotImplementedError

    async def storage(self, actor: Actor, storage_id: int) -> CatalogStorage:
        """One storage."""
        raise NotImplementedError

    async def add_storage(self, actor: Actor, wanted: StorageChange) -> CatalogStorage:
        """A new storage. NameTaken. Whether its root can be used is not looked at."""
        raise NotImplementedError

    async def change_storage(
        self, actor: Actor, storage_id: int, wanted: StorageChange
    ) -> CatalogStorage:
        """Changes what is not None; methods have calls of their own. NameTaken."""
        raise NotImplementedError

    async def remove_storage(self, actor: Actor, storage_id: int) -> None:
        """Forgets a storage and its entities; InUse while files belong to items."""
        raise NotImplementedError

    async def add_method(self, actor: Actor, storage_id: int, wanted: MethodChange) -> Method:
        """Another method; one with the same URI and type is changed instead."""
        raise NotImplementedError

    async def change_method(
        self, actor: Actor, storage_id: int, method_id: int, wanted: MethodChange
    ) -> Method:
        """Changes what is not None."""
        raise NotImplementedError

    async def remove_method(self, actor: Actor, storage_id: int, method_id: int) -> None:
        """Removes a method; another one that can be written to becomes the storage's root."""
        raise NotImplementedError

    # Files

    async def files(self, actor: Actor, query: FileQuery) -> FilePage:
        """A page of the files a query names."""
        raise NotImplementedError

    async def file(
        self,
        actor: Actor,
        file_id: int,
        *,
        storage_id: int | None = None,
        include_item: bool = False,
    ) -> CatalogFile:
        """One file; NotFound too when it is not on ``storage_id``."""
        raise NotImplementedError

    async def file_at(
        self, actor: Actor, path: str, *, storage_id: int | None = None, include_item: bool = False
    ) -> CatalogFile:
        """The file of a path; without a storage the first storage that has one counts."""
        raise NotImplementedError

    async def file_of_uri(
        self, actor: Actor, uri: str, *, storage_id: int | None = None, include_item: bool = False
    ) -> CatalogFile:
        """The file of an absolute URI, which a storage method must lead to."""
        raise NotImplementedError

    async def place_of(
        self, actor: Actor, *, storage_id: int | None, path: str | None, uri: str | None
    ) -> tuple[int, str]:
        """(storage, path) that a storage id and a path, or a URI, stand for."""
        raise NotImplementedError

    async def add_file(
        self,
        actor: Actor,
        storage_id: int,
        path: str,
        *,
        state: FileState | None = None,
        create_only: bool = True,
    ) -> CatalogFile:
        """An entity; no file is made. FileExists when there is one and ``create_only``; else
        that one gets the state, if one is given."""
        raise NotImplementedError

    async def remove_file(self, actor: Actor, file_id: int) -> None:
        """Removes the entity; the file itself stays."""
        raise NotImplementedError

    async def set_state(self, actor: Actor, file_id: int, state: FileState) -> CatalogFile:
        """Gives a file another state."""
        raise NotImplementedError

    async def set_path(
        self,
        actor: Actor,
        file_id: int,
        path: str,
        *,
        storage_id: int | None = None,
        state: FileState | None = None,
        duplicate: bool = False,
    ) -> CatalogFile:
        """The entity of another place, which takes over the components; the old entity goes.
        With ``duplicate`` both stay, and belong to the same components."""
        raise NotImplementedError

    async def abandon(self, actor: Actor, file_id: int, item_id: int | None = None) -> None:
        """Disconnects a file from an item, or from all."""
        raise NotImplementedError

    # Jobs

    async def copy_file(
        self, actor: Actor, file_id: int, target_id: int, options: TransferOptions
    ) -> Job:
        """Starts a copy, or a move, to another storage."""
        raise NotImplementedError

    async def delete_file(self, actor: Actor, file_id: int, options: JobOptions) -> Job:
        """Starts the deletion of a file; its entity goes with it."""
        raise NotImplementedError

    async def import_file(self, actor: Actor, file_id: int, options: ImportOptions) -> Job:
        """Starts an import; InUse when the file is imported or being imported."""
        raise NotImplementedError

    async def reindex(self, actor: Actor, file_id: int) -> Job:
        """Starts a job that looks at the file again: size, time, hash."""
        raise NotImplementedError

    @staticmethod
    def job_data(job: Job) -> Mapping[str, str]:
        """A job's data for whoever started it: its metadata, and ``fileId``, ``item`` ..."""
        raise NotImplementedError
