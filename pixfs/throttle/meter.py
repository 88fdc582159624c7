"""How much moves at present."""

from __future__ import annotations

from collections import deque

_SLOT_S = 0.25
_SLOTS = 8


class Meter:
    """Counts bytes and tells the rate of the last two seconds; not synchronized.

    Attributes:
        total: bytes since the start.
    """

    def __init__(self, now: float) -> None:
        self.total = 0
        self._begun = now
        self._slot = int(now / _SLOT_S)
        # (slot, bytes), oldest first; slots without bytes are left out.
        self._recent: deque[list[int]] = deque(maxlen=_SLOTS + 1)

    def add(self, size: int, now: float) -> None:
        """Counts bytes moved now; negative for bytes that were counted but not moved."""
        self.total += size
        slot = int(now / _SLOT_S)
        if self._recent and self._recent[-1][0] == slot:
            self._recent[-1][1] += size
        else:
            self._recent.append([slot, size])

    def rate(self, now: float) -> float:
        """Bytes a second, over the last full slots and the one that has begun."""
        current = int(now / _SLOT_S)
        oldest = current - _SLOTS
        moved = sum(size for slot, size in self._recent if slot >= oldest)
        since = max(self._begun, oldest * _SLOT_S)
        return max(0.0, moved / max(now - since, _SLOT_S))
