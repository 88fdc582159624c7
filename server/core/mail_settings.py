"""The account the server sends mail from."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from server.core.errors import InvalidValue
from server.core.events import record
from server.core.permissions import Action, Actor, require
from server.core.schema import utc_now
from server.core.tables import settings
from server.core.values import check_email, check_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from server.core.database import Database
    from server.core.sealing import Sealer

__all__ = ["MailAccount", "MailSecurity", "MailSettings", "MailStore"]

_NAME = "mail"


class MailSecurity(StrEnum):
    """How the connection to the mail server is secured."""

    NONE = "none"
    STARTTLS = "starttls"
    TLS = "tls"


@dataclass(frozen=True, slots=True)
class MailSettings:
    """The mail account as it is shown.

    Attributes:
        host: the SMTP server, "" when mail is not set up.
        user: "" when the server asks for no login.
        sender: the address mails come from.
        has_password: whether there is one; it is never shown.
    """

    host: str = ""
    port: int = 587
    security: MailSecurity = MailSecurity.STARTTLS
    user: str = ""
    sender: str = ""
    has_password: bool = False


@dataclass(frozen=True, slots=True)
class MailAccount:
    """The mail account as it is used; ``password`` is in no repr."""

    settings: MailSettings
    password: str = field(repr=False)


class MailStore:
    """Keeps the mail account."""

    def __init__(
        self, database: Database, sealer: Sealer, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._database = database
        self._sealer = sealer
        self._clock = clock

    async def get(self, actor: Actor) -> MailSettings:
        """The settings as they are shown. Raises NotAllowed."""
        require(actor, Action.MANAGE_SETTINGS)
        return await self._database.read(_shown)

    async def set(
        self, actor: Actor, wanted: MailSettings, *, password: str | None = None
    ) -> MailSettings:
        """Change the account; a password of None stays as it is, "" is none.

        The password is dropped when the host changes and none is given with it: a new host
        must not be told the old one's. Raises NotAllowed, InvalidValue.
        """
        require(actor, Action.MANAGE_SETTINGS)
        value = _checked(wanted)
        sealed = self._sealer.seal(password) if password else password
        return await self._database.write(_set, actor, value, sealed, self._clock())

    async def account(self) -> MailAccount | None:
        """What a mail is sent with, None when mail is not set up. Raises SealError."""
        value = await self._database.read(_value)
        shown = _settings(value)
        if not shown.host:
            return None
        sealed = value.get("password_sealed", "")
        return MailAccount(shown, self._sealer.open(sealed) if sealed else "")


def _checked(wanted: MailSettings) -> dict[str, Any]:
    host = check_text("host", wanted.host, 253)
    if not 1 <= wanted.port <= 65535:
        raise InvalidValue("port", "a port is a number from 1 to 65535")
    sender = check_email("sender", wanted.sender)
    if host and not sender:
        raise InvalidValue("sender", "mails need an address they come from")
    return {
        "host": host,
        "port": wanted.port,
        "security": wanted.security.value,
        "user": check_text("user", wanted.user, 320),
        "sender": sender,
    }


def _value(connection: Connection) -> dict[str, Any]:
    query = sa.select(settings.c.value).where(settings.c.name == _NAME)
    return dict(connection.execute(query).scalar() or {})


def _shown(connection: Connection) -> MailSettings:
    return _settings(_value(connection))


def _settings(value: dict[str, Any]) -> MailSettings:
    if not value:
        return MailSettings()
    return MailSettings(
        host=value["host"],
        port=value["port"],
        security=MailSecurity(value["security"]),
        user=value["user"],
        sender=value["sender"],
        has_password=bool(value.get("password_sealed")),
    )


def _set(
    connection: Connection, actor: Actor, value: dict[str, Any], sealed: str | None, now: datetime
) -> MailSettings:
    old = _value(connection)
    if sealed is None:
        sealed = old.get("password_sealed", "") if old.get("host") == value["host"] else ""
    connection.execute(settings.delete().where(settings.c.name == _NAME))
    kept = value | {"password_sealed": sealed}
    connection.execute(settings.insert().values(name=_NAME, value=kept, changed_at=now))
    record(connection, actor, "settings.mail-set", now, host=value["host"])
    return _settings(kept)
