"""The mount benchmark's table, in Markdown that also reads well in a terminal."""

from __future__ import annotations

from collections import defaultdict
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

REFERENCE = "native"


class Metric(Enum):
    """What is measured: a label, and whether a smaller figure is the better one."""

    WRITE = ("write and close, MB/s", False)
    WRITE_SYNC = ("write, fsync and close, MB/s", False)
    READ_COLD = ("sequential read, cold, MB/s", False)
    AHEAD = ("frames decoded ahead of that, %", False)
    READ_WARM = ("sequential read, warm, MB/s", False)
    READ_OPEN = ("the same, kept open, MB/s", False)
    RANDOM = ("random preads 4 KiB-1 MiB, cold, MB/s", False)
    FRAME = ("a whole frame at random, cold, ms", True)
    FIRST = ("first frame after mounting, cold, ms", True)
    HEAD = ("open, read 2 KiB, close, cold, us", True)
    ENCODE = ("written until compressed, MB/s", False)
    BACKLOG = ("a backlog compressed, MB/s", False)
    BACKLOG_ON_ONE = ("a backlog compressed by one core, MB/s", False)
    LIST = ("ls -l, files/s", False)
    FIND = ("find, files/s", False)
    PEAK = ("largest resident memory, MB", True)
    RATIO = ("size on disk: logical/stored", False)

    def __init__(self, label: str, smaller_is_better: bool) -> None:
        self.label = label
        self.smaller_is_better = smaller_is_better


class Results:
    """Every round's figure of every metric and place."""

    def __init__(self) -> None:
        self._figures: dict[tuple[str, Metric], list[float]] = defaultdict(list)

    def add(self, place: str, metric: Metric, figure: float) -> None:
        """Note one round's figure."""
        self._figures[place, metric].append(figure)

    def best(self, place: str, metric: Metric) -> float | None:
        """The best round's figure, None where the metric was not measured."""
        found = self._figures.get((place, metric))
        if not found:
            return None
        return min(found) if metric.smaller_is_better else max(found)

    def spread(self, place: str, metric: Metric) -> float:
        """How far the worst round was from the best, as a fraction of the best."""
        found = self._figures[place, metric]
        best, worst = max(found), min(found)
        if metric.smaller_is_better:
            best, worst = worst, best
        return abs(worst / best - 1) if best else 0.0

    def as_json(self) -> dict[str, dict[str, list[float]]]:
        """All figures, by place and label."""
        out: dict[str, dict[str, list[float]]] = defaultdict(dict)
        for (place, metric), found in self._figures.items():
            out[place][metric.label] = found
        return dict(out)


def render(results: Results, places: Sequence[str], frames: Sequence[bytes], cold: str) -> str:
    """The table of a run, and the playback line."""
    size = len(frames[0]) / 1e6
    head = f"| {'':<38} |" + "".join(f" {place:>24} |" for place in places)
    lines = [
        f"{len(frames)} synthetic frames of {size:.1f} MB; MB/s are 10^6 bytes of DPX file a "
        f"second by the clock, best round; in brackets times {REFERENCE}, and how far the worst "
        f"round was off. Cold: {cold}.",
        "",
        head,
        "|:" + "-" * 39 + "|" + ("-" * 25 + ":|") * len(places),
    ]
    for metric in Metric:
        cells = "".join(f" {_cell(results, place, metric):>24} |" for place in places)
        lines.append(f"| {metric.label:<38} |{cells}")
    lines += ["", _playback(results, places, size)]
    return "\n".join(lines)


def _cell(results: Results, place: str, metric: Metric) -> str:
    best = results.best(place, metric)
    if best is None:
        return "-"
    digits = 2 if metric is Metric.RATIO else 0
    own = f"{best:.{digits}f}"
    native = results.best(REFERENCE, metric)
    if metric is Metric.RATIO:
        return own
    off = f"-+{results.spread(place, metric):.0%}"
    return f"{own} ({off})" if native is None else f"{own} (x{best / native:.2f}, {off})"


def _playback(results: Results, places: Sequence[str], megabytes: float) -> str:
    rates = []
    for place in places:
        best = results.best(place, Metric.READ_COLD)
        if best is not None:
            rates.append(f"{place} {best / megabytes:.0f}")
    return "Cold sequential reading in frames a second: " + ", ".join(rates) + "."
