"""Failing, or being killed, at every call into the backing in turn.

After each: the file has its old or its new bytes, nobody was told otherwise, a new start clears
what was left, and the same operation then succeeds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import shutil
from typing import TYPE_CHECKING

import pytest

import codec
from pixfs.volume import check
from tests.t2_volume.conftest import POLICY
from tests.t2_volume.faults import Faults, fail_with, in_child
from tests.t2_volume.frames import container, dpx
from tests.t2_volume.user import User, read_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.checklogs import LogCheck
    from tests.t2_volume.conftest import Volumes

KILLED = 9
MANY = 500
FRAME = dpx()
CHANGED = FRAME[:3000] + b"changed" + FRAME[3007:]
MAGIC_HEAD = container()[:64] + FRAME[64:]


def compress(user: User) -> None:
    user.set_state("a.dpx", "compressed")


def restore(user: User) -> None:
    user.set_state("a.dpx", "raw")


def change(user: User) -> None:
    """Writes into the (compressed) file, and makes that durable."""
    handle = user.open("a.dpx", os.O_RDWR)
    try:
        assert handle.write(3000, b"changed") == 7
        handle.fsync(False)
    finally:
        handle.release()


def overwrite_head(user: User) -> None:
    """Makes a raw file begin like a container."""
    handle = user.open("a.dpx", os.O_RDWR)
    try:
        assert handle.write(0, container()[:64]) == 64
    finally:
        handle.release()


def compressed(user: User) -> None:
    user.write("a.dpx", FRAME)
    user.compress("a.dpx")


def compressed_and_linked(user: User) -> None:
    compressed(user)
    user.link("a.dpx", "b.dpx")


def raw(user: User) -> None:
    user.write("a.dpx", FRAME)


@dataclasses.dataclass(frozen=True)
class Case:
    """An operation, what stands before it, and the bytes there may be after it."""

    name: str
    prepare: Callable[[User], None]
    act: Callable[[User], None]
    new: bytes


CASES = [
    Case("compress", raw, compress, FRAME),
    Case("restore", compressed, restore, FRAME),
    Case("change", compressed, change, CHANGED),
    Case("wrap", raw, overwrite_head, MAGIC_HEAD),
    Case("restore-linked", compressed_and_linked, restore, FRAME),
]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@contextlib.contextmanager
def volume(backing: Path) -> Iterator[User]:
    user = User(backing, POLICY)
    user.volume.start()
    try:
        yield user
    finally:
        user.volume.close(drain=False)


def prepared(volumes: Volumes, case: Case) -> Path:
    """A backing directory with the case's starting point, to be copied for each fault."""
    backing = volumes.directory / "prepared"
    backing.mkdir()
    with volume(backing) as user:
        case.prepare(user)
    return backing


def fresh(source: Path, number: int) -> Path:
    """A copy with xattrs and hard links."""
    target = source.parent / f"fault-{number}"
    target.mkdir()
    for entry in source.iterdir():
        if entry.is_file():
            twins = [e for e in target.iterdir() if e.name != entry.name]
            if twins and entry.stat().st_nlink > 1:
                os.link(twins[0], target / entry.name)
            else:
                shutil.copy2(entry, target / entry.name)
    return target


def assert_sound(backing: Path, case: Case) -> None:
    """Old or new, and the operation works now."""
    with volume(backing) as user:
        assert user.read("a.dpx") in (FRAME, case.new)
        case.act(user)
        assert user.read("a.dpx") == case.new
        if "linked" in case.name:
            assert user.read("b.dpx") == case.new
            assert user.stat("a.dpx").nlink == 2
    assert check(backing) == []
    assert sorted(p.name for p in backing.iterdir() if p.name != ".pixfs") in (
        ["a.dpx"],
        ["a.dpx", "b.dpx"],
    )


@pytest.mark.slow
@each_case
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
def test_failing_at_every_call(
    volumes: Volumes,
    case: Case,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    log_check: LogCheck,
) -> None:
    source = prepared(volumes, case)
    met = set()
    descriptors = len(os.listdir("/proc/self/fd"))
    for number in range(1, MANY):
        backing = fresh(source, number)
        with volume(backing) as user, monkeypatch.context() as patch:
            # Somebody has the file open all the while.
            reader = user.open("a.dpx")
            faults = Faults(number, fail_with(code))
            faults.install(patch)
            succeeded = False
            try:
                case.act(user)
                succeeded = True
            except OSError as error:
                if error.errno not in (code, errno.EIO, errno.ENOTSUP, errno.ESTALE):
                    raise
            patch.undo()
            found = read_or_none(user)
            assert found in (FRAME, case.new, None)
            if succeeded and found is not None:
                assert found == case.new
            with contextlib.suppress(OSError):
                assert read_all(reader) in (FRAME, case.new)
            reader.release()
        assert len(os.listdir("/proc/self/fd")) == descriptors, f"call {number}: {faults.met}"
        if faults.met is None:
            break
        met.add(faults.met)
        assert_sound(backing, case)
        shutil.rmtree(backing)
    else:
        pytest.fail("the operation has no end")
    assert {"pwrite_all", "fsync", "chmod", "utimens"} <= met
    # Warnings are what is to be expected of failing storage.
    log_check.records.clear()


def read_or_none(user: User) -> bytes | None:
    """The bytes, or None where reading fails: only a rewrite in place may leave that."""
    try:
        return user.read("a.dpx")
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return None


@pytest.mark.slow
@each_case
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_every_call(
    volumes: Volumes, case: Case, after: bool, log_check: LogCheck
) -> None:
    source = prepared(volumes, case)
    killed = 0
    for number in range(1, MANY):
        backing = fresh(source, number)

        def die() -> None:
            os.kill(os.getpid(), KILLED)

        def work(number: int = number, backing: Path = backing) -> int:
            user = User(backing, POLICY)
            user.volume.start()
            with pytest.MonkeyPatch.context() as patch:
                faults = Faults(number, die, after=after)
                faults.install(patch)
                case.act(user)
            return 0 if faults.met is None else 71

        status = in_child(work)
        assert status in (0, -KILLED), f"call {number}: exit status {status}"
        # What stands on the backing is whole at once, without a volume to put it right,
        # but for a rewrite in place, which the next start completes.
        if "linked" not in case.name:
            stored = (backing / "a.dpx").read_bytes()
            if not codec.is_container_head(stored[:64]):
                assert stored in (FRAME, case.new), f"call {number}"
            elif codec.parse_header(stored[:64]).kind == "container":
                assert codec.decompress(stored) in (FRAME, case.new), f"call {number}"
        assert_sound(backing, case)
        shutil.rmtree(backing)
        if status == 0:
            break
        killed += 1
    else:
        pytest.fail("the operation has no end")
    assert killed > 20
    expected = "a rewrite that was cut off has been completed"
    unexpected = [record for record in log_check.records if expected not in record]
    assert unexpected == []
    log_check.records.clear()


def test_close_after_kill_loses_nothing(volumes: Volumes) -> None:
    """Once release has returned, the bytes are there whatever happens to the process."""
    backing = volumes.directory / "backing"
    backing.mkdir()

    def work() -> int:
        user = User(backing, POLICY)
        user.volume.start()
        user.write("a.dpx", FRAME)
        os.kill(os.getpid(), KILLED)
        return 0

    assert in_child(work) == -KILLED
    assert (backing / "a.dpx").read_bytes() == FRAME


def test_no_space_for_a_restore_leaves_the_container(
    volumes: Volumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pixfs.volume import backing

    user = volumes.make()
    compressed(user)
    stored = user.stored("a.dpx")
    handle = user.open("a.dpx", os.O_RDWR)
    with monkeypatch.context() as patch:
        patch.setattr(backing, "pwrite_all", lambda *args: fail_with(errno.ENOSPC)())
        with pytest.raises(OSError, match="No space left") as raised:
            handle.write(0, b"x")
    assert raised.value.errno == errno.ENOSPC
    assert user.stored("a.dpx") == stored
    assert read_all(handle) == FRAME
    assert handle.write(0, b"x") == 1
    handle.release()
