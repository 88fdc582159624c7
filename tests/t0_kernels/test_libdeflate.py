"""The libdeflate kernel against libdeflate, and against what it was seen to make."""

from __future__ import annotations

import hashlib
import zlib

import numpy as np
import pytest

from codec.kernels.deflate import SPARE
from codec.kernels.deflate_blocks import DIFFERENT, FULL
from codec.kernels.libdeflate import MAX_LEVEL, MIN_LEVEL, REVISIONS, libdeflate
from tests.t0_kernels.test_deflate import NOTHING, kinds

LEVELS = range(MIN_LEVEL, MAX_LEVEL + 1)
SIZES = [1, 19, 20, 60, 511, 513, 4999, 10_000, 20_001, 66_000]

# Of the streams that libdeflate 1.25 itself made of `steady` data.
DIGESTS = [
    (2, "7cffcf0d52fe24bd"),
    (3, "686cfe94d76d2323"),
    (4, "54872ce7fdcbb1ad"),
    (5, "76d4e20b740d9d14"),
    (6, "b75777b3e3aa45e2"),
    (7, "31f84fda44922523"),
    (8, "90923028e29b96bb"),
    (9, "90923028e29b96bb"),
]


def made(data: bytes, level: int, revision: int = 0) -> bytes:
    """What the kernel makes of ``data``."""
    room = len(data) + 64
    out = np.empty(room + SPARE, np.uint8)
    n = libdeflate(np.frombuffer(data, np.uint8), level, revision, NOTHING, out, room)
    assert n > 0
    return out[:n].tobytes()


def steady(size: int) -> bytes:
    """Data that no random generator's version can change: runs, ramps and a scrambled part."""
    x = np.arange(size, dtype=np.uint64)
    scrambled = (x * np.uint64(2654435761) >> np.uint64(13)) & np.uint64(63)
    ramp = (x // np.uint64(3)) & np.uint64(255)
    part = (x >> np.uint64(10)) % np.uint64(3)
    both = np.where(part == 0, scrambled, np.where(part == 1, ramp, x % np.uint64(7)))
    return both.astype(np.uint8).tobytes()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("level", LEVELS)
def test_it_is_libdeflate_to_the_bit(level: int, size: int) -> None:
    imagecodecs = pytest.importorskip("imagecodecs", reason="the bench extra has libdeflate")
    for name, data in kinds(size):
        assert made(data, level) == imagecodecs.deflate_encode(data, level, raw=True), name


@pytest.mark.slow
@pytest.mark.parametrize("size", [304_999, 305_001, 700_000])
@pytest.mark.parametrize("level", [4, 6, 9])
def test_it_is_libdeflate_to_the_bit_over_many_blocks(level: int, size: int) -> None:
    imagecodecs = pytest.importorskip("imagecodecs", reason="the bench extra has libdeflate")
    for name, data in kinds(size):
        assert made(data, level) == imagecodecs.deflate_encode(data, level, raw=True), name


@pytest.mark.parametrize(("level", "digest"), DIGESTS)
def test_it_makes_what_libdeflate_made(level: int, digest: str) -> None:
    assert hashlib.sha256(made(steady(400_000), level)).hexdigest()[:16] == digest


@pytest.mark.parametrize("revision", range(REVISIONS))
@pytest.mark.parametrize("level", LEVELS)
def test_what_it_makes_inflates(level: int, revision: int) -> None:
    for name, data in kinds(70_000):
        assert zlib.decompress(made(data, level, revision), -15) == data, name


# Of what libdeflate 1.25 and 1.14 themselves made, at level 6.
@pytest.mark.parametrize(
    ("data", "digests"),
    [
        (
            bytes((i * 2654435761 >> 13) & 3 for i in range(300)),
            ["a2706ab86e65cbda", "7f4e836ad77fbf5f"],
        ),
        (
            bytes((i * i // 3 + i) % 97 if i % 2 else i // 16 for i in range(400)),
            ["7b69c3fa416d7c60", "7d3065f8a84d2c41"],
        ),
    ],
    ids=["few values in little data", "no matches"],
)
def test_releases_before_1_19_differ(data: bytes, digests: list[str]) -> None:
    for revision, digest in enumerate(digests):
        assert hashlib.sha256(made(data, 6, revision)).hexdigest()[:16] == digest


@pytest.mark.parametrize("level", [4, 6, 9])
def test_it_needs_exactly_the_room_it_says(level: int) -> None:
    for name, data in kinds(30_000):
        whole = made(data, level)
        source = np.frombuffer(data, np.uint8)
        out = np.empty(len(whole) + SPARE, np.uint8)
        assert libdeflate(source, level, 0, NOTHING, out, len(whole)) == len(whole), name
        assert libdeflate(source, level, 0, NOTHING, out, len(whole) - 1) == FULL, name


def test_it_stops_at_the_first_block_that_differs() -> None:
    data = steady(400_000)
    whole = made(data, 6)
    source = np.frombuffer(data, np.uint8)
    out = np.empty(len(whole) + SPARE, np.uint8)
    right = np.frombuffer(whole, np.uint8)
    assert libdeflate(source, 6, 0, right, out, len(whole)) == len(whole)
    wrong = right.copy()
    wrong[100] ^= 1
    assert libdeflate(source, 6, 0, wrong, out, len(whole)) == DIFFERENT
