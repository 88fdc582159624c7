"""``python -m fuzzing.worker MODULE:NAME SEED FIRST COUNT MEGABYTES``: cases, one after another.

Each case is announced on standard output before it begins and reported after it.
"""

from __future__ import annotations

import faulthandler
import importlib
import random
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any

PAGE = resource.getpagesize()


def load(name: str) -> Any:  # noqa: ANN401
    """The target that ``module:name`` makes; ``name`` may be a key of the module's TARGETS."""
    module, _, key = name.partition(":")
    found = importlib.import_module(module)
    factory = getattr(found, "TARGETS", {}).get(key) or getattr(found, key)
    return factory()


def limit_memory(megabytes: int) -> None:
    """Let this process have so much memory more than it has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    room = pages * PAGE + (megabytes << 20)
    resource.setrlimit(resource.RLIMIT_AS, (room, room))


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def main(target: str, seed: str, first: str, count: str, megabytes: str) -> None:
    """Run cases ``first`` to ``first + count``."""
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    run = load(target)
    for number in range(3):
        # Whatever is compiled or imported at first use is in place before memory is limited.
        run(random.Random(f"{target}/warm/{number}"))
    limit_memory(int(megabytes))
    say("ready")
    for number in range(int(first), int(first) + int(count)):
        say("begin", number)
        began = time.perf_counter()
        try:
            run(random.Random(f"{target}/{seed}/{number}"))
        except BaseException as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(last.filename).name}:{last.lineno}"
            say("failed", number, f"{type(error).__name__} at {where}: {error}".splitlines()[0])
            if not isinstance(error, Exception):
                raise
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        say("end", number, f"{time.perf_counter() - began:.3f}", peak)


if __name__ == "__main__":
    main(*sys.argv[1:])
