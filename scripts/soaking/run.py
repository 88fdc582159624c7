"""The course of a soak: use and kills, then use alone, then the verdict."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from soaking.daemon import Mount, Sample
from soaking.supply import Supply
from soaking.verdict import growth
from soaking.worker import Gate, Worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_TICK_S = 0.25
_LIMITS = ("unlimited", "unlimited", "400M", "100M", "30M")
_LONGEST_PAUSE_S = 0.5


@dataclass(frozen=True)
class Plan:
    """What to do: seconds in all, the share of them with kills, seconds between two kills."""

    seconds: float
    kill_share: float
    kill_every_s: float
    workers: int
    frames: Path | None
    seed: int
    sample_every_s: float = 5.0


@dataclass
class Report:
    """What came of it; ``problems`` is empty when all is well."""

    kills: int = 0
    limits: int = 0
    actions: dict[str, int] = field(default_factory=dict)
    bytes_moved: int = 0
    files: int = 0
    steady: list[Sample] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def soak(directory: Path, plan: Plan) -> Report:
    """Run a plan below an empty directory. SoakError or OSError when it cannot go on; no mount
    is left behind."""
    mount, report = Mount(directory), Report()
    try:
        mount.start()
        workers = _Crew(mount, plan)
        workers.use(plan, report)
        _judge(mount, workers, report)
    finally:
        mount.clean_up()
    return report


class _Crew:
    """The users, at work in threads."""

    def __init__(self, mount: Mount, plan: Plan) -> None:
        self._mount = mount
        self._gate = Gate()
        self._dice = random.Random(plan.seed)
        supply = Supply(plan.frames)
        self.workers = []
        for number in range(plan.workers):
            directory = mount.path / f"user{number}"
            directory.mkdir()
            self.workers.append(Worker(directory, supply, self._gate, plan.seed + number))

    def use(self, plan: Plan, report: Report) -> None:
        """Let them work for as long as planned; kills and limits meanwhile."""
        stopping = threading.Event()
        threads = [threading.Thread(target=w.run, args=(stopping,)) for w in self.workers]
        for thread in threads:
            thread.start()
        try:
            self._disturb(plan, report)
        finally:
            stopping.set()
            for thread in threads:
                thread.join()

    def _disturb(self, plan: Plan, report: Report) -> None:
        began = time.monotonic()
        kill_until = plan.seconds * plan.kill_share
        kill_at, limit_at = plan.kill_every_s, 0.0
        sample_at = kill_until
        for now in _ticks(began, plan.seconds):
            if kill_at <= now < kill_until:
                self._kill()
                report.kills += 1
                kill_at = time.monotonic() - began + plan.kill_every_s
            if now >= limit_at:
                self._change_limits()
                report.limits += 1
                limit_at = now + self._dice.uniform(1, 5)
            if now >= sample_at:
                report.steady.append(self._mount.sample(now))
                sample_at = now + plan.sample_every_s
            if any(w.failures for w in self.workers):
                return

    def _kill(self) -> None:
        """Nobody is warned; only the way back is barred until the mount is there again."""
        self._mount.kill()
        self._gate.close()
        self._mount.start()
        self._gate.open()

    def _change_limits(self) -> None:
        if self._dice.random() < 0.1:
            self._mount.limit("0", "0")
            time.sleep(self._dice.uniform(0, _LONGEST_PAUSE_S))
        self._mount.limit(self._dice.choice(_LIMITS), self._dice.choice(_LIMITS))


def _ticks(began: float, seconds: float) -> Iterator[float]:
    while (now := time.monotonic() - began) < seconds:
        yield now
        time.sleep(_TICK_S)


def _judge(mount: Mount, crew: _Crew, report: Report) -> None:
    """Compare everything, unmount, fsck to the bottom, mount again, compare once more."""
    mount.limit("unlimited", "unlimited")
    for worker in crew.workers:
        worker.check()
    mount.pixfs("wait", mount.path)
    mount.stop()
    mount.pixfs("fsck", "--deep", mount.backing)
    mount.start()
    for worker in crew.workers:
        worker.check()
        report.problems += worker.failures
        report.bytes_moved += worker.bytes_moved
        report.files += worker.files()
        for action, count in worker.done.items():
            report.actions[action] = report.actions.get(action, 0) + count
    mount.stop()
    report.problems += growth(report.steady)
