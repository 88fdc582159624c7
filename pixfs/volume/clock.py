"""Time as the volume sees it, so that a test can turn the hands itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from threading import Condition


class Clock(Protocol):
    """A monotonic clock and the one way to wait on it; any thread may use it."""

    def monotonic(self) -> float:
        """Seconds that only ever grow."""

    def wait(self, condition: Condition, timeout_s: float | None) -> None:
        """Waits on ``condition`` (held by the caller) for at most ``timeout_s`` seconds of
        this clock; may wake early, so the caller looks again at what it waits for."""


class SystemClock:
    """The machine's own clock."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wait(self, condition: Condition, timeout_s: float | None) -> None:
        condition.wait(timeout_s)
