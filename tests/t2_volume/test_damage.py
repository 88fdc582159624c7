"""A damaged container gives the exact bytes or EIO, never others."""

from __future__ import annotations

import errno
import os
import random
from typing import TYPE_CHECKING

import pytest

import codec
from tests.t2_volume.frames import container, dpx
from tests.t2_volume.user import read_all

if TYPE_CHECKING:
    from tests.checklogs import ExpectLogs
    from tests.t2_volume.conftest import Volumes
    from tests.t2_volume.user import User


def flip(data: bytes, bit: int) -> bytes:
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def read_or_eio(user: User, path: str) -> bytes | None:
    try:
        return user.read(path)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return None


def put(user: User, path: str, stored: bytes) -> None:
    """Lays a file on the backing behind the volume's back, with an inode of its own."""
    (user.backing / "new").write_bytes(stored)
    (user.backing / "new").rename(user.backing / path)


def test_every_bit_of_the_header(
    volumes: Volumes, expect_logs: ExpectLogs, caplog: pytest.LogCaptureFixture
) -> None:
    expect_logs("cannot be read")
    user = volumes.make()
    for bit in range(codec.HEAD_SIZE * 8):
        put(user, "a.dpx", flip(container(), bit))
        assert read_or_eio(user, "a.dpx") is None, f"bit {bit}"
        state, reason = user.state("a.dpx")
        assert state == "error"
        assert reason
        assert user.control("a.dpx", "verify") != "ok"
    put(user, "a.dpx", container())
    assert user.read("a.dpx") == dpx()


def test_sampled_bits_elsewhere(volumes: Volumes, expect_logs: ExpectLogs) -> None:
    expect_logs("damaged|cannot be read")
    user = volumes.make()
    chosen = random.Random(7).sample(range(codec.HEAD_SIZE * 8, len(container()) * 8), 600)
    for bit in chosen:
        put(user, "a.dpx", flip(container(), bit))
        assert read_or_eio(user, "a.dpx") is None, f"bit {bit}"
        assert user.control("a.dpx", "verify") != "ok", f"bit {bit}"
    put(user, "a.dpx", container())


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 63, 64, 100, 5000, len(container()) - 1])
def test_cut_off_container(volumes: Volumes, kept: int, expect_logs: ExpectLogs) -> None:
    user = volumes.make()
    put(user, "a.dpx", container()[:kept])
    if kept < 8:
        # Too short to be told from a user's own few bytes.
        assert user.read("a.dpx") == container()[:kept]
        return
    expect_logs("damaged|cannot be read")
    volumes.expect_problems(user)
    assert read_or_eio(user, "a.dpx") is None


def test_one_damaged_tile_leaves_the_others_readable(
    volumes: Volumes, expect_logs: ExpectLogs
) -> None:
    expect_logs("'a.dpx' is damaged: tile 1 .rows 585-1023.: its checksum does not hold")
    user = volumes.make(level="fast")
    frame = dpx(0, 1024, 1024)
    user.write("a.dpx", frame)
    user.compress("a.dpx")
    path = user.backing / "a.dpx"
    reader = codec.Reader(path.read_bytes())
    tiles = [index for index in range(reader.blocks) if reader.is_tile(index)]
    start, end = reader.block_range(tiles[1])
    payload = reader.stored_payloads()[tiles[1]]
    at = path.read_bytes().index(bytes(payload)) + len(payload) // 2
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 0x10]))
    volumes.expect_problems(user)
    handle = user.open("a.dpx")
    assert bytes(handle.read(0, start)) == frame[:start]
    assert bytes(handle.read(end, len(frame))) == frame[end:]
    for offset, size in ((start, 1), (end - 1, 1), (start - 5, 10), (0, len(frame))):
        with pytest.raises(OSError, match="Input/output") as raised:
            handle.read(offset, size)
        assert raised.value.errno == errno.EIO
        assert handle.read_cached(offset, size) is None
    handle.release()
    assert user.control("a.dpx", "verify").startswith("tile 1 (rows ")
    assert user.volume.stats()["eio"] == 4


def test_damage_is_not_hidden_by_writing(volumes: Volumes, expect_logs: ExpectLogs) -> None:
    expect_logs("damaged")
    user = volumes.make()
    stored = flip(container(), len(container()) * 8 - 9)
    put(user, "a.dpx", stored)
    volumes.expect_problems(user)
    handle = user.open("a.dpx", os.O_RDWR)
    for call in (
        lambda: handle.write(0, b"x"),
        lambda: handle.write(10**6, b"x"),
        lambda: handle.truncate(100),
        lambda: user.set_state("a.dpx", "raw"),
    ):
        with pytest.raises(OSError, match="Input/output"):
            call()
    assert user.stored("a.dpx") == stored
    handle.release()
    user.rename("a.dpx", "b.dpx")
    user.link("b.dpx", "c.dpx")
    assert user.stored("c.dpx") == stored


@pytest.mark.parametrize("bit", [0, 100, 511, len(container()) * 8 - 9])
def test_damaged_file_can_be_replaced_and_removed(
    user: User, bit: int, expect_logs: ExpectLogs
) -> None:
    expect_logs("damaged|cannot be read")
    put(user, "a.dpx", flip(container(), bit))
    assert read_or_eio(user, "a.dpx") is None
    user.write("a.dpx", b"new")
    assert user.read("a.dpx") == b"new"
    put(user, "b.dpx", flip(container(), bit))
    user.truncate("b.dpx", 0)
    assert user.read("b.dpx") == b""
    put(user, "c.dpx", flip(container(), bit))
    user.unlink("c.dpx")


def test_container_of_another_file_is_that_files_bytes(user: User) -> None:
    """Swapped or copied behind the volume's back: a container is what it says itself."""
    user.write("a.dpx", dpx(1))
    user.compress("a.dpx")
    put(user, "a.dpx", container(2))
    assert user.read("a.dpx") == dpx(2)
    assert user.control("a.dpx", "hash") == codec.Reader(container(2)).hash


def test_later_version_is_eio_and_says_so(volumes: Volumes, expect_logs: ExpectLogs) -> None:
    from codec.container import checksum

    expect_logs("version 2 is later")
    user = volumes.make()
    head = bytearray(container()[:64])
    head[8] = 2
    head[56:64] = checksum(bytes(head[:56]))
    put(user, "a.dpx", bytes(head) + container()[64:])
    volumes.expect_problems(user)
    assert read_or_eio(user, "a.dpx") is None
    assert "version 2" in user.state("a.dpx")[1]
    assert user.stat("a.dpx").size == len(container())


def test_reader_of_a_file_damaged_while_open(volumes: Volumes, expect_logs: ExpectLogs) -> None:
    expect_logs("damaged")
    user = volumes.make()
    user.write("a.dpx", dpx())
    user.compress("a.dpx")
    handle = user.open("a.dpx")
    with (user.backing / "a.dpx").open("r+b") as file:
        file.truncate(3000)
    volumes.expect_problems(user)
    with pytest.raises(OSError, match="Input/output"):
        read_all(handle)
    handle.release()
