"""The place where a file keeps its content, and where one content is changed for another."""

from __future__ import annotations

import errno
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pixfs.volume.errors import oserror

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pixfs.volume.contents import Content


class ContentSlot:
    """Holds one content or none. Any thread may look in; who changes it holds the file's
    ``mutex``, so that for such a one ``current`` stays what it is.
    """

    def __init__(self) -> None:
        self._gate = threading.Condition()
        self._frozen = False
        self._content: Content | None = None

    @property
    def current(self) -> Content | None:
        """The content, for who holds the file's ``mutex``."""
        return self._content

    def enter(self) -> Content | None:
        """The content, entered (to be left), or None; waits while it is frozen."""
        with self._gate:
            while self._frozen:
                self._gate.wait()
            if self._content is not None:
                self._content.enter()
            return self._content

    def try_enter(self) -> Content | None:
        """The same, but None instead of waiting."""
        with self._gate:
            if self._frozen or self._content is None:
                return None
            self._content.enter()
            return self._content

    @contextmanager
    def pinned(self) -> Iterator[Content]:
        """The content as it is now, kept open meanwhile. EBADF if there is none."""
        content = self.enter()
        if content is None:
            raise oserror(errno.EBADF)
        try:
            yield content
        finally:
            content.leave()

    def install(self, content: Content | None) -> None:
        """Puts ``content`` (taken over) in; what was there closes when its readers leave."""
        with self._gate:
            old, self._content = self._content, content
        if old is not None:
            old.retire()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Nobody is inside the content meanwhile: for the changes that keep the inode but not
        the meaning of its bytes."""
        with self._gate:
            self._frozen = True
            content = self._content
        try:
            if content is not None:
                content.wait_empty()
            yield
        finally:
            with self._gate:
                self._frozen = False
                self._gate.notify_all()
