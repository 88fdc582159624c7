"""Telling the kernel that a file's bytes changed behind its back (another host wrote them).

A conversion changes no byte, so it needs none of this: the pages the kernel holds stay good. The
volume reports from its converter threads, and also from worker threads that are in the
middle of answering a request. The kernel may make a notification wait for pages that some other
request holds, so neither those threads nor the request loop may send it: one thread here does.
"""

from __future__ import annotations

import errno
import logging
import queue
import threading
from typing import TYPE_CHECKING

import pyfuse3

if TYPE_CHECKING:
    from pixfs.fuse.inodes import Inode, InodeTable
    from pixfs.volume import Node

log = logging.getLogger(__name__)


class Invalidator:
    """A thread that sends invalidations; the session starts it and stops it."""

    def __init__(self, inodes: InodeTable) -> None:
        self._inodes = inodes
        self._changed: queue.SimpleQueue[Inode | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pixfs-invalidate", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def content_changed(self, node: Node) -> None:
        """Queue node, if the kernel knows it. Any thread; never blocks."""
        inode = self._inodes.find(node)
        if inode is not None:
            self._changed.put(inode)

    def stop(self, timeout_s: float) -> bool:
        """Send nothing more; True when the thread has ended within timeout_s."""
        self._stopping.set()
        self._changed.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (inode := self._changed.get()) is not None and not self._stopping.is_set():
            try:
                self._invalidate(inode)
            except OSError as error:
                # ENOENT: the kernel has forgotten the inode meanwhile, nothing to drop.
                if error.errno != errno.ENOENT:
                    log.warning("cannot invalidate inode %d: %s", inode.number, error)
            except Exception:
                log.exception("invalidating inode %d failed", inode.number)

    def _invalidate(self, inode: Inode) -> None:
        if self._inodes.find(inode.node) is not inode:
            return
        pyfuse3.invalidate_inode(inode.number)
