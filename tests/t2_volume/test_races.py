"""Somebody acts at each step of a conversion or restore, or another volume is at work."""

from __future__ import annotations

import errno
import itertools
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from pixfs.volume import backing, swap
from tests.t2_volume.clocks import ManualClock
from tests.t2_volume.frames import dpx
from tests.t2_volume.user import ROOT, read_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from pixfs.volume import Node
    from tests.t2_volume.conftest import Volumes
    from tests.t2_volume.user import User

FRAME = dpx()
# Nothing is held at these: whoever acts goes on at once.
UNLOCKED = ["read", "encoded", "written", "synced"]
# The file's mutex is held at these, and the directory's lock at the middle two: whoever wants
# to change the file waits for a moment.
LOCKED = ["locked", "checked", "exchanged", "durable", "unlinked"]


def at_step(user: User, step: str, act: Callable[[], None]) -> list[str]:
    """Runs ``act`` when a conversion comes to a step; returns the steps come to, as they are."""
    steps: list[str] = []

    def reached(name: str) -> None:
        first = name not in steps
        steps.append(name)
        if name == step and first:
            act()

    user.volume.on_step = reached
    return steps


def try_to_compress(user: User) -> str:
    """'' if it was done, else why not."""
    try:
        user.set_state("a.dpx", "compressed")
    except OSError as error:
        return str(error)
    return ""


def test_steps_come_in_the_order_the_documents_give(user: User) -> None:
    user.write("a.dpx", FRAME)
    steps = at_step(user, "", lambda: None)
    user.compress("a.dpx")
    assert steps == [*UNLOCKED, *LOCKED]
    steps.clear()
    user.set_state("a.dpx", "raw")
    assert steps == ["restored", "restore-synced", *LOCKED[1:]]


@pytest.mark.parametrize("step", UNLOCKED)
def test_writer_wins_at_once_while_a_file_is_encoded(user: User, step: str) -> None:
    user.write("a.dpx", FRAME)

    def write() -> None:
        handle = user.open("a.dpx", os.O_RDWR)
        handle.write(3000, b"changed")
        handle.release()

    at_step(user, step, write)
    assert "changed while it was" in try_to_compress(user)
    expected = FRAME[:3000] + b"changed" + FRAME[3007:]
    assert user.stored("a.dpx") == expected
    user.volume.on_step = lambda step: None
    user.compress("a.dpx")
    assert user.read("a.dpx") == expected


@pytest.mark.parametrize("step", UNLOCKED)
def test_opening_for_writing_stops_the_swap(user: User, step: str) -> None:
    user.write("a.dpx", FRAME)
    handles = []
    at_step(user, step, lambda: handles.append(user.open("a.dpx", os.O_RDWR)))
    assert "changed while it was" in try_to_compress(user)
    handles[0].write(0, b"X")
    assert user.stored("a.dpx") == b"X" + FRAME[1:]
    handles[0].release()


@pytest.mark.parametrize("step", LOCKED)
def test_writer_waits_for_the_swap_and_then_restores(user: User, step: str) -> None:
    user.write("a.dpx", FRAME)
    opened = threading.Event()
    node = user.node("a.dpx")

    def write() -> None:
        opened.set()
        handle = user.volume.open(node, os.O_RDWR)
        handle.write(3000, b"changed")
        handle.release()

    writer = threading.Thread(target=write)

    def start() -> None:
        writer.start()
        opened.wait()

    at_step(user, step, start)
    assert try_to_compress(user) == ""
    writer.join()
    user.give_back(node)
    assert user.read("a.dpx") == FRAME[:3000] + b"changed" + FRAME[3007:]
    assert user.volume.stats()["restores"] == 1


CHANGES: dict[str, Callable[[User, Node], None]] = {
    "truncate": lambda user, node: user.volume.truncate(node, 5000),
    "empty": lambda user, node: user.volume.truncate(node, 0),
    "chmod": lambda user, node: user.volume.chmod(node, 0o600),
    "chown": lambda user, node: user.volume.chown(node, 4, 5),
    "utimens": lambda user, node: user.volume.utimens(node, None, 12345),
    "setxattr": lambda user, node: user.volume.setxattr(node, b"user.x", b"y", 0, ROOT),
    "link": lambda user, node: user.link("a.dpx", "b.dpx"),
    "rename": lambda user, node: user.rename("a.dpx", "b.dpx"),
    "rename-over": lambda user, node: user.rename("other.dpx", "a.dpx"),
    "unlink": lambda user, node: user.unlink("a.dpx"),
    "read": lambda user, node: None,
}


@pytest.mark.parametrize("step", UNLOCKED)
@pytest.mark.parametrize("change", CHANGES)
def test_nothing_done_during_a_conversion_is_lost(user: User, step: str, change: str) -> None:
    """The same end as if the conversion had not been."""
    user.write("other.dpx", dpx(9))
    user.write("a.dpx", FRAME)
    user.write("plain.dpx", FRAME)
    node = user.node("a.dpx")
    reader = user.volume.open(node, os.O_RDONLY)
    at_step(user, step, lambda: CHANGES[change](user, node))
    try_to_compress(user)
    names = set(user.names()) - {b"plain.dpx"}
    expected_names = {
        "link": {b"a.dpx", b"b.dpx", b"other.dpx"},
        "rename": {b"b.dpx", b"other.dpx"},
        "rename-over": {b"a.dpx"},
        "unlink": {b"other.dpx"},
    }.get(change, {b"a.dpx", b"other.dpx"})
    assert names == expected_names
    content = {"truncate": FRAME[:5000], "empty": b""}.get(change, FRAME)
    assert read_all(reader) == content
    st = user.volume.stat(node)
    assert st.size == len(content)
    if change == "chmod":
        assert st.mode & 0o777 == 0o600
    if change == "chown":
        assert (st.uid, st.gid) == (4, 5)
    if change == "utimens":
        assert st.mtime_ns == 12345
    if change == "setxattr":
        assert user.volume.getxattr(node, b"user.x", ROOT) == b"y"
    if change == "link":
        assert st.nlink == 2
        assert user.read("b.dpx") == FRAME
    if change == "rename-over":
        assert user.read("a.dpx") == dpx(9)
    reader.release()
    user.give_back(node)


@pytest.mark.parametrize("step", ["checked", "exchanged"])
@pytest.mark.parametrize("change", ["rename", "rename-over", "unlink"])
def test_names_change_right_after_a_swap(user: User, step: str, change: str) -> None:
    user.write("other.dpx", dpx(9))
    user.write("a.dpx", FRAME)
    node = user.node("a.dpx")
    begun = threading.Event()

    def act() -> None:
        begun.set()
        CHANGES[change](user, node)

    thread = threading.Thread(target=act)

    def start() -> None:
        thread.start()
        begun.wait()

    at_step(user, step, start)
    assert try_to_compress(user) == ""
    thread.join()
    handle = user.volume.open(node, os.O_RDONLY)
    assert read_all(handle) == FRAME
    handle.release()
    if change == "rename":
        assert user.state("b.dpx")[0] == "compressed"
    if change == "rename-over":
        assert user.read("a.dpx") == dpx(9)
    user.give_back(node)


@pytest.mark.parametrize("step", [*UNLOCKED, *LOCKED])
def test_readers_at_every_step(user: User, step: str) -> None:
    user.write("a.dpx", FRAME)
    handle = user.open("a.dpx")
    seen = []

    def look() -> None:
        # Neither reading nor looking waits for a swap.
        seen.append(read_all(handle))
        seen.append(user.volume.stat(handle.node).size)

    at_step(user, step, look)
    assert try_to_compress(user) == ""
    assert seen == [FRAME, len(FRAME)]
    assert read_all(handle) == FRAME
    handle.release()


@pytest.mark.parametrize("step", ["restored", "restore-synced", "exchanged", "durable"])
def test_readers_at_every_step_of_a_restore(user: User, step: str) -> None:
    user.write("a.dpx", FRAME)
    user.compress("a.dpx")
    handle = user.open("a.dpx", os.O_RDWR)
    seen = []
    at_step(user, step, lambda: seen.append(read_all(handle)))
    handle.write(0, b"X")
    assert seen == [FRAME]
    assert read_all(handle) == b"X" + FRAME[1:]
    handle.release()


@pytest.mark.parametrize("step", ["restored", "restore-synced"])
@pytest.mark.parametrize("change", ["rename", "rename-over", "unlink"])
def test_names_change_during_a_restore(user: User, step: str, change: str) -> None:
    """The writer is told nothing of it: its bytes go where the file went."""
    user.write("other.dpx", dpx(9))
    user.write("a.dpx", FRAME)
    user.compress("a.dpx")
    handle = user.open("a.dpx", os.O_RDWR)
    at_step(user, step, lambda: CHANGES[change](user, handle.node))
    assert handle.write(3000, b"changed") == 7
    expected = FRAME[:3000] + b"changed" + FRAME[3007:]
    assert read_all(handle) == expected
    if change == "rename":
        assert user.stored("b.dpx") == expected
    elif change == "rename-over":
        assert user.read("a.dpx") == dpx(9)
    else:
        assert user.names() == [b"other.dpx"]
    handle.release()


LEAVING: dict[str, Callable[[User], None]] = {
    "moved": lambda user: user.rename("d0/a.dpx", "d1/a.dpx"),
    "removed": lambda user: user.unlink("d0/a.dpx"),
    "replaced": lambda user: user.rename("d1/other.dpx", "d0/a.dpx"),
}


def leave_before(monkeypatch: pytest.MonkeyPatch, step: str, leave: Callable[[], None]) -> None:
    """Runs ``leave`` once, when a swap has found out which name to put its file under, or has put
    it there; nobody knows the directory any more that the file was in."""
    real = getattr(swap, step)
    leaving = iter([leave])

    def left_first(*args: Any, **options: Any) -> bool:  # noqa: ANN401
        for act in itertools.islice(leaving, 1):
            act()
        return bool(real(*args, **options))

    monkeypatch.setattr(swap, step, left_first)


@pytest.mark.parametrize("how", LEAVING)
@pytest.mark.parametrize("step", ["_exchange", "_settle"])
def test_file_that_leaves_its_directory_while_it_is_compressed_is_no_failure(
    volumes: Volumes, monkeypatch: pytest.MonkeyPatch, step: str, how: str
) -> None:
    """The directory was forgotten with it, and the conversion logged ESTALE as its failure."""
    user = volumes.make(mode="on-close")
    user.mkdir("d0")
    user.mkdir("d1")
    user.write("d1/other.dpx", dpx(9))
    assert user.volume.wait_idle(60)
    leave_before(monkeypatch, step, lambda: LEAVING[how](user))
    user.write("d0/a.dpx", FRAME)
    assert user.volume.wait_idle(60)
    assert user.volume.stats()["failed"] == 0
    path, expected = {
        "moved": ("d1/a.dpx", FRAME),
        "removed": ("d1/other.dpx", dpx(9)),
        "replaced": ("d0/a.dpx", dpx(9)),
    }[how]
    assert user.read(path) == expected
    assert user.state(path)[0] == "compressed"


@pytest.mark.parametrize("step", ["_exchange", "_settle"])
def test_file_that_leaves_its_directory_is_written_to_all_the_same(
    user: User, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The writer was told ESTALE, or EIO at its next fsync."""
    user.mkdir("d0")
    user.mkdir("d1")
    user.write("d0/a.dpx", FRAME)
    user.compress("d0/a.dpx")
    handle = user.open("d0/a.dpx", os.O_RDWR)
    leave_before(monkeypatch, step, lambda: user.rename("d0/a.dpx", "d1/a.dpx"))
    assert handle.write(3000, b"changed") == 7
    handle.fsync(False)
    handle.release()
    assert user.stored("d1/a.dpx") == FRAME[:3000] + b"changed" + FRAME[3007:]


def test_file_removed_outside_between_check_and_exchange_is_no_failure(volumes: Volumes) -> None:
    """The exchange found no such name, and the conversion logged that as its failure."""
    user = volumes.make(mode="on-close")
    at_step(user, "checked", (user.backing / "a.dpx").unlink)
    user.write("a.dpx", FRAME)
    assert user.volume.wait_idle(60)
    assert user.volume.stats()["failed"] == 0
    assert user.names() == []


def test_file_replaced_outside_while_it_waits_for_compression_is_no_failure(
    volumes: Volumes,
) -> None:
    """Nothing held on to it: found out by its name when its turn comes."""
    clock = ManualClock()
    user = volumes.make(mode="on-close", settle_s=5.0, clock=clock)
    user.write("a.dpx", FRAME)
    node = user.node("a.dpx")
    node.descriptor = None
    (user.backing / "new").write_bytes(b"from outside")
    (user.backing / "new").rename(user.backing / "a.dpx")
    clock.advance(5.0)
    assert user.volume.wait_idle(60)
    assert user.volume.stats()["failed"] == 0
    assert user.read("a.dpx") == b"from outside"
    user.give_back(node)


def test_stale_handle_of_a_network_backing_is_told(
    volumes: Volumes, monkeypatch: pytest.MonkeyPatch, expect_logs: Callable[[str], None]
) -> None:
    """Once: that the file cannot be looked at for its verdict is no second failure."""
    expect_logs("'a.dpx' was not compressed and stays as it is: .*Stale")
    user = volumes.make(mode="on-close")
    real = backing.fstat

    def stale(*_: object) -> os.stat_result:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    at_step(user, "locked", lambda: monkeypatch.setattr(backing, "fstat", stale))
    user.write("a.dpx", FRAME)
    assert user.volume.wait_idle(60)
    monkeypatch.setattr(backing, "fstat", real)
    assert user.volume.stats()["failed"] == 1
    assert user.read("a.dpx") == FRAME


def test_file_removed_while_it_is_compressed_is_let_go_at_once(volumes: Volumes) -> None:
    """It was put back to be tried again, and its blocks were kept until then."""
    clock = ManualClock()
    user = volumes.make(mode="on-close", clock=clock)
    at_step(user, "synced", lambda: user.unlink("a.dpx"))
    user.write("a.dpx", FRAME)
    assert user.volume.wait_idle(60)
    assert user.volume.stats()["nodes"] == 1


# Another volume, or another process, on the same backing directory


def test_a_file_is_restored_though_it_is_renamed_there_and_back(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time between asking for its name and locking the directory."""
    user.write("a.dpx", FRAME)
    user.compress("a.dpx")
    handle = user.open("a.dpx", os.O_RDWR)
    exchange = swap._exchange
    moves = iter([("a.dpx", "b.dpx"), ("b.dpx", "a.dpx")])

    def moved_first(*args: Any, **options: Any) -> bool:  # noqa: ANN401
        for old, new in itertools.islice(moves, 1):
            user.rename(old, new)
        return exchange(*args, **options)

    monkeypatch.setattr(swap, "_exchange", moved_first)
    assert handle.write(0, b"SDPX") == 4
    handle.release()
    assert user.stored("a.dpx") == b"SDPX" + FRAME[4:]


def test_second_volume_writes_while_the_first_converts(volumes: Volumes) -> None:
    first, second = volumes.make(), volumes.make()
    expected = FRAME[:3000] + b"X" + FRAME[3001:]
    first.write("a.dpx", FRAME)
    handles = []
    at_step(first, "synced", lambda: handles.append(second.open("a.dpx", os.O_RDWR)))
    assert "open for writing elsewhere" in try_to_compress(first)
    handles[0].write(3000, b"X")
    assert "locked by another process" in try_to_compress(first)
    handles[0].release()
    assert first.read("a.dpx") == expected
    first.compress("a.dpx")
    assert second.read("a.dpx") == expected


def test_second_volume_opens_during_the_swap_of_the_first(volumes: Volumes) -> None:
    """It found the inode before the swap and gets the lock after it: it must look again."""
    first, second = volumes.make(), volumes.make()
    first.write("a.dpx", FRAME)
    node = second.node("a.dpx")
    failures: list[int | None] = []
    begun = threading.Event()

    def open_for_writing() -> None:
        begun.set()
        try:
            second.volume.open(node, os.O_RDWR).release()
        except OSError as error:
            failures.append(error.errno)

    thread = threading.Thread(target=open_for_writing)

    def start() -> None:
        thread.start()
        begun.wait()

    at_step(first, "exchanged", start)
    assert try_to_compress(first) == ""
    thread.join()
    second.give_back(node)
    # Unless it came too late even for the old inode's lock, it was sent back to the name.
    assert failures in ([116], [])
    handle = second.open("a.dpx", os.O_RDWR)
    handle.write(0, b"X")
    handle.release()
    assert first.read("a.dpx") == b"X" + FRAME[1:]


def test_two_volumes_restore_one_container(volumes: Volumes) -> None:
    first, second = volumes.make(), volumes.make()
    first.write("a.dpx", FRAME)
    first.compress("a.dpx")
    mine, theirs = first.open("a.dpx", os.O_RDWR), second.open("a.dpx", os.O_RDWR)
    mine.write(0, b"X")
    with pytest.raises(OSError, match="Stale"):
        theirs.write(1, b"Y")
    with pytest.raises(OSError, match="Stale"):
        theirs.write(1, b"Y")
    theirs.release()
    mine.release()
    theirs = second.open("a.dpx", os.O_RDWR)
    theirs.write(1, b"Y")
    theirs.release()
    assert first.read("a.dpx") == b"XY" + FRAME[2:]


def test_start_and_end_of_a_second_volume_disturb_nothing(volumes: Volumes) -> None:
    first = volumes.make()
    first.write("a.dpx", FRAME)

    def come_and_go() -> None:
        second = volumes.make()
        assert second.read("a.dpx") == FRAME
        second.volume.close()

    for step in ("written", "checked", "durable"):
        at_step(first, step, come_and_go)
        assert try_to_compress(first) == ""
        first.set_state("a.dpx", "raw")
    assert first.read("a.dpx") == FRAME


@pytest.mark.parametrize("step", UNLOCKED)
def test_process_outside_has_the_file_open_for_writing(user: User, step: str) -> None:
    user.write("a.dpx", FRAME)
    opened = []
    at_step(user, step, lambda: opened.append((user.backing / "a.dpx").open("r+b")))
    assert "open for writing outside the volume" in try_to_compress(user)
    opened[0].write(b"X")
    opened[0].close()
    assert user.read("a.dpx") == b"X" + FRAME[1:]


@pytest.mark.parametrize("step", UNLOCKED)
def test_process_outside_replaces_the_file(user: User, step: str) -> None:
    user.write("a.dpx", FRAME)

    def replace() -> None:
        (user.backing / "new").write_bytes(b"from outside")
        (user.backing / "new").rename(user.backing / "a.dpx")

    at_step(user, step, replace)
    assert try_to_compress(user) != ""
    assert user.read("a.dpx") == b"from outside"


def test_process_outside_replaces_the_file_between_check_and_exchange(user: User) -> None:
    """What came out of the exchange is not what was to: it goes back."""
    user.write("a.dpx", FRAME)

    def replace() -> None:
        (user.backing / "new").write_bytes(b"from outside")
        (user.backing / "new").rename(user.backing / "a.dpx")

    at_step(user, "checked", replace)
    assert "renamed or replaced" in try_to_compress(user)
    assert user.read("a.dpx") == b"from outside"
    assert user.stored("a.dpx") == b"from outside"


def test_exchange_that_cannot_be_undone_keeps_the_foreign_file(
    volumes: Volumes, monkeypatch: pytest.MonkeyPatch, expect_logs: Callable[[str], None]
) -> None:
    expect_logs("a file replaced from outside during a swap is in the hidden area")
    expect_logs("kept as .pixfs/lost.found")
    user = volumes.make()
    user.write("a.dpx", FRAME)
    real = backing.rename
    exchanges = []

    def rename(dir_fd: int, name: bytes, dir_fd2: int, name2: bytes, flags: int = 0) -> None:
        if flags & backing.RENAME_EXCHANGE:
            exchanges.append(name)
            if len(exchanges) == 2:
                raise OSError(5, os.strerror(5))
        real(dir_fd, name, dir_fd2, name2, flags)

    def replace() -> None:
        (user.backing / "new").write_bytes(b"from outside")
        (user.backing / "new").rename(user.backing / "a.dpx")

    at_step(user, "checked", replace)
    with monkeypatch.context() as patch:
        patch.setattr(backing, "rename", rename)
        with pytest.raises(OSError, match="Input/output"):
            user.set_state("a.dpx", "compressed")
    # The directory is not empty and stays; its lock goes with the volume.
    user.volume.close()
    again = volumes.make()
    volumes.expect_problems(again)
    kept = list((user.backing / ".pixfs/lost+found").iterdir())
    assert [path.read_bytes() for path in kept] == [b"from outside"]
    assert again.read("a.dpx") == FRAME


def test_lock_that_is_held_for_ever_is_ebusy(
    user: User, monkeypatch: pytest.MonkeyPatch, expect_logs: Callable[[str], None]
) -> None:
    import fcntl

    from pixfs.volume import locks

    expect_logs("stays locked by another process")
    monkeypatch.setattr(locks, "_SHARED_LOCK_PATIENCE_S", 0.0)
    user.write("a.dpx", FRAME)
    with (user.backing / "a.dpx").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="busy"):
            user.open("a.dpx", os.O_RDWR)
        assert user.read("a.dpx") == FRAME
    user.open("a.dpx", os.O_RDWR).release()


def test_many_threads_on_one_file(volumes: Volumes) -> None:
    """Readers never see anything but a version that was written whole."""
    user = volumes.make(mode="on-close", encode_threads=2)
    versions = [dpx(seed) for seed in range(4)]
    user.write("a.dpx", versions[0])
    node = user.node("a.dpx")
    stop = threading.Event()
    wrong: list[bytes] = []

    def read() -> None:
        while not stop.is_set():
            handle = user.volume.open(node, os.O_RDONLY)
            found = bytes(handle.read(0, 1 << 20))
            if found not in versions:
                wrong.append(found)
            handle.release()

    readers = [threading.Thread(target=read) for _ in range(3)]
    for thread in readers:
        thread.start()
    try:
        for number in range(24):
            if number % 3 == 0:
                user.volume.wait_idle(60)
            handle = user.volume.open(node, os.O_RDWR)
            data = versions[number % 4]
            assert handle.write(0, data) == len(data)
            handle.release()
    finally:
        stop.set()
        for thread in readers:
            thread.join()
    assert user.volume.wait_idle(60)
    assert wrong == []
    assert user.read("a.dpx") == versions[23 % 4]
    user.give_back(node)


def test_many_threads_on_many_names(volumes: Volumes) -> None:
    user = volumes.make(mode="on-close", encode_threads=2)
    for directory in ("d0", "d1"):
        user.mkdir(directory)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for round_ in range(12):
                name = f"d{number % 2}/{number}.dpx"
                other = f"d{(number + 1) % 2}/{number}-moved.dpx"
                user.write(name, dpx(number % 3))
                user.rename(name, other)
                assert user.read(other) == dpx(number % 3)
                if round_ % 3 == 0:
                    user.unlink(other)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert user.volume.wait_idle(120)
    for number in range(6):
        path = f"d{(number + 1) % 2}/{number}-moved.dpx"
        assert user.state(path)[0] == "compressed"
        assert user.read(path) == dpx(number % 3)
