"""Sends what stands in the outbox, until each message has been taken.

A message is marked sent after its receiver has taken it. Killed in between, the server sends it
again; a receiver tells the two by their delivery number.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

import sqlalchemy as sa
import trio

from server.core.errors import CoreError, DatabaseError
from server.core.jobs.tables import deliveries
from server.core.schema import utc_now
from server.notify.email import send_mail, write_mail
from server.notify.errors import DeliveryError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from server.core.database import Database
    from server.core.mail_settings import MailAccount
    from server.core.schema import AnyRow
    from server.notify.webhook import Webhook

__all__ = ["MOST_ATTEMPTS", "Form", "Outbox"]

log = logging.getLogger(__name__)

# With the delays below, an attempt a while after 14 hours is the last.
MOST_ATTEMPTS = 8
_FIRST_DELAY_S = 10
_AT_ONCE = 8
_LOOK_S = 2.0

# Makes the event's name and the body of a webhook from what the server tells of a job.
Form: TypeAlias = "Callable[[dict[str, Any]], tuple[str, dict[str, Any]]]"


class Outbox:
    """The task that sends; `wake` from the trio thread."""

    def __init__(
        self,
        database: Database,
        webhook: Webhook,
        *,
        key: Callable[[], Awaitable[bytes]],
        account: Callable[[], Awaitable[MailAccount | None]],
        clock: Callable[[], datetime] = utc_now,
        look_s: float = _LOOK_S,
        on_tried: Callable[[str, str], None] = lambda kind, result: None,
        forms: Mapping[str, Form] | None = None,
    ) -> None:
        """``key`` signs webhooks, ``account`` is the mail account, None when there is none.
        ``on_tried`` is called after each attempt with the message's kind and sent, failed (it
        will be tried again) or given-up. ``forms`` say a webhook in the words of a face, by the
        name its job gives."""
        self._database = database
        self._webhook = webhook
        self._key = key
        self._account = account
        self._clock = clock
        self._look_s = look_s
        self._on_tried = on_tried
        self._forms = {} if forms is None else forms
        self._wake = trio.Event()

    def wake(self) -> None:
        """There may be something to send."""
        self._wake.set()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Sends until it is cancelled."""
        task_status.started()
        while True:
            self._wake = trio.Event()
            try:
                while await self.send_due():
                    pass
            except DatabaseError as error:
                log.warning("the outbox cannot be read now: %s", error)
            with trio.move_on_after(self._look_s):
                await self._wake.wait()

    async def send_due(self) -> int:
        """Tries every message that is due once; how many there were."""
        rows = await self._database.read(_due, self._clock())
        async with trio.open_nursery() as nursery:
            for row in rows:
                nursery.start_soon(self._try, row)
        return len(rows)

    async def _try(self, row: AnyRow) -> None:
        error = ""
        is_final = False
        try:
            await self._send(row)
        except DeliveryError as failure:
            error, is_final = str(failure), failure.is_final
        except CoreError as failure:
            error = str(failure)
        now = self._clock()
        # Taken by the receiver: a cancellation must not make us forget that.
        with trio.CancelScope(shield=True):
            try:
                await self._database.write(_note, row.id, row.attempts + 1, error, is_final, now)
            except DatabaseError as failure:
                log.warning("message %d may be sent once more: %s", row.id, failure)
        is_given_up = bool(error) and (is_final or row.attempts + 1 >= MOST_ATTEMPTS)
        self._on_tried(row.kind, "given-up" if is_given_up else "failed" if error else "sent")
        if is_given_up:
            log.warning("the message %d about job %d is given up: %s", row.id, row.job_id, error)

    async def _send(self, row: AnyRow) -> None:
        payload: dict[str, Any] = row.payload
        if row.kind == "webhook":
            key = await self._key()
            said = {name: payload[name] for name in payload if name != "form"}
            event = str(payload["event"])
            if (form := self._forms.get(payload.get("form", ""))) is not None:
                event, said = form(said)
            await self._webhook.send(
                row.receiver, said, event=event, number=row.id, key=key, now=self._clock()
            )
            return
        account = await self._account()
        if account is None:
            raise DeliveryError("no mail account is set up")
        sender = account.settings.sender
        await send_mail(account, write_mail(sender, row.receiver, payload, row.id, self._clock()))


def _due(connection: Connection, now: datetime) -> list[AnyRow]:
    query = (
        sa.select(deliveries)
        .where(deliveries.c.state == sa.literal_column("'WAITING'"))
        .where(deliveries.c.not_before <= now)
        .order_by(deliveries.c.not_before)
        .limit(_AT_ONCE)
    )
    return list(connection.execute(query))


def _note(
    connection: Connection, number: int, attempts: int, error: str, is_final: bool, now: datetime
) -> None:
    values: dict[str, Any] = {"attempts": attempts, "error": error}
    if not error:
        values |= {"state": "SENT", "sent_at": now}
    elif is_final or attempts >= MOST_ATTEMPTS:
        values["state"] = "FAILED"
    else:
        delay = timedelta(seconds=_FIRST_DELAY_S * 4 ** (attempts - 1))
        values["not_before"] = now + delay
    connection.execute(deliveries.update().where(deliveries.c.id == number).values(**values))
