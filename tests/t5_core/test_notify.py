"""Messages about ended jobs, to real receivers."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
import trio
from aiosmtpd.controller import Controller

from server.core.jobs import Notify
from server.core.jobs.tables import deliveries
from server.core.mail_settings import MailAccount, MailSecurity, MailSettings
from server.notify.egress import Egress
from server.notify.email import send_mail, write_mail
from server.notify.errors import DeliveryError
from server.notify.outbox import MOST_ATTEMPTS, Outbox
from server.notify.webhook import Webhook, signature
from tests.t5_core.desk import Desk
from tests.webhooks import DRIPS, NEVER, receiving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aiosmtpd.smtp import SMTP, Envelope, Session

    from server.core.database import Database
    from tests.checklogs import ExpectLogs

KEY = b"a key of the studio"
LOCAL = Egress(("127.0.0.0/8",))
PAYLOAD: dict[str, Any] = {
    "event": "job.failed",
    "job": {
        "id": 7,
        "kind": "copy",
        "state": "FAILED",
        "label": "dailies\r\nBcc: all@studio.example",
        "message": "",
        "files": {"total": 3, "done": 2, "skipped": 0, "failed": 1},
    },
}


@pytest.fixture
async def desk(database: Database, tmp_path: Path) -> Desk:
    desk = Desk(database, tmp_path)
    await desk.set_up()
    (desk.one / "file").write_bytes(b"x")
    return desk


def outbox_of(desk: Desk, account: MailAccount | None = None, patience_s: float = 60) -> Outbox:
    async def key() -> bytes:
        return KEY

    async def mail() -> MailAccount | None:
        return account

    return Outbox(
        desk.database,
        Webhook(LOCAL, patience_s=patience_s),
        key=key,
        account=mail,
        clock=desk.clock,
        look_s=0.02,
    )


async def ended_job(desk: Desk, notify: Notify) -> None:
    async with desk.working():
        await desk.until(await desk.submit("verify", "file", notify=notify), "SUCCEEDED")


async def states(desk: Desk) -> list[tuple[str, int]]:
    query = sa.select(deliveries.c.state, deliveries.c.attempts).order_by(deliveries.c.id)
    return await desk.database.read(lambda c: [tuple(row) for row in c.execute(query)])


async def test_a_webhook_is_signed(desk: Desk) -> None:
    async with receiving() as receiver:
        await ended_job(desk, Notify(receiver.url))
        assert await outbox_of(desk).send_due() == 1
        assert await outbox_of(desk).send_due() == 0
    ((headers, body),) = receiver.requests
    assert json.loads(body)["event"] == headers["x-pixfs-event"] == "job.succeeded"
    timestamp = int(headers["x-pixfs-timestamp"])
    assert headers["x-pixfs-signature"] == signature(KEY, timestamp, body)
    assert headers["host"] in receiver.url
    assert await states(desk) == [("SENT", 1)]


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"x-%d: y\r\n" % n for n in range(100_000)) + b"\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * (1 << 20) + b"\r\n\r\n",
        b"nonsense",
        b"",
        NEVER,
        DRIPS,
    ],
    ids=["500", "redirect", "headers", "header", "nonsense", "nothing", "never", "drips"],
)
async def test_what_is_not_taken_is_sent_again(desk: Desk, answer: bytes) -> None:
    async with receiving(answer, OK) as receiver:
        await ended_job(desk, Notify(receiver.url))
        # Only who never answers is waited for in vain.
        is_slow = answer in (NEVER, DRIPS)
        await outbox_of(desk, patience_s=1 if is_slow else 60).send_due()
        assert await states(desk) == [("WAITING", 1)]
        outbox = outbox_of(desk)
        assert await outbox.send_due() == 0
        desk.clock.advance(11)
        await outbox.send_due()
    assert await states(desk) == [("SENT", 2)]
    numbers = {headers["x-pixfs-delivery"] for headers, _ in receiver.requests}
    # One that never answers may not even have been reached in time.
    assert len(receiver.requests) == 2 or is_slow
    assert len(numbers) == 1


async def test_an_endless_answer_is_not_read(desk: Desk) -> None:
    endless = b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n" + b"x" * 1000
    async with receiving(endless) as receiver:
        await ended_job(desk, Notify(receiver.url))
        await outbox_of(desk).send_due()
    assert await states(desk) == [("SENT", 1)]


async def test_it_is_given_up_in_the_end(desk: Desk, expect_logs: ExpectLogs) -> None:
    expect_logs("is given up: the receiver cannot be reached")
    await ended_job(desk, Notify("http://127.0.0.1:1/"))
    outbox = outbox_of(desk)
    for _ in range(MOST_ATTEMPTS):
        assert await outbox.send_due() == 1
        desk.clock.advance(10**6)
    assert await outbox.send_due() == 0
    assert await states(desk) == [("FAILED", MOST_ATTEMPTS)]


async def test_killed_before_it_is_noted_it_is_sent_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    async def killed(*args: object) -> None:
        raise Killed

    async with receiving() as receiver:
        await ended_job(desk, Notify(receiver.url))
        with monkeypatch.context() as patch:
            patch.setattr(desk.database, "write", killed)
            with pytest.raises(BaseExceptionGroup):
                await outbox_of(desk).send_due()
        await outbox_of(desk).send_due()
    assert len(receiver.requests) == 2
    assert await states(desk) == [("SENT", 1)]


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:10.0.0.1]",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "224.0.0.1",
        "192.0.0.8",
        "192.88.99.1",
        "[fec0::1]",
        "[64:ff9b::a00:1]",
        "[64:ff9b:1::1]",
        "[2002:a00:1::]",
        "[2001::1]",
        "[3fff::1]",
        "[5f00::1]",
        "localhost",
        "localhost.",
        "LOCALHOST",
        "127\u30020\u30020\u30021",
        "0177.0.0.1",
        "127.0.0.1\r\nX-Evil: 1",
        "user@93.184.216.34",
    ],
)
async def test_inner_addresses_are_not_connected_to(host: str) -> None:
    with pytest.raises(DeliveryError) as caught:
        await Egress().resolve(f"http://{host}/x")
    assert caught.value.is_final or "not known" in str(caught.value)


@pytest.mark.parametrize(
    "addresses",
    [
        ["10.0.0.1"],  # as of 10.0.0.1.nip.io
        ["93.184.216.34", "127.0.0.1"],
        ["2606:2800:220:1:248:1893:25c8:1946", "fd00::1"],
    ],
)
async def test_a_name_of_an_inner_address_is_not_connected_to(
    addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when another of its addresses is public."""
    known_as(monkeypatch, addresses)
    with pytest.raises(DeliveryError) as caught:
        await Egress().resolve("http://hooks.example/x")
    assert caught.value.is_final


async def test_a_name_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it stands for a moment later, the connection goes to the address that was checked:
    nothing is left in the URL that could be looked up again."""
    asked = known_as(monkeypatch, ["93.184.216.34"], ["127.0.0.1"])
    endpoint = await Egress().resolve("https://hooks.example/x?y=z")
    assert endpoint.url == "https://93.184.216.34:443/x?y=z"
    assert (endpoint.host, endpoint.authority) == ("hooks.example", "hooks.example")
    assert asked == ["hooks.example"]


def known_as(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Lets any name stand for these addresses, one look-up after the other; the names asked for."""
    left, asked = list(answers), []

    async def look_up(host: str, port: int, **more: object) -> list[tuple[Any, ...]]:
        asked.append(host)
        return [(0, 0, 0, "", (address, port)) for address in left.pop(0)]

    monkeypatch.setattr("trio.socket.getaddrinfo", look_up)
    return asked


async def test_what_is_allowed_is_pinned() -> None:
    endpoint = await Egress(("10.0.0.0/8",)).resolve("https://10.1.2.3:8443/a?b=c")
    assert endpoint.url == "https://10.1.2.3:8443/a?b=c"
    assert endpoint.authority == "10.1.2.3:8443"
    assert Egress().permits("93.184.216.34")
    assert not Egress().permits("no address")


class Mailbox:
    """A real SMTP server's mailbox."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], bytes]] = []
        self.refuses = False

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.refuses:
            return "451 try again later"
        assert isinstance(envelope.content, bytes)
        self.mails.append((envelope.rcpt_tos, envelope.content))
        return "250 taken"


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, MailAccount]]:
    box = Mailbox()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        settings = MailSettings("127.0.0.1", port, MailSecurity.NONE, sender="pixfs@studio.example")
        yield box, MailAccount(settings, "")
    finally:
        controller.stop()


async def test_a_mail_is_sent_again_until_it_is_taken(
    desk: Desk, mailbox: tuple[Mailbox, MailAccount]
) -> None:
    box, account = mailbox
    await ended_job(desk, Notify(email=("td@studio.example",)))
    outbox = outbox_of(desk, account)
    box.refuses = True
    await outbox.send_due()
    assert await states(desk) == [("WAITING", 1)]
    box.refuses = False
    desk.clock.advance(11)
    await outbox.send_due()
    ((receivers, content),) = box.mails
    assert receivers == ["td@studio.example"]
    assert b"Subject: PixFS: job 1 succeeded" in content
    assert await states(desk) == [("SENT", 2)]


async def test_a_label_adds_no_header(desk: Desk, mailbox: tuple[Mailbox, MailAccount]) -> None:
    box, account = mailbox
    mail = write_mail("pixfs@studio.example", "td@studio.example", PAYLOAD, 3, desk.clock())
    await send_mail(account, mail)
    ((receivers, content),) = box.mails
    assert receivers == ["td@studio.example"]
    assert b"\nBcc:" not in content


async def test_without_a_mail_account_it_waits(desk: Desk) -> None:
    await ended_job(desk, Notify(email=("td@studio.example",)))
    await outbox_of(desk).send_due()
    assert await states(desk) == [("WAITING", 1)]


async def test_the_outbox_sends_by_itself(desk: Desk) -> None:
    async with receiving() as receiver, trio.open_nursery() as nursery:
        outbox = outbox_of(desk)
        await nursery.start(outbox.run)
        await ended_job(desk, Notify(receiver.url))
        outbox.wake()

        async def is_sent() -> bool:
            return await states(desk) == [("SENT", 1)]

        await desk.until_true(is_sent)
        nursery.cancel_scope.cancel()
