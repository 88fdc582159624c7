"""When the loop's thread waits for a call, and when it had better hand it over."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import trio

# How many calls are handed over after one that took too long; several times as many, up to a limit,
# after each one that takes too long when it is tried again: where the storage is slow, or many ask
# at once, the loop's thread has no time to wait.
_FEWEST_CALLS = 2
_WARIER = 4
_MOST_CALLS = 512


class Kind:
    """Calls that take about as long as one another. For the trio thread only.

    Attributes:
        limiter: whose turns they take.
    """

    def __init__(self, limiter: trio.CapacityLimiter) -> None:
        self.limiter = limiter
        self._left = 0
        self._next = _FEWEST_CALLS

    def hands_over(self) -> bool:
        """Whether the next call is made without a wait for it; counts it."""
        if not self._left:
            return False
        self._left -= 1
        return True

    def was_long(self) -> None:
        """One that was waited for took too long."""
        self._left = self._next
        self._next = min(self._next * _WARIER, _MOST_CALLS)

    def was_short(self) -> None:
        """One that was waited for kept nobody waiting."""
        self._next = _FEWEST_CALLS
