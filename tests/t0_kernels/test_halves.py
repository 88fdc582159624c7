"""Rows in halves and the prediction of tile mode 5, against obvious twins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.kernels import half_fit, half_plan, half_rows
from codec.kernels.half_lanes import LANES
from codec.kernels.packing import PAD
from codec.kernels.quick_groups import SIDE
from tests.oracle import halves as oracle

WIDTHS = st.integers(1, 100)


@given(width=WIDTHS, bits=st.integers(1, 16), seed=st.integers(0, 2**32 - 1))
def test_rows_part_into_halves_and_join(width: int, bits: int, seed: int) -> None:
    row = np.random.default_rng(seed).integers(0, 1 << bits, width + 2 * PAD).astype(np.uint16)
    ring = np.full(half_rows.ring_size(2, width), 7, np.uint16)
    stride = half_rows.half_stride(width)
    half_rows.part_row(row, ring, 1, 2, stride, width, bits)
    even, odd = (half_rows.half_place(1, 2, parity, stride) for parity in range(2))
    x = row[PAD : PAD + width].astype(int) << max(15 - bits, 0)
    evens, odds = x[::2].tolist(), x[1::2].tolist()
    assert ring[even : even + len(evens) + 1].tolist() == [*evens, evens[-1]]
    assert ring[odd - 1 : odd + len(odds) + 1].tolist() == [x[0], *odds, (odds or evens)[-1]]
    back = np.zeros(PAD + width + 31 + PAD, np.uint16)
    half_rows.join_row(ring, 1, 2, stride, width, bits, back)
    assert back[PAD : PAD + width].tolist() == row[PAD : PAD + width].tolist()


@settings(max_examples=60)
@given(
    width=WIDTHS,
    depths=st.lists(st.integers(1, 16), min_size=1, max_size=4),
    wild=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_residuals_are_as_specified_and_rebuild(
    width: int, depths: list[int], wild: bool, seed: int
) -> None:
    random = np.random.default_rng(seed)
    n = len(depths)
    stride = half_rows.half_stride(width)
    ring = np.zeros(half_rows.ring_size(n, width), np.uint16)
    again = np.zeros_like(ring)
    taps = np.zeros((n, 2, half_fit.TAPS, LANES), np.int16)
    limit = 32768 if wild else 6000
    heads, z_of, rows_of = [], [], []
    groups = 2 * half_rows.column_blocks(width)
    for p, bits in enumerate(depths):
        rows = random.integers(0, 1 << bits, (3, width + 2 * PAD)).astype(np.uint16)
        rows_of.append(rows)
        numbers = random.integers(-limit, limit, (2, half_fit.TAPS)).astype(np.int16)
        taps[p] = numbers[:, :, None]
        counts = [half_fit.tap_count(min(p, 2), parity) for parity in range(2)]
        own = [numbers[parity, : counts[parity]].tolist() for parity in range(2)]
        heads.append(oracle.Head(0, 0, 0, own[0], [], [], [], [], [], 0, own[1]))
        for r in range(3):
            half_rows.part_row(rows[r], ring, p, r, stride, width, bits)
            if r < 2:
                half_rows.part_row(rows[r], again, p, r, stride, width, bits)
    for p, bits in enumerate(depths):
        z = np.full(groups * LANES, 99, np.uint16)
        sums = np.zeros(SIDE + groups + SIDE, np.int32)
        place = (p, 2, 1, 0, stride, width, bits, taps[p], z)
        half_rows.residual_halves(ring, *place, sums)
        assert sums[SIDE:-SIDE].tolist() == z.reshape(groups, LANES).sum(1).tolist()
        z_of.append(z)
        half_rows.rebuild_halves(again, *place)
        back = np.zeros(PAD + width + 31 + PAD, np.uint16)
        half_rows.join_row(again, p, 2, stride, width, bits, back)
        assert back[PAD : PAD + width].tolist() == rows_of[p][2, PAD : PAD + width].tolist()
    # The oracle, given the residuals of the third row alone and the samples of the first two.
    x = [rows[:, PAD : PAD + width].astype(int).tolist() for rows in rows_of]
    for p, c in ((p, c) for p in range(n) for c in (*range(0, width, 2), *range(1, width, 2))):
        true = x[p][2][c]
        residual = int(z_of[p][c // 32 * 32 + c % 2 * 16 + c % 32 // 2])
        assert oracle.sample(heads, x, depths, p, 2, c, residual) == true


def test_fitted_taps_foretell_what_is_linear() -> None:
    """A ramp needs nothing but its neighbours; noise around it must not lead the fit astray."""
    rows, width = 40, 640
    random = np.random.default_rng(1)
    y, x = np.mgrid[:rows, : width + 2 * PAD]
    first = 300 + 2 * x / 3 + 5 * y + random.normal(0, 2, x.shape)
    second = 0.5 * first + random.normal(0, 2, x.shape)
    planes = np.stack([first, second]).astype(np.uint16)
    groups = 2 * half_rows.column_blocks(width)
    edges, (k, codes) = np.zeros(2, np.int64), np.zeros((2, 2, 16), np.int64)
    taps = np.zeros((2, 2, half_fit.TAPS, LANES), np.int16)
    thresholds = np.zeros((2, 15), np.int32)
    ring = np.zeros(half_plan.ROWS * half_rows.ring_size(2, width), np.uint16)
    z = np.zeros(groups * LANES, np.uint16)
    order, bits = np.arange(2), np.full(2, 12)
    plan = (edges, taps, thresholds, k, codes, ring, z)
    half_plan.plan_planes(planes, order, rows, width, bits, *plan)
    assert edges[0] == planes[0, 0, PAD:-PAD].mean() // 1
    # Means of neighbours average noise away, and the first plane tells of the second.
    assert taps[0, 1, 2, 0] == pytest.approx(0.8 * half_fit.ONE, rel=0.4)
    own = half_fit.OWN_TAPS
    assert taps[1, 0, own, 0] == pytest.approx(0.4 * half_fit.ONE, rel=0.5)
    assert k.max() <= 4


@pytest.mark.parametrize(("rows", "width"), [(1, 640), (2, 64), (3, 33), (9, 5)])
def test_planes_too_small_for_a_fit_are_planned_all_the_same(rows: int, width: int) -> None:
    planes = np.random.default_rng(2).integers(0, 1 << 16, (1, rows, width + 2 * PAD))
    groups = 2 * half_rows.column_blocks(width)
    edges, k, codes = np.zeros(1, np.int64), *np.zeros((2, 1, 16), np.int64)
    taps = np.zeros((1, 2, half_fit.TAPS, LANES), np.int16)
    thresholds = np.zeros((1, 15), np.int32)
    ring = np.zeros(half_plan.ROWS * half_rows.ring_size(1, width), np.uint16)
    z = np.zeros(groups * LANES, np.uint16)
    plan = (edges, taps, thresholds, k, codes, ring, z)
    one, bits = np.zeros(1, np.int64), np.full(1, 16)
    half_plan.plan_planes(planes.astype(np.uint16), one, rows, width, bits, *plan)
    assert k.max() <= 15


def test_unevenness_tells_edges_from_noise() -> None:
    random = np.random.default_rng(3)
    noise = random.normal(500, 9, (1, 30, 640)).astype(np.uint16)
    edges = np.full_like(noise, 500)
    edges[:, :, ::16] += random.integers(0, 400, (1, 30, 40)).astype(np.uint16)
    flat = np.full_like(noise, 500)
    deep = random.integers(0, 1 << 16, (1, 30, 640)).astype(np.uint16)
    assert 0.2 < half_plan.unevenness(deep, 30, 632) < 1.4
    assert half_plan.unevenness(flat, 30, 632) == 0
    assert 0.2 < half_plan.unevenness(noise, 30, 632) < 1.4 < half_plan.unevenness(edges, 30, 632)
