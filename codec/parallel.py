"""One piece of work after another on several threads, the caller's among them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")
R = TypeVar("R")


def spread(threads: int, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """What ``work`` gives for each item, in their order, done on up to ``threads`` threads.

    All of them have ended when this returns. Where ``work`` raises, no further item is begun and
    the error of the first item that failed is raised.
    """
    if threads == 1 or len(items) < 2:
        return [work(item) for item in items]
    share = _Share(work, items)
    others = [
        threading.Thread(target=share.take, name=f"pxf-{number}", daemon=True)
        for number in range(1, min(threads, len(items)))
    ]
    started = []
    try:
        for thread in others:
            thread.start()
            started.append(thread)
        share.take()
    except BaseException:
        share.stop()
        raise
    finally:
        for thread in started:
            thread.join()
    return share.results()


class _Share(Generic[T, R]):
    """Items that several threads take from."""

    def __init__(self, work: Callable[[T], R], items: Sequence[T]) -> None:
        self._work = work
        self._items = items
        self._lock = threading.Lock()
        self._next = 0
        self._done: dict[int, R] = {}
        self._failed: dict[int, Exception] = {}

    def stop(self) -> None:
        """Have no further item begun."""
        with self._lock:
            self._next = len(self._items)

    def take(self) -> None:
        """Do items until none is left."""
        while True:
            with self._lock:
                index = self._next
                self._next += 1
            if index >= len(self._items):
                return
            try:
                self._done[index] = self._work(self._items[index])
            except Exception as error:
                self._failed[index] = error
                self.stop()
                return

    def results(self) -> list[R]:
        """All results, in order; raises the first item's error."""
        if self._failed:
            raise self._failed[min(self._failed)]
        return [self._done[index] for index in range(len(self._items))]
