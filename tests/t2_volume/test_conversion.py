"""When files are compressed, what goes along, and why some are not."""

from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

import codec
from codec import VerifyError
from pixfs.volume import Caller, backing
from tests.t2_volume.clocks import ManualClock
from tests.t2_volume.frames import container, dpx, noise, noisy_dpx

if TYPE_CHECKING:
    from pathlib import Path

    from tests.checklogs import ExpectLogs
    from tests.t2_volume.conftest import Volumes
    from tests.t2_volume.user import User

WAIT_S = 120


def test_closed_file_is_compressed_by_itself(volumes: Volumes) -> None:
    user = volumes.make(mode="on-close")
    user.write("a.dpx", dpx())
    assert user.volume.wait_idle(WAIT_S)
    assert user.state("a.dpx") == ("compressed", "")
    assert user.read("a.dpx") == dpx()
    stats = user.volume.stats()
    assert stats["converted"] == 1
    assert stats["bytes_in"] == len(dpx())
    assert stats["bytes_out"] == len(user.stored("a.dpx"))


def test_a_frame_is_encoded_while_another_waits_for_the_storage(volumes: Volumes) -> None:
    user = volumes.make(mode="on-close", encode_threads=1)
    encoded = threading.Semaphore(0)
    first = threading.Lock()
    overlapped: list[bool] = []

    def reached(step: str) -> None:
        if step == "encoded":
            encoded.release()
        elif step == "written" and first.acquire(blocking=False):
            overlapped.append(all(encoded.acquire(timeout=WAIT_S) for _ in range(2)))

    user.volume.on_step = reached
    user.write("a.dpx", dpx(1))
    user.write("b.dpx", dpx(2))
    assert user.volume.wait_idle(WAIT_S)
    assert overlapped == [True]


def test_no_more_frames_are_encoded_at_once_than_the_policy_says(
    volumes: Volumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = volumes.make(mode="on-close", encode_threads=1)
    real, encoding, met = codec.encode, threading.Lock(), []

    def encode(*args: Any, **options: Any) -> codec.Encoded:  # noqa: ANN401
        met.append(not encoding.acquire(blocking=False))
        try:
            return real(*args, **options)
        finally:
            if not met[-1]:
                encoding.release()

    monkeypatch.setattr(codec, "encode", encode)
    for number in range(6):
        user.write(f"{number}.dpx", dpx(number))
    assert user.volume.wait_idle(WAIT_S)
    assert met == [False] * 6


def test_nothing_is_compressed_before_it_has_settled(volumes: Volumes) -> None:
    clock = ManualClock()
    user = volumes.make(mode="on-close", settle_s=3.0, clock=clock)
    user.write("a.dpx", dpx())
    assert user.state("a.dpx") == ("queued", "")
    clock.advance(2.9)
    assert user.volume.stats()["queued"] == 1
    # Written to again: the delay starts anew.
    user.open("a.dpx", os.O_RDWR).release()
    clock.advance(2.9)
    assert user.volume.stats()["queued"] == 1
    clock.advance(0.2)
    assert user.volume.wait_idle(WAIT_S)
    assert user.state("a.dpx")[0] == "compressed"


def test_open_file_is_not_compressed(volumes: Volumes) -> None:
    user = volumes.make(mode="on-close")
    first = user.open("a.dpx", os.O_RDWR | os.O_CREAT)
    first.write(0, dpx())
    second = user.open("a.dpx", os.O_RDWR)
    first.release()
    assert user.volume.wait_idle(WAIT_S)
    assert user.state("a.dpx") == ("raw", "open for writing")
    second.release()
    assert user.volume.wait_idle(WAIT_S)
    assert user.state("a.dpx")[0] == "compressed"


def test_file_renamed_into_the_policy_is_compressed(volumes: Volumes) -> None:
    user = volumes.make(mode="on-close", include=("*.dpx",))
    user.write(".a.dpx.tmp1", dpx())
    assert user.volume.wait_idle(WAIT_S)
    assert user.state(".a.dpx.tmp1") == ("raw", "excluded by the policy")
    user.rename(".a.dpx.tmp1", "a.dpx")
    assert user.volume.wait_idle(WAIT_S)
    assert user.state("a.dpx")[0] == "compressed"


def test_include_and_exclude_match_path_and_name(volumes: Volumes) -> None:
    user = volumes.make(mode="on-close", include=("*.dpx",), exclude=("temp/*", "no_*"))
    user.mkdir("temp")
    for path in ("yes.dpx", "temp/a.dpx", "no_a.dpx", "a.cin"):
        user.write(path, dpx())
    assert user.volume.wait_idle(WAIT_S)
    assert user.state("yes.dpx")[0] == "compressed"
    for path in ("temp/a.dpx", "no_a.dpx", "a.cin"):
        assert user.state(path) == ("raw", "excluded by the policy")
    # On demand the policy does not matter.
    user.compress("a.cin")


def test_manual_policy_says_so(user: User) -> None:
    user.write("a.dpx", dpx())
    assert user.state("a.dpx") == ("raw", "compressed on demand only")


def test_start_finds_files_that_wait(volumes: Volumes) -> None:
    first = volumes.make()
    first.mkdir("d")
    first.mkdir("d/e")
    for path in ("a.dpx", "d/b.dpx", "d/e/c.dpx"):
        first.write(path, dpx())
    first.write("text", noise())
    first.volume.close()
    again = volumes.make(mode="on-close", rescan=True)
    assert again.volume.wait_idle(WAIT_S)
    for path in ("a.dpx", "d/b.dpx", "d/e/c.dpx"):
        assert again.state(path)[0] == "compressed"
    assert again.state("text") == ("verbatim", "unsupported: not a frame format that is known")
    assert again.volume.stats()["nodes"] == 1


def test_drained_on_close(volumes: Volumes) -> None:
    user = volumes.make(mode="on-close", settle_s=1e9)
    user.write("a.dpx", dpx())
    user.volume.close(drain=True)
    assert codec.decompress(user.stored("a.dpx")) == dpx()


def test_abandoned_on_close(volumes: Volumes) -> None:
    user = volumes.make(mode="on-close", settle_s=1e9)
    user.write("a.dpx", dpx())
    user.volume.close(drain=False)
    assert user.stored("a.dpx") == dpx()


@pytest.mark.parametrize("step", ["read", "encoded", "written"])
def test_a_close_can_break_off_what_has_begun(volumes: Volumes, step: str) -> None:
    user = volumes.make(mode="on-close")
    reached, go_on = threading.Event(), threading.Event()

    def hold(name: str) -> None:
        if name == step:
            reached.set()
            assert go_on.wait(WAIT_S)

    user.volume.on_step = hold
    user.write("a.dpx", dpx())
    assert reached.wait(WAIT_S)
    closing = threading.Thread(target=user.volume.close, args=[False])
    closing.start()
    user.volume.abandon()
    go_on.set()
    closing.join()
    # What has been written is nearly done, and is placed.
    assert (user.stored("a.dpx") == dpx()) == (step != "written")
    assert os.listdir(user.backing / ".pixfs" / "tmp") == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "too small"),
        (b"x", "too small"),
        (dpx()[:4000], "too small"),
        (noise(), "unsupported: not a frame format that is known"),
        (dpx()[:20_000], "unsupported: "),
    ],
    ids=["empty", "one-byte", "small", "noise", "truncated"],
)
def test_what_is_not_understood_stays_and_says_why(user: User, data: bytes, reason: str) -> None:
    user.write("a", data)
    user.set_state("a", "compressed")
    state, found = user.state("a")
    assert state == "verbatim"
    assert found.startswith(reason)
    assert user.stored("a") == data == user.read("a")


def test_incompressible_is_remembered_over_a_restart(volumes: Volumes) -> None:
    frame = noisy_dpx()
    first = volumes.make()
    first.write("a.dpx", frame)
    mtime_ns = first.stat("a.dpx").mtime_ns
    first.set_state("a.dpx", "compressed")
    assert first.state("a.dpx") == ("verbatim", "incompressible")
    first.volume.close()
    again = volumes.make(mode="on-close", rescan=True)
    assert again.volume.wait_idle(WAIT_S)
    assert again.volume.stats()["verbatim"] == 0
    assert again.state("a.dpx") == ("verbatim", "incompressible")
    assert again.stat("a.dpx").mtime_ns == mtime_ns
    assert again.read("a.dpx") == frame


@pytest.mark.parametrize(
    "note",
    [b"", b"\xff", b"[]", b'{"version": 1}', b'{"version":1,"size":0,"mtime_ns":0,"reason":"x"}'],
)
def test_forged_verdict_is_not_believed(user: User, note: bytes) -> None:
    user.write("a.dpx", dpx())
    os.setxattr(user.backing / "a.dpx", "user.pixfs.verdict", note)
    user.compress("a.dpx")


def test_verdict_of_another_file_is_not_believed(user: User) -> None:
    frame = noisy_dpx()
    user.write("a.dpx", frame)
    user.set_state("a.dpx", "compressed")
    note = os.getxattr(user.backing / "a.dpx", "user.pixfs.verdict")
    user.write("b.dpx", dpx())
    os.setxattr(user.backing / "b.dpx", "user.pixfs.verdict", note)
    user.compress("b.dpx")


def fill_xattrs(path: Path) -> int:
    """Fills the room a file has for xattrs; returns how many fit."""
    for number in range(200):
        try:
            os.setxattr(path, f"user.fill{number}", b"x" * 50)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return number
    pytest.skip("the file system's room for xattrs has no end")


def test_full_xattr_space_fails_nothing(user: User) -> None:
    frame = noisy_dpx()
    for path, data in (("noise.dpx", frame), ("frame.dpx", dpx())):
        user.write(path, data)
        filled = fill_xattrs(user.backing / path)
        user.set_state(path, "compressed")
        assert user.read(path) == data
    assert user.state("noise.dpx") == ("verbatim", "incompressible")
    assert user.state("frame.dpx")[0] == "compressed"
    assert len(os.listxattr(user.backing / "frame.dpx")) == filled


def test_a_conversion_waits_for_a_close_on_its_way(
    volumes: Volumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel may ask for a conversion before it tells that the file has been closed."""
    user = volumes.make()
    handle = user.open("a.dpx", os.O_RDWR | os.O_CREAT)
    handle.write(0, dpx())
    handle.flush()
    file = handle.node.file
    assert file is not None
    waiting = threading.Event()
    wait = file._openings._writer_gone.wait

    def waits(timeout: float | None = None) -> bool:
        waiting.set()
        return wait(timeout)

    monkeypatch.setattr(file._openings._writer_gone, "wait", waits)
    with ThreadPoolExecutor(1) as pool:
        converted = pool.submit(user.set_state, "a.dpx", "compressed")
        assert waiting.wait(WAIT_S)
        handle.release()
        converted.result(WAIT_S)
    assert user.state("a.dpx") == ("compressed", "")


def test_a_conversion_does_not_wait_for_a_writer_that_goes_on(
    volumes: Volumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = volumes.make()
    handle = user.open("a.dpx", os.O_RDWR | os.O_CREAT)
    handle.write(0, dpx())
    # As of a second descriptor of the same opening.
    handle.flush()
    monkeypatch.setattr("pixfs.volume.convert._RELEASE_PATIENCE_S", 0.0)
    with pytest.raises(OSError, match="open for writing"):
        user.set_state("a.dpx", "compressed")
    handle.write(0, b"SDPX")
    # Not a wait of two seconds, but none at all.
    monkeypatch.setattr("pixfs.volume.convert._RELEASE_PATIENCE_S", WAIT_S)
    file = handle.node.file
    assert file is not None
    monkeypatch.delattr(file._openings, "_writer_gone")
    with pytest.raises(OSError, match="open for writing"):
        user.set_state("a.dpx", "compressed")
    monkeypatch.undo()
    handle.release()


def test_hard_linked_file_is_left_until_one_link_remains(volumes: Volumes) -> None:
    user = volumes.make(mode="on-close")
    handle = user.open("a.dpx", os.O_RDWR | os.O_CREAT)
    handle.write(0, dpx())
    user.link("a.dpx", "b.dpx")
    handle.release()
    assert user.volume.wait_idle(WAIT_S)
    assert user.state("a.dpx") == ("raw", "hard-linked")
    with pytest.raises(OSError, match="hard-linked") as raised:
        user.set_state("b.dpx", "compressed")
    assert raised.value.errno == errno.EBUSY
    node = user.node("a.dpx")
    user.unlink("b.dpx")
    assert user.volume.wait_idle(WAIT_S)
    assert user.state("a.dpx")[0] == "compressed"
    user.give_back(node)


def test_metadata_goes_along_both_ways(user: User) -> None:
    user.write("a.dpx", dpx())
    path = user.backing / "a.dpx"
    xattrs = {
        "user.shot": b"sc010",
        "user.empty": b"",
        "trusted.mam": b"\x00\xff",
        "security.thing": b"label",
        "security.capability": bytes.fromhex("0100000200200000000000000000000000000000"),
        "system.posix_acl_access": bytes.fromhex(
            "02000000" "01000600ffffffff" "02000400e7030000" "04000400ffffffff"
            "10000400ffffffff" "20000000ffffffff"
        ),
    }  # fmt: skip
    os.chown(path, 4711, 4712)
    path.chmod(0o750)
    for name, value in xattrs.items():
        os.setxattr(path, name, value)
    os.utime(path, ns=(1_234_567_890_123_456_789, 1_434_567_890_987_654_321))

    def look() -> dict[str, Any]:
        st = path.stat()
        found = {name: os.getxattr(path, name) for name in os.listxattr(path)}
        return {"xattrs": found, "st": (st.st_uid, st.st_gid, st.st_mode, st.st_mtime_ns)}

    before = look()
    assert before["xattrs"] == xattrs
    user.compress("a.dpx")
    assert path.stat().st_atime_ns == 1_234_567_890_123_456_789
    assert look() == before
    assert user.read("a.dpx") == dpx()
    user.set_state("a.dpx", "raw")
    assert look() == before
    assert user.stored("a.dpx") == dpx()


def test_default_acl_of_the_root_does_not_reach_a_converted_file(user: User) -> None:
    acl = bytes.fromhex(
        "02000000" "01000700ffffffff" "02000700e7030000" "04000500ffffffff"
        "10000700ffffffff" "20000500ffffffff"
    )  # fmt: skip
    user.write("a.dpx", dpx())
    for directory in (user.backing / ".pixfs/tmp").iterdir():
        os.setxattr(directory, "system.posix_acl_default", acl)
    before = user.stat("a.dpx").mode
    user.compress("a.dpx")
    assert os.listxattr(user.backing / "a.dpx") == []
    assert user.stat("a.dpx").mode == before


def test_attribute_that_cannot_go_along_stops_the_conversion(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    user.write("a.dpx", dpx())
    os.setxattr(user.backing / "a.dpx", "user.shot", b"sc010")

    def refuse(fd: int, name: bytes, value: bytes, flags: int = 0) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    with monkeypatch.context() as patch:
        patch.setattr(backing, "set_xattr", refuse)
        with pytest.raises(OSError, match="carried over") as raised:
            user.set_state("a.dpx", "compressed")
    assert raised.value.errno == errno.ENOTSUP
    assert user.stored("a.dpx") == dpx()
    assert user.volume.stats()["converted"] == 0


def test_immutable_file_is_left(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    user.write("a.dpx", dpx())
    monkeypatch.setattr(backing, "get_fsxattr", lambda fd: (0x8, 0))
    with pytest.raises(OSError, match="immutable"):
        user.set_state("a.dpx", "compressed")
    assert user.stored("a.dpx") == dpx()


def test_project_and_flags_go_along(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    user.write("a.dpx", dpx())
    source = (user.backing / "a.dpx").stat().st_ino
    flags: dict[int, tuple[int, int]] = {source: (0x80, 77)}

    def get(fd: int) -> tuple[int, int]:
        return flags.get(os.fstat(fd).st_ino, (0, 0))

    def put(fd: int, value: int, project: int) -> None:
        flags[os.fstat(fd).st_ino] = (value, project)

    monkeypatch.setattr(backing, "get_fsxattr", get)
    monkeypatch.setattr(backing, "set_fsxattr", put)
    user.compress("a.dpx")
    assert flags[(user.backing / "a.dpx").stat().st_ino] == (0x80, 77)


def test_parent_mtime_is_put_back(user: User) -> None:
    user.mkdir("d")
    user.write("d/a.dpx", dpx())
    os.utime(user.backing / "d", ns=(1, 1_000_000_007))
    user.compress("d/a.dpx")
    assert user.stat("d").mtime_ns == 1_000_000_007
    user.set_state("d/a.dpx", "raw")
    assert user.stat("d").mtime_ns == 1_000_000_007


def test_what_waits_goes_on_waiting_after_an_error_on_demand(
    volumes: Volumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    user = volumes.make(mode="on-close", settle_s=3.0, clock=clock)
    user.write("a.dpx", dpx())

    def fail(*_: object) -> int:
        raise OSError(errno.EIO, "planted")

    with monkeypatch.context() as patch:
        patch.setattr(backing, "pread_into", fail)
        with pytest.raises(OSError, match="planted"):
            user.set_state("a.dpx", "compressed")
    assert user.state("a.dpx") == ("queued", "")
    clock.advance(3.1)
    assert user.volume.wait_idle(WAIT_S)
    assert user.state("a.dpx")[0] == "compressed"


def test_no_room_defers_and_nobody_waits_for_it(
    volumes: Volumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    user = volumes.make(mode="on-close", clock=clock, reserve_bytes=1 << 60)
    user.write("a.dpx", dpx())
    assert user.volume.wait_idle(WAIT_S)
    assert user.state("a.dpx") == ("queued", "waits for free space")
    assert user.volume.stats()["deferred"] == 1
    with pytest.raises(OSError, match="waits for free space") as raised:
        user.set_state("a.dpx", "compressed")
    assert raised.value.errno == errno.ENOSPC
    room = os.statvfs_result((1 << 20, 1 << 20, 1 << 42, 1 << 42, 1 << 42, 0, 0, 0, 0, 255))
    monkeypatch.setattr(backing, "statvfs", lambda fd: room)
    converted = user.volume.stats()["converted"]
    assert converted == 0
    clock.advance(61)
    user.write("b.dpx", dpx(1))
    assert user.volume.wait_idle(WAIT_S)
    assert user.state("b.dpx")[0] == "compressed"


def test_encoder_that_fails_its_own_check_leaves_the_file(
    volumes: Volumes, monkeypatch: pytest.MonkeyPatch, expect_logs: ExpectLogs
) -> None:
    expect_logs("was not compressed and stays as it is: rows do not decode")

    def fail(*args: object, **kwargs: object) -> None:
        raise VerifyError("rows do not decode to themselves")

    monkeypatch.setattr(codec, "encode", fail)
    user = volumes.make(mode="on-close")
    user.write("a.dpx", dpx())
    assert user.volume.wait_idle(WAIT_S)
    assert user.state("a.dpx") == ("error", "rows do not decode to themselves")
    assert user.stored("a.dpx") == dpx() == user.read("a.dpx")
    assert user.volume.stats()["failed"] == 1


def test_container_that_is_not_of_this_file_is_not_swapped_in(
    user: User, monkeypatch: pytest.MonkeyPatch, expect_logs: ExpectLogs
) -> None:
    """An encoder that hands out another file's container, or a torn write."""
    expect_logs("does not open as the one encoded")
    user.write("a.dpx", dpx())
    real = backing.pwrite_all

    def tear(fd: int, buf: bytes, offset: int) -> None:
        real(fd, container(1), offset)

    with monkeypatch.context() as patch:
        patch.setattr(backing, "pwrite_all", tear)
        with pytest.raises(OSError, match="does not open") as raised:
            user.set_state("a.dpx", "compressed")
    assert raised.value.errno == errno.EIO
    assert user.stored("a.dpx") == dpx()


def test_unexpected_error_leaves_the_file_and_the_thread(
    volumes: Volumes, monkeypatch: pytest.MonkeyPatch, expect_logs: ExpectLogs
) -> None:
    expect_logs("unexpected error")

    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("a bug")

    user = volumes.make(mode="on-close")
    with monkeypatch.context() as patch:
        patch.setattr(codec, "encode", fail)
        user.write("a.dpx", dpx())
        assert user.volume.wait_idle(WAIT_S)
    assert user.state("a.dpx")[0] == "error"
    assert user.read("a.dpx") == dpx()
    user.write("b.dpx", dpx())
    assert user.volume.wait_idle(WAIT_S)
    assert user.state("b.dpx")[0] == "compressed"


def test_unlinked_file_is_dropped_from_the_queue(volumes: Volumes) -> None:
    user = volumes.make(mode="on-close", settle_s=1e9)
    user.write("a.dpx", dpx())
    assert user.volume.stats()["queued"] == 1
    user.unlink("a.dpx")
    assert user.volume.stats()["queued"] == 0
    assert user.volume.stats()["nodes"] == 1


def test_only_owner_and_root_convert(user: User) -> None:
    user.write("a.dpx", dpx())
    with pytest.raises(PermissionError):
        user.set_state("a.dpx", "compressed", Caller(12345, 12345))
    os.chown(user.backing / "a.dpx", 12345, 12345)
    user.set_state("a.dpx", "compressed", Caller(12345, 12345))
    assert user.state("a.dpx")[0] == "compressed"


def test_swap_without_exchange(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without RENAME_EXCHANGE gets a plain rename after the same checks."""
    real = backing.rename

    def rename(dir_fd: int, name: bytes, dir_fd2: int, name2: bytes, flags: int = 0) -> None:
        if flags & backing.RENAME_EXCHANGE:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        real(dir_fd, name, dir_fd2, name2, flags)

    monkeypatch.setattr(backing, "rename", rename)
    user.write("a.dpx", dpx())
    user.compress("a.dpx")
    assert user.read("a.dpx") == dpx()
    user.set_state("a.dpx", "raw")
    assert user.stored("a.dpx") == dpx()


def test_storage_without_locks_is_written_but_not_converted(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    user.write("c.dpx", dpx())
    user.compress("c.dpx")

    def refuse(fd: int, *, exclusive: bool) -> bool:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(backing, "try_lock", refuse)
    user.write("a.dpx", dpx())
    with pytest.raises(OSError, match="no locks"):
        user.set_state("a.dpx", "compressed")
    assert user.read("a.dpx") == dpx()
    user.set_state("c.dpx", "raw")
    assert user.stored("c.dpx") == dpx()


def test_full_queue_is_made_up_for_by_a_walk(
    volumes: Volumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda kind: (256, 256))
    clock = ManualClock()
    user = volumes.make(mode="on-close", settle_s=1.0, clock=clock)
    for number in range(80):
        user.write(f"{number}.dpx", dpx()[:20_000])
    assert user.volume.stats()["queued"] == 64
    user.write("late.dpx", dpx())
    assert user.state("late.dpx")[0] == "raw"
    os.utime(user.backing / "late.dpx", ns=(0, 0))
    clock.advance(2.0)
    assert user.volume.wait_idle(WAIT_S)
    assert user.state("late.dpx")[0] == "compressed"
