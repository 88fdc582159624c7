"""The deflate kernel against classic zlib, which it must equal to the bit."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.kernels.deflate import SPARE, deflate
from codec.kernels.deflate_blocks import DIFFERENT, FULL

if TYPE_CHECKING:
    from collections.abc import Iterator

LEVELS = range(1, 10)
NOTHING = np.empty(0, np.uint8)

# Other makes of zlib choose other matches, and say so in their version.
classic = pytest.mark.skipif(
    not all(c in ".0123456789" for c in zlib.ZLIB_RUNTIME_VERSION),
    reason=f"this Python's zlib is {zlib.ZLIB_RUNTIME_VERSION}, not the classic one",
)


def made(
    data: bytes, level: int, window_bits: int = 15, memory_level: int = 8, filtered: bool = False
) -> bytes:
    """What the kernel makes of ``data``."""
    room = len(data) + len(data) // 8 + 64
    out = np.empty(room + SPARE, np.uint8)
    source = np.frombuffer(data, np.uint8)
    n = deflate(source, level, window_bits, memory_level, filtered, NOTHING, out, room)
    assert n > 0
    return out[:n].tobytes()


def reference(
    data: bytes, level: int, window_bits: int = 15, memory_level: int = 8, filtered: bool = False
) -> bytes:
    """What zlib makes of ``data``."""
    strategy = zlib.Z_FILTERED if filtered else zlib.Z_DEFAULT_STRATEGY
    stream = zlib.compressobj(level, zlib.DEFLATED, -window_bits, memory_level, strategy)
    return stream.compress(data) + stream.flush()


def kinds(size: int) -> Iterator[tuple[str, bytes]]:
    """Data that lead zlib into each of its ways, ``size`` bytes each."""
    rng = np.random.default_rng(size)
    yield "zeros", bytes(size)
    yield "noise", rng.integers(0, 256, size, np.uint8).tobytes()
    yield "four values", rng.integers(0, 4, size).astype(np.uint8).tobytes()
    yield "rare ones", (rng.random(size) < 0.02).astype(np.uint8).tobytes()
    walk = np.cumsum(rng.normal(0, 3, size)).astype(np.int64).astype(np.uint8)
    yield "walk", walk.tobytes()
    yield "steep", rng.geometric(0.03, size).clip(0, 255).astype(np.uint8).tobytes()
    words = [rng.integers(0, 256, rng.integers(1, 60), np.uint8).tobytes() for _ in range(200)]
    order = rng.integers(0, len(words), size // 10 + 1)
    yield "words", b"".join(words[i] for i in order)[:size].ljust(size, b".")
    period = rng.integers(0, 256, max(size // 3, 1), np.uint8).tobytes()
    yield "period", (period * 4)[:size]
    patch = rng.integers(0, 256, 1000, np.uint8).tobytes() + bytes(1500)
    yield "patches", (patch * (size // len(patch) + 1))[:size]
    doubling = np.repeat(np.arange(24), np.minimum(1 << np.arange(24), size + 1))[:size]
    yield "doubling", rng.permutation(doubling).astype(np.uint8).tobytes().ljust(size, b"\0")


@classic
@pytest.mark.parametrize(
    "size", [0, 1, 2, 3, 4, 5, 300, 5000, 16382, 16383, 16384, 32767, 32768, 33025, 65275, 65536]
)
@pytest.mark.parametrize("level", LEVELS)
def test_it_is_zlib_to_the_bit(level: int, size: int) -> None:
    for name, data in kinds(size):
        assert made(data, level) == reference(data, level), name


@classic
@pytest.mark.slow
@pytest.mark.parametrize("size", [98_304, 131_072, 300_000])
@pytest.mark.parametrize("level", LEVELS)
def test_it_is_zlib_to_the_bit_over_many_windows(level: int, size: int) -> None:
    for name, data in kinds(size):
        assert made(data, level) == reference(data, level), name


@classic
@pytest.mark.parametrize("memory_level", [1, 5, 8, 9])
@pytest.mark.parametrize("window_bits", [9, 11, 15])
@pytest.mark.parametrize("filtered", [False, True])
def test_other_windows_and_memories(window_bits: int, memory_level: int, filtered: bool) -> None:
    for level in (1, 3, 4, 6, 9):
        for name, data in kinds(20_000):
            setting = (level, window_bits, memory_level, filtered)
            assert made(data, *setting) == reference(data, *setting), (name, level)


@classic
@given(
    st.lists(
        st.tuples(st.binary(min_size=1, max_size=40), st.integers(1, 30)), min_size=1, max_size=60
    ),
    st.sampled_from(LEVELS),
)
def test_any_bytes(parts: list[tuple[bytes, int]], level: int) -> None:
    data = b"".join(part * count for part, count in parts)
    assert made(data, level) == reference(data, level)


@pytest.mark.parametrize("level", LEVELS)
def test_what_it_makes_inflates(level: int) -> None:
    for name, data in kinds(70_000):
        assert zlib.decompress(made(data, level), -15) == data, name


@pytest.mark.parametrize("level", [1, 6])
def test_it_needs_exactly_the_room_it_says(level: int) -> None:
    for name, data in kinds(40_000):
        whole = made(data, level)
        source = np.frombuffer(data, np.uint8)
        guard = np.full(len(whole) + SPARE, 0xA5, np.uint8)
        assert deflate(source, level, 15, 8, False, NOTHING, guard, len(whole)) == len(whole), name
        short = np.empty(len(whole) - 1 + SPARE, np.uint8)
        assert deflate(source, level, 15, 8, False, NOTHING, short, len(whole) - 1) == FULL, name


def test_it_stops_at_the_first_block_that_differs() -> None:
    (_, data) = next(item for item in kinds(100_000) if item[0] == "walk")
    whole = made(data, 6)
    source = np.frombuffer(data, np.uint8)
    out = np.empty(len(whole) + SPARE, np.uint8)
    right = np.frombuffer(whole, np.uint8)
    assert deflate(source, 6, 15, 8, False, right, out, len(whole)) == len(whole)
    wrong = right.copy()
    wrong[100] ^= 1
    assert deflate(source, 6, 15, 8, False, wrong, out, len(whole)) == DIFFERENT
