"""Why compressed rows stay as they are."""

from __future__ import annotations


class CannotRedo(Exception):
    """Compressed rows that are malformed, or that no known encoder makes of what they say."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
