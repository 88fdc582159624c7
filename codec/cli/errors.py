"""What a command refuses."""

from __future__ import annotations


class Refused(Exception):
    """Something a person asked for that is not done, and why."""
