"""What governs bytes while they move: how fast, whether still, and how far."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from server.work.errors import StoppedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["UNPACED", "Direction", "Flow", "Limits", "Pacer", "Unpaced"]

Direction = Literal["read", "write"]
# Names of limits, by direction; plain values that any process has its own limiters for.
Limits: TypeAlias = "Mapping[str, tuple[str, ...]]"


class Pacer(Protocol):
    """A bandwidth limit. Many threads may pass it at once."""

    @property
    def limits(self) -> Limits:
        """The names of the limits it keeps."""

    def take(self, direction: Direction, size: int, stop: threading.Event) -> None:
        """Waits until ``size`` bytes may go in this direction, or ``stop`` is set."""


class Unpaced:
    """No limit."""

    @property
    def limits(self) -> Limits:
        """None."""
        return {}

    def take(self, direction: Direction, size: int, stop: threading.Event) -> None:
        """Returns at once."""


UNPACED = Unpaced()


class Flow:
    """One batch's way to the storages: its limits, its stop sign, its time and its progress.

    Attributes:
        moved: bytes that have landed so far; read by other threads.
        made, found: folders of the target that the batch has made, and those that it was about to
            make and which were there; known when it has ended.
    """

    def __init__(
        self,
        *,
        source: Pacer = UNPACED,
        target: Pacer = UNPACED,
        slice_s: float = 2.0,
        valid_s: float | None = None,
        stop: threading.Event | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``slice_s`` is how long new files are begun; ``valid_s`` how long results still count
        with whoever gave the batch, after which nothing is made visible any more."""
        self._source = source
        self._target = target
        self._clock = clock
        self._began = clock()
        self._slice_s = slice_s
        self._valid_until = None if valid_s is None else self._began + valid_s
        self._has_begun = False
        self.stop = stop or threading.Event()
        self.moved = 0
        self.made: tuple[str, ...] = ()
        self.found: tuple[str, ...] = ()

    def has_time(self) -> bool:
        """Whether another file should be begun; the first always, however long it took to get
        there, or nothing would ever be done on a slow storage."""
        if not self._has_begun:
            self._has_begun = True
            self._began = self._clock()
            return not self.stop.is_set()
        return not self.stop.is_set() and self._clock() - self._began < self._slice_s

    def extend(self, valid_s: float) -> None:
        """Whoever gave the batch still counts on it, for so long from now."""
        self._valid_until = self._clock() + valid_s

    def check(self) -> None:
        """StoppedError when the batch was told to stop, or nobody counts on it any more."""
        if self.stop.is_set():
            raise StoppedError("told to stop")
        if self._valid_until is not None and self._clock() > self._valid_until:
            raise StoppedError("the time given for it is over")

    def read(self, size: int) -> None:
        """Before bytes are read from the source. StoppedError."""
        self.check()
        self._source.take("read", size, self.stop)
        # Told to stop while it waited, it has not been let through.
        self.check()

    def write(self, size: int) -> None:
        """Before bytes are written to the target. StoppedError."""
        self.check()
        self._target.take("write", size, self.stop)
        self.check()

    def landed(self, size: int) -> None:
        """After they were written."""
        self.moved += size
