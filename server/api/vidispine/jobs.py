"""Jobs, whichever interface has started them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from server.api.vidispine.documents import JobDocument, JobListDocument, JobProblemListDocument
from server.api.vidispine.endpoints import Answer, Call, Endpoints, Role, choice, flag, number, text
from server.api.vidispine.ids import number_of
from server.api.vidispine.views import job_document, job_row, priority_number
from server.api.vidispine.words import (
    JOB_STATES,
    JOB_TYPES,
    OTHER_STATES,
    OTHER_TYPES,
    PRIORITIES,
)
from server.core.errors import InvalidValue
from server.core.jobs import Filter, JobState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.core.jobs import Job

__all__ = ["ENDPOINTS"]

ENDPOINTS = Endpoints("Jobs")

_MAX_PAGE = 1000
_OTHERS = {"state": OTHER_STATES, "type": OTHER_TYPES}
T = TypeVar("T")


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
    first = given.number("first", "start", default=1) or 1
    many = min(given.number("number", default=100) or 0, _MAX_PAGE)
    rising = _is_rising(given.words("sort"))
    wanted = _wanted(call)
    if wanted is None:
        return Answer(JobListDocument(hits=0), [])
    part = await call.core.jobs.part(call.actor, wanted, skip=first - 1, take=many, rising=rising)
    documents = tuple(job_document(job, None) for job in part.jobs)
    rows = [job_row(job) for job in part.jobs]
    return Answer(JobListDocument(hits=part.hits, job=documents), rows)


def _wanted(call: Call) -> Filter | None:
    """Which jobs a list is of; None when no job here can be meant."""
    states = _chosen(call, "state", {word: state for state, word in JOB_STATES.items()})
    kinds = _chosen(call, "type", {word: kind for kind, word in JOB_TYPES.items()})
    mine = call.parameters.flag("user", False)
    if states is None or kinds is None:
        return None
    return Filter(states, kinds, call.actor.user_id if mine else None)


def _chosen(call: Call, name: str, known: Mapping[str, T]) -> tuple[T, ...] | None:
    """What a parameter's words mean here; () for no choice, None when nothing here is so called."""
    words = [word.upper() for word in call.parameters.words(name) if word.lower() != "all"]
    if any(word not in known and word not in _OTHERS[name] for word in words):
        raise InvalidValue(name, f"one of {', '.join(known)}")
    found = tuple(dict.fromkeys(known[word] for word in words if word in known))
    return found if found or not words else None


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
    call.parameters.flag("metadata", default=True)
    job = await call.core.jobs.get(call.actor, _number(call))
    return await _answer(call, job)


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
    return await _answer(call, await call.core.jobs.prioritise(call.actor, _number(call), priority))


@ENDPOINTS.add(
    "DELETE",
    "/job/{job}",
    role=Role.JOB_WRITE,
    gives=JobDocument,
    says="Id, status, type, priority and start, parted by tabs.",
    conflicts=True,
    parameters=(text("reason", "Why; told as the job's errorMessage."),),
)
async def abort_job(call: Call) -> Answer:
    """Abort a job; what it has finished stays."""
    reason = call.parameters.text("reason") or ""
    return await _answer(call, await call.core.jobs.cancel(call.actor, _number(call), reason))


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
        return await _answer(call, await call.core.catalog.repeat(call.actor, job.id))
    return await _answer(call, await call.core.jobs.retry(call.actor, job.id))


def _number(call: Call) -> int:
    return number_of("Job", call.path["job"])


async def _answer(call: Call, job: Job) -> Answer:
    error = ""
    if job.files_failed:
        for failed in await call.core.jobs.errors(call.actor, job.id, limit=1):
            error = f"{failed.path}: {failed.reason}"
    data = call.core.catalog.job_data(job)
    return Answer(job_document(job, data, whole=True, error=error), [job_row(job)])


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
