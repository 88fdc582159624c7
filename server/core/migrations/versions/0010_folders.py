"""Which folders jobs make."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from server.core import schema

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "job_folders",
        sa.Column("id", schema.BigId, sa.Identity(always=False), nullable=False),
        sa.Column("job_id", schema.BigId, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.CheckConstraint("state IN ('announced', 'made')", name="state"),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name="fk_job_folders_job_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_job_folders"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_job_folders_job_id_state", "job_folders", ["job_id", "state"], unique=False)
