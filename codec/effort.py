"""How hard the encoder looks, level by level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from codec.types import Level


@dataclass(frozen=True, slots=True)
class Effort:
    """What one level spends.

    ``fit_samples`` and ``fit_rounds`` of each plane's fit; statistics look at every ``step``-th
    row, the choice of the cross-plane weight at every ``cross_step``-th; tiles have about
    ``tile_pixels`` pixels; ``deflate`` and ``lzma`` are the presets for packed residuals.
    """

    fit_samples: int
    fit_rounds: int
    step: int
    cross_step: int
    tile_pixels: int
    deflate: int
    lzma: int


EFFORTS: dict[Level, Effort] = {
    "fast": Effort(512, 1, 16, 64, 1 << 18, 1, 0),
    "balanced": Effort(2048, 2, 8, 32, 1 << 18, 6, 1),
    "max": Effort(8192, 4, 1, 8, 1 << 18, 9, 6),
}
