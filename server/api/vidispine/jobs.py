"""Jobs, whichever interface has started them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.api.vidispine.documents import JobDocument, JobListDocument, JobProblemListDocument
from server.api.vidispine.endpoints import Answer, Call, Endpoints, Role, choice, flag, number, text
from server.api.vidispine.ids import number_of
from server.api.vidispine.views import (
    JOB_STATES,
    JOB_TYPES,
    PRIORITIES,
    job_document,
    job_row,
    priority_number,
)
from server.core.errors import InvalidValue
from server.core.jobs import Filter, JobState

if TYPE_CHECKING:
    from server.core.jobs import Job, JobKind

__all__ = ["ENDPOINTS"]

ENDPOINTS = Endpoints("Jobs")

_MAX_PAGE = 1000
# Vidispine's other words for what a job of ours can be.
_STATE_ALIASES = {"FINISHED_WARNING": "FINISHED", "ABORTED_PENDING": "ABORTED", "WAITING": "READY"}


@ENDPOINTS.add(
    "GET",
    "/job",
    role=Role.JOB_READ,
    gives=JobListDocument,
    says="Id, status, type, priority and start, parted by tabs.",
    parameters=(
        choice("state", "Jobs in these states only.", tuple(JOB_STATES.values()), many=True),
        choice("type", "Jobs of these types only.", tuple(JOB_TYPES.values()), many=True),
        flag("user", "Your own jobs only.", False),
        choice("sort", "By id only.", ("jobId asc", "jobId desc"), default="jobId desc"),
        number("first", "The first to give, from 1.", where="matrix", default="1"),
        number("number", f"How many, {_MAX_PAGE} at most.", where="matrix", default="100"),
    ),
)
async def list_jobs(call: Call) -> Answer:
    """List the jobs, the newest first unless ``sort`` says otherwise."""
    given = call.parameters
    wanted = Filter(
        _states(given.words("state")),
        _kinds(given.words("type")),
        call.actor.user_id if given.flag("user", False) else None,
    )
    first = given.number("first", "start", default=1) or 1
    many = min(given.number("number", default=100) or 0, _MAX_PAGE)
    rising = _is_rising(given.words("sort"))
    part = await call.core.jobs.part(call.actor, wanted, skip=first - 1, take=many, rising=rising)
    documents = tuple(job_document(job, {}) for job in part.jobs)
    rows = [job_row(job) for job in part.jobs]
    return Answer(JobListDocument(hits=part.hits, job=documents), rows)


@ENDPOINTS.add("GET", "/job/problem", role=Role.JOB_READ, gives=JobProblemListDocument)
async def list_job_problems(call: Call) -> Answer:
    """List what holds jobs up: nothing does that would need anybody's answer."""
    return Answer(JobProblemListDocument())


@ENDPOINTS.add(
    "GET",
    "/job/{job}",
    role=Role.JOB_READ,
    gives=JobDocument,
    says="Id, status, type, priority and start, parted by tabs.",
    parameters=(flag("metadata", "Taken, and without effect: data is always told.", True),),
)
async def get_job(call: Call) -> Answer:
    """Get a job with its data and how far it is."""
    job = await call.core.jobs.get(call.actor, _number(call))
    return _answer(call, job)


@ENDPOINTS.add(
    "PUT",
    "/job/{job}",
    role=Role.JOB_WRITE,
    gives=JobDocument,
    says="Id, status, type, priority and start, parted by tabs.",
    conflicts=True,
    parameters=(choice("priority", "The job's new priority.", tuple(PRIORITIES), required=True),),
)
async def set_job_priority(call: Call) -> Answer:
    """Give a job another priority, from its next batch on."""
    if not call.parameters.has("priority"):
        raise InvalidValue("priority", "this parameter is missing")
    priority = priority_number(call.parameters)
    return _answer(call, await call.core.jobs.prioritise(call.actor, _number(call), priority))


@ENDPOINTS.add(
    "DELETE",
    "/job/{job}",
    role=Role.JOB_WRITE,
    gives=JobDocument,
    says="Id, status, type, priority and start, parted by tabs.",
    conflicts=True,
    parameters=(text("reason", "Why; kept in the log of requests only."),),
)
async def abort_job(call: Call) -> Answer:
    """Abort a job; what it has finished stays."""
    return _answer(call, await call.core.jobs.cancel(call.actor, _number(call)))


@ENDPOINTS.add(
    "POST",
    "/job/{job}/re-run",
    role=Role.JOB_WRITE,
    gives=JobDocument,
    says="Id, status, type, priority and start, parted by tabs.",
    conflicts=True,
)
async def rerun_job(call: Call) -> Answer:
    """Run a job again: one that has failed or was aborted goes on, and what it had finished is not
    repeated; of one that is finished a new job is made, whose id is answered."""
    job = await call.core.jobs.get(call.actor, _number(call))
    if job.state is JobState.SUCCEEDED:
        return _answer(call, await call.core.catalog.repeat(call.actor, job.id))
    return _answer(call, await call.core.jobs.retry(call.actor, job.id))


def _number(call: Call) -> int:
    return number_of("Job", call.path["job"])


def _answer(call: Call, job: Job) -> Answer:
    data = call.core.catalog.job_data(job)
    return Answer(job_document(job, data, whole=True), [job_row(job)])


def _states(words: tuple[str, ...]) -> tuple[JobState, ...]:
    known = {name: state for state, name in JOB_STATES.items()}
    found = []
    for word in words:
        name = _STATE_ALIASES.get(word.upper(), word.upper())
        if name not in known:
            raise InvalidValue("state", f"one of {', '.join(known)}")
        found.append(known[name])
    return tuple(dict.fromkeys(found))


def _kinds(words: tuple[str, ...]) -> tuple[JobKind, ...]:
    known = {name: kind for kind, name in JOB_TYPES.items()}
    if any(word.upper() not in known and word.lower() != "all" for word in words):
        raise InvalidValue("type", f"one of {', '.join(known)}")
    return tuple(known[word.upper()] for word in words if word.upper() in known)


def _is_rising(words: tuple[str, ...]) -> bool:
    """Whether the oldest jobs go first. Of the keys the numbers are those that follow time."""
    for word in words:
        key, _, order = word.partition(" ")
        if key.lower() not in ("jobid", "starttime", "started") or order.strip().lower() not in (
            "", "asc", "desc",
        ):  # fmt: skip
            raise InvalidValue("sort", "jobId asc or jobId desc")
        return order.strip().lower() != "desc"
    return False
