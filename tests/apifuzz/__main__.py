"""Everything an OpenAPI document allows, and more, asked of a real server, in a table.

usage: python -m tests.apifuzz [--examples N] [--seeds N...] [--face FACE]... [--role ROLE]...

What schemathesis says of each run that found something is left in --keep.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.apifuzz.faces import FACES, ROLES, staged
from tests.apifuzz.run import fuzz, program


def main() -> int:
    """0 when nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--face", choices=sorted(FACES), action="append")
    parser.add_argument("--role", choices=ROLES, action="append")
    parser.add_argument("--keep", type=Path, default=Path("apifuzz"))
    args = parser.parse_args()
    if program() is None:
        print("schemathesis is not installed", file=sys.stderr)
        return 2
    failed = total = 0
    print("| face | role | seed | requests | failures | s |\n|---|---|---|---|---|---|", flush=True)
    for face in args.face or sorted(FACES):
        for role in args.role or ROLES:
            for seed in args.seeds:
                with (
                    tempfile.TemporaryDirectory(prefix="pixfs-fuzz-") as name,
                    staged(face, role, Path(name)) as stage,
                ):
                    found = fuzz(stage, Path(name), examples=args.examples, seed=seed)
                failures = sum(len(operations) or 1 for _, operations in found.failures)
                failed += failures
                total += found.requests
                print(
                    f"| {face} | {role} | {seed} | {found.requests} | {failures} |"
                    f" {found.seconds:.0f} |",
                    flush=True,
                )
                if failures:
                    args.keep.mkdir(exist_ok=True)
                    (args.keep / f"{face}-{role}-{seed}.txt").write_text(found.said)
    print(f"\n{total} requests, {failed} failures")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
