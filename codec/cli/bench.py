"""``python -m codec bench``: what the levels make of a person's own files, and how fast."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from codec.cli import contenders
from codec.warmup import warmup

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from codec.cli.contenders import Contender
    from codec.cli.files import Input

_SHORTEST_S = 0.02


@dataclass(slots=True)
class Tally:
    """One contender over the files it could be given: bytes, and the best CPU seconds of each."""

    files: int = 0
    original: int = 0
    stored: int = 0
    encode_s: float = 0.0
    decode_s: float = 0.0
    unsound: list[str] = field(default_factory=list)
    """Files that did not come back as they were."""


def run(files: Sequence[Input], options: argparse.Namespace) -> int:
    """Measure and print a table; 1 if a file could not be read or did not come back right.

    Times are CPU seconds of one thread, best of the rounds; the contenders take turns on each
    file in each round. Files are taken one at a time, each read once.
    """
    chosen = [contenders.own(level) for level in options.levels]
    if not options.no_peers:
        chosen += contenders.others()
    tallies = {one.name: Tally() for one in chosen}
    failed = False
    warmup()
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("measuring", total=len(files) * options.rounds)
        for one in files:
            try:
                file = one.path.read_bytes() if one.reason is None else b""
            except OSError as error:
                file, reason = b"", error.strerror or str(error)
            else:
                reason = one.reason or "is empty"
            if not file:
                progress.console.print(f"{one.path}: {reason}", markup=False, soft_wrap=True)
                failed = True
                continue
            _measure(
                one.path.name, file, chosen, tallies, options.rounds, lambda: progress.advance(task)
            )
    if not any(tally.files for tally in tallies.values()):
        return 1
    Console(width=None if sys.stdout.isatty() else 100).print(_table(tallies, options.rounds))
    if not options.no_peers and len(chosen) == len(options.levels):
        print("No other codecs to compare with: pip install imagecodecs")
    for name, tally in tallies.items():
        for file_name in tally.unsound:
            print(f"{file_name}: {name} did not give it back as it was", file=sys.stderr)
            failed = True
    return 1 if failed else 0


def _measure(
    name: str,
    file: bytes,
    chosen: Sequence[Contender],
    tallies: dict[str, Tally],
    rounds: int,
    advance: Callable[[], None],
) -> None:
    """Add one file to the tallies."""
    sources = {one.name: one.prepare(file) for one in chosen}
    best = {one.name: [float("inf"), float("inf")] for one in chosen}
    sizes: dict[str, int] = {}
    for number in range(rounds):
        for one in chosen:
            source = sources[one.name]
            if not source:
                continue
            encode_s, stored = _timed(one.encode, source)
            decode_s, decoded = _timed(one.decode, stored)
            best[one.name] = [min(best[one.name][0], encode_s), min(best[one.name][1], decode_s)]
            if number == 0:
                sizes[one.name] = sum(len(part) for part in stored)
                if not all(map(one.same, source, decoded)):
                    tallies[one.name].unsound.append(name)
        advance()
    for contender, size in sizes.items():
        tally = tallies[contender]
        tally.files += 1
        tally.original += len(file)
        tally.stored += size
        tally.encode_s += best[contender][0]
        tally.decode_s += best[contender][1]


def _timed(call: Callable[[Any], Any], parts: Sequence[Any]) -> tuple[float, list[Any]]:
    """CPU seconds of a call on each part, and what it made; too short a time is repeated."""
    start = time.process_time()
    result = [call(part) for part in parts]
    once = time.process_time() - start
    if once >= _SHORTEST_S:
        return once, result
    times = int(_SHORTEST_S / max(once, 1e-5)) + 1
    start = time.process_time()
    for _ in range(times):
        for part in parts:
            call(part)
    return (time.process_time() - start) / times, result


def _table(tallies: dict[str, Tally], rounds: int) -> Table:
    most = max(tally.files for tally in tallies.values())
    table = Table(box=box.SIMPLE_HEAD, title="One thread, MB of frame a CPU second")
    table.title_justify = "left"
    table.caption = f"best of {rounds} rounds; every result decoded and compared"
    table.caption_justify = "left"
    for heading in ("", "files", "MB stored", "ratio", "encode MB/s", "decode MB/s"):
        table.add_column(heading, justify="left" if not heading else "right", no_wrap=True)
    for name, tally in tallies.items():
        if not tally.files or tally.unsound:
            table.add_row(name, str(tally.files), "-", "-", "-", "-", style="dim")
            continue
        table.add_row(
            name,
            str(tally.files),
            f"{tally.stored / 1e6:.2f}",
            f"{tally.original / tally.stored:.3f}",
            f"{tally.original / 1e6 / max(tally.encode_s, 1e-9):.0f}",
            f"{tally.original / 1e6 / max(tally.decode_s, 1e-9):.0f}",
            style="" if tally.files == most else "dim",
        )
    return table
