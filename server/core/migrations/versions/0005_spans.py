"""Spans of the orders that files are listed in."""

from __future__ import annotations

from collections import Counter

import sqlalchemy as sa
from alembic import op

from server.core import schema

revision = "0005"
down_revision = "0004"

_BYTEWISE = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
_AT_ONCE = 10_000
_LENGTH = 8192
_LOWEST = ("", -(2**63), 0)
# What an order is called, what it sorts by before the id, and a key's text and number in SQL.
_ORDERS = (
    ("id", "", "''", "0"),
    ("name", "name, ", "name", "0"),
    ("size", "size, ", "''", "size"),
    ("time", "mtime_ns, ", "''", "mtime_ns"),
    ("extension", "extension, ", "extension", "0"),
    ("extension_name", "extension, name, ", "extension || :parting || name", "0"),
)


def upgrade() -> None:
    """Make them, and cut what is there."""
    op.create_table(
        "spans",
        sa.Column("storage_id", schema.BigId, autoincrement=False, nullable=False),
        sa.Column("ordering", sa.String(length=16), nullable=False),
        sa.Column("text", _BYTEWISE, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("file_id", schema.BigId, autoincrement=False, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("has_item", sa.Boolean(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["storage_id"], ["storages.id"], name="fk_spans_storage_id"),
        sa.PrimaryKeyConstraint(
            "storage_id",
            "ordering",
            "text",
            "number",
            "file_id",
            "state",
            "has_item",
            name="pk_spans",
        ),
        sqlite_with_rowid=False,
    )
    for name, columns, text, number in _ORDERS:
        _cut(name, columns, text, number)


def _cut(ordering: str, columns: str, text: str, number: str) -> None:
    """Go through an order once; every so many files a new span begins."""
    connection = op.get_bind()
    every = sa.text(
        f"SELECT storage_id, {text}, {number}, id, state, has_item FROM files"
        f" ORDER BY storage_id, {columns}id"
    ).bindparams(*([sa.bindparam("parting", "\x01")] if ":parting" in text else []))
    counted: Counter[tuple[object, ...]] = Counter()
    storage, length, start = None, 0, _LOWEST
    rows = connection.execute(every.execution_options(yield_per=_AT_ONCE))
    for storage_id, at_text, at_number, file_id, state, has_item in rows:
        if storage_id != storage:
            storage, length, start = storage_id, 0, _LOWEST
        elif length == _LENGTH:
            length, start = 0, (at_text, at_number, file_id)
        length += 1
        counted[storage_id, ordering, *start, state, bool(has_item)] += 1
    if counted:
        _insert(connection, counted)


def _insert(connection: sa.Connection, counted: Counter[tuple[object, ...]]) -> None:
    names = ("storage_id", "ordering", "text", "number", "file_id", "state", "has_item", "n")
    connection.execute(
        sa.text(
            "INSERT INTO spans"
            " (storage_id, ordering, text, number, file_id, state, has_item, n) VALUES"
            " (:storage_id, :ordering, :text, :number, :file_id, :state, :has_item, :n)"
        ).bindparams(sa.bindparam("has_item", type_=sa.Boolean)),
        [dict(zip(names, (*key, n), strict=True)) for key, n in counted.items()],
    )
