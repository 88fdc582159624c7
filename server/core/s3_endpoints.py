"""S3 endpoints: where buckets are, and the keys to them. The secret key is never shown again."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import sqlalchemy as sa

from server.core.errors import InUse, InvalidValue, NameTaken, NotFound
from server.core.events import record
from server.core.permissions import Action, Actor, require
from server.core.schema import utc_now
from server.core.tables import s3_endpoints, storages
from server.core.values import check_name, check_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from server.core.database import Database
    from server.core.schema import AnyRow
    from server.core.sealing import Sealer

__all__ = ["Addressing", "S3Account", "S3Endpoint", "S3Endpoints"]

_REGION = re.compile(r"[a-z0-9-]{1,64}")


class Addressing(StrEnum):
    """How a bucket is named in a URL: as its first folder, or as part of the host."""

    PATH = "path"
    VIRTUAL = "virtual"


@dataclass(frozen=True, slots=True)
class S3Endpoint:
    """An endpoint as it is shown; ``url`` is "" for Amazon's own of the region."""

    id: int
    name: str
    url: str
    region: str
    access_key: str
    addressing: Addressing
    created_at: datetime


@dataclass(frozen=True, slots=True)
class S3Account:
    """An endpoint as it is used; ``secret_key`` is in no repr."""

    endpoint: S3Endpoint
    secret_key: str = field(repr=False)


class S3Endpoints:
    """The S3 endpoints of the server. Methods raise NotAllowed, NotFound, InvalidValue."""

    def __init__(
        self, database: Database, sealer: Sealer, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._database = database
        self._sealer = sealer
        self._clock = clock

    async def list(self, actor: Actor) -> list[S3Endpoint]:
        """All endpoints by name, without secrets."""
        require(actor, Action.MANAGE_SETTINGS)
        return await self._database.read(_list)

    async def add(
        self,
        actor: Actor,
        name: str,
        *,
        url: str,
        region: str,
        access_key: str,
        secret_key: str,
        addressing: Addressing = Addressing.PATH,
    ) -> S3Endpoint:
        """A new endpoint. Raises NameTaken too."""
        require(actor, Action.MANAGE_SETTINGS)
        values: dict[str, object] = {
            "name": check_name("name", name),
            "url": _check_url(url),
            "region": _check_region(region),
            "access_key": check_text("access_key", access_key, 128),
            "secret_sealed": self._sealer.seal(_check_secret(secret_key)),
            "addressing": addressing.value,
            "created_at": self._clock(),
        }
        return await self._database.write(_add, actor, values, self._clock())

    async def change(
        self,
        actor: Actor,
        name: str,
        *,
        url: str | None = None,
        region: str | None = None,
        access_key: str | None = None,
        secret_key: str | None = None,
        addressing: Addressing | None = None,
    ) -> S3Endpoint:
        """Change an endpoint; None leaves a value as it is.

        A new ``url`` or ``access_key`` needs the secret key with it: another host must not be
        sent what was entered for this one.
        """
        require(actor, Action.MANAGE_SETTINGS)
        values: dict[str, object] = {}
        if url is not None:
            values["url"] = _check_url(url)
        if region is not None:
            values["region"] = _check_region(region)
        if access_key is not None:
            values["access_key"] = check_text("access_key", access_key, 128)
        if addressing is not None:
            values["addressing"] = addressing.value
        if secret_key is not None:
            values["secret_sealed"] = self._sealer.seal(_check_secret(secret_key))
        return await self._database.write(_change, actor, name, values, self._clock())

    async def remove(self, actor: Actor, name: str) -> None:
        """Remove an endpoint. Raises InUse while a storage is on it."""
        require(actor, Action.MANAGE_SETTINGS)
        await self._database.write(_remove, actor, name, self._clock())

    async def account(self, name: str) -> S3Account:
        """What requests to an endpoint are signed with. Raises NotFound, SealError."""
        row = await self._database.read(_row, name)
        return S3Account(_endpoint(row), self._sealer.open(row.secret_sealed))


def _check_url(url: str) -> str:
    if not url:
        return ""
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        raise InvalidValue("url", "this is not a URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise InvalidValue("url", "give http://HOST[:PORT] or https://HOST[:PORT]")
    if parts.username or parts.password or parts.query or parts.fragment or parts.path.strip("/"):
        raise InvalidValue("url", "give the host only: no user, path or query")
    return f"{parts.scheme}://{parts.netloc.lower()}"


def _check_region(region: str) -> str:
    region = region.strip().lower()
    if not _REGION.fullmatch(region):
        raise InvalidValue("region", "give the region's name, such as us-east-1")
    return region


def _check_secret(secret: str) -> str:
    if not 1 <= len(secret) <= 256 or not secret.isprintable():
        raise InvalidValue("secret_key", "give the secret key, at most 256 printable characters")
    return secret


def _row(connection: Connection, name: str) -> AnyRow:
    row = connection.execute(sa.select(s3_endpoints).where(s3_endpoints.c.name == name)).first()
    if row is None:
        raise NotFound("there is no such S3 endpoint")
    return row


def _endpoint(row: AnyRow) -> S3Endpoint:
    return S3Endpoint(
        id=row.id,
        name=row.name,
        url=row.url,
        region=row.region,
        access_key=row.access_key,
        addressing=Addressing(row.addressing),
        created_at=row.created_at,
    )


def _list(connection: Connection) -> list[S3Endpoint]:
    query = sa.select(s3_endpoints).order_by(s3_endpoints.c.name)
    return [_endpoint(row) for row in connection.execute(query)]


def _add(
    connection: Connection, actor: Actor, values: dict[str, object], now: datetime
) -> S3Endpoint:
    name = str(values["name"])
    same = s3_endpoints.c.name == name
    if connection.execute(sa.select(s3_endpoints.c.id).where(same)).first() is not None:
        raise NameTaken(f"there is an S3 endpoint {name} already")
    connection.execute(s3_endpoints.insert().values(values))
    endpoint = _endpoint(_row(connection, name))
    record(connection, actor, "s3-endpoint.added", now, endpoint.id, name=name, url=endpoint.url)
    return endpoint


def _change(
    connection: Connection, actor: Actor, name: str, values: dict[str, object], now: datetime
) -> S3Endpoint:
    row = _row(connection, name)
    moved = any(key in values and values[key] != row._mapping[key] for key in ("url", "access_key"))
    if moved and "secret_sealed" not in values:
        raise InvalidValue("secret_key", "give it again with another URL or access key")
    if values:
        connection.execute(s3_endpoints.update().where(s3_endpoints.c.id == row.id).values(values))
        fields = sorted(key.removesuffix("_sealed") for key in values)
        record(connection, actor, "s3-endpoint.changed", now, row.id, fields=fields)
    return _endpoint(_row(connection, name))


def _remove(connection: Connection, actor: Actor, name: str, now: datetime) -> None:
    row = _row(connection, name)
    on_it = (storages.c.endpoint_id == row.id) & (storages.c.state == "active")
    used = connection.execute(sa.select(storages.c.name).where(on_it)).scalars().first()
    if used is not None:
        raise InUse(f"the storage {used} is on this endpoint")
    # Storages that were removed let go of it: their rows stay for what names them.
    connection.execute(
        storages.update().where(storages.c.endpoint_id == row.id).values(endpoint_id=None)
    )
    connection.execute(s3_endpoints.delete().where(s3_endpoints.c.id == row.id))
    record(connection, actor, "s3-endpoint.removed", now, row.id, name=name)
