"""Files that wait for compression, and the threads that do it."""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from pixfs.volume.clock import Clock
    from pixfs.volume.nodes import Node

log = logging.getLogger(__name__)

# Of the converting threads; a request then gets three times the share of each of them.
_NICENESS = 5
_NICEST = 19


class ConversionQueue:
    """Nodes in the order in which they have settled; any thread may call anything.

    A waiting node is either pending or deferred: deferred ones (no free space) will be tried
    again, but nobody waits for them. The owner pins a node when ``put`` or ``defer`` returns
    True, and unpins it when it leaves: ``discard`` returning True, ``done``, or ``drain``.
    """

    def __init__(self, clock: Clock, limit: int) -> None:
        self._clock = clock
        self._limit = limit
        lock = threading.Lock()
        # For whoever waits until nothing, or less, waits for compression.
        self._changed = threading.Condition(lock)
        # For the converting threads: one of them waits for the node that is due next, and wakes
        # another one for the node after it. They are not to wake for each file that is closed.
        self._next_due = threading.Condition(lock)
        self._due: dict[Node, tuple[float, int]] = {}
        self._deferred: set[Node] = set()
        self._heap: list[tuple[float, int, Node]] = []
        self._numbers = itertools.count()
        self._active: dict[Node, int] = {}
        self._walking = 0
        self._closing = False
        self._draining = False
        self._overflowed = False

    def put(self, node: Node, delay_s: float) -> bool:
        """Queues a node, or starts its delay anew; True if it was not waiting before.

        Beyond the limit it is not queued; a walk finds it later (`wait_overflowed`).
        """
        return self._put(node, delay_s, deferred=False)

    def defer(self, node: Node, delay_s: float) -> bool:
        """The same for a node that nobody should wait for."""
        return self._put(node, delay_s, deferred=True)

    def _put(self, node: Node, delay_s: float, *, deferred: bool) -> bool:
        with self._changed:
            if self._closing:
                return False
            added = node not in self._due
            if added and len(self._due) >= self._limit:
                self._overflowed = True
                self._changed.notify_all()
                return False
            entry = (self._clock.monotonic() + delay_s, next(self._numbers))
            self._due[node] = entry
            (self._deferred.add if deferred else self._deferred.discard)(node)
            heapq.heappush(self._heap, (*entry, node))
            if self._heap[0][2] is node:
                self._next_due.notify()
            if deferred:
                self._changed.notify_all()
            return added

    def wait_overflowed(self) -> bool:
        """Waits until nodes have been turned away and there is room again, and counts the walk
        for them as begun; False when the queue closes."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closing or (self._overflowed and len(self._due) < self._limit // 2)
            )
            if not self._closing:
                self._overflowed = False
                self._walking += 1
            return not self._closing

    def wait_for_room(self) -> bool:
        """Waits until the queue is less than half full; False when it closes first."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or len(self._due) < self._limit // 2)
            return not self._closing

    def discard(self, node: Node) -> bool:
        """Takes a waiting node out; True if it was waiting."""
        with self._changed:
            if self._due.pop(node, None) is None:
                return False
            self._deferred.discard(node)
            self._changed.notify_all()
            if self._closing:
                self._next_due.notify_all()
            return True

    def take(self) -> Node | None:
        """Waits for a node that is due and hands it out; None when the queue has closed."""
        with self._changed:
            while True:
                node, wait_s = self._next()
                if node is not None:
                    del self._due[node]
                    self._deferred.discard(node)
                    self._active[node] = self._active.get(node, 0) + 1
                    self._changed.notify_all()
                    (self._next_due.notify_all if self._closing else self._next_due.notify)()
                    return node
                if self._closing and not self._due:
                    return None
                self._clock.wait(self._next_due, wait_s)

    def _next(self) -> tuple[Node | None, float | None]:
        while self._heap:
            due, number, node = self._heap[0]
            if self._due.get(node) != (due, number):
                heapq.heappop(self._heap)
                continue
            wait_s = due - self._clock.monotonic()
            if wait_s > 0 and not self._draining:
                return None, wait_s
            heapq.heappop(self._heap)
            return node, None
        return None, None

    def done(self, node: Node) -> None:
        """The node handed out by ``take`` is finished with."""
        with self._changed:
            self._active[node] -= 1
            if not self._active[node]:
                del self._active[node]
            self._changed.notify_all()

    def walking(self, step: int) -> None:
        """A walk that queues what it finds begins (1) or has ended (-1)."""
        with self._changed:
            self._walking += step
            self._changed.notify_all()

    def is_waiting(self, node: Node) -> bool:
        """Whether the node waits or is being converted."""
        with self._changed:
            return node in self._due or node in self._active

    def is_idle(self) -> bool:
        """Nothing is pending, being converted or being looked for."""
        with self._changed:
            return self._is_idle()

    def _is_idle(self) -> bool:
        pending = len(self._due) - len(self._deferred)
        return not (pending or self._active or self._walking or self._overflowed)

    def wait_idle(self, timeout_s: float | None) -> bool:
        """Waits until idle; False if that took longer."""
        with self._changed:
            return self._changed.wait_for(self._is_idle, timeout_s)

    def close(self, *, drain: bool) -> list[Node]:
        """Takes no more; with ``drain`` what is pending is handed out at once. Returns the
        nodes that will not be."""
        with self._changed:
            self._closing = True
            self._draining = drain
            dropped = list(self._deferred) if drain else list(self._due)
            for node in dropped:
                del self._due[node]
            self._deferred.clear()
            self._changed.notify_all()
            self._next_due.notify_all()
            return dropped

    def snapshot(self) -> dict[str, int]:
        """Nodes pending, deferred and being converted; ``looking`` is 1 while a walk may still
        queue more, and then 0."""
        with self._changed:
            return {
                "queued": len(self._due) - len(self._deferred),
                "deferred": len(self._deferred),
                "converting": sum(self._active.values()),
                "looking": int(bool(self._walking or self._overflowed)),
            }


class Workers:
    """The threads that convert; one owner starts and joins them."""

    def __init__(self, queue: ConversionQueue, count: int, work: Callable[[Node], None]) -> None:
        self._queue = queue
        self._work = work
        self._threads = [
            threading.Thread(target=self._run, name=f"pixfs-convert-{number}", daemon=True)
            for number in range(count)
        ]

    def start(self) -> None:
        """Starts the threads."""
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Waits until the queue has closed and the threads are done."""
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        _yield_to_requests()
        while (node := self._queue.take()) is not None:
            try:
                self._work(node)
            except Exception:
                log.exception("a conversion thread met an unexpected error and goes on")
            finally:
                self._queue.done(node)


def _yield_to_requests() -> None:
    """Makes this thread, and those that it starts, one that runs when the others do not want to:
    whoever copies a sequence in must not wait for the encoder."""
    thread = threading.get_native_id()
    try:
        niceness = os.getpriority(os.PRIO_PROCESS, thread) + _NICENESS
        os.setpriority(os.PRIO_PROCESS, thread, min(niceness, _NICEST))
    except OSError as error:
        log.info("converting at the same priority as requests: %s", error)
