"""What a process and each of its threads read, as the kernel counts it."""

from __future__ import annotations

import itertools
import threading
import time
from collections import defaultdict
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Meter", "metered"]

_EVERY_S = 0.02


class Meter:
    """Samples of a process, taken by a thread of our own.

    Reads count when they return: what is under way counts as not read yet.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._total: list[tuple[float, int]] = []
        self._of_thread: dict[int, list[tuple[float, int]]] = defaultdict(list)
        self._is_over = threading.Event()

    def run(self) -> None:
        """Until `stop`, or until the process has gone."""
        tasks = Path(f"/proc/{self._pid}/task")
        with suppress(FileNotFoundError, ProcessLookupError):
            while not self._is_over.wait(_EVERY_S):
                self._total.append((time.monotonic(), _read_by(Path(f"/proc/{self._pid}"))))
                for task in tasks.iterdir():
                    with suppress(FileNotFoundError, ProcessLookupError):
                        self._of_thread[int(task.name)].append((time.monotonic(), _read_by(task)))

    def stop(self) -> None:
        self._is_over.set()

    def moved(self, begin: float, end: float) -> float:
        """Bytes between two moments that have passed."""
        return _at(self._total, end) - _at(self._total, begin)

    def rate(self, begin: float, end: float) -> float:
        """Bytes a second between two moments."""
        return self.moved(begin, end) / (end - begin)

    def longest_wait(self, begin: float, end: float, piece: int) -> float:
        """Seconds the longest that a thread which reads much has gone without reading a piece."""
        longest = 0.0
        for samples in self._of_thread.values():
            within = [(at, count) for at, count in samples if begin <= at <= end]
            if not within or within[-1][1] - within[0][1] < 4 * piece:
                continue
            times = [within[0][0], *_advances(within, piece), within[-1][0]]
            longest = max(longest, *(b - a for a, b in itertools.pairwise(times)))
        return longest


def _advances(samples: list[tuple[float, int]], piece: int) -> Iterator[float]:
    last = samples[0][1]
    for at, count in samples:
        if count - last >= piece:
            last = count
            yield at


def _at(samples: list[tuple[float, int]], moment: float) -> float:
    before = [count for at, count in samples if at <= moment]
    return before[-1] if before else samples[0][1]


def _read_by(place: Path) -> int:
    line = (place / "io").read_text().split("\n", 1)[0]
    return int(line.removeprefix("rchar: "))


@contextmanager
def metered(pid: int) -> Iterator[Meter]:
    """A meter that runs for the length of the block; its figures stay."""
    meter = Meter(pid)
    thread = threading.Thread(target=meter.run, daemon=True)
    thread.start()
    try:
        yield meter
    finally:
        meter.stop()
        thread.join()
