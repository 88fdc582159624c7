"""Directories of many small frames, as `ls -l` and `find` go through them."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import codec
from benchmarks.errors import BenchError
from codec.synthetic import dpx_frame

if TYPE_CHECKING:
    from benchmarks.mounts import Place

A_FOLDER = 10_000
_SPARE_DESCRIPTORS = 1_000


def most_files(wanted: int) -> int:
    """How many files of one folder can be measured: a pass-through mount keeps a descriptor for
    each that the kernel knows."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(wanted, max(soft - _SPARE_DESCRIPTORS, 100))


def fill(place: Place, folder: str, count: int) -> Path:
    """Put small frames where the place stands on, in the form it stores them in."""
    frame = dpx_frame(64, 48, frame=1)
    stored = codec.compress(frame) if place.compresses else frame
    target = place.backing / folder
    target.mkdir()
    for number in range(count):
        _write(target / f"shot.{number:07d}.dpx", stored)
    return place.root / folder


def fill_many(place: Place, folder: str, count: int) -> Path:
    """Put empty files there, in folders of `A_FOLDER` each."""
    top = place.backing / folder
    for number in range(count):
        if number % A_FOLDER == 0:
            part = top / f"{number // A_FOLDER:04d}"
            part.mkdir(parents=True)
        _write(part / f"shot.{number:07d}.dpx", b"")
    return place.root / folder


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


def list_long(folder: Path) -> float:
    """`ls -l`: seconds."""
    return _run("ls", "-l", str(folder))


def find(folder: Path) -> float:
    """`find` by name: seconds."""
    return _run("find", str(folder), "-name", "nothing")


def _run(*command: str) -> float:
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        raise BenchError(f"{' '.join(command)}: {done.stderr.decode().strip()}")
    return time.perf_counter() - start


def memory(pid: int, kind: str = "VmRSS") -> int:
    """Bytes a process has in memory (``VmRSS``) or had at most (``VmHWM``)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == kind:
            return int(value.split()[0]) << 10
    raise BenchError(f"process {pid} tells no {kind}")
