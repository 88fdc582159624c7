"""Prediction, and what undoes it, against the oracle one sample at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.kernels import predict
from codec.kernels import tile as drivers
from codec.kernels.packing import PAD
from tests.oracle.container import Plane
from tests.oracle.container import predict as predicted

if TYPE_CHECKING:
    from numpy.typing import NDArray

SEEDS = st.integers(0, 2**32 - 1)
WIDTHS = [1, 2, 3, 7, 8, 9, 15, 16, 17, 63, 64, 65, 127, 129, 200]


@dataclass
class Case:
    """Random planes of differing depth, and coefficients up to the largest there can be."""

    width: int
    rows: int
    p: int
    seed: int

    def __post_init__(self) -> None:
        random = np.random.default_rng(self.seed)
        count = self.p + 1
        self.order = random.permutation(count)
        self.bits = random.integers(1, 17, count)
        self.planes = np.zeros((count, self.rows, self.width + 2 * PAD), np.uint16)
        for c in range(count):
            top = 1 << self.bits[c]
            inside = random.integers(0, top, (self.rows, self.width))
            self.planes[c, :, PAD : PAD + self.width] = inside
        drivers.pad_planes(self.planes, self.rows, self.width, self.bits)
        self.c = np.zeros(predict.COEFFICIENTS, np.int32)
        self.taps = 4 + 5 * min(self.p, 3)
        limit = int(random.choice([4096, 32768]))
        self.c[: self.taps] = random.integers(-limit, limit, self.taps)
        self.c[predict.BIAS] = random.integers(-(1 << 31), 1 << 31)

    def sample(self, q: int, r: int, x: int) -> int:
        """What the oracle asks for: a sample that may be beside its row."""
        c = int(self.order[q])
        if x < 0:
            return 1 << (int(self.bits[c]) - 1) if r == 0 else int(self.planes[c, r - 1, PAD])
        return int(self.planes[c, r, PAD + min(x, self.width - 1)])

    def folded(self, predictor: int) -> list[list[int]]:
        """The residuals of plane p, folded, by the oracle's prediction."""
        bits = int(self.bits[self.order[self.p]])
        bias = int(self.c[predict.BIAS])
        plane = Plane(0, 0, predictor, 0, bias, self.c.tolist(), [], [], [], [], [], bits)
        out = []
        for r in range(self.rows):
            row = []
            for x in range(self.width):
                expected = predicted(self.sample, plane, self.p, r, x, self.width)
                d = (self.sample(self.p, r, x) - expected) % (1 << bits)
                if d >= 1 << (bits - 1):
                    d -= 1 << bits
                row.append(2 * d if d >= 0 else -2 * d - 1)
            out.append(row)
        return out


def inside(rows: NDArray[np.generic], width: int) -> list[list[int]]:
    inner: list[list[int]] = rows[..., PAD : PAD + width].tolist()
    return inner


@pytest.mark.parametrize("predictor", [predict.LINEAR, predict.MEDIAN])
@pytest.mark.parametrize("p", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("width", WIDTHS)
@settings(max_examples=4)
@given(seed=SEEDS)
def test_residuals_are_as_specified(width: int, p: int, predictor: int, seed: int) -> None:
    case = Case(width, 4, p, seed)
    depth = int(case.bits[case.order[p]])
    z = np.zeros((4, width + 2 * PAD), np.uint16)
    drivers.first_residuals(case.planes, case.order, p, width, depth, z[0])
    coded = np.full((4, -(-width // 8)), 9, np.uint8)
    m = np.full((6, width + 2 * PAD), 7, np.int16)
    how = (4, width, depth, case.c, predictor, 1, 5)
    drivers.plane_residuals(case.planes, case.order, p, *how, z, coded, m)
    expected = case.folded(predictor)
    assert inside(z, width) == expected
    assert inside(m[2:], width) == [[min(v >> 1, 900) for v in row] for row in expected]
    assert inside(m[:2], width) == [[5] * width] * 2
    assert not m[:, :PAD].any()
    assert not m[:, PAD + width :].any()
    for r, row in enumerate(expected):
        for b in range(coded.shape[1]):
            assert coded[r, b] == any(row[8 * b : 8 * b + 8])


@pytest.mark.parametrize("predictor", [predict.LINEAR, predict.MEDIAN])
@settings(max_examples=10)
@given(seed=SEEDS)
def test_sampled_rows_are_every_so_many(predictor: int, seed: int) -> None:
    case = Case(21, 9, 2, seed)
    depth = int(case.bits[case.order[2]])
    z = np.full((9, 21 + 2 * PAD), 0xAAAA, np.uint16)
    how = (9, 21, depth, case.c, predictor, 3)
    drivers.sampled_residuals(case.planes, case.order, 2, *how, z)
    expected = case.folded(predictor)
    for r in range(9):
        sampled = r % 3 == 1
        assert inside(z[r], 21) == (expected[r] if sampled else [0xAAAA] * 21)


def int32(value: int) -> int:
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)


@pytest.mark.parametrize("width", [*WIDTHS, 71, 72, 73, 513])
@settings(max_examples=12)
@given(bits=st.integers(1, 16), west=st.integers(-(2**15), 2**15 - 1), seed=SEEDS)
def test_the_recursion_in_lanes_is_the_recursion(
    width: int, bits: int, west: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    base = random.integers(-(1 << 31), 1 << 31, width).astype(np.int32)
    starts = random.integers(0, 1 << bits, predict.RUNS).astype(np.int32)
    expected = []
    run = -(-width // predict.RUNS)
    for x in range(width):
        before = int(starts[x // run]) if x % run == 0 else expected[-1]
        expected.append(int32(int(base[x]) + west * before) >> 12 & ((1 << bits) - 1))
    row = np.full(width + 2 * PAD, 0xAAAA, np.uint16)
    predict.rebuild_row(base, west, starts, bits, row, width)
    assert inside(row, width) == expected
    assert set(row[:PAD].tolist() + row[PAD + width :].tolist()) == {0xAAAA}


@pytest.mark.parametrize("width", WIDTHS)
@settings(max_examples=12)
@given(bits=st.integers(1, 16), seed=SEEDS)
def test_the_median_predictor_is_undone(width: int, bits: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    top = 1 << bits
    above = random.integers(0, top, width + 2 * PAD).astype(np.uint16)
    residual = random.integers(-(top >> 1), top >> 1, width).astype(np.int16)
    starts = random.integers(0, top, predict.RUNS).astype(np.int32)
    expected = []
    run = -(-width // predict.RUNS)
    for x in range(width):
        north, north_west = int(above[PAD + x]), int(above[PAD + x - 1])
        west = int(starts[x // run]) if x % run == 0 else expected[-1]
        middle = sorted([west, north, west + north - north_west])[1]
        expected.append((middle + int(residual[x])) % top)
    row = np.full(width + 2 * PAD, 0xAAAA, np.uint16)
    predict.median_rebuild_row(above, residual, starts, bits, row, width)
    assert inside(row, width) == expected
    assert set(row[:PAD].tolist() + row[PAD + width :].tolist()) == {0xAAAA}


def test_folded_residuals_unfold() -> None:
    z = np.zeros(65536 + 2 * PAD, np.uint16)
    z[PAD:-PAD] = np.arange(65536)
    residual = np.zeros(65536, np.int16)
    predict.unfold_row(z, residual, 65536)
    assert residual.tolist() == [v // 2 if v % 2 == 0 else -(v + 1) // 2 for v in range(65536)]
    base = np.full(65536, -5, np.int32)
    predict.base_residual(base, z, 65536)
    assert base.tolist() == [int32(-5 + 4096 * d) for d in residual.tolist()]


@pytest.mark.parametrize("width", WIDTHS)
def test_runs_begin_with_the_sample_above(width: int) -> None:
    above = np.arange(100, 100 + width + 2 * PAD).astype(np.uint16)
    run = predict.run_length(width)
    assert run == -(-width // 8)
    starts = np.zeros(predict.RUNS, np.int32)
    predict.run_starts(above, False, 10, width, starts)
    for s in range(predict.RUNS):
        assert starts[s] == (above[PAD + s * run] if s * run < width else 512)
    predict.run_starts(above, True, 10, width, starts)
    assert starts.tolist() == [512] * predict.RUNS
