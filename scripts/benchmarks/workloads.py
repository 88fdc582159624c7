"""What is done to a place, as programs that handle frames do it; timed by the clock."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

MIB = 1 << 20
HEAD_BYTES = 2048


@dataclass(frozen=True, slots=True)
class Access:
    """One pread."""

    frame: int
    offset: int
    size: int


def write_frames(folder: Path, frames: Sequence[bytes], *, fsync: bool) -> float:
    """Write each frame to a new file in pieces of 1 MiB, as cp does, and close it: seconds."""
    folder.mkdir(parents=True)
    start = time.perf_counter()
    for number, frame in enumerate(frames):
        view = memoryview(frame)
        descriptor = os.open(frame_path(folder, number), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            done = 0
            while done < len(view):
                done += os.write(descriptor, view[done : done + MIB])
            if fsync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return time.perf_counter() - start


def frame_path(folder: Path, number: int) -> Path:
    """Where `write_frames` puts a frame."""
    return folder / f"shot.{1001 + number:04d}.dpx"


def read_frames(folder: Path, count: int) -> float:
    """Read the frames one after the other, in pieces of 1 MiB: seconds."""
    buffer = bytearray(MIB)
    start = time.perf_counter()
    for number in range(count):
        with frame_path(folder, number).open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    return time.perf_counter() - start


def read_open_frames(folder: Path, count: int) -> float:
    """The same with all of them open before and after: seconds.

    Of frames that are in memory, no daemon takes part in that.
    """
    buffer = bytearray(MIB)
    with _opened(folder, count) as descriptors:
        start = time.perf_counter()
        for descriptor in descriptors:
            while os.readv(descriptor, [buffer]):
                pass
        return time.perf_counter() - start


@contextmanager
def _opened(folder: Path, count: int) -> Iterator[list[int]]:
    """Descriptors of the frames."""
    descriptors = [os.open(frame_path(folder, number), os.O_RDONLY) for number in range(count)]
    try:
        yield descriptors
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def same_frames(folder: Path, frames: Sequence[bytes]) -> bool:
    """Whether every file holds exactly what was written; not timed."""
    return all(
        frame_path(folder, number).read_bytes() == frame for number, frame in enumerate(frames)
    )


def plan_accesses(count: int, frame_bytes: int, accesses: int) -> list[Access]:
    """The same random accesses in every run: 4 KiB to 1 MiB, each power of two as often."""
    source = np.random.default_rng(20)
    plan = []
    for _ in range(accesses):
        size = min(4096 << int(source.integers(0, 9)), frame_bytes)
        offset = int(source.integers(0, frame_bytes - size + 1))
        plan.append(Access(int(source.integers(0, count)), offset, size))
    return plan


def random_preads(folder: Path, count: int, plan: Sequence[Access]) -> float:
    """Do the accesses on files that are all open, as a server or a viewer does: seconds."""
    with _opened(folder, count) as descriptors:
        start = time.perf_counter()
        for access in plan:
            os.pread(descriptors[access.frame], access.size, access.offset)
        return time.perf_counter() - start


def read_whole(path: Path) -> float:
    """Open a frame, read all of it and close it, as a viewer that jumps there does: seconds."""
    start = time.perf_counter()
    path.read_bytes()
    return time.perf_counter() - start


def read_heads(folder: Path, count: int) -> list[float]:
    """Open each frame, read its DPX header and close it, as a file browser does; seconds each."""
    seconds = []
    for number in range(count):
        start = time.perf_counter()
        descriptor = os.open(frame_path(folder, number), os.O_RDONLY)
        try:
            os.pread(descriptor, HEAD_BYTES, 0)
        finally:
            os.close(descriptor)
        seconds.append(time.perf_counter() - start)
    return seconds
