"""Bytes held against bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.kernels.equality import are_equal


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_equal_is_what_python_calls_equal(one: bytes, other: bytes) -> None:
    left, right = np.frombuffer(one, np.uint8), np.frombuffer(other, np.uint8)
    assert are_equal(left, right) == (one == other)
    assert are_equal(left, left.copy())


@pytest.mark.parametrize("at", [0, 1, 4095, 4096, 8191, 8192, 9999])
@pytest.mark.parametrize("bit", [1, 128])
def test_one_bit_anywhere_is_a_difference(at: int, bit: int) -> None:
    one = np.random.default_rng(5).integers(0, 256, 10_000).astype(np.uint8)
    other = one.copy()
    assert are_equal(one, other)
    other[at] ^= bit
    assert not are_equal(one, other)
