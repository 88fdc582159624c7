"""Imports: a file, or a package of files that an ASSETMAP lists, becomes an item."""

from __future__ import annotations

from server.api.vidispine.bodies import opaque, read_document
from server.api.vidispine.documents import JobDocument
from server.api.vidispine.endpoints import (
    Answer,
    Call,
    Endpoints,
    Parameter,
    Role,
    flag,
    number,
    text,
)
from server.api.vidispine.resources import carried, find_file, job_options
from server.api.vidispine.transfers import JOB
from server.api.vidispine.views import job_document, job_row
from server.core.catalog import ImportOptions
from server.core.errors import InvalidValue

__all__ = ["ENDPOINTS"]

ENDPOINTS = Endpoints("Importing files")

_OPTIONS: tuple[Parameter, ...] = (
    flag("allowReimport", "Also a file that is imported, or being imported.", False),
    text("id", "External ids for the item.", many=True),
    text("tag", "Shape tags; only with no-transcode: nothing is transcoded.", many=True),
    text("original", "One of the tags, for the original shape."),
    flag("createThumbnails", "Told with the job.", True),
    text("thumbnailService", "Told with the job."),
    text("createPosters", "Time codes; told with the job.", many=True),
    flag("no-transcode", "Do not transcode although there are tags.", False),
    flag("overrideFastStart", "Told with the job.", True),
    flag("requireFastStart", "Told with the job.", True),
    number("fastStartLength", "Seconds; told with the job.", most=10**9),
    *JOB,
    text("settings", "Told with the job."),
)
_KEPT_FLAGS = ("createThumbnails", "no-transcode", "overrideFastStart", "requireFastStart")
_KEPT_TEXTS = ("original", "thumbnailService", "settings")


@ENDPOINTS.add(
    "POST",
    "{file-resource}/import",
    role=Role.IMPORT,
    gives=JobDocument,
    says="The job's id, status, type, priority and start.",
    takes=("MetadataDocument",),
    conflicts=True,
    parameters=(text("filename", "The file's original name."), *_OPTIONS),
)
async def import_file(call: Call) -> Answer:
    """Start an import job."""
    options = await _options(call, call.parameters.text("filename") or "")
    file = await find_file(call)
    job = await call.core.catalog.import_file(call.actor, file.id, options)
    return Answer(job_document(job, call.core.catalog.job_data(job)), [job_row(job)])


@ENDPOINTS.add(
    "POST",
    "{file-resource}/import/assetmap",
    role=Role.IMPORT,
    gives=JobDocument,
    says="The job's id, status, type, priority and start.",
    takes=("MetadataDocument",),
    conflicts=True,
    parameters=_OPTIONS,
)
async def import_package(call: Call) -> Answer:
    """Start an import job of an IMF package, or of a DCP, by its ASSETMAP."""
    options = await _options(call, "")
    file = await find_file(call)
    job = await call.essence.import_package(call.actor, file.id, options)
    return Answer(job_document(job, call.core.catalog.job_data(job)), [job_row(job)])


async def _options(call: Call, filename: str) -> ImportOptions:
    given = call.parameters
    body = read_document(
        await call.read_body(), call.headers.get("content-type", ""), "MetadataDocument"
    )
    tags, original = given.words("tag"), given.text("original") or ""
    no_transcode = given.flag("no-transcode", False)
    if original and original not in tags:
        raise InvalidValue("original", "one of the tags of the parameter tag")
    if tags and not no_transcode:
        raise InvalidValue("tag", "this server does not transcode; add no-transcode=true")
    return job_options(
        call,
        ImportOptions,
        filename=filename,
        allow_reimport=given.flag("allowReimport", False),
        external_ids=given.words("id"),
        tags=tags,
        original=original,
        no_transcode=no_transcode,
        options=_kept(call),
        item_metadata={} if body is None else opaque(body),
    )


def _kept(call: Call) -> dict[str, str]:
    """The parameters that are for whoever makes renditions, thumbnails and headers; checked, then
    told with the job's data."""
    given = call.parameters
    kept = {
        name: str(given.flag(name, True)).lower() for name in _KEPT_FLAGS if given.has(name)
    } | {name: carried(name, given.text(name)) for name in _KEPT_TEXTS if given.has(name)}
    for name in ("tag", "createPosters"):
        if words := given.words(name):
            kept[name] = carried(name, ",".join(words))
    if (length := given.number("fastStartLength", most=10**9)) is not None:
        kept["fastStartLength"] = str(length)
    return kept
