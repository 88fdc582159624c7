"""What a frame costs beside time on one thread: memory, threads' gain, a new process's wait."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import codec
from benchmarks.errors import BenchError
from benchmarks.folders import memory_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.frames import Frame

_STARTS = 5
_ROUNDS = 5


@dataclass(slots=True)
class Costs:
    """Figures of one frame at level balanced."""

    frame: str
    original: int
    speed_up: dict[str, float] = field(default_factory=dict)
    """By direction: wall-clock seconds of one thread for each second of two."""
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
    costs.speed_up = _speed_up(frame.file, stored)
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


def _speed_up(file: bytes, stored: bytes) -> dict[str, float]:
    """Best wall-clock times of one thread over those of two, taken in turns."""
    calls: dict[str, Callable[[int], object]] = {
        "encode": lambda threads: codec.encode(file, threads=threads, verify=False),
        "decode": lambda threads: codec.decompress(stored, threads=threads),
    }
    gains = {}
    for direction, call in calls.items():
        taken: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(_ROUNDS):
            for threads, times in taken.items():
                start = time.perf_counter()
                call(threads)
                times.append(time.perf_counter() - start)
        gains[direction] = min(taken[1]) / min(taken[2])
    return gains


def _child(*arguments: str) -> str:
    command = [sys.executable, "-m", "benchmarks.child", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
