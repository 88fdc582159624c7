"""Jobs: what is asked for, what is under way, and what came of it.

The tables are the only truth; engines (``server.work``) take tasks from them and bring results
back, and may die at any moment.
"""

from __future__ import annotations

from server.core.jobs.jobs import Jobs
from server.core.jobs.queries import FileError, FileState, Filter, Job
from server.core.jobs.spec import JobRequest, Notify
from server.core.jobs.states import CONTROLS, Control, JobKind, JobState
from server.core.jobs.workers import Worker, Workers, WorkerState

__all__ = [
    "CONTROLS",
    "Control",
    "FileError",
    "FileState",
    "Filter",
    "Job",
    "JobKind",
    "JobRequest",
    "JobState",
    "Jobs",
    "Notify",
    "Worker",
    "WorkerState",
    "Workers",
]
