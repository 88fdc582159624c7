"""A container that grows by blocks which come in any order, from any threads."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.assembly import Assembly
from codec.parallel import spread

if TYPE_CHECKING:
    import random


def stored(start: int, stop: int) -> list[bytes]:
    """What a block is stored as here: parts of other lengths than its own."""
    return [b"", bytes([start & 255]) * (start % 5), bytes([stop & 255]) * (stop % 7)]


@settings(max_examples=60)
@given(
    cuts=st.lists(st.integers(1, 299), max_size=8),
    order=st.randoms(use_true_random=False),
    head=st.binary(max_size=20),
)
def test_blocks_stand_in_the_order_of_the_original(
    cuts: list[int], order: random.Random, head: bytes
) -> None:
    blocks = list(itertools.pairwise(sorted({0, 300, *cuts})))
    whole = b"".join(part for block in blocks for part in stored(*block))
    order.shuffle(blocks)
    assembly = Assembly(20, len(whole))
    for start, stop in blocks:
        assembly.put(start, stop, stored(start, stop))
    assert assembly.length == len(whole)
    container = assembly.finish(head)
    assert container == head + whole
    assert container.readonly


def test_a_part_may_be_changed_once_it_is_put() -> None:
    assembly = Assembly(0, 4)
    reused = bytearray(b"bb")
    assembly.put(1, 2, [memoryview(reused)])
    reused[:] = b"aa"
    assembly.put(0, 1, [memoryview(reused)])
    reused[:] = b"cc"
    assert assembly.finish(b"") == b"aabb"


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_share_it(threads: int) -> None:
    assembly = Assembly(1, 1 << 16)
    step = 1 << 8

    def put(start: int) -> None:
        assembly.put(start, start + step, [bytes([start >> 8])] * step)

    spread(threads, put, range(0, 1 << 16, step))
    assert assembly.finish(b"h") == b"h" + b"".join(bytes([i]) * step for i in range(256))


def test_a_block_that_comes_while_another_is_copied_is_left_to_that_thread() -> None:
    entered, leave = threading.Event(), threading.Event()

    class Slow(Assembly):
        def _append(self, stop: int, parts: list[bytes]) -> None:
            entered.set()
            assert leave.wait(60)
            super()._append(stop, parts)

    assembly = Slow(0, 3)
    first = threading.Thread(target=assembly.put, args=(0, 1, [b"a"]))
    first.start()
    assert entered.wait(60)
    assembly.put(2, 3, [b"c"])
    assembly.put(1, 2, [b"b"])
    assert assembly.length == 0
    leave.set()
    first.join(60)
    assert assembly.finish(b"") == b"abc"
