"""A user's file that begins like a container never lies bare on the backing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

import codec
from tests.t2_volume.frames import container, dpx
from tests.t2_volume.user import read_all

if TYPE_CHECKING:
    from tests.t2_volume.conftest import Volumes
    from tests.t2_volume.user import User

MAGIC = container()[:8]
WRAPPED = "unsupported: begins like a PixFS container"


def broken_magic() -> bytes:
    """A container whose magic lost one bit: its header's checksum still gives it away."""
    return bytes([container()[0] ^ 1]) + container()[1:]


def assert_wrapped(user: User, path: str) -> None:
    head = user.stored(path)[: codec.HEAD_SIZE]
    assert codec.parse_header(head).kind == "wrap"


@pytest.mark.parametrize("data", [container(), broken_magic(), MAGIC, MAGIC + b"something"])
def test_written_at_once(user: User, data: bytes) -> None:
    handle = user.open("a", os.O_RDWR | os.O_CREAT)
    assert handle.write(0, data) == len(data)
    assert_wrapped(user, "a")
    assert read_all(handle) == data
    assert user.stat("a").size == len(data)
    handle.release()
    assert user.read("a") == data
    assert user.stat("a").size == len(data)


@pytest.mark.parametrize("step", [1, 3, 7, 8, 63, 64])
def test_written_in_small_pieces(user: User, step: int) -> None:
    data = container()[:200]
    handle = user.open("a", os.O_RDWR | os.O_CREAT)
    for offset in range(0, len(data), step):
        handle.write(offset, data[offset : offset + step])
        assert not codec.is_container_head(user.stored("a")[:64]) or (
            codec.parse_header(user.stored("a")[:64]).kind == "wrap"
        )
        assert read_all(handle) == data[: offset + step]
    handle.release()
    assert_wrapped(user, "a")
    assert user.read("a") == data


def test_written_backwards(user: User) -> None:
    handle = user.open("a", os.O_RDWR | os.O_CREAT)
    handle.write(64, container()[64:])
    handle.write(0, container()[:64])
    assert read_all(handle) == container()
    handle.release()
    assert_wrapped(user, "a")


def test_hole_that_completes_a_head(user: User) -> None:
    """Seven bytes of the magic, then the eighth: each way a file can grow is looked at."""
    handle = user.open("a", os.O_RDWR | os.O_CREAT)
    handle.write(0, MAGIC[:7])
    handle.write(7, MAGIC[7:])
    handle.release()
    assert_wrapped(user, "a")
    assert user.read("a") == MAGIC


def test_head_of_an_existing_file_is_overwritten(user: User) -> None:
    user.write("a.dpx", dpx())
    node = user.node("a.dpx")
    before = user.volume.stat(node)
    handle = user.open("a.dpx", os.O_RDWR)
    reader = user.open("a.dpx")
    handle.write(0, container()[:64])
    expected = container()[:64] + dpx()[64:]
    assert read_all(reader) == expected == read_all(handle)
    assert_wrapped(user, "a.dpx")
    after = user.volume.stat(node)
    assert (after.size, after.mode, after.uid) == (before.size, before.mode, before.uid)
    handle.release()
    reader.release()
    user.give_back(node)
    assert user.read("a.dpx") == expected


def test_wrap_is_written_truncated_and_emptied(user: User) -> None:
    user.write("a", container())
    handle = user.open("a", os.O_RDWR)
    handle.write(100, b"changed")
    handle.truncate(150)
    expected = bytearray(container()[:150])
    expected[100:107] = b"changed"
    assert read_all(handle) == expected
    handle.truncate(300)
    assert read_all(handle) == expected.ljust(300, b"\0")
    handle.truncate(0)
    assert user.stored("a") == b""
    handle.write(0, b"plain")
    assert user.stored("a") == b"plain"
    handle.release()


def test_wrap_becomes_a_verbatim_container_and_back(volumes: Volumes) -> None:
    user = volumes.make(mode="on-close")
    user.write("a.pxf", container())
    assert user.volume.wait_idle(120)
    assert user.state("a.pxf") == ("verbatim", WRAPPED)
    assert codec.parse_header(user.stored("a.pxf")[:64]).kind == "container"
    assert user.read("a.pxf") == container()
    assert user.stat("a.pxf").size == len(container())
    handle = user.open("a.pxf", os.O_RDWR)
    handle.write(80, b"changed")
    assert_wrapped(user, "a.pxf")
    assert read_all(handle) == container()[:80] + b"changed" + container()[87:]
    handle.release()


def test_container_in_container_in_container(user: User) -> None:
    inner = codec.compress(container())
    user.write("a", inner)
    user.set_state("a", "compressed")
    assert user.read("a") == inner
    assert codec.decompress(codec.decompress(inner)) == dpx()


def test_wrap_seen_after_a_restart(volumes: Volumes) -> None:
    first = volumes.make()
    first.write("a", container())
    first.volume.close()
    again = volumes.make()
    assert again.stat("a").size == len(container())
    assert again.read("a") == container()
    assert again.state("a") == ("raw", "compressed on demand only")


def test_wrap_of_a_hard_linked_file_keeps_its_links(user: User) -> None:
    user.write("a", dpx())
    user.link("a", "b")
    handle = user.open("a", os.O_RDWR)
    handle.write(0, container()[:64])
    handle.release()
    expected = container()[:64] + dpx()[64:]
    assert user.read("a") == expected == user.read("b")
    assert user.stat("a").nlink == 2
    assert_wrapped(user, "b")


def test_hard_linked_container_is_restored_in_place(user: User) -> None:
    user.write("a.dpx", dpx())
    user.compress("a.dpx")
    user.link("a.dpx", "b.dpx")
    os.utime(user.backing / "a.dpx", ns=(5, 6))
    user.set_state("a.dpx", "raw")
    assert user.stored("a.dpx") == dpx() == user.stored("b.dpx")
    assert (user.backing / "a.dpx").stat().st_ino == (user.backing / "b.dpx").stat().st_ino
    assert (user.stat("b.dpx").nlink, user.stat("b.dpx").mtime_ns) == (2, 6)
