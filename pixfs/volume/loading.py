"""Opening what is stored of a file, as what it is."""

from __future__ import annotations

import errno
import logging
import os
import time
from functools import partial
from typing import TYPE_CHECKING

from codec import CodecError
from pixfs.volume import backing, recovery
from pixfs.volume.contents import BadContent, ContainerContent, Content, RawContent
from pixfs.volume.errors import oserror
from pixfs.volume.heads import Head, Kind, read_head

if TYPE_CHECKING:
    from pixfs.volume.core import Core
    from pixfs.volume.nodes import Node

log = logging.getLogger(__name__)

# For a whole frame to be copied on slow storage.
_REWRITE_PATIENCE_S = 30.0


class Loader:
    """Loads one file's content; who calls holds the file's ``mutex``."""

    def __init__(self, core: Core, node: Node) -> None:
        self._core = core
        self._node = node
        self._bad_reported = False

    def load(self) -> Content:
        """What stands there now; with a descriptor of its own. Raises OSError."""
        fd = backing.reopen(self._node.fd, os.O_RDONLY)
        try:
            self._wait_for_rewrite(fd)
            return self.content_of(fd)
        except BaseException:
            backing.close(fd)
            raise

    def content_of(self, fd: int) -> Content:
        """The content a backing descriptor holds; takes it over unless it raises OSError."""
        _, head = read_head(fd)
        if head.kind in (Kind.RAW, Kind.WRAP):
            return RawContent(fd, wrap=head.kind is Kind.WRAP)
        if head.kind is Kind.CONTAINER:
            try:
                core = self._core
                return ContainerContent(
                    fd,
                    head,
                    cache=core.cache,
                    stats=core.stats,
                    readahead=core.readahead,
                    describe=partial(core.nodes.describe, self._node),
                )
            except CodecError as error:
                head = Head(Kind.BAD, head.length, str(error))
        if not self._bad_reported:
            self._bad_reported = True
            log.error("%s cannot be read: %s", self._core.nodes.describe(self._node), head.reason)
        return BadContent(fd, head)

    def _wait_for_rewrite(self, fd: int) -> None:
        """A file with several names is rewritten in place: what it is cannot be told while
        another volume is at that. If that one has died, its record is carried through here."""
        area = self._core.area
        if area is None or backing.fstat(fd).st_nlink < 2:
            return
        deadline = time.monotonic() + _REWRITE_PATIENCE_S
        while area.has_company() and area.is_rewritten_elsewhere(self._node.key):
            with area.starting():
                recovery.recover(area)
            if time.monotonic() > deadline:
                raise oserror(errno.EBUSY)
            time.sleep(0.005)
