"""Jobs that copy, move and delete files."""

from __future__ import annotations

from server.api.vidispine.documents import JobDocument
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
from server.api.vidispine.ids import number_of
from server.api.vidispine.resources import find_file, job_options
from server.api.vidispine.views import job_document, job_row
from server.api.vidispine.words import PRIORITIES
from server.core.catalog import JobOptions, TransferOptions

__all__ = ["ENDPOINTS", "JOB"]

ENDPOINTS = Endpoints("Moving, copying and deleting files")

JOB: tuple[Parameter, ...] = (
    text("notification", "An http or https URL that is told when the job has ended."),
    text("notificationData", "What is told along with it."),
    choice("priority", "The job's priority.", tuple(PRIORITIES), default="MEDIUM"),
    text("jobmetadata", "key=value to keep with the job.", many=True),
)


@ENDPOINTS.add(
    "POST",
    "{file-resource}/storage/{target}",
    role=Role.FILE_WRITE,
    gives=JobDocument,
    says="The job's id, status, type, priority and start.",
    conflicts=True,
    parameters=(
        flag("move", "Delete the original when the copy has finished.", False),
        text("filename", "The file's path on the target."),
        flag("useOriginalFilename", "Take the name it had when it was imported.", False),
        number("timeRequirement", "Seconds the file must stay on the target.", most=10**9),
        number("limitRate", "Bytes a second at most.", least=1),
        *JOB,
    ),
)
async def copy_file(call: Call) -> Answer:
    """Create a file move/copy job."""
    given = call.parameters
    options = job_options(
        call,
        TransferOptions,
        move=given.flag("move", False),
        filename=given.text("filename") or "",
        use_original_filename=given.flag("useOriginalFilename", False),
        time_requirement_s=given.number("timeRequirement", most=10**9),
        limit_bps=given.number("limitRate", least=1),
    )
    target = number_of("Storage", call.path["target"])
    file = await find_file(call)
    job = await call.core.catalog.copy_file(call.actor, file.id, target, options)
    return Answer(job_document(job, call.core.catalog.job_data(job)), [job_row(job)])


@ENDPOINTS.add(
    "DELETE",
    "{file-resource}",
    role=Role.FILE_WRITE,
    gives=JobDocument,
    says="The job's id, status, type, priority and start.",
    conflicts=True,
    parameters=JOB,
)
async def delete_file(call: Call) -> Answer:
    """Create a file delete job."""
    options = job_options(call, JobOptions)
    file = await find_file(call)
    job = await call.core.catalog.delete_file(call.actor, file.id, options)
    return Answer(job_document(job, call.core.catalog.job_data(job)), [job_row(job)])
