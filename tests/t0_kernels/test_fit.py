"""The fit of prediction coefficients."""

from __future__ import annotations

import numpy as np
import pytest

from codec.kernels.fit import fit_plane
from codec.kernels.packing import PAD
from codec.kernels.predict import BIAS, COEFFICIENTS, ROUND
from codec.kernels.tile import pad_planes
from tests.flavors import samples

ONE = 1 << 12


def fitted(kind: str, p: int, width: int = 96, rows: int = 32, bits: int = 10) -> np.ndarray:
    planes = np.zeros((3, rows, width + 2 * PAD), np.uint16)
    planes[:, :, PAD : PAD + width] = np.moveaxis(samples(kind, rows, width, 3, bits), 2, 0)
    pad_planes(planes, rows, width, np.full(3, bits, np.int64))
    c = np.full(COEFFICIENTS, 99, np.int32)
    fit_plane(planes, np.array([1, 0, 2]), p, rows, width, 512, 2, c)
    return c


@pytest.mark.parametrize("p", [0, 1, 2])
@pytest.mark.parametrize("kind", ["picture", "zero", "max", "noise", "checker", "impulses"])
def test_own_taps_add_up_to_one_and_references_to_nought(kind: str, p: int) -> None:
    c = fitted(kind, p)
    assert sum(c[:4]) == ONE
    for q in range(3):
        assert sum(c[4 + 5 * q : 9 + 5 * q]) == 0
    assert not any(c[4 + 5 * p : BIAS])


def test_equal_planes_predict_each_other_exactly() -> None:
    c = fitted("gray", 1)
    assert c[4] == pytest.approx(ONE, abs=ONE // 50)


def test_a_flat_plane_has_no_bias_to_speak_of() -> None:
    assert abs(int(fitted("max", 0)[BIAS]) - ROUND) < ONE


@pytest.mark.parametrize("width", [1, 2, 5, 15, 16, 17])
def test_narrow_planes_are_sampled_inside(width: int) -> None:
    c = fitted("noise", 2, width=width, rows=7)
    assert sum(c[:4]) == ONE
