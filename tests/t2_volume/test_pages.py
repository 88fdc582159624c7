"""Decoded blocks stand outside the heap."""

from __future__ import annotations

import mmap
import weakref
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pixfs.volume.contents import ContainerContent
from pixfs.volume.pages import own_pages
from tests.t2_volume.frames import dpx

if TYPE_CHECKING:
    from tests.t2_volume.user import User


@pytest.mark.parametrize("size", [64 << 10, (1 << 20) + 5])
def test_pages_go_with_the_last_who_refers_to_them(size: int) -> None:
    room = own_pages(size)
    assert room is not None
    room[:] = 7
    assert bytes(room) == b"\x07" * size
    assert room.ctypes.data % mmap.PAGESIZE == 0
    assert isinstance(room.base, memoryview)
    pages, view = weakref.ref(room.base.obj), room[:9].data
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
