"""Values and their ranks, and numbers that are sign and magnitude."""

from __future__ import annotations

import numpy as np
import pytest

from codec.kernels import values as kernels
from codec.kernels.packing import PAD
from codec.values import parse_values, reduce_values

EVERY = np.arange(65536).astype(np.uint16)


def padded(inside: np.ndarray) -> np.ndarray:
    return np.pad(inside, [(0, 0)] * (inside.ndim - 1) + [(PAD, PAD)])


def test_folding_puts_floats_in_the_order_of_their_numbers() -> None:
    plane = padded(EVERY[None])
    kernels.fold_signed(plane, 1, 65536)
    numbers = EVERY.view(np.float16)
    finite = np.isfinite(numbers)
    ordered = EVERY[finite][np.argsort(plane[0, PAD:-PAD][finite])].view(np.float16)
    assert (np.diff(ordered.astype(np.float64)) >= 0).all()
    assert np.unique(plane[0, PAD:-PAD]).size == 65536


def test_folding_is_undone_for_every_pattern() -> None:
    """NaN payloads, both zeros, subnormals: all 65,536."""
    plane = padded(EVERY[None])
    kernels.fold_signed(plane, 1, 65536)
    out = np.zeros_like(plane[0])
    kernels.finish_row(plane[0], out, 0, np.zeros(1, np.uint16), 0, 1, 65536)
    assert out[PAD:-PAD].tolist() == EVERY.tolist()
    expected = [v - 32768 if v >= 32768 else 65535 - v for v in plane[0, PAD:-PAD].tolist()]
    assert out[PAD:-PAD].tolist() == expected


@pytest.mark.parametrize("shift", [0, 1, 5, 15])
def test_dead_low_bits_are_dropped(shift: int) -> None:
    random = np.random.default_rng(shift)
    original = random.integers(0, 1 << (16 - shift), (2, 3, 9)) << shift
    original[:, 0, 0] = 1 << shift
    original[1] = 0
    planes = padded(original.astype(np.uint16))
    shifts = np.full(2, 99, np.int64)
    kernels.shift_planes(planes, 3, 9, shifts)
    assert shifts.tolist() == [shift, 0]
    assert planes[0, :, PAD:-PAD].tolist() == (original[0] >> shift).tolist()


def test_planes_are_equal_where_their_sampled_rows_are() -> None:
    planes = padded(np.random.default_rng(1).integers(0, 256, (3, 7, 11)).astype(np.uint16))
    assert not kernels.has_equal_planes(planes, 7, 11, 3)
    planes[2, ::3] = planes[0, ::3]
    assert kernels.has_equal_planes(planes, 7, 11, 3)
    assert not kernels.has_equal_planes(planes, 7, 11, 1)
    planes[2, 6, PAD + 10] ^= 1
    assert not kernels.has_equal_planes(planes, 7, 11, 3)
    planes[1], planes[1, :, PAD - 1] = planes[0], 999
    assert kernels.has_equal_planes(planes, 7, 11, 1)
    assert not kernels.has_equal_planes(planes[:1], 7, 11, 1)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_values_are_marked_in_every_so_many_rows(step: int) -> None:
    rows = np.random.default_rng(step).integers(0, 256, (7, 11)).astype(np.uint16)
    used = np.zeros(256, np.uint8)
    kernels.mark_values(padded(rows), 7, 11, step, used)
    assert set(np.flatnonzero(used).tolist()) == set(rows[::step].reshape(-1).tolist())


def test_a_map_replaces_each_sample() -> None:
    plane = padded(np.array([[0, 3, 1, 3]], np.uint16))
    kernels.map_plane(plane, 1, 4, np.array([7, 8, 9, 65535], np.uint16))
    assert plane[0, PAD:-PAD].tolist() == [7, 65535, 8, 65535]


KINDS = ("dense", "sparse", "one", "two", "scaled", "mixed")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("depth", [1, 2, 8, 10, 16])
def test_reduced_samples_come_back(kind: str, depth: int) -> None:
    random = np.random.default_rng(depth)
    top = (1 << depth) - 1
    shape = (4, 12, 40)
    samples = random.integers(0, top + 1, shape)
    if kind == "one":
        samples[:] = top
    elif kind == "two":
        samples = random.integers(0, 2, shape) * top
    elif kind in ("sparse", "mixed"):
        palette = np.unique(random.integers(0, top + 1, 20))
        samples = palette[random.integers(0, palette.size, shape)]
    elif kind == "scaled":
        samples &= ~((1 << depth // 2) - 1)
    if kind == "mixed":
        samples[3] = random.integers(0, top + 1, shape[1:])
    bits = np.full(4, depth, np.int64)
    planes = padded(samples.astype(np.uint16))
    raw, left = reduce_values(planes, 12, 40, bits)
    values, used = parse_values(memoryview(raw), bits)
    assert used == len(raw)
    assert values.bits.tolist() == left.tolist()
    if kind in ("two", "one") and depth > 2:
        assert left.tolist() == [1] * 4
    for c in range(4):
        assert (planes[c, :, PAD:-PAD] < 1 << int(left[c])).all()
        for r in range(12):
            out = np.zeros(40 + 2 * PAD, np.uint16)
            how = (int(values.mapped[c]), values.maps[c], int(values.shifts[c]), 0, 40)
            kernels.finish_row(planes[c, r], out, *how)
            assert out[PAD:-PAD].tolist() == samples[c, r].tolist()


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"\x08\0\0", "more low bits"),
        (b"\0\0\x01\x01\0\x11", "too large"),
        (b"\0\0\x01\x04\0\x08" + bytes(32), "not its components'"),
        (b"\0\0\x01\x01\0\x07" + b"\xff" * 16, "not its components'"),
        (b"\0\0\x01\x01\0\x08" + bytes(32), "empty"),
        (b"\0\0\x02" + 2 * (b"\x01\0\x08" + b"\xff" * 32), "not its components'"),
    ],
)
def test_values_that_make_no_sense_are_refused(raw: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_values(memoryview(raw), np.array([8, 8]))


@pytest.mark.parametrize(("count", "mapped"), [(600, True), (800, False)])
@pytest.mark.parametrize("everywhere", [True, False])
def test_values_that_come_late_count_too(count: int, mapped: bool, everywhere: bool) -> None:
    """Sampled rows are sparse; whether the frame is, shows in the rows between them."""
    random = np.random.default_rng(count)
    allowed = random.permutation(1023)[:count]
    few = allowed if everywhere else allowed[:100]
    rows, width = 96, 400
    inside = random.choice(allowed, (2, rows, width))
    inside[:, ::4] = random.choice(few, (2, rows // 4, width))
    planes = padded(inside.astype(np.uint16))
    raw, left = reduce_values(planes, rows, width, np.array([10, 10], np.int64))
    values, _ = parse_values(memoryview(raw), np.array([10, 10], np.int64))
    assert values.mapped.tolist() == [mapped, mapped]
    if mapped:
        assert left.tolist() == [10, 10]
        planes = values.maps[np.arange(2)[:, None, None], planes]
    assert planes[:, :, PAD:-PAD].tolist() == inside.tolist()


@pytest.mark.parametrize(("least", "most"), [(300, 700), (95, 200)])
@pytest.mark.parametrize("step", [1, 2])
def test_values_that_follow_one_another_are_not_mapped(least: int, most: int, step: int) -> None:
    """A scene without black, and a few lights in it: nothing would be cheaper to foretell."""
    random = np.random.default_rng(least)
    rows, width = 48, 400
    inside = random.integers(least // step, most // step, (1, rows, width)) * step
    inside[0, :, 7] = np.linspace(700, 1023, rows).astype(np.int64) // step * step
    inside[0, :3, 8] = least | 1  # not every low bit is zero
    planes = padded(inside.astype(np.uint16))
    raw, _ = reduce_values(planes, rows, width, np.array([10], np.int64))
    values, _ = parse_values(memoryview(raw), np.array([10], np.int64))
    assert values.mapped.tolist() == [int(step == 2)]


def test_deep_values_that_follow_one_another_are_mapped() -> None:
    """They leave smaller numbers, and fewer raw bits."""
    random = np.random.default_rng(3)
    inside = random.integers(40_000, 41_000, (1, 48, 400))
    planes = padded(inside.astype(np.uint16))
    _, left = reduce_values(planes, 48, 400, np.array([16], np.int64))
    assert left.tolist() == [10]
