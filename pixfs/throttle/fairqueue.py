"""A queue that serves its flows evenly: by virtual finishing time (self-clocked fair queueing,
Golestani 1994), with some patience for flows that ask for one thing at a time."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

T = TypeVar("T")

# How far a flow may fall behind between two items and still make up for it. A reader that waits
# for one piece before it asks for the next is never queued at the moment it is served; without
# this it would get a turn for each turn of the others, whatever the sizes.
_PATIENCE_BYTES = 1 << 20
# Ten thousand tiny files read in a row are ten thousand flows that do not come back.
_MOST_AWAY = 256


class FairQueue(Generic[T]):
    """Items of flows, each with a size in bytes; not synchronized.

    Flows that always have something waiting, or come back soon for more, get the same number of
    bytes, whatever the sizes and however many items each has waiting. Whoever has been away for
    longer has neither saved up nor lost a turn, and is forgotten.
    """

    def __init__(self) -> None:
        self._waiting: dict[Hashable, _Flow[T]] = {}
        # Flows without items, by when they were served last: their finishing times only grow.
        self._away: OrderedDict[Hashable, _Flow[T]] = OrderedDict()
        self._virtual_time = 0

    def __len__(self) -> int:
        return sum(len(flow.items) for flow in self._waiting.values())

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def push(self, key: Hashable, size: int, item: T) -> None:
        """Adds an item at the end of its flow."""
        flow = self._waiting.get(key)
        if flow is None:
            flow = self._away.pop(key, None)
            if flow is None:
                flow = _Flow(self._virtual_time)
            flow.start = max(flow.start, self._virtual_time - _PATIENCE_BYTES)
            self._waiting[key] = flow
        flow.items.append((size, item))

    def head(self, most: int | None = None) -> T | None:
        """The item whose turn it is, when at most so many bytes of it are served."""
        if not self._waiting:
            return None
        return self._next(most)[1].items[0][1]

    def pop(self) -> T:
        """Takes out the item whose turn it is. IndexError when there is none."""
        return self.serve(None)[0]

    def serve(self, most: int | None) -> tuple[T, int, bool]:
        """Serves at most so many bytes (None: all) of the item whose turn it is, then it is the
        next flow's turn; returns the item, the bytes, and whether it is served whole and out of
        the queue. IndexError when there is none."""
        if not self._waiting:
            raise IndexError("nothing is queued")
        key, flow = self._next(most)
        size, item = flow.items.popleft()
        served = size if most is None else min(size, most)
        flow.start += served
        self._virtual_time = max(self._virtual_time, flow.start)
        if served < size:
            flow.items.appendleft((size - served, item))
        elif not flow.items:
            self._leave(key)
        return item, served, served == size

    def remove(self, key: Hashable, item: T) -> None:
        """Takes out an item that waits no longer, as if it had never come; ValueError if it
        is not there."""
        flow = self._waiting.get(key)
        if flow is None:
            raise ValueError("not queued")
        for index, (_, queued) in enumerate(flow.items):
            if queued is item:
                del flow.items[index]
                break
        else:
            raise ValueError("not queued")
        if not flow.items:
            self._leave(key)

    def _leave(self, key: Hashable) -> None:
        self._away[key] = self._waiting.pop(key)
        while self._away:
            oldest = next(iter(self._away))
            is_recent = self._away[oldest].start > self._virtual_time - _PATIENCE_BYTES
            if is_recent and len(self._away) <= _MOST_AWAY:
                return
            del self._away[oldest]

    def _next(self, most: int | None) -> tuple[Hashable, _Flow[T]]:
        # A dict keeps its order, so ties go to the flow that has waited longest.
        return min(self._waiting.items(), key=lambda entry: entry[1].finish(most))


class _Flow(Generic[T]):
    """One flow's waiting (size, item), and the virtual time at which its first one starts."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.items: deque[tuple[int, T]] = deque()

    def finish(self, most: int | None) -> int:
        """When what is served of the first item next will have been."""
        size = self.items[0][0]
        return self.start + (size if most is None else min(size, most))
