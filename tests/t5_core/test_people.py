"""Users, sessions, lock-out and keys, on each database."""

from __future__ import annotations

import unicodedata
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import argon2
import pytest
import sqlalchemy as sa
import trio

from server.core import Core, errors
from server.core.access import AllowedPath
from server.core.lockout import LockoutPolicy
from server.core.passwords import HashCost, Passwords, check_password, random_password
from server.core.permissions import SYSTEM, Actor, Role
from server.core.sealing import Sealer
from server.core.storages import StorageKind
from server.core.tables import credentials, login_attempts
from server.core.user_rows import UserState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from sqlalchemy.engine import Connection

    from server.core.database import Database

CHEAP = HashCost(memory_kib=64, passes=1, lanes=1)
SECRET = "correct horse battery"
HOME, AWAY = "192.0.2.1", "198.51.100.7"


class Clock:
    """A time that stands until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, **by: float) -> None:
        self.now += timedelta(**by)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def core(database: Database, tmp_path: Path, clock: Clock) -> Core:
    sealer = Sealer.from_file(tmp_path / "secrets.key")
    return Core(database, sealer, hash_cost=CHEAP, clock=clock)


@pytest.fixture
async def ada(core: Core) -> None:
    await core.users.add(SYSTEM, "ada", Role.WRANGLER, SECRET)


async def kinds(core: Core) -> list[str]:
    return [event.kind for event in await core.events.list(SYSTEM)][::-1]


async def test_the_first_start_makes_one_admin_and_tells_the_password_once(core: Core) -> None:
    password = await trio.to_thread.run_sync(core.users.add_first_admin)
    assert password is not None
    opened = await core.sessions.login("admin", password)
    assert opened.actor.role is Role.ADMIN
    assert await trio.to_thread.run_sync(core.users.add_first_admin) is None
    assert [user.name for user in await core.users.list(SYSTEM)] == ["admin"]


async def test_a_user_is_added_changed_and_deleted(core: Core, ada: None) -> None:
    changed = await core.users.set_profile(
        SYSTEM, "ada", full_name="  Ada King ", email="ada@example.com", notify=["failed"]
    )
    assert (changed.full_name, changed.email, changed.notify) == (
        "Ada King",
        "ada@example.com",
        ("failed",),
    )
    with pytest.raises(errors.NameTaken):
        await core.users.add(SYSTEM, "Ada", Role.MONITOR, SECRET)
    await core.users.delete(SYSTEM, "ada")
    with pytest.raises(errors.NotFound):
        await core.users.get(SYSTEM, "ada")
    with pytest.raises(errors.BadCredentials):
        await core.sessions.login("ada", SECRET)
    again = await core.users.add(SYSTEM, "ada", Role.MONITOR, SECRET)
    assert again.id != changed.id, "a number is never given to somebody else"
    assert await kinds(core) == [
        "user.added",
        "user.profile-set",
        "user.deleted",
        "session.refused",
        "user.added",
    ]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("", {}),
        ("-ada", {}),
        ("a" * 65, {}),
        ("ada lovelace", {}),
        ("ada\n", {"email": "not an address"}),
        ("ada", {"email": "ada@exa mple"}),
        ("ada", {"full_name": "Ada\x1b[31m"}),
        ("ada", {"full_name": "Ada\u202egnik"}),
        ("ada", {"full_name": "x" * 201}),
        ("ada", {"password": "short"}),
        ("ada", {"password": "a" * 10}),
        ("ada", {"password": "x" * 100_000}),
        ("ada", {"password": "ada-ada-1234567"}),
        ("ada", {"all_paths": False, "paths": [AllowedPath("nowhere", "")]}),
    ],
)
async def test_what_cannot_be_used_adds_no_user(
    core: Core, name: str, values: dict[str, Any]
) -> None:
    wanted = {"password": SECRET, **values}
    with pytest.raises(errors.InvalidValue):
        await core.users.add(SYSTEM, name, Role.MONITOR, **wanted)
    assert await core.users.list(SYSTEM) == []
    assert await kinds(core) == []


@pytest.mark.parametrize("change", ["role", "suspend", "delete"])
async def test_the_last_administrator_stays(core: Core, change: str) -> None:
    await core.users.add(SYSTEM, "root", Role.ADMIN, SECRET)
    await core.users.add(SYSTEM, "old", Role.ADMIN, SECRET)
    await core.users.suspend(SYSTEM, "old")
    take: dict[str, Callable[[], Awaitable[object]]] = {
        "role": lambda: core.users.set_role(SYSTEM, "root", Role.WRANGLER),
        "suspend": lambda: core.users.suspend(SYSTEM, "root"),
        "delete": lambda: core.users.delete(SYSTEM, "root"),
    }
    with pytest.raises(errors.LastAdmin):
        await take[change]()
    await core.users.restore(SYSTEM, "old")
    await take[change]()


async def test_two_administrators_cannot_demote_each_other_at_once(core: Core) -> None:
    for name in ("one", "two"):
        await core.users.add(SYSTEM, name, Role.ADMIN, SECRET)
    refused: list[str] = []

    async def demote(name: str) -> None:
        try:
            await core.users.set_role(SYSTEM, name, Role.MONITOR)
        except errors.LastAdmin:
            refused.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(demote, "one")
        nursery.start_soon(demote, "two")
    assert len(refused) == 1
    assert [u.role for u in await core.users.list(SYSTEM)].count(Role.ADMIN) == 1


@pytest.mark.parametrize("role", [Role.MONITOR, Role.WRANGLER])
async def test_only_administrators_manage(core: Core, ada: None, role: Role) -> None:
    actor = Actor(1, "ada", role)
    users, storages = core.users, core.storages
    for attempt in (
        lambda: users.list(actor),
        lambda: users.get(actor, "somebody"),
        lambda: users.add(actor, "eve", Role.ADMIN, SECRET),
        lambda: users.set_role(actor, "ada", Role.ADMIN),
        lambda: users.set_access(actor, "ada", all_paths=True),
        lambda: users.set_password(actor, "ada", SECRET),
        lambda: users.set_profile(actor, "ada", full_name="x"),
        lambda: users.suspend(actor, "ada"),
        lambda: users.restore(actor, "ada"),
        lambda: users.unlock(actor, "ada"),
        lambda: users.delete(actor, "ada"),
        lambda: storages.add(actor, "s", StorageKind.DIRECTORY, "/tmp"),
        lambda: storages.remove(actor, "s"),
        lambda: core.events.list(actor),
        lambda: core.mail.get(actor),
        lambda: core.s3_endpoints.list(actor),
        lambda: core.throttles.list(actor),
    ):
        with pytest.raises(errors.NotAllowed):
            await attempt()
    assert (await users.get(actor, "ada")).name == "ada"


async def test_a_session_ends_by_idleness_and_by_age(core: Core, ada: None, clock: Clock) -> None:
    opened = await core.sessions.login("ada", SECRET)
    for _ in range(25):
        clock.move(minutes=29)
        if clock.now < opened.expires_at:
            assert (await core.sessions.find(opened.token)).name == "ada"
    with pytest.raises(errors.NotLoggedIn):
        await core.sessions.find(opened.token)
    again = await core.sessions.login("ada", SECRET)
    clock.move(minutes=30)
    with pytest.raises(errors.NotLoggedIn):
        await core.sessions.find(again.token)


async def test_only_so_many_sessions_are_kept(core: Core, ada: None) -> None:
    tokens = [(await core.sessions.login("ada", SECRET)).token for _ in range(52)]
    alive = []
    for token in tokens:
        try:
            await core.sessions.find(token)
        except errors.NotLoggedIn:
            continue
        alive.append(token)
    assert alive == tokens[-50:]


async def test_an_unknown_token_is_nobody(core: Core, ada: None) -> None:
    await core.sessions.login("ada", SECRET)
    for token in ("", "x", "\udcff", "a" * 1000):
        with pytest.raises(errors.NotLoggedIn):
            await core.sessions.find(token)


async def fail(core: Core, name: str, address: str, times: int) -> None:
    for _ in range(times):
        with pytest.raises(errors.BadCredentials):
            await core.sessions.login(name, "a wrong password", address=address)


async def test_a_lock_holds_for_its_window_and_no_longer(
    core: Core, ada: None, clock: Clock
) -> None:
    await fail(core, "ada", AWAY, 5)
    clock.move(minutes=14)
    for _ in range(3):  # attempts during the lock do not prolong it
        with pytest.raises(errors.TooManyAttempts) as told:
            await core.sessions.login("ada", SECRET, address=AWAY)
        assert told.value.retry_after_s == 60
    clock.move(minutes=1)
    await core.sessions.login("ada", SECRET, address=AWAY)


async def test_a_guesser_elsewhere_cannot_lock_the_owner_out(
    core: Core, ada: None, clock: Clock
) -> None:
    await core.sessions.login("ada", SECRET, address=HOME)
    for address in (AWAY, "203.0.113.1", "203.0.113.2"):
        with suppress(errors.TooManyAttempts):
            await fail(core, "ada", address, 5)
    await core.sessions.login("ada", SECRET, address=HOME)
    with pytest.raises(errors.TooManyAttempts):
        await core.sessions.login("ada", SECRET, address="203.0.113.9")
    # At home the owner's own mistakes still count.
    await fail(core, "ada", HOME, 5)
    with pytest.raises(errors.TooManyAttempts):
        await core.sessions.login("ada", SECRET, address=HOME)


async def test_a_right_password_forgets_the_failures_before_it(core: Core, ada: None) -> None:
    for _ in range(3):
        await fail(core, "ada", HOME, 4)
        await core.sessions.login("ada", SECRET, address=HOME)


async def test_an_unknown_name_is_locked_like_a_known_one(core: Core) -> None:
    await fail(core, "nobody", AWAY, 5)
    with pytest.raises(errors.TooManyAttempts):
        await core.sessions.login("nobody", "a wrong password", address=AWAY)


async def test_an_unknown_name_costs_what_a_known_one_does(
    core: Core, ada: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One hash of the same cost each: time does not tell who there is."""
    made: list[argon2.Parameters] = []
    verify = Passwords._verify

    def noted(passwords: Passwords, known: str, password: str) -> bool:
        made.append(argon2.extract_parameters(known))
        return verify(passwords, known, password)

    monkeypatch.setattr(Passwords, "_verify", noted)
    await fail(core, "ada", AWAY, 1)
    await fail(core, "nobody", AWAY, 1)
    assert len(made) == 2
    assert made[0] == made[1]


def test_a_hash_costs_what_is_recommended_at_least() -> None:
    """19 MiB and two passes of argon2id, says OWASP."""
    cost = HashCost()
    assert cost.memory_kib >= 19 << 10
    assert cost.passes >= 2
    known = argon2.extract_parameters(Passwords(CHEAP).hash_now(SECRET))
    assert known.type is argon2.Type.ID


async def test_an_address_that_tries_many_names_is_locked(core: Core, ada: None) -> None:
    for number in range(20):
        await fail(core, f"user{number}", f"2001:db8::{number:x}", 1)
    with pytest.raises(errors.TooManyAttempts):  # one /64 is one customer
        await core.sessions.login("ada", SECRET, address="2001:db8::ffff")
    await core.sessions.login("ada", SECRET, address="2001:db8:0:1::1")


async def test_a_flood_of_guesses_at_once_does_not_pass_the_limit(core: Core, ada: None) -> None:
    told: list[type[BaseException]] = []

    async def guess() -> None:
        try:
            await core.sessions.login("ada", "a wrong password", address=AWAY)
        except errors.CoreError as error:
            told.append(type(error))

    async with trio.open_nursery() as nursery:
        for _ in range(25):
            nursery.start_soon(guess)
    assert told.count(errors.BadCredentials) == 5
    assert told.count(errors.TooManyAttempts) == 20


async def test_a_lock_survives_a_restart_and_ends_by_unlock(
    core: Core, database: Database, tmp_path: Path, clock: Clock, ada: None
) -> None:
    await fail(core, "ada", AWAY, 5)
    sealer = Sealer.from_file(tmp_path / "secrets.key")
    restarted = Core(database, sealer, hash_cost=CHEAP, clock=clock)
    with pytest.raises(errors.TooManyAttempts):
        await restarted.sessions.login("ada", SECRET, address=AWAY)
    assert await restarted.users.unlock(SYSTEM, "ada") == 5
    await restarted.sessions.login("ada", SECRET, address=AWAY)


async def test_old_attempts_are_forgotten(core: Core, ada: None, clock: Clock) -> None:
    await fail(core, "ada", AWAY, 3)
    clock.move(days=31)
    await core.sessions.login("ada", SECRET, address=AWAY)

    def count(connection: Connection) -> int:
        return int(connection.execute(sa.select(sa.func.count(login_attempts.c.id))).scalar_one())

    assert await core.database.read(count) == 1


async def test_a_password_changed_during_the_login_wins(core: Core, ada: None) -> None:
    """The hash is verified outside of any transaction, so it is looked at again inside."""
    passwords = core.sessions._passwords
    verify = passwords.verify

    async def change_then_verify(known: str | None, password: str) -> bool:
        right = await verify(known, password)
        await core.users.set_password(SYSTEM, "ada", "a brand-new secret")
        return right

    passwords.verify = change_then_verify  # type: ignore[method-assign]
    with pytest.raises(errors.BadCredentials, match="changed"):
        await core.sessions.login("ada", SECRET)


async def test_a_cheaper_hash_is_made_anew_at_the_next_login(
    core: Core, database: Database, tmp_path: Path, ada: None
) -> None:
    def hash_of(connection: Connection) -> str:
        return str(connection.execute(sa.select(credentials.c.secret_hash)).scalar_one())

    before = await database.read(hash_of)
    dearer = Core(
        database, Sealer.from_file(tmp_path / "secrets.key"), hash_cost=HashCost(128, 1, 1)
    )
    await dearer.sessions.login("ada", SECRET)
    after = await database.read(hash_of)
    assert before.startswith("$argon2id$v=19$m=64,t=1,p=1$")
    assert after.startswith("$argon2id$v=19$m=128,t=1,p=1$")
    await dearer.sessions.login("ada", SECRET)
    assert await database.read(hash_of) == after


async def test_a_key_is_shown_once_and_works_until_it_ends(
    core: Core, ada: None, clock: Clock
) -> None:
    actor = (await core.sessions.login("ada", SECRET)).actor
    issued = await core.credentials.issue(actor, "api-key", "farm", lasts=timedelta(days=1))
    identifier, secret = issued.credential.identifier, issued.secret
    found = await core.credentials.verify("api-key", identifier, secret, address=HOME)
    assert (found.name, found.role, found.address) == ("ada", Role.WRANGLER, HOME)
    (listed,) = await core.credentials.list(actor)
    assert listed.last_used_at == clock.now
    assert secret not in repr(listed)
    for kind, name, key in (
        ("api-key", identifier, secret + "x"),
        ("api-key", "x" + identifier, secret),
        ("oauth-client", identifier, secret),
        ("api-key", identifier, ""),
        ("api-key", identifier, "\udcff"),
    ):
        with pytest.raises(errors.BadCredentials):
            await core.credentials.verify(kind, name, key)
    clock.move(days=1)
    with pytest.raises(errors.BadCredentials):
        await core.credentials.verify("api-key", identifier, secret)


async def test_keys_end_with_revocation_suspension_and_their_user(core: Core, ada: None) -> None:
    await core.users.add(SYSTEM, "eve", Role.WRANGLER, SECRET)
    actor = (await core.sessions.login("ada", SECRET)).actor
    other = (await core.sessions.login("eve", SECRET)).actor
    one = await core.credentials.issue(actor, "api-key", "one")
    two = await core.credentials.issue(actor, "oauth-client", "two")

    async def works(issued: object) -> bool:
        assert issued in (one, two)
        key = one if issued is one else two
        try:
            await core.credentials.verify(
                key.credential.kind, key.credential.identifier, key.secret
            )
        except errors.BadCredentials:
            return False
        return True

    with pytest.raises(errors.NotFound):
        await core.credentials.revoke(other, one.credential.id)
    assert await works(one)
    await core.credentials.revoke(actor, one.credential.id)
    assert not await works(one)
    await core.users.suspend(SYSTEM, "ada")
    assert not await works(two)
    await core.users.restore(SYSTEM, "ada")
    assert await works(two)
    await core.users.delete(SYSTEM, "ada")
    assert not await works(two)


async def test_who_is_given_folders_reaches_nothing_else(core: Core, tmp_path: Path) -> None:
    await core.storages.add(SYSTEM, "near", StorageKind.DIRECTORY, str(tmp_path))
    shows = [AllowedPath("near", "shows")]
    held = await core.users.add(SYSTEM, "ada", Role.MONITOR, SECRET, paths=shows)
    assert (held.all_paths, held.paths) == (False, tuple(shows))
    free = await core.users.add(SYSTEM, "eve", Role.MONITOR, SECRET)
    assert (free.all_paths, free.paths) == (True, ())
    with pytest.raises(errors.InvalidValue, match="paths"):
        await core.users.add(SYSTEM, "bob", Role.MONITOR, SECRET, all_paths=True, paths=shows)
    with pytest.raises(errors.InvalidValue, match="paths"):
        await core.users.set_access(SYSTEM, "ada", all_paths=True, paths=shows)
    assert not (await core.users.get(SYSTEM, "ada")).all_paths


async def test_access_follows_the_storages(core: Core, tmp_path: Path, ada: None) -> None:
    for name in ("near", "far"):
        await core.storages.add(SYSTEM, name, StorageKind.DIRECTORY, str(tmp_path))
    user = await core.users.set_access(
        SYSTEM,
        "ada",
        all_paths=False,
        paths=[AllowedPath("far", "/a//b/"), AllowedPath("far", "a/b"), AllowedPath("near", "")],
    )
    assert user.paths == (AllowedPath("far", "a/b"), AllowedPath("near", ""))
    actor = (await core.sessions.login("ada", SECRET)).actor
    assert [s.name for s in await core.storages.list(actor)] == ["far", "near"]
    await core.storages.change(SYSTEM, "far", new_name="archive")
    await core.storages.remove(SYSTEM, "near")
    assert (await core.users.get(actor, "ada")).paths == (AllowedPath("archive", "a/b"),)
    assert [s.name for s in await core.storages.list(actor)] == ["archive"]
    # A storage of the same name is another one.
    await core.storages.add(SYSTEM, "near", StorageKind.DIRECTORY, str(tmp_path))
    assert [s.name for s in await core.storages.list(actor)] == ["archive"]


async def test_nothing_changes_without_its_event(core: Core, ada: None) -> None:
    """A change and its event are one transaction: what fails after the change undoes both."""
    monkey = pytest.MonkeyPatch()

    def refuse(*args: object, **kwargs: object) -> int:
        raise RuntimeError("planted")

    with monkey.context() as patch:
        patch.setattr("server.core.user_rows.record", refuse)
        with pytest.raises(RuntimeError, match="planted"):
            await core.users.suspend(SYSTEM, "ada")
    assert (await core.users.get(SYSTEM, "ada")).state is UserState.ACTIVE


async def test_events_are_listed_by_kind_and_page(core: Core, ada: None) -> None:
    for _ in range(3):
        await core.users.suspend(SYSTEM, "ada")
        await core.users.restore(SYSTEM, "ada")
    every = await core.events.list(SYSTEM, kind="user")
    assert len(every) == 7
    assert len(await core.events.list(SYSTEM, kind="user.suspended")) == 3
    assert await core.events.list(SYSTEM, kind="use") == []
    assert await core.events.list(SYSTEM, kind="%") == []
    older = await core.events.list(SYSTEM, before=every[2].id, limit=2)
    assert older == every[3:5]


@pytest.mark.parametrize("password", ["correct horse", "pässwörter!", "パスワード-1234567"])
async def test_passwords_are_verified_however_they_are_composed(password: str) -> None:
    passwords = Passwords(CHEAP)
    known = await passwords.hash(unicodedata.normalize("NFD", password))
    assert await passwords.verify(known, unicodedata.normalize("NFC", password))
    assert not await passwords.verify(known, password + "x")
    assert not await passwords.verify(None, password)
    assert not await passwords.verify(known, password * 1000)


async def test_a_flood_of_logins_is_refused_before_it_takes_the_memory() -> None:
    passwords = Passwords(CHEAP)
    refused = 0

    async def verify() -> None:
        nonlocal refused
        try:
            await passwords.verify(None, "a wrong password")
        except errors.ServerBusy:
            refused += 1

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(verify)
    assert refused == 100 - 32 - 2


def test_random_passwords_are_accepted_and_differ() -> None:
    made = {random_password() for _ in range(100)}
    assert len(made) == 100
    for password in made:
        check_password("password", password, "admin")


def test_the_default_lockout_is_the_documented_one() -> None:
    policy = LockoutPolicy()
    assert (policy.per_account, policy.per_address) == (5, 20)
    assert policy.window == timedelta(minutes=15)
