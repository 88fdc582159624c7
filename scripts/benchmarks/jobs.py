"""A job of many small frames: submission, planning, listing while it runs, and frames a second
against ``cp -r`` of the same files on the same disk.

usage: scripts/bench jobs [--frames N] [--size BYTES] [--dir DIR]
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import trio
import xxhash

from server.core.database import Database, sqlite_url
from server.core.jobs import Filter, JobKind, JobRequest, Jobs
from server.core.permissions import SYSTEM
from server.core.storages import StorageKind, Storages
from server.work.dispatcher import Dispatcher
from server.work.engine import ThreadEngine

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The benchmark's options."""
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--dir", default="/var/tmp")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--verify", choices=("hash", "size"), default="hash")
    parser.add_argument("--rounds", type=int, default=1, help="of cp and job, in turn")


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    base = Path(tempfile.mkdtemp(prefix="pixfs-jobs-", dir=args.dir))
    try:
        _fill(base / "one" / "shot", args.frames, args.size)
        for number in range(args.rounds):
            # Nothing is removed before the end: ext4 passes over inodes that were freed a short
            # while ago one by one, which would slow down whatever comes after a removal.
            here = base / str(number)
            (here / "two").mkdir(parents=True)
            os.sync()
            before = _processor_s(resource.RUSAGE_CHILDREN)
            cp = args.frames / _cp(base / "one" / "shot", here / "cp")
            cp_s = _processor_s(resource.RUSAGE_CHILDREN) - before
            print(f"cp -r: {cp:.0f} frames/s (synced once at the end)")
            careful = args.frames / _careful_cp(base / "one" / "shot", here / "careful")
            print(f"cp -r, an fsync for each and both hashed: {careful:.0f} frames/s")
            before = _processor_s(resource.RUSAGE_SELF)
            job = trio.run(_measure, base / "one", here, args)
            job_s = _processor_s(resource.RUSAGE_SELF) - before
            print(f"job / cp -r: {job / cp:.2f} of its speed, {job / careful:.2f} of the careful's")
            print(
                f"processor time of a frame: {1000 * job_s / args.frames:.2f} ms,"
                f" cp -r {1000 * cp_s / args.frames:.2f} ms",
                flush=True,
            )
    finally:
        shutil.rmtree(base)
    return 0


def _processor_s(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def _fill(folder: Path, frames: int, size: int) -> None:
    folder.mkdir(parents=True)
    data = os.urandom(size)
    for number in range(frames):
        (folder / f"f.{number:06d}.dpx").write_bytes(data)


def _cp(source: Path, target: Path) -> float:
    began = time.perf_counter()
    subprocess.run(["cp", "-r", source, target], check=True)
    subprocess.run(["sync", "-f", target], check=True)
    return time.perf_counter() - began


def _careful_cp(source: Path, target: Path) -> float:
    """Seconds of ``cp -r`` with what a job promises besides: every frame durable before it counts,
    read back past the page cache, and compared by its hash."""
    began = time.perf_counter()
    subprocess.run(["cp", "-r", source, target], check=True)
    copies = sorted(target.iterdir())
    for first in range(0, len(copies), 1000):
        subprocess.run(["sync", *copies[first : first + 1000]], check=True)
    for copy in copies:
        with copy.open("rb", buffering=0) as landed:
            os.posix_fadvise(landed.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            digest = xxhash.xxh3_128_digest(landed.read())
        assert digest == xxhash.xxh3_128_digest((source / copy.name).read_bytes())
    return time.perf_counter() - began


async def _measure(source: Path, here: Path, args: argparse.Namespace) -> float:
    """Frames a second of one job, from its submission to its end."""
    database = Database(sqlite_url(here / "db.sqlite"))
    storages = Storages(database)
    for name, folder in (("one", source), ("two", here / "two")):
        await storages.add(SYSTEM, name, StorageKind.DIRECTORY, str(folder))
    engine = ThreadEngine(args.threads)
    dispatcher = Dispatcher(database, engine)
    jobs = Jobs(database, on_change=dispatcher.wake)
    async with trio.open_nursery() as nursery:
        await nursery.start(dispatcher.run)
        began = time.perf_counter()
        request = JobRequest(
            JobKind.COPY, "one", ("shot",), target="two", quiet_s=0, verify=args.verify
        )
        job = await jobs.submit(SYSTEM, request)
        print(f"submit: {(time.perf_counter() - began) * 1000:.1f} ms")
        while not job.files_total:
            await trio.sleep(0.01)
            job = await jobs.get(SYSTEM, job.id)
        print(f"planned: {job.files_total} files after {time.perf_counter() - began:.2f} s")
        looks = []
        while not job.state.is_final:
            look = time.perf_counter()
            await jobs.page(SYSTEM, Filter(), limit=100)
            looks.append((time.perf_counter() - look) * 1000)
            await trio.sleep(0.1)
            job = await jobs.get(SYSTEM, job.id)
        took = time.perf_counter() - began
        looks.sort()
        print(
            f"list: p50 {looks[len(looks) // 2]:.1f} ms, p99 {looks[len(looks) * 99 // 100]:.1f} ms"
        )
        print(f"job: {job.state}, {job.files_done} frames, {job.files_done / took:.0f} frames/s")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"memory: {peak:.0f} MiB at most")
        nursery.cancel_scope.cancel()
    database.close()
    return job.files_done / took
