"""Who has a file open, and what its users may still have in memory of it."""

from __future__ import annotations

import os
import threading


class Openings:
    """The handles of one file. Who changes anything, or waits, holds the file's ``mutex``; without
    it, what is read here is a guess.

    Attributes:
        handles: how many are open.
        writers: how many of them may write.
    """

    def __init__(self, mutex: threading.RLock) -> None:
        self.handles = 0
        self.writers = 0
        self._is_ending = False
        self._writer_gone = threading.Condition(mutex)
        self._seen: tuple[int, int] | None = None
        self._direct_writers = 0
        self._cache_in_doubt = False

    def add(self, flags: int) -> None:
        """A handle opened with these flags is there."""
        self.handles += 1
        self.writers += is_for_writing(flags)
        self._direct_writers += writes_directly(flags)

    def remove(self, flags: int) -> None:
        """A handle opened with these flags has gone."""
        self.handles -= 1
        self.writers -= is_for_writing(flags)
        self._writer_gone.notify_all()
        self._direct_writers -= writes_directly(flags)

    def clear(self) -> None:
        """There are none, whoever still has one."""
        self.handles = self.writers = 0

    # What users have in memory

    def is_as_seen(self, view: tuple[int, int]) -> bool:
        """Whether a file of this length and modification time (ns) is what it was when it was last
        looked at here, but for what was written since through the volume."""
        return self.writers > 0 or view == self._seen

    def saw(self, view: tuple[int, int]) -> None:
        """What is written now, and what was seen before, is known."""
        self._seen = view

    @property
    def has_seen(self) -> bool:
        """Whether anything is known of what users may have in memory."""
        return self._seen is not None

    def take_doubt(self) -> bool:
        """Whether pages of an earlier opening may be stale, as they may where some were written
        past the cache (O_DIRECT): the kernel drops the pages it has as such a write begins, not
        those that a reader has it fetch meanwhile. For a handle that has just been added; from
        here on, only what comes later is in doubt."""
        doubted = self._cache_in_doubt
        self._cache_in_doubt = self._direct_writers > 0
        return doubted

    # The end of writing

    def note_writing(self) -> None:
        """A writer has come, or writes."""
        self._is_ending = False

    def note_flush(self) -> None:
        """A writer begins to close its handle."""
        self._is_ending = True

    def wait_written(self, patience_s: float) -> bool:
        """Whether nobody has the file open for writing; gives ``mutex`` up while it waits.

        The kernel sends a release after close(2) has returned, later than what the same program
        asks for next where many are on their way. So writers are waited for if the last that
        was heard of any is the flush that begins a close, and not if one goes on writing.
        """
        if self.writers and self._is_ending:
            self._writer_gone.wait_for(lambda: not (self.writers and self._is_ending), patience_s)
        return self.writers == 0


def is_for_writing(flags: int) -> bool:
    """Whether a handle opened with these flags may write."""
    return flags & os.O_ACCMODE != os.O_RDONLY


def writes_directly(flags: int) -> bool:
    """Whether a handle opened with these flags writes past the kernel's cache."""
    return bool(flags & os.O_DIRECT) and is_for_writing(flags)
