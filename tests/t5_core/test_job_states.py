"""Any order of controls, leases, losses and results keeps a job's books right."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from server.core.database import Database, sqlite_url
from server.core.errors import WrongState
from server.core.jobs import CONTROLS, Control, JobKind, JobRequest, JobState, control, leases
from server.core.jobs.planning import Looked, record_plan
from server.core.jobs.tables import job_errors, jobs, tasks
from server.core.jobs.tasks import TaskFile
from server.core.permissions import SYSTEM
from server.core.tables import storages

FILES = 300
VALID = timedelta(seconds=30)
_CONTROLS: dict[Control, Any] = {
    Control.PAUSE: control.pause,
    Control.RESUME: control.resume,
    Control.CANCEL: control.cancel,
    Control.RETRY: control.retry,
}


class JobBooks(RuleBasedStateMachine):
    """One move job of 300 files. ``there`` is what a user would see at the destination, ``gone``
    what was deleted at the source: workers do their part before they report, or never report."""

    @initialize()
    def begin(self) -> None:
        self.directory = tempfile.TemporaryDirectory(prefix="pixfs-t5-")
        self.database = Database(sqlite_url(Path(self.directory.name) / "db.sqlite"))
        self.now = datetime(2026, 3, 1, tzinfo=UTC)
        self.out: list[leases.Lease] = []
        self.there: set[int] = set()
        self.gone: set[int] = set()
        request = JobRequest(JobKind.MOVE, "a", ("shot",), target="b", quiet_s=0.0)
        with self.database.writing() as connection:
            for name in ("a", "b"):
                connection.execute(
                    storages.insert().values(
                        name=name,
                        state="active",
                        kind="directory",
                        root=f"/{name}",
                        read_only=False,
                        created_at=self.now,
                    )
                )
            control.submit(connection, SYSTEM, request, 1, 2, self.now)

    def teardown(self) -> None:
        if hasattr(self, "database"):
            self.finish()
            self.database.close()
            self.directory.cleanup()

    def job(self) -> Any:  # noqa: ANN401
        with self.database.reading() as connection:
            return connection.execute(sa.select(jobs)).one()

    def give_out(self, count: int) -> None:
        with self.database.writing() as connection:
            self.out += leases.lease(connection, ["w"] * count, self.now, VALID)

    @rule(count=st.integers(1, 3))
    def lease(self, count: int) -> None:
        self.give_out(count)

    def bring_back(self, lease: leases.Lease, share: float, failing: set[int], ended: Any) -> None:  # noqa: ANN401
        """Works on a share of the files and reports; as a worker does, in this order."""
        self.out.remove(lease)
        with self.database.writing() as connection:
            if lease.action == "plan":
                files = [TaskFile(n, f"f{n}", f"f{n}", 10, 1) for n in range(FILES)]
                record_plan(connection, lease.token, Looked(files, [], [], "x", 0, ""), self.now)
                return
            done = lease.files[: round(len(lease.files) * share)]
            results = tuple(self.work_on(lease, file, failing) for file in done)
            report = leases.Report(results, ended, "")
            leases.report(connection, lease.token, report, self.now)

    def work_on(self, lease: leases.Lease, file: TaskFile, failing: set[int]) -> leases.FileResult:
        if file.number in failing:
            return leases.FileResult(file.number, "failed", code="io", reason="no")
        if lease.action == "copy":
            self.there.add(file.number)
        elif lease.action == "unlink-source":
            assert file.number in self.there
            self.gone.add(file.number)
        return leases.FileResult(file.number, "done", 10, 10, 1, "v")

    @precondition(lambda self: self.out)
    @rule(
        data=st.data(),
        share=st.sampled_from([0.0, 0.3, 1.0]),
        failing=st.sets(st.integers(0, FILES - 1), max_size=3),
        ended=st.sampled_from(["finished", "stopped", "storage", "lost"]),
    )
    def report(self, data: st.DataObject, share: float, failing: set[int], ended: str) -> None:
        self.bring_back(data.draw(st.sampled_from(self.out)), share, failing, ended)

    @precondition(lambda self: self.out)
    @rule(data=st.data(), share=st.sampled_from([0.0, 0.5, 1.0]))
    def die(self, data: st.DataObject, share: float) -> None:
        """A worker does a share of its files and is never heard of again."""
        lease = data.draw(st.sampled_from(self.out))
        self.out.remove(lease)
        for file in lease.files[: round(len(lease.files) * share)]:
            if lease.action != "plan":
                self.work_on(lease, file, set())

    @rule(seconds=st.sampled_from([1, 10, 40, 100]))
    def wait(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        with self.database.writing() as connection:
            leases.reclaim(connection, self.now)

    @rule()
    def restart(self) -> None:
        """The server is killed and started: nobody works on anything."""
        self.out.clear()
        with self.database.writing() as connection:
            leases.reclaim(connection, None)

    @rule(wanted=st.sampled_from(list(_CONTROLS)))
    def ask(self, wanted: Control) -> None:
        state = JobState(self.job().state)
        with self.database.writing() as connection:
            try:
                _CONTROLS[wanted](connection, SYSTEM, 1, self.now)
            except WrongState:
                assert state not in CONTROLS[wanted]
            else:
                assert state in CONTROLS[wanted]

    @invariant()
    def the_books_are_right(self) -> None:
        if not hasattr(self, "database"):
            return
        with self.database.reading() as connection:
            job = connection.execute(sa.select(jobs)).one()
            every = connection.execute(sa.select(tasks)).all()
            failed = connection.execute(sa.select(sa.func.count()).select_from(job_errors)).scalar()
        counts = (job.files_done, job.files_skipped, job.files_failed)
        assert min(counts) >= 0
        assert sum(counts) <= job.files_total
        assert job.files_failed == failed
        open_states = {"WAITING", "RUNNING", "PAUSED"}
        is_open = [task for task in every if task.state in open_states and task.action != "clear"]
        if not JobState(job.state).is_final:
            assert job.tasks_open == len(is_open) > 0
        elif job.state != "CANCELLED":
            assert not is_open
        if job.state == "SUCCEEDED":
            assert self.gone == self.there == set(range(FILES))
            assert counts == (FILES, 0, 0)
        # A source goes only after its copy stands.
        assert self.gone <= self.there
        for task in every:
            assert 0 <= task.files_ended <= task.files_total
            assert (task.state == "RUNNING") == bool(task.token)

    def finish(self) -> None:
        """From wherever it stands, retried and left alone, the job succeeds."""
        for _ in range(200):
            job = self.job()
            if job.state == "SUCCEEDED":
                return
            with self.database.writing() as connection:
                if job.state == "PAUSED":
                    control.resume(connection, SYSTEM, 1, self.now)
                elif JobState(job.state).is_final:
                    control.retry(connection, SYSTEM, 1, self.now)
            self.now += timedelta(seconds=400)
            with self.database.writing() as connection:
                leases.reclaim(connection, self.now)
            self.out.clear()
            self.give_out(4)
            for lease in list(self.out):
                self.bring_back(lease, 1.0, set(), "finished")
            self.the_books_are_right()
        raise AssertionError(f"the job stays {self.job().state}: {self.job().message}")


TestJobBooks = JobBooks.TestCase
TestJobBooks.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
