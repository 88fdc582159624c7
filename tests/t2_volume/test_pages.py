"""Decoded blocks stand outside the heap."""

from __future__ import annotations

import mmap
import weakref
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pixfs.volume.contents import ContainerContent
from pixfs.volume.pages import BlockMemory, Lender
from tests.t2_volume.frames import dpx
from tests.t2_volume.user import read_all

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pixfs.volume.attributes import Buffer
    from tests.t2_volume.conftest import Volumes
    from tests.t2_volume.user import User


def mapping_of(room: NDArray[np.uint8] | Buffer) -> mmap.mmap:
    held: object = room
    while isinstance(held, np.ndarray | memoryview):
        held = held.base if isinstance(held, np.ndarray) else held.obj
    assert isinstance(held, mmap.mmap)
    return held


@pytest.mark.parametrize("size", [64 << 10, (1 << 20) + 5])
def test_pages_go_with_the_last_who_refers_to_them(size: int) -> None:
    room = BlockMemory().room(size)
    assert room is not None
    room[:] = 7
    assert bytes(room) == b"\x07" * size
    assert room.ctypes.data % mmap.PAGESIZE == 0
    pages, view = weakref.ref(mapping_of(room)), room[:9].data
    del room
    assert bytes(view) == b"\x07" * 9
    del view
    assert pages() is None


def test_what_is_small_stays_in_the_heap() -> None:
    assert BlockMemory().room((64 << 10) - 1) is None


def test_the_memory_of_blocks_that_had_to_go_is_used_again_unless_somebody_reads_it() -> None:
    memory = BlockMemory()
    sizes = (1 << 20, 1 << 20, 2 << 20)
    rooms = [room for size in sizes if (room := memory.room(size)) is not None]
    addresses = [made.ctypes.data for made in rooms]
    read = rooms[0].data[5:9]
    read[:] = b"read"
    blocks = [made.data for made in rooms]
    del rooms, room
    blocks.append(memoryview(b"in the heap"))
    memory.recycle(blocks)
    del blocks
    found = [room for size in sizes if (room := memory.room(size)) is not None]
    assert [room.ctypes.data in addresses for room in found] == [True, False, True]
    for room in found:
        room[:] = 0
    assert bytes(read) == b"read"


def test_what_was_recycled_is_given_back_when_no_block_wants_it() -> None:
    memory = BlockMemory()
    blocks, pages = [], []
    for _ in range(20):
        room = memory.room(1 << 20)
        assert room is not None
        pages.append(weakref.ref(mapping_of(room)))
        blocks.append(room.data)
    del room
    memory.recycle(blocks)
    del blocks
    assert sum(page() is not None for page in pages) == 16
    memory.trim()
    assert sum(page() is not None for page in pages) == 16
    memory.trim()
    assert sum(page() is not None for page in pages) == 0


def test_so_many_bytes_of_blocks_are_kept_however_large_each_is() -> None:
    """The latest: what came before is of other frames."""
    memory = BlockMemory()
    rooms = [room for _ in range(8) if (room := memory.room(3 << 20)) is not None]
    pages = [weakref.ref(mapping_of(room)) for room in rooms]
    memory.recycle([room.data for room in rooms])
    rooms.clear()
    assert [page() is not None for page in pages] == [False] * 3 + [True] * 5


def test_a_decoded_block_has_pages_of_its_own(user: User) -> None:
    user.write("a.dpx", dpx(width=256, height=128))
    user.set_state("a.dpx", "compressed")
    file = user.open("a.dpx").node.file
    assert file is not None
    with file.opened() as content:
        assert isinstance(content, ContainerContent)
        decoded = [content.block(index) for index in range(content.reader.blocks)]
    (tile,) = (block for block in decoded if len(block) >= 64 << 10)
    assert np.frombuffer(tile, np.uint8).ctypes.data % mmap.PAGESIZE == 0


def test_what_is_lent_is_lent_again() -> None:
    lender = Lender(2)
    with lender.lending() as loan:
        rooms = [loan.room(1000), loan.room(3 << 20)]
        assert [room.size for room in rooms] == [1000, 3 << 20]
        addresses = [room.ctypes.data for room in rooms]
        del rooms
    with lender.lending() as loan:
        # The smallest that is large enough.
        again = [loan.room(2 << 20), loan.room(1 << 20)]
        assert again[0].ctypes.data == addresses[0]
        assert again[1].ctypes.data == addresses[1]


def test_what_somebody_refers_to_is_not_lent_again() -> None:
    lender = Lender(2)
    with lender.lending() as loan:
        kept = loan.room(1000)[10:20]
        kept[:] = 7
    with lender.lending() as loan:
        loan.room(1000)[:] = 9
    assert kept.tolist() == [7] * 10


def test_only_so_many_are_kept_and_only_while_they_are_used() -> None:
    lender = Lender(1)
    with lender.lending() as loan:
        rooms = [weakref.ref(mapping_of(loan.room(size))) for size in (1000, 3 << 20, 1000)]
    assert [room() is not None for room in rooms] == [False, True, False]
    lender.trim()
    assert rooms[1]() is not None
    lender.trim()
    assert rooms[1]() is None


def test_pieces_are_joined_in_memory_that_is_used_again_unless_somebody_reads_it() -> None:
    memory = BlockMemory()
    first, second = bytes(range(256)) * 300, bytes(reversed(range(256))) * 300

    def joined(*pieces: bytes) -> Buffer:
        return memory.join([memoryview(piece) for piece in pieces])

    read = joined(first, second)
    place = np.frombuffer(read, np.uint8).ctypes.data
    other = np.frombuffer(joined(second, first), np.uint8)
    assert other.ctypes.data != place
    assert bytes(read) == first + second
    assert other.tobytes() == second + first
    del read
    again = joined(first[1:], second[:-1], first)
    assert np.frombuffer(again, np.uint8).ctypes.data == place
    assert bytes(again) == first[1:] + second[:-1] + first
    assert other.tobytes() == second + first


def test_what_is_in_one_piece_is_not_copied_and_little_is_joined_in_the_heap() -> None:
    piece = memoryview(bytes(100_000))
    assert BlockMemory().join([piece]) is piece
    assert BlockMemory().join([piece[:10], piece[:20]]) == bytes(30)


def test_memory_that_pieces_were_joined_in_is_given_back_when_nothing_is_joined() -> None:
    memory = BlockMemory()
    joined = memory.join([memoryview(bytes(100_000))] * 2)
    pages = weakref.ref(mapping_of(joined))
    del joined
    memory.trim()
    assert pages() is not None
    memory.trim()
    assert pages() is None


def test_conversions_use_the_memory_of_those_before(user: User) -> None:
    """Also those that fail half way; no file gets another's bytes."""
    frames = [dpx(seed, width=256, height=128) for seed in range(4)]
    for number, frame in enumerate(frames):
        user.write(f"{number}.dpx", frame)
        user.set_state(f"{number}.dpx", "compressed")
    assert [user.read(f"{number}.dpx") for number in range(4)] == frames


def test_frames_read_in_order_use_the_memory_of_those_before(volumes: Volumes) -> None:
    """And each has its own bytes, also for who still holds some of an earlier one."""
    frames = [dpx(seed, width=256, height=128) for seed in range(12)]
    user = volumes.make(cache_bytes=3 * len(frames[0]))
    for number, frame in enumerate(frames):
        user.write(f"shot.{number:04d}.dpx", frame)
        user.compress(f"shot.{number:04d}.dpx")
    held, addresses = [], set()
    for number, frame in enumerate(frames):
        handle = user.open(f"shot.{number:04d}.dpx")
        assert read_all(handle, 16_000) == frame
        piece = np.frombuffer(handle.read(60_000, 100), np.uint8)
        addresses.add(piece.ctypes.data)
        if number % 5 == 0:
            held.append((piece, frame[60_000:60_100]))
        del piece
        handle.release()
    assert len(addresses) < len(frames)
    for piece, expected in held:
        assert piece.tobytes() == expected
