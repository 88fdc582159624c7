"""What can stop a benchmark before it has measured anything."""

from __future__ import annotations


class BenchError(Exception):
    """Base; the message is meant for the person at the terminal."""


class MissingToolError(BenchError):
    """A program or library that the benchmark needs is not installed; says how to get it."""


class UnreadableFrameError(BenchError):
    """The peers cannot be given this file's samples; says why."""


class NotLosslessError(BenchError):
    """A contender did not give back what it was given: its figures mean nothing."""
