"""Vidispine's words for what the server calls otherwise: states, kinds, fields, ids.

Every answer, refusal and message of this interface speaks these and none of the server's own.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from server.api.vidispine.ids import vx
from server.api.vidispine.rendering import wire_name
from server.core.errors import Ref
from server.core.jobs import Control, JobKind, JobState

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "JOB_STATES",
    "JOB_TYPES",
    "OTHER_STATES",
    "OTHER_TYPES",
    "PRIORITIES",
    "field_word",
    "priority_name",
    "task_word",
    "word",
]

JOB_TYPES: Mapping[JobKind, str] = MappingProxyType(
    {kind: kind.name for kind in JobKind}
    | {
        JobKind.COPY: "COPY_FILE",
        JobKind.MOVE: "MOVE_FILE",
        JobKind.DELETE: "DELETE_FILE",
        JobKind.IMPORT: "IMPORT",
        JobKind.INDEX: "FILE_ANALYZE",
    }
)
"""Those kinds of jobs that Vidispine does not know keep their names."""

OTHER_TYPES = frozenset(
    {
        "ANALYZE",
        "AUTO_IMPORT",
        "CONFORM",
        "DELETE_LIBRARY",
        "ESSENCE_VERSION",
        "EXPORT",
        "IMF_ANALYZE",
        "LIST_ITEMS",
        "NONE",
        "PLACEHOLDER_IMPORT",
        "RAW_IMPORT",
        "RAW_TRANSCODE",
        "SHAPE_IMPORT",
        "SHAPE_UPDATE",
        "SIDECAR_IMPORT",
        "THUMBNAIL",
        "TIMELINE",
        "TRANSCODE",
        "TRANSCODE_RANGE",
    }
)
"""Types that clients ask for and no job here is of."""

JOB_STATES: Mapping[JobState, str] = MappingProxyType(
    {
        JobState.WAITING: "READY",
        JobState.RUNNING: "STARTED",
        JobState.PAUSED: "HOLD",
        JobState.SUCCEEDED: "FINISHED",
        JobState.FAILED: "FAILED_TOTAL",
        JobState.CANCELLED: "ABORTED",
    }
)

OTHER_STATES = frozenset({"WAITING", "VIDINET_JOB", "FINISHED_WARNING", "ABORTED_PENDING"})
"""States that clients ask for and no job here is in."""

PRIORITIES: Mapping[str, int] = MappingProxyType(
    {"LOWEST": 10, "LOW": 30, "MEDIUM": 50, "HIGH": 70, "HIGHEST": 90, "IMMEDIATE": 100}
)

_CONTROLS: Mapping[Control, str] = MappingProxyType(
    {
        Control.PAUSE: "hold",
        Control.RESUME: "go on",
        Control.CANCEL: "abort",
        Control.RETRY: "re-run",
        Control.PRIORITISE: "take another priority",
    }
)

# What a step of a job does, for people.
_TASKS: Mapping[JobKind, str] = MappingProxyType(
    {
        JobKind.COPY: "Copying file",
        JobKind.MOVE: "Moving file",
        JobKind.COMPRESS: "Compressing files",
        JobKind.RESTORE: "Restoring files",
        JobKind.VERIFY: "Verifying files",
        JobKind.DELETE: "Deleting file",
        JobKind.INDEX: "Analyzing file",
        JobKind.IMPORT: "Importing file",
    }
)

# Fields that are not the core's names in camel case.
_FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "webhook": "notification",
        "root": "uri",
        "name": "pixfs.name",
        "limit_bps": "limitRate",
        "scan_interval_s": "scanInterval",
        "content-length": "Content-Length",
    }
)


def field_word(field: str) -> str:
    """What a client calls a field that a value was refused for."""
    return _FIELDS.get(field) or wire_name(field)


def word(term: object) -> str:
    """A term of a message (`CoreError.told`)."""
    if isinstance(term, JobState):
        return JOB_STATES[term]
    if isinstance(term, JobKind):
        return JOB_TYPES[term]
    if isinstance(term, Control):
        return _CONTROLS[term]
    return vx(term.id) if isinstance(term, Ref) else str(term)


def task_word(kind: JobKind) -> str:
    """What the steps of such a job do."""
    return _TASKS[kind]


def priority_name(number: int) -> str:
    """The nearest of the names at or below a priority; the lowest for what is below all."""
    return max(
        (name for name, value in PRIORITIES.items() if value <= number),
        key=PRIORITIES.__getitem__,
        default="LOWEST",
    )
