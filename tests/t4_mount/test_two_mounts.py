"""Two mounts of one backing directory: what is done on one is soon seen on the other.

The kernel may answer from memory for a second (docs/semantics.md), so what is to be seen is
waited for, with patience; what must never be seen is looked for all the while.
"""

from __future__ import annotations

import dataclasses
import errno
import functools
import mmap
import os
import re
import threading
import time
from typing import TYPE_CHECKING

import pytest

from pixfs.volume import check
from tests.frames import frame
from tests.fuse_session import Mounted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.fuse

PATIENCE_S = 120.0
SHOT = "shot.1001.dpx"


@dataclasses.dataclass(frozen=True)
class Side:
    """One of the two mounts, and a directory in it that both see."""

    mount: Mounted
    path: Path


@pytest.fixture(scope="module")
def mounts(
    tmp_path_factory: pytest.TempPathFactory, warm_kernels: None
) -> Iterator[tuple[Mounted, Mounted]]:
    """Two daemons, one backing directory; they convert on demand."""
    first = Mounted(tmp_path_factory.mktemp("one"))
    second = Mounted(tmp_path_factory.mktemp("two"))
    second.backing = first.backing
    try:
        first.start("--manual")
        second.start("--manual")
        yield first, second
    finally:
        second.clean_up()
        first.clean_up()
    first.check_log()
    second.check_log()
    assert check(first.backing) == []


@pytest.fixture
def pair(mounts: tuple[Mounted, Mounted], request: pytest.FixtureRequest) -> tuple[Side, Side]:
    first, second = mounts
    name = re.sub(r"\W", "-", request.node.name)
    (first.path / name).mkdir()
    return Side(first, first.path / name), Side(second, second.path / name)


def eventually(seen: Callable[[], object], expected: object) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while (found := outcome(seen)) != expected:
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def outcome(call: Callable[[], object]) -> object:
    try:
        return call()
    except OSError as error:
        return error.errno


def convert(side: Side, state: str, name: str = SHOT) -> None:
    """Converts; waits for the other daemon to hear of a close it has not heard of yet."""
    ask = functools.partial(os.setxattr, side.path / name, "user.pixfs.state", state.encode())
    deadline = time.monotonic() + PATIENCE_S
    while (refused := outcome(ask)) is not None:
        assert refused == errno.EBUSY
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_conversions_are_not_noticed_by_the_other_mount(pair: tuple[Side, Side]) -> None:
    first, second = pair
    here, there = first.path / SHOT, second.path / SHOT
    here.write_bytes(frame())
    with open(there, "rb") as reader:
        for state in ("compressed", "raw", "compressed"):
            convert(first, state)
            # At once, whatever the kernel still has in memory.
            assert there.read_bytes() == frame()
            assert there.stat().st_size == len(frame())
        reader.seek(0)
        assert reader.read() == frame()
    eventually(lambda: second.mount.state(there), "compressed")
    eventually(lambda: there.stat().st_nlink, 1)
    os.link(there, second.path / "twin.dpx")
    eventually(lambda: (first.path / "twin.dpx").read_bytes(), frame())


def test_names_changed_on_the_other_mount(pair: tuple[Side, Side]) -> None:
    first, second = pair
    for name in ("renamed", "removed", "replaced", "new"):
        (first.path / name).write_bytes(name.encode())
        assert (second.path / name).read_bytes() == name.encode()
    os.rename(first.path / "renamed", first.path / "renamed-to")
    os.unlink(first.path / "removed")
    os.rename(first.path / "new", first.path / "replaced")
    eventually((second.path / "renamed").read_bytes, errno.ENOENT)
    eventually((second.path / "renamed-to").read_bytes, b"renamed")
    eventually((second.path / "removed").read_bytes, errno.ENOENT)
    eventually((second.path / "replaced").read_bytes, b"new")
    assert sorted(os.listdir(second.path)) == ["renamed-to", "replaced"]


def test_a_replaced_file_is_never_the_wrong_one(pair: tuple[Side, Side]) -> None:
    """Opening a name gives the file before or the file after, not an error and no mixture."""
    first, second = pair
    versions = [bytes([65 + number]) * 70_000 for number in range(8)]
    target = second.path / "file"
    (first.path / "file").write_bytes(versions[0])
    assert target.read_bytes() == versions[0]
    for version in versions[1:]:
        (first.path / "next").write_bytes(version)
        os.rename(first.path / "next", first.path / "file")
        assert target.read_bytes() in versions
    eventually(target.read_bytes, versions[-1])


@pytest.mark.parametrize("stored", ["raw", "compressed"])
def test_changes_in_place_reach_pages_and_attributes(pair: tuple[Side, Side], stored: str) -> None:
    first, second = pair
    here, there = first.path / SHOT, second.path / SHOT
    here.write_bytes(frame())
    convert(first, stored)
    assert there.read_bytes() == frame()
    os.chmod(here, 0o600)
    os.setxattr(here, "user.note", b"graded")
    with open(here, "r+b") as file:
        file.seek(100_000)
        file.write(b"painted")
    expected = frame()[:100_000] + b"painted" + frame()[100_007:]
    # An opening asks the daemon, which knows that the bytes are not those of the last one.
    eventually(there.read_bytes, expected)
    eventually(lambda: there.stat().st_mode & 0o777, 0o600)
    assert os.getxattr(there, "user.note") == b"graded"
    with open(there, "r+b") as file, mmap.mmap(file.fileno(), 0) as pages:
        assert pages[:] == expected
        pages[:4] = b"mmap"
        pages.flush()
    eventually(here.read_bytes, b"mmap" + expected[4:])


def test_a_reader_sees_a_file_emptied_and_written_on_the_other_mount(
    pair: tuple[Side, Side],
) -> None:
    first, second = pair
    (first.path / SHOT).write_bytes(frame())
    convert(first, "compressed")
    with open(second.path / SHOT, "rb") as reader:
        assert reader.read(4096) == frame()[:4096]
        (first.path / SHOT).write_bytes(b"short")

        def read() -> bytes:
            reader.seek(0)
            return reader.read()

        eventually(read, b"short")


def test_writers_on_both_mounts_while_both_convert(pair: tuple[Side, Side]) -> None:
    """Each mount paints its own half; whoever comes too late is told so and tries again."""
    (pair[0].path / SHOT).write_bytes(frame())
    half = len(frame()) // 2
    rounds = 12
    failures: list[BaseException] = []

    def work(number: int) -> None:
        path = pair[number].path / SHOT
        try:
            for round_ in range(rounds):
                paint(path, number * half, bytes([round_ + 1]) * 1000)
                outcome(lambda: os.setxattr(path, "user.pixfs.state", b"compressed"))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    expected = bytearray(frame())
    for number in range(2):
        expected[number * half : number * half + 1000] = bytes([rounds]) * 1000
    for side in pair:
        eventually((side.path / SHOT).read_bytes, bytes(expected))


def paint(path: Path, offset: int, data: bytes) -> None:
    """Writes and makes durable; tries again when the file was swapped in between (ESTALE), or
    is being swapped (EBUSY)."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            fd = os.open(path, os.O_WRONLY)
            try:
                assert os.pwrite(fd, data, offset) == len(data)
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            if error.errno not in (errno.ESTALE, errno.EBUSY) or time.monotonic() > deadline:
                raise
        else:
            return


def test_names_made_on_both_at_once_are_one_file_each(pair: tuple[Side, Side]) -> None:
    """Whoever comes too late to make a file opens the one that the other mount has made."""
    names = [f"{number}.dat" for number in range(40)]
    both = threading.Barrier(2)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for name in names:
                both.wait()
                fd = os.open(pair[number].path / name, os.O_WRONLY | os.O_CREAT, 0o644)
                try:
                    os.pwrite(fd, b"x", number)
                finally:
                    os.close(fd)
        except BaseException as error:
            both.abort()
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for side in pair:
        for name in names:
            eventually((side.path / name).read_bytes, b"xx")


def test_a_mount_that_is_killed_leaves_the_other_working(pair: tuple[Side, Side]) -> None:
    first, second = pair
    (first.path / SHOT).write_bytes(frame())
    convert(second, "compressed")
    second.mount.kill()
    assert (first.path / SHOT).read_bytes() == frame()
    convert(first, "raw")
    second.mount.start("--manual")
    assert (second.path / SHOT).read_bytes() == frame()
    convert(second, "compressed")
    assert (first.path / SHOT).read_bytes() == frame()
