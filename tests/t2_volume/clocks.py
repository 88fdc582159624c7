"""A clock whose hands the test turns."""

from __future__ import annotations

import threading


class ManualClock:
    """Stands still until ``advance``; waiting threads wait for that, or for a notification."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._lock = threading.Lock()
        self._waiting: list[threading.Condition] = []

    def monotonic(self) -> float:
        with self._lock:
            return self._now

    def wait(self, condition: threading.Condition, timeout_s: float | None) -> None:
        with self._lock:
            self._waiting.append(condition)
        condition.wait()
        with self._lock:
            self._waiting.remove(condition)

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._now += seconds
            waiting = list(self._waiting)
        for condition in waiting:
            with condition:
                condition.notify_all()
