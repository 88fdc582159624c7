"""How many files of a job could only be read: nothing says what they should be."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """None of the jobs there were told of any."""
    column = sa.Column("files_unproven", sa.BigInteger, nullable=False, server_default="0")
    op.add_column("jobs", column)
