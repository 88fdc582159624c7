"""Cycles of work, cut, and looking what is left."""

from __future__ import annotations

import json
import mmap
import os
import random
import shutil
import signal
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.forked_daemon import ForkedDaemon
from tests.powercut.mutants import MUTANTS
from tests.powercut.verdict import examine
from tests.powercut.workload import Promises, Worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.powercut.image import Image

# The cut comes some promises after the start, and then at any moment of the next operations.
_FEWEST, _MOST = 1, 10
_LONGEST_S = 0.06
_PATIENCE_S = 60.0
_EXAMPLES = 20


@dataclass
class Tally:
    """What the cycles so far came to."""

    cycles: int = 0
    promises: int = 0
    violating: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, promises: Promises, wrong: list[str]) -> None:
        self.cycles += 1
        self.promises += promises.count
        self.violating += bool(wrong)
        for line in wrong:
            self.kinds[line.partition(":")[2].strip().split(" ")[0]] += 1
        self.examples += [f"cycle {self.cycles}: {line}" for line in wrong][
            : 20 - len(self.examples)
        ]

    def __str__(self) -> str:
        return (
            f"{self.cycles} cycles, {self.promises} promises,"
            f" {self.violating} cycles with violations"
        )


class Rig:
    """One image, cut again and again."""

    def __init__(self, image: Image, directory: Path, mutant: str, seed: int) -> None:
        self._image = image
        self._directory = directory
        self._mutant = MUTANTS[mutant]
        self._random = random.Random(seed)
        self._mountpoint = directory / "mnt"
        self._mountpoint.mkdir()
        self._manifest = directory / "manifest"
        os.environ["PIXFS_RUN_DIR"] = str(directory / "run")

    def cycle(self, tally: Tally) -> None:
        """Work, cut, mount again, examine."""
        self._image.mount()
        self._clean()
        self._manifest.write_bytes(b"")
        try:
            self._work_and_cut()
        finally:
            self._image.umount()
        self._image.mount()
        try:
            promises = Promises.read(self._manifest)
            tally.add(promises, self._examine(promises))
        finally:
            self._image.umount()

    def _clean(self) -> None:
        for path in self._image.mounted_at.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        os.sync()

    def _work_and_cut(self) -> None:
        cut = mmap.mmap(-1, mmap.PAGESIZE)
        daemon = ForkedDaemon(
            self._image.mounted_at,
            self._mountpoint,
            self._directory / "daemon.log",
            prepare=self._mutant,
            settle_s=0.0,
            encode_threads=1,
            reserve_bytes=0,
            min_size=1024,
        )
        worker = 0
        try:
            seed = self._random.randrange(1 << 30)
            worker = _in_child(lambda: self._work(cut, seed))
            self._wait_for_promises(cut, self._random.randint(_FEWEST, _MOST))
            time.sleep(self._random.uniform(0.0, _LONGEST_S))
            cut[0] = 1
            self._image.cut()
        finally:
            daemon.kill()
            if worker:
                os.kill(worker, signal.SIGKILL)
                os.waitpid(worker, 0)
            cut.close()

    def _wait_for_promises(self, cut: mmap.mmap, wanted: int) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while cut[1] < wanted and time.monotonic() < deadline:
            time.sleep(0.001)

    def _work(self, cut: mmap.mmap, seed: int) -> None:
        try:
            Worker(self._mountpoint, self._manifest, cut, seed).run()
        except OSError:
            # The power is gone. Before that, nothing may fail.
            if not cut[0]:
                raise

    def _examine(self, promises: Promises) -> list[str]:
        """In a child, whose descriptors and threads end with it."""
        reading, writing = os.pipe()

        def look() -> None:
            os.write(writing, json.dumps(examine(self._image.mounted_at, promises)).encode())

        pid = _in_child(look)
        os.close(writing)
        with os.fdopen(reading, "rb") as report:
            said = report.read()
        os.waitpid(pid, 0)
        return list(json.loads(said)) if said else ["examine: died"]


def _in_child(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return pid
