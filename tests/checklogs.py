"""A logged warning is a failure: somebody would have to act on it.

Every record of level WARNING and above fails the test it was logged in, unless the test said
beforehand that it expects it::

    def test_damage(expect_logs):
        expect_logs("tile 3")
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


class ExpectLogs(Protocol):
    """Say that a warning or error matching this pattern belongs to the test."""

    def __call__(self, pattern: str) -> None: ...


class LogCheck(logging.Handler):
    """Collects what somebody would have to act on."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[str] = []
        self.expected: dict[str, bool] = {}

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(f"{record.levelname} {record.name}: {self.format(record)}")

    def expect(self, pattern: str) -> None:
        self.expected.setdefault(pattern, False)

    def problems(self) -> list[str]:
        """Unexpected records, and expectations that nothing met."""
        unexpected = []
        for record in self.records:
            matching = [pattern for pattern in self.expected if re.search(pattern, record)]
            unexpected += [] if matching else [f"unexpected log line: {record}"]
            self.expected |= dict.fromkeys(matching, True)
        missing = [pattern for pattern, met in self.expected.items() if not met]
        return [*unexpected, *(f"nothing was logged that matches {p!r}" for p in missing)]


@pytest.fixture(autouse=True)
def log_check() -> Iterator[LogCheck]:
    """Fail the test for each warning that it does not expect."""
    check = LogCheck()
    root = logging.getLogger()
    root.addHandler(check)
    try:
        yield check
    finally:
        root.removeHandler(check)
    if problems := check.problems():
        pytest.fail("\n".join(problems), pytrace=False)


@pytest.fixture
def expect_logs(log_check: LogCheck) -> ExpectLogs:
    """Declare a warning as part of what the test is about; it must then be logged."""
    return log_check.expect


def lines_to_act_on(text: str) -> list[str]:
    """The lines of a daemon's log that somebody would have to act on."""
    serious = re.compile(r"\b(WARNING|ERROR|CRITICAL)\b|^Traceback|^Fatal Python error")
    return [line for line in text.splitlines() if serious.search(line)]
