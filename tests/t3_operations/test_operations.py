"""Lookup counts, handles, inode numbers and errors of the request handlers."""

from __future__ import annotations

import errno
import itertools
import os
import stat
import threading
from typing import TYPE_CHECKING, Any, cast

import pyfuse3
import pytest
import trio
import trio.testing

from pixfs.fuse.inodes import FIRST_SPARE_NUMBER, ROOT_NUMBER, InodeTable
from pixfs.volume import Owner, Volume
from pixfs.volume.listing import Lister
from tests.frames import frame
from tests.t3_operations.conftest import Context, Fields, ReplyBuffer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from pixfs.fuse.caution import Kind
    from pixfs.fuse.operations import Operations
    from pixfs.volume import Node
    from pixfs.volume.backing import Found
    from pixfs.volume.listing import Entry
    from tests.checklogs import ExpectLogs

CTX: Any = Context()
OWNER = Owner(os.geteuid(), os.getegid())


def known_nodes(volume: Volume) -> int:
    nodes = volume.stats()["nodes"]
    assert isinstance(nodes, int)
    return nodes


async def make(operations: Operations, name: bytes, data: bytes = b"") -> int:
    """Create a file, write it, close it; its inode number (one lookup is counted)."""
    info, entry = await operations.create(ROOT_NUMBER, name, 0o644, os.O_RDWR, CTX)
    if data:
        assert await operations.write(info.fh, 0, data) == len(data)
    await operations.flush(info.fh)
    await operations.release(info.fh)
    return entry.st_ino


async def test_each_way_to_find_a_file_counts_one_lookup(
    operations: Operations, volume: Volume
) -> None:
    number = await make(operations, b"file")
    assert (await operations.lookup(ROOT_NUMBER, b"file", CTX)).st_ino == number
    assert (await operations.link(number, ROOT_NUMBER, b"twin", CTX)).st_ino == number
    assert operations.inodes.get(number).nlookup == 3
    made = [
        await operations.mkdir(ROOT_NUMBER, b"dir", 0o755, CTX),
        await operations.symlink(ROOT_NUMBER, b"link", b"file", CTX),
        await operations.mknod(ROOT_NUMBER, b"fifo", stat.S_IFIFO | 0o644, 0, CTX),
    ]
    assert [operations.inodes.get(entry.st_ino).nlookup for entry in made] == [1, 1, 1]
    assert known_nodes(volume) == 5
    await operations.forget([(number, 2), *((entry.st_ino, 1) for entry in made)])
    assert known_nodes(volume) == 2
    assert (await operations.getattr(number, CTX)).st_nlink == 2
    await operations.forget([(number, 1)])
    assert known_nodes(volume) == 1
    with pytest.raises(pyfuse3.FUSEError) as caught:
        await operations.getattr(number, CTX)
    assert caught.value.errno == errno.ESTALE


async def test_every_request_that_is_taken_up_is_counted(operations: Operations) -> None:
    """Those that fail, too: the heartbeat tells by it that somebody takes them up."""
    before = operations.taken
    await operations.getattr(ROOT_NUMBER, CTX)
    with pytest.raises(pyfuse3.FUSEError):
        await operations.lookup(ROOT_NUMBER, b"none", CTX)
    assert operations.taken == before + 2


@pytest.mark.usefixtures("readdir_replies")
async def test_readdir_counts_exactly_what_it_answered(
    operations: Operations, volume: Volume
) -> None:
    numbers = {b"f%02d" % i: await make(operations, b"f%02d" % i) for i in range(10)}
    await operations.forget([(number, 1) for number in numbers.values()])
    assert known_nodes(volume) == 1
    fh = await operations.opendir(ROOT_NUMBER, CTX)
    answered: list[tuple[bytes, int, int]] = []
    while True:
        reply: Any = ReplyBuffer(room=5)
        await operations.readdir(fh, answered[-1][2] if answered else 0, reply)
        if not reply.entries:
            break
        answered += reply.entries
        counted = [entry for entry in answered if entry[0] not in (b".", b"..")]
        assert known_nodes(volume) == 1 + len(counted)
        assert len(operations.inodes) == 1 + len(counted)
    await operations.releasedir(fh)
    assert [entry[0] for entry in answered[:2]] == [b".", b".."]
    assert answered[0][1] == ROOT_NUMBER
    assert {name: number for name, number, _ in answered[2:]} == numbers
    await operations.forget([(number, 1) for number in numbers.values()])
    assert known_nodes(volume) == 1


@pytest.mark.usefixtures("readdir_replies")
async def test_a_listing_that_fails_counts_what_it_answered(
    operations: Operations, volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error in place of the reply kept what had been put into it looked up for ever."""
    numbers = [await make(operations, b"f%02d" % i) for i in range(100)]
    await operations.forget([(number, 1) for number in numbers])
    fh = await operations.opendir(ROOT_NUMBER, CTX)
    look, looks = Lister.look, itertools.count(1)

    def fails_at_second(
        lister: Lister, directory: Node, found: Sequence[Found], first: int
    ) -> list[Entry]:
        if next(looks) > 1:
            raise OSError(errno.EIO, "planted")
        return look(lister, directory, found, first)

    monkeypatch.setattr(Lister, "look", fails_at_second)
    reply, none_more = ReplyBuffer(room=200), ReplyBuffer(room=200)
    await operations.readdir(fh, 0, cast("Any", reply))
    assert known_nodes(volume) == len(operations.inodes) == len(reply.entries) - 1
    with pytest.raises(pyfuse3.FUSEError) as caught:
        await operations.readdir(fh, reply.entries[-1][2], cast("Any", none_more))
    assert caught.value.errno == errno.EIO
    await operations.releasedir(fh)
    await operations.forget([(number, 1) for _, number, _ in reply.entries[2:]])
    assert known_nodes(volume) == 1


async def test_failing_to_answer_a_lookup_leaves_no_reference(
    operations: Operations, volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = await make(operations, b"file")
    await operations.forget([(number, 1)])

    def broken(self: Volume, node: object) -> None:
        raise OSError(errno.EIO, "planted")

    monkeypatch.setattr(Volume, "stat", broken)
    with pytest.raises(pyfuse3.FUSEError) as caught:
        await operations.lookup(ROOT_NUMBER, b"file", CTX)
    assert caught.value.errno == errno.EIO
    with pytest.raises(pyfuse3.FUSEError):
        await operations.create(ROOT_NUMBER, b"other", 0o644, os.O_WRONLY, CTX)
    assert known_nodes(volume) == 1


async def test_the_number_is_the_backing_inodes_and_stays_over_a_conversion(
    operations: Operations, backing: Path
) -> None:
    number = await make(operations, b"shot.dpx", frame())
    stored = (backing / "shot.dpx").stat().st_ino
    assert number == stored
    await operations.setxattr(number, b"user.pixfs.state", b"compressed", CTX)
    assert (backing / "shot.dpx").stat().st_ino != stored
    entry = await operations.lookup(ROOT_NUMBER, b"shot.dpx", CTX)
    assert entry.st_ino == number
    assert entry.st_size == len(frame())


def test_a_number_in_use_is_not_given_twice(volume: Volume) -> None:
    first, second, third = (
        volume.mkdir(volume.root, name, 0o755, OWNER) for name in (b"a", b"b", b"c")
    )
    table = InodeTable(volume.root)
    assert table.remember(first, 500, ROOT_NUMBER).number == 500
    assert table.remember(second, 500, ROOT_NUMBER).number == FIRST_SPARE_NUMBER
    assert table.remember(third, ROOT_NUMBER, ROOT_NUMBER).number > FIRST_SPARE_NUMBER
    assert table.remember(first, 999, ROOT_NUMBER).number == 500
    generation = table.get(500).generation
    assert table.forget(500, 2) == (first, 2)
    assert table.remember(first, 500, ROOT_NUMBER).generation != generation
    assert table.forget(ROOT_NUMBER, 1) is None
    assert table.forget(12345, 1) is None
    held = {node for node, _ in table.drain()}
    assert held == {first, second, third}
    for node in held:
        volume.release_refs(node, 1)


async def test_dot_and_dot_dot_never_lead_above_the_root(operations: Operations) -> None:
    directory = (await operations.mkdir(ROOT_NUMBER, b"dir", 0o755, CTX)).st_ino
    assert (await operations.lookup(ROOT_NUMBER, b"..", CTX)).st_ino == ROOT_NUMBER
    assert (await operations.lookup(ROOT_NUMBER, b".", CTX)).st_ino == ROOT_NUMBER
    assert (await operations.lookup(directory, b".", CTX)).st_ino == directory
    assert (await operations.lookup(directory, b"..", CTX)).st_ino == ROOT_NUMBER
    assert operations.inodes.get(directory).nlookup == 2
    assert operations.inodes.get(directory).parent == ROOT_NUMBER


async def test_setattr_changes_what_it_is_asked_to(operations: Operations) -> None:
    number = await make(operations, b"file", b"0123456789")
    attr = pyfuse3.EntryAttributes()
    attr.st_size, attr.st_mode = 4, stat.S_IFREG | 0o640
    attr.st_atime_ns, attr.st_mtime_ns = 1_000_000_007, 2_000_000_009
    before = await operations.getattr(number, CTX)
    fields: Any = Fields(update_size=True)
    assert (await operations.setattr(number, attr, fields, None, CTX)).st_size == 4
    fields = Fields(update_mode=True, update_mtime=True)
    after = await operations.setattr(number, attr, fields, None, CTX)
    assert stat.S_IMODE(after.st_mode) == 0o640
    assert after.st_mtime_ns == 2_000_000_009
    assert after.st_atime_ns == before.st_atime_ns
    fields = Fields(update_atime=True)
    assert (await operations.setattr(number, attr, fields, None, CTX)).st_atime_ns == 1_000_000_007


async def test_truncate_through_a_handle_that_cannot_write(operations: Operations) -> None:
    number = await make(operations, b"file", b"0123456789")
    info = await operations.open(number, os.O_RDONLY, CTX)
    attr = pyfuse3.EntryAttributes()
    attr.st_size = 4
    fields: Any = Fields(update_size=True)
    with pytest.raises(pyfuse3.FUSEError) as caught:
        await operations.setattr(number, attr, fields, info.fh, CTX)
    assert caught.value.errno == errno.EINVAL
    await operations.release(info.fh)


async def test_a_file_lives_as_long_as_it_is_open(operations: Operations) -> None:
    number = await make(operations, b"file", b"still here")
    info = await operations.open(number, os.O_RDWR, CTX)
    await operations.unlink(ROOT_NUMBER, b"file", CTX)
    assert bytes(await operations.read(info.fh, 0, 100)) == b"still here"
    assert await operations.write(info.fh, 10, b"!") == 1
    assert (await operations.getattr(number, CTX)).st_nlink == 0
    await operations.release(info.fh)
    await operations.forget([(number, 1)])


async def test_everything_is_released_at_the_end(operations: Operations, volume: Volume) -> None:
    number = await make(operations, b"file", b"x")
    await operations.open(number, os.O_RDWR, CTX)
    await operations.opendir(ROOT_NUMBER, CTX)
    operations.release_everything()
    assert known_nodes(volume) == 1
    assert len(operations.inodes) == 1


async def test_a_closed_handle_is_a_bad_one(operations: Operations) -> None:
    for call in (operations.read(77, 0, 1), operations.write(77, 0, b""), operations.flush(77)):
        with pytest.raises(pyfuse3.FUSEError) as caught:
            await call
        assert caught.value.errno == errno.EBADF


@pytest.mark.parametrize(
    ("raised", "answered"),
    [
        (OSError(errno.ENOSPC, "no space"), errno.ENOSPC),
        (OSError(errno.ENOSYS, "would never be asked again"), errno.ENOTSUP),
        (FileExistsError(errno.EEXIST, "exists"), errno.EEXIST),
    ],
)
async def test_errors_keep_their_number(
    operations: Operations, monkeypatch: pytest.MonkeyPatch, raised: OSError, answered: int
) -> None:
    def fail(*_: object) -> None:
        raise raised

    monkeypatch.setattr(Volume, "statfs", fail)
    with pytest.raises(pyfuse3.FUSEError) as caught:
        await operations.statfs(CTX)
    assert caught.value.errno == answered


@pytest.mark.parametrize("raised", [ZeroDivisionError("planted"), OSError("without a number")])
async def test_what_nobody_expected_is_eio_and_a_log_line(
    operations: Operations,
    monkeypatch: pytest.MonkeyPatch,
    expect_logs: ExpectLogs,
    raised: Exception,
) -> None:
    def fail(*_: object) -> None:
        raise raised

    expect_logs("answering EIO")
    monkeypatch.setattr(Volume, "statfs", fail)
    with pytest.raises(pyfuse3.FUSEError) as caught:
        await operations.statfs(CTX)
    assert caught.value.errno == errno.EIO


async def test_forget_never_raises(
    operations: Operations, monkeypatch: pytest.MonkeyPatch, expect_logs: ExpectLogs
) -> None:
    number = await make(operations, b"file")

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "planted")

    expect_logs("references leak")
    with monkeypatch.context() as planted:
        planted.setattr(Volume, "release_refs", fail)
        await operations.forget([(number, 1), (424242, 1)])


async def test_what_is_forgotten_one_by_one_is_let_go_of_together(
    operations: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread was woken for each file that was removed."""
    numbers = [await make(operations, name) for name in (b"a", b"b", b"c")]
    let_go: list[int] = []
    monkeypatch.setattr(operations, "_release_refs", lambda held: let_go.append(len(held)))
    async with trio.open_nursery() as nursery:
        for number in numbers:
            nursery.start_soon(operations.forget, [(number, 1)])
    assert let_go == [3]
    await operations.forget([(424242, 1)])
    assert let_go == [3]


@pytest.mark.parametrize("is_local", [True, False])
async def test_only_what_a_local_file_system_has_in_memory_is_answered_without_a_thread(
    operations: Operations, volume: Volume, monkeypatch: pytest.MonkeyPatch, is_local: bool
) -> None:
    """A server could keep the loop waiting, and have something to tell when a file is closed."""
    volume._core.local_device = volume.root.device if is_local else None
    number = await make(operations, b"file", b"1234")
    info = await operations.open(number, os.O_RDWR, CTX)
    handed_over: list[object] = []
    promptly = operations.threads.promptly

    async def counted(kind: Kind, call: Any, *args: object) -> object:  # noqa: ANN401
        handed_over.append(call)
        return await promptly(kind, call, *args)

    with monkeypatch.context() as patched:
        patched.setattr(operations.threads, "promptly", counted)
        assert stat.S_ISDIR((await operations.getattr(ROOT_NUMBER, CTX)).st_mode)
        assert (await operations.getattr(number, CTX)).st_size == 4
        await operations.flush(info.fh)
    await operations.release(info.fh)
    assert len(handed_over) == (0 if is_local else 3)


async def test_a_file_on_hung_storage_leaves_threads_to_the_others(
    operations: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    hung = await make(operations, b"hung", b"h" * 10)
    fine = await make(operations, b"fine", b"f" * 10)
    slow = await operations.open(hung, os.O_RDONLY, CTX)
    fast = await operations.open(fine, os.O_RDONLY, CTX)
    released = threading.Event()
    slow_file = operations._files.get(slow.fh).file
    fast_file = operations._files.get(fast.fh).file

    def hang(offset: int, size: int) -> bytes:
        released.wait()
        return b"late"

    for file in (slow_file, fast_file):
        monkeypatch.setattr(file, "read_cached", lambda offset, size: None)
    monkeypatch.setattr(slow_file, "read", hang)
    results: list[bytes] = []

    async def read_slowly() -> None:
        results.append(bytes(await operations.read(slow.fh, 0, 10)))

    async with trio.open_nursery() as nursery:
        for _ in range(200):
            nursery.start_soon(read_slowly)
        await trio.testing.wait_all_tasks_blocked()
        assert bytes(await operations.read(fast.fh, 0, 10)) == b"f" * 10
        assert (await operations.getattr(hung, CTX)).st_size == 10
        assert results == []
        released.set()
    assert results == [b"late"] * 200
    await operations.release(slow.fh)
    await operations.release(fast.fh)


@pytest.mark.parametrize("is_short", [True, False])
async def test_the_loop_waits_only_for_reads_that_decode_nothing(
    operations: Operations, monkeypatch: pytest.MonkeyPatch, is_short: bool
) -> None:
    number = await make(operations, b"frame", b"f" * 10)
    info = await operations.open(number, os.O_RDONLY, CTX)
    file = operations._files.get(info.fh).file
    monkeypatch.setattr(file, "read_cached", lambda offset, size: None)
    monkeypatch.setattr(type(file), "reads_are_short", is_short)
    waited_for = []
    promptly = operations.threads.promptly

    async def noted(kind: Kind, call: Callable[..., object], *args: object) -> object:
        waited_for.append(call)
        return await promptly(kind, call, *args)

    monkeypatch.setattr(operations.threads, "promptly", noted)
    assert bytes(await operations.read(info.fh, 0, 10)) == b"f" * 10
    assert waited_for == ([file.read] if is_short else [])
    await operations.release(info.fh)


async def test_a_conversion_waits_for_a_release_that_is_under_way(
    operations: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    info, entry = await operations.create(ROOT_NUMBER, b"a.dpx", 0o644, os.O_WRONLY, CTX)
    await operations.write(info.fh, 0, frame())
    file = operations._files.get(info.fh).file
    real_release, may_release = file.release, threading.Event()

    def release() -> None:
        may_release.wait()
        real_release()

    monkeypatch.setattr(file, "release", release)
    state: list[bytes] = []

    async def convert() -> None:
        await operations.setxattr(entry.st_ino, b"user.pixfs.state", b"compressed", CTX)
        state.append(await operations.getxattr(entry.st_ino, b"user.pixfs.state", CTX))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(operations.release, info.fh)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(convert)
        await trio.testing.wait_all_tasks_blocked()
        may_release.set()
    assert state == [b"compressed"]


async def test_closing_what_was_only_read_waits_for_no_thread(
    operations: Operations, volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume._core.local_device = None
    number = await make(operations, b"file", b"x")
    reading = await operations.open(number, os.O_RDONLY, CTX)
    writing = await operations.open(number, os.O_WRONLY, CTX)
    flushed: list[int] = []
    for opened in (reading, writing):
        file = operations._files.get(opened.fh).file
        monkeypatch.setattr(file, "flush", lambda fh=opened.fh: flushed.append(fh))
        await operations.flush(opened.fh)
    assert flushed == [writing.fh]
    await operations.release(reading.fh)
    await operations.release(writing.fh)


async def test_attributes_that_the_mount_does_not_carry(operations: Operations) -> None:
    number = await make(operations, b"file")

    async def refused(call: Awaitable[object]) -> int:
        with pytest.raises(pyfuse3.FUSEError) as caught:
            await call
        return caught.value.errno

    capability, acl = b"security.capability", b"system.posix_acl_access"
    assert await refused(operations.getxattr(number, capability, CTX)) == errno.ENODATA
    assert await refused(operations.setxattr(number, capability, b"x", CTX)) == errno.ENOTSUP
    # Asked for by `ls -l`, for every file: answered without a thread, so never from the backing.
    selinux = b"security.selinux"
    assert await refused(operations.getxattr(number, selinux, CTX)) == errno.ENODATA
    assert await refused(operations.setxattr(number, selinux, b"x", CTX)) == errno.ENOTSUP
    assert await refused(operations.getxattr(number, acl, CTX)) == errno.ENOTSUP
    assert await refused(operations.setxattr(number, acl, b"x", CTX)) == errno.ENOTSUP
    assert await refused(operations.removexattr(number, acl, CTX)) == errno.ENOTSUP
    assert await refused(operations.setxattr(ROOT_NUMBER, b"user.pixfs.pid", b"1", CTX)) == (
        errno.EPERM
    )
    pid = await operations.getxattr(ROOT_NUMBER, b"user.pixfs.pid", CTX)
    assert int(pid) == os.getpid()
    await operations.setxattr(number, b"user.note", b"kept", CTX)
    assert await operations.listxattr(number, CTX) == [b"user.note"]
    assert await operations.getxattr(number, b"user.note", CTX) == b"kept"
    await operations.removexattr(number, b"user.note", CTX)
    assert await operations.listxattr(number, CTX) == []
