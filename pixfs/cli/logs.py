"""Where a daemon's log lines go."""

from __future__ import annotations

import logging
import os
import sys

_LONG = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# The journal adds the time itself and reads the priority from the <n> prefix.
_JOURNAL = "<%(priority)d>%(name)s: %(message)s"
_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))


class _JournalFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        record.priority = next((p for level, p in _PRIORITIES if record.levelno >= level), 7)
        # A newline in a message would start a line without a priority.
        return super().format(record).replace("\n", "\n<7>")


def log_to_stderr(*, debug: bool = False) -> None:
    """Log to standard error, in the journal's format when that is what it is."""
    handler = logging.StreamHandler()
    under_journal = bool(os.environ.get("JOURNAL_STREAM"))
    formatter = _JournalFormatter(_JOURNAL) if under_journal else logging.Formatter(_LONG)
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=[handler])
    _quiet_libraries()


def redirect_to_file(path: str) -> None:
    """Append standard output and error of this process to a file; raises OSError.

    Everything is redirected, not only the log: libfuse and a crashing interpreter write to
    standard error, and their last words are what is looked for.
    """
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(fd, 1)
        os.dup2(fd, 2)
    finally:
        os.close(fd)


def _quiet_libraries() -> None:
    # One line a request and one a compiled function: of no use to whoever reads our log.
    for name in ("pyfuse3", "numba"):
        logging.getLogger(name).setLevel(logging.INFO)
