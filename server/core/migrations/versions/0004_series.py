"""Series of files, and the index that orders by extension and name."""

from __future__ import annotations

import re
from collections import Counter

import sqlalchemy as sa
from alembic import op

from server.core import schema

revision = "0004"
down_revision = "0003"

_BYTEWISE = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
_NUMBER = re.compile(r"[0-9]+(?=[^0-9]*\Z)")
_AT_ONCE = 10_000


def upgrade() -> None:
    """Make both, and count what is there."""
    op.create_table(
        "series",
        sa.Column("storage_id", schema.BigId, autoincrement=False, nullable=False),
        sa.Column("folder", _BYTEWISE, nullable=False),
        sa.Column("name", _BYTEWISE, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("has_item", sa.Boolean(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["storage_id"], ["storages.id"], name="fk_series_storage_id"),
        sa.PrimaryKeyConstraint(
            "storage_id", "folder", "name", "state", "has_item", name="pk_series"
        ),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_files_by_extension_name",
        "files",
        ["storage_id", "extension", "name", "id", "has_item", "state"],
        unique=False,
    )
    _count()


def _count() -> None:
    """Folder by folder, so that a catalogue of any size fits into memory."""
    connection = op.get_bind()
    every = sa.text(
        "SELECT storage_id, folder, name, state, has_item FROM files ORDER BY storage_id, folder"
    )
    rows = connection.execute(every.execution_options(yield_per=_AT_ONCE))
    counted: Counter[tuple[object, ...]] = Counter()
    place = None
    for storage_id, folder, name, state, has_item in rows:
        if (storage_id, folder) != place and len(counted) >= _AT_ONCE:
            _insert(connection, counted)
            counted.clear()
        place = (storage_id, folder)
        counted[storage_id, folder, _series(name), state, bool(has_item)] += 1
    _insert(connection, counted)


def _series(name: str) -> str:
    """As ``server.core.catalog.numbering`` named them in this version."""
    base, dot, extension = name.rpartition(".")
    if not dot:
        base, extension = name, ""
    found = _NUMBER.search(base)
    if found is None:
        return name
    marks = "\x01" * len(found[0])
    return f"{base[: found.start()]}{marks}{base[found.end() :]}{dot}{extension}"


def _insert(connection: sa.Connection, counted: Counter[tuple[object, ...]]) -> None:
    if not counted:
        return
    names = ("storage_id", "folder", "name", "state", "has_item", "n")
    connection.execute(
        sa.text(
            "INSERT INTO series (storage_id, folder, name, state, has_item, n)"
            " VALUES (:storage_id, :folder, :name, :state, :has_item, :n)"
        ).bindparams(sa.bindparam("has_item", type_=sa.Boolean)),
        [dict(zip(names, (*key, n), strict=True)) for key, n in counted.items()],
    )
