"""Runs workers, notices what happens to them, and goes on after it."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field

START_SECONDS = 300.0
"""A worker may have to compile the kernels first."""


@dataclass
class Report:
    """What came of a target's cases.

    ``findings`` are (number of the case, what it did). ``slowest`` is in seconds, ``peak`` the
    resident memory of the largest worker in MiB.
    """

    target: str
    seed: int
    cases: int = 0
    findings: list[tuple[int, str]] = field(default_factory=list)
    slowest: float = 0.0
    peak: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        lines = [
            f"{self.target}: seed {self.seed}, {self.cases} cases in {self.seconds:.0f} s, "
            f"slowest {self.slowest:.2f} s, peak {self.peak} MiB, {len(self.findings)} findings"
        ]
        lines += [f"  case {number}: {what}" for number, what in self.findings]
        return "\n".join(lines)


@dataclass
class Limits:
    """When to stop, and what a case may take."""

    seconds: float = 60.0
    cases: int | None = None
    megabytes: int = 512
    case_seconds: float = 20.0


def fuzz(target: str, seed: int, first: int, limits: Limits) -> Report:
    """Run cases of ``target`` (``module:name``) from number ``first`` on."""
    report = Report(target.rpartition(":")[2], seed)
    began = time.monotonic()
    deadline = began + limits.seconds
    following = first
    stop = None if limits.cases is None else first + limits.cases
    while (stop is None or following < stop) and time.monotonic() < deadline:
        count = 1 << 40 if stop is None else stop - following
        last = _one_worker(target, seed, following, count, deadline, limits, report)
        if last < following:
            report.findings.append((following, "the worker does not start"))
            break
        following = last + 1
    report.seconds = time.monotonic() - began
    return report


def _one_worker(
    target: str, seed: int, first: int, count: int, deadline: float, limits: Limits, report: Report
) -> int:
    """Run a worker until it is done or dies; the last case it began."""
    arguments = [target, str(seed), str(first), str(count), str(limits.megabytes)]
    with subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-m", "fuzzing.worker", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        errors: list[str] = []
        threads = [
            threading.Thread(target=_forward, args=(process.stdout, lines), daemon=True),
            threading.Thread(target=_collect, args=(process.stderr, errors), daemon=True),
        ]
        for thread in threads:
            thread.start()
        current, open_case = first - 1, False
        patience = START_SECONDS
        verdict = ""
        while True:
            try:
                line = lines.get(timeout=patience)
            except queue.Empty:
                verdict = f"nothing for {patience:.0f} s"
                break
            if line is None:
                break
            word, _, rest = line.partition(" ")
            patience = limits.case_seconds
            if word == "begin":
                current, open_case = int(rest), True
            elif word == "failed":
                number, _, what = rest.partition(" ")
                report.findings.append((int(number), what))
            elif word == "end":
                _, seconds, peak = rest.split()
                report.cases += 1
                report.slowest = max(report.slowest, float(seconds))
                report.peak = max(report.peak, int(peak))
                open_case = False
                if time.monotonic() > deadline:
                    break
        if process.poll() is None and (verdict or line is not None):
            process.kill()
        code = process.wait()
        for thread in threads:
            thread.join()
    if open_case:
        report.cases += 1
        report.findings.append((current, verdict or f"the worker died ({code}): {_last(errors)}"))
    elif current < first:
        report.findings.append((first, verdict or f"no start ({code}): {_last(errors)}"))
    return current


def _forward(pipe: object, lines: queue.SimpleQueue[str | None]) -> None:
    for line in pipe:  # type: ignore[attr-defined]
        lines.put(line.rstrip("\n"))
    lines.put(None)


def _collect(pipe: object, errors: list[str]) -> None:
    errors.extend(line.rstrip("\n") for line in pipe)  # type: ignore[attr-defined]


def _last(errors: list[str]) -> str:
    said = [line for line in errors if line.strip()]
    return next((line for line in said if line.startswith("Fatal")), said[-1] if said else "")
