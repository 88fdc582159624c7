"""How long a client that says nothing is waited for.

Clients that came at one moment, as after a break of the network or in an attack, would all be
given up at one moment too, and everybody else would wait for as long as their endings take. So
each is waited for a little longer than it is owed, by a part that differs.
"""

from __future__ import annotations

import random

__all__ = ["patience_s"]

# A wait at most, as a multiple of what is owed.
_LONGEST = 1.5


def patience_s(owed_s: float) -> float:
    """Seconds from ``owed_s`` to half as many more, all equally likely."""
    return owed_s * random.uniform(1.0, _LONGEST)
