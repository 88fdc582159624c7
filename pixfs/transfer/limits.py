"""The strictest of several limits, followed while they change."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING

from pixfs.throttle import Limiter, Priority, parse_rate

if TYPE_CHECKING:
    from collections.abc import Iterable

log = logging.getLogger(__name__)

_PERIOD_S = 1.0


class FollowedLimits:
    """A limiter that keeps to the limits of the mounts a transfer goes past.

    A transfer between backing directories passes no daemon; what a mount is throttled to is
    meant for it all the same. A thread looks once a second; within `with` only.
    """

    def __init__(self, own: int | None, attributes: Iterable[tuple[str, str]]) -> None:
        """``own`` limit in bytes a second; ``attributes`` are (mount point, ``read`` or
        ``write``)."""
        self._own = own
        self._attributes = tuple(attributes)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pixfs-limits", daemon=True)
        self.limiter = Limiter(self.strictest())

    def strictest(self) -> int | None:
        """The lowest of all limits, now; a mount that does not answer has none."""
        limits = [] if self._own is None else [self._own]
        for mountpoint, direction in self._attributes:
            try:
                text = os.getxattr(mountpoint, f"user.pixfs.throttle.{direction}").decode()
            except OSError as error:
                log.debug("%s tells no limit: %s", mountpoint, error)
                continue
            if (limit := parse_rate(text)) is not None:
                limits.append(limit)
        return min(limits, default=None)

    def __enter__(self) -> Limiter:
        self._thread.start()
        return self.limiter

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self.limiter.exempt(*Priority)
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(_PERIOD_S):
            limit = self.strictest()
            if limit != self.limiter.limit:
                self.limiter.limit = limit
