"""A mail that only shows that the mail account works."""

from __future__ import annotations

from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from typing import TYPE_CHECKING

from server.core.errors import InvalidValue, MailRefused
from server.core.permissions import Action, require
from server.core.values import check_email
from server.notify.email import send_mail
from server.notify.errors import DeliveryError

if TYPE_CHECKING:
    from server.core import Core
    from server.core.permissions import Actor

__all__ = ["send_test_mail"]


async def send_test_mail(core: Core, actor: Actor, receiver: str) -> None:
    """Send a mail over the account as it is set; returns when the mail server has taken it.

    Raises NotAllowed, InvalidValue (no address, or no account), MailRefused, SealError.
    """
    require(actor, Action.MANAGE_SETTINGS)
    receiver = check_email("to", receiver)
    if not receiver:
        raise InvalidValue("to", "give the address to send to")
    account = await core.mail.account()
    if account is None:
        raise InvalidValue("to", "no mail account is set")
    sender = account.settings.sender
    mail = EmailMessage()
    mail["From"] = sender
    mail["To"] = receiver
    mail["Subject"] = "PixFS: test"
    mail["Date"] = format_datetime(core.clock())
    mail["Message-ID"] = make_msgid("pixfs-test", domain=sender.rpartition("@")[2])
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content("PixFS can send mails over this account.\n")
    try:
        await send_mail(account, mail)
    except DeliveryError as error:
        raise MailRefused(str(error)) from error
