"""Nodes without descriptors: what is merely listed, and what has not been used for long."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from pixfs.volume import backing, descriptors, heads, listing
from pixfs.volume.attributes import Signature
from tests.t2_volume.frames import dpx
from tests.t2_volume.openings import noted
from tests.t2_volume.user import read_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pixfs.volume.listing import Entry
    from tests.t2_volume.conftest import Volumes
    from tests.t2_volume.user import User

MANY = 300


@contextmanager
def listed(user: User) -> Iterator[dict[str, Entry]]:
    """The root's entries; their lookups are held as the kernel holds them."""
    handle = user.volume.opendir(user.volume.root)
    try:
        entries = {os.fsdecode(entry.name): entry for entry in handle.entries(0)}
    finally:
        handle.release()
    try:
        yield entries
    finally:
        for entry in entries.values():
            if entry.node is not None:
                user.volume.release_refs(entry.node, 1)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def fill(user: User, count: int = MANY) -> None:
    for number in range(count):
        (user.backing / f"{number:04d}").write_bytes(b"content %d" % number)


def test_listing_keeps_no_descriptor(user: User) -> None:
    fill(user)
    before = open_descriptors()
    with listed(user) as entries:
        assert len(entries) == MANY + 2
        assert open_descriptors() == before
        assert user.volume.stats()["nodes"] == MANY + 1
        for entry in entries.values():
            if entry.node is not None:
                assert user.volume.stat(entry.node).size == entry.length
        assert open_descriptors() == before


def test_files_used_and_let_go_keep_a_bounded_number(
    volumes: Volumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mount ran out of descriptors once it had opened as many files as it may open at once."""
    monkeypatch.setattr(descriptors, "_MOST_KEPT", descriptors._FEWEST_KEPT)
    user = volumes.make()
    fill(user)
    before = open_descriptors()
    with listed(user) as entries:
        for name, entry in entries.items():
            if entry.node is None:
                continue
            handle = user.volume.open(entry.node, os.O_RDONLY)
            assert bytes(handle.read(0, 100)) == b"content %d" % int(name)
            handle.release()
        assert open_descriptors() <= before + descriptors._FEWEST_KEPT
        # The first ones have lost theirs; they are found again.
        first = entries["0000"].node
        assert first is not None
        assert first.descriptor is None
        user.volume.chmod(first, 0o600)
        assert stat.S_IMODE((user.backing / "0000").stat().st_mode) == 0o600


def test_a_descriptor_outlives_its_node_while_it_is_used(user: User) -> None:
    user.write("a", b"some bytes")
    node = user.node("a")
    held = node.fd
    node.descriptor = None
    assert os.fstat(held).st_size == 10
    number = int(held)
    del held
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
    user.give_back(node)


def test_a_listed_file_is_unlinked_and_lives_on(user: User) -> None:
    """Its number must not come back as another file while the kernel knows it by that."""
    fill(user, 3)
    with listed(user) as entries:
        node = entries["0001"].node
        assert node is not None
        user.unlink("0001")
        assert user.volume.stat(node).nlink == 0
        user.write("new", b"x")
        new = user.node("new")
        assert new is not node
        assert new.key != node.key
        user.give_back(new)


def test_a_listed_file_is_renamed(user: User) -> None:
    fill(user, 3)
    with listed(user) as entries:
        node, other = entries["0001"].node, entries["0002"].node
        assert node is not None
        assert other is not None
        user.rename("0001", "0002")
        assert user.volume.stat(other).nlink == 0
        handle = user.volume.open(node, os.O_RDONLY)
        assert read_all(handle) == b"content 1"
        handle.release()
        assert user.node("0002") is node
        user.give_back(node)


def test_a_listed_directory_is_renamed_under_its_children(user: User) -> None:
    user.mkdir("d")
    user.write("d/f", b"deep")
    with listed(user) as entries:
        directory = entries["d"].node
        assert directory is not None
        child = user.volume.lookup(directory, b"f")
        child.descriptor = None
        directory.descriptor = None
        user.rename("d", "e")
        directory.descriptor = None
        handle = user.volume.open(child, os.O_RDONLY)
        assert read_all(handle) == b"deep"
        handle.release()
        user.give_back(child)


def test_a_listed_file_replaced_from_outside_is_stale(user: User) -> None:
    fill(user, 2)
    with listed(user) as entries:
        node = entries["0001"].node
        assert node is not None
        (user.backing / "spare").write_bytes(b"another")
        (user.backing / "spare").rename(user.backing / "0001")
        with pytest.raises(OSError, match=os.strerror(errno.ESTALE)):
            user.volume.open(node, os.O_RDONLY)
        # Looked up again, as the kernel does then, it is the file that stands there.
        assert user.read("0001") == b"another"


def test_a_listed_file_renamed_from_outside_is_another_node(user: User) -> None:
    fill(user, 2)
    with listed(user) as entries:
        old = entries["0001"].node
        assert old is not None
        (user.backing / "0001").rename(user.backing / "moved")
        with listed(user) as again:
            assert again["moved"].node is not old
            assert again["moved"].length == len(b"content 1")
        with pytest.raises(OSError, match=os.strerror(errno.ESTALE)):
            user.volume.chmod(old, 0o600)


def test_a_second_name_made_outside_is_the_same_node(user: User) -> None:
    fill(user, 2)
    with listed(user) as entries:
        os.link(user.backing / "0001", user.backing / "link")
        with listed(user) as again:
            assert again["link"].node is again["0001"].node is entries["0001"].node


def test_a_listed_file_is_compressed_and_restored(user: User) -> None:
    user.write("a.dpx", dpx())
    with listed(user) as entries:
        node = entries["a.dpx"].node
        assert node is not None
        user.volume.convert_now(node)
        with listed(user) as again:
            assert again["a.dpx"].node is node
            assert again["a.dpx"].length == len(dpx())
            st = again["a.dpx"].st
            assert st is not None
            assert st.st_size < len(dpx())
        user.volume.restore_now(node)
        assert user.read("a.dpx") == dpx()


def test_what_is_no_file_is_listed_as_it_is(user: User) -> None:
    user.mkdir("d")
    os.mkfifo(user.backing / "fifo")
    (user.backing / "symlink").symlink_to("nowhere")
    with listed(user) as entries:
        kinds = {name: stat.S_IFMT(entry.st.st_mode) for name, entry in entries.items() if entry.st}
        assert kinds == {"d": stat.S_IFDIR, "fifo": stat.S_IFIFO, "symlink": stat.S_IFLNK}
        assert entries["symlink"].length == len("nowhere")


def test_an_open_file_is_listed_as_it_is_now(user: User) -> None:
    handle = user.open("a", os.O_WRONLY | os.O_CREAT)
    handle.write(0, b"x" * 1000)
    with listed(user) as entries:
        assert entries["a"].length == 1000
    handle.release()


def test_a_file_seen_before_is_not_opened_again(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However young its time stamps are.
    monkeypatch.setattr(heads, "_SETTLED_NS", -(10**18))
    monkeypatch.setattr(heads, "_SETTLED_FINE_NS", -(10**18))
    for number in range(20):
        user.write(f"{number}.dpx", dpx(number % 3))
    user.compress("7.dpx")
    opened = noted(monkeypatch)
    for _ in range(3):
        with listed(user) as entries:
            assert {entry.length for entry in entries.values() if entry.node} == {len(dpx())}
    assert len(opened) == len(set(opened)) <= 20
    opened.clear()
    with (user.backing / "3.dpx").open("r+b") as file:
        file.write(b"changed")
    with listed(user):
        assert opened == [b"3.dpx"]


@pytest.mark.parametrize(
    ("ctime_ns", "age_ns", "remembered"),
    [
        (10**18 + 123_456_789, 10**8, False),
        (10**18 + 123_456_789, 3 * 10**8, True),
        # In whole seconds, as some file systems count: it may change again within the same one.
        (10**18, 19 * 10**8, False),
        (10**18, 21 * 10**8, True),
    ],
)
def test_a_head_is_remembered_once_a_change_would_show(
    monkeypatch: pytest.MonkeyPatch, ctime_ns: int, age_ns: int, remembered: bool
) -> None:
    monkeypatch.setattr(heads, "time", SimpleNamespace(time_ns=lambda: ctime_ns + age_ns))
    cache = heads.HeadCache()
    signature = Signature(1, 2, 100, ctime_ns, ctime_ns)
    head = heads.Head(heads.Kind.RAW, 100)
    cache.put(signature, head)
    assert cache.get(signature) == (head if remembered else None)


def test_the_heads_remembered_longest_ago_make_room() -> None:
    cache = heads.HeadCache(limit=32)
    head = heads.Head(heads.Kind.RAW, 100)
    signatures = [Signature(1, number, 100, 1, 1) for number in range(33)]
    for signature in signatures:
        cache.put(signature, head)
    kept = [cache.get(signature) is not None for signature in signatures]
    assert kept == [False] * 3 + [True] * 30


@pytest.mark.parametrize("room", [20, 150])
def test_what_does_not_fit_a_reply_is_hardly_ever_looked_at(
    user: User, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    fill(user)
    looked: list[bytes] = []
    really_open = backing.open_listed

    def open_listed(dir_fd: int, name: bytes) -> int:
        looked.append(name)
        return really_open(dir_fd, name)

    monkeypatch.setattr(backing, "open_listed", open_listed)
    handle = user.volume.opendir(user.volume.root)
    names, start, more = [], 0, True
    while more:
        more = False
        for count, entry in enumerate(handle.entries(start)):
            if entry.node is not None:
                user.volume.release_refs(entry.node, 1)
            if count == room:
                # As the kernel's buffer refuses it.
                more = True
                break
            names.append(entry.name)
            start = entry.cookie
    handle.release()
    assert sorted(names) == sorted([b".", b"..", *(b"%04d" % number for number in range(MANY))])
    # Before the first reply nobody knows how many fit; after it one too many is looked at.
    assert len(looked) <= MANY + listing.BATCH + MANY // room


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_the_daemon_may_not_read_is_listed(user: User) -> None:
    user.write("a", b"x" * 100)
    (user.backing / "a").chmod(0)
    with listed(user) as entries:
        assert entries["a"].length == 100


def test_lookups_are_given_back_when_a_listing_fails(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    user.write("a", b"x" * 100)
    handle = user.open("a")

    def fail(fd: int) -> os.stat_result:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(backing, "fstat", fail)
        with pytest.raises(OSError, match="Input/output error"), listed(user):
            pass
    handle.release()
    assert user.volume.stats()["nodes"] == 1
