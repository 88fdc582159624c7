"""One limit and those who wait for it.

There is no thread behind a limiter: those who wait keep it going. The one whose turn is next
waits with a timer, everybody else until woken; whoever runs wakes the next. A waiter is a
`Ticket` with a way to wake it, so tasks and threads stand in one queue.
"""

from __future__ import annotations

import enum
import math
import threading
import time
from typing import TYPE_CHECKING

from pixfs.throttle.bucket import TokenBucket
from pixfs.throttle.fairqueue import FairQueue
from pixfs.throttle.meter import Meter

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

MIB = 1 << 20
# What is large is let through in pieces of so much time: others get their turns in between, and
# nobody's request makes a debt that everybody waits for.
_PIECE_S = 0.05
_SMALLEST_PIECE = 16 << 10


class Priority(enum.IntEnum):
    """Who goes first; each class gets what the ones before it leave.

    ``REQUEST`` is a user's read or write, ``DEMAND`` a conversion somebody waits for,
    ``BACKGROUND`` what nobody waits for.
    """

    REQUEST = 0
    DEMAND = 1
    BACKGROUND = 2


class Ticket:
    """A place in the queue, for so many bytes.

    Attributes:
        granted: the bytes may be moved, all of them; set once, and never taken back.
        paid: how many of them have been taken from the limit so far.
    """

    __slots__ = ("flow", "granted", "paid", "priority", "size", "wake")

    def __init__(
        self, flow: Hashable, size: int, priority: Priority, wake: Callable[[], None]
    ) -> None:
        """``wake`` may be called by any thread, any number of times, and must not block."""
        self.flow = flow
        self.size = size
        self.priority = priority
        self.wake = wake
        self.granted = False
        self.paid = 0


class Limiter:
    """A number of bytes a second, shared evenly between flows; any thread may call anything.

    Only `acquire` blocks. A flow is whatever compares equal: an open file, a transfer.
    """

    def __init__(
        self, limit: int | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``limit`` in bytes a second; 0 lets nothing through, None everything."""
        self._clock = clock
        self._lock = threading.Lock()
        self._bucket = TokenBucket(_checked(limit), clock())
        self._meter = Meter(clock())
        self._queues: dict[Priority, FairQueue[Ticket]] = {p: FairQueue() for p in Priority}
        self._exempt: set[Priority] = set()
        # Who waits with a timer for the bucket to open.
        self._timed: Ticket | None = None

    @property
    def limit(self) -> int | None:
        """Bytes a second; 0 is paused, None unlimited."""
        return self._bucket.limit

    @limit.setter
    def limit(self, limit: int | None) -> None:
        """Takes effect at once, also for those who wait."""
        with self._lock:
            self._bucket.change(_checked(limit), self._clock())
            # Whoever holds the timer has set it by the old limit.
            self._timed = None
            woken = self._advance(None)
        _wake(woken)

    @property
    def moved(self) -> int:
        """Bytes let through since the start."""
        return self._meter.total

    def exempt(self, *priorities: Priority) -> None:
        """Lets these classes pass from now on, and whoever of them waits: for the end."""
        with self._lock:
            self._exempt.update(priorities)
            woken = self._advance(None)
        _wake(woken)

    def try_acquire(self, flow: Hashable, size: int, priority: Priority = Priority.REQUEST) -> bool:
        """Takes the bytes if nobody of this or an upper class waits and the limit allows it."""
        with self._lock:
            if self._bucket.limit is None:
                self._meter.add(size, self._clock())
                return True
            # What is larger than a piece has to queue for all but its first one.
            is_piece = priority in self._exempt or size <= self.piece(size)
            if (
                is_piece
                and self._may_pass(priority)
                and not any(self._queues[p] for p in Priority if p <= priority)
            ):
                self._spend(size, priority)
                return True
            return False

    def enter(self, ticket: Ticket) -> None:
        """Queues a ticket; its holder then calls `dispatch` until it is granted, or
        `withdraw`."""
        with self._lock:
            self._queues[ticket.priority].push(ticket.flow, ticket.size, ticket)

    def dispatch(self, ticket: Ticket) -> float:
        """Grants whatever is due; returns how long the ticket's holder may wait, in seconds,
        before it calls again (infinite: until it is woken)."""
        with self._lock:
            woken = self._advance(ticket)
            wait_s = math.inf
            if self._timed is ticket:
                wait_s = self._bucket.opens_in(self._clock())
        _wake(woken)
        return wait_s

    def withdraw(self, ticket: Ticket) -> None:
        """The holder waits no longer; bytes already paid for go back."""
        with self._lock:
            self._spend(-ticket.paid, ticket.priority)
            if not ticket.granted:
                self._queues[ticket.priority].remove(ticket.flow, ticket)
            if self._timed is ticket:
                self._timed = None
            woken = self._advance(None)
        _wake(woken)

    def refund(self, size: int, priority: Priority = Priority.REQUEST) -> None:
        """Bytes that were taken but not moved (a read at the end of a file)."""
        if size <= 0:
            return
        with self._lock:
            self._spend(-size, priority)
            if not self._head():
                return
            self._timed = None
            woken = self._advance(None)
        _wake(woken)

    def acquire(self, flow: Hashable, size: int, priority: Priority = Priority.REQUEST) -> None:
        """Blocks this thread until the bytes may be moved; not for an event loop's thread."""
        if self.try_acquire(flow, size, priority):
            return
        woken = threading.Event()
        ticket = Ticket(flow, size, priority, woken.set)
        self.enter(ticket)
        try:
            while True:
                # Cleared before looking, so that no waking in between is lost.
                woken.clear()
                wait_s = self.dispatch(ticket)
                if ticket.granted:
                    return
                woken.wait(None if wait_s == math.inf else wait_s)
        except BaseException:
            self.withdraw(ticket)
            raise

    def piece(self, size: int) -> int:
        """How much of a large transfer to ask for at once; all of it without a limit."""
        limit = self.limit
        if limit is None:
            return size
        return min(size, max(_SMALLEST_PIECE, min(int(limit * _PIECE_S), MIB)))

    def snapshot(self) -> dict[str, int | None]:
        """``limit`` and ``rate`` in bytes a second, ``bytes`` since the start, ``waiting``
        requests."""
        with self._lock:
            return {
                "limit": self._bucket.limit,
                "rate": round(self._meter.rate(self._clock())),
                "bytes": self._meter.total,
                "waiting": sum(len(queue) for queue in self._queues.values()),
            }

    # Holding the lock

    def _may_pass(self, priority: Priority) -> bool:
        return priority in self._exempt or self._bucket.is_open(self._clock())

    def _spend(self, size: int, priority: Priority) -> None:
        if priority not in self._exempt:
            self._bucket.spend(size)
        self._meter.add(size, self._clock())

    def _quantum(self) -> int | None:
        """How many bytes of a ticket to let through at once."""
        limit = self._bucket.limit
        return None if limit is None or self._exempt else self.piece(MIB)

    def _head(self) -> Ticket | None:
        for queue in self._queues.values():
            if queue:
                return queue.head(self._quantum())
        return None

    def _advance(self, caller: Ticket | None) -> list[Ticket]:
        """Grants what is due and sees to it that the next in turn keeps time; returns whom to
        wake once the lock is free."""
        woken = []
        for priority, queue in self._queues.items():
            while queue and self._may_pass(priority):
                ticket, paid, is_whole = queue.serve(self._quantum())
                ticket.paid += paid
                self._spend(paid, priority)
                if not is_whole:
                    continue
                ticket.granted = True
                if ticket is not caller:
                    woken.append(ticket)
        head = self._head()
        if head is not self._timed:
            self._timed = head
            if head is not None and head is not caller:
                woken.append(head)
        return woken


def _checked(limit: int | None) -> int | None:
    if limit is not None and limit < 0:
        raise ValueError(f"a limit must not be negative, but is {limit}")
    return limit


def _wake(tickets: list[Ticket]) -> None:
    for ticket in tickets:
        ticket.wake()
