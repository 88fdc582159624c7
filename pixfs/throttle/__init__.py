"""Bandwidth limits: a rate, shared fairly, by event-loop tasks and worker threads alike.

Knows nothing of volumes or mounts. `Limiter` is one limit, `Throttle` the pair a mount has;
threads wait with `Limiter.acquire`, trio tasks with `pixfs.throttle.tasks.acquire`.
"""

from __future__ import annotations

from pixfs.throttle.limiter import Limiter, Priority, Ticket
from pixfs.throttle.pair import Throttle
from pixfs.throttle.rates import format_rate, parse_rate

__all__ = ["Limiter", "Priority", "Throttle", "Ticket", "format_rate", "parse_rate"]
