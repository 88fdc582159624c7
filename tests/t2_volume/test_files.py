"""Raw and compressed files give back what was written."""

from __future__ import annotations

import errno
import os
import stat
import threading
from typing import TYPE_CHECKING, Any

import pytest

from pixfs.volume import backing
from tests.t2_volume.faults import fail_with
from tests.t2_volume.frames import dpx
from tests.t2_volume.user import OWNER, read_all

if TYPE_CHECKING:
    from tests.t2_volume.conftest import Volumes
    from tests.t2_volume.user import User


def test_raw_bytes_lie_at_the_final_path(user: User) -> None:
    user.write("a.dpx", dpx())
    assert user.stored("a.dpx") == dpx()
    assert user.read("a.dpx") == dpx()


def test_compressed_file_is_smaller_and_reads_equal(user: User) -> None:
    user.write("a.dpx", dpx())
    node = user.node("a.dpx")
    before = user.stat("a.dpx")
    user.compress("a.dpx")
    after = user.stat("a.dpx")
    user.give_back(node)
    assert len(user.stored("a.dpx")) < len(dpx())
    assert user.read("a.dpx") == dpx()
    assert (after.size, after.mtime_ns, after.mode, after.uid, after.gid, after.ino) == (
        before.size,
        before.mtime_ns,
        before.mode,
        before.uid,
        before.gid,
        before.ino,
    )
    assert after.blocks == (user.backing / "a.dpx").stat().st_blocks
    assert after.blocks < before.blocks


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    ("offset", "size"), [(0, 1), (0, 64), (2047, 2), (1, 5000), (9999, 99999), (10**9, 5), (0, 0)]
)
def test_read_any_range(user: User, compressed: bool, offset: int, size: int) -> None:
    user.write("a.dpx", dpx())
    if compressed:
        user.compress("a.dpx")
    handle = user.open("a.dpx")
    assert bytes(handle.read(offset, size)) == dpx()[offset : offset + size]
    handle.release()


def test_read_cached_gives_the_same_bytes_or_none(user: User) -> None:
    user.write("a.dpx", dpx())
    user.compress("a.dpx")
    handle = user.open("a.dpx")
    assert handle.read_cached(0, 100) is None
    read_all(handle)
    cached = handle.read_cached(3000, 9000)
    assert cached is not None
    assert bytes(cached) == dpx()[3000:12000]
    assert handle.read_cached(len(dpx()), 10) == b""
    handle.release()


def test_reads_are_short_only_where_nothing_is_decoded(user: User) -> None:
    user.write("a.dpx", dpx())
    handle = user.open("a.dpx")
    assert handle.reads_are_short
    handle.release()
    user.compress("a.dpx")
    handle = user.open("a.dpx")
    assert not handle.reads_are_short
    handle.release()


def test_read_cached_of_a_raw_file_knows_its_end(user: User) -> None:
    user.write("a.dpx", dpx())
    handle = user.open("a.dpx")
    read_all(handle)
    for offset in (0, 1000, len(dpx()) - 10, len(dpx())):
        cached = handle.read_cached(offset, 4096)
        assert cached is None or bytes(cached) == dpx()[offset : offset + 4096]
    handle.release()


def test_head_of_a_compressed_frame_decodes_no_tile(user: User) -> None:
    user.write("a.dpx", dpx())
    user.compress("a.dpx")
    handle = user.open("a.dpx")
    assert bytes(handle.read(0, 2048)) == dpx()[:2048]
    handle.release()
    assert user.volume.stats()["tiles_decoded"] == 0


def test_write_restores_first(user: User) -> None:
    user.write("a.dpx", dpx())
    user.compress("a.dpx")
    handle = user.open("a.dpx", os.O_RDWR)
    assert user.state("a.dpx")[0] == "compressed"
    assert handle.write(3000, b"changed") == 7
    expected = dpx()[:3000] + b"changed" + dpx()[3007:]
    assert read_all(handle) == expected
    handle.release()
    assert user.stored("a.dpx") == expected
    assert user.volume.stats()["restores"] == 1


def test_opening_for_writing_without_writing_restores_nothing(user: User) -> None:
    user.write("a.dpx", dpx())
    user.compress("a.dpx")
    user.open("a.dpx", os.O_RDWR).release()
    assert user.state("a.dpx")[0] == "compressed"
    assert user.volume.stats()["restores"] == 0


def test_append_to_a_compressed_file(user: User) -> None:
    user.write("a.dpx", dpx())
    user.compress("a.dpx")
    handle = user.open("a.dpx", os.O_WRONLY | os.O_APPEND)
    handle.write(0, b"tail")
    handle.release()
    assert user.read("a.dpx") == dpx() + b"tail"


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("size", [0, 1, 63, 2048, 10_000, 60_000])
def test_truncate(user: User, compressed: bool, size: int) -> None:
    user.write("a.dpx", dpx())
    if compressed:
        user.compress("a.dpx")
    user.truncate("a.dpx", size)
    assert user.read("a.dpx") == dpx()[:size].ljust(size, b"\0")
    assert user.stat("a.dpx").size == size


def test_truncate_to_nothing_decodes_nothing(user: User) -> None:
    user.write("a.dpx", dpx())
    user.compress("a.dpx")
    user.open("a.dpx", os.O_WRONLY | os.O_TRUNC).release()
    assert user.stat("a.dpx").size == 0
    assert user.volume.stats()["tiles_decoded"] == 0
    assert user.volume.stats()["restores"] == 0


def test_open_reader_survives_truncation_of_a_container(user: User) -> None:
    user.write("a.dpx", dpx())
    user.compress("a.dpx")
    handle = user.open("a.dpx")
    user.truncate("a.dpx", 0)
    assert handle.read(0, 100) == b""
    handle.release()


def test_open_reader_survives_conversion_and_restore(user: User) -> None:
    user.write("a.dpx", dpx())
    handle = user.open("a.dpx")
    assert bytes(handle.read(0, 5000)) == dpx()[:5000]
    user.compress("a.dpx")
    assert read_all(handle) == dpx()
    user.set_state("a.dpx", "raw")
    assert read_all(handle) == dpx()
    handle.release()


@pytest.mark.parametrize("compressed", [False, True])
def test_unlinked_open_file_lives_on(user: User, compressed: bool) -> None:
    user.write("a.dpx", dpx())
    if compressed:
        user.compress("a.dpx")
    handle = user.open("a.dpx", os.O_RDWR)
    user.unlink("a.dpx")
    with pytest.raises(FileNotFoundError):
        user.read("a.dpx")
    assert read_all(handle) == dpx()
    handle.write(0, b"X")
    assert read_all(handle) == b"X" + dpx()[1:]
    assert user.volume.stat(handle.node).nlink == 0
    handle.release()
    assert user.names() == []


def test_rename_over_an_open_file(user: User) -> None:
    user.write("old.dpx", dpx(1))
    user.compress("old.dpx")
    user.write("new.dpx", dpx(2))
    handle = user.open("old.dpx")
    user.rename("new.dpx", "old.dpx")
    assert read_all(handle) == dpx(1)
    assert user.read("old.dpx") == dpx(2)
    handle.release()


def test_sparse_file(user: User) -> None:
    handle = user.open("hole", os.O_RDWR | os.O_CREAT)
    handle.write(1 << 20, b"end")
    assert bytes(handle.read(100, 10)) == bytes(10)
    handle.release()
    assert user.stat("hole").size == (1 << 20) + 3
    assert user.stat("hole").blocks < 100


def test_released_handle_is_ebadf(user: User) -> None:
    user.write("a", b"x")
    handle = user.open("a", os.O_RDWR)
    handle.release()
    handle.release()
    for call in (
        lambda: handle.read(0, 1),
        lambda: handle.read_cached(0, 1),
        lambda: handle.write(0, b"x"),
        lambda: handle.fsync(False),
        handle.flush,
    ):
        with pytest.raises(OSError, match="Bad file descriptor") as raised:
            call()
        assert raised.value.errno == errno.EBADF


def test_access_mode_is_kept_to(user: User) -> None:
    user.write("a", b"x")
    reader = user.open("a", os.O_RDONLY)
    with pytest.raises(OSError, match="Bad file descriptor"):
        reader.write(0, b"y")
    with pytest.raises(OSError, match="Invalid argument"):
        reader.truncate(0)
    reader.release()
    writer = user.open("a", os.O_WRONLY)
    with pytest.raises(OSError, match="Bad file descriptor"):
        writer.read(0, 1)
    writer.release()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("operation", ["write", "truncate"])
def test_writing_clears_set_user_id(user: User, compressed: bool, operation: str) -> None:
    user.write("a.dpx", dpx())
    node = user.node("a.dpx")
    user.volume.chmod(node, 0o6755)
    user.give_back(node)
    if compressed:
        user.compress("a.dpx")
    assert stat.S_IMODE(user.stat("a.dpx").mode) == 0o6755
    if operation == "write":
        handle = user.open("a.dpx", os.O_WRONLY)
        handle.write(0, b"x")
        handle.release()
    else:
        user.truncate("a.dpx", 100)
    assert stat.S_IMODE(user.stat("a.dpx").mode) == 0o755


def test_created_read_only_file_can_be_written_through_its_handle(user: User) -> None:
    handle = user.open("a", os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode=0o444)
    handle.write(0, b"data")
    handle.release()
    assert user.read("a") == b"data"
    assert stat.S_IMODE(user.stat("a").mode) == 0o444


def test_keep_cache_only_while_the_bytes_are_unchanged(user: User) -> None:
    user.write("a.dpx", dpx())
    node = user.node("a.dpx")
    first = user.volume.open(node, os.O_RDONLY)
    first.release()
    user.compress("a.dpx")
    again = user.volume.open(node, os.O_RDONLY)
    assert again.keep_cache
    again.release()
    (user.backing / "a.dpx").write_bytes(b"written behind the volume's back")
    changed = user.volume.open(node, os.O_RDONLY)
    assert not changed.keep_cache
    assert read_all(changed) == b"written behind the volume's back"
    changed.release()
    user.give_back(node)


def test_pages_are_not_kept_where_some_were_written_past_them(user: User) -> None:
    user.write("a.dpx", dpx())
    node = user.node("a.dpx")

    def keeps() -> bool:
        reader = user.volume.open(node, os.O_RDONLY)
        reader.release()
        return reader.keep_cache

    keeps()
    assert keeps()
    direct = user.volume.open(node, os.O_WRONLY | os.O_DIRECT)
    assert not keeps()
    direct.write(0, b"past the cache")
    assert not keeps()
    direct.release()
    assert not keeps(), "a reader may have had old pages fetched while the write was under way"
    assert keeps()
    created = user.open("b", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_DIRECT)
    again = user.volume.open(user.node("b"), os.O_RDONLY)
    assert not again.keep_cache
    again.release()
    created.release()
    user.give_back(node)


def test_fsync_failure_sticks_until_the_file_is_emptied(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pixfs.volume import backing

    handle = user.open("a.dpx", os.O_RDWR | os.O_CREAT)
    handle.write(0, dpx())

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(backing, "fsync", fail)
        with pytest.raises(OSError, match="Input/output"):
            handle.fsync(False)
    with pytest.raises(OSError, match="Input/output"):
        handle.fsync(False)
    with pytest.raises(OSError, match="Input/output"):
        handle.fsync(True)
    # The node, and with it what is known of the file, stays while somebody refers to it.
    node = user.node("a.dpx")
    handle.release()
    with pytest.raises(OSError, match="an fsync of the file failed"):
        user.set_state("a.dpx", "compressed")
    handle = user.open("a.dpx", os.O_RDWR | os.O_TRUNC)
    user.give_back(node)
    handle.write(0, dpx())
    handle.fsync(False)
    handle.release()


def test_mode_and_owner_of_a_created_file(user: User) -> None:
    user.open("a", os.O_RDWR | os.O_CREAT, mode=0o666).release()
    st = user.stat("a")
    assert stat.S_IMODE(st.mode) == 0o666 & ~OWNER.umask
    assert (st.uid, st.gid) == (OWNER.uid, OWNER.gid)


def test_reads_of_many_handles_share_descriptors(user: User) -> None:
    user.write("a.dpx", dpx())
    before = len(os.listdir("/proc/self/fd"))
    handles = [user.open("a.dpx") for _ in range(20)]
    assert len(os.listdir("/proc/self/fd")) <= before + 2
    for handle in handles:
        handle.release()


def test_sequential_reader_decodes_ahead(volumes: Volumes) -> None:
    user = volumes.make(level="fast")
    frame = dpx(3, 1024, 256)
    user.write("a.dpx", frame)
    user.compress("a.dpx")
    handle = user.open("a.dpx")
    assert read_all(handle, 65536) == frame
    handle.release()
    again = user.open("a.dpx")
    first = user.volume.stats()["tiles_decoded"]
    assert read_all(again, 65536) == frame
    again.release()
    # Each tile was decoded once, ahead or not, and stays cached over a new opening.
    assert user.volume.stats()["tiles_decoded"] == first


# Files just created


def test_a_new_file_is_written_by_the_descriptor_that_made_it(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was opened anew, looked at and read, to find that an empty file is raw."""
    made: list[str] = []
    for call in ("create", "open_path", "reopen", "dup", "pread"):
        real = getattr(backing, call)

        def counted(*args: Any, call: str = call, real: Any = real) -> Any:  # noqa: ANN401
            made.append(call)
            return real(*args)

        monkeypatch.setattr(backing, call, counted)
    handle = user.open("new", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    assert made == ["create", "open_path"]
    handle.write(0, dpx())
    handle.release()
    monkeypatch.undo()
    assert user.stored("new") == dpx()


def test_a_new_file_is_compressed_while_others_read_on(user: User) -> None:
    """What they read by is no longer what it was written by."""
    writer = user.open("a.dpx", os.O_RDWR | os.O_CREAT)
    writer.write(0, dpx())
    reader = user.open("a.dpx")
    assert writer.read(0, 100) == dpx()[:100]
    writer.release()
    user.compress("a.dpx")
    assert read_all(reader) == dpx()
    reader.release()
    assert user.read("a.dpx") == dpx()


def test_a_new_file_that_cannot_be_opened_anew_is_read_on(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = user.open("a.dpx", os.O_RDWR | os.O_CREAT)
    writer.write(0, dpx())
    reader = user.open("a.dpx")
    with monkeypatch.context() as patch:
        patch.setattr(backing, "reopen", lambda *_: fail_with(errno.EMFILE)())
        writer.release()
    assert read_all(reader) == dpx()
    with pytest.raises(OSError, match="locked by another"):
        user.set_state("a.dpx", "compressed")
    reader.release()
    user.compress("a.dpx")


# What takes no waiting


def test_attributes_at_once_are_those_that_take_waiting(user: User) -> None:
    user.volume._core.local_device = user.volume.root.device
    user.mkdir("d")
    user.write("raw.dpx", dpx())
    user.write("empty", b"")
    user.write("a.dpx", dpx())
    user.compress("a.dpx")
    handle = user.open("a.dpx")
    for path in ("d", "empty", "a.dpx"):
        node = user.node(path)
        seen = user.volume.stat(node)
        assert user.volume.stat_at_once(node) == seen
        user.give_back(node)
    handle.release()


def test_what_has_to_be_read_or_waited_for_is_not_known_at_once(user: User) -> None:
    user.volume._core.local_device = user.volume.root.device
    user.write("a.dpx", dpx())
    node = user.node("a.dpx")
    # No file has been made of it yet.
    assert user.volume.stat_at_once(node) is None
    user.compress("a.dpx")
    # Its head is not remembered so soon, so the logical size stands in the file alone.
    assert user.volume.stat_at_once(node) is None
    handle = user.open("a.dpx", os.O_RDWR)
    assert node.file is not None
    with node.file.mutex, node.file.frozen():
        assert user.volume.stat_at_once(node) is None
        answers: list[bool] = []
        other = threading.Thread(target=lambda: answers.append(handle.flush_at_once()))
        other.start()
        other.join()
        assert answers == [False]
    assert handle.flush_at_once()
    handle.release()
    node.descriptor = None
    assert user.volume.stat_at_once(node) is None
    user.give_back(node)


def test_attributes_at_once_of_what_another_volume_removed_are_stale(volumes: Volumes) -> None:
    first, second = volumes.make(), volumes.make()
    first.volume._core.local_device = first.volume.root.device
    first.mkdir("d")
    first.write("f", b"")
    for path, remove in (("f", second.unlink), ("d", lambda path: (first.backing / path).rmdir())):
        node = first.node(path)
        assert first.volume.stat(node) == first.volume.stat_at_once(node)
        remove(path)
        with pytest.raises(OSError, match="Stale"):
            first.volume.stat_at_once(node)
        first.give_back(node)
