"""An index of the names of series."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make it."""
    op.create_index("ix_series_by_name", "series", ["storage_id", "name"], unique=False)
