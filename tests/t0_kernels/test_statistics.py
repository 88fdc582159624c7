"""What the encoder counts, against counts made one by one."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.kernels import statistics
from codec.kernels.context import MAX_ACTIVITY, activity_row
from codec.kernels.packing import PAD

SEEDS = st.integers(0, 2**32 - 1)
LEVELS = statistics.activity_levels()


class Case:
    """Residuals of three planes and their magnitudes, coded blocks among others."""

    def __init__(self, width: int, seed: int, rows: int = 10, bits: int = 10) -> None:
        random = np.random.default_rng(seed)
        self.width, self.rows, self.bits = width, rows, bits
        self.order = random.permutation(3)
        z = np.zeros((3, rows, width + 2 * PAD), np.uint16)
        spread = 1 << random.integers(1, bits + 1, (3, rows, width))
        z[..., PAD : PAD + width] = random.integers(0, spread)
        for p in range(3):
            z[p][random.random(z[p].shape) < 0.2] = 0
        z[..., :PAD] = z[..., PAD + width :] = 0
        z[:, rows // 2, PAD : PAD + 64] = 0
        self.z = z[2].copy()
        self.magnitudes = np.zeros((3, rows + 2, width + 2 * PAD), np.int16)
        self.magnitudes[self.order, 2:] = np.minimum(z, 900)
        self.magnitudes[:, :2, PAD : PAD + width] = 3
        self.coded = np.zeros((rows, -(-width // 8)), np.uint8)
        for r in range(rows):
            statistics.mark_blocks(self.z[r], width, self.coded[r])

    def place(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        return self.z, self.magnitudes, self.order, 2

    def sampled(self, cross: int, step: int, first: int) -> list[tuple[int, int]]:
        """(activity, residual) of coded blocks in every ``step``-th row from ``first`` on."""
        out = []
        activity = np.zeros(self.width, np.int16)
        for r in range(first, self.rows, step):
            activity_row(self.magnitudes, self.order, 2, r, cross, activity, self.width)
            for x in range(self.width):
                if self.coded[r, x // 8]:
                    out.append((int(activity[x]), int(self.z[r, PAD + x])))
        return out


@pytest.mark.parametrize("width", [1, 63, 8, 9, 15, 64, 65, 200])
@settings(max_examples=10)
@given(seed=SEEDS)
def test_blocks_of_nought_are_marked(width: int, seed: int) -> None:
    case = Case(width, seed)
    for r in range(case.rows):
        row = case.z[r, PAD : PAD + width]
        expected = [int(row[b : b + 8].any()) for b in range(0, width, 8)]
        assert case.coded[r].tolist() == expected
    mean = statistics.mean_residual(case.z[0], width)
    assert mean == pytest.approx(case.z[0, PAD : PAD + width].mean())


@settings(max_examples=20)
@given(seed=SEEDS, step=st.integers(1, 4))
def test_the_cost_of_a_predictor_is_the_entropy_of_its_residuals(seed: int, step: int) -> None:
    case = Case(70, seed)
    moments = np.zeros(2)
    statistics.sampled_cost(case.z, case.rows, 70, step, moments)
    seen = case.z[1::step, PAD : PAD + 70].reshape(-1).tolist()
    entropy = sum(-n * math.log2(n / len(seen)) for n in Counter(seen).values())
    assert moments.tolist() == pytest.approx([entropy, sum(seen) / len(seen)])


def test_levels_of_activity_are_about_four_an_octave() -> None:
    assert LEVELS[0] == 0
    steps = np.diff(LEVELS.astype(int))
    assert ((steps == 0) | (steps == 1)).all()
    for octave in range(3, 11):
        assert int(LEVELS[(2 << octave) - 1]) - int(LEVELS[(1 << octave) - 1]) == 4


@settings(max_examples=20)
@given(seed=SEEDS)
def test_the_cross_weight_costs_least(seed: int) -> None:
    case = Case(50, seed)
    chosen = statistics.choose_cross(*case.place(), case.rows, 50, 2, LEVELS)
    costs = []
    for cross in range(3):
        counts: Counter[int] = Counter()
        totals: Counter[int] = Counter()
        activity = np.zeros(50, np.int16)
        for r in range(1, case.rows, 2):
            activity_row(case.magnitudes, case.order, 2, r, cross, activity, 50)
            for x in range(50):
                level = int(LEVELS[min(int(activity[x]), LEVELS.size - 1)])
                counts[level] += 1
                totals[level] += int(case.z[r, PAD + x])
        costs.append(sum(n * math.log2(totals[s] / n + 0.7) for s, n in counts.items()))
    assert costs[chosen] == pytest.approx(min(costs))


@pytest.mark.parametrize("width", [3, 64, 90])
@settings(max_examples=15)
@given(seed=SEEDS, cross=st.integers(0, 2), step=st.integers(1, 5))
def test_contexts_share_the_residuals(width: int, seed: int, cross: int, step: int) -> None:
    case = Case(width, seed)
    histogram = np.zeros((2, MAX_ACTIVITY), np.int64)
    thresholds = np.full(15, 99, np.int16)
    k = np.full(16, 99, np.uint8)
    how = (case.coded, case.rows, width, cross, case.bits, step)
    statistics.choose_contexts(*case.place(), *how, histogram, thresholds, k)
    assert not histogram.any()
    seen = case.sampled(cross, step, min(step // 2, case.rows - 1))
    tops = sorted(s for s, _ in seen)
    expected = []
    for t in range(15):
        below = len(seen) * (t + 1) // 16
        expected.append(tops[below] + 1 if below < len(seen) else MAX_ACTIVITY - 1)
    assert thresholds.tolist() == expected
    for c in range(16):
        members = [z for s, z in seen if sum(t <= s for t in expected) == c]
        if members:
            mean = sum(members) // len(members)
            assert k[c] == min(max(mean.bit_length() - 3, 0), case.bits)


@pytest.mark.parametrize("width", [3, 64, 90])
@settings(max_examples=15)
@given(seed=SEEDS, cross=st.integers(0, 2), step=st.integers(1, 5))
def test_symbols_are_counted(width: int, seed: int, cross: int, step: int) -> None:
    case = Case(width, seed)
    random = np.random.default_rng(seed)
    thresholds = np.sort(random.integers(0, 4000, 15)).astype(np.int16)
    k = random.integers(0, 6, 16).astype(np.uint8)
    counts = np.full((16, 32), 99, np.int64)
    how = (case.coded, case.rows, width, cross, case.bits, step)
    statistics.count_symbols(*case.place(), *how, thresholds, k, counts)
    expected = np.zeros((16, 32), np.int64)
    expected[:, 31] = 1
    for s, z in case.sampled(cross, step, 0):
        c = int((thresholds <= s).sum())
        expected[c, min(z >> int(k[c]), 31)] += 2
    seen = expected > 0
    assert (counts[seen] == expected[seen]).all()
    # Symbols that neighbours make likely get a code all the same.
    guessed = np.argwhere((counts > 0) & ~seen)
    for c, s in guessed.tolist():
        around = (expected[c, s - 1] if s else 0) + expected[c, s + 1]
        assert counts[c, s] == 1
        assert around >= 6
