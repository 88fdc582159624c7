"""The end of the server, for requests that work on a storage which may never answer.

Such work is done in threads, and is waited for when its request is cancelled: what a thread works
with belongs to it. When the time that requests have after a stop is over, it is told to end, and
then waited for only a little.
"""

from __future__ import annotations

import math
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Closing"]

# Threads that have been told to end are waited for so long all together, and a thread that only
# has to tidy up has at least so long for itself.
_LAST_S = 4.0
_LEAST_S = 0.5


class Closing:
    """Whether the server ends now; used on the trio thread, but for ``sign``.

    Attributes:
        sign: set from then on; whoever works in a thread ends when it sees that.
    """

    def __init__(self) -> None:
        self.sign = threading.Event()
        self._until = math.inf
        self._waiting: set[trio.CancelScope] = set()

    def begin(self) -> None:
        """The requests have had their time."""
        if self.sign.is_set():
            return
        self.sign.set()
        self._until = trio.current_time() + _LAST_S
        for scope in self._waiting:
            scope.deadline = min(scope.deadline, self._until)

    @contextmanager
    def patience(self, seconds: float, *, shield: bool = True) -> Iterator[None]:
        """What is in the block is waited for so long, or until the server's end; then the block
        is left. With ``shield`` it is waited for whoever is cancelled."""
        now = trio.current_time()
        until = min(now + seconds, max(self._until, now + _LEAST_S))
        with trio.CancelScope(deadline=until, shield=shield) as scope:
            self._waiting.add(scope)
            try:
                yield
            finally:
                self._waiting.discard(scope)
