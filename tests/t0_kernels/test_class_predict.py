"""Folding and unfolding of residuals, and runs, of planes with several coefficient sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.kernels import class_fit, class_lanes
from codec.kernels import class_predict as kernel
from codec.kernels.packing import PAD


@settings(max_examples=150)
@given(
    width=st.integers(1, 70),
    bits=st.sampled_from([1, 2, 8, 10, 16]),
    runs=st.sampled_from([4, kernel.RUNS]),
    mapped=st.booleans(),
    wild=st.booleans(),
    seed=st.integers(0, 9999),
)
def test_rows_are_rebuilt_from_their_residuals(
    width: int, bits: int, runs: int, mapped: bool, wild: bool, seed: int
) -> None:
    random = np.random.default_rng(seed)
    size = kernel.padded(width)
    values = np.arange(1 << bits)
    if mapped:
        values = np.unique(random.integers(0, 1 << bits, 9))
    last = values.size - 1
    ranks = np.minimum(np.searchsorted(values, np.arange(1 << bits)), last).astype(np.uint16)
    row = np.zeros(size, np.uint16)
    row[PAD : PAD + width] = random.choice(values, width)
    reach = 1 << 31 if wild else 1 << (bits + 12)
    base = random.integers(-reach, reach, size - 2 * PAD).astype(np.int32)
    west = random.integers(-9000, 9000, base.size).astype(np.int32)
    west2 = random.integers(-9000, 9000, base.size).astype(np.int32)
    starts = random.integers(0, 1 << bits, runs).astype(np.int32)
    z = np.zeros(size, np.uint16)
    held = ranks if mapped else np.zeros(0, np.uint16)
    folded = np.zeros(width, np.uint16)
    kernel.fold_row(base, west, west2, row, starts, bits, held, last, folded, width)
    assert folded.max() <= last, "a residual needs a number that is not there"
    z[PAD : PAD + width] = folded
    back = np.zeros(size, np.uint16)
    table = values.astype(np.uint16)
    of_map = (ranks, table, last if mapped else -1)
    kernel.rebuild(base, west, west2, z, starts, bits, *of_map, back, width)
    assert np.array_equal(back[PAD : PAD + width], row[PAD : PAD + width])
    if runs == kernel.RUNS and not mapped:
        back[:] = 0
        across = base.size // kernel.RUNS
        columns = [a.reshape(kernel.RUNS, across).T.reshape(-1).copy() for a in (west, west2)]
        scratch = [np.zeros(base.size + more, np.int32) for more in (0, 0, 2 * kernel.RUNS)]
        kernel.rebuild_lanes(base, *columns, z, starts, bits, back, tuple(scratch))
        assert np.array_equal(back[PAD : PAD + width], row[PAD : PAD + width])


@given(length=st.integers(1, 9), first=st.integers(0, 3), seed=st.integers(0, 99))
def test_columns_of_runs_lie_together(length: int, first: int, seed: int) -> None:
    row = np.random.default_rng(seed).integers(0, 1 << 16, first + 16 * length).astype(np.uint16)
    columns = np.zeros(16 * length, np.int32)
    class_lanes.to_lanes(row, first, columns)
    assert np.array_equal(columns, row[first:].reshape(16, length).T.reshape(-1))
    back = row[:first].tolist() + [0] * (16 * length)
    filled = np.array(back, np.uint16)
    class_lanes.from_lanes(columns, 0, filled, first, length)
    assert np.array_equal(filled, row)


@pytest.mark.parametrize("looked", [4, 8, 16])
def test_two_textures_get_coefficients_of_their_own(looked: int) -> None:
    """Left of the middle a sample is what stands left of it, right of it what stands above."""
    rows, width = 64, 128
    random = np.random.default_rng(5)
    planes = np.zeros((1, rows, width + 2 * PAD), np.uint16)
    planes[0, :, PAD : PAD + 64] = random.integers(0, 1000, (rows, 1))
    planes[0, :, PAD + 64 : PAD + 128] = random.integers(0, 1000, (1, 64))
    blocks = 4 * 8
    assert class_fit.parts(blocks, looked) == 1
    a = np.zeros((blocks, class_fit.features(0) + 1, looked * kernel.SIDE), np.float32)
    order = np.zeros(1, np.int64)
    coefficients = np.zeros((2, kernel.MAX_TAPS), np.int32)
    classes = np.zeros(blocks, np.uint8)
    class_fit.fit_classes(planes, order, 0, rows, width, 6, a, coefficients, classes)
    of_block = classes.reshape(4, 8)
    left, right = of_block[0, 1], of_block[0, 6]
    assert left != right
    assert set(of_block[:, 1:4].reshape(-1).tolist()) == {left}
    assert set(of_block[:, 5:].reshape(-1).tolist()) == {right}
    assert abs(coefficients[left, kernel.WEST] + coefficients[left, kernel.WEST_WEST] - 4096) < 90
    assert abs(coefficients[right, 2] + coefficients[right, 5] - 4096) < 90
    assert (coefficients[:, : kernel.OWN_TAPS].sum(axis=1) == 4096).all()
