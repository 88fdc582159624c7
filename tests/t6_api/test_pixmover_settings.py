"""The mail account and the S3 endpoints, tried out on servers that speak SMTP and S3."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import boto3
import pytest
from aiosmtpd.controller import Controller

from tests.s3 import s3_server, settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aiosmtpd.smtp import SMTP, Envelope, Session

    from server.core import Core
    from tests.pixmover import PixMover


class Mailbox:
    """Keeps what it is sent; refuses mail to nobody@."""

    def __init__(self) -> None:
        self.mails: list[Envelope] = []

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("nobody@"):
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.mails.append(envelope)
        return "250 OK"


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, int]]:
    """A mail server, and its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    box = Mailbox()
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    yield box, port
    controller.stop()


async def test_a_test_mail_arrives(as_admin: PixMover, mailbox: tuple[Mailbox, int]) -> None:
    box, port = mailbox
    unset = await as_admin.post("/settings/mail/test", to="ada@example.com")
    assert (unset.status_code, unset.json()["message"]) == (400, "to: no mail account is set")
    account = {"host": "127.0.0.1", "port": port, "security": "none", "sender": "pixfs@a.example"}
    assert (await as_admin.put("/settings/mail", **account)).status_code == 200
    sent = await as_admin.post("/settings/mail/test", to="ada@example.com")
    assert sent.status_code == 200, sent.text
    (mail,) = box.mails
    assert (mail.mail_from, mail.rcpt_tos) == ("pixfs@a.example", ["ada@example.com"])
    refused = await as_admin.post("/settings/mail/test", to="nobody@example.com")
    assert (refused.status_code, refused.json()["code"]) == (400, "mail-refused")
    injected = await as_admin.post("/settings/mail/test", to="a@b.example\r\nBcc: c@d.example")
    assert injected.status_code == 400
    assert len(box.mails) == 1


async def test_a_mail_server_that_is_not_there_says_so(as_admin: PixMover) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        account = {"host": "127.0.0.1", "port": port, "sender": "pixfs@a.example"}
        await as_admin.put("/settings/mail", **account)
        answer = await as_admin.post("/settings/mail/test", to="ada@example.com")
    assert (answer.status_code, answer.json()["code"]) == (400, "mail-refused")


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The URL of an S3 server with the bucket "frames"."""
    with s3_server() as url:
        told = settings(url)
        client = boto3.client(
            "s3",
            endpoint_url=url,
            region_name=told["region"],
            aws_access_key_id=told["access_key"],
            aws_secret_access_key=told["secret_key"],
        )
        client.create_bucket(Bucket="frames")
        for number in (1001, 1002, 1003):
            client.put_object(Bucket="frames", Key=f"dune/bg.{number}.dpx", Body=b"x" * 10)
        client.put_object(Bucket="frames", Key="dune/masks/m.exr", Body=b"y")
        client.close()
        yield url


async def test_an_endpoint_is_tried_and_its_bucket_listed(
    as_admin: PixMover, s3: str, tmp_path: Path
) -> None:
    form = {"name": "vault", "url": s3, "access_key": "test", "secret_key": "test"}
    assert (await as_admin.post("/settings/s3", **form)).status_code == 200
    good = await as_admin.post("/settings/s3/vault/test", bucket="frames")
    assert good.status_code == 200, good.text
    missing = await as_admin.post("/settings/s3/vault/test", bucket="missing")
    assert (missing.status_code, missing.json()["field"]) == (400, "bucket")
    nowhere = await as_admin.post("/settings/s3/nowhere/test", bucket="frames")
    assert nowhere.status_code == 404
    storage = {"name": "cloud", "kind": "s3", "root": "frames", "endpoint": "vault"}
    added = await as_admin.post("/storages", **storage)
    assert (added.status_code, added.json()["state"]) == (200, "available"), added.text
    listed = (await as_admin.get("/folders", storage="cloud", path="dune")).json()
    assert [(i["name"], i["kind"], i["count"], i["size"]) for i in listed["items"]] == [
        ("masks", "folder", 1, None),
        ("bg.[1001-1003].dpx", "file", 3, 30),
    ]
    used = await as_admin.post("/settings/s3/vault/remove")
    assert (used.status_code, used.json()["code"]) == (409, "in-use")


async def test_an_endpoint_that_does_not_answer_says_so(as_admin: PixMover) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        form = {"name": "vault", "url": url, "access_key": "test", "secret_key": "test"}
        await as_admin.post("/settings/s3", **form)
        answer = await as_admin.post("/settings/s3/vault/test", bucket="frames")
    assert (answer.status_code, answer.json()["field"]) == (400, "bucket")
    assert "test" not in answer.json()["message"]


async def test_the_webhooks_key_is_renewed_and_told_once(
    core: Core, as_admin: PixMover, as_wrangler: PixMover
) -> None:
    before = await core.webhook_keys.key()
    refused = await as_wrangler.post("/settings/webhooks/renew-key")
    assert refused.status_code == 403
    assert await core.webhook_keys.key() == before
    answer = await as_admin.post("/settings/webhooks/renew-key")
    assert answer.status_code == 200, answer.text
    assert answer.json()["key"].encode() == await core.webhook_keys.key() != before
    again = await as_admin.post("/settings/webhooks/renew-key")
    assert again.json()["key"] != answer.json()["key"]
