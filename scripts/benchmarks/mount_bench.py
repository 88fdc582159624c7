"""`scripts/bench mount`: a mount beside the directory it stands on, in one run."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import listings, machine, workloads
from benchmarks.docs import replace_section
from benchmarks.errors import BenchError, NotLosslessError
from benchmarks.mount_report import Metric, Results, render
from benchmarks.mounts import PassThrough, PixFSMount, Place, pixfs
from codec.synthetic import dpx_frame

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

PACKAGES = ("numpy", "numba", "pyfuse3", "trio")
_ACCESSES = 400
_LONE = "lone"  # folder of the frame that is read first after a mount
_TURNS = 3  # in which a sequence is written, read cold, and found through, in each way, a round
_WRITES = ((Metric.WRITE, False), (Metric.WRITE_SYNC, True))
_WARM_READS = 3
_BACKLOG = 2  # sequences that wait when the compression of a backlog is timed
_ENCODE_TIMEOUT_S = 900.0
_ASKED_EVERY_S = 0.05  # asking takes a part of the daemon's time
_WARMUP_TIMEOUT_S = 900.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `scripts/bench mount`."""
    parser.add_argument("--backing", type=Path, help="measure on this file system ($TMPDIR)")
    parser.add_argument("--frames", type=int, default=16, help="frames of a sequence (16)")
    parser.add_argument("--size", default="2048x1556", help="pixels, WIDTHxHEIGHT (2048x1556)")
    parser.add_argument(
        "--files", type=int, default=10_000, help="small frames that are listed (10000)"
    )
    parser.add_argument(
        "--known", type=int, default=0, help="files to find on a mount in the end (0: left out)"
    )
    parser.add_argument(
        "--only-known", action="store_true", help="measure nothing else than --known"
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds; the best counts (3)")
    parser.add_argument("--level", default="balanced", help="PixFS level (balanced)")
    parser.add_argument(
        "--passthrough", type=Path, metavar="FILE", help="program run as FILE DIR MNT"
    )
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    parser.add_argument("--write-docs", type=Path, help="replace the section of figures in here")


def run(options: argparse.Namespace) -> int:
    """Measure, print, and write what was asked for; the exit code is 0 if all bytes were right.

    Raises:
        BenchError: a mount failed, or gave back other bytes than were written.
    """
    if options.backing:
        options.backing.mkdir(parents=True, exist_ok=True)
    if options.only_known:
        return _run_known(options)
    frames = _shot(options.size, options.frames)
    facts = machine.describe(PACKAGES)
    if pixfs("warmup", timeout_s=_WARMUP_TIMEOUT_S).returncode:
        raise BenchError("pixfs warmup failed; run it to see why")
    folder = Path(tempfile.mkdtemp(prefix="pixfs-bench-", dir=options.backing))
    try:
        facts["backing"] = _file_system(folder)
        with ExitStack() as mounted:
            places = _places(options, folder)
            for place in places:
                mounted.callback(place.stop)
                place.start()
            results = _measure(places, frames, options.rounds)
            _list(places, options.files, options.rounds, results)
            known = _know(_raw(places), options.known) if options.known else ""
    finally:
        _remove(folder)
    text = render(results, [place.name for place in places], frames, _cold_method())
    text += known and f"\n\n{known}"
    print(text)
    if options.json:
        document = {"machine": facts, "frames": len(frames), "results": results.as_json()}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    if options.write_docs:
        replace_section(options.write_docs, "mount", facts, text)
    return 0


def _run_known(options: argparse.Namespace) -> int:
    """Measure and print how many files a mount finds and keeps."""
    if options.known < 1:
        raise BenchError("--only-known needs --known N")
    folder = Path(tempfile.mkdtemp(prefix="pixfs-bench-", dir=options.backing))
    try:
        with ExitStack() as mounted:
            places = [place for place in _places(options, folder) if not place.compresses]
            for place in places:
                mounted.callback(place.stop)
                place.start()
            print(_know_beside(places, options.known, options.rounds))
            print(_know(_raw(places), options.known))
    finally:
        _remove(folder)
    return 0


def _know_beside(places: Sequence[Place], count: int, rounds: int) -> str:
    """Find as many files as the pass-through can hold, everywhere."""
    held = listings.most_files(count)
    folders = {place.name: listings.fill_many(place, "held", held) for place in places}
    best: dict[str, float] = {}
    for number in range(rounds):
        _progress(f"finding {held} files, round {number + 1} of {rounds}")
        for place in places:
            _forget(place)
            rate = held / listings.find(folders[place.name])
            best[place.name] = max(rate, best.get(place.name, 0.0))
    figures = ", ".join(f"{name} {rate:,.0f}" for name, rate in best.items())
    return f"find through {held:,} files, files a second, best of {rounds}: {figures}"


def _shot(size: str, count: int) -> list[bytes]:
    match = re.fullmatch(r"(\d+)x(\d+)", size)
    if match is None or count < 1:
        raise BenchError(f"--size must be WIDTHxHEIGHT and --frames positive, not {size}, {count}")
    width, height = int(match[1]), int(match[2])
    return [dpx_frame(width, height, frame=1001 + number) for number in range(count)]


def _places(options: argparse.Namespace, folder: Path) -> list[Place]:
    places = [Place("native", folder / "native")]
    if options.passthrough is None:
        print("pass-through left out: no --passthrough FILE given", file=sys.stderr)
    else:
        places.append(PassThrough("pass-through", folder / "through", options.passthrough))
    places.append(PixFSMount("PixFS raw", folder / "raw", "--manual"))
    settings = ("--settle", "0", "--level", options.level)
    places.append(PixFSMount("PixFS compressed", folder / "compressed", *settings))
    return places


def _measure(places: Sequence[Place], frames: Sequence[bytes], rounds: int) -> Results:
    """Every metric on every place in each round, so that all see the same neighbours."""
    results = Results()
    plan = workloads.plan_accesses(len(frames), len(frames[0]), _ACCESSES)
    for place in places:
        workloads.write_frames(place.root / _LONE, frames[:1], fsync=True)
        if place.compresses:
            _await_encoded([workloads.frame_path(place.root / _LONE, 0)])
    for number in range(rounds):
        _progress(f"round {number + 1} of {rounds}")
        for turn in range(_TURNS * len(_WRITES)):
            metric, fsync = _WRITES[turn % len(_WRITES)]
            for place in _rotated(places, turn):
                _write(place, frames, metric, results, fsync=fsync)
        for place in places:
            folder = place.root / f"round{number}"
            workloads.write_frames(folder, frames, fsync=True)
            if isinstance(place, PixFSMount) and place.compresses:
                _await_encoded(_paths(folder, frames))
                _compress_backlog(place, folder, frames, Metric.BACKLOG, results)
                with place.on_one_core():
                    _compress_backlog(place, folder, frames, Metric.BACKLOG_ON_ONE, results)
        for turn in range(_TURNS):
            for place in _rotated(places, turn):
                _read_cold(place, place.root / f"round{number}", frames, plan, results)
        for place in _rotated(places, number):
            _read_warm(place, place.root / f"round{number}", frames, results)
    return results


def _rotated(places: Sequence[Place], by: int) -> list[Place]:
    """All of them, another one first: whoever comes next has what the one before left."""
    first = by % len(places)
    return [*places[first:], *places[:first]]


def _paths(folder: Path, frames: Sequence[bytes]) -> list[Path]:
    return [workloads.frame_path(folder, number) for number in range(len(frames))]


def _write(
    place: Place, frames: Sequence[bytes], metric: Metric, results: Results, *, fsync: bool
) -> None:
    """Write a sequence, and remove it: the next one to write finds as much memory in use.

    Where it is compressed afterwards, wait for that, and note how long it took.
    """
    os.sync()
    machine.ready_memory()
    target = place.root / "written"
    amount = sum(map(len, frames)) / 1e6
    start = time.perf_counter()
    results.add(place.name, metric, amount / workloads.write_frames(target, frames, fsync=fsync))
    if place.compresses:
        _await_encoded(_paths(target, frames))
        if metric is Metric.WRITE:
            results.add(place.name, Metric.ENCODE, amount / (time.perf_counter() - start))
            # The backing files say what is stored; a mount may show a stat some moments late.
            stored_in = place.backing / target.relative_to(place.root)
            stored = sum(path.stat().st_blocks for path in stored_in.iterdir()) * 512
            results.add(place.name, Metric.RATIO, amount * 1e6 / stored)
    shutil.rmtree(target)


def _compress_backlog(
    place: PixFSMount, folder: Path, frames: Sequence[bytes], metric: Metric, results: Results
) -> None:
    """Have the mount compress several sequences while nobody reads or writes."""
    place.limit_reading("0")
    paths = []
    for number in range(_BACKLOG):
        target = folder / f"backlog{number}"
        workloads.write_frames(target, frames, fsync=False)
        paths += _paths(target, frames)
    os.sync()
    machine.ready_memory()
    start = time.perf_counter()
    place.limit_reading("unlimited")
    _await_encoded(paths)
    amount = _BACKLOG * sum(map(len, frames)) / 1e6
    results.add(place.name, metric, amount / (time.perf_counter() - start))
    for number in range(_BACKLOG):
        shutil.rmtree(folder / f"backlog{number}")


def _read_cold(
    place: Place,
    target: Path,
    frames: Sequence[bytes],
    plan: Sequence[workloads.Access],
    results: Results,
) -> None:
    """Read from the sequence in every way, each time with nothing of it in memory."""
    count = len(frames)
    _cool(place, results)
    heads = workloads.read_heads(target, count)
    results.add(place.name, Metric.HEAD, median(heads) * 1e6)
    _cool(place, results)
    touched = sum(access.size for access in plan) / 1e6
    random = workloads.random_preads(target, count, plan)
    results.add(place.name, Metric.RANDOM, touched / random)
    _cool(place, results)
    for number in _scattered(count):
        frame_s = workloads.read_whole(workloads.frame_path(target, number))
        results.add(place.name, Metric.FRAME, frame_s * 1e3)
    _cool(place, results)
    amount = sum(map(len, frames)) / 1e6
    results.add(place.name, Metric.READ_COLD, amount / workloads.read_frames(target, count))
    if isinstance(place, PixFSMount) and place.compresses:
        results.add(place.name, Metric.AHEAD, 100 * place.frames_prefetched() / count)


def _read_warm(place: Place, target: Path, frames: Sequence[bytes], results: Results) -> None:
    """Read the sequence again and again, and check at last that it holds what was written.

    Raises:
        NotLosslessError: it does not.
    """
    count = len(frames)
    amount = sum(map(len, frames)) / 1e6
    workloads.read_frames(target, count)
    for _ in range(_WARM_READS):
        results.add(place.name, Metric.READ_WARM, amount / workloads.read_frames(target, count))
        results.add(
            place.name, Metric.READ_OPEN, amount / workloads.read_open_frames(target, count)
        )
    if not workloads.same_frames(target, frames):
        raise NotLosslessError(f"{place.name} gave back other bytes than were written")


def _scattered(count: int) -> list[int]:
    """Every frame once, in an order that shows no step."""
    return [int(n) for n in np.random.default_rng(7).permutation(count)]


def _list(places: Sequence[Place], files: int, rounds: int, results: Results) -> None:
    """List folders that nobody has listed before, and find through them in turns."""
    count = listings.most_files(files)
    for number in range(rounds):
        _progress(f"listing, round {number + 1} of {rounds}")
        folders = {}
        for place in _rotated(places, number):
            folders[place.name] = folder = listings.fill(place, f"listed{number}", count)
            _forget(place)
            results.add(place.name, Metric.LIST, count / listings.list_long(folder))
        for turn in range(_TURNS):
            for place in _rotated(places, turn):
                _forget(place)
                results.add(place.name, Metric.FIND, count / listings.find(folders[place.name]))
    for place in places:
        if place.pid is not None:
            results.add(place.name, Metric.PEAK, listings.memory(place.pid, "VmHWM") / 1e6)


def _raw(places: Sequence[Place]) -> Place:
    return next(p for p in places if isinstance(p, PixFSMount) and not p.compresses)


def _forget(place: Place) -> None:
    """Have the kernel forget what files there are, and a mount with it."""
    os.sync()
    if _may_drop_caches():
        Path("/proc/sys/vm/drop_caches").write_text("2\n")
    else:
        place.stop()
        place.start()


def _know(place: Place, count: int) -> str:
    """Find more files than a process may open; what that took."""
    _progress(f"finding {count} files")
    folder = listings.fill_many(place, "known", count)
    _forget(place)
    pid = place.pid
    if pid is None:
        raise BenchError(f"{place.name} is no mount")
    before = listings.memory(pid)
    seconds = listings.find(folder)
    grown = (listings.memory(pid) - before) / count
    descriptors = len(os.listdir(f"/proc/{pid}/fd"))
    return (
        f"{place.name}: find went through {count:,} files in {seconds:.1f} s, {count / seconds:.0f}"
        f" a second; the daemon grew by {grown:.0f} bytes for each and had {descriptors}"
        " descriptors open afterwards."
    )


def _await_encoded(paths: Sequence[Path]) -> None:
    """Return when every file has its final form.

    Raises:
        BenchError: a file is not compressed, or not in time: its figures would mislead.
    """
    deadline = time.monotonic() + _ENCODE_TIMEOUT_S
    for path in paths:
        while (state := os.getxattr(path, "user.pixfs.state")) in (b"raw", b"queued"):
            if time.monotonic() > deadline:
                raise BenchError(f"{path.name} is still {state.decode()}")
            time.sleep(_ASKED_EVERY_S)
        if state != b"compressed":
            reason = os.getxattr(path, "user.pixfs.reason").decode()
            raise BenchError(f"{path.name} is {state.decode()}: {reason}")


def _cool(place: Place, results: Results) -> None:
    """Forget everything: the daemon's decoded frames by remounting, then the kernel's caches.

    A daemon that has just started pays once for what it loads. That cost is measured with a frame
    of its own and not again with every figure after it.
    """
    place.stop()
    _drop_caches(place)
    place.start()
    first = workloads.read_frames(place.root / _LONE, 1)
    results.add(place.name, Metric.FIRST, first * 1e3)
    _drop_caches(place)
    machine.ready_memory()


def _drop_caches(place: Place) -> None:
    os.sync()
    if _may_drop_caches():
        Path("/proc/sys/vm/drop_caches").write_text("3\n")
    else:
        _evict(place.backing)


def _may_drop_caches() -> bool:
    return os.access("/proc/sys/vm/drop_caches", os.W_OK)


def _cold_method() -> str:
    return "remount and drop_caches" if _may_drop_caches() else "remount and POSIX_FADV_DONTNEED"


def _evict(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def _remove(folder: Path) -> None:
    """Delete the run's files, unless something is still mounted among them."""
    mounts = [name for name in os.listdir(folder) if os.path.ismount(folder / name / "mnt")]
    if mounts:
        raise BenchError(f"still mounted, so not removed: {folder} ({', '.join(mounts)})")
    shutil.rmtree(folder)


def _file_system(folder: Path) -> str:
    """Type of the file system that holds a folder, from the longest mount point above it."""
    best = ("", "unknown")
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, point, kind = line.split()[:3]
        inside = str(folder) == point or str(folder).startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best[0]):
            best = (point, kind)
    return best[1]


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
