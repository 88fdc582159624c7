"""The one MetaData every table belongs to, and the column types they share.

A noun's tables stand beside the noun; ``server.core.migrations`` makes them in a database.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import sqlalchemy as sa

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

# A row of any query; the columns are read by name.
AnyRow: TypeAlias = "sa.Row[*tuple[Any, ...]]"

# Constraints have names, so that a migration can speak of them in every dialect.
metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """An aware datetime in UTC, to the microsecond, ordered alike by every database.

    Naive datetimes are refused with ValueError: nobody knows which hour they mean.
    """

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone")
        in_utc = value.astimezone(UTC)
        # SQLite keeps text and drops the zone; all of one zone, texts sort like times.
        return in_utc.replace(tzinfo=None) if dialect.name == "sqlite" else in_utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# BIGINT does not number itself in SQLite, INTEGER is 64 bits wide there anyway.
BigId = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def id_column() -> sa.Column[Any]:
    """A primary key the database counts up; a number once given is never given again."""
    return sa.Column("id", BigId, sa.Identity(always=False), primary_key=True)


def utc_now() -> datetime:
    """The time now, aware, in UTC: the core's clock wherever none is given."""
    return datetime.now(UTC)
