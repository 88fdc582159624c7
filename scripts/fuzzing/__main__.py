"""``scripts/fuzz``: fuzz one target or all for a while; the exit code says whether all held."""

from __future__ import annotations

import argparse
import secrets
import sys

from fuzzing.supervisor import Limits, fuzz
from fuzzing.targets import TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__.partition(": ")[2])
    parser.add_argument("--seconds", type=float, default=60.0, help="in all (default 60)")
    parser.add_argument("--target", choices=TARGETS, action="append", help="default: all")
    parser.add_argument("--seed", type=int, help="default: a random one, which is printed")
    parser.add_argument(
        "--first", type=int, default=0, metavar="N", help="number of the first case"
    )
    parser.add_argument("--cases", type=int, metavar="N", help="stop after so many of each target")
    parser.add_argument("--megabytes", type=int, default=512, help="what a case may allocate")
    parser.add_argument("--case-seconds", type=float, default=20.0, help="what a case may take")
    options = parser.parse_args()
    targets = options.target or list(TARGETS)
    seed = secrets.randbelow(1 << 32) if options.seed is None else options.seed
    share = options.seconds / len(targets)
    limits = Limits(share, options.cases, options.megabytes, options.case_seconds)
    findings = 0
    for target in targets:
        report = fuzz(f"fuzzing.targets:{target}", seed, options.first, limits)
        print(report, flush=True)
        findings += len(report.findings)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
