"""Decoded blocks stand outside the heap."""

from __future__ import annotations

import mmap
import weakref
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pixfs.volume.contents import ContainerContent
from pixfs.volume.pages import Lender, own_pages
from tests.t2_volume.frames import dpx

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tests.t2_volume.user import User


def mapping_of(room: NDArray[np.uint8]) -> mmap.mmap:
    held: object = room
    while isinstance(held, np.ndarray):
        held = held.base
    assert isinstance(held, memoryview)
    assert isinstance(held.obj, mmap.mmap)
    return held.obj


@pytest.mark.parametrize("size", [64 << 10, (1 << 20) + 5])
def test_pages_go_with_the_last_who_refers_to_them(size: int) -> None:
    room = own_pages(size)
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
    assert own_pages((64 << 10) - 1) is None


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


def test_conversions_use_the_memory_of_those_before(user: User) -> None:
    """Also those that fail half way; no file gets another's bytes."""
    frames = [dpx(seed, width=256, height=128) for seed in range(4)]
    for number, frame in enumerate(frames):
        user.write(f"{number}.dpx", frame)
        user.set_state(f"{number}.dpx", "compressed")
    assert [user.read(f"{number}.dpx") for number in range(4)] == frames
