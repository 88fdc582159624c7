"""The control xattrs: computed, unlisted, and closed to everybody but where they are open."""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING

import pytest
import xxhash

from pixfs.volume import Caller
from pixfs.volume.control import Control
from tests.t2_volume.frames import dpx, noise
from tests.t2_volume.user import ROOT

if TYPE_CHECKING:
    from pixfs.volume.files import LogicalFile
    from tests.t2_volume.conftest import Volumes
    from tests.t2_volume.user import User

NOBODY = Caller(65534, 65534)


def test_of_a_compressed_file(user: User) -> None:
    user.write("a.dpx", dpx())
    user.compress("a.dpx")
    stored = len(user.stored("a.dpx"))
    assert user.control("a.dpx", "format") == "dpx 96x64 rgb 10-bit filled-a be"
    assert user.control("a.dpx", "size.logical") == str(len(dpx()))
    assert user.control("a.dpx", "size.stored") == str(stored)
    assert user.control("a.dpx", "ratio") == f"{len(dpx()) / stored:.3f}"
    assert user.control("a.dpx", "level") == "balanced"
    assert user.control("a.dpx", "codec")
    assert user.control("a.dpx", "hash") == xxhash.xxh3_128_hexdigest(dpx())
    assert user.control("a.dpx", "encoded_at").endswith("+00:00")
    assert user.control("a.dpx", "verify") == "ok"


def test_of_a_raw_file(user: User) -> None:
    user.write("a.dpx", dpx())
    assert user.control("a.dpx", "format") == "dpx 96x64 rgb 10-bit filled-a be"
    assert user.control("a.dpx", "ratio") == "1.000"
    assert user.control("a.dpx", "verify") == "ok"
    for name in ("codec", "level", "hash", "encoded_at", "nonsense", ""):
        with pytest.raises(OSError, match="No data") as raised:
            user.control("a.dpx", name)
        assert raised.value.errno == errno.ENODATA


def test_of_an_empty_file(user: User) -> None:
    user.write("a", b"")
    assert user.control("a", "ratio") == "1.000"
    assert user.state("a") == ("verbatim", "too small")
    with pytest.raises(OSError, match="No data"):
        user.control("a", "format")


def test_of_the_root(user: User) -> None:
    stats = json.loads(user.control("", "stats"))
    assert stats["queued"] == stats["converting"] == 0
    assert set(stats["cache"]) == {"budget_bytes", "bytes", "blocks", "hits", "misses"}
    assert json.loads(user.control("", "policy"))["mode"] == "manual"
    assert user.control("", "backing") == str(user.backing)
    with pytest.raises(PermissionError):
        user.control("", "backing", NOBODY)
    assert json.loads(user.control("", "stats", NOBODY)) == stats


def test_directories_and_symlinks_have_none(user: User) -> None:
    user.mkdir("d")
    with pytest.raises(OSError, match="No data"):
        user.control("d", "state")
    with pytest.raises(OSError, match="No data"):
        user.control("d", "stats")


def test_not_listed_unless_the_policy_says_so(volumes: Volumes) -> None:
    user = volumes.make()
    user.write("a.dpx", dpx())
    os.setxattr(user.backing / "a.dpx", "user.mine", b"1")
    os.setxattr(user.backing / "a.dpx", "user.pixfs.state", b"forged")
    os.setxattr(user.backing / "a.dpx", "trusted.pixfs.x", b"forged")
    os.setxattr(user.backing / "a.dpx", "trusted.other", b"1")
    node = user.node("a.dpx")
    assert sorted(user.volume.listxattr(node, ROOT)) == [b"trusted.other", b"user.mine"]
    assert user.volume.listxattr(node, NOBODY) == [b"user.mine"]
    assert user.control("a.dpx", "state") == "raw"
    with pytest.raises(OSError, match="No data"):
        user.volume.getxattr(node, b"trusted.pixfs.x", ROOT)
    user.give_back(node)

    listing = volumes.make("other", list_xattrs=True)
    listing.write("a.dpx", dpx())
    node = listing.node("a.dpx")
    names = listing.volume.listxattr(node, ROOT)
    assert b"user.pixfs.state" in names
    assert b"user.pixfs.verify" not in names
    assert b"user.pixfs.stats" in listing.volume.listxattr(listing.volume.root, ROOT)
    listing.give_back(node)


@pytest.mark.parametrize(
    "name",
    [b"user.pixfs.hash", b"user.pixfs.", b"user.pixfs.other", b"trusted.pixfs.x"],
)
def test_cannot_be_set_or_removed(user: User, name: bytes) -> None:
    user.write("a.dpx", dpx())
    node = user.node("a.dpx")
    with pytest.raises(PermissionError) as raised:
        user.volume.setxattr(node, name, b"x", 0, ROOT)
    assert raised.value.errno == errno.EPERM
    with pytest.raises(PermissionError):
        user.volume.removexattr(node, name, ROOT)
    user.give_back(node)


def test_state_takes_two_values(user: User) -> None:
    user.write("a.dpx", dpx())
    with pytest.raises(OSError, match="Invalid argument"):
        user.set_state("a.dpx", "verbatim")
    node = user.node("a.dpx")
    with pytest.raises(PermissionError):
        user.volume.removexattr(node, b"user.pixfs.state", ROOT)
    with pytest.raises(PermissionError):
        user.volume.setxattr(user.volume.root, b"user.pixfs.state", b"raw", 0, ROOT)
    user.give_back(node)


def test_restored_on_demand_stays_raw_until_written(volumes: Volumes) -> None:
    user = volumes.make(mode="on-close")
    user.write("a.dpx", dpx())
    assert user.volume.wait_idle(120)
    node = user.node("a.dpx")
    user.set_state("a.dpx", "raw")
    assert user.volume.wait_idle(120)
    assert user.state("a.dpx") == ("raw", "restored on demand")
    user.open("a.dpx").release()
    assert user.volume.wait_idle(120)
    assert user.state("a.dpx")[0] == "raw"
    user.open("a.dpx", os.O_RDWR).release()
    assert user.volume.wait_idle(120)
    assert user.state("a.dpx")[0] == "compressed"
    user.give_back(node)


def test_compressing_a_file_that_is_open_for_writing_is_ebusy(user: User) -> None:
    handle = user.open("a.dpx", os.O_RDWR | os.O_CREAT)
    handle.write(0, dpx())
    with pytest.raises(OSError, match="open for writing") as raised:
        user.set_state("a.dpx", "compressed")
    assert raised.value.errno == errno.EBUSY
    handle.release()


def test_user_xattrs_are_the_users(user: User) -> None:
    user.write("a.dpx", dpx())
    node = user.node("a.dpx")
    user.volume.setxattr(node, b"user.shot", b"sc010", os.XATTR_CREATE, ROOT)
    with pytest.raises(FileExistsError):
        user.volume.setxattr(node, b"user.shot", b"sc020", os.XATTR_CREATE, ROOT)
    with pytest.raises(OSError, match="No data"):
        user.volume.setxattr(node, b"user.take", b"1", os.XATTR_REPLACE, ROOT)
    user.compress("a.dpx")
    assert user.volume.getxattr(node, b"user.shot", ROOT) == b"sc010"
    user.volume.removexattr(node, b"user.shot", ROOT)
    with pytest.raises(OSError, match="No data"):
        user.volume.getxattr(node, b"user.shot", ROOT)
    assert user.state("a.dpx")[0] == "compressed"
    user.volume.setxattr(user.volume.root, b"user.show", b"x", 0, ROOT)
    assert user.volume.getxattr(user.volume.root, b"user.show", NOBODY) == b"x"
    user.volume.removexattr(user.volume.root, b"user.show", ROOT)
    user.give_back(node)


@pytest.mark.parametrize("name", [b"system.posix_acl_access", b"system.posix_acl_default"])
def test_acls_are_not_supported(user: User, name: bytes) -> None:
    root = user.volume.root
    for call in (
        lambda: user.volume.getxattr(root, name, ROOT),
        lambda: user.volume.setxattr(root, name, b"", 0, ROOT),
        lambda: user.volume.removexattr(root, name, ROOT),
    ):
        with pytest.raises(OSError, match="not supported") as raised:
            call()
        assert raised.value.errno == errno.ENOTSUP


def test_looking_does_not_change_what_is_cached(user: User) -> None:
    """Reading control xattrs must not pass for an opening by the kernel."""
    user.write("a", noise())
    node = user.node("a")
    user.volume.open(node, os.O_RDONLY).release()
    (user.backing / "a").write_bytes(b"changed")
    user.control("a", "verify")
    handle = user.volume.open(node, os.O_RDONLY)
    assert not handle.keep_cache
    handle.release()
    user.give_back(node)


def test_limits_are_for_root_and_the_volumes_user(user: User) -> None:
    root = user.volume.root
    changes: list[str] = []
    user.volume.throttle.on_change = lambda: changes.append(user.control("", "throttle.read"))
    for name in (b"user.pixfs.throttle.read", b"user.pixfs.throttle.write"):
        with pytest.raises(PermissionError):
            user.volume.setxattr(root, name, b"1M", 0, NOBODY)
        user.volume.setxattr(root, name, b"2048", 0, ROOT)
        with pytest.raises(OSError, match="Invalid"):
            user.volume.setxattr(root, name, b"\xff", 0, ROOT)
        assert user.volume.getxattr(root, name, NOBODY) == b"2K"
    assert changes == ["2K", "2K"]
    assert user.volume.throttle.write.limit == 2048
    with pytest.raises(PermissionError):
        user.volume.setxattr(root, b"user.pixfs.throttle.other", b"1M", 0, ROOT)


def test_a_drain_is_asked_for_by_root_and_the_volumes_user(user: User) -> None:
    root, name = user.volume.root, b"user.pixfs.drain"
    assert user.volume.getxattr(root, name, NOBODY) == b"no"
    with pytest.raises(PermissionError):
        user.volume.setxattr(root, name, b"yes", 0, NOBODY)
    with pytest.raises(OSError, match="Invalid"):
        user.volume.setxattr(root, name, b"perhaps", 0, ROOT)
    user.volume.setxattr(root, name, b"yes", 0, ROOT)
    assert user.volume.drains
    assert user.volume.getxattr(root, name, NOBODY) == b"yes"


def test_a_conversion_keeps_to_the_limits_and_counts(user: User) -> None:
    user.write("a.dpx", dpx())
    user.compress("a.dpx")
    moved = user.volume.throttle.snapshot()
    assert moved["read"]["bytes"] == len(dpx())
    assert moved["write"]["bytes"] == len(user.stored("a.dpx"))


def test_a_state_asked_for_while_the_file_is_being_compressed_is_never_verbatim(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file was raw at the first look; why it stayed so was then asked of its container."""
    user.write("a.dpx", dpx(1))
    looked = Control._reason_to_leave
    asked: list[str | None] = []

    def late(control: Control, file: LogicalFile) -> str | None:
        if not asked:
            asked.append(None)
            user.set_state("a.dpx", "compressed")
        asked.append(looked(control, file))
        return asked[-1]

    monkeypatch.setattr(Control, "_reason_to_leave", late)
    assert user.state("a.dpx")[0] == "compressed"
    assert asked[1] is not None
