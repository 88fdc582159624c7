"""Several volumes on one backing directory, each with its own idea of what is there."""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING

import pytest

import codec
from pixfs.volume import Owner, backing
from pixfs.volume.locks import lock_shared
from tests.t2_volume.conftest import POLICY
from tests.t2_volume.faults import fail_with, in_child
from tests.t2_volume.frames import container, dpx
from tests.t2_volume.test_races import LOCKED, UNLOCKED, at_step, try_to_compress
from tests.t2_volume.user import ROOT, User, read_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.t2_volume.conftest import Volumes

FRAME = dpx()
KILLED = 9


@pytest.fixture
def pair(volumes: Volumes) -> tuple[User, User]:
    return volumes.make(), volumes.make()


def errno_of(call: Callable[[], object]) -> int | None:
    try:
        call()
    except OSError as error:
        return error.errno
    return None


def test_what_was_converted_elsewhere_is_looked_up_again(pair: tuple[User, User]) -> None:
    first, second = pair
    first.write("a.dpx", FRAME)
    node = second.node("a.dpx")
    first.compress("a.dpx")
    assert errno_of(lambda: second.volume.stat(node)) == errno.ESTALE
    for flags in (os.O_RDONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
        assert errno_of(lambda flags=flags: second.volume.open(node, flags)) == errno.ESTALE
    assert second.read("a.dpx") == FRAME
    assert second.stat("a.dpx").nlink == 1
    second.give_back(node)


def test_what_was_removed_or_replaced_elsewhere(pair: tuple[User, User]) -> None:
    first, second = pair
    for name in ("gone", "replaced"):
        first.write(name, b"old")
    first.write("new", b"new")
    gone, replaced = second.node("gone"), second.node("replaced")
    reader = second.volume.open(replaced, os.O_RDONLY)
    first.unlink("gone")
    first.rename("new", "replaced")
    assert errno_of(lambda: second.volume.stat(gone)) == errno.ESTALE
    assert errno_of(lambda: second.volume.open(replaced, os.O_RDONLY)) == errno.ESTALE
    # Whoever has it open keeps the old file, which has no name any more.
    assert read_all(reader) == b"old"
    assert second.volume.stat(replaced).nlink == 0
    reader.release()
    assert second.read("replaced") == b"new"
    assert errno_of(lambda: second.node("gone")) == errno.ENOENT
    second.give_back(gone)
    second.give_back(replaced)


def test_a_directory_removed_elsewhere(pair: tuple[User, User]) -> None:
    first, second = pair
    first.mkdir("d")
    node = second.node("d")
    parent, name = first.parent("d")
    first.volume.rmdir(parent, name)
    assert errno_of(lambda: second.volume.stat(node)) == errno.ESTALE
    second.give_back(node)


def test_a_file_renamed_elsewhere_is_the_same_node(pair: tuple[User, User]) -> None:
    first, second = pair
    first.write("a.dpx", FRAME)
    node = second.node("a.dpx")
    first.rename("a.dpx", "b.dpx")
    moved = second.node("b.dpx")
    assert moved is node
    # The old name is tried first and leads nowhere.
    second.compress("b.dpx")
    assert first.read("b.dpx") == FRAME
    second.give_back(node)
    second.give_back(moved)


def test_a_container_emptied_elsewhere_is_noticed_by_its_reader(pair: tuple[User, User]) -> None:
    first, second = pair
    first.write("a.dpx", FRAME)
    first.compress("a.dpx")
    changed = []
    second.volume.on_content_changed = changed.append
    reader = second.open("a.dpx")
    first.write("a.dpx", b"short and raw")
    assert second.volume.stat(reader.node).size == len(b"short and raw")
    assert read_all(reader) == b"short and raw"
    assert changed == [reader.node]
    assert second.read("a.dpx") == b"short and raw"
    reader.release()


def test_a_container_rewritten_in_place_elsewhere(pair: tuple[User, User]) -> None:
    first, second = pair
    first.write("a.dpx", FRAME)
    first.compress("a.dpx")
    first.link("a.dpx", "b.dpx")
    reader = second.open("b.dpx")
    handle = first.open("a.dpx", os.O_RDWR)
    handle.write(3000, b"changed")
    expected = FRAME[:3000] + b"changed" + FRAME[3007:]
    assert read_all(reader) == expected
    writer = second.open("b.dpx", os.O_RDWR)
    writer.write(0, b"X")
    assert read_all(handle) == b"X" + expected[1:]
    for opened in (handle, reader, writer):
        opened.release()


def test_an_empty_file_is_not_wrapped_under_another_volume(pair: tuple[User, User]) -> None:
    """The header used to be put before it in place, and was read as the user's bytes."""
    first, second = pair
    first.write("a", b"")
    reader = second.open("a")
    first.write("a", container())
    assert read_all(reader) == b""
    assert codec.parse_header(first.stored("a")[: codec.HEAD_SIZE]).kind == "wrap"
    assert second.read("a") == container()
    reader.release()


def test_a_wrap_emptied_elsewhere_stays_one_for_its_reader(pair: tuple[User, User]) -> None:
    first, second = pair
    first.write("a", container())
    reader = second.open("a")
    first.write("a", b"plain text")
    assert read_all(reader) == b"plain text"
    assert second.volume.stat(reader.node).size == len(b"plain text")
    reader.release()


def test_raw_bytes_with_two_names_are_not_wrapped_under_another_volume(
    pair: tuple[User, User],
) -> None:
    first, second = pair
    first.write("a", b"raw bytes")
    first.link("a", "b")
    reader = second.open("b")
    writer = first.open("a", os.O_RDWR)
    assert errno_of(lambda: writer.write(0, container()[:64])) == errno.EBUSY
    assert read_all(reader) == read_all(writer) == b"raw bytes"
    second.volume.close()
    assert writer.write(0, container()[:64]) == 64
    writer.release()


@pytest.mark.parametrize("step", UNLOCKED)
def test_conversions_of_two_volumes_exclude_each_other(pair: tuple[User, User], step: str) -> None:
    first, second = pair
    first.write("a.dpx", FRAME)
    at_step(first, step, lambda: second.compress("a.dpx"))
    assert try_to_compress(first) != ""
    assert first.read("a.dpx") == second.read("a.dpx") == FRAME
    assert first.state("a.dpx")[0] == "compressed"


@pytest.mark.parametrize("step", ["checked", "exchanged"])
@pytest.mark.parametrize("change", ["rename", "rename-over", "unlink", "link"])
def test_names_change_elsewhere_in_the_moment_of_a_swap(
    pair: tuple[User, User], step: str, change: str
) -> None:
    """They wait for it: without a lock between the volumes, a file moved over the name between
    check and exchange was for a moment replaced by the container of the one before."""
    first, second = pair
    first.write("other.dpx", dpx(9))
    first.write("a.dpx", FRAME)
    begun = threading.Event()
    acts: dict[str, Callable[[], None]] = {
        "rename": lambda: second.rename("a.dpx", "b.dpx"),
        "rename-over": lambda: second.rename("other.dpx", "a.dpx"),
        "unlink": lambda: second.unlink("a.dpx"),
        "link": lambda: second.link("other.dpx", "b.dpx"),
    }

    def act() -> None:
        begun.set()
        acts[change]()

    thread = threading.Thread(target=act)

    def start() -> None:
        thread.start()
        begun.wait()

    at_step(first, step, start)
    assert try_to_compress(first) == ""
    thread.join()
    expected = {
        "rename": {b"b.dpx": FRAME, b"other.dpx": dpx(9)},
        "rename-over": {b"a.dpx": dpx(9)},
        "unlink": {b"other.dpx": dpx(9)},
        "link": {b"a.dpx": FRAME, b"b.dpx": dpx(9), b"other.dpx": dpx(9)},
    }[change]
    for user in pair:
        assert {name: user.read(name) for name in user.names()} == expected
    assert list((first.backing / ".pixfs").glob("lost+found/*")) == []


def test_a_rewrite_in_place_is_waited_for(pair: tuple[User, User]) -> None:
    """While it lasts the inode is neither the container nor the raw file."""
    first, second = pair
    first.write("a.dpx", FRAME)
    first.compress("a.dpx")
    first.link("a.dpx", "b.dpx")
    found: list[bytes] = []
    begun = threading.Event()

    def read() -> None:
        begun.set()
        found.append(second.read("b.dpx"))

    thread = threading.Thread(target=read)

    def start() -> None:
        # The first bytes of the raw file, as if the copy had come so far.
        with (first.backing / "a.dpx").open("r+b") as file:
            file.write(FRAME[:4096])
        thread.start()
        begun.wait()

    at_step(first, "redo-recorded", start)
    first.set_state("a.dpx", "raw")
    thread.join()
    assert found == [FRAME]


def test_a_rewrite_of_a_killed_volume_is_carried_through_by_one_that_runs(
    volumes: Volumes, expect_logs: Callable[[str], None]
) -> None:
    expect_logs("a rewrite that was cut off has been completed")
    second = volumes.make()
    second.write("a.dpx", FRAME)
    second.compress("a.dpx")
    second.link("a.dpx", "b.dpx")

    def work() -> int:
        first = User(second.backing, POLICY)
        first.volume.start()

        def die() -> None:
            with (first.backing / "a.dpx").open("r+b") as file:
                file.write(FRAME[:4096])
            os.kill(os.getpid(), KILLED)

        at_step(first, "redo-recorded", die)
        first.set_state("a.dpx", "raw")
        return 0

    assert in_child(work) == -KILLED
    assert second.read("b.dpx") == FRAME
    assert second.stored("a.dpx") == FRAME


# Faults whose effects somebody else could see


@pytest.mark.parametrize("act", ["compressed", "raw"])
@pytest.mark.parametrize("step", ["locked", "checked", "exchanged", "durable", "unlinked"])
def test_no_moment_of_a_swap_shows_a_file_without_names(user: User, act: str, step: str) -> None:
    """A link count of 0 used to be shown once the old inode was unlinked, and the kernel kept
    it: linkat(2) refuses such a file."""
    user.write("a.dpx", FRAME)
    if act == "raw":
        user.compress("a.dpx")
    handle = user.open("a.dpx")
    counts = []
    at_step(user, step, lambda: counts.append(user.volume.stat(handle.node).nlink))
    user.set_state("a.dpx", act)
    assert counts == ([] if (act, step) == ("raw", LOCKED[0]) else [1])
    handle.release()


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["chmod", "set_xattr", "utimens", "fsync", "create"])
def test_a_conversion_tells_what_the_storage_told(
    user: User, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    """A full disk was told as ENOTSUP when it was met while attributes were copied."""
    user.write("a.dpx", FRAME)
    node = user.node("a.dpx")
    user.volume.setxattr(node, b"user.note", b"x", 0, ROOT)
    user.give_back(node)
    with monkeypatch.context() as patch:
        patch.setattr(backing, call, lambda *args: fail_with(code)())
        found = errno_of(lambda: user.set_state("a.dpx", "compressed"))
    assert found == (errno.ENOSPC if code == errno.EDQUOT else code)
    assert user.stored("a.dpx") == FRAME


@pytest.mark.parametrize("call", ["link", "fsync", "rename"])
def test_a_rewrite_in_place_that_did_not_begin_leaves_nothing(
    user: User, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Blocks stayed reserved behind the end, and the mtime was that of the attempt."""
    user.write("a.dpx", FRAME)
    user.compress("a.dpx")
    user.link("a.dpx", "b.dpx")
    before = (user.backing / "a.dpx").stat()
    real = getattr(backing, call)

    def fail(*args: object) -> object:
        # Not the temporary's own name, and not its fsync.
        if call == "rename" and b"data" not in args[3:4][0]:  # type: ignore[operator]
            return real(*args)
        if call == "fsync" and args[0] != user.volume._core.area.fd:  # type: ignore[union-attr]
            return real(*args)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(backing, call, fail)
        assert errno_of(lambda: user.set_state("a.dpx", "raw")) == errno.ENOSPC
    after = (user.backing / "a.dpx").stat()
    assert (after.st_blocks, after.st_mtime_ns) == (before.st_blocks, before.st_mtime_ns)
    assert user.read("b.dpx") == FRAME
    user.set_state("a.dpx", "raw")
    assert user.stored("a.dpx") == FRAME


def test_an_open_that_fails_leaves_no_file_behind(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An owner it has to be given to.
    monkeypatch.setattr("tests.t2_volume.user.OWNER", Owner(4, 5))
    for call in ("try_lock", "fstat", "chown", "fchmod"):
        with monkeypatch.context() as patch:
            patch.setattr(backing, call, lambda *args, **kwargs: fail_with(errno.EIO)())
            assert errno_of(lambda: user.open("new", os.O_RDWR | os.O_CREAT)) == errno.EIO
        assert user.names() == [], call
    user.open("new", os.O_RDWR | os.O_CREAT).release()
    assert user.names() == [b"new"]


def test_a_link_that_is_made_is_told(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """It failed when the new name could not be opened, and the name stayed."""
    user.write("a", b"bytes")
    node = user.node("a")
    with monkeypatch.context() as patch:
        patch.setattr(backing, "open_path", lambda *_: fail_with(errno.EMFILE)())
        assert user.volume.link(node, user.volume.root, b"b") is node
    assert sorted(user.names()) == [b"a", b"b"]
    user.unlink("a")
    assert user.read("b") == b"bytes"
    user.volume.release_refs(node, 2)


def test_a_writer_notices_a_conversion_elsewhere_while_a_wrap_failed(
    pair: tuple[User, User], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock of its descriptor gives way to the wrap's, and is taken anew when that fails."""
    first, second = pair
    first.write("a.dpx", FRAME)
    writer = first.open("a.dpx", os.O_RDWR)
    # On two hosts the lease tells nothing.
    monkeypatch.setattr(backing, "lease", lambda fd: True)

    def converted_first(fd: int) -> None:
        monkeypatch.undo()
        monkeypatch.setattr(backing, "lease", lambda fd: True)
        second.compress("a.dpx")
        lock_shared(fd)

    monkeypatch.setattr("pixfs.volume.rewrite.lock_shared", converted_first)
    at_step(first, "restored", fail_with(errno.ENOSPC))
    assert errno_of(lambda: writer.write(0, container()[:64])) == errno.ENOSPC
    assert second.state("a.dpx")[0] == "compressed"
    assert errno_of(lambda: writer.write(100, b"lost")) == errno.ESTALE
    writer.release()
    assert first.read("a.dpx") == second.read("a.dpx") == FRAME
