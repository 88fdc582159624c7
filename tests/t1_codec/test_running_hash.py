"""The hash of a whole of which parts become known in any order, on any threads."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.parallel import spread
from codec.running_hash import RunningHash

if TYPE_CHECKING:
    import random


@settings(max_examples=60)
@given(
    cuts=st.lists(st.integers(0, 300), max_size=8),
    order=st.randoms(use_true_random=False),
    left_out=st.integers(0, 9),
)
def test_the_order_of_parts_does_not_matter(
    cuts: list[int], order: random.Random, left_out: int
) -> None:
    whole = bytes(i * 7 & 255 for i in range(300))
    bounds = sorted({0, 300, *cuts})
    parts = list(itertools.pairwise(bounds))
    order.shuffle(parts)
    running = RunningHash(whole)
    for start, stop in parts[left_out:]:
        running.known(start, stop)
        running.known(start, start)
    assert running.digest() == xxhash.xxh3_128_digest(whole)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_share_it(threads: int) -> None:
    whole = bytearray(1 << 20)
    running = RunningHash(whole)
    step = 1 << 12

    def make(start: int) -> None:
        whole[start : start + step] = bytes([start >> 12 & 255]) * step
        running.known(start, start + step)

    spread(threads, make, range(0, len(whole), step))
    assert running.digest() == xxhash.xxh3_128_digest(bytes(whole))


def test_a_part_that_comes_while_another_is_hashed_is_left_to_that_thread() -> None:
    entered, leave = threading.Event(), threading.Event()

    class Slow:
        def __init__(self) -> None:
            self.taken: list[bytes] = []

        def update(self, part: memoryview) -> None:
            self.taken.append(bytes(part))
            entered.set()
            assert leave.wait(60)

    running = RunningHash(b"abcdef")
    slow = Slow()
    running._hash = slow
    first = threading.Thread(target=running.known, args=(0, 2))
    first.start()
    assert entered.wait(60)
    running.known(4, 6)
    running.known(2, 4)
    assert slow.taken == [b"ab"]
    leave.set()
    first.join(60)
    assert slow.taken == [b"ab", b"cdef"]
