"""What a codec run measures: one cell for each contender on each frame, and their sums."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import geometric_mean, median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(slots=True)
class Cell:
    """One contender on one frame: stored bytes, and CPU seconds of each round."""

    frame: str
    content: str
    contender: str
    original: int
    stored: int = 0
    encode_s: list[float] = field(default_factory=list)
    decode_s: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Figures:
    """A contender over some frames: sizes summed, speeds of the best rounds, worst spread."""

    original: int
    stored: int
    encode_mb_s: float
    decode_mb_s: float
    encode_spread: float
    decode_spread: float

    @property
    def ratio(self) -> float:
        """Bytes of the files for each stored byte."""
        return self.original / self.stored


def figures(cells: Sequence[Cell]) -> Figures:
    """Sum up cells of one contender; large frames weigh more, as they do in a shot."""
    original = sum(cell.original for cell in cells)
    return Figures(
        original,
        sum(cell.stored for cell in cells),
        original / 1e6 / sum(min(cell.encode_s) for cell in cells),
        original / 1e6 / sum(min(cell.decode_s) for cell in cells),
        median(max(cell.encode_s) / min(cell.encode_s) - 1 for cell in cells),
        median(max(cell.decode_s) / min(cell.decode_s) - 1 for cell in cells),
    )


def figures_of(cells: Iterable[Cell], content: str, contender: str) -> Figures | None:
    """A contender's figures over a class; None unless it was measured on all frames of it."""
    of_class = [cell for cell in cells if cell.content == content]
    own = [cell for cell in of_class if cell.contender == contender]
    if not own or len(own) < len({cell.frame for cell in of_class}):
        return None
    return figures(own)


def mean_figures(cells: Sequence[Cell], contents: Sequence[str], contender: str) -> Figures | None:
    """The geometric mean of the classes' ratios and speeds; None where one is missing.

    Every class weighs the same; `original` and `stored` keep the ratio only.
    """
    found = [figures_of(cells, content, contender) for content in contents]
    present = [one for one in found if one is not None]
    if not present or len(present) < len(found):
        return None
    million = 1_000_000
    return Figures(
        million,
        round(million / geometric_mean([one.ratio for one in present])),
        geometric_mean([one.encode_mb_s for one in present]),
        geometric_mean([one.decode_mb_s for one in present]),
        max(one.encode_spread for one in present),
        max(one.decode_spread for one in present),
    )
