"""Kills each process of a job at each of its steps and prints what came of it.

usage: python -m tests.killmatrix [--victim NAME] [--phase NAME] [--keep]
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.fuse_session import fuse_available
from tests.killmatrix.points import PHASES
from tests.killmatrix.scene import VICTIMS, play

_SHOWN = {
    "server": "server", "worker": "one worker", "scheduler": "dask scheduler",
    "mount": "mount daemon",
}  # fmt: skip


def main() -> int:
    """0 when every cell ended well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--victim", choices=VICTIMS, action="append")
    parser.add_argument("--phase", choices=PHASES, action="append")
    parser.add_argument("--keep", action="store_true", help="leave the files of cells that failed")
    args = parser.parse_args()
    phases = args.phase or PHASES
    failures: list[str] = []
    print(f"| killed | {' | '.join(phases)} |")
    print(f"|---|{'---|' * len(phases)}", flush=True)
    for victim in args.victim or VICTIMS:
        if victim == "mount" and (reason := fuse_available()) is not None:
            print(f"| {_SHOWN[victim]} | {' | '.join([reason] * len(phases))} |")
            continue
        cells = [_cell(victim, phase, failures, args.keep) for phase in phases]
        print(f"| {_SHOWN[victim]} | {' | '.join(cells)} |", flush=True)
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


def _cell(victim: str, phase: str, failures: list[str], keep: bool) -> str:
    base = Path(tempfile.mkdtemp(prefix="pixfs-kill-"))
    began = time.monotonic()
    try:
        job, told = play(base, victim, phase)
    except AssertionError as error:
        failures.append(f"{victim}, {phase}: {error}")
        if not keep:
            shutil.rmtree(base, ignore_errors=True)
        return "FAILED"
    took = time.monotonic() - began
    shutil.rmtree(base)
    count = f"{job['files_done']} done"
    if job["files_skipped"]:
        count += f" + {job['files_skipped']} met again"
    return f"{job['state'].lower()}, {count}, told {told}x, {took:.0f} s"


if __name__ == "__main__":
    sys.exit(main())
