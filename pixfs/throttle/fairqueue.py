"""A queue that serves its flows evenly: by virtual finishing time (self-clocked fair queueing,
Golestani 1994)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items of flows, each with a size in bytes; not synchronized.

    Flows that always have something waiting get the same number of bytes, whatever the sizes
    and however many items each has waiting. A flow is remembered only while it waits: whoever
    comes back later has neither saved up nor lost a turn.
    """

    def __init__(self) -> None:
        self._flows: dict[Hashable, _Flow[T]] = {}
        self._virtual_time = 0

    def __len__(self) -> int:
        return sum(len(flow.items) for flow in self._flows.values())

    def __bool__(self) -> bool:
        return bool(self._flows)

    def push(self, key: Hashable, size: int, item: T) -> None:
        """Adds an item at the end of its flow."""
        flow = self._flows.get(key)
        if flow is None:
            flow = self._flows[key] = _Flow(self._virtual_time)
        flow.items.append((size, item))

    def head(self) -> T | None:
        """The item whose turn it is."""
        if not self._flows:
            return None
        return self._next()[1].items[0][1]

    def pop(self) -> T:
        """Takes out the item whose turn it is. IndexError when there is none."""
        if not self._flows:
            raise IndexError("nothing is queued")
        key, flow = self._next()
        self._virtual_time = flow.start = flow.finish
        _, item = flow.items.popleft()
        if not flow.items:
            del self._flows[key]
        return item

    def remove(self, key: Hashable, item: T) -> None:
        """Takes out an item that waits no longer, as if it had never come; ValueError if it
        is not there."""
        flow = self._flows.get(key)
        if flow is None:
            raise ValueError("not queued")
        for index, (_, queued) in enumerate(flow.items):
            if queued is item:
                del flow.items[index]
                break
        else:
            raise ValueError("not queued")
        if not flow.items:
            del self._flows[key]

    def _next(self) -> tuple[Hashable, _Flow[T]]:
        # A dict keeps its order, so ties go to the flow that has waited longest.
        return min(self._flows.items(), key=lambda entry: entry[1].finish)


class _Flow(Generic[T]):
    """One flow's waiting (size, item), and the virtual time at which its first one starts."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.items: deque[tuple[int, T]] = deque()

    @property
    def finish(self) -> int:
        return self.start + self.items[0][0]
