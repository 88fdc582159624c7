"""The catalogue as a face asks it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from server.core.catalog import entities, listing, storages, work
from server.core.catalog.uris import root_of
from server.core.permissions import Action, require
from server.core.schema import utc_now
from server.core.storages import StorageKind, refuse_private

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
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
    from server.core.catalog.work import Part
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
        self,
        database: Database,
        jobs: Jobs,
        clock: Callable[[], datetime] = utc_now,
        private: Sequence[str] = (),
    ) -> None:
        """``private`` are the server's own directories and files: no method leads to them."""
        self._database = database
        self._jobs = jobs
        self._clock = clock
        self._private = tuple(private)

    # Storages

    async def storages(self, actor: Actor) -> list[CatalogStorage]:
        """The storages the actor may see any part of, by id."""
        require(actor, Action.SEE_FILES)
        return await self._database.read(storages.list_visible, actor)

    async def storage(self, actor: Actor, storage_id: int) -> CatalogStorage:
        """One storage."""
        require(actor, Action.SEE_FILES)
        return await self._database.read(storages.get, actor, storage_id)

    async def add_storage(self, actor: Actor, wanted: StorageChange) -> CatalogStorage:
        """A new storage. NameTaken. Whether its root can be used is not looked at."""
        require(actor, Action.MANAGE_STORAGES)
        await self._refuse_private(*wanted.methods)
        number = await self._database.write(storages.add, actor, wanted, self._clock())
        return await self.storage(actor, number)

    async def change_storage(
        self, actor: Actor, storage_id: int, wanted: StorageChange
    ) -> CatalogStorage:
        """Changes what is not None; methods have calls of their own. NameTaken."""
        require(actor, Action.MANAGE_STORAGES)
        await self._refuse_private(*wanted.methods)
        await self._database.write(storages.change, actor, storage_id, wanted, self._clock())
        return await self.storage(actor, storage_id)

    async def remove_storage(self, actor: Actor, storage_id: int) -> None:
        """Forgets a storage and its entities; InUse while files belong to items, or jobs that
        have not ended work on it."""
        require(actor, Action.MANAGE_STORAGES)
        await self._database.write(storages.remove, actor, storage_id, self._clock())

    async def add_method(self, actor: Actor, storage_id: int, wanted: MethodChange) -> Method:
        """Another method; one with the same URI and type is changed instead."""
        require(actor, Action.MANAGE_STORAGES)
        await self._refuse_private(wanted)
        return await self._database.write(
            storages.put_method, actor, storage_id, wanted, self._clock()
        )

    async def change_method(
        self, actor: Actor, storage_id: int, method_id: int, wanted: MethodChange
    ) -> Method:
        """Changes what is not None."""
        require(actor, Action.MANAGE_STORAGES)
        await self._refuse_private(wanted)
        return await self._database.write(
            storages.put_method, actor, storage_id, wanted, self._clock(), method_id
        )

    async def remove_method(self, actor: Actor, storage_id: int, method_id: int) -> None:
        """Removes a method; another one that can be written to becomes the storage's root."""
        require(actor, Action.MANAGE_STORAGES)
        await self._database.write(
            storages.take_method, actor, storage_id, method_id, self._clock()
        )

    async def _refuse_private(self, *wanted: MethodChange) -> None:
        """Raise InvalidValue when a method leads to what is the server's own."""
        for method in wanted:
            if method.uri:
                kind, root = root_of(method.uri)
                if kind is not StorageKind.S3:
                    await trio.to_thread.run_sync(refuse_private, root, self._private, "uri")

    # Files

    async def files(self, actor: Actor, query: FileQuery) -> FilePage:
        """A page of the files a query names."""
        require(actor, Action.SEE_FILES)
        return await self._database.read(listing.page, actor, query)

    async def file(
        self,
        actor: Actor,
        file_id: int,
        *,
        storage_id: int | None = None,
        include_item: bool = False,
    ) -> CatalogFile:
        """One file; NotFound too when it is not on ``storage_id``."""
        require(actor, Action.SEE_FILES)
        return await self._database.read(
            entities.get, actor, file_id, storage_id, include_item=include_item
        )

    async def file_at(
        self, actor: Actor, path: str, *, storage_id: int | None = None, include_item: bool = False
    ) -> CatalogFile:
        """The file of a path; without a storage the first storage that has one counts."""
        require(actor, Action.SEE_FILES)
        return await self._database.read(
            entities.file_at, actor, path, storage_id, include_item=include_item
        )

    async def file_of_uri(
        self, actor: Actor, uri: str, *, storage_id: int | None = None, include_item: bool = False
    ) -> CatalogFile:
        """The file of an absolute URI, which a storage method must lead to."""
        storage_id, path = await self.place_of(actor, storage_id=storage_id, path=None, uri=uri)
        return await self.file_at(actor, path, storage_id=storage_id, include_item=include_item)

    async def place_of(
        self, actor: Actor, *, storage_id: int | None, path: str | None, uri: str | None
    ) -> tuple[int, str]:
        """(storage, path) that a storage id and a path, or a URI, stand for."""
        require(actor, Action.SEE_FILES)
        return await self._database.read(entities.place_of, actor, storage_id, path, uri)

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
        require(actor, Action.CHANGE_FILES)
        return await self._database.write(
            entities.add, actor, storage_id, path, state, self._clock(), create_only=create_only
        )

    async def remove_file(self, actor: Actor, file_id: int) -> None:
        """Removes the entity; the file itself stays."""
        require(actor, Action.CHANGE_FILES)
        await self._database.write(entities.remove, actor, file_id, self._clock())

    async def set_state(self, actor: Actor, file_id: int, state: FileState) -> CatalogFile:
        """Gives a file another state."""
        require(actor, Action.CHANGE_FILES)
        return await self._database.write(entities.set_state, actor, file_id, state, self._clock())

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
        require(actor, Action.CHANGE_FILES)
        return await self._database.write(
            entities.set_path,
            actor,
            file_id,
            storage_id,
            path,
            state,
            self._clock(),
            duplicate=duplicate,
        )

    async def abandon(self, actor: Actor, file_id: int, item_id: int | None = None) -> None:
        """Disconnects a file from an item, or from all."""
        require(actor, Action.CHANGE_FILES)
        await self._database.write(entities.abandon, actor, file_id, item_id, self._clock())

    # Jobs

    async def copy_file(
        self, actor: Actor, file_id: int, target_id: int, options: TransferOptions
    ) -> Job:
        """Starts a copy, or a move, to another storage; StorageRefused when it is closed."""
        require(actor, Action.CHANGE_FILES)
        return await self._submit(actor, work.copy_file, file_id, target_id, options)

    async def delete_file(self, actor: Actor, file_id: int, options: JobOptions) -> Job:
        """Starts the deletion of a file; its entity goes with it. StorageRefused."""
        require(actor, Action.CHANGE_FILES)
        return await self._submit(actor, work.delete_file, file_id, options)

    async def import_file(self, actor: Actor, file_id: int, options: ImportOptions) -> Job:
        """Starts an import; InUse when the file is imported or being imported, NameTaken when an
        item has one of the external ids."""
        return await self.import_parts(actor, file_id, (), options)

    async def import_parts(
        self, actor: Actor, file_id: int, parts: tuple[Part, ...], options: ImportOptions
    ) -> Job:
        """Starts an import of a package: the file is its ASSETMAP, the parts are what that
        names."""
        return await self._submit(actor, work.import_parts, file_id, parts, options)

    async def reindex(self, actor: Actor, file_id: int) -> Job:
        """Starts a job that looks at the file again: size, time, hash."""
        require(actor, Action.CHANGE_FILES)
        return await self._submit(actor, work.reindex, file_id)

    async def repeat(self, actor: Actor, job_id: int) -> Job:
        """Starts a new job of what one that succeeded was asked for; WrongState of another,
        InUse when its files are imported."""
        require(actor, Action.CHANGE_FILES)
        await self._jobs.get(actor, job_id)
        return await self._submit(actor, work.repeat, job_id)

    async def _submit(self, actor: Actor, submit: Callable[..., int], *args: object) -> Job:
        require(actor, Action.RUN_JOBS)
        job_id = await self._database.write(submit, actor, *args, self._clock())
        self._jobs.changed()
        return await self._jobs.get(actor, job_id)

    @staticmethod
    def job_data(job: Job) -> Mapping[str, str]:
        """A job's data for whoever started it: its metadata, and ``fileId``, ``item`` ...; numbers
        are without a prefix. Empty for a job of another face's."""
        return work.job_data(job.spec)
