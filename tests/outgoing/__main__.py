"""Addresses that must not be connected to, given to a real server, in a table.

usage: python -m tests.outgoing [--face pixmover|vidispine]

Everything happens in a network of its own, where a DNS server changes its mind and every address
answers; strace sees what the server connects to. Exits with 77 where that cannot be made.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.outgoing.network import NoNetwork, enter, is_inside, wire
from tests.outgoing.scene import FACES, complaints, play
from tests.outgoing.targets import TARGETS
from tests.tracing import Untraceable

if TYPE_CHECKING:
    from collections.abc import Sequence

CANNOT = 77


def _table(face: str, base: Path) -> list[str]:
    """Prints what came of each target; what should not have been."""
    told, connects = play(face, base)
    print(f"| target through {face} | result | reached |\n|---|---|---|")
    for target, came in zip(TARGETS, told, strict=True):
        print(f"| `{target.url!r}` | {came.result} | {', '.join(came.reached)} |")
    wrong = complaints(told, connects)
    print(f"\n{len(TARGETS)} targets, {len(connects)} connections, {len(wrong)} complaints\n")
    return wrong


def main() -> int:
    """0 when nothing was connected to that must not be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--face", choices=sorted(FACES), action="append")
    args = parser.parse_args()
    try:
        if not is_inside():
            return enter(sys.executable, "-m", "tests.outgoing", *sys.argv[1:])
        return _play(args.face or sorted(FACES))
    except (NoNetwork, Untraceable) as error:
        print(error, file=sys.stderr)
        return CANNOT


def _play(faces: Sequence[str]) -> int:
    wrong = []
    with tempfile.TemporaryDirectory(prefix="pixfs-outgoing-") as name:
        wire(Path(name))
        for face in faces:
            place = Path(name) / face
            place.mkdir()
            wrong += _table(face, place)
    for complaint in wrong:
        print(complaint)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
