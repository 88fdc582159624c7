"""The one object every face talks to."""

from __future__ import annotations

import time
from importlib import metadata
from typing import TYPE_CHECKING

from server.core.health import Health

if TYPE_CHECKING:
    from collections.abc import Callable


class Core:
    """Holds the server's nouns; a face parses, makes one call here, renders.

    Safe to call from the trio thread: no call blocks.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self._version = metadata.version("pixfs")

    def health(self) -> Health:
        """What answers, and for how long it has been up."""
        return Health(version=self._version, uptime_s=self._clock() - self._started)
