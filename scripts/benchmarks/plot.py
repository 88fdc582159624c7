"""The codec benchmark's picture: size against speed, drawn as SVG.

Two panels, encoding and decoding, share the vertical axis: bytes of the file for each stored byte.
Both axes are logarithmic, and better is up and to the right. The colours are Okabe and Ito's,
which the colour-blind can tell apart; every point also carries its name and each family a shape of
its own, so nothing hangs on colour. A viewer's dark mode is followed by a media query.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from benchmarks.cells import Figures

_WIDTH, _HEIGHT = 1080, 600
_TOP, _BOTTOM = 104, 528
_PANELS = ((66, 544), (584, 1062))
_LETTER, _LINE = 6.5, 14

# Role to colour, on white and on dark.
_COLOURS = {
    "back": ("#ffffff", "#0d1117"),
    "ink": ("#1f2328", "#f0f6fc"),
    "soft": ("#59636e", "#9198a1"),
    "grid": ("#d8dee4", "#30363d"),
    "pixfs": ("#0072b2", "#56b4e9"),
    "jxl": ("#b8487a", "#e28bb0"),
    "jls": ("#b45f00", "#e69f00"),
    "ht": ("#007a5a", "#2bc79a"),
    "ffv1": ("#6f4fa3", "#b79cf0"),
    "zstd": ("#6e7681", "#a9b1ba"),
    "exr": ("#8a6d00", "#f0e442"),
}
_SHAPES = """
  text { font: 12px ui-sans-serif, system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
  .title { font-size: 18px; font-weight: 600; }
  .panel { font-size: 14px; font-weight: 600; }
  .own { font-weight: 700; }
  .name { stroke-width: 3; stroke-linejoin: round; paint-order: stroke; }
  .join { stroke-width: 1.5; opacity: 0.55; }
  .mark { stroke-width: 1.2; }
  .leader { stroke-width: 0.75; opacity: 0.7; }"""


def _style() -> str:
    """The style sheet: classes rather than variables, which few viewers but browsers know."""
    sheets = []
    for shade in (0, 1):
        rules = [f"    .{role} {{ fill: {pair[shade]}; }}" for role, pair in _COLOURS.items()]
        rules += [
            f"    .{role}-line {{ stroke: {pair[shade]}; }}" for role, pair in _COLOURS.items()
        ]
        sheets.append("\n".join(rules))
    dark = f"  @media (prefers-color-scheme: dark) {{\n{sheets[1]}\n  }}"
    return f"{_SHAPES}\n{sheets[0]}\n{dark}\n"


@dataclass(frozen=True, slots=True)
class _Family:
    """Contenders that are settings of one codec, drawn alike and joined by a line."""

    start: str
    colour: str
    shape: str


_FAMILIES = (
    _Family("PixFS", "pixfs", "circle"),
    _Family("JPEG XL", "jxl", "square"),
    _Family("JPEG-LS", "jls", "diamond"),
    _Family("HTJ2K", "ht", "triangle"),
    _Family("FFV1", "ffv1", "down"),
    _Family("EXR", "exr", "plus"),
    _Family("zstd", "zstd", "cross"),
)


@dataclass(frozen=True, slots=True)
class _Point:
    name: str
    family: _Family
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class _Axis:
    """A logarithmic scale from values to pixels."""

    low: float
    high: float
    start: float
    stop: float

    def at(self, value: float) -> float:
        """The pixel of a value."""
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.stop - self.start)


@dataclass(frozen=True, slots=True)
class _Box:
    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: _Box) -> float:
        """The area both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width, 0) * max(height, 0)


def draw(figures: dict[str, Figures], title: str, subtitle: str) -> str:
    """An SVG document of contenders' figures, which must all be over the same frames."""
    ratios = _Axis(*_range((one.ratio for one in figures.values()), 1.04), _BOTTOM, _TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{_style()}</style>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" class="back"/>',
        _text(24, 34, title, "title ink"),
        _text(24, 56, subtitle, "soft"),
    ]
    ways: tuple[tuple[str, Callable[[Figures], float]], ...] = (
        ("Encoding", lambda one: one.encode_mb_s),
        ("Decoding", lambda one: one.decode_mb_s),
    )
    for (name, speed), (left, right) in zip(ways, _PANELS, strict=True):
        speeds = _Axis(*_range((speed(one) for one in figures.values()), 1.35), left, right)
        points = [
            _Point(label, _family(label), speeds.at(speed(one)), ratios.at(one.ratio))
            for label, one in figures.items()
        ]
        parts += _frame(name, speeds, ratios, left, right, labelled=left == _PANELS[0][0])
        parts += _joins(points)
        parts += [_mark(point) for point in points]
        parts += _names(points, left, right)
    note = "Logarithmic axes. Up is smaller, right is faster: the best corner is the upper right."
    parts += [_text(24, _HEIGHT - 14, note, "soft"), "</svg>", ""]
    return "\n".join(parts)


def _range(values: Iterable[float], margin: float) -> tuple[float, float]:
    """The range of an axis that holds the values with a margin (a factor) on both sides."""
    present = list(values)
    return min(present) / margin, max(present) * margin


def _family(name: str) -> _Family:
    return next((one for one in _FAMILIES if name.startswith(one.start)), _FAMILIES[-1])


def _ticks(axis: _Axis) -> list[float]:
    """Round values on the axis: 1, 2, 5 and their tens, or tenths where those are too few."""
    lowest = math.floor(math.log10(axis.low))
    tens = [10.0**power for power in range(lowest, lowest + 9)]
    ticks = [ten * step for ten in tens for step in (1, 2, 5)]
    chosen = [tick for tick in ticks if axis.low <= tick <= axis.high]
    if len(chosen) >= 4:
        return chosen
    span = axis.high - axis.low
    step = next(s for s in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 1e9) if span / s <= 9)
    first = math.ceil(axis.low / step)
    return [n * step for n in range(first, math.floor(axis.high / step) + 1)]


def _frame(
    name: str, speeds: _Axis, ratios: _Axis, left: float, right: float, *, labelled: bool
) -> list[str]:
    """A panel's heading, grid and labels of its axes."""
    parts = [_text(left, _TOP - 16, name, "panel ink")]
    for tick in _ticks(speeds):
        x = speeds.at(tick)
        parts += [_line(x, _TOP, x, _BOTTOM, "grid-line")]
        parts += [_text(x, _BOTTOM + 18, f"{tick:g}", "soft", "middle")]
    for tick in _ticks(ratios):
        y = ratios.at(tick)
        parts += [_line(left, y, right, y, "grid-line")]
        if labelled:
            parts.append(_text(left - 8, y + 4, f"{tick:.1f}", "soft", "end"))
    parts.append(_text(right, _BOTTOM + 38, "MB/s on one thread", "soft", "end"))
    if labelled:
        parts.append(_text(right, _TOP - 16, "ratio: original / stored", "soft", "end"))
    return parts


def _joins(points: Sequence[_Point]) -> list[str]:
    """Lines through the settings of one codec, in the order they were given."""
    return [
        f'<line x1="{one.x:.1f}" y1="{one.y:.1f}" x2="{two.x:.1f}" y2="{two.y:.1f}" '
        f'class="join {one.family.colour}-line"/>'
        for family in _FAMILIES
        for one, two in pairwise(p for p in points if p.family is family)
    ]


def _along(points: Sequence[_Point]) -> list[_Box]:
    """Small boxes along the lines of `_joins`, which names had better not cover."""
    boxes = []
    for family in _FAMILIES:
        for one, two in pairwise(p for p in points if p.family is family):
            steps = max(round(math.hypot(two.x - one.x, two.y - one.y) / 8), 1)
            for step in range(1, steps):
                x = one.x + (two.x - one.x) * step / steps
                y = one.y + (two.y - one.y) * step / steps
                boxes.append(_Box(x - 2, y - 2, x + 2, y + 2))
    return boxes


def _mark(point: _Point) -> str:
    x, y = point.x, point.y
    size = 6.5 if point.family.shape == "circle" else 5.5
    fill = f'class="mark {point.family.colour} back-line"'
    if point.family.shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size}" {fill}/>'
    outline = {
        "square": ((-1, -1), (1, -1), (1, 1), (-1, 1)),
        "diamond": ((0, -1.35), (1.35, 0), (0, 1.35), (-1.35, 0)),
        "triangle": ((0, -1.25), (1.2, 0.95), (-1.2, 0.95)),
        "down": ((0, 1.25), (1.2, -0.95), (-1.2, -0.95)),
        "plus": _CROSS,
        "cross": tuple(((a - b) * 0.75, (a + b) * 0.75) for a, b in _CROSS),
    }[point.family.shape]
    corners = " ".join(f"{x + size * a:.1f},{y + size * b:.1f}" for a, b in outline)
    return f'<polygon points="{corners}" {fill}/>'


_CROSS = (
    (-0.4, -1.3),
    (0.4, -1.3),
    (0.4, -0.4),
    (1.3, -0.4),
    (1.3, 0.4),
    (0.4, 0.4),
    (0.4, 1.3),
    (-0.4, 1.3),
    (-0.4, 0.4),
    (-1.3, 0.4),
    (-1.3, -0.4),
    (-0.4, -0.4),
)


def _names(points: Sequence[_Point], left: float, right: float) -> list[str]:
    """The points' names, each where it covers least; those that had to move get a leader."""
    taken = [_Box(p.x - 8, p.y - 8, p.x + 8, p.y + 8) for p in points]
    taken += _along(points)
    parts = []
    for point in sorted(points, key=lambda p: (p.family is not _FAMILIES[0], p.y)):
        width = _LETTER * len(point.name) * (1.06 if point.family is _FAMILIES[0] else 1)
        places = [_place(point, width, dx, dy) for dx, dy in _OFFSETS]
        costs = [
            sum(box.overlap(other) for other in taken) + 50 * _outside(box, left, right) + rank
            for rank, box in enumerate(places)
        ]
        box = places[costs.index(min(costs))]
        taken.append(box)
        centre = (box.left + box.right) / 2
        if abs((box.top + box.bottom) / 2 - point.y) > _LINE * 1.6:
            edge = box.top + 2 if box.top > point.y else box.bottom - 1
            parts.append(_line(point.x, point.y, centre, edge, "leader soft-line"))
        style = "name back-line ink" + (" own" if point.family is _FAMILIES[0] else "")
        parts.append(_text(centre, box.bottom - 3, point.name, style, "middle"))
    return parts


_OFFSETS = [
    (side, step * _LINE)
    for step in (0.0, -0.5, 0.5, -1.2, 1.2, -2.0, 2.0, -3.0, 3.0, -4.0, 4.0)
    for side in (1, -1, 0)
    if side or abs(step) >= 1.2
]


def _place(point: _Point, width: float, side: int, down: float) -> _Box:
    """The box of a name to the right (1), the left (-1), or the middle (0) of its point."""
    gap = 11
    left = {1: point.x + gap, -1: point.x - gap - width, 0: point.x - width / 2}[side]
    middle = point.y + down
    return _Box(left, middle - _LINE / 2, left + width, middle + _LINE / 2)


def _outside(box: _Box, left: float, right: float) -> float:
    """How many pixels of a box lie outside its panel."""
    across = max(left - box.left, 0) + max(box.right - right, 0)
    return across + max(_TOP - box.top, 0) + max(box.bottom - _BOTTOM, 0)


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, style: str, anchor: str = "start") -> str:
    return (
        f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
        f"{escape(text)}</text>"
    )
