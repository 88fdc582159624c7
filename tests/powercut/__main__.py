"""scripts/powercut: cut the power under a mount, again and again; needs root.

Exit status 0 when nothing promised was lost and, with --mutants, every mutant was caught.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path

import codec
from tests.powercut.cycle import Rig, Tally
from tests.powercut.image import FILE_SYSTEMS, image, leave_mount_namespace, unavailable
from tests.powercut.mutants import MUTANTS


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/powercut", description=__doc__)
    parser.add_argument("--fs", choices=FILE_SYSTEMS, action="append", help="default: both")
    parser.add_argument("--cycles", type=int, default=100)
    parser.add_argument("--seconds", type=float, help="stop after so long, with what there is")
    parser.add_argument("--mutant", choices=MUTANTS, default="none", help="break a rule")
    parser.add_argument("--mutants", action="store_true", help="first, that each is caught")
    parser.add_argument("--until-caught", action="store_true", help="stop at a violation")
    parser.add_argument("--mutant-cycles", type=int, default=40, help="at most, for each")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    # Unmounts and cleans up when it is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    codec.warmup()
    leave_mount_namespace()
    good = True
    for fs in options.fs or FILE_SYSTEMS:
        if reason := unavailable(fs):
            print(f"{fs}: {reason}")
            return 2
        if options.mutants:
            for mutant in MUTANTS:
                if mutant != "none":
                    tally = run(fs, mutant, options.mutant_cycles, options.seed, None, once=True)
                    good &= tally.violating > 0
        expected = options.mutant != "none"
        limits = (options.cycles, options.seed, options.seconds)
        tally = run(fs, options.mutant, *limits, once=options.until_caught)
        good &= bool(tally.violating) == expected and tally.promises > 0
    return 0 if good else 1


def run(
    fs: str, mutant: str, cycles: int, seed: int, seconds: float | None, *, once: bool = False
) -> Tally:
    """Some cycles on a new image, told of as they go; ``once``: until the first violation."""
    tally = Tally()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pixfs-powercut-") as name:
        directory = Path(name)
        with image(fs, directory) as made:
            rig = Rig(made, directory, mutant, seed)
            while tally.cycles < cycles and not (once and tally.violating):
                rig.cycle(tally)
                if tally.cycles % 50 == 0:
                    print(f"{fs} {mutant}: {tally}", flush=True)
                if seconds is not None and time.monotonic() - began > seconds:
                    break
    took = time.monotonic() - began
    print(f"{fs} {mutant}: {tally}, {took / tally.cycles:.2f} s a cycle; {dict(tally.kinds)}")
    for example in tally.examples:
        print(f"  {example}", flush=True)
    return tally


if __name__ == "__main__":
    sys.exit(main())
