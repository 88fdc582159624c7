"""python -m tests.exerciser: random work on a mount against a model, while a converter
compresses and restores the same files. Exit status 0 when nothing differed."""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import codec
from pixfs.volume import Policy, check
from tests.checklogs import lines_to_act_on
from tests.exerciser.systems import MountSystem, VolumeSystem
from tests.exerciser.work import NAMES, Mismatch, Worker
from tests.forked_daemon import ForkedDaemon
from tests.t2_volume.user import User

if TYPE_CHECKING:
    from collections.abc import Mapping


_POLICY: dict[str, Any] = {
    "mode": "manual",
    "reserve_bytes": 0,
    "min_size": 512,
    "encode_threads": 1,
    "rescan": False,
}
_STATES = ("compressed", "compressed", "raw")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.exerciser", description=__doc__)
    parser.add_argument("--operations", type=int, default=100_000, help="of each seed")
    parser.add_argument("--seconds", type=float, help="begin no further seed after so long")
    parser.add_argument("--seed", type=int, default=1, help="the first")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument(
        "--pause",
        type=float,
        default=0.01,
        metavar="SECONDS",
        help="between two conversions; negative: no converter",
    )
    parser.add_argument("--volume", action="store_true", help="without a mount: faster")
    parser.add_argument("--directory", help="where to put it all (default: below /var/tmp)")
    parser.add_argument("--jobs", type=int, default=1, help="seeds at a time, on a mount each")
    options = parser.parse_args()
    # Unmounts and cleans up when it is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    codec.warmup()
    seeds = range(options.seed, options.seed + options.seeds)
    jobs = min(options.jobs, len(seeds))
    if jobs < 2:
        return exercise_seeds(options, seeds)
    children = [_fork_seeds(options, seeds[first::jobs]) for first in range(jobs)]
    try:
        statuses = [os.waitpid(pid, 0)[1] for pid in children]
    except BaseException:
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        raise
    return int(any(statuses))


def _fork_seeds(options: argparse.Namespace, seeds: range) -> int:
    """A process that goes through these seeds and exits with the status; its process id."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        status = exercise_seeds(options, seeds)
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(status)


def exercise_seeds(options: argparse.Namespace, seeds: range) -> int:
    """One seed after the other, told of as they go; 0 when nothing differed."""
    began, total = time.monotonic(), 0
    parent = Path(options.directory or "/var/tmp")
    parent.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        if options.seconds is not None and time.monotonic() - began > options.seconds:
            break
        directory = Path(tempfile.mkdtemp(prefix="pixfs-exerciser-", dir=parent))
        try:
            exercise = exercise_volume if options.volume else exercise_mount
            total += exercise(directory, seed, options.operations, options.pause)
        except Mismatch as mismatch:
            print(f"seed {seed}: MISMATCH, all is left in {directory}\n{mismatch}", flush=True)
            return 1
        shutil.rmtree(directory)
    took = time.monotonic() - began
    print(f"{total} operations in all, 0 mismatches, {took:.0f} s", flush=True)
    return 0


def exercise_mount(directory: Path, seed: int, operations: int, pause_s: float) -> int:
    """One seed on a mount of its own; what it did is printed. Raises Mismatch."""
    backing, mountpoint = directory / "backing", directory / "mnt"
    backing.mkdir()
    mountpoint.mkdir()
    os.environ["PIXFS_RUN_DIR"] = str(directory / "run")
    log = directory / "log"
    daemon = ForkedDaemon(backing, mountpoint, log, **_POLICY)
    converter = _fork_converter(mountpoint, seed, pause_s) if pause_s >= 0 else 0
    began = time.monotonic()
    try:
        worker = Worker(MountSystem(mountpoint), seed)
        worker.run(operations)
        stats = json.loads(os.getxattr(mountpoint, "user.pixfs.stats"))
    finally:
        if converter:
            os.kill(converter, signal.SIGKILL)
            os.waitpid(converter, 0)
        if sys.exc_info()[0] is None:
            status = daemon.stop()
        else:
            daemon.kill()
    warnings = lines_to_act_on(log.read_text())
    if status or warnings:
        raise Mismatch(f"exit status {status}, logged {warnings[:20]}")
    return _report(seed, worker, backing, stats, time.monotonic() - began)


def exercise_volume(directory: Path, seed: int, operations: int, pause_s: float) -> int:
    """The same on a volume without a mount, with the converter in a thread."""
    backing = directory / "backing"
    backing.mkdir()
    user = User(backing, Policy(**_POLICY))
    user.volume.start()
    done = threading.Event()
    converter = threading.Thread(target=_convert_volume, args=(user, seed, pause_s, done))
    began = time.monotonic()
    try:
        if pause_s >= 0:
            converter.start()
        worker = Worker(VolumeSystem(user), seed)
        worker.run(operations)
    finally:
        done.set()
        if converter.ident is not None:
            converter.join()
        stats = user.volume.stats()
        user.volume.close()
    return _report(seed, worker, backing, stats, time.monotonic() - began)


def _report(
    seed: int, worker: Worker, backing: Path, stats: Mapping[str, object], seconds: float
) -> int:
    if problems := check(backing):
        raise Mismatch(f"fsck {problems}")
    print(
        f"seed {seed}: {worker.operations} operations ({worker.operations / seconds:.0f}/s),"
        f" {stats['converted']} conversions, {stats['restores']} restores, 0 mismatches",
        flush=True,
    )
    return worker.operations


def _convert_volume(user: User, seed: int, pause_s: float, done: threading.Event) -> None:
    chance = random.Random(seed)
    while not done.wait(pause_s):
        with suppress(OSError):
            user.set_state(chance.choice(NAMES), chance.choice(_STATES))


def _fork_converter(mountpoint: Path, seed: int, pause_s: float) -> int:
    """A process that compresses and restores the files at random until it is killed."""
    pid = os.fork()
    if pid:
        return pid
    chance = random.Random(seed)
    try:
        while True:
            # In use, gone, hard-linked: that is what it is about.
            with suppress(OSError):
                path = mountpoint / chance.choice(NAMES)
                os.setxattr(path, "user.pixfs.state", chance.choice(_STATES).encode())
            time.sleep(pause_s)
    finally:
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
