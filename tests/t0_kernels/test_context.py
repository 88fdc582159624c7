"""Contexts against the oracle's, one residual at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.kernels import context
from codec.kernels.packing import PAD
from tests.oracle.container import Plane, context_activity

WIDTHS = [1, 2, 3, 7, 16, 33, 65]


def plane(start: int, cross: int) -> Plane:
    return Plane(0, cross, 0, start, 0, [], [], [], [], [], [], 16)


@pytest.mark.parametrize("p", [0, 1, 2, 3, 15])
@pytest.mark.parametrize("width", WIDTHS)
@settings(max_examples=6)
@given(
    cross=st.integers(0, 2),
    start=st.integers(0, context.MAX_MAGNITUDE),
    seed=st.integers(0, 2**32 - 1),
    saturated=st.booleans(),
)
def test_activity_weighs_what_stands_around(
    width: int, p: int, cross: int, start: int, seed: int, saturated: bool
) -> None:
    random = np.random.default_rng(seed)
    rows, planes = 3, p + 1
    order = random.permutation(planes)
    low = context.MAX_MAGNITUDE if saturated else 0
    m = random.integers(low, context.MAX_MAGNITUDE + 1, (planes, rows, width))
    held = np.zeros((planes, rows + 2, width + 2 * PAD), np.int16)
    held[order, 2:, PAD : PAD + width] = m
    held[:, :2, PAD : PAD + width] = start
    own = plane(start, cross)

    def magnitude(q: int, r: int, x: int) -> int:
        if not 0 <= x < width:
            return 0
        return start if r < 0 else int(m[q, r, x])

    activity = np.zeros(width, np.int16)
    for r in range(rows):
        context.activity_row(held, order, p, r, cross, activity, width)
        assert activity.tolist() == [
            context_activity(magnitude, own, p, r, x) for x in range(width)
        ]
    assert int(activity.max()) < context.MAX_ACTIVITY


@settings(max_examples=60)
@given(
    st.lists(st.integers(-(2**15), 2**15 - 1), min_size=15, max_size=15),
    st.lists(st.integers(0, 32400), min_size=1, max_size=70),
    st.sampled_from([1, 32, 256, 512]),
)
def test_a_context_is_how_many_thresholds_are_reached(
    thresholds: list[int], activity: list[int], step: int
) -> None:
    """In any order, as a container may hold them."""
    width = len(activity)
    out = np.full(width, -1, np.int16)
    held = (np.array(activity, np.int16), np.array(thresholds, np.int16))
    context.quantise(*held, step, out, width)
    assert out.tolist() == [step * sum(t <= s for t in thresholds) for s in activity]


@pytest.mark.parametrize("shift", [0, 1, 7, 15])
@pytest.mark.parametrize("width", WIDTHS)
def test_magnitudes_are_cut(width: int, shift: int) -> None:
    z = np.zeros(width + 2 * PAD, np.uint16)
    z[PAD : PAD + width] = np.random.default_rng(width).integers(0, 1 << 16, width)
    z[PAD] = 0xFFFF
    m = np.zeros(width + 2 * PAD, np.int16)
    context.magnitude_row(z, shift, m, width)
    expected = [min(v >> shift, 900) for v in z[PAD : PAD + width].tolist()]
    assert m[PAD : PAD + width].tolist() == expected
    assert not m[:PAD].any()
    assert not m[PAD + width :].any()
