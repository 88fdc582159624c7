"""The codec benchmark's tables, in Markdown that also reads well in a terminal."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.recipes import FILM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.codec_bench import Cell

REFERENCE = "JPEG-LS"
SUBJECT = "PixFS balanced"
TARGET_SPEED = 3.0


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
        """DPX bytes for each stored byte."""
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


def render(
    cells: Sequence[Cell],
    contents: Sequence[str],
    names: Sequence[str],
    rounds: int,
    *,
    each_frame: bool,
) -> str:
    """All tables of a run, and the target line."""
    lines = [
        f"One thread; MB/s are 10^6 bytes of DPX file a CPU second, best of {rounds} rounds; "
        "in brackets how much slower the worst round was.",
    ]
    for content in contents:
        chosen = [cell for cell in cells if cell.content == content]
        if each_frame:
            for frame in dict.fromkeys(cell.frame for cell in chosen):
                of_frame = [cell for cell in chosen if cell.frame == frame]
                lines += _table(f"{content}: {frame}", of_frame, names)
        count = len({cell.frame for cell in chosen})
        lines += _table(f"{content} ({count} frame{'s' * (count > 1)})", chosen, names)
    lines += ["", *_target(cells)]
    return "\n".join(lines)


def _table(title: str, cells: Sequence[Cell], names: Sequence[str]) -> list[str]:
    columns = f"| {'codec':<24} | {'ratio':>7} | {'encode MB/s':>14} | {'decode MB/s':>14} |"
    columns += f" {'size':>6} | {'encode':>7} | {'decode':>7} |"
    rule = "|:" + "-" * 25 + "|" + "|".join("-" * (n + 1) + ":" for n in (8, 15, 15, 7, 8, 8)) + "|"
    lines = ["", f"**{title}** (the last three columns: times {REFERENCE})", "", columns, rule]
    reference = [cell for cell in cells if cell.contender == REFERENCE]
    for name in names:
        own = [cell for cell in cells if cell.contender == name]
        if not own:
            continue
        # Figures over fewer frames than the others' would not be comparable.
        complete = len(own) == len(reference)
        lines.append(_row(name, figures(own), figures(reference)) if complete else _empty(name))
    return lines


def _row(name: str, own: Figures, reference: Figures) -> str:
    encode = f"{own.encode_mb_s:.1f} (+{own.encode_spread:.0%})"
    decode = f"{own.decode_mb_s:.1f} (+{own.decode_spread:.0%})"
    size = own.stored / reference.stored
    faster = own.encode_mb_s / reference.encode_mb_s, own.decode_mb_s / reference.decode_mb_s
    return (
        f"| {name:<24} | {own.ratio:>7.3f} | {encode:>14} | {decode:>14} |"
        f" {size:>6.3f} | {faster[0]:>7.2f} | {faster[1]:>7.2f} |"
    )


def _empty(name: str) -> str:
    return f"| {name:<24} | {'-':>7} | {'-':>14} | {'-':>14} | {'-':>6} | {'-':>7} | {'-':>7} |"


def _target(cells: Sequence[Cell]) -> list[str]:
    """Whether the film class meets: no larger than JPEG-LS, at 3 times its speed both ways."""
    film = [cell for cell in cells if cell.content == FILM]
    own = [cell for cell in film if cell.contender == SUBJECT]
    reference = [cell for cell in film if cell.contender == REFERENCE]
    if not own or not reference:
        return [f"Target: not judged; it needs {SUBJECT} and {REFERENCE} on {FILM} frames."]
    ours, theirs = figures(own), figures(reference)
    checked = [cell for cell in film if cell.contender == f"{SUBJECT} + verify"]
    size = ours.stored / theirs.stored
    encode = ours.encode_mb_s / theirs.encode_mb_s
    decode = ours.decode_mb_s / theirs.decode_mb_s
    met = size <= 1 and encode >= TARGET_SPEED and decode >= TARGET_SPEED
    verdict = (
        f"Target on {FILM} ({SUBJECT} against {REFERENCE}: size <= 1, speed >= "
        f"{TARGET_SPEED:g} both ways): size {size:.3f}, encode {encode:.2f}, decode {decode:.2f}: "
    )
    lines = [verdict + ("**met**." if met else "**not met**.")]
    if checked:
        speed = figures(checked).encode_mb_s / theirs.encode_mb_s
        lines.append(f"With its own decode-verify, which no peer does, it encodes {speed:.2f} x.")
    return lines
