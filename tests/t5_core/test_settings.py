"""Mail and S3 settings: secrets go in, are used, and never come out."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from server.core import Core, errors
from server.core.catalog import MethodChange, StorageChange
from server.core.database import Database, sqlite_url
from server.core.mail_settings import MailSecurity, MailSettings
from server.core.passwords import HashCost
from server.core.permissions import SYSTEM
from server.core.sealing import Sealer
from server.core.storages import StorageKind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fuse_session import Mounted

CANARY = "canary-7f3a-secret"
MAIL = MailSettings("smtp.example.com", 587, MailSecurity.STARTTLS, "pixfs", "pixfs@example.com")
VAULT: dict[str, Any] = {
    "url": "https://s3.example.com",
    "region": "us-east-1",
    "access_key": "AKIA",
    "secret_key": CANARY,
}


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    database = Database(sqlite_url(tmp_path / "db"))
    yield Core(database, Sealer.from_file(tmp_path / "key"), hash_cost=HashCost(64, 1, 1))
    database.close()


async def test_a_mail_account_is_used_with_its_password_and_shown_without(core: Core) -> None:
    assert await core.mail.get(SYSTEM) == MailSettings()
    assert await core.mail.account() is None
    shown = await core.mail.set(SYSTEM, MAIL, password=CANARY)
    assert shown.has_password
    account = await core.mail.account()
    assert account is not None
    assert account.password == CANARY
    assert CANARY not in repr(account) + repr(shown)


async def test_a_mail_password_stays_with_its_host(core: Core) -> None:
    await core.mail.set(SYSTEM, MAIL, password=CANARY)
    kept = await core.mail.set(SYSTEM, MailSettings(MAIL.host, 25, sender="x@example.com"))
    assert kept.has_password
    moved = await core.mail.set(SYSTEM, MailSettings("evil.example", 25, sender="x@example.com"))
    assert not moved.has_password
    account = await core.mail.account()
    assert account is not None
    assert account.password == ""


@pytest.mark.parametrize(
    "wanted",
    [
        MailSettings("smtp\n.example.com", sender="a@example.com"),
        MailSettings("smtp.example.com", 0, sender="a@example.com"),
        MailSettings("smtp.example.com", 65536, sender="a@example.com"),
        MailSettings("smtp.example.com", sender="not an address"),
        MailSettings("smtp.example.com", sender="a@example.com\r\nBcc: all@example.com"),
        MailSettings("smtp.example.com"),
    ],
)
async def test_a_mail_account_that_cannot_work_is_refused(core: Core, wanted: MailSettings) -> None:
    with pytest.raises(errors.InvalidValue):
        await core.mail.set(SYSTEM, wanted)


async def test_an_endpoint_is_used_with_its_secret_and_shown_without(core: Core) -> None:
    shown = await core.s3_endpoints.add(SYSTEM, "vault", **VAULT)
    account = await core.s3_endpoints.account("vault")
    assert account.secret_key == CANARY
    assert CANARY not in repr(account) + repr(shown)
    assert await core.s3_endpoints.list(SYSTEM) == [shown]


async def test_a_secret_is_not_sent_where_it_was_not_entered_for(core: Core) -> None:
    await core.s3_endpoints.add(SYSTEM, "vault", **VAULT)
    for moved in ({"url": "https://evil.example"}, {"access_key": "OTHER"}):
        with pytest.raises(errors.InvalidValue, match="secret_key"):
            await core.s3_endpoints.change(SYSTEM, "vault", **moved)  # type: ignore[arg-type]
    await core.s3_endpoints.change(SYSTEM, "vault", region="eu-west-1", url=VAULT["url"])
    changed = await core.s3_endpoints.change(
        SYSTEM, "vault", url="https://new.example", secret_key="new"
    )
    assert (changed.url, changed.region) == ("https://new.example", "eu-west-1")
    assert (await core.s3_endpoints.account("vault")).secret_key == "new"


async def test_an_endpoint_stays_as_long_as_a_storage_is_on_it(core: Core) -> None:
    await core.s3_endpoints.add(SYSTEM, "vault", **VAULT)
    await core.storages.add(SYSTEM, "cloud", StorageKind.S3, "frames/dune/", endpoint="vault")
    assert (await core.storages.get(SYSTEM, "cloud")).root == "frames/dune"
    with pytest.raises(errors.InUse, match="cloud"):
        await core.s3_endpoints.remove(SYSTEM, "vault")
    await core.storages.remove(SYSTEM, "cloud")
    await core.s3_endpoints.remove(SYSTEM, "vault")
    assert await core.s3_endpoints.list(SYSTEM) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"url": "ftp://s3.example.com"},
        {"url": "https://user:pw@s3.example.com"},
        {"url": "https://s3.example.com/path"},
        {"url": "https://s3.example.com?x=1"},
        {"url": "https://s3.example.com:99999"},
        {"url": "https://[::1"},
        {"url": "https://"},
        {"region": "Frankfurt am Main"},
        {"access_key": "A\x00B"},
        {"secret_key": ""},
        {"secret_key": "line\nbreak"},
    ],
)
async def test_an_endpoint_that_cannot_work_is_refused(core: Core, changed: dict[str, str]) -> None:
    with pytest.raises(errors.InvalidValue):
        await core.s3_endpoints.add(SYSTEM, "vault", **VAULT | changed)
    assert await core.s3_endpoints.list(SYSTEM) == []


async def test_no_secret_is_in_the_database_or_the_events(core: Core, tmp_path: Path) -> None:
    await core.mail.set(SYSTEM, MAIL, password=CANARY)
    await core.s3_endpoints.add(SYSTEM, "vault", **VAULT)
    await core.s3_endpoints.change(SYSTEM, "vault", secret_key=CANARY + "2")
    assert CANARY not in repr(await core.events.list(SYSTEM))
    assert all(CANARY.encode() not in content for content in contents(tmp_path))


def contents(directory: Path) -> list[bytes]:
    return [file.read_bytes() for file in directory.iterdir()]


async def test_another_key_opens_nothing_and_says_so(core: Core, tmp_path: Path) -> None:
    await core.s3_endpoints.add(SYSTEM, "vault", **VAULT)
    other = Core(core.database, Sealer.from_file(tmp_path / "other"), hash_cost=HashCost(64, 1, 1))
    with pytest.raises(errors.SealError, match="cannot be read"):
        await other.s3_endpoints.account("vault")


def test_the_key_file_is_its_owners_alone_and_stays(tmp_path: Path) -> None:
    sealed = Sealer.from_file(tmp_path / "key").seal("x")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert Sealer.from_file(tmp_path / "key").open(sealed) == "x"
    (tmp_path / "bad").write_text("no key")
    with pytest.raises(errors.SealError, match="does not hold a key"):
        Sealer.from_file(tmp_path / "bad")


async def test_no_storage_shows_the_servers_own_data(tmp_path: Path) -> None:
    """Neither by its path, nor by a link, nor as a folder above."""
    own = tmp_path / "srv" / "data"
    own.mkdir(parents=True)
    (tmp_path / "link").symlink_to(own)
    (tmp_path / "above").symlink_to(tmp_path / "srv")
    (tmp_path / "shows").mkdir()
    with closing(Database(sqlite_url(own / "db"))) as database:
        core = Core(database, Sealer.from_file(own / "key"), private=[str(own), str(own / "db")])
        for root in (own, tmp_path / "srv", tmp_path, tmp_path / "link", tmp_path / "above"):
            with pytest.raises(errors.InvalidValue, match="own data"):
                await core.storages.add(SYSTEM, "new", StorageKind.DIRECTORY, str(root))
        await core.storages.add(SYSTEM, "new", StorageKind.DIRECTORY, str(tmp_path / "shows"))


async def test_no_storage_method_leads_to_the_servers_own_data(tmp_path: Path) -> None:
    """The catalogue made such storages, and methods, which the other way of adding one refused."""
    own = tmp_path / "srv" / "data"
    own.mkdir(parents=True)
    (tmp_path / "link").symlink_to(own)
    (tmp_path / "shows").mkdir()
    with closing(Database(sqlite_url(own / "db"))) as database:
        core = Core(database, Sealer.from_file(own / "key"), private=[str(own)])
        good = MethodChange(uri=(tmp_path / "shows").as_uri())
        made = await core.catalog.add_storage(SYSTEM, StorageChange(methods=(good,)))
        number, method = made.storage.id, made.methods[0].id
        for root in (own, tmp_path / "srv", tmp_path / "link", own / "deeper" / ".."):
            bad = MethodChange(uri=root.as_uri())
            for change in (
                core.catalog.add_storage(SYSTEM, StorageChange(methods=(bad,))),
                core.catalog.change_storage(SYSTEM, number, StorageChange(methods=(bad,))),
                core.catalog.add_method(SYSTEM, number, bad),
                core.catalog.change_method(SYSTEM, number, method, bad),
            ):
                with pytest.raises(errors.InvalidValue, match=r"uri: .*own data"):
                    await change
        assert [each.storage.root for each in await core.catalog.storages(SYSTEM)] == [
            str(tmp_path / "shows")
        ]


@pytest.mark.fuse
async def test_a_mount_of_the_servers_own_data_is_no_storage(
    tmp_path: Path, manual_mount: Mounted
) -> None:
    own = manual_mount.backing / "server"
    with closing(Database(sqlite_url(tmp_path / "db"))) as database:
        core = Core(database, Sealer.from_file(tmp_path / "key"), private=[str(own)])
        with pytest.raises(errors.InvalidValue, match="own data"):
            await core.storages.add(SYSTEM, "new", StorageKind.PIXFS, str(manual_mount.path))


@pytest.mark.parametrize(
    ("kind", "root", "endpoint"),
    [
        (StorageKind.S3, "Bucket", "vault"),
        (StorageKind.S3, "bucket/../../x", "vault"),
        (StorageKind.S3, "bucket", ""),
        (StorageKind.S3, "bucket", "nowhere"),
        (StorageKind.DIRECTORY, "/srv", "vault"),
        (StorageKind.DIRECTORY, "srv", ""),
        (StorageKind.DIRECTORY, "/srv/..", ""),
        (StorageKind.DIRECTORY, "/sys/kernel", ""),
        (StorageKind.DIRECTORY, "/srv\x00", ""),
    ],
)
async def test_a_storage_that_can_be_none_is_refused(
    core: Core, kind: StorageKind, root: str, endpoint: str
) -> None:
    await core.s3_endpoints.add(SYSTEM, "vault", **VAULT)
    with pytest.raises(errors.InvalidValue):
        await core.storages.add(SYSTEM, "new", kind, root, endpoint=endpoint)
    assert await core.storages.list(SYSTEM) == []
