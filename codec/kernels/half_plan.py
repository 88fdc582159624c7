"""What the encoder chooses for the planes of a tile of mode 5, from a sample of its rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.half_fit import RUN, fit_runs, gather_run, tap_count
from codec.kernels.half_lanes import LANES
from codec.kernels.half_rows import (
    COLUMNS,
    REFERENCES,
    fill_row,
    half_place,
    half_stride,
    own_places,
    part_row,
    reference_places,
    residual_halves,
    ring_size,
    scale_of,
)
from codec.kernels.half_sums import ABREAST
from codec.kernels.jit import kernel
from codec.kernels.packing import PAD
from codec.kernels.quick_groups import SIDE, choose_classes, pad_sums
from codec.kernels.quick_lanes import GROUP

REACH = 2
"""How far beside a group is the next one of its parity."""
ROWS = 6
"""Rows that are looked at, spread over the tile."""
_RUNS = 96
_ROUNDS = 3
_UNEVEN_ROWS = 4
_UNEVEN_STEP = 4 * GROUP
"""Every so many columns of so many rows a group is looked at for how uneven it is."""
_MOST_LOG = 4095
_LOGS = np.log2(2 * np.arange(_MOST_LOG + 1) + 1).astype(np.float32)
"""Of folded differences; greater ones have the logarithm of their sixteenth, and four."""


@kernel
def _sampled_row(i: int, samples: int, rows: int) -> int:
    return min(1 + (2 * i + 1) * (rows - 2) // (2 * samples), rows - 1)


@kernel
def _mean(row: Any, width: int) -> int:
    total = np.int64(0)
    for x in range(width):
        total += np.int64(row[PAD + x])
    return total // width


@kernel
def _fit_plane(
    rings: Any, samples: int, p: int, stride: int, width: int, bits: int, a: Any, c: Any
) -> None:
    """Taps ``c`` (int16[2, TAPS, LANES]) of the p-th plane, from runs of the sampled rows."""
    references = min(p, REFERENCES)
    whole = width // COLUMNS
    step = max(samples * whole // _RUNS, 1)
    places = np.zeros(4 + 4 * REFERENCES, np.int64)
    scratch = np.empty((2, _RUNS * LANES), np.float32)
    for parity in range(2):
        for i, place in enumerate(own_places(p, 0, 1, 2, parity, stride)):
            places[i] = place
        for q in range(references):
            for i, place in enumerate(reference_places(p - 1 - q, 0, 1, parity, stride)):
                places[4 + 4 * q + i] = place
        own = half_place(p, 0, parity, stride)
        runs = 0
        for at in range(step // 2, samples * whole, step):
            if runs < _RUNS:
                ring = rings[at // whole]
                j = at % whole * LANES
                gather_run(ring, places, references, parity, own, j, a, runs * RUN)
                runs += 1
        while runs % ABREAST:
            a[runs * RUN : (runs + 1) * RUN] = 0
            runs += 1
        count = tap_count(references, parity)
        fit_runs(a, runs, count, _ROUNDS, 1 << scale_of(bits), scratch, c[parity])


@kernel
def _load_sampled_rows(
    planes: Any, order: Any, p: int, rows: int, width: int, bits: int, edge: int, rings: Any
) -> None:
    """Put each sampled row of the p-th plane into slot 0 of its ring, those above into 1 and 2."""
    stride = half_stride(width)
    samples = rings.shape[0]
    for i in range(samples):
        r = _sampled_row(i, samples, rows)
        for above in range(3):
            if r >= above:
                part_row(planes[order[p], r - above], rings[i], p, above, stride, width, bits)
            else:
                fill_row(rings[i], p, above, stride, edge << scale_of(bits))


@kernel
def plan_planes(
    planes: Any,
    order: Any,
    rows: int,
    width: int,
    bits: Any,
    edges: Any,
    taps: Any,
    thresholds: Any,
    k: Any,
    codes: Any,
    ring: Any,
    z: Any,
) -> None:
    """Choose all planes' ``edges``, ``taps``, ``thresholds``, ``k`` and ``codes``.

    They are as in `codec.kernels.half_tile`, and zero before. ``planes`` uint16[components, rows,
    PAD + width + PAD] need nothing beside their rows, ``bits`` are each component's. Scratch:
    ``ring`` uint16[ROWS * ring_size], ``z`` uint16[GROUP * groups].
    """
    count = order.size
    groups = z.size // LANES
    stride = half_stride(width)
    samples = min(ROWS, max(rows - 2, 1))
    size = ring_size(count, width)
    rings = ring[: samples * size].reshape(samples, size)
    sums = np.empty((count, samples, 2, SIDE + groups + SIDE), np.int32)
    a = np.empty(_RUNS * RUN, np.float32)
    for p in range(count):
        depth = bits[order[p]]
        edges[p] = _mean(planes[order[p], 0], width)
        _load_sampled_rows(planes, order, p, rows, width, depth, edges[p], rings)
        if rows > 1 and width >= COLUMNS:
            _fit_plane(rings, samples, p, stride, width, depth, a, taps[p])
    for i in range(samples):
        below = min(_sampled_row(i, samples, rows) + 1, rows - 1)
        for turn in range(2):
            # The row below takes the place of the one two above.
            now, north, north2 = (0, 1, 2) if turn == 0 else (2, 0, 1)
            for p in range(count):
                depth = bits[order[p]]
                own = sums[p, i, turn]
                if turn:
                    part_row(planes[order[p], below], rings[i], p, now, stride, width, depth)
                residual_halves(
                    rings[i], p, now, north, north2, stride, width, depth, taps[p], z, own
                )
                pad_sums(own, groups, REACH)
    for p in range(count):
        depth = bits[order[p]]
        choose_classes(sums, p, groups, depth, REACH, thresholds[p], k[p], codes[p])


@kernel
def unevenness(planes: Any, rows: int, width: int) -> float:
    """How much residuals differ within groups of neighbours: see `codec.halves.unevenness`.

    Only some groups of some rows are looked at, of which there are two at least.
    """
    logs = _LOGS
    of_means = np.float64(0.0)
    of_each = np.float64(0.0)
    count = 0
    for c in range(planes.shape[0]):
        for i in range(_UNEVEN_ROWS):
            r = 1 + (2 * i + 1) * (rows - 1) // (2 * _UNEVEN_ROWS)
            row, above = planes[c, r], planes[c, r - 1]
            for first in range(PAD, PAD + width - GROUP + 1, _UNEVEN_STEP):
                total = np.int64(0)
                each = np.float32(0.0)
                for x in range(first, first + GROUP):
                    d = abs(np.int64(row[x]) - np.int64(above[x]))
                    total += d
                    if d > _MOST_LOG:
                        each += logs[d >> 4] + np.float32(4.0)
                    else:
                        each += logs[d]
                of_each += np.float64(each)
                of_means += np.log2(np.float64(2 * total) / GROUP + 1.0)
                count += 1
    return of_means / count - of_each / (count * GROUP)
