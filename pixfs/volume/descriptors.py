"""Descriptors that close themselves, and how many of them nodes may keep."""

from __future__ import annotations

import contextlib
import os
import resource
from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pixfs.volume.nodes import Node

_FEWEST_KEPT = 64
_MOST_KEPT = 32_768
_TRIES = 8


class Descriptor(int):
    """A file descriptor's number that owns the descriptor: it is closed, at the latest, when
    nobody refers to the number any more.

    Whoever passes it to a call refers to it until that call has returned, so its keeper may drop
    it at any moment without closing it under a thread that is using it. This rests on CPython's
    reference counting. Never pass one to ``backing.close``.
    """

    _closed = False

    def close(self) -> None:
        """Closes it now, where nobody can be using it; an error's traceback may still refer to
        it."""
        if not self._closed:
            self._closed = True
            # Not through `backing`: at the interpreter's end its modules may be gone.
            with contextlib.suppress(OSError):
                os.close(int(self))

    def __del__(self) -> None:
        self.close()


class Unowned:
    """A descriptor that only one thread knows of until a node keeps it."""

    __slots__ = ("descriptor", "is_kept")

    def __init__(self, descriptor: Descriptor) -> None:
        self.descriptor = descriptor
        self.is_kept = False


@contextmanager
def unless_kept(descriptor: Descriptor) -> Iterator[Unowned]:
    """Closes the descriptor at the end if no node has come to keep it."""
    found = Unowned(descriptor)
    try:
        yield found
    finally:
        if not found.is_kept:
            descriptor.close()


class Kept:
    """The nodes that keep a descriptor, in the order they got it; used under the table's lock.

    A process may have a bounded number of descriptors, and the kernel knows any number of inodes.
    """

    def __init__(self, limit: int | None = None) -> None:
        """``limit`` is a quarter of what the process may open unless it is given."""
        if limit is None:
            soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            limit = max(_FEWEST_KEPT, min(_MOST_KEPT, soft // 4))
        self._limit = limit
        # A plain dict takes the longer to find its first entry, the more were deleted before it.
        self._nodes: OrderedDict[Node, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._nodes)

    def add(self, node: Node) -> list[Node]:
        """Notes that a node has a descriptor now; returns those that have to drop theirs."""
        self._nodes[node] = None
        dropped: list[Node] = []
        for _ in range(_TRIES):
            if len(self._nodes) <= self._limit:
                break
            oldest, _ = self._nodes.popitem(last=False)
            if oldest is not node and oldest.may_drop_descriptor():
                dropped.append(oldest)
            else:
                self._nodes[oldest] = None
        return dropped

    def discard(self, node: Node) -> None:
        """The node has no descriptor any more."""
        self._nodes.pop(node, None)

    def clear(self) -> None:
        """No node has one any more."""
        self._nodes.clear()
