"""The job engine's tables: the reference for what each column means."""

from __future__ import annotations

import sqlalchemy as sa

from server.core.schema import BigId, UtcDateTime, id_column, metadata

__all__ = ["deliveries", "job_errors", "job_folders", "job_waits", "jobs", "tasks", "workers"]

STATES = ("WAITING", "RUNNING", "PAUSED", "SUCCEEDED", "FAILED", "CANCELLED")
_STATE_CHECK = f"state IN ({', '.join(repr(state) for state in STATES)})"

jobs = sa.Table(
    "jobs",
    metadata,
    id_column(),
    # A JobKind.
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    # 0 to 100; the highest goes first.
    sa.Column("priority", sa.SmallInteger, nullable=False),
    # NULL for the server's own.
    sa.Column("owner_id", BigId, sa.ForeignKey("users.id"), nullable=True),
    sa.Column("source_id", BigId, sa.ForeignKey("storages.id"), nullable=False),
    sa.Column("target_id", BigId, sa.ForeignKey("storages.id"), nullable=True),
    # As submitted: sources, destination, overwrite, verify, stored, quiet_s; of a job about the
    # catalogue's entities also exact, rename, limit_bps, expected and catalog.
    sa.Column("spec", sa.JSON, nullable=False),
    # {"webhook": URL, "email": [addresses]}, each only if wanted.
    sa.Column("notify", sa.JSON, nullable=False),
    # What a caller gave along and gets back, unread.
    sa.Column("label", sa.String(200), nullable=False),
    # 0 while it is planned; then the steps of its kind, one after another.
    sa.Column("stage", sa.SmallInteger, nullable=False),
    # Tasks of this stage that have not ended; the last one to end begins the next stage.
    sa.Column("tasks_open", sa.Integer, nullable=False),
    # Folders that go along: [path, target, mode, mtime_ns], outermost first.
    sa.Column("folders", sa.JSON, nullable=False),
    # Of files; all zero until the job is planned. The done, skipped and failed ones are
    # distinct.
    sa.Column("files_total", sa.BigInteger, nullable=False),
    sa.Column("files_done", sa.BigInteger, nullable=False),
    sa.Column("files_skipped", sa.BigInteger, nullable=False),
    sa.Column("files_failed", sa.BigInteger, nullable=False),
    # Of the done ones: verified files that have nothing that says what they should be.
    sa.Column("files_unproven", sa.BigInteger, nullable=False, server_default="0"),
    # As readers see the files' bytes.
    sa.Column("bytes_total", sa.BigInteger, nullable=False),
    sa.Column("bytes_done", sa.BigInteger, nullable=False),
    # That really moved.
    sa.Column("bytes_stored", sa.BigInteger, nullable=False),
    # Why the job as a whole failed; "" otherwise.
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("started_at", UtcDateTime, nullable=True),
    sa.Column("finished_at", UtcDateTime, nullable=True),
    # When it was paused last, and the seconds all earlier pauses took.
    sa.Column("paused_at", UtcDateTime, nullable=True),
    sa.Column("paused_s", sa.Float, nullable=False),
    sa.Index("ix_jobs_state_id", "state", "id"),
    sa.Index("ix_jobs_owner_id_id", "owner_id", "id"),
    sa.Index("ix_jobs_kind_id", "kind", "id"),
    sa.CheckConstraint(_STATE_CHECK, name="state"),
    sa.CheckConstraint("priority BETWEEN 0 AND 100", name="priority"),
    sqlite_autoincrement=True,
)

tasks = sa.Table(
    "tasks",
    metadata,
    id_column(),
    sa.Column("job_id", BigId, sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    sa.Column("stage", sa.SmallInteger, nullable=False),
    # plan, finish, index, clear and unmake (after a job was cancelled), or a batch's action.
    sa.Column("action", sa.String(16), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    # The job's.
    sa.Column("priority", sa.SmallInteger, nullable=False),
    # Counts the times it was given out.
    sa.Column("attempt", sa.Integer, nullable=False),
    # The attempts that were never heard of again, or were stopped within a large file: what they
    # left is cleared away, or gone on with, by the next.
    sa.Column("lost", sa.JSON, nullable=False),
    # Times a storage could not be reached, or a worker was lost, since a file was last finished.
    sa.Column("setbacks", sa.Integer, nullable=False),
    sa.Column("not_before", UtcDateTime, nullable=False),
    # [number, path, target, size, mtime_ns, kind, version, tries] for each file.
    sa.Column("files", sa.JSON, nullable=False),
    sa.Column("files_total", sa.Integer, nullable=False),
    sa.Column("bytes_total", sa.BigInteger, nullable=False),
    # How many of the files, from the front, have ended.
    sa.Column("files_ended", sa.Integer, nullable=False),
    sa.Column("files_failed", sa.Integer, nullable=False),
    # Of a move's copies: [number, size, mtime_ns, version] of each source that may go. Of files
    # that were indexed: [number, size, mtime_ns, SHA-1]. Of a plan that was put off: what the
    # last look at the sources saw, when that was and when the first one was (seconds since 1970),
    # and the path of the file written last.
    sa.Column("results", sa.JSON, nullable=False),
    # Who works on it and until when that counts; "" and NULL when nobody does.
    sa.Column("token", sa.String(32), nullable=False),
    sa.Column("worker", sa.String(128), nullable=False),
    sa.Column("lease_until", UtcDateTime, nullable=True),
    # Bytes moved since it was given out, as last heard.
    sa.Column("moved", sa.BigInteger, nullable=False),
    sa.Column("started_at", UtcDateTime, nullable=True),
    sa.Column("finished_at", UtcDateTime, nullable=True),
    sa.Index("ix_tasks_job_id_id", "job_id", "id"),
    sa.Index(
        "ix_tasks_next",
        "priority",
        "not_before",
        "id",
        "job_id",
        sqlite_where=sa.text("state = 'WAITING'"),
        postgresql_where=sa.text("state = 'WAITING'"),
    ),
    sa.Index(
        "ix_tasks_running",
        "lease_until",
        sqlite_where=sa.text("state = 'RUNNING'"),
        postgresql_where=sa.text("state = 'RUNNING'"),
    ),
    sa.CheckConstraint(_STATE_CHECK, name="state"),
    sqlite_autoincrement=True,
)

job_errors = sa.Table(
    "job_errors",
    metadata,
    sa.Column("job_id", BigId, sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    # The file's number in the job.
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("task_id", sa.BigInteger, nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    # A FileError's.
    sa.Column("code", sa.String(32), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
)

# Folders at the target that jobs under way, or cancelled ones, make.
job_folders = sa.Table(
    "job_folders",
    metadata,
    id_column(),
    sa.Column("job_id", BigId, sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    # announced: it was not there, and a batch is about to make it; made: a batch has.
    sa.Column("state", sa.String(16), nullable=False),
    sa.Index("ix_job_folders_job_id_state", "job_id", "state"),
    sa.CheckConstraint("state IN ('announced', 'made')", name="state"),
    sqlite_autoincrement=True,
)

# Jobs that could not go on when they were last tried, because of a storage.
job_waits = sa.Table(
    "job_waits",
    metadata,
    sa.Column(
        "job_id",
        BigId,
        sa.ForeignKey("jobs.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    # source or target; "" when nobody can tell.
    sa.Column("side", sa.String(8), nullable=False),
    # When that was first seen.
    sa.Column("since", UtcDateTime, nullable=False),
    # What was last said of it.
    sa.Column("reason", sa.Text, nullable=False),
)

workers = sa.Table(
    "workers",
    metadata,
    id_column(),
    sa.Column("name", sa.String(128), nullable=False, unique=True),
    # local or dask.
    sa.Column("engine", sa.String(16), nullable=False),
    # enabled; draining (finishes what it has, takes no more); disabled.
    sa.Column("state", sa.String(16), nullable=False),
    # Threads it has, and how many of them may be used (NULL: all).
    sa.Column("capacity", sa.Integer, nullable=False),
    sa.Column("concurrency", sa.Integer, nullable=True),
    # Share of its processors in use, 0 to 1, as last heard.
    sa.Column("load", sa.Float, nullable=False),
    sa.Column("first_seen_at", UtcDateTime, nullable=False),
    sa.Column("last_seen_at", UtcDateTime, nullable=False),
    sa.CheckConstraint("state IN ('enabled', 'draining', 'disabled')", name="state"),
    sa.CheckConstraint("concurrency >= 1", name="concurrency"),
    sqlite_autoincrement=True,
)

# Messages to be sent. A row is written by the transaction that gives the reason for it, and is
# only marked sent after the receiver has taken it: a crash in between sends it twice.
deliveries = sa.Table(
    "deliveries",
    metadata,
    id_column(),
    sa.Column("job_id", BigId, sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    # webhook or email.
    sa.Column("kind", sa.String(16), nullable=False),
    # A URL or an address.
    sa.Column("receiver", sa.Text, nullable=False),
    sa.Column("payload", sa.JSON, nullable=False),
    # WAITING, SENT or FAILED.
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("not_before", UtcDateTime, nullable=False),
    # Why the last attempt failed.
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("sent_at", UtcDateTime, nullable=True),
    sa.Index("ix_deliveries_job_id", "job_id"),
    sa.Index(
        "ix_deliveries_next",
        "not_before",
        sqlite_where=sa.text("state = 'WAITING'"),
        postgresql_where=sa.text("state = 'WAITING'"),
    ),
    sa.CheckConstraint("state IN ('WAITING', 'SENT', 'FAILED')", name="state"),
    sa.CheckConstraint("kind IN ('webhook', 'email')", name="kind"),
    sqlite_autoincrement=True,
)
