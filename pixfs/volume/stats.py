"""Counters of one volume since its start."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

_COUNTERS = (
    "converted",
    "verbatim",
    "failed",
    "restores",
    "bytes_in",
    "bytes_out",
    "tiles_decoded",
    "frames_prefetched",
    "eio",
)


class Stats:
    """Thread-safe counters; ``bytes_in`` and ``bytes_out`` are the logical and the stored bytes
    of the files converted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values = dict.fromkeys(_COUNTERS, 0)
        self._since = datetime.now(UTC).isoformat(timespec="seconds")

    def add(self, counter: str, amount: int = 1) -> None:
        """Counts; KeyError for a name that is none of the counters."""
        with self._lock:
            self._values[counter] += amount

    def snapshot(self) -> dict[str, int | str]:
        """All counters at one moment, and ``since`` (ISO 8601, UTC)."""
        with self._lock:
            return {**self._values, "since": self._since}
