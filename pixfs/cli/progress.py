"""A line that shows how far a command is, on a terminal only."""

from __future__ import annotations

import sys
import time

_PERIOD_S = 0.1


class ProgressLine:
    """One line on standard error that is rewritten in place; silent when it is no terminal."""

    def __init__(self, verb: str) -> None:
        self._verb = verb
        self._shown = False
        self._last = 0.0

    def show(self, done: int, total: int | None, name: str) -> None:
        """Show progress, ten times a second at most."""
        now = time.monotonic()
        if not sys.stderr.isatty() or now - self._last < _PERIOD_S:
            return
        self._last = now
        count = f"{done}/{total}" if total is not None else str(done)
        print(f"\r\x1b[K{self._verb} {count} {name}", end="", file=sys.stderr, flush=True)
        self._shown = True

    def clear(self) -> None:
        """Take the line away, before anything else is printed."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._shown = False
            self._last = 0.0
