"""A token bucket that may be overdrawn: what a limit allows at a moment."""

from __future__ import annotations

import math

# What an idle limit saves up, in seconds: enough to make up for a timer that fired late, too
# little to show as a burst.
SAVED_S = 0.1
# Rounding of times must not make the one who waited for the bucket wait again.
_ROUNDING_BYTES = 0.5


class TokenBucket:
    """Bytes that may be moved now; not synchronized, all times are the caller's.

    A request is let through as soon as nothing is owed, whatever its size, and its bytes are
    then owed: so a limit needs no bucket as large as the largest request, and what is owed is
    paid off at the new rate when the limit changes.
    """

    def __init__(self, limit: int | None, now: float) -> None:
        """``limit``: bytes a second, 0 for none at all, None for any number."""
        self.limit = limit
        self._tokens = 0.0
        self._settled = now

    def change(self, limit: int | None, now: float) -> None:
        """Sets the limit from ``now`` on."""
        self._settle(now)
        self.limit = limit
        if limit is None:
            self._tokens = 0.0

    def is_open(self, now: float) -> bool:
        """Whether something may be moved now."""
        self._settle(now)
        return self.limit is None or (self.limit > 0 and self._tokens >= -_ROUNDING_BYTES)

    def spend(self, size: int) -> None:
        """Notes bytes as moved; negative for bytes that were not moved after all."""
        if self.limit is not None:
            self._tokens -= size

    def opens_in(self, now: float) -> float:
        """Seconds until the bucket opens, if nobody spends meanwhile; infinite when paused."""
        if self.is_open(now):
            return 0.0
        return -self._tokens / self.limit if self.limit else math.inf

    def _settle(self, now: float) -> None:
        if self.limit is not None:
            earned = self.limit * max(0.0, now - self._settled)
            self._tokens = min(self._tokens + earned, self.limit * SAVED_S)
        self._settled = now
