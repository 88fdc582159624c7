"""One limit kept by several processes: each gets a share, and the shares never sum to more.

The server's own threads and every worker elsewhere are participants. Each tells now and then
what it has moved below a limit and whether more waits there; it is told what it may move from
then on. A share is only raised by what others have let go of, so the sum holds at every moment;
what a participant that fell silent had is given to others once it has ceased to use it.
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["SHARE_S", "Demand", "Shares", "fair"]

# How long a share may be used without hearing from whoever gave it.
SHARE_S = 10.0
# Of a limit, what somebody who moves little is left to begin again with.
_FLOOR = 0.05
_HEADROOM = 1.5


@dataclass(frozen=True, slots=True)
class Demand:
    """What a participant says of one limit: bytes a second of late, and whether more waits."""

    rate_bps: int
    is_waiting: bool


@dataclass(slots=True)
class _Part:
    demand: Demand
    share: int
    heard: float


class Shares:
    """The limits of now and who has which part of them; any thread may call.

    Limits are named by texts, and are in bytes a second: 0 pauses, None does not limit.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._limits: dict[str, int | None] = {}
        self._parts: dict[str, dict[str, _Part]] = {}

    def set_limits(self, limits: Mapping[str, int | None]) -> None:
        """The limits there are; names that are missing are limits no more."""
        with self._lock:
            self._limits = dict(limits)
            for name in self._parts.keys() - limits.keys():
                del self._parts[name]

    def exchange(self, who: str, demands: Mapping[str, Demand]) -> dict[str, int | None]:
        """Notes what a participant says, and tells what it may move below each limit it named.

        A limit that is not mentioned any more is let go of by the participant.
        """
        now = self._clock()
        with self._lock:
            told: dict[str, int | None] = {}
            for name, parts in self._parts.items():
                if name not in demands:
                    parts.pop(who, None)
            for name, demand in demands.items():
                limit = self._limits.get(name)
                told[name] = limit
                if limit is not None:
                    told[name] = self._share(name, limit, who, demand, now)
            return told

    def leave(self, who: str) -> None:
        """A participant has ended, and moves nothing any more."""
        with self._lock:
            for parts in self._parts.values():
                parts.pop(who, None)

    def rates(self) -> dict[str, int]:
        """Bytes a second of late below each limit, of all participants together."""
        now = self._clock()
        with self._lock:
            return {
                name: sum(p.demand.rate_bps for p in parts.values() if now - p.heard < SHARE_S)
                for name, parts in self._parts.items()
            }

    def _share(self, name: str, limit: int, who: str, demand: Demand, now: float) -> int:
        parts = self._parts.setdefault(name, {})
        for other in [each for each, part in parts.items() if now - part.heard > 2 * SHARE_S]:
            del parts[other]
        mine = parts.setdefault(who, _Part(demand, 0, now))
        mine.demand, mine.heard = demand, now
        wanted = fair(limit, {each: _need(limit, part) for each, part in parts.items()})
        taken = sum(part.share for each, part in parts.items() if each != who)
        mine.share = max(0, min(wanted[who], limit - taken))
        return mine.share


def _need(limit: int, part: _Part) -> float:
    """What a participant would use if it could."""
    if part.demand.is_waiting:
        return math.inf
    return max(part.demand.rate_bps * _HEADROOM, limit * _FLOOR)


def fair(limit: int, needs: Mapping[str, float]) -> dict[str, int]:
    """Splits a limit evenly, except that nobody gets more than needed while others need more;
    what nobody needs is split evenly too."""
    shares: dict[str, int] = {}
    left = float(limit)
    waiting = sorted(needs, key=lambda who: needs[who])
    while waiting:
        who = waiting.pop(0)
        share = min(needs[who], left / (len(waiting) + 1))
        shares[who] = int(share)
        left -= share
    spare = limit - sum(shares.values())
    for count, who in enumerate(list(shares)):
        # Whole bytes: what a division leaves over is the last one's.
        each = spare // (len(shares) - count)
        shares[who] += each
        spare -= each
    return shares
