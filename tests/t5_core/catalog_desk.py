"""A catalogue over directories for tests, with the bytes, the jobs and the scans of a server."""

from __future__ import annotations

from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING

import trio

from server.core import Core
from server.core.catalog import CatalogFile, FileQuery, MethodChange, StorageChange
from server.core.jobs import JobState
from server.core.permissions import SYSTEM
from server.core.s3_endpoints import Addressing
from server.core.sealing import Sealer
from server.work.catalogue import Catalogue
from server.work.essence import Essence, Piece, Upload
from server.work.service import run_jobs
from tests.s3 import client_of, settings
from tests.t5_core.desk import Clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from server.core.database import Database
    from server.core.jobs import Job
    from server.work.scanner import Timing

PATIENCE_S = 120


class CatalogDesk:
    """Storages below ``base``, and all that works on them."""

    def __init__(self, database: Database, base: Path) -> None:
        self.base = base
        self.clock = Clock()
        self.database = database
        self.restart()

    def restart(self) -> None:
        """What a new process begins with: only the database is what it was."""
        sealer = Sealer.from_file(self.base / "secrets.key")
        self.core = Core(self.database, sealer, clock=self.clock, spool=self.base / "spool")
        self.essence = Essence(self.core)
        self.catalog = self.core.catalog

    async def make_storage(self, name: str) -> int:
        """A storage on a directory that is made; its number."""
        (self.base / name).mkdir()
        return await self.add_storage((self.base / name).as_uri())

    async def make_bucket(self, endpoint: str, name: str) -> int:
        """A storage in a bucket that is made for it; its number."""
        known = settings(endpoint)
        with closing(client_of(endpoint)) as client:
            client.create_bucket(Bucket=name)
        await self.core.s3_endpoints.add(
            SYSTEM,
            "moto",
            url=endpoint,
            region=known["region"],
            access_key=known["access_key"],
            secret_key=known["secret_key"],
            addressing=Addressing.PATH,
        )
        return await self.add_storage(f"s3://{name}/shows", endpoint="moto")

    async def add_storage(self, uri: str, **metadata: str) -> int:
        """A storage at a URI; its number."""
        method = MethodChange(uri=uri, metadata=metadata)
        made = await self.catalog.add_storage(SYSTEM, StorageChange(methods=(method,)))
        return made.storage.id

    async def upload(self, storage: int, path: str, data: bytes, **more: object) -> CatalogFile:
        """A file that comes in one request."""
        wanted = Upload(storage, path, size=len(data), **more)  # type: ignore[arg-type]
        async with self.essence.upload(SYSTEM, wanted) as writer:
            await writer.write(data)
            found = await writer.finish()
        assert found is not None
        return found

    async def send_piece(
        self, storage: int, path: str, transfer: str, offset: int, data: bytes, total: int
    ) -> CatalogFile | None:
        """A piece of a file."""
        wanted = Upload(storage, path, size=len(data))
        piece = Piece(transfer, offset, total)
        async with self.essence.piece(SYSTEM, wanted, piece) as writer:
            await writer.write(data)
            return await writer.finish()

    async def read(self, file: CatalogFile) -> bytes:
        """All bytes of a file."""
        data = bytearray()
        async with self.essence.open(SYSTEM, file.id) as found:
            while more := await found.read(len(data), 1 << 20):
                data += more
        return bytes(data)

    async def paths(self, **query: object) -> list[str]:
        """The paths of a list."""
        page = await self.catalog.files(SYSTEM, FileQuery(number=1000, **query))  # type: ignore[arg-type]
        return [file.path for file in page.files]

    def hidden(self) -> list[Path]:
        """What is left under hidden names, and in the spool."""
        return [p for p in self.base.rglob("*") if "pixfs-part" in p.name or "upload-" in p.name]

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """The job engine, at work for the length of the block."""
        async with trio.open_nursery() as nursery:
            await nursery.start(run_jobs, self.core)
            yield
            nursery.cancel_scope.cancel()

    async def until_ended(self, job: Job) -> Job:
        """Waits until a job is over."""
        with trio.fail_after(PATIENCE_S):
            while True:
                found = await self.core.jobs.get(SYSTEM, job.id)
                if JobState(found.state).is_final:
                    return found
                await trio.sleep(0.02)

    async def done(self, job: Job) -> Job:
        """Waits until a job is over, and that it came to a good end."""
        found = await self.until_ended(job)
        errors = await self.core.jobs.errors(SYSTEM, job.id)
        assert found.state is JobState.SUCCEEDED, (found.message, errors)
        return found

    async def scan(self, storage: int, timing: Timing | None = None) -> None:
        """One pass over a storage."""
        await Catalogue(self.core, timing).scan_now(storage)
