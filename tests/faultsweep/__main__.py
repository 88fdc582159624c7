"""scripts/faults: fail, or die, at every call into the backing of a dozen user operations.

Prints what every fault came to and a table; exit status 0 when all ended as promised.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from pathlib import Path

import codec
from tests.faultsweep.operations import OPERATIONS
from tests.faultsweep.report import steps, summary
from tests.faultsweep.sweep import Fault, Kind, sweep


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/faults", description=__doc__)
    names = [operation.name for operation in OPERATIONS]
    parser.add_argument("--operation", choices=names, action="append", help="default: all")
    parser.add_argument("--kind", choices=Kind.__members__, action="append", help="default: all")
    parser.add_argument("--steps", action="store_true", help="also a line for every call")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each N-th call")
    options = parser.parse_args()
    # What failing storage makes the volume say is part of it.
    logging.disable(logging.CRITICAL)
    codec.warmup()
    kinds = [Kind[name] for name in options.kind or Kind.__members__]
    faults: list[Fault] = []
    for operation in OPERATIONS:
        if options.operation and operation.name not in options.operation:
            continue
        with tempfile.TemporaryDirectory(prefix="pixfs-faults-", dir="/var/tmp") as name:
            faults += sweep(operation, Path(name), kinds, options.every)
    if options.steps:
        print(steps(faults), "\n")
    print(summary(faults))
    unsound = [fault for fault in faults if fault.wrong]
    for fault in unsound:
        where = f"{fault.operation}, {fault.kind.value} at call {fault.number} ({fault.call})"
        print(f"UNSOUND: {where}: {'; '.join(fault.wrong)}")
    print(
        f"{len(faults)} faults in {len({f.operation for f in faults})} operations,"
        f" {len(unsound)} unsound"
    )
    return 1 if unsound or not faults else 0


if __name__ == "__main__":
    sys.exit(main())
