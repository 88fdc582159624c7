"""What every format module shares."""

from __future__ import annotations

PROBE_SIZE = 4096
"""Bytes of a file's head that a probe is given, or all of a shorter file."""


class NotUnderstood(Exception):
    """A file that stays verbatim.

    ``format`` names what was recognised all the same, or is None.
    """

    def __init__(self, reason: str, format_name: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.format = format_name
