"""One-thread timing of a call, by CPU time.

CPU time of the whole process rather than the clock on the wall: a neighbour that takes the core
away does not count, and a codec that quietly starts threads pays for all of them.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")

_SHORTEST_S = 0.02


def cpu_seconds(call: Callable[[], Result], *, repeat: bool = True) -> tuple[float, Result]:
    """CPU seconds of one call, and its result; a call too short to time is repeated if allowed."""
    start = time.process_time()
    result = call()
    once = time.process_time() - start
    if once >= _SHORTEST_S or not repeat:
        return once, result
    times = math.ceil(_SHORTEST_S / max(once, 1e-6))
    start = time.process_time()
    for _ in range(times):
        call()
    return (time.process_time() - start) / times, result
