"""A limit of a job's own, which holds wherever the job runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pixfs.throttle import Limiter
from server.work.pacing import ThrottlePacer

if TYPE_CHECKING:
    import threading

    from server.work.flow import Direction, Pacer

__all__ = ["Limited"]


class Limited:
    """Lets bytes be written at so many a second, and by what the storages' throttles allow."""

    def __init__(self, limit_bps: int, throttles: Pacer) -> None:
        self._own = ThrottlePacer({"write": [Limiter(limit_bps)]})
        self._throttles = throttles

    def take(self, direction: Direction, size: int, stop: threading.Event) -> None:
        """Waits until the bytes may go, or ``stop`` is set."""
        self._own.take(direction, size, stop)
        self._throttles.take(direction, size, stop)
