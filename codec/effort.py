"""How hard the encoder looks, level by level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from codec.types import Level


@dataclass(frozen=True, slots=True)
class Effort:
    """What one level spends.

    ``fit_samples`` and ``fit_rounds`` of each plane's fit; statistics look at every ``step``-th
    row, the choice of the cross-plane weight at every ``cross_step``-th; tiles have about
    ``tile_pixels`` pixels: the more, the less a tile's heads and fits weigh, and the longer it
    takes to reach one sample. ``side`` is the preset that side data, which the rows kept with the
    header are most of, is deflated with; ``deflate`` and ``lzma`` are those for packed residuals.

    Tiles at least ``quick_width`` wide, if that is not 0, are coded in mode 5 (narrower ones would
    be too much filling up), unless they are less uneven than ``quick_evenness``, as clean pictures
    are, or more than ``quick_unevenness``. Where they have hardly any flat blocks, a
    general-purpose compressor is tried besides only if they take less than ``quick_clean`` bytes a
    sample.

    Mode 6 is tried as ``deep`` says; it is chosen where it takes less than ``deep_worth`` of the
    other modes' bytes. Its fit takes ``deep_rounds`` and looks at ``deep_rows`` (4, 8 or 16) of the
    16 rows of each block.
    """

    fit_samples: int
    fit_rounds: int
    step: int
    cross_step: int
    tile_pixels: int
    side: int
    deflate: int
    lzma: int
    quick_width: int = 0
    quick_evenness: float = 0.2
    quick_unevenness: float = 1.2
    quick_clean: float = 1 / 16
    deep: Literal["never", "promising", "always"] = "never"
    deep_rounds: int = 3
    deep_rows: int = 4
    deep_worth: float = 1.0


EFFORTS: dict[Level, Effort] = {
    "fast": Effort(2048, 2, 8, 64, 1 << 19, 2, 6, 0, quick_width=64),
    "balanced": Effort(4096, 3, 8, 64, 1 << 18, 4, 6, 1, deep="promising"),
    "max": Effort(8192, 4, 1, 8, 3 << 16, 9, 9, 6, deep="always", deep_rounds=8, deep_rows=8),
}
