"""`scripts/bench codec`: size and one-thread speed of the codec and its peers, in one run."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import costs, instructions, machine, plot, targets
from benchmarks.cells import Cell, figures_of, mean_figures
from benchmarks.classes import FILM, FILM_CROPS, JUDGED
from benchmarks.codec_report import VERBATIM, cost_table, tables
from benchmarks.contenders import HtJ2k, JpegLs, JpegXl, PixFS, Zstd
from benchmarks.docs import replace_section
from benchmarks.errors import BenchError, UnreadableFrameError
from benchmarks.exr import ExrFile
from benchmarks.ffv1 import METHOD as FFV1_METHOD
from benchmarks.ffv1 import NAME as FFV1
from benchmarks.ffv1 import Ffv1
from benchmarks.frames import corpus_dir, load_frames
from benchmarks.timing import cpu_seconds

if TYPE_CHECKING:
    import argparse

    from benchmarks.contender import Contender
    from benchmarks.costs import Costs
    from benchmarks.frames import Frame

# Programs that start anew for each measurement take most of a run's time.
_FFV1_ROUNDS = 2
PACKAGES = ("numpy", "numba", "imagecodecs", "OpenEXR")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `scripts/bench codec`."""
    parser.add_argument("--corpus", type=Path, help="folder of real frames (or PIXFS_CORPUS)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; the best counts (3)")
    parser.add_argument("--per-class", type=int, default=5, help="most frames of a class (5)")
    parser.add_argument(
        "--content", nargs="+", metavar="TEXT", help="only classes whose name contains one"
    )
    parser.add_argument("--levels", nargs="+", default=["balanced"], help="PixFS levels to measure")
    parser.add_argument(
        "--jxl",
        nargs="+",
        type=int,
        default=[1, 3, 4],
        metavar="EFFORT",
        help="JPEG XL efforts (1 3 4); 4 and up take one round, 5 and up small frames only",
    )
    parser.add_argument("--no-ffv1", action="store_true", help="leave FFV1 (ffmpeg) out")
    parser.add_argument("--pixfs-only", action="store_true", help="leave all peers but JPEG-LS out")
    parser.add_argument("--no-costs", action="store_true", help="leave out memory, threads, starts")
    parser.add_argument(
        "--instructions", action="store_true", help="also count instructions (valgrind, a minute)"
    )
    parser.add_argument("--frames", action="store_true", help="also print each frame's figures")
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    parser.add_argument("--write-docs", type=Path, help="replace the section of figures in here")


def contenders(options: argparse.Namespace) -> list[Contender]:
    """The in-process contenders of a run, PixFS first."""
    ours: list[Contender] = []
    for level in options.levels:
        ours.append(PixFS(level))
        if level == "balanced":
            ours.append(PixFS(level, verify=True))
    if options.pixfs_only:
        return [*ours, JpegLs()]
    efforts = [JpegXl(effort) for effort in options.jxl]
    return [*ours, JpegLs(), *efforts, HtJ2k(), ExrFile("ZIP"), ExrFile("PIZ"), Zstd(3)]


def run(options: argparse.Namespace) -> int:
    """Measure, print, and write what was asked for; the exit code is 0 if all was lossless.

    Raises:
        BenchError: nothing to measure, a tool is missing, or a contender is not lossless.
    """
    corpus = corpus_dir(options.corpus)
    if corpus is None:
        print("No corpus found (--corpus, PIXFS_CORPUS): synthetic frames only.", file=sys.stderr)
    frames, left_out = load_frames(corpus, options.per_class, options.content)
    if not frames:
        raise BenchError("no frame to measure")
    for reason in left_out:
        print(f"left out: {reason}", file=sys.stderr)
    peers = contenders(options)
    facts = {"command": _command(), **machine.describe(PACKAGES)}
    methods = {peer.name: peer.method for peer in peers}
    if options.no_ffv1 or options.pixfs_only:
        cells = _measure(frames, peers, options.rounds, None)
    else:
        methods[FFV1] = FFV1_METHOD
        with Ffv1() as ffv1:
            cells = _measure(frames, peers, options.rounds, ffv1)
    extra, counted = _costs(frames, options)
    names = list(methods)
    contents = list(dict.fromkeys(frame.content for frame in frames))
    parts = [tables(cells, contents, names, options.rounds, each_frame=options.frames)]
    if extra is not None:
        parts.append(cost_table(extra, counted))
    parts.append(targets.render(cells, extra))
    text = "\n\n".join(parts)
    print(text)
    if options.json:
        document = {
            "machine": facts,
            "methods": methods,
            "rounds": options.rounds,
            "left_out": left_out,
            "cells": [asdict(cell) for cell in cells],
            "costs": asdict(extra) if extra else None,
            "instructions": counted,
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    if options.write_docs:
        _write_docs(options.write_docs, facts, text, cells, names)
    return 0


def _command() -> str:
    return "`scripts/bench " + " ".join(sys.argv[1:]) + "`"


def _costs(
    frames: list[Frame], options: argparse.Namespace
) -> tuple[Costs | None, dict[str, float]]:
    """Memory, threads and starts on the first 2K film frame; instructions on a small one."""
    measured: Costs | None = None
    counted: dict[str, float] = {}
    for frame in frames:
        if frame.content == FILM and measured is None and not options.no_costs:
            _progress(f"memory, threads, starts: {frame.name}")
            measured = costs.measure(frame)
        if frame.content == FILM_CROPS and options.instructions and not counted:
            _progress(f"counting instructions: {frame.name}")
            counted = instructions.count(frame, "balanced")
    _progress("")
    return measured, counted


def _is_coded(cells: list[Cell], content: str) -> bool:
    """Whether PixFS codes the class: copying one it does not would pass for speed."""
    own = figures_of(cells, content, "PixFS balanced")
    return own is not None and own.ratio >= VERBATIM


def _write_docs(
    page: Path, facts: dict[str, str], text: str, cells: list[Cell], names: list[str]
) -> None:
    """Replace the page's section of figures, and the picture beside it."""
    contents = [c for c in (FILM_CROPS, *JUDGED[1:]) if _is_coded(cells, c)]
    means = {name: mean_figures(cells, contents, name) for name in names}
    shown = {
        name: mean
        for name, mean in means.items()
        if mean is not None and not name.endswith("+ verify")
    }
    if shown:
        picture = page.with_name(f"{page.stem}-codec.svg")
        title = "Lossless film frames: size against speed"
        subtitle = (
            f"Geometric mean of {len(contents)} classes of content, frames of about a megapixel. "
            f"{facts['processor'].split(',')[0]}, one thread."
        )
        picture.write_text(plot.draw(shown, title, subtitle))
        text = f"![Ratio against speed of the codec and its peers]({picture.name})\n\n{text}"
    replace_section(page, "codec", facts, text)


def _measure(
    frames: list[Frame], peers: list[Contender], rounds: int, ffv1: Ffv1 | None
) -> list[Cell]:
    """Measure every contender on every frame, all contenders once a round."""
    cells: dict[tuple[str, str], Cell] = {}
    for frame in frames:
        for peer in peers:
            if peer.takes(frame):
                cells[frame.name, peer.name] = _verified(frame, peer)
    for number in range(rounds):
        # Each round starts with another contender, so none always follows the same one.
        turn = number % len(peers)
        order = [peer for peer in peers[turn:] + peers[:turn] if peer.rounds is None]
        for frame in frames:
            _progress(f"round {number + 1} of {rounds}: {frame.name}")
            for peer in order:
                if peer.takes(frame):
                    _time(cells[frame.name, peer.name], frame, peer)
            if ffv1 is not None and number < _FFV1_ROUNDS:
                _time_ffv1(cells, frame, ffv1)
    _progress("")
    return list(cells.values())


def _verified(frame: Frame, peer: Contender) -> Cell:
    """One checked pass, which also warms caches; timed only where no other follows.

    Raises:
        NotLosslessError: what comes back is not what went in.
    """
    _progress(f"checking {peer.name}: {frame.name}")
    source = peer.prepare(frame)
    encode_s, stored = cpu_seconds(lambda: peer.encode(source), repeat=False)
    decode_s, decoded = cpu_seconds(lambda: peer.decode(stored), repeat=False)
    peer.check(source, decoded)
    size = peer.stored_size(stored)
    cell = Cell(frame.name, frame.content, peer.name, len(frame.file), size)
    if peer.rounds is not None:
        cell.encode_s.append(encode_s)
        cell.decode_s.append(decode_s)
    return cell


def _time(cell: Cell, frame: Frame, peer: Contender) -> None:
    source = peer.prepare(frame)
    encode_s, stored = cpu_seconds(lambda: peer.encode(source))
    decode_s, _ = cpu_seconds(lambda: peer.decode(stored))
    cell.encode_s.append(encode_s)
    cell.decode_s.append(decode_s)


def _time_ffv1(cells: dict[tuple[str, str], Cell], frame: Frame, ffv1: Ffv1) -> None:
    try:
        timing = ffv1.measure(frame)
    except UnreadableFrameError:
        return  # FFV1 has no such pixel format; the report shows a class that it misses as "-"
    empty = Cell(frame.name, frame.content, FFV1, len(frame.file), timing.stored)
    cell = cells.setdefault((frame.name, FFV1), empty)
    cell.encode_s.append(timing.encode_s)
    cell.decode_s.append(timing.decode_s)


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text[:100]}", end="", file=sys.stderr, flush=True)
