"""Failed logins slow guessing down without letting a guesser lock the owner out.

Two kinds of lock hold at once, both for a window of time that no attempt prolongs:

- an account takes a few failures from all addresses it has not been used from lately together,
  and as many from each address it has: whoever guesses from elsewhere cannot lock the place the
  user works at;
- an address takes some more failures over all accounts.

Attempts are counted when they begin, so a flood of simultaneous ones cannot pass the limit
together, and in the database, so a restart forgets nothing.
"""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from server.core.errors import TooManyAttempts
from server.core.tables import login_attempts as attempts

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

__all__ = ["LockoutPolicy", "begin_attempt", "forgive", "succeed"]


@dataclass(frozen=True, slots=True)
class LockoutPolicy:
    """How many failures are taken, and for how long they count.

    Attributes:
        per_account, per_address: failures within the window after which logins are refused.
        known_for: how long an address counts as the user's own after a login from it.
    """

    per_account: int = 5
    per_address: int = 20
    window: timedelta = timedelta(minutes=15)
    known_for: timedelta = timedelta(days=30)


def begin_attempt(
    connection: Connection, user_name: str, address: str, now: datetime, policy: LockoutPolicy
) -> int:
    """Count an attempt as failed until `succeed` says otherwise; its number.

    Raises TooManyAttempts, and counts nothing, while a lock holds.
    """
    name, network = user_name[:64], _network(address)
    connection.execute(attempts.delete().where(attempts.c.at < now - policy.known_for))
    recent = (attempts.c.at > now - policy.window) & ~attempts.c.succeeded
    by_address = recent & (attempts.c.address == network)
    _refuse(connection, by_address, policy.per_address, now, policy.window)
    _refuse(
        connection,
        recent & _counted_together(connection, name, network),
        policy.per_account,
        now,
        policy.window,
    )
    result = connection.execute(
        attempts.insert().values(user_name=name, address=network, at=now, succeeded=False)
    )
    assert result.inserted_primary_key is not None
    return int(result.inserted_primary_key[0])


def succeed(connection: Connection, attempt: int) -> None:
    """The attempt's password was right: it and those before it from there no longer count."""
    row = connection.execute(sa.select(attempts).where(attempts.c.id == attempt)).first()
    if row is None:  # forgiven meanwhile
        return
    connection.execute(attempts.update().where(attempts.c.id == attempt).values(succeeded=True))
    connection.execute(
        attempts.delete().where(
            (attempts.c.user_name == row.user_name)
            & (attempts.c.address == row.address)
            & (attempts.c.id < attempt)
        )
    )


def forgive(connection: Connection, user_name: str) -> int:
    """End an account's lock; how many failures were forgotten."""
    failed = (attempts.c.user_name == user_name[:64]) & ~attempts.c.succeeded
    return connection.execute(attempts.delete().where(failed)).rowcount


def _counted_together(connection: Connection, name: str, network: str) -> sa.ColumnElement[bool]:
    """Which attempts share a count with one on this account from this network."""
    same_name = attempts.c.user_name == name
    known = sa.select(attempts.c.address).where(same_name & attempts.c.succeeded)
    if connection.execute(known.where(attempts.c.address == network)).first():
        return same_name & (attempts.c.address == network)
    return same_name & attempts.c.address.not_in(known)


def _refuse(
    connection: Connection,
    counted: sa.ColumnElement[bool],
    limit: int,
    now: datetime,
    window: timedelta,
) -> None:
    """Raise TooManyAttempts when ``limit`` attempts are counted, until the oldest is too old."""
    query = sa.select(attempts.c.at).where(counted).order_by(attempts.c.at.desc()).limit(limit)
    times = list(connection.execute(query).scalars())
    if len(times) >= limit:
        wait = (times[-1] + window - now).total_seconds()
        raise TooManyAttempts(max(1, math.ceil(wait)))


def _network(address: str) -> str:
    """What counts as one address: an IPv6 customer holds a whole /64 of them."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.IPv6Network((parsed, 64), strict=False))
    return str(parsed)
