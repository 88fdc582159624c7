"""What a job can be, and what may be asked of it in each state.

WAITING --> RUNNING --> SUCCEEDED | FAILED
   |           |
   +-- PAUSED -+          pause and resume, as long as it has not ended
   +-- CANCELLED          from any state that is no end
FAILED | CANCELLED --> WAITING    retry: what failed, or was left
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from server.core.errors import Ref, WrongState

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CONTROLS", "Control", "JobKind", "JobState", "allow"]


class JobKind(StrEnum):
    """What a job does."""

    COPY = "copy"
    MOVE = "move"
    COMPRESS = "compress"
    RESTORE = "restore"
    VERIFY = "verify"
    DELETE = "delete"
    # Looks at files for the catalogue: their bytes' hashes, size and time.
    INDEX = "index"
    # The same, and makes an item of them.
    IMPORT = "import"

    @property
    def has_target(self) -> bool:
        """Whether a destination belongs to it."""
        return self in (JobKind.COPY, JobKind.MOVE)

    @property
    def changes_source(self) -> bool:
        """Whether it writes to the storage it takes files from."""
        return self not in (JobKind.COPY, JobKind.VERIFY, JobKind.INDEX, JobKind.IMPORT)

    @property
    def is_of_catalogue(self) -> bool:
        """Whether only the catalogue starts such jobs: they are about its entities."""
        return self in (JobKind.INDEX, JobKind.IMPORT)


class JobState(StrEnum):
    """Of jobs and of their tasks."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        """Whether nothing happens any more unless somebody asks for it."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class Control(StrEnum):
    """What can be asked of a job."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    RETRY = "retry"
    PRIORITISE = "prioritise"


CONTROLS: Mapping[Control, frozenset[JobState]] = MappingProxyType(
    {
        Control.PAUSE: frozenset({JobState.WAITING, JobState.RUNNING}),
        Control.RESUME: frozenset({JobState.PAUSED}),
        Control.CANCEL: frozenset({JobState.WAITING, JobState.RUNNING, JobState.PAUSED}),
        Control.RETRY: frozenset({JobState.FAILED, JobState.CANCELLED}),
        Control.PRIORITISE: frozenset({JobState.WAITING, JobState.RUNNING, JobState.PAUSED}),
    }
)
"""The states in which each may be asked for."""


def allow(control: Control, state: JobState, job_id: int | None = None) -> None:
    """Raise WrongState unless a job in this state takes this control."""
    if state not in CONTROLS[control]:
        raise WrongState(
            "a job that is {state} cannot be told to {control}",
            terms={"state": state, "control": control},
            about=None if job_id is None else Ref("Job", job_id),
        )
