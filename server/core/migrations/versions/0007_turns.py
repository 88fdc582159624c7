"""The index by which tasks are given out, so that those that have to wait are not gone through."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make it anew."""
    op.drop_index("ix_tasks_next", "tasks")
    op.create_index(
        "ix_tasks_next",
        "tasks",
        ["priority", "not_before", "id", "job_id"],
        unique=False,
        sqlite_where=sa.text("state = 'WAITING'"),
        postgresql_where=sa.text("state = 'WAITING'"),
    )
