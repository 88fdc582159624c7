"""Mails over the account of the system settings."""

from __future__ import annotations

import smtplib
import ssl
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from typing import TYPE_CHECKING, Any

import trio

from server.core.mail_settings import MailSecurity
from server.notify.errors import DeliveryError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from server.core.mail_settings import MailAccount

__all__ = ["send_mail", "write_mail"]

_PATIENCE_S = 20
_LINES = (
    ("Job", "id"),
    ("Kind", "kind"),
    ("State", "state"),
    ("Label", "label"),
    ("Message", "message"),
)


def write_mail(
    sender: str, receiver: str, payload: Mapping[str, Any], number: int, now: datetime
) -> EmailMessage:
    """The mail about an ended job."""
    job = payload["job"]
    files = job["files"]
    mail = EmailMessage()
    mail["From"] = sender
    mail["To"] = receiver
    label = f" ({_line(job['label'])})" if job["label"] else ""
    mail["Subject"] = f"PixFS: job {job['id']} {job['state'].lower()}{label}"
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = make_msgid(f"pixfs-{number}", domain=sender.rpartition("@")[2] or "pixfs")
    mail["Auto-Submitted"] = "auto-generated"
    lines = [f"{name}: {_line(str(job[key]))}" for name, key in _LINES if job[key] != ""]
    lines.append(
        f"Files: {files['done']} done, {files['skipped']} skipped, {files['failed']} failed,"
        f" of {files['total']}"
    )
    mail.set_content("\n".join(lines) + "\n")
    return mail


def _line(text: str) -> str:
    """Text a user chose, as one line of a header or a mail."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


async def send_mail(account: MailAccount, mail: EmailMessage) -> None:
    """Hands a mail to the account's server. DeliveryError unless it has taken it."""
    await trio.to_thread.run_sync(_send, account, mail, abandon_on_cancel=True)


def _send(account: MailAccount, mail: EmailMessage) -> None:
    settings = account.settings
    context = ssl.create_default_context()
    try:
        if settings.security is MailSecurity.TLS:
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                settings.host, settings.port, timeout=_PATIENCE_S, context=context
            )
        else:
            server = smtplib.SMTP(settings.host, settings.port, timeout=_PATIENCE_S)
        with server:
            if settings.security is MailSecurity.STARTTLS:
                server.starttls(context=context)
            if settings.user:
                server.login(settings.user, account.password)
            server.send_message(mail)
    except smtplib.SMTPRecipientsRefused as error:
        raise DeliveryError("the mail server refuses the address") from error
    except smtplib.SMTPAuthenticationError as error:
        raise DeliveryError("the mail server refuses the login") from error
    except (smtplib.SMTPException, OSError, ValueError) as error:
        raise DeliveryError(f"the mail server did not take it ({type(error).__name__})") from error
