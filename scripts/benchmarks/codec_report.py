"""The codec benchmark's tables, in Markdown that also reads well in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.cells import Cell, Figures, figures, figures_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.costs import Costs

REFERENCE = "JPEG-LS"
VERBATIM = 1.001
"""The least ratio that is no copy."""


def tables(
    cells: Sequence[Cell],
    contents: Sequence[str],
    names: Sequence[str],
    rounds: int,
    *,
    each_frame: bool,
) -> str:
    """The tables of all classes."""
    lines = [
        f"One thread; MB/s are 10^6 bytes of the frame's file a CPU second, best of {rounds} "
        "rounds; in brackets how much slower the worst round was (none: one round). The last three "
        f"columns are times {REFERENCE}.",
    ]
    for content in contents:
        chosen = [cell for cell in cells if cell.content == content]
        frames = list(dict.fromkeys(cell.frame for cell in chosen))
        if each_frame:
            for frame in frames:
                of_frame = [cell for cell in chosen if cell.frame == frame]
                lines += _table(f"{content}: {frame}", of_frame, names)
        lines += _table(f"{content} ({len(frames)} frame{'s' * (len(frames) > 1)})", chosen, names)
    return "\n".join(lines)


def _table(title: str, cells: Sequence[Cell], names: Sequence[str]) -> list[str]:
    columns = f"| {'codec':<24} | {'ratio':>7} | {'encode MB/s':>14} | {'decode MB/s':>14} |"
    columns += f" {'size':>6} | {'encode':>7} | {'decode':>7} |"
    rule = "|:" + "-" * 25 + "|" + "|".join("-" * (n + 1) + ":" for n in (8, 15, 15, 7, 8, 8)) + "|"
    lines = ["", f"**{title}**", "", columns, rule]
    content = cells[0].content
    reference = figures([cell for cell in cells if cell.contender == REFERENCE])
    verbatim = False
    for name in names:
        # Figures over fewer frames than the others' would not be comparable.
        own = figures_of(cells, content, name)
        if own is not None:
            lines.append(_row(name, own, reference))
            verbatim |= name.startswith("PixFS") and own.ratio < VERBATIM
    if verbatim:
        lines += ["", "PixFS stores these frames as they are: it does not code their format."]
    return lines


def _row(name: str, own: Figures, reference: Figures) -> str:
    size = own.stored / reference.stored
    faster = own.encode_mb_s / reference.encode_mb_s, own.decode_mb_s / reference.decode_mb_s
    return (
        f"| {name:<24} | {own.ratio:>7.3f} | {_speed(own.encode_mb_s, own.encode_spread):>14} |"
        f" {_speed(own.decode_mb_s, own.decode_spread):>14} |"
        f" {size:>6.3f} | {faster[0]:>7.2f} | {faster[1]:>7.2f} |"
    )


def _speed(mb_s: float, spread: float) -> str:
    return f"{mb_s:.1f} (+{spread:.0%})" if spread else f"{mb_s:.1f}"


def cost_table(costs: Costs, instructions: dict[str, float]) -> str:
    """Memory, threads' gain, a new process's wait and instructions, of one frame."""
    lines = [
        f"**Beside one thread's speed** (balanced, {costs.frame}, {costs.original / 1e6:.1f} MB)",
        "",
        f"| {'':<64} | {'encode':>8} | {'decode':>8} |",
        "|:" + "-" * 65 + "|" + ("-" * 9 + ":|") * 2,
    ]

    def row(label: str, encode: str, decode: str) -> None:
        lines.append(f"| {label:<64} | {encode:>8} | {decode:>8} |")

    gains = {
        "two threads in one frame: times the speed of one, wall clock": costs.speed_up,
        "two frames side by side, a thread each (the machine's share)": costs.side_by_side,
    }
    for label, gain in gains.items():
        row(label, *(f"{times:.2f}" for times in gain.values()))
    for threads in (1, 2):
        grown = [f"{costs.memory[f'{way} {threads}']:.2f}" for way in ("encode", "decode")]
        label = f"peak memory in frames, the frame's own bytes included, {threads} thread"
        row(label + "s" * (threads > 1), *grown)
    row(
        f"from starting Python to the first frame, median of {len(costs.first_s)}, s",
        "-",
        f"{costs.first_median_s:.2f}",
    )
    if instructions:
        row("instructions a sample (callgrind, AVX2)", *(f"{n:.1f}" for n in instructions.values()))
    return "\n".join(lines)
