"""What the codec promises, and whether a run kept it."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import geometric_mean
from typing import TYPE_CHECKING

from benchmarks.cells import Figures, figures_of
from benchmarks.classes import FILM, FILM_CROPS, JUDGED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.cells import Cell
    from benchmarks.costs import Costs

_SIZE_PEERS = ("JPEG XL e4", "FFV1", "JPEG-LS", "EXR ZIP", "EXR PIZ")
_COMMON_PEERS = 3
"""The first of them, which can code every class."""
_BALANCED, _FAST, _MAX = "PixFS balanced", "PixFS fast", "PixFS max"
_SPEED = 6.0
_FAST_SPEED, _FAST_SIZE = 2.0, 1.10
_MAX_SPEED = 2.0
_THREADS, _MEMORY, _FIRST_S = 1.8, 4.0, 1.5


_WORDS = {True: "met", False: "**not met**", None: "not measured"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One promise: its words, what was measured, and whether that keeps it (None: not measured)."""

    promise: str
    figure: str
    met: bool | None

    def row(self) -> str:
        """A row of the table."""
        return f"| {self.promise} | {self.figure} | {_WORDS[self.met]} |"


def render(cells: Sequence[Cell], costs: Costs | None) -> str:
    """The closing block: sizes by class, then every other promise."""
    lines = ["**Targets: size** (balanced; bytes stored for each byte of the peer's)", ""]
    lines += size_table(cells)
    lines += ["", "**Targets: the rest**", "", "| target | measured | |", "|:--|:--|:--|"]
    verdicts = [*speeds(cells), *levels(cells), *resources(costs)]
    lines += [verdict.row() for verdict in verdicts]
    return "\n".join(lines)


def size_table(cells: Sequence[Cell]) -> list[str]:
    """One row a judged class: balanced's size against each peer it must not exceed."""
    lines = [
        "| class | " + " | ".join(_SIZE_PEERS) + " | no larger than any |",
        "|:--|" + "--:|" * len(_SIZE_PEERS) + ":--|",
    ]
    for content in JUDGED:
        own = figures_of(cells, content, _BALANCED)
        if own is None:
            continue
        against = [_relative_size(cells, content, own, peer) for peer in _SIZE_PEERS]
        shown = " | ".join("-" if size is None else f"{size:.3f}" for size in against)
        lines.append(f"| {content} | {shown} | {_WORDS[_no_larger(against)]} |")
    return lines


def _no_larger(against: list[float | None]) -> bool | None:
    """Whether no size is above 1; None if none is, but one that every class has is missing."""
    if any(size is not None and size > 1 for size in against):
        return False
    return None if None in against[:_COMMON_PEERS] else True


def _relative_size(cells: Sequence[Cell], content: str, own: Figures, peer: str) -> float | None:
    other = figures_of(cells, content, peer)
    return None if other is None else own.stored / other.stored


def speeds(cells: Sequence[Cell]) -> list[Verdict]:
    """Balanced against JPEG-LS on 2K film."""
    verdicts = []
    for way, speed in _WAYS.items():
        promise = f"balanced {way}s 2K 10-bit film at {_SPEED:g} times JPEG-LS's speed"
        times = _times(cells, _BALANCED, "JPEG-LS", speed)
        verdicts.append(_at_least(promise, times, _SPEED))
    return verdicts


def levels(cells: Sequence[Cell]) -> list[Verdict]:
    """What fast and max give for what they take."""
    verdicts = [
        _at_least(
            f"fast {way}s 2K film at {_FAST_SPEED:g} times balanced's speed",
            _times(cells, _FAST, _BALANCED, speed),
            _FAST_SPEED,
        )
        for way, speed in _WAYS.items()
    ]
    fast = _mean_size(cells, _FAST, _BALANCED)
    verdicts.append(_at_most("fast stores at most 10 % more than balanced", fast, _FAST_SIZE))
    best = _mean_size(cells, _MAX, "JPEG XL e7")
    verdicts.append(_at_most("max stores no more than JPEG XL e7 (frames of a megapixel)", best, 1))
    decode = _times(cells, _MAX, "JPEG-LS", _WAYS["decode"])
    promise = f"max decodes 2K film at {_MAX_SPEED:g} times JPEG-LS's speed"
    return [*verdicts, _at_least(promise, decode, _MAX_SPEED)]


def resources(costs: Costs | None) -> list[Verdict]:
    """Threads, memory and the first frame."""
    gains = costs.speed_up if costs else dict.fromkeys(_WAYS)
    verdicts = [
        _at_least(f"two threads {way} one frame {_THREADS:g} times as fast", gain, _THREADS)
        for way, gain in gains.items()
    ]
    memory = max(costs.memory.values()) if costs else None
    promise = f"peak memory stays below {_MEMORY:g} frames"
    verdicts.append(_at_most(promise, memory, _MEMORY, "{:.2f} frames"))
    first = costs.first_median_s if costs else None
    promise = f"a new process has decoded its first 2K frame within {_FIRST_S:g} s"
    return [*verdicts, _at_most(promise, first, _FIRST_S, "{:.2f} s")]


_WAYS: dict[str, Callable[[Figures], float]] = {
    "encode": lambda one: one.encode_mb_s,
    "decode": lambda one: one.decode_mb_s,
}


def _times(
    cells: Sequence[Cell], own: str, other: str, speed: Callable[[Figures], float]
) -> float | None:
    """How many times as fast ``own`` is on the film class."""
    ours, theirs = (figures_of(cells, FILM, name) for name in (own, other))
    return None if ours is None or theirs is None else speed(ours) / speed(theirs)


def _mean_size(cells: Sequence[Cell], own: str, other: str) -> float | None:
    """The geometric mean over the classes, those measured with both, of relative sizes."""
    sizes = []
    for content in (FILM_CROPS, *JUDGED):
        ours, theirs = (figures_of(cells, content, name) for name in (own, other))
        if ours is not None and theirs is not None:
            sizes.append(ours.stored / theirs.stored)
    return geometric_mean(sizes) if sizes else None


def _at_least(promise: str, value: float | None, least: float) -> Verdict:
    if value is None:
        return Verdict(promise, "-", None)
    return Verdict(promise, f"{value:.2f} times", value >= least)


def _at_most(promise: str, value: float | None, most: float, form: str = "{:.3f} times") -> Verdict:
    if value is None:
        return Verdict(promise, "-", None)
    return Verdict(promise, form.format(value), value <= most)
