"""A backing whose N-th call fails, or at whose N-th call the process dies."""

from __future__ import annotations

import functools
import inspect
import os
from typing import TYPE_CHECKING, Any

from pixfs.volume import backing

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

# Closing, and giving a lock back, do not fail.
_UNTOUCHED = {"close", "unlock", "unlock_byte", "end_lease"}
CALLS = [
    name
    for name, function in inspect.getmembers(backing, inspect.isfunction)
    if not name.startswith("_") and name not in _UNTOUCHED
]


class Faults:
    """Counts calls into the backing and runs ``fault`` at the chosen one.

    ``after`` plants the fault after the call has been made, not before it.
    """

    def __init__(self, at: int, fault: Callable[[], None], *, after: bool = False) -> None:
        self.at = at
        self.seen = 0
        self.met: str | None = None
        self._fault = fault
        self._after = after
        self._inside = False

    def install(self, patch: pytest.MonkeyPatch) -> None:
        for name in CALLS:
            patch.setattr(backing, name, self._wrap(name, getattr(backing, name)))

    def _wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def counted(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            if self._inside:
                return call(*args, **kwargs)
            self.seen += 1
            here = self.seen == self.at
            if here:
                self.met = name
                if not self._after:
                    self._fault()
            self._inside = True
            try:
                return call(*args, **kwargs)
            finally:
                self._inside = False
                if here and self._after:
                    self._fault()

        return counted


def fail_with(code: int) -> Callable[[], None]:
    def fail() -> None:
        raise OSError(code, os.strerror(code))

    return fail


def in_child(work: Callable[[], int]) -> int:
    """Runs ``work`` in a forked process; returns what it returned, 70 if it raised, or minus
    the signal that killed it."""
    pid = os.fork()
    if pid == 0:
        status = 70
        try:
            status = work()
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)
