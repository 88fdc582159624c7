"""Jobs, tasks, workers and what is to be told about them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from server.core import schema

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the tables of the job engine."""
    _make_jobs()
    _make_tasks()
    _make_job_errors()
    _make_workers()
    _make_deliveries()


def _make_workers() -> None:
    op.create_table(
        "workers",
        sa.Column("id", schema.BigId, sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("engine", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("capacity", sa.Integer(), nullable=False),
        sa.Column("concurrency", sa.Integer(), nullable=True),
        sa.Column("load", sa.Float(), nullable=False),
        sa.Column("first_seen_at", schema.UtcDateTime(), nullable=False),
        sa.Column("last_seen_at", schema.UtcDateTime(), nullable=False),
        sa.CheckConstraint("state IN ('enabled', 'draining', 'disabled')", name="state"),
        sa.CheckConstraint("concurrency >= 1", name="concurrency"),
        sa.PrimaryKeyConstraint("id", name="pk_workers"),
        sa.UniqueConstraint("name", name="uq_workers_name"),
        sqlite_autoincrement=True,
    )


def _make_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", schema.BigId, sa.Identity(always=False), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("owner_id", schema.BigId, nullable=True),
        sa.Column("source_id", schema.BigId, nullable=False),
        sa.Column("target_id", schema.BigId, nullable=True),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("notify", sa.JSON(), nullable=False),
        sa.Column("label", sa.String(length=200), nullable=False),
        sa.Column("stage", sa.SmallInteger(), nullable=False),
        sa.Column("tasks_open", sa.Integer(), nullable=False),
        sa.Column("folders", sa.JSON(), nullable=False),
        sa.Column("files_total", sa.BigInteger(), nullable=False),
        sa.Column("files_done", sa.BigInteger(), nullable=False),
        sa.Column("files_skipped", sa.BigInteger(), nullable=False),
        sa.Column("files_failed", sa.BigInteger(), nullable=False),
        sa.Column("bytes_total", sa.BigInteger(), nullable=False),
        sa.Column("bytes_done", sa.BigInteger(), nullable=False),
        sa.Column("bytes_stored", sa.BigInteger(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("created_at", schema.UtcDateTime(), nullable=False),
        sa.Column("started_at", schema.UtcDateTime(), nullable=True),
        sa.Column("finished_at", schema.UtcDateTime(), nullable=True),
        sa.Column("paused_at", schema.UtcDateTime(), nullable=True),
        sa.Column("paused_s", sa.Float(), nullable=False),
        sa.CheckConstraint(
            "state IN ('WAITING', 'RUNNING', 'PAUSED', 'SUCCEEDED', 'FAILED', 'CANCELLED')",
            name="state",
        ),
        sa.CheckConstraint("priority BETWEEN 0 AND 100", name="priority"),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name="fk_jobs_owner_id"),
        sa.ForeignKeyConstraint(["source_id"], ["storages.id"], name="fk_jobs_source_id"),
        sa.ForeignKeyConstraint(["target_id"], ["storages.id"], name="fk_jobs_target_id"),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_jobs_kind_id", "jobs", ["kind", "id"], unique=False)
    op.create_index("ix_jobs_owner_id_id", "jobs", ["owner_id", "id"], unique=False)
    op.create_index("ix_jobs_state_id", "jobs", ["state", "id"], unique=False)


def _make_deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", schema.BigId, sa.Identity(always=False), nullable=False),
        sa.Column("job_id", schema.BigId, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("receiver", sa.Text(), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("not_before", schema.UtcDateTime(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("created_at", schema.UtcDateTime(), nullable=False),
        sa.Column("sent_at", schema.UtcDateTime(), nullable=True),
        sa.CheckConstraint("kind IN ('webhook', 'email')", name="kind"),
        sa.CheckConstraint("state IN ('WAITING', 'SENT', 'FAILED')", name="state"),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name="fk_deliveries_job_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_deliveries_job_id", "deliveries", ["job_id"], unique=False)
    op.create_index(
        "ix_deliveries_next",
        "deliveries",
        ["not_before"],
        unique=False,
        sqlite_where=sa.text("state = 'WAITING'"),
        postgresql_where=sa.text("state = 'WAITING'"),
    )


def _make_job_errors() -> None:
    op.create_table(
        "job_errors",
        sa.Column("job_id", schema.BigId, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("task_id", sa.BigInteger(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("code", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", schema.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name="fk_job_errors_job_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "number", name="pk_job_errors"),
    )


def _make_tasks() -> None:
    op.create_table(
        "tasks",
        sa.Column("id", schema.BigId, sa.Identity(always=False), nullable=False),
        sa.Column("job_id", schema.BigId, nullable=False),
        sa.Column("stage", sa.SmallInteger(), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("lost", sa.JSON(), nullable=False),
        sa.Column("setbacks", sa.Integer(), nullable=False),
        sa.Column("not_before", schema.UtcDateTime(), nullable=False),
        sa.Column("files", sa.JSON(), nullable=False),
        sa.Column("files_total", sa.Integer(), nullable=False),
        sa.Column("bytes_total", sa.BigInteger(), nullable=False),
        sa.Column("files_ended", sa.Integer(), nullable=False),
        sa.Column("files_failed", sa.Integer(), nullable=False),
        sa.Column("results", sa.JSON(), nullable=False),
        sa.Column("token", sa.String(length=32), nullable=False),
        sa.Column("worker", sa.String(length=128), nullable=False),
        sa.Column("lease_until", schema.UtcDateTime(), nullable=True),
        sa.Column("moved", sa.BigInteger(), nullable=False),
        sa.Column("started_at", schema.UtcDateTime(), nullable=True),
        sa.Column("finished_at", schema.UtcDateTime(), nullable=True),
        sa.CheckConstraint(
            "state IN ('WAITING', 'RUNNING', 'PAUSED', 'SUCCEEDED', 'FAILED', 'CANCELLED')",
            name="state",
        ),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name="fk_tasks_job_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_tasks"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_tasks_job_id_id", "tasks", ["job_id", "id"], unique=False)
    op.create_index(
        "ix_tasks_next",
        "tasks",
        ["priority", "id"],
        unique=False,
        sqlite_where=sa.text("state = 'WAITING'"),
        postgresql_where=sa.text("state = 'WAITING'"),
    )
    op.create_index(
        "ix_tasks_running",
        "tasks",
        ["lease_until"],
        unique=False,
        sqlite_where=sa.text("state = 'RUNNING'"),
        postgresql_where=sa.text("state = 'RUNNING'"),
    )
