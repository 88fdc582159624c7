"""Running one assignment: a plan, a batch of files, or the folders at a job's end."""

from __future__ import annotations

import errno
import logging
import os
import stat
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from server.core.jobs.leases import FileResult, Report
from server.core.jobs.planning import Looked, Refused
from server.core.jobs.states import JobKind
from server.core.jobs.tasks import TaskFile
from server.work.actions import announcing, clear, open_storage, run
from server.work.away import away_side
from server.work.batch import Batch, File, Options
from server.work.beneath import normalise
from server.work.errors import (
    STORAGE_GONE,
    FileError,
    OverlapError,
    SelectionError,
    StoppedError,
    StorageError,
    Unannounced,
    file_error,
)
from server.work.flow import UNPACED, Flow
from server.work.overlap import may_overlap, refuse_nesting, refuse_own_backing
from server.work.quiesce import fingerprint, youngest
from server.work.selection import select, select_exactly

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from server.work.batch import StorageSpec
    from server.work.engine import Result
    from server.work.flow import Limits, Pacer
    from server.work.selection import Selection
    from server.work.storage import Storage

__all__ = ["Assignment", "run_assignment"]


log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Assignment:
    """A leased task with all that a worker needs for it, wherever it runs.

    Attributes:
        folders: that go along, for "finish"; those to be removed, for "unmake".
        valid_s: how long the result counts unless it is told otherwise.
        began_ns: when the first attempt was given out.
        announced: folders that it may make.
        pacers: of source and target; they stay in the process, others have their own for the
            ``limits``: for source and target the names of limits by direction.
    """

    token: str
    task_id: int
    job_id: int
    kind: JobKind
    action: str
    attempt: int
    lost: tuple[int, ...]
    files: tuple[TaskFile, ...]
    source: StorageSpec
    target: StorageSpec | None
    spec: Mapping[str, Any]
    folders: Sequence[Sequence[Any]]
    valid_s: float
    slice_s: float = 2.0
    began_ns: int = 0
    announced: tuple[str, ...] = ()
    cleared_task: int = 0
    pacers: tuple[Pacer, Pacer] = field(default=(UNPACED, UNPACED), compare=False)
    limits: tuple[Limits, Limits] = ({}, {})

    def flow(self, source: Pacer | None = None, target: Pacer | None = None) -> Flow:
        """The flow it runs in, with its own pacers or these."""
        source, target = source or self.pacers[0], target or self.pacers[1]
        return Flow(source=source, target=target, slice_s=self.slice_s, valid_s=self.valid_s)

    def batch(self) -> Batch:
        """Its files as a batch."""
        task_id = self.cleared_task or self.task_id
        action: Any = "copy" if self.action == "clear" else self.action
        return Batch(
            id=f"{self.job_id}-{task_id}",
            attempt=self.attempt,
            action=action,
            source=self.source,
            target=self.target,
            options=Options(
                overwrite=self.spec["overwrite"],
                verify=self.spec["verify"],
                stored=bool(self.spec["stored"]),
                expected=self.spec.get("expected", {}),
            ),
            files=tuple(
                File(f.number, f.path, f.target, f.size, f.mtime_ns, _kind(f.kind), f.version)
                for f in self.files
            ),
            lost=self.lost,
            began_ns=self.began_ns,
            announced=frozenset(self.announced),
        )


def _kind(kind: str) -> Any:  # noqa: ANN401
    return "link" if kind == "link" else "file"


def run_assignment(assignment: Assignment, flow: Flow) -> Result:
    """Does it. Everything a storage or a file can do wrong is part of the result."""
    result = _run(assignment, flow)
    if not flow.made and not flow.found:
        return result
    return replace(result, report=replace(result.report, made=flow.made, found=flow.found))


def _run(assignment: Assignment, flow: Flow) -> Result:
    from server.work.engine import Result

    try:
        if assignment.action == "plan":
            return _plan(assignment, flow)
        if assignment.action == "finish":
            return _finish(assignment, flow)
        if assignment.action == "clear":
            clear(assignment.batch(), flow)
            return Result(assignment.token, Report())
        if assignment.action == "unmake":
            return _unmake(assignment, flow)
    except Unannounced as error:
        return Result(assignment.token, Report((), "stopped", absent=error.absent))
    except StoppedError:
        return Result(assignment.token, Report((), "stopped"))
    except (OSError, FileError, StorageError) as error:
        return Result(assignment.token, _waiting(assignment, error))
    return _files(assignment, flow)


def _waiting(
    assignment: Assignment,
    error: OSError | FileError | StorageError,
    results: tuple[FileResult, ...] = (),
    *,
    kept: bool = False,
) -> Report:
    """That the storage has to be waited for, and which one that is."""
    why = file_error(error) if isinstance(error, OSError) else error
    side = away_side(error, assignment.source, assignment.target)
    return Report(results, "storage", str(why), kept, side)


def _files(assignment: Assignment, flow: Flow) -> Result:
    from server.work.engine import Result

    results: list[FileResult] = []
    try:
        for outcome in run(assignment.batch(), flow):
            results.append(
                FileResult(
                    outcome.number,
                    outcome.state,
                    outcome.size,
                    outcome.stored,
                    outcome.mtime_ns,
                    outcome.version,
                    outcome.code,
                    outcome.reason,
                    outcome.is_transient,
                    outcome.digest,
                    outcome.is_proven,
                )
            )
    except Unannounced as error:
        report = Report((), "stopped", absent=error.absent)
    except StoppedError as error:
        report = Report(tuple(results), "stopped", kept=error.kept)
    except StorageError as error:
        report = _waiting(assignment, error, tuple(results), kept=error.kept)
    except OSError as error:
        # Not of one file: the folders could not be synced, or the like.
        report = _waiting(assignment, error, tuple(results), kept=True)
    else:
        report = Report(tuple(results))
    return Result(assignment.token, report)


def _plan(assignment: Assignment, flow: Flow) -> Result:
    from server.work.engine import Result

    try:
        storage = open_storage(assignment.source, flow.stop)
        try:
            found = _found(assignment, storage, flow)
            _refuse_overlap(assignment, storage, found, flow)
        finally:
            storage.close()
    except (SelectionError, OverlapError) as error:
        return Result(assignment.token, Report(), refusal=str(error))
    except (OSError, FileError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOTCONN:
            raise StorageError("the mount is gone", root=assignment.source.root) from error
        why = error if isinstance(error, FileError) else file_error(error)
        return Result(assignment.token, Report(), refusal=f"the sources: {why.reason}")
    return Result(assignment.token, Report(), looked=_looked(assignment, found))


def _found(assignment: Assignment, storage: Storage, flow: Flow) -> Selection:
    sources = assignment.spec["sources"]
    if not assignment.spec.get("exact"):
        return select(storage, sources, flow.check)
    # What is gone already needs no deletion.
    return select_exactly(storage, sources, may_be_gone=assignment.kind is JobKind.DELETE)


def _refuse_overlap(assignment: Assignment, source: Storage, found: Selection, flow: Flow) -> None:
    """OverlapError when the job would put something into itself."""
    if assignment.target is None or not may_overlap(assignment.source, assignment.target):
        return
    refuse_own_backing(assignment.source, assignment.target)
    folders = [chosen.entry.path for chosen in found.folders]
    if not all(normalise(text) for text in assignment.spec["sources"]):
        # The storage's own root, which is no folder that goes along.
        folders.append("")
    if not folders:
        return
    try:
        target = open_storage(assignment.target, flow.stop)
    except (StorageError, OSError):
        # It is waited for when files go there; each is compared with its source then.
        return
    with closing(target), suppress(OSError, FileError):
        refuse_nesting(source, folders, target, normalise(assignment.spec["destination"]))


def _looked(assignment: Assignment, found: Selection) -> Looked:
    renamed = assignment.spec.get("rename", "")
    base = assignment.spec["destination"].strip("/")
    has_target = assignment.kind.has_target

    def goal(target: str) -> str:
        if not has_target:
            return ""
        if renamed:
            return str(renamed)
        return f"{base}/{target}" if base else target

    files = [
        TaskFile(
            number,
            chosen.entry.path,
            goal(chosen.target),
            chosen.entry.size,
            chosen.entry.mtime_ns,
            chosen.entry.kind,
            chosen.entry.version,
        )
        for number, chosen in enumerate(found.files)
    ]
    refused: list[Refused] = []
    for path in found.missing:
        name = path.rpartition("/")[2]
        file = TaskFile(len(files) + len(refused), path, goal(name), 0, 0)
        refused.append(Refused(file, "not-found", "the frame does not exist"))
    for path, error in found.refused:
        file = TaskFile(len(files) + len(refused), path, "", 0, 0, "other")
        refused.append(Refused(file, error.code, error.reason))
    needs_folders = has_target or assignment.kind is JobKind.DELETE
    folders = [
        [c.entry.path, goal(c.target), c.entry.mode, c.entry.mtime_ns] for c in found.folders
    ]
    youngest_ns, name = youngest(found)
    return Looked(
        files, folders if needs_folders else [], refused, fingerprint(found), youngest_ns, name
    )


def _finish(assignment: Assignment, flow: Flow) -> Result:
    """Folders at the end: those of a copy are made and get their mode and time, those a move or
    a deletion has emptied are removed."""
    from server.work.engine import Result

    with ExitStack() as storages:
        if assignment.target is not None:
            target = open_storage(assignment.target, flow.stop)
            storages.callback(target.close)
            wanted = [path for _, path, *_ in assignment.folders]
            with announcing(target, wanted, assignment.announced, flow):
                _make_folders(target, assignment.folders, flow)
        if assignment.kind is not JobKind.COPY:
            source = open_storage(assignment.source, flow.stop)
            storages.callback(source.close)
            for path, *_ in reversed(assignment.folders):
                flow.check()
                _remove_empty(source, path)
    return Result(assignment.token, Report())


def _make_folders(target: Storage, folders: Sequence[Sequence[Any]], flow: Flow) -> None:
    for _, path, *_ in folders:
        flow.check()
        target.make_folder(path)
    # Innermost first: making what is in a folder sets its time.
    for _, path, mode, mtime_ns in reversed(folders):
        flow.check()
        try:
            target.set_folder_attributes(path, stat.S_IMODE(mode), mtime_ns)
        except PermissionError:
            # Somebody else's folder that was there already keeps its own.
            continue
    target.sync(sorted({os.path.dirname(path) for _, path, *_ in folders}))


def _unmake(assignment: Assignment, flow: Flow) -> Result:
    """Removes the folders that a cancelled job has made and that hold nothing."""
    from server.work.engine import Result

    assert assignment.target is not None
    paths = [path for path, *_ in assignment.folders]
    with closing(open_storage(assignment.target, flow.stop)) as target:
        for path in paths:
            flow.check()
            try:
                _remove_empty(target, path)
            except FileError as error:
                # A link, perhaps, that has taken its place.
                log.info("a folder stays: %s", error)
            except OSError as error:
                if error.errno in STORAGE_GONE:
                    raise
                log.info("a folder stays: %s", error.strerror)
        for parent in sorted({os.path.dirname(path) for path in paths}):
            with suppress(FileNotFoundError):
                target.sync([parent])
    return Result(assignment.token, Report())


def _remove_empty(source: Storage, path: str) -> None:
    """Removes a folder; one that holds what came later, or what could not be moved, stays."""
    try:
        source.remove_folder(path)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY):
            raise
