"""Jobs: copy, move, compress in place, restore, verify and delete."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from server.api.contract import Call, Endpoints, Nothing, value
from server.api.pixmover.schemas import AN_HOUR
from server.core.errors import InvalidValue, NotFound, WrongState
from server.core.jobs import Filter, Job, JobKind, JobRequest, JobState, Notify
from server.core.jobs.queries import MAX_PAGE
from server.core.jobs.spec import LONGEST_QUIET_S, MOST_PRIORITY
from server.core.permissions import Action
from server.core.values import FASTEST_BPS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["ENDPOINTS"]

ENDPOINTS = Endpoints("Jobs")
_JOB = {"job": ("The job's number.", "17")}
_CONTROLLED = (NotFound, WrongState)


class Overwrite(StrEnum):
    """What happens where a file of the name is there already."""

    FAIL = "fail"
    SKIP = "skip"
    NEWER = "newer"
    REPLACE = "replace"


class Verification(StrEnum):
    """How it is made sure that what landed is what was read."""

    HASH = "hash"
    SIZE = "size"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job to be done."""

    kind: JobKind = value("What to do.", JobKind.COPY)
    source: str = value("The storage the files are on.", "nearline")
    sources: tuple[str, ...] = value(
        "Folders, files, globs (plates/*.dpx) and sequences (bg.[1001-1240].dpx, bg.%04d.dpx).",
        ("shows/dune/sh010", "shows/dune/sh020/bg.[1001-1240].dpx"),
    )
    target: str = value("The storage they go to, of a copy or move.", "archive", default="")
    destination: str = value("The folder they go into there.", "shows/dune", default="")
    overwrite: Overwrite = value(
        "Where another file of the name is there: fail, skip it, replace it, or only an older one.",
        Overwrite.FAIL,
        default=Overwrite.FAIL,
    )
    verify: Verification = value(
        "hash reads back what landed; size trusts the storage. A move always reads back.",
        Verification.HASH,
        default=Verification.HASH,
    )
    stored: bool = value(
        "Move frames as they are stored, without decoding, where both sides can.",
        True,
        default=True,
    )
    quiet_s: int = value(
        "Seconds in which nothing may have been written to the files; 0 does not look.",
        5,
        default=5,
        least=0,
        most=LONGEST_QUIET_S,
    )
    priority: int = value("The highest goes first.", 50, default=50, least=0, most=MOST_PRIORITY)
    limit_bps: int | None = value(
        "Bytes a second it may move, on top of the throttles; none does not limit.",
        50_000_000,
        default=None,
        least=1,
        most=FASTEST_BPS,
    )
    label: str = value("Comes back with the job, and is not looked at.", "dailies", default="")
    webhook: str = value("Takes a POST when the job has ended.", "", default="")
    email: tuple[str, ...] = value("Who gets a mail when the job has ended.", (), default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class JobBody:
    """A job and how far it is."""

    id: int = value("Its number.", 17)
    kind: JobKind = value("What it does.", JobKind.COPY)
    state: JobState = value("What it is at.", JobState.RUNNING)
    priority: int = value("0 to 100.", 50)
    owner: str = value('Who submitted it, "" for the server itself.', "ada")
    source: str = value("The storage the files are on.", "nearline")
    sources: tuple[str, ...] = value("What was named.", ("shows/dune/sh010",))
    target: str = value('The storage they go to, "" where there is none.', "archive")
    destination: str = value("The folder they go into.", "shows/dune")
    limit_bps: int | None = value("Its own limit, null for none.", 50_000_000)
    label: str = value("As it was submitted.", "dailies")
    message: str = value(
        "Why it failed as a whole; before it ends, what it waits for and how long yet, such as a"
        ' storage that is away; what a verification has not proven; "" otherwise.',
        "",
    )
    files_total: int = value("Files it is about; 0 until they have been looked for.", 240)
    files_done: int = value("Files that are done.", 120)
    files_skipped: int = value("Files that were right as they were, or were to be left.", 0)
    files_failed: int = value("Files that failed; GET .../errors tells why.", 0)
    files_unproven: int = value(
        "Verified files that can be read, and have no checksum that says what they should be.", 0
    )
    bytes_total: int = value("Bytes of the files as they are read.", 3_000_000_000)
    bytes_done: int = value("Bytes of those that have ended.", 1_500_000_000)
    bytes_stored: int = value("Bytes that really moved.", 700_000_000)
    bytes_moving: int = value("Bytes that batches under way have moved.", 20_000_000)
    batches_running: int = value("Batches workers are at.", 4)
    bytes_per_second: int = value("Its speed so far, pauses left out.", 250_000_000)
    eta_seconds: int | None = value("How long it goes on at that speed; null if unknown.", 6)
    created_at: datetime = value("When it was submitted.", AN_HOUR)
    started_at: datetime | None = value("When it was begun.", AN_HOUR)
    finished_at: datetime | None = value("When it ended.", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobQuery:
    """Which jobs to list."""

    state: tuple[JobState, ...] = value("Only those in one of these.", (), default=())
    kind: tuple[JobKind, ...] = value("Only those of one of these.", (), default=())
    mine: bool = value("Only your own.", False, default=False)
    limit: int = value("How many at most.", 100, default=100, least=1, most=MAX_PAGE)
    before: int | None = value("The last number of the page before.", None, default=None, least=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobList:
    """A page of jobs."""

    jobs: tuple[JobBody, ...] = value("The newest first.", ())
    next_before: int | None = value("Gives the next page as before; null on the last.", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberedQuery:
    """Which part of a numbered list."""

    limit: int = value("How many at most.", 100, default=100, least=1, most=MAX_PAGE)
    after: int = value(
        "The last number of the page before; -1 is before the first.", -1, default=-1, least=-1
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFileBody:
    """A file of a job."""

    number: int = value("Its place in the job, from 0.", 0)
    path: str = value("On the source storage.", "shows/dune/sh010/bg.1001.dpx")
    target: str = value('On the target storage, "" where there is none.', "shows/dune/bg.1001.dpx")
    size: int = value("Bytes when it was listed.", 12_742_656)
    state: str = value("waiting, running, done or failed.", "done")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFileList:
    """A page of a job's files."""

    files: tuple[JobFileBody, ...] = value("By number.", ())


@dataclass(frozen=True, slots=True, kw_only=True)
class JobErrorBody:
    """A file that failed."""

    number: int = value("Its place in the job, from 0.", 3)
    path: str = value("On the source storage.", "shows/dune/sh010/bg.1004.dpx")
    code: str = value("The reason, for programs.", "exists")
    reason: str = value("The reason, for people.", "another file of that name is there already")
    at: datetime = value("When it failed.", AN_HOUR)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobErrorList:
    """A page of a job's failures."""

    errors: tuple[JobErrorBody, ...] = value("By number.", ())


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorityForm:
    """Another priority."""

    priority: int = value("The highest goes first.", 80, least=0, most=MOST_PRIORITY)


@ENDPOINTS.add("POST", "/jobs", needs=Action.RUN_JOBS, takes=NewJob, gives=JobBody)
async def submit_job(call: Call, form: NewJob) -> JobBody:
    """Submit a job; it is safe when the answer comes, and is looked at as soon as workers can."""
    request = JobRequest(
        kind=form.kind,
        source=form.source,
        sources=form.sources,
        target=form.target,
        destination=form.destination,
        overwrite=form.overwrite.value,
        verify=form.verify.value,
        stored=form.stored,
        quiet_s=float(form.quiet_s),
        priority=form.priority,
        limit_bps=form.limit_bps,
        label=form.label,
        notify=Notify(form.webhook, form.email),
    )
    return _render(await call.core.jobs.submit(call.actor, request))


@ENDPOINTS.add("GET", "/jobs", needs=Action.SEE_JOBS, takes=JobQuery, gives=JobList)
async def list_jobs(call: Call, query: JobQuery) -> JobList:
    """List jobs, the newest first."""
    wanted = Filter(query.state, query.kind, call.actor.user_id if query.mine else None)
    page = await call.core.jobs.page(call.actor, wanted, limit=query.limit, before=query.before)
    return JobList(jobs=tuple(_render(job) for job in page.jobs), next_before=page.next_before)


@ENDPOINTS.add(
    "GET",
    "/jobs/{job}",
    needs=Action.SEE_JOBS,
    takes=Nothing,
    gives=JobBody,
    errors=(NotFound,),
    parameters=_JOB,
)
async def get_job(call: Call, query: Nothing) -> JobBody:
    """Look at one job."""
    return _render(await call.core.jobs.get(call.actor, _number(call)))


@ENDPOINTS.add(
    "GET",
    "/jobs/{job}/files",
    needs=Action.SEE_JOBS,
    takes=NumberedQuery,
    gives=JobFileList,
    errors=(NotFound,),
    parameters=_JOB,
)
async def list_job_files(call: Call, query: NumberedQuery) -> JobFileList:
    """List a job's files, each with its state."""
    found = await call.core.jobs.files(
        call.actor, _number(call), limit=query.limit, after=query.after
    )
    return JobFileList(
        files=tuple(
            JobFileBody(
                number=file.number,
                path=_text(file.path),
                target=_text(file.target),
                size=file.size,
                state=file.state,
            )
            for file in found
        )
    )


@ENDPOINTS.add(
    "GET",
    "/jobs/{job}/errors",
    needs=Action.SEE_JOBS,
    takes=NumberedQuery,
    gives=JobErrorList,
    errors=(NotFound,),
    parameters=_JOB,
)
async def list_job_errors(call: Call, query: NumberedQuery) -> JobErrorList:
    """List the files of a job that failed, and why."""
    found = await call.core.jobs.errors(
        call.actor, _number(call), limit=query.limit, after=query.after
    )
    return JobErrorList(
        errors=tuple(
            JobErrorBody(
                number=error.number,
                path=_text(error.path),
                code=error.code,
                reason=_text(error.reason),
                at=error.at,
            )
            for error in found
        )
    )


@ENDPOINTS.add(
    "POST",
    "/jobs/{job}/pause",
    needs=Action.RUN_JOBS,
    takes=Nothing,
    gives=JobBody,
    errors=_CONTROLLED,
    parameters=_JOB,
)
async def pause_job(call: Call, form: Nothing) -> JobBody:
    """Hold a job; what is under way stops within a few seconds."""
    return await _controlled(call, call.core.jobs.pause)


@ENDPOINTS.add(
    "POST",
    "/jobs/{job}/resume",
    needs=Action.RUN_JOBS,
    takes=Nothing,
    gives=JobBody,
    errors=_CONTROLLED,
    parameters=_JOB,
)
async def resume_job(call: Call, form: Nothing) -> JobBody:
    """Let a paused job go on."""
    return await _controlled(call, call.core.jobs.resume)


@ENDPOINTS.add(
    "POST",
    "/jobs/{job}/cancel",
    needs=Action.RUN_JOBS,
    takes=Nothing,
    gives=JobBody,
    errors=_CONTROLLED,
    parameters=_JOB,
)
async def cancel_job(call: Call, form: Nothing) -> JobBody:
    """End a job; what was finished stays, what is under way leaves nothing."""
    return await _controlled(call, call.core.jobs.cancel)


@ENDPOINTS.add(
    "POST",
    "/jobs/{job}/retry",
    needs=Action.RUN_JOBS,
    takes=Nothing,
    gives=JobBody,
    errors=_CONTROLLED,
    parameters=_JOB,
)
async def retry_job(call: Call, form: Nothing) -> JobBody:
    """Try again what failed, and what was left when the job was cancelled."""
    return await _controlled(call, call.core.jobs.retry)


@ENDPOINTS.add(
    "PUT",
    "/jobs/{job}/priority",
    needs=Action.RUN_JOBS,
    takes=PriorityForm,
    gives=JobBody,
    errors=_CONTROLLED,
    parameters=_JOB,
)
async def prioritise_job(call: Call, form: PriorityForm) -> JobBody:
    """Give a job another priority, from its next batch on."""
    job = await call.core.jobs.prioritise(call.actor, _number(call), form.priority)
    return _render(job)


async def _controlled(call: Call, control: Callable[..., Awaitable[Job]]) -> JobBody:
    return _render(await control(call.actor, _number(call)))


def _number(call: Call) -> int:
    text = call.path["job"]
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidValue("job", "a job has a number")
    return int(text)


def _text(path: str) -> str:
    """A path as JSON can carry it: bytes that are not UTF-8 are shown as \\xNN."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _unproven(job: Job) -> str:
    """What a job that has come to a good end has not proven."""
    if job.state is not JobState.SUCCEEDED or not job.files_unproven:
        return ""
    return (
        f"{job.files_unproven} of {job.files_total} files can be read to their end, and have no"
        " checksum that says what they should be"
    )


def _render(job: Job) -> JobBody:
    return JobBody(
        id=job.id,
        kind=job.kind,
        state=job.state,
        priority=job.priority,
        owner=job.owner,
        source=job.source,
        sources=tuple(_text(path) for path in job.spec["sources"]),
        target=job.target,
        destination=_text(job.spec["destination"]),
        limit_bps=job.spec.get("limit_bps"),
        label=job.label,
        message=_text(job.message or job.waits_for or _unproven(job)),
        files_total=job.files_total,
        files_done=job.files_done,
        files_skipped=job.files_skipped,
        files_failed=job.files_failed,
        files_unproven=job.files_unproven,
        bytes_total=job.bytes_total,
        bytes_done=job.bytes_done,
        bytes_stored=job.bytes_stored,
        bytes_moving=job.bytes_moving,
        batches_running=job.tasks_running,
        bytes_per_second=round(job.bytes_per_s),
        eta_seconds=None if job.eta_s is None else round(job.eta_s),
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )
