"""Whether what a daemon holds stays flat."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from soaking.daemon import Sample

MIB = 1 << 20
# How much more memory a daemon may hold at the end of the steady time than at its beginning.
GROWTH_SHARE = 0.05
GROWTH_BYTES = 32 * MIB
GROWTH_FILES = 16
# A daemon needs some minutes until its threads, tables and arenas are what the use asks for.
WARM_UP_S = 90.0
# A cache that holds this much of the most it ever held is full.
FULL_SHARE = 0.95
_FEWEST = 8


def growth(samples: Sequence[Sample]) -> list[str]:
    """What has grown in the steady time: its last quarter against its first, by medians.

    The samples of one daemon, under the same use from the first to the last. What lies in the
    cache of decoded blocks does not count, it has a budget; nor do samples from before it was
    full, since the gaps between its blocks come with them. Too few samples say nothing.
    """
    full = FULL_SHARE * max((s.cache for s in samples), default=0)
    full_at = min((s.at for s in samples if s.cache >= full), default=0.0)
    samples = [s for s in samples if s.at >= max(samples[0].at + WARM_UP_S, full_at)]
    if len(samples) < _FEWEST:
        return []
    quarter = len(samples) // 4
    problems = []
    first, last = (
        median(s.memory - s.cache for s in part) for part in (samples[:quarter], samples[-quarter:])
    )
    if last > first * (1 + GROWTH_SHARE) + GROWTH_BYTES:
        problems.append(f"memory grew from {first / MIB:.0f} to {last / MIB:.0f} MiB")
    first, last = (
        median(s.files for s in part) for part in (samples[:quarter], samples[-quarter:])
    )
    if last > first + GROWTH_FILES:
        problems.append(f"descriptors grew from {first:.0f} to {last:.0f}")
    return problems


def described(samples: Sequence[Sample]) -> str:
    """The course of the steady time, in a line."""
    if not samples:
        return "no steady time"
    parts = [samples[len(samples) * i // 8] for i in range(8)] + [samples[-1]]
    memory = " ".join(f"{s.memory / MIB:.0f}" for s in parts)
    cache = " ".join(f"{s.cache / MIB:.0f}" for s in parts)
    files = " ".join(str(s.files) for s in parts)
    return f"memory {memory} MiB; of it cache {cache} MiB; descriptors {files}"
