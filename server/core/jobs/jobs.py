"""Jobs as a face asks for them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from server.core.access import access_of_actor
from server.core.errors import InvalidValue, NotFound
from server.core.jobs import control, queries
from server.core.permissions import Action, Actor, require
from server.core.schema import utc_now
from server.core.storages import StorageKind, find_storage
from server.core.values import check_path

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from server.core.database import Database
    from server.core.jobs.queries import FileError, FileState, Filter, Job
    from server.core.jobs.spec import JobRequest
    from server.core.storages import Storage

__all__ = ["Jobs", "Page", "Part"]

# A name with one of these may stand for others; what is above it is a folder.
_PATTERN = frozenset("*?[#%")


@dataclass(frozen=True, slots=True)
class Page:
    """Some jobs, and what to ask for the next ones with (None on the last page)."""

    jobs: list[Job]
    next_before: int | None


@dataclass(frozen=True, slots=True)
class Part:
    """Some jobs, without what they were asked for, and how many there are in all."""

    jobs: list[Job]
    hits: int


class Jobs:
    """The server's jobs. Methods raise NotAllowed, NotFound, InvalidValue, WrongState.

    Who may see or control a job: everybody with the role sees the jobs on storages of which they
    may reach the files; controls need the role that runs jobs, too.
    """

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime] = utc_now,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """``on_change`` is called after each change that an engine should look at."""
        self._database = database
        self._clock = clock
        self._on_change = on_change

    async def submit(self, actor: Actor, request: JobRequest) -> Job:
        """Takes a job on; it is safe in the database when this returns."""
        require(actor, Action.RUN_JOBS)
        job_id = await self._database.write(_submit, actor, request, self._clock())
        self._on_change()
        return await self.get(actor, job_id)

    def changed(self) -> None:
        """Lets an engine look at what another noun has submitted; from the trio thread."""
        self._on_change()

    async def get(self, actor: Actor, job_id: int) -> Job:
        """One job with its progress."""
        require(actor, Action.SEE_JOBS)
        return await self._database.read(_get, actor, job_id, self._clock())

    async def page(
        self, actor: Actor, wanted: Filter, *, limit: int = 100, before: int | None = None
    ) -> Page:
        """The newest jobs the actor may see; a page may be shorter than the limit."""
        require(actor, Action.SEE_JOBS)
        return await self._database.read(_list, actor, wanted, self._clock(), limit, before)

    async def part(
        self, actor: Actor, wanted: Filter, *, skip: int, take: int, rising: bool = False
    ) -> Part:
        """Some of the jobs the actor may see, anywhere in the list: the newest first, unless
        ``rising``."""
        require(actor, Action.SEE_JOBS)
        return await self._database.read(_part, actor, wanted, self._clock(), skip, take, rising)

    async def errors(
        self, actor: Actor, job_id: int, *, limit: int = 100, after: int = -1
    ) -> list[FileError]:
        """The files of a job that failed, and why."""
        await self.get(actor, job_id)
        return await self._database.read(queries.errors, job_id, limit=limit, after=after)

    async def files(
        self, actor: Actor, job_id: int, *, limit: int = 100, after: int = -1
    ) -> list[FileState]:
        """The files of a job, each with its state."""
        await self.get(actor, job_id)
        return await self._database.read(queries.files, job_id, limit=limit, after=after)

    async def pause(self, actor: Actor, job_id: int) -> Job:
        """Holds a job; what is under way stops within a batch."""
        return await self._control(control.pause, actor, job_id)

    async def resume(self, actor: Actor, job_id: int) -> Job:
        """Lets a paused job go on."""
        return await self._control(control.resume, actor, job_id)

    async def cancel(self, actor: Actor, job_id: int, reason: str = "") -> Job:
        """Ends a job; what was finished stays. A reason becomes its message."""
        return await self._control(partial(control.cancel, reason=reason), actor, job_id)

    async def retry(self, actor: Actor, job_id: int) -> Job:
        """Tries again what failed or was left."""
        return await self._control(control.retry, actor, job_id)

    async def prioritise(self, actor: Actor, job_id: int, priority: int) -> Job:
        """Gives a job another priority, 0 to 100."""
        return await self._control(control.prioritise, actor, job_id, priority)

    async def _control(
        self, change: Callable[..., object], actor: Actor, job_id: int, *args: object
    ) -> Job:
        require(actor, Action.RUN_JOBS)
        now = self._clock()

        def work(connection: Connection) -> None:
            _get(connection, actor, job_id, now)
            change(connection, actor, job_id, *args, now)

        await self._database.write(work)
        self._on_change()
        return await self.get(actor, job_id)


def _base(source: str) -> str:
    """The path that everything a source can name is at or below."""
    parts = check_path("sources", source).split("/")
    for index, part in enumerate(parts):
        if _PATTERN & set(part):
            return "/".join(parts[:index])
    return "/".join(parts)


def _submit(connection: Connection, actor: Actor, request: JobRequest, now: datetime) -> int:
    access = access_of_actor(connection, actor)
    source = _find(connection, "source", request.source)
    for path in request.sources:
        base = check_path("sources", path) if request.exact else _base(path)
        access.require(source.id, base)
    if request.kind.changes_source and source.read_only:
        raise InvalidValue("source", "the storage is read-only")
    if request.kind in ("compress", "restore") and source.kind is not StorageKind.PIXFS:
        raise InvalidValue("source", f"only a PixFS mount's files can be told to {request.kind}")
    target = None
    if request.kind.has_target:
        target = _find(connection, "target", request.target)
        place = request.rename or request.destination
        access.require(target.id, check_path("destination", place))
        if target.read_only:
            raise InvalidValue("target", "the storage is read-only")
        if not request.exact:
            _refuse_nesting(source, request.sources, target, request.destination)
    return control.submit(connection, actor, request, source.id, target.id if target else None, now)


def _refuse_nesting(
    source: Storage, sources: Sequence[str], target: Storage, destination: str
) -> None:
    """InvalidValue when the names alone tell that something would go into itself, or to where it
    is; what links, mounts and patterns lead to is for the worker that looks."""
    if (source.kind is StorageKind.S3, source.endpoint) != (
        target.kind is StorageKind.S3,
        target.endpoint,
    ):
        return
    goal = _joined(target.root, check_path("destination", destination))
    for text in sources:
        path = check_path("sources", text)
        if path != _base(text):
            continue
        place = _joined(source.root, path)
        if f"{goal}/".startswith(f"{place}/"):
            raise InvalidValue("destination", f"{text!r} would be copied or moved into itself")
        if path and _joined(goal, path.rpartition("/")[2]) == place:
            raise InvalidValue("destination", f"{text!r} is there already: it is its own folder")


def _joined(root: str, path: str) -> str:
    return f"{root.rstrip('/')}/{path}".rstrip("/")


def _find(connection: Connection, field: str, name: str) -> Storage:
    try:
        return find_storage(connection, name)
    except NotFound:
        raise InvalidValue(field, f"there is no storage {name!r}") from None


def _part(
    connection: Connection,
    actor: Actor,
    wanted: Filter,
    now: datetime,
    skip: int,
    take: int,
    rising: bool,
) -> Part:
    take = max(0, min(take, queries.MAX_PAGE))
    access = access_of_actor(connection, actor)
    if access.everything:
        hits = queries.count(connection, wanted)
        numbers = queries.part(connection, wanted, skip=skip, take=take, rising=rising)
    else:
        seen = [
            job_id
            for job_id, owner_id, source_id, sources in queries.places(connection, wanted)
            if owner_id == actor.user_id
            or all(access.includes(source_id, _base(path)) for path in sources)
        ]
        hits = len(seen)
        numbers = (seen[::-1] if rising else seen)[skip : skip + take]
    return Part(queries.some(connection, numbers, now), hits)


def _may_see(connection: Connection, actor: Actor, jobs: list[Job]) -> list[Job]:
    access = access_of_actor(connection, actor)
    if access.everything:
        return jobs
    return [
        job
        for job in jobs
        if job.owner_id == actor.user_id
        or all(access.includes(job.source_id, _base(path)) for path in job.spec["sources"])
    ]


def _get(connection: Connection, actor: Actor, job_id: int, now: datetime) -> Job:
    job = queries.get(connection, job_id, now)
    if not _may_see(connection, actor, [job]):
        raise NotFound("there is no such job", kind="Job", id=job_id)
    return job


def _list(
    connection: Connection,
    actor: Actor,
    wanted: Filter,
    now: datetime,
    limit: int,
    before: int | None,
) -> Page:
    found, goes_on = queries.page(connection, wanted, now, limit=limit, before=before)
    return Page(_may_see(connection, actor, found), found[-1].id if goes_on else None)
