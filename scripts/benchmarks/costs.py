"""What a frame costs beside time on one thread: memory, threads' gain, a new process's wait."""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import codec
from benchmarks.errors import BenchError
from benchmarks.folders import memory_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.frames import Frame

_STARTS = 5
_ROUNDS = 25
_THREADS = 2


@dataclass(slots=True)
class Costs:
    """Figures of one frame at level balanced."""

    frame: str
    original: int
    speed_up: dict[str, float] = field(default_factory=dict)
    """By direction: wall-clock seconds of one thread for each second of two."""
    side_by_side: dict[str, float] = field(default_factory=dict)
    """By direction: what two cores of this machine give two frames that share nothing."""
    memory: dict[str, float] = field(default_factory=dict)
    """By direction and threads: peak growth of resident memory, in frames."""
    first_s: list[float] = field(default_factory=list)
    """Seconds from starting an interpreter until it has decoded the frame."""

    @property
    def first_median_s(self) -> float:
        """The median start."""
        return statistics.median(self.first_s)


def measure(frame: Frame) -> Costs:
    """Measure one frame.

    Raises:
        BenchError: a child process failed, or decoded something else.
    """
    costs = Costs(frame.name, len(frame.file))
    stored = codec.encode(frame.file).container
    _measure_threads(costs, frame.file, stored)
    with memory_folder() as folder:
        plain, packed = Path(folder) / "frame", Path(folder) / "frame.pxf"
        plain.write_bytes(frame.file)
        packed.write_bytes(stored)
        for threads in (1, 2):
            for direction, path in (("encode", plain), ("decode", packed)):
                grown = int(_child("memory", str(path), direction, str(threads), "balanced"))
                costs.memory[f"{direction} {threads}"] = grown / len(frame.file)
        for _ in range(_STARTS):
            start = time.monotonic()
            ended, size = _child("first", str(packed)).split()
            if int(size) != len(frame.file):
                raise BenchError(f"a new process decoded {size} bytes of {len(frame.file)}")
            costs.first_s.append(float(ended) - start)
    return costs


def _measure_threads(costs: Costs, file: bytes, stored: bytes) -> None:
    """Best wall-clock times of one thread, of two in one frame, and of two frames side by side.

    Taken in turns. The last tells the machine's share in the gain: virtual cores often give two
    threads that have nothing to do with one another less than twice the work of one.
    """
    calls: dict[str, Callable[[int], object]] = {
        "encode": lambda threads: codec.encode(file, threads=threads, verify=False),
        "decode": lambda threads: codec.decompress(stored, threads=threads),
    }
    with ThreadPoolExecutor(_THREADS) as pool:
        for direction, call in calls.items():
            contenders = (
                partial(call, 1),
                partial(call, _THREADS),
                partial(_side_by_side, pool, call),
            )
            best = [math.inf] * len(contenders)
            for _ in range(_ROUNDS):
                for place, contender in enumerate(contenders):
                    best[place] = min(best[place], _wall_seconds(contender))
            one, within, beside = best
            costs.speed_up[direction] = one / within
            costs.side_by_side[direction] = _THREADS * one / beside


def _side_by_side(pool: ThreadPoolExecutor, call: Callable[[int], object]) -> None:
    for done in [pool.submit(call, 1) for _ in range(_THREADS)]:
        done.result()


def _wall_seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _child(*arguments: str) -> str:
    command = [sys.executable, "-m", "benchmarks.child", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
