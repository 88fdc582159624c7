"""Stored files from one volume to another: whole, verified, interrupted anywhere and gone on."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import stat
from typing import TYPE_CHECKING

import pytest

from pixfs.errors import TargetError
from pixfs.throttle import Limiter
from pixfs.transfer import AliasError, Options, Outcome, Transfer, locate
from pixfs.transfer.limits import FollowedLimits
from pixfs.volume import backing, check
from tests.t2_volume.faults import Faults, fail_with, in_child
from tests.t2_volume.frames import container, dpx, noise

if TYPE_CHECKING:
    from pathlib import Path

    from tests.t2_volume.conftest import Volumes
    from tests.t2_volume.user import User


@pytest.fixture(autouse=True)
def _run_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXFS_RUN_DIR", str(tmp_path / "run"))


@pytest.fixture
def pair(volumes: Volumes) -> tuple[User, User]:
    """A volume with a shot in it, and an empty one."""
    source, target = volumes.make("source"), volumes.make("target")
    source.mkdir("shot", 0o750)
    for number in range(3):
        source.write(f"shot/f.{number}.dpx", dpx(number))
    source.compress("shot/f.0.dpx")
    source.compress("shot/f.1.dpx")
    source.write("shot/container.bin", container())
    source.mkdir("shot/inner")
    source.write("shot/inner/notes.txt", b"notes")
    os.symlink("notes.txt", source.backing / "shot/inner/link")
    os.mkfifo(source.backing / "shot/fifo", 0o600)
    return source, target


CONTENTS = {
    "shot/f.0.dpx": dpx(0),
    "shot/f.1.dpx": dpx(1),
    "shot/f.2.dpx": dpx(2),
    "shot/container.bin": container(),
    "shot/inner/notes.txt": b"notes",
}


def run(source: Path, target: Path, **options: bool) -> list[Outcome]:
    """One transfer; every entry's outcome."""
    outcomes: list[Outcome] = []
    chosen = Options(Limiter(), report=outcomes.append, **options)  # type: ignore[arg-type]
    succeeded = Transfer(locate(str(source)), locate(str(target)), chosen).run()
    assert succeeded == all(outcome.result != "failed" for outcome in outcomes)
    return outcomes


def results(outcomes: list[Outcome]) -> set[str]:
    return {outcome.result for outcome in outcomes}


def attributes(path: Path) -> tuple[object, ...]:
    st = path.lstat()
    names = [] if path.is_symlink() else os.listxattr(path)
    carried = {n: os.getxattr(path, n) for n in names if not n.startswith("user.pixfs.")}
    return stat.filemode(st.st_mode), st.st_uid, st.st_gid, st.st_mtime_ns, carried


def everything(root: Path) -> dict[str, tuple[object, ...]]:
    """Attributes and stored bytes of all there is."""
    found = {}
    for path in sorted(root.rglob("*")):
        inner = path.relative_to(root)
        if inner.parts[0] == ".pixfs":
            continue
        data: object = None
        if path.is_symlink():
            data = os.readlink(path)
        elif path.is_file():
            data = path.read_bytes()
        found[str(inner)] = (*attributes(path), data)
    return found


def test_a_copy_is_the_same_to_the_last_attribute(pair: tuple[User, User]) -> None:
    source, target = pair
    os.setxattr(source.backing / "shot/f.0.dpx", "user.note", b"keep")
    os.setxattr(source.backing / "shot", "user.note", b"dir")
    os.chmod(source.backing / "shot/f.1.dpx", 0o604)
    os.chmod(source.backing / "shot/inner", 0o555)
    if os.geteuid() == 0:
        os.chown(source.backing / "shot/f.2.dpx", 1234, 4321)
    for path in [source.backing / "shot/inner", source.backing / "shot/f.2.dpx"]:
        os.utime(path, ns=(10**18 + 1, 10**18 + 123456789))
    before = everything(source.backing)
    outcomes = run(source.backing / "shot", target.backing / "shot")
    assert results(outcomes) == {"copied"}
    assert everything(target.backing) == everything(source.backing) == before
    assert {path: target.read(path) for path in CONTENTS} == CONTENTS
    assert target.state("shot/f.0.dpx") == ("compressed", "")
    assert [problem for problem in check(target.backing) if "/tmp/" not in problem] == []


def test_what_is_there_is_left_alone(pair: tuple[User, User]) -> None:
    source, target = pair
    run(source.backing / "shot", target.backing / "shot")
    # The other volume may have compressed or restored it since.
    target.set_state("shot/f.0.dpx", "raw")
    again = run(source.backing / "shot", target.backing / "shot", thorough=True)
    files = [o for o in again if o.source.endswith((".dpx", ".bin", ".txt"))]
    assert {outcome.result for outcome in files} == {"present"}
    assert {outcome.size for outcome in again} == {0}


def test_what_differs_is_replaced_only_when_told_to(pair: tuple[User, User]) -> None:
    source, target = pair
    target.mkdir("shot")
    target.write("shot/f.0.dpx", noise())
    outcomes = run(source.backing / "shot", target.backing / "shot")
    (failed,) = [outcome for outcome in outcomes if outcome.result == "failed"]
    assert "exists and differs" in failed.notes[0]
    assert target.read("shot/f.0.dpx") == noise()
    handle = target.open("shot/f.0.dpx", os.O_RDWR)
    outcomes = run(source.backing / "shot", target.backing / "shot", overwrite=True)
    (failed,) = [outcome for outcome in outcomes if outcome.result == "failed"]
    assert failed.notes == ("the destination is open for writing",)
    handle.release()
    run(source.backing / "shot", target.backing / "shot", overwrite=True)
    assert target.read("shot/f.0.dpx") == dpx(0)


def test_same_size_and_time_but_other_bytes_are_not_taken_for_a_copy_by_a_move(
    pair: tuple[User, User],
) -> None:
    source, target = pair
    run(source.backing / "shot/f.2.dpx", target.backing / "f.2.dpx")
    path = target.backing / "f.2.dpx"
    st = path.stat()
    with open(path, "r+b") as file:
        file.seek(5000)
        file.write(b"rot")
    os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))
    outcomes = run(source.backing / "shot/f.2.dpx", path, move=True)
    assert results(outcomes) == {"failed"}
    assert source.read("shot/f.2.dpx") == dpx(2)


def test_a_move_leaves_nothing_behind(pair: tuple[User, User]) -> None:
    source, target = pair
    before = everything(source.backing)
    outcomes = run(source.backing / "shot", target.backing / "shot", move=True)
    assert results(outcomes) == {"moved"}
    assert everything(source.backing) == {}
    assert everything(target.backing) == before


def test_within_a_volume_a_move_is_a_rename(pair: tuple[User, User]) -> None:
    source, _ = pair
    inode = (source.backing / "shot/f.0.dpx").stat().st_ino
    (outcome,) = run(source.backing / "shot", source.backing / "take", move=True)
    assert outcome.result == "moved"
    assert (source.backing / "take/f.0.dpx").stat().st_ino == inode
    source.write("other", b"here")
    (outcome,) = run(source.backing / "take/f.0.dpx", source.backing / "other", move=True)
    assert outcome.result == "failed"
    assert "exists" in outcome.notes[0]
    assert source.read("other") == b"here"


def test_a_source_in_use_is_left_alone(pair: tuple[User, User]) -> None:
    source, target = pair
    handle = source.open("shot/f.2.dpx", os.O_RDWR)
    (outcome,) = run(source.backing / "shot/f.2.dpx", target.backing / "f", move=True)
    assert outcome.result == "failed"
    assert outcome.notes == ("it is open for writing",)
    assert not (target.backing / "f").exists()
    handle.release()
    (outcome,) = run(source.backing / "shot/f.2.dpx", target.backing / "f", move=True)
    assert outcome.result == "moved"
    assert not (source.backing / "shot/f.2.dpx").exists()


@pytest.mark.parametrize("changes", [1, 5])
def test_a_source_that_changes_meanwhile_is_copied_anew(
    pair: tuple[User, User], monkeypatch: pytest.MonkeyPatch, changes: int
) -> None:
    source, target = pair
    limiter = Limiter(1 << 40)
    real = limiter.acquire
    left = iter(range(changes))

    def acquire(*args: object) -> None:
        # As its own daemon might, while the copy waits.
        if (number := next(left, None)) is not None:
            source.set_state("shot/f.2.dpx", "raw" if number % 2 else "compressed")
        real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(limiter, "acquire", acquire)
    outcomes: list[Outcome] = []
    places = (
        locate(str(source.backing / "shot/f.2.dpx")),
        locate(str(target.backing / "f.dpx")),
    )
    Transfer(*places, Options(limiter, move=True, report=outcomes.append)).run()
    if changes == 1:
        assert [outcome.result for outcome in outcomes] == ["moved"]
        assert target.state("f.dpx") == ("compressed", "")
        assert target.read("f.dpx") == dpx(2)
    else:
        assert outcomes[0].notes == ("it changed while it was copied",)
        assert source.read("shot/f.2.dpx") == dpx(2)
        assert not (target.backing / "f.dpx").exists()


def test_a_source_written_to_after_its_copy_is_kept(
    pair: tuple[User, User], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = pair
    real = backing.fsync

    def fsync(fd: int) -> None:
        real(fd)
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            source.write("shot/f.2.dpx", dpx(7))

    monkeypatch.setattr(backing, "fsync", fsync)
    (outcome,) = run(source.backing / "shot/f.2.dpx", target.backing / "f", move=True)
    assert outcome.result == "failed"
    assert "kept" in outcome.notes[0]
    assert source.read("shot/f.2.dpx") == dpx(7)
    assert target.read("f") == dpx(2)


def test_hard_links_and_holes(pair: tuple[User, User]) -> None:
    source, target = pair
    source.link("shot/f.2.dpx", "twin")
    (outcome,) = run(source.backing / "twin", target.backing / "twin")
    assert outcome.notes == ("has 2 names; copied as a file of its own",)
    sparse = source.backing / "sparse"
    with open(sparse, "wb") as file:
        file.truncate(64 << 20)
        file.seek(40 << 20)
        file.write(b"island")
        file.seek((64 << 20) - 1)
        file.write(b"\0")
    run(sparse, target.backing / "sparse")
    copy = target.backing / "sparse"
    assert copy.stat().st_size == 64 << 20
    assert copy.stat().st_blocks * 512 < 16 << 20
    assert copy.read_bytes() == sparse.read_bytes()


def test_outside_volumes_bytes_are_just_bytes(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.mkdir()
    target.mkdir()
    (source / "frame.dpx").write_bytes(container())
    (source / "damaged").write_bytes(container()[:100])
    os.utime(source / "frame.dpx", ns=(1, 10**18 + 7))
    outcomes = run(source, target / "copy")
    assert results(outcomes) == {"copied"}
    assert everything(target / "copy") == everything(source)
    assert not [name for name in os.listdir(target / "copy") if name.startswith(".")]


def test_outside_volumes_what_cannot_come_along_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.mkdir(0o751)
    file = source / "file"
    file.write_bytes(b"x")
    file.chmod(0o4755)
    os.setxattr(file, "user.note", b"1")
    os.setxattr(file, "user.other", b"2")
    os.utime(file, ns=(5, 10**18 + 5))
    real = backing.set_xattr

    def set_xattr(fd: int, name: bytes, value: bytes) -> None:
        if name == b"user.note":
            fail_with(errno.ENOTSUP)()
        real(fd, name, value)

    monkeypatch.setattr(backing, "set_xattr", set_xattr)
    monkeypatch.setattr(backing, "chown", lambda *_: fail_with(errno.EPERM)())
    if os.geteuid() == 0:
        os.chown(file, 1234, 4321)
        os.chown(source, 1234, 4321)
        file.chmod(0o4755)
    outcomes = run(source, target)
    assert results(outcomes) == {"copied"}
    notes = "; ".join(note for outcome in outcomes for note in outcome.notes)
    assert "user.note (" in notes
    copied = target / "file"
    assert copied.stat().st_mtime_ns == 10**18 + 5
    assert os.getxattr(copied, "user.other") == b"2"
    assert stat.S_IMODE(target.stat().st_mode) == 0o751
    if os.geteuid() == 0:
        assert notes.count("owner and group not carried over") == 2
        assert stat.S_IMODE(copied.stat().st_mode) == 0o755


def test_a_damaged_source_is_not_passed_on_as_good(pair: tuple[User, User]) -> None:
    source, target = pair
    path = source.backing / "shot/f.0.dpx"
    os.truncate(path, 100)
    with open(path, "r+b") as file:
        file.seek(40)
        file.write(b"\xff")
    (outcome,) = run(path, target.backing / "f", move=True)
    assert outcome.result == "failed"
    assert "damaged" in outcome.notes[0]
    assert not (target.backing / "f").exists()
    os.unlink(path)


@pytest.mark.parametrize("move", [False, True])
def test_a_source_with_a_flipped_bit_is_not_passed_on_as_good(
    pair: tuple[User, User], move: bool
) -> None:
    source, target = pair
    path = source.backing / "shot/f.0.dpx"
    sound = path.read_bytes()
    middle = len(sound) // 2
    with open(path, "r+b") as file:
        file.seek(middle)
        file.write(bytes([sound[middle] ^ 1]))
    (outcome,) = run(path, target.backing / "f", move=move)
    assert outcome.result == "failed"
    assert "its checksum does not hold" in outcome.notes[0]
    assert path.exists()
    assert not (target.backing / "f").exists()
    path.write_bytes(sound)


def test_one_place_by_two_names_is_refused(pair: tuple[User, User], tmp_path: Path) -> None:
    source, _ = pair
    shot = source.backing / "shot"
    link = tmp_path / "link"
    link.symlink_to(shot)
    for a, b in [
        (shot, shot),
        (shot, link),
        (link, shot),
        (shot / "f.0.dpx", link / "f.0.dpx"),
        (shot, shot / "inner" / "x"),
        (source.backing, shot / "x"),
    ]:
        with pytest.raises(AliasError):
            run(a, b)
    os.link(shot / "f.0.dpx", source.backing / "twin")
    with pytest.raises(AliasError):
        run(shot / "f.0.dpx", source.backing / "twin", overwrite=True, move=True)
    assert source.read("shot/f.0.dpx") == dpx(0)
    for bad in [source.backing / ".pixfs", source.backing / ".pixfs/tmp"]:
        with pytest.raises(TargetError, match="belongs to the volume"):
            run(shot, bad / "x")
    with pytest.raises(TargetError, match="whole volume"):
        run(source.backing, pair[1].backing / "x", move=True)
    with pytest.raises(TargetError, match="not mounted"):
        run(shot, tmp_path / "plain")


def test_an_interrupted_copy_goes_on_where_it_was(
    pair: tuple[User, User], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = pair
    data = noise(9 << 20)
    source.write("long.bin", data)
    limiter = Limiter(1 << 40)
    real = limiter.acquire
    calls = iter(range(100))

    def acquire(*args: object) -> None:
        if next(calls) == 5:
            raise KeyboardInterrupt
        real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(limiter, "acquire", acquire)
    places = locate(str(source.backing / "long.bin")), locate(str(target.backing / "long.bin"))
    with pytest.raises(KeyboardInterrupt):
        Transfer(*places, Options(limiter)).run()
    assert not (target.backing / "long.bin").exists()
    assert [p for p in check(target.backing) if "left by a transfer" in p]
    outcomes: list[Outcome] = []
    Transfer(*places, Options(Limiter(), report=outcomes.append)).run()
    assert outcomes[0].notes == (f"went on from byte {5 << 20}",)
    assert target.read("long.bin") == data


def test_a_full_destination_gets_its_space_back(
    pair: tuple[User, User], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = pair
    source.write("long.bin", noise(9 << 20))
    real = backing.pwrite_all

    def pwrite_all(fd: int, buf: memoryview, offset: int) -> None:
        if offset:
            fail_with(errno.ENOSPC)()
        real(fd, buf, offset)

    monkeypatch.setattr(backing, "pwrite_all", pwrite_all)
    (outcome,) = run(source.backing / "long.bin", target.backing / "long.bin", move=True)
    assert outcome.notes == ("there is no space for it at the destination",)
    assert os.listdir(target.backing / ".pixfs" / "incoming") == []
    assert source.read("long.bin") == noise(9 << 20)


def test_what_was_left_of_another_source_is_not_gone_on_with(
    pair: tuple[User, User],
) -> None:
    source, target = pair
    from pixfs.transfer.partial import Partial, incoming, key_of
    from pixfs.volume.attributes import Signature

    path = source.backing / "shot/f.2.dpx"
    place = locate(str(target.backing / "f"))
    with incoming(str(target.backing)) as directory:
        partial = Partial.take_up(directory, key_of(Signature.of(path.stat()), place))
        partial.write(b"not what the source holds")
        partial.close()
    (outcome,) = run(path, target.backing / "f")
    assert (outcome.result, outcome.notes) == ("copied", ())
    assert target.read("f") == dpx(2)


def whole(user: User) -> dict[str, bytes]:
    """Logical bytes of the frames that are there."""
    return {path: user.read(path) for path in CONTENTS if (user.backing / path).exists()}


@pytest.mark.parametrize("move", [False, True])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_an_error_anywhere_loses_nothing(volumes: Volumes, code: int, move: bool) -> None:
    at = 0
    while True:
        at += 7
        source, target = volumes.make(f"s{at}-{code}"), volumes.make(f"t{at}-{code}")
        for path, data in list(CONTENTS.items())[:2]:
            if at == 7:
                source.give_back(source.node(b""))
            if not (source.backing / "shot").exists():
                source.mkdir("shot")
            source.write(path, data)
        faults = Faults(at, fail_with(code))
        with pytest.MonkeyPatch.context() as patch:
            faults.install(patch)
            with pytest.MonkeyPatch.context():
                _attempt(source, target, move=move)
        merged = whole(source) | whole(target)
        assert merged == dict(list(CONTENTS.items())[:2]), (at, faults.met)
        _attempt(source, target, move=move)
        assert whole(target) == dict(list(CONTENTS.items())[:2]), (at, faults.met)
        assert move == (not (source.backing / "shot/f.0.dpx").exists())
        if faults.met is None:
            return


def _attempt(source: User, target: User, *, move: bool) -> None:
    """A transfer that may fail as a whole or in parts."""
    if not (source.backing / "shot").exists():
        return
    options = Options(Limiter(), move=move)
    places = locate(str(source.backing / "shot")), locate(str(target.backing / "shot"))
    with contextlib.suppress(OSError):
        Transfer(*places, options).run()


@pytest.mark.slow
def test_killed_anywhere_a_move_loses_nothing_and_goes_on(volumes: Volumes) -> None:
    at = 0
    while True:
        at += 5
        source, target = volumes.make(f"s{at}"), volumes.make(f"t{at}")
        source.mkdir("shot")
        for path, data in list(CONTENTS.items())[:2]:
            source.write(path, data)

        def work(at: int = at, source: User = source, target: User = target) -> int:
            faults = Faults(at, lambda: os.kill(os.getpid(), signal.SIGKILL))
            with pytest.MonkeyPatch.context() as patch:
                faults.install(patch)
                _attempt(source, target, move=True)
            return 0

        status = in_child(work)
        assert status in (0, -signal.SIGKILL)
        assert whole(source) | whole(target) == dict(list(CONTENTS.items())[:2]), at
        _attempt(source, target, move=True)
        assert whole(target) == dict(list(CONTENTS.items())[:2]), at
        assert whole(source) == {}
        if status == 0:
            return


def test_the_strictest_limit_wins(tmp_path: Path) -> None:
    limits = FollowedLimits(1000, [(str(tmp_path), "read")])
    # No mount answers there, so only the own limit counts.
    assert limits.strictest() == 1000
    with limits as limiter:
        assert limiter.limit == 1000
    assert FollowedLimits(None, []).strictest() is None
