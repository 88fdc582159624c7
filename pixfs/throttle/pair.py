"""The two limits of a mount."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pixfs.throttle.limiter import Limiter, Priority

if TYPE_CHECKING:
    from collections.abc import Callable


class Throttle:
    """Separate limits for reading and writing; any thread.

    Attributes:
        read, write: the limits.
        on_change: called by whoever has set a limit on a user's behalf.
    """

    def __init__(
        self,
        read: int | None = None,
        write: int | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Limits in bytes a second; 0 is paused, None unlimited."""
        self.read = Limiter(read, clock=clock)
        self.write = Limiter(write, clock=clock)
        self.on_change: Callable[[], None] = lambda: None

    @property
    def is_paused(self) -> bool:
        """Whether one of the two lets nothing through."""
        return 0 in (self.read.limit, self.write.limit)

    def exempt(self, *priorities: Priority) -> None:
        """Lets these classes pass from now on (`Limiter.exempt`)."""
        self.read.exempt(*priorities)
        self.write.exempt(*priorities)

    def snapshot(self) -> dict[str, dict[str, int | None]]:
        """Limits, rates, bytes and who waits, for each direction."""
        return {"read": self.read.snapshot(), "write": self.write.snapshot()}
