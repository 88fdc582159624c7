"""What a job's ``notification`` URL is told: the job's document, as JSON."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from server.api.vidispine.documents import JobDocument
from server.api.vidispine.ids import vx
from server.api.vidispine.rendering import to_json
from server.api.vidispine.views import job_pairs
from server.api.vidispine.words import JOB_STATES, JOB_TYPES, priority_name
from server.core.jobs import JobKind, JobState

__all__ = ["FORM", "notice"]

FORM = "vidispine"
"""What a job says whose webhook is told in this interface's words."""


def notice(told: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The event's name and the document, from what the server tells of an ended job."""
    job = told["job"]
    status = JOB_STATES[JobState(job["state"])]
    document = JobDocument(
        job_id=vx(job["id"]),
        user=job["owner"] or "system",
        started=datetime.fromisoformat(job["started_at"] or job["created_at"]),
        finished=datetime.fromisoformat(job["finished_at"]),
        status=status,
        type=JOB_TYPES[JobKind(job["kind"])],
        priority=priority_name(job["priority"]),
        data=job_pairs(job["data"], job["message"] or job["error"]),
    )
    body: dict[str, Any] = json.loads(to_json(document))
    return f"job.{status.lower()}", body
