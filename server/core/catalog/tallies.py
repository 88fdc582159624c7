"""Tables that say how many there are of each sort: their primary key, and ``n``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.engine import Connection

__all__ = ["add"]


def add(connection: Connection, table: sa.Table, counted: Mapping[tuple[Any, ...], int]) -> None:
    """Adds to the counts of these keys; those that come to nothing go. In a writing transaction."""
    columns = [column.name for column in table.primary_key]
    rows = [dict(zip(columns, key, strict=True)) | {"n": n} for key, n in counted.items() if n]
    if not rows:
        return
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    adding = dialect.insert(table)
    connection.execute(
        adding.on_conflict_do_update(
            index_elements=columns, set_={"n": table.c.n + adding.excluded.n}
        ),
        rows,
    )
    if any(row["n"] < 0 for row in rows):
        empty = [table.c[name] == sa.bindparam(f"key_{name}") for name in columns]
        connection.execute(
            table.delete().where(sa.and_(*empty, table.c.n == 0)),
            [{f"key_{name}": row[name] for name in columns} for row in rows if row["n"] < 0],
        )
