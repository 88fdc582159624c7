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


def features(planes: np.ndarray, p: int, order: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """What weights are fitted to, for every sample below the first row: columns and target."""
    own = planes[order[p]].astype(np.float64)
    inner = slice(PAD, own.shape[1] - PAD)
    west, east = slice(PAD - 1, -PAD - 1), slice(PAD + 1, 1 - PAD)
    north = own[:-1, inner]
    columns = [own[1:, west] - north, own[:-1, west] - north, own[:-1, east] - north]
    for q in range(p - 1, max(p - 4, -1), -1):
        g = planes[order[q]].astype(np.float64)
        above = g[:-1, inner]
        columns += [g[1:, inner] - above, g[1:, west] - above]
        columns += [g[:-1, west] - above, g[:-1, east] - above]
    return np.stack([c.reshape(-1) for c in columns], 1), (own[1:, inner] - north).reshape(-1)


@pytest.mark.parametrize("p", [0, 1, 2])
def test_weights_are_as_good_as_least_squares_over_every_sample(p: int) -> None:
    planes = np.zeros((3, 64, 200 + 2 * PAD), np.uint16)
    planes[:, :, PAD:-PAD] = np.moveaxis(samples("picture", 64, 200, 3, 12), 2, 0)
    pad_planes(planes, 64, 200, np.full(3, 12, np.int64))
    c = np.zeros(COEFFICIENTS, np.int32)
    fit_plane(planes, np.array([1, 0, 2]), p, 64, 200, 8192, 1, c)
    taps = [c[0], c[2], c[3]]
    for q in range(p):
        taps += [c[4 + 5 * q], c[5 + 5 * q], c[7 + 5 * q], c[8 + 5 * q]]
    weights = np.array(taps) / ONE
    a, b = features(planes, p, [1, 0, 2])
    best = np.linalg.lstsq(a, b, rcond=None)[0]
    assert c[BIAS] == ROUND
    assert np.square(b - a @ weights).mean() <= 1.03 * np.square(b - a @ best).mean()


def test_equal_planes_predict_each_other_exactly() -> None:
    c = fitted("gray", 1)
    assert c[4] == pytest.approx(ONE, abs=ONE // 50)


def test_a_flat_plane_has_no_bias_to_speak_of() -> None:
    assert abs(int(fitted("max", 0)[BIAS]) - ROUND) < ONE


@pytest.mark.parametrize("width", [1, 2, 5, 15, 16, 17])
def test_narrow_planes_are_sampled_inside(width: int) -> None:
    c = fitted("noise", 2, width=width, rows=7)
    assert sum(c[:4]) == ONE
