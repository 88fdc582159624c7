"""Whether this server is alive, as operators and load balancers ask it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Health:
    """One look at the running server.

    Attributes:
        version: the PixFS version that answers.
        uptime_s: seconds since the core was made, by a clock that never steps back.
    """

    version: str
    uptime_s: float
