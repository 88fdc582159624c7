"""System settings: the mail account and the S3 endpoints. Secrets go in and never come out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from server.api.contract import Call, Endpoints, Nothing, value
from server.api.pixmover.schemas import AN_HOUR, Done
from server.core.errors import InUse, MailRefused, NameTaken, NotFound, SealError
from server.core.mail_settings import MailSecurity, MailSettings
from server.core.permissions import Action
from server.core.s3_endpoints import Addressing, S3Endpoint
from server.core.storages import StorageKind
from server.notify.trial import send_test_mail

__all__ = ["ENDPOINTS"]

ENDPOINTS = Endpoints("System settings")
_ENDPOINT = {"endpoint": ("The endpoint's name.", "vault")}


@dataclass(frozen=True, slots=True, kw_only=True)
class MailBody:
    """The account mails are sent from."""

    host: str = value('The SMTP server, "" when mail is not set up.', "smtp.example.com")
    port: int = value("Its port.", 587)
    security: MailSecurity = value("How the connection is secured.", MailSecurity.STARTTLS)
    user: str = value('The user to log in as, "" for none.', "pixfs")
    sender: str = value("The address mails come from.", "pixfs@example.com")
    has_password: bool = value("Whether a password is set; it is never shown.", True)


@dataclass(frozen=True, slots=True, kw_only=True)
class MailForm:
    """A mail account to set."""

    host: str = value('The SMTP server; "" sends no mail.', "smtp.example.com")
    port: int = value("Its port.", 587, default=587, least=1, most=65535)
    security: MailSecurity = value(
        "How the connection is secured.", MailSecurity.STARTTLS, default=MailSecurity.STARTTLS
    )
    user: str = value("The user to log in as.", "pixfs", default="")
    password: str | None = value(
        "The password; not given, it stays as long as the host does.",
        "mail secret",
        default=None,
        secret=True,
    )
    sender: str = value("The address mails come from.", "pixfs@example.com", default="")


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointBody:
    """An S3 endpoint, without its secret key."""

    name: str = value("What storages call it.", "vault")
    url: str = value('Where it is, "" for Amazon\'s own.', "https://s3.example.com")
    region: str = value("Its region.", "us-east-1")
    access_key: str = value("The public part of its key.", "AKIAEXAMPLE")
    addressing: Addressing = value("How a bucket is named in a URL.", Addressing.PATH)
    created_at: datetime = value("When it was added.", AN_HOUR)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointList:
    """The S3 endpoints by name."""

    endpoints: tuple[EndpointBody, ...] = value("The endpoints.", ())


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEndpoint:
    """An S3 endpoint to add."""

    name: str = value("What storages will call it.", "vault")
    url: str = value(
        "http(s)://HOST[:PORT]; empty for Amazon's own.", "https://s3.example.com", default=""
    )
    region: str = value("Its region.", "us-east-1", default="us-east-1")
    access_key: str = value("The public part of its key.", "AKIAEXAMPLE")
    secret_key: str = value("The secret part; never shown again.", "s3 secret", secret=True)
    addressing: Addressing = value(
        "How a bucket is named in a URL.", Addressing.PATH, default=Addressing.PATH
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointChange:
    """What to change of an S3 endpoint; what is not given stays."""

    url: str | None = value(
        "Needs the secret key again.", "https://s3.example.com:9000", default=None
    )
    region: str | None = value("Its region.", "eu-west-1", default=None)
    access_key: str | None = value("Needs the secret key again.", "AKIAEXAMPLE", default=None)
    secret_key: str | None = value("Its secret.", "s3 secret", default=None, secret=True)
    addressing: Addressing | None = value(
        "How a bucket is named in a URL.", Addressing.PATH, default=None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialMail:
    """Where to send a test mail."""

    to: str = value("The address to send to.", "ada@example.com")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialConnection:
    """What to look for at an S3 endpoint."""

    bucket: str = value("A bucket, and a prefix after a slash if any.", "frames")


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """What webhooks are signed with from now on."""

    key: str = value(
        "The key of the HMAC, as text; shown this once.",
        "q1Jr0m0Zl3vXnG6c2V8yB5tKfW7sD9aE4hUiLpQxRzM",
        secret=True,
    )


@ENDPOINTS.add("GET", "/settings/mail", needs=Action.MANAGE_SETTINGS, takes=Nothing, gives=MailBody)
async def get_mail(call: Call, query: Nothing) -> MailBody:
    """Show the mail account."""
    return _render_mail(await call.core.mail.get(call.actor))


@ENDPOINTS.add(
    "PUT", "/settings/mail", needs=Action.MANAGE_SETTINGS, takes=MailForm, gives=MailBody
)
async def set_mail(call: Call, form: MailForm) -> MailBody:
    """Set the mail account, in place of the one there was."""
    wanted = MailSettings(form.host, form.port, form.security, form.user, form.sender)
    return _render_mail(await call.core.mail.set(call.actor, wanted, password=form.password))


@ENDPOINTS.add(
    "GET", "/settings/s3", needs=Action.MANAGE_SETTINGS, takes=Nothing, gives=EndpointList
)
async def list_endpoints(call: Call, query: Nothing) -> EndpointList:
    """List the S3 endpoints."""
    found = await call.core.s3_endpoints.list(call.actor)
    return EndpointList(endpoints=tuple(_render_endpoint(each) for each in found))


@ENDPOINTS.add(
    "POST",
    "/settings/s3",
    needs=Action.MANAGE_SETTINGS,
    takes=NewEndpoint,
    gives=EndpointBody,
    errors=(NameTaken,),
)
async def add_endpoint(call: Call, form: NewEndpoint) -> EndpointBody:
    """Add an S3 endpoint."""
    added = await call.core.s3_endpoints.add(
        call.actor,
        form.name,
        url=form.url,
        region=form.region,
        access_key=form.access_key,
        secret_key=form.secret_key,
        addressing=form.addressing,
    )
    return _render_endpoint(added)


@ENDPOINTS.add(
    "PUT",
    "/settings/s3/{endpoint}",
    needs=Action.MANAGE_SETTINGS,
    takes=EndpointChange,
    gives=EndpointBody,
    errors=(NotFound,),
    parameters=_ENDPOINT,
)
async def change_endpoint(call: Call, form: EndpointChange) -> EndpointBody:
    """Change an S3 endpoint."""
    changed = await call.core.s3_endpoints.change(
        call.actor,
        call.path["endpoint"],
        url=form.url,
        region=form.region,
        access_key=form.access_key,
        secret_key=form.secret_key,
        addressing=form.addressing,
    )
    return _render_endpoint(changed)


@ENDPOINTS.add(
    "POST",
    "/settings/s3/{endpoint}/remove",
    needs=Action.MANAGE_SETTINGS,
    takes=Nothing,
    gives=Done,
    errors=(NotFound, InUse),
    parameters=_ENDPOINT,
)
async def remove_endpoint(call: Call, form: Nothing) -> Done:
    """Remove an S3 endpoint that no storage is on."""
    await call.core.s3_endpoints.remove(call.actor, call.path["endpoint"])
    return Done()


@ENDPOINTS.add(
    "POST",
    "/settings/mail/test",
    needs=Action.MANAGE_SETTINGS,
    takes=TrialMail,
    gives=Done,
    errors=(MailRefused, SealError),
)
async def try_mail(call: Call, form: TrialMail) -> Done:
    """Send a test mail; done when the mail server has taken it."""
    await send_test_mail(call.core, call.actor, form.to)
    return Done()


@ENDPOINTS.add(
    "POST",
    "/settings/s3/{endpoint}/test",
    needs=Action.MANAGE_SETTINGS,
    takes=TrialConnection,
    gives=Done,
    errors=(NotFound, SealError),
    parameters=_ENDPOINT,
)
async def try_endpoint(call: Call, form: TrialConnection) -> Done:
    """List a bucket with the endpoint's keys; refused with the reason when that fails."""
    await call.files.check(
        call.actor,
        StorageKind.S3,
        form.bucket,
        call.path["endpoint"],
        action=Action.MANAGE_SETTINGS,
        field="bucket",
    )
    return Done()


@ENDPOINTS.add(
    "POST",
    "/settings/webhooks/renew-key",
    needs=Action.MANAGE_SETTINGS,
    takes=Nothing,
    gives=SigningKey,
)
async def renew_webhook_key(call: Call, form: Nothing) -> SigningKey:
    """Make a new key that webhooks are signed with; messages that wait are signed with it too."""
    return SigningKey(key=await call.core.webhook_keys.renew(call.actor))


def _render_mail(mail: MailSettings) -> MailBody:
    return MailBody(
        host=mail.host,
        port=mail.port,
        security=mail.security,
        user=mail.user,
        sender=mail.sender,
        has_password=mail.has_password,
    )


def _render_endpoint(endpoint: S3Endpoint) -> EndpointBody:
    return EndpointBody(
        name=endpoint.name,
        url=endpoint.url,
        region=endpoint.region,
        access_key=endpoint.access_key,
        addressing=endpoint.addressing,
        created_at=endpoint.created_at,
    )
