"""The signals that end a mount."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


class StopSignals:
    """Within it, ending signals set events and wake whoever serves; main thread only.

    One set of handlers stands from before the mount until the volume is closed: a signal in between
    two stages must not fall back to ending the process.

    Attributes:
        stopping: the mount is to end.
        abandoning: nothing that is being converted is to be waited for.
    """

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self.abandoning = threading.Event()
        self._wake: Callable[[], None] | None = None

    def __enter__(self) -> StopSignals:
        for number in NUMBERS:
            signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        # What follows is the end of the process; a late signal must not cut the clean-up short.
        for number in NUMBERS:
            signal.signal(number, signal.SIG_IGN)

    def wake_with(self, wake: Callable[[], None] | None) -> None:
        """Call wake (from a signal handler) at the first signal, also one already received."""
        self._wake = wake
        if wake is not None and self.stopping.is_set():
            wake()

    def _handle(self, number: int, _frame: object) -> None:
        if number == signal.SIGQUIT or self.stopping.is_set():
            self.abandoning.set()
        first = not self.stopping.is_set()
        self.stopping.set()
        if first and self._wake is not None:
            self._wake()
