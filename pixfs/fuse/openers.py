"""Whether the processes that opened files are being killed.

A process that waits for its read or write to be answered cannot be killed: the kernel waits for
the answer. It tells the daemon of the interruption, but pyfuse3 does not pass that on. What a
killed process shows in /proc, for everybody to see, is the SIGKILL that is pending in its
threads; the kernel turns every fatal signal into one.
"""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_GROUP = re.compile(rb"^Tgid:\s*(\d+)$", re.MULTILINE)
_PENDING = re.compile(rb"^SigPnd:\s*([0-9a-f]+)$", re.MULTILINE)
_KILL = 1 << (signal.SIGKILL - 1)


class Openers:
    """Remembers which process a thread belonged to: it may be gone when its process is looked
    for. One thread at a time."""

    def __init__(self) -> None:
        self._groups: dict[int, int] = {}

    def killed(self, threads: Iterable[int]) -> set[int]:
        """Those of the threads (as the kernel names who asks) whose process is being killed.

        Reads /proc; what cannot be read is taken to live.
        """
        wanted = set(threads)
        self._groups = {t: g for t, g in self._groups.items() if t in wanted}
        for thread in wanted - self._groups.keys():
            group = _GROUP.search(_status(f"/proc/{thread}"))
            if thread > 0 and group is not None:
                self._groups[thread] = int(group[1])
        dying = {g for g in set(self._groups.values()) if _is_dying(g)}
        return {thread for thread, group in self._groups.items() if group in dying}


def _is_dying(group: int) -> bool:
    try:
        threads = os.listdir(f"/proc/{group}/task")
    except OSError:
        return False
    for thread in threads:
        pending = _PENDING.search(_status(f"/proc/{group}/task/{thread}"))
        if pending is not None and int(pending[1], 16) & _KILL:
            return True
    return False


def _status(directory: str) -> bytes:
    try:
        with open(f"{directory}/status", "rb") as file:
            return file.read()
    except OSError:
        return b""
