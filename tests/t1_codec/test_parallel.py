"""Work shared among threads: order, errors, and that nothing runs on."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec import decompress, encode
from codec.parallel import spread
from codec.synthetic import dpx_frame
from codec.workspace import workspace

if TYPE_CHECKING:
    from numpy.typing import NDArray


@settings(max_examples=50)
@given(threads=st.integers(1, 6), count=st.integers(0, 40))
def test_results_stand_in_order(threads: int, count: int) -> None:
    before = threading.active_count()
    assert spread(threads, lambda x: x * x, range(count)) == [x * x for x in range(count)]
    assert threading.active_count() == before


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_the_first_failure_is_raised_and_ends_the_work(threads: int) -> None:
    begun: list[int] = []

    def work(x: int) -> int:
        begun.append(x)
        if x >= 5:
            raise KeyError(x)
        return x

    before = threading.active_count()
    with pytest.raises(KeyError) as caught:
        spread(threads, work, range(1000))
    assert caught.value.args == (5,)
    assert len(begun) < 6 + threads
    assert threading.active_count() == before


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("is_frame", [True, False], ids=["frame", "verbatim"])
def test_a_container_is_put_into_the_memory_that_is_given(threads: int, is_frame: bool) -> None:
    """Whatever is in it."""
    data = dpx_frame(1024, 600) if is_frame else random.Random(1).randbytes(100_000)
    given: list[NDArray[np.uint8]] = []

    def memory(size: int) -> NDArray[np.uint8]:
        given.append(np.full(size, 0xA5, np.uint8))
        return given[-1]

    encoded = encode(data, threads=threads, memory=memory)
    assert bytes(encoded.container) == bytes(encode(data).container)
    (room,) = given
    assert np.shares_memory(room, np.frombuffer(encoded.container, np.uint8))


@pytest.mark.parametrize("threads", [1, 2])
def test_an_encoding_can_be_broken_off_between_pieces(threads: int) -> None:
    pieces: list[int] = []

    def enough() -> None:
        if pieces:
            raise InterruptedError
        pieces.append(1)

    frame = dpx_frame(1024, 1024)
    with pytest.raises(InterruptedError):
        encode(frame, threads=threads, level="fast", before_piece=enough)
    pieces.clear()
    whole = encode(frame, threads=threads, level="fast", before_piece=lambda: pieces.append(1))
    assert decompress(whole.container) == frame
    assert len(pieces) > 1


def test_two_threads_work_at_once() -> None:
    both = threading.Barrier(2, timeout=60)
    names = spread(2, lambda _: (both.wait(), threading.current_thread().name)[1], range(2))
    assert len(set(names)) == 2


def test_a_workspace_is_one_callers_at_a_time() -> None:
    with workspace(1, 2, 8) as first, workspace(1, 2, 8) as second:
        assert first is not second
    with workspace(1, 2, 8) as again:
        assert again is first or again is second
    with workspace(1, 2, 9) as other:
        assert other.planes.shape[:2] == (1, 2)
        assert other.shape == (1, 2, 9)
